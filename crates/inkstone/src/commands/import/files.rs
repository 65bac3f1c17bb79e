//! Which files of a folder are posts.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::failure::{Failure, Result};

/// The most files that one import takes.
const MAX_FILES: usize = 100_000;

/// A file to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Where it is in the folder, with slashes: what names it from one import to the next.
    pub(super) key: String,
}

/// What stands in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its Markdown files, by name.
    pub(super) files: Vec<File>,
    /// Whether it is a Jekyll site: posts are in `_posts` and `_drafts` alone.
    pub(super) jekyll: bool,
    /// What cannot be looked at, with the reason.
    pub(super) unreadable: Vec<(String, String)>,
}

/// Looks for Markdown files. Symbolic links are not followed: they may lead anywhere.
///
/// # Errors
/// When `folder` is none, or has too many files.
pub(super) fn find(folder: &Path) -> Result<Found> {
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("{} is not a folder", folder.display())));
    }
    let mut found = Found::default();
    for entry in WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(is_wanted) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(folder).display().to_string();
                found.unreadable.push((path, "it cannot be read".to_owned()));
                continue;
            }
        };
        if !entry.file_type().is_file() || !is_markdown(entry.path()) {
            continue;
        }
        let Some(key) = key_of(folder, entry.path()) else {
            found.unreadable.push((entry.path().display().to_string(), "its name is not UTF-8".to_owned()));
            continue;
        };
        if found.files.len() == MAX_FILES {
            return Err(Failure::new(format!("{} has more than {MAX_FILES} Markdown files", folder.display())));
        }
        found.files.push(File { path: entry.into_path(), key });
    }
    found.jekyll = found.files.iter().any(|file| is_in(&file.key, "_posts"));
    if found.jekyll {
        found.files.retain(|file| is_in(&file.key, "_posts") || is_in(&file.key, "_drafts"));
    }
    Ok(found)
}

/// Whether one of the folders on the way to `key` has this name.
pub(super) fn is_in(key: &str, folder: &str) -> bool {
    key.rsplit('/').skip(1).any(|part| part == folder)
}

/// Hidden folders, and what generators and package managers put beside the texts, hold no posts.
fn is_wanted(entry: &DirEntry) -> bool {
    const OTHERS: &[&str] = &["_includes", "_layouts", "_sass", "_site", "node_modules"];
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || !(name.starts_with('.') || (entry.file_type().is_dir() && OTHERS.contains(&&*name)))
}

fn is_markdown(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| ["md", "markdown", "mkd"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

fn key_of(folder: &Path, path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path.strip_prefix(folder).ok()?.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(files: &[&str]) -> (Vec<String>, bool) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = find(folder.path()).unwrap();
        (found.files.into_iter().map(|file| file.key).collect(), found.jekyll)
    }

    #[test]
    fn takes_every_markdown_file_but_those_of_others() {
        let (keys, jekyll) = keys(&[
            "b.md",
            "a/index.MD",
            "a/c.markdown",
            "d.txt",
            ".git/e.md",
            ".f.md",
            "node_modules/g.md",
            "_index.md",
        ]);
        assert_eq!(keys, ["_index.md", "a/c.markdown", "a/index.MD", "b.md"]);
        assert!(!jekyll);
    }

    #[test]
    fn takes_only_the_posts_of_a_jekyll_site() {
        let (keys, jekyll) =
            keys(&["README.md", "_posts/2020-01-02-a.md", "_drafts/b.md", "news/_posts/2020-01-03-c.md", "_site/d.md"]);
        assert_eq!(keys, ["_drafts/b.md", "_posts/2020-01-02-a.md", "news/_posts/2020-01-03-c.md"]);
        assert!(jekyll);
    }

    #[cfg(unix)]
    #[test]
    fn does_not_follow_links() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("secret.md"), "x").unwrap();
        std::os::unix::fs::symlink(other.path(), folder.path().join("linked")).unwrap();
        std::os::unix::fs::symlink(other.path().join("secret.md"), folder.path().join("linked.md")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("around")).unwrap();
        assert!(find(folder.path()).unwrap().files.is_empty());
    }

    #[test]
    fn what_is_no_folder_is_a_mistake() {
        assert!(matches!(find(Path::new("does-not-exist")), Err(Failure::Usage(_))));
    }
}
