//! A Markdown file, understood: what of it becomes a post, and what could not be understood.
//!
//! Hugo, Jekyll and Zola name the same things differently and say some of them in file names and
//! addresses; here they all become one. What is too long is cut and what makes no sense is left
//! out, each with a note; only a file that cannot be read at all is refused.

use inkstone_core::Fault;
use inkstone_core::posts::{Excerpt, MAX_TAGS, Markdown, Status, Title};
use inkstone_core::redirects;
use inkstone_core::tags::TagName;
use inkstone_core::text::Slug;
use jiff::Timestamp;

use super::fields::{Author, Taker};
use super::front_matter::{self, Broken};
use super::{dates, files};

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Page {
    pub(super) title: Title,
    pub(super) markdown: Markdown,
    /// What its address shall end with.
    pub(super) slug: Slug,
    pub(super) excerpt: Option<Excerpt>,
    pub(super) status: Status,
    /// In the order in which they stand there; none if it names nobody.
    pub(super) authors: Vec<Author>,
    pub(super) tags: Vec<TagName>,
    /// When it was or will be public, as far as it says.
    pub(super) date: Option<Timestamp>,
    pub(super) created_at: Option<Timestamp>,
    pub(super) updated_at: Option<Timestamp>,
    /// The addresses that it had.
    pub(super) redirects: Vec<String>,
    /// The names of fields that were not understood.
    pub(super) unknown_fields: Vec<String>,
    /// The names of templates in the text, which stay as they are.
    pub(super) templates: Vec<String>,
    /// What was done to it that its author may want to know.
    pub(super) notes: Vec<&'static str>,
}

/// Understands the file `key` with this content. `now` tells which dates are in the future.
///
/// # Errors
/// Where it is broken, and how.
pub(super) fn read(key: &str, content: &[u8], jekyll: bool, now: Timestamp) -> Result<Page, Broken> {
    let broken = |reason: &str| Broken { line: 1, reason: reason.to_owned() };
    if content.len() > Markdown::MAX_BYTES {
        return Err(broken("it is larger than 1 MiB"));
    }
    let content = std::str::from_utf8(content).map_err(|error| Broken {
        line: String::from_utf8_lossy(&content[..error.valid_up_to()]).matches('\n').count() + 1,
        reason: "it is not UTF-8".to_owned(),
    })?;
    let (fields, text) = front_matter::split(content)?;
    let markdown = Markdown::try_from(text.to_owned()).map_err(|fault| broken(&fault.detail))?;
    let name = Name::of(key);
    let mut fields = Taker::new(fields);
    let mut notes = Vec::new();

    let title = fields.text(&["title"]).or_else(|| first_heading(text)).unwrap_or_else(|| name.words());
    let title = fit_title(&title, &mut notes).map_err(|fault| broken(&format!("the title: {}", fault.detail)))?;

    let address = fields.text(&["path", "permalink", "url"]).map(|address| path_of(&address));
    let wanted = fields.text(&["slug"]);
    let last_segment = address.as_deref().and_then(last_segment);
    let slug = Slug::from_text(wanted.as_deref().or(last_segment).unwrap_or(name.stem), "post");

    let said = |text: Option<String>, notes: &mut Vec<&'static str>| {
        let text = text?;
        let at = dates::parse(&text);
        if at.is_none() {
            notes.push("has a date that was not understood");
        }
        at
    };
    let published = fields.truth("published");
    let draft = fields.truth("draft").unwrap_or(false) || published == Some(false) || files::is_in(key, "_drafts");
    let date = fields.text(&["date", "published_at", "publishDate", "pubDate", "published"]);
    let created = fields.text(&["created", "created_at"]);
    let updated = fields.text(&["updated", "updated_at", "lastmod", "last_modified_at", "modified"]);
    let created_at = said(created, &mut notes);
    let updated_at = said(updated, &mut notes);
    let date = said(date, &mut notes)
        .or(created_at)
        .or(name.date)
        .or_else(|| address.as_deref().and_then(dates::of_path))
        .or_else(|| dates::of_path(key));
    let status = match date {
        _ if draft => Status::Draft,
        None => {
            notes.push("has no date: imported as a draft");
            Status::Draft
        }
        Some(date) if date > now => {
            notes.push("has a date in the future: imported as a draft");
            Status::Draft
        }
        Some(_) => Status::Published,
    };

    let categories = fields.texts(&["categories", "category"], jekyll);
    let mut tags = fields.texts(&["tags", "tag", "keywords"], jekyll);
    tags.extend(categories.iter().cloned());
    let tags = fit_tags(tags, &mut notes);
    let excerpt = fields.text(&["description", "summary", "excerpt"]);
    let excerpt = excerpt.and_then(|text| fit_excerpt(&text, &mut notes));
    let authors = fields.authors();

    let mut redirects = fields.paths(&["aliases", "alias", "redirect_from"]);
    redirects = redirects.iter().map(|alias| path_of(alias)).collect();
    redirects.push(address.unwrap_or_else(|| name.usual_address(jekyll, &categories, wanted.as_deref())));
    redirects.retain(|path| {
        let fits = path.len() <= redirects::MAX_PATH_BYTES;
        if !fits {
            notes.push("has an address that is too long to keep");
        }
        fits && !path.is_empty()
    });

    let templates = templates(text);
    let mut unknown_fields = fields.left_over();
    unknown_fields.sort_unstable();
    Ok(Page {
        title,
        markdown,
        slug,
        excerpt,
        status,
        authors,
        tags,
        date,
        created_at,
        updated_at,
        redirects,
        unknown_fields,
        templates,
        notes,
    })
}

