//! What an import did, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

/// The most files that are named for people under one heading.
const MAX_NAMED: usize = 10;

/// What an import did; or would do.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Which folder, as posts remember it.
    pub(super) source: String,
    /// Whether nothing was written.
    pub(super) dry_run: bool,
    /// Markdown files that were found.
    pub(super) files: usize,
    /// Posts that were made.
    pub(super) created: usize,
    /// Posts that were brought to what their file says now.
    pub(super) updated: usize,
    /// Posts that were imported from exactly this before.
    pub(super) unchanged: usize,
    /// Posts that were deleted here since, and stay so.
    pub(super) deleted: usize,
    /// Of those made or updated: public ones.
    pub(super) published: usize,
    /// Of those made or updated: drafts.
    pub(super) drafts: usize,
    /// Authors that the files name.
    pub(super) authors: usize,
    /// Authors that had no account yet.
    pub(super) new_authors: usize,
    /// Files that were not imported.
    pub(super) skipped: Vec<Skipped>,
    /// Fields of the heads that were not understood, by name.
    pub(super) unknown_fields: BTreeMap<String, usize>,
    /// Templates in the texts, which stay as they are, by name.
    pub(super) templates: BTreeMap<String, usize>,
    /// What was done to some files, and to which.
    pub(super) notes: BTreeMap<&'static str, Vec<String>>,
}

/// A file that was not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Skipped {
    /// Which.
    pub(super) file: String,
    /// Where in it, from 1.
    pub(super) line: usize,
    /// Why not.
    pub(super) reason: String,
}

impl Report {
    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut out = Vec::new();
        let counts = [
            (self.created, "created"),
            (self.updated, "updated"),
            (self.unchanged, "unchanged"),
            (self.deleted, "deleted here since, and left so"),
            (self.skipped.len(), "skipped"),
        ];
        let counts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let dry = if self.dry_run { " (dry run: nothing was written)" } else { "" };
        out.push(format!(
            "{} files: {}{dry}",
            self.files,
            if counts.is_empty() { "none".into() } else { counts.join(", ") }
        ));
        if self.published + self.drafts > 0 {
            out.push(format!("  {} published, {} drafts", self.published, self.drafts));
        }
        if self.authors > 0 {
            out.push(format!("  {} authors, {} of them new", self.authors, self.new_authors));
        }
        for (heading, counted) in [
            ("Fields that were not understood:", &self.unknown_fields),
            ("Templates in the texts, which stay as they are:", &self.templates),
        ] {
            if !counted.is_empty() {
                out.push(heading.to_owned());
                let mut counted: Vec<_> = counted.iter().collect();
                counted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
                out.push(format!(
                    "  {}",
                    counted.iter().map(|(name, n)| format!("{name} ({n})")).collect::<Vec<_>>().join(", ")
                ));
            }
        }
        for (what, files) in &self.notes {
            out.push(format!("{what} ({}):", files.len()));
            out.extend(named(files.iter().map(|file| format!("  {file}"))));
        }
        if !self.skipped.is_empty() {
            out.push("Skipped:".to_owned());
            out.extend(self.skipped.iter().map(|file| format!("  {}:{}: {}", file.file, file.line, file.reason)));
        }
        // A file name with control characters could rewrite the terminal.
        out.iter().map(|line| line.replace(|c: char| c.is_control(), "\u{fffd}") + "\n").collect()
    }
}

fn named(mut lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MAX_NAMED);
    let mut named: Vec<String> = lines.by_ref().take(MAX_NAMED).collect();
    if more > 0 {
        named.push(format!("  … and {more} more"));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_what_matters() {
        let report = Report {
            files: 20,
            created: 18,
            published: 17,
            drafts: 1,
            authors: 2,
            new_authors: 1,
            skipped: vec![Skipped { file: "a\u{1b}.md".into(), line: 3, reason: "broken".into() }],
            unknown_fields: [("extra.team".into(), 2), ("layout".into(), 18)].into(),
            notes: [("has no date: imported as a draft", (0..12).map(|i| format!("{i}.md")).collect())].into(),
            ..Report::default()
        };
        let text = report.to_text();
        assert!(
            text.starts_with("20 files: 18 created, 1 skipped\n  17 published, 1 drafts\n  2 authors, 1 of them new\n")
        );
        assert!(text.contains("Fields that were not understood:\n  layout (18), extra.team (2)\n"));
        assert!(text.contains("\nhas no date: imported as a draft (12):\n  0.md\n"), "{text}");
        assert!(text.contains("  9.md\n  … and 2 more\n"));
        assert!(text.ends_with("Skipped:\n  a\u{fffd}.md:3: broken\n"));
    }
}