/// What the name of a file says.
struct Name<'a> {
    /// The folders on the way to it.
    folder: &'a str,
    /// Its name without date and ending; that of its folder for `index.md`.
    stem: &'a str,
    /// A date in front of it.
    date: Option<Timestamp>,
}

impl<'a> Name<'a> {
    fn of(key: &'a str) -> Self {
        let (folder, file) = key.rsplit_once('/').unwrap_or(("", key));
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        // A bundle: what belongs together stands in a folder, and that has the name.
        let (folder, stem) = match (stem, folder.rsplit_once('/')) {
            ("index" | "_index", _) if folder.is_empty() => ("", "index"),
            ("index" | "_index", None) => ("", folder),
            ("index" | "_index", Some((outer, bundle))) => (outer, bundle),
            _ => (folder, stem),
        };
        match dates::of_file_name(stem) {
            Some((date, rest)) => Self { folder, stem: rest, date: Some(date) },
            None => Self { folder, stem, date: None },
        }
    }

    /// As a title.
    fn words(&self) -> String {
        self.stem.replace(['-', '_'], " ")
    }

    /// Where the generators put it, unless they are told otherwise.
    fn usual_address(&self, jekyll: bool, categories: &[String], slug: Option<&str>) -> String {
        let last = slug.unwrap_or(self.stem);
        if jekyll {
            let Some(date) = self.date else { return String::new() };
            let day = date.strftime("%Y/%m/%d").to_string();
            let mut parts: Vec<String> = categories.iter().map(|category| category.to_lowercase()).collect();
            parts.push(day);
            parts.push(format!("{last}.html"));
            return parts.join("/");
        }
        redirects::normalise(&format!("{}/{last}", self.folder))
    }
}

/// The path in an address, whether it is whole or not.
fn path_of(address: &str) -> String {
    let path = match url::Url::parse(address) {
        Ok(url) => url.path().to_owned(),
        Err(_) => address.to_owned(),
    };
    redirects::normalise(&path)
}

/// The end of a path, without what stands for a format.
fn last_segment(path: &str) -> Option<&str> {
    let path = path.strip_suffix("/index.html").unwrap_or(path);
    let segment = path.rsplit('/').next().unwrap_or(path);
    let segment = segment.strip_suffix(".html").or_else(|| segment.strip_suffix(".htm")).unwrap_or(segment);
    // Jekyll's `/:categories/:title/` is a pattern, not an address.
    (!segment.is_empty() && !path.contains(':')).then_some(segment)
}

/// The text of the first heading, without its marks.
fn first_heading(text: &str) -> Option<String> {
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let opens = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        match (fence, opens) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(mark), Some(found)) if mark == found => fence = None,
            _ => {}
        }
        let level = trimmed.bytes().take_while(|byte| *byte == b'#').count();
        if fence.is_some() || !(1..=6).contains(&level) || line.len() - trimmed.len() > 3 {
            continue;
        }
        let Some(heading) = trimmed[level..].strip_prefix([' ', '\t']) else { continue };
        let heading = heading.trim().trim_end_matches('#').replace(['*', '`'], "");
        if !heading.trim().is_empty() {
            return Some(heading.trim().to_owned());
        }
    }
    None
}

/// Cuts after `max` characters, and says whether that was needed.
fn cut(text: &str, max: usize) -> (String, bool) {
    let text = text.replace('\0', "");
    if text.chars().count() <= max {
        return (text, false);
    }
    let kept: String = text.chars().take(max - 1).collect();
    (format!("{}…", kept.trim_end()), true)
}

fn fit_title(text: &str, notes: &mut Vec<&'static str>) -> Result<Title, Fault> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, was_cut) = cut(&line, Title::MAX_CHARS);
    if was_cut {
        notes.push("has a title that was too long and has been cut");
    }
    Title::try_from(line)
}

fn fit_excerpt(text: &str, notes: &mut Vec<&'static str>) -> Option<Excerpt> {
    let (text, was_cut) = cut(text.trim(), Excerpt::MAX_CHARS);
    if was_cut {
        notes.push("has a summary that was too long and has been cut");
    }
    Excerpt::try_from(text).ok()
}

fn fit_tags(names: Vec<String>, notes: &mut Vec<&'static str>) -> Vec<TagName> {
    let mut seen = std::collections::HashSet::new();
    let mut tags = Vec::new();
    for name in names {
        let Ok(tag) = TagName::try_from(name) else {
            notes.push("has a tag that is too long and has been left out");
            continue;
        };
        if seen.insert(tag.slug()) {
            tags.push(tag);
        }
    }
    if tags.len() > MAX_TAGS {
        notes.push("has too many tags; the last ones have been left out");
        tags.truncate(MAX_TAGS);
    }
    tags
}

/// The templates in a text, by name: `{{< figure … >}}`, `{% include … %}`, `{{ youtube(…) }}`.
fn templates(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices('{') {
        let rest = &text[at..];
        let (inner, called) = if let Some(inner) = rest.strip_prefix("{{<").or_else(|| rest.strip_prefix("{{%")) {
            (inner, false)
        } else if let Some(inner) = rest.strip_prefix("{%") {
            if text[..at].ends_with('{') {
                continue;
            }
            (inner, false)
        } else if let Some(inner) = rest.strip_prefix("{{") {
            (inner, true)
        } else {
            continue;
        };
        let inner = inner.trim_start_matches(['-', ' ', '/']);
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c)).unwrap_or(inner.len());
        let name = &inner[..end];
        if !name.is_empty() && name.len() <= 40 && (!called || inner[end..].starts_with('(')) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests;
