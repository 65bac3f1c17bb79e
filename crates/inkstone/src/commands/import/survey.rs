//! The first walk of an import: reads every file, and finds out what there is.

use std::collections::HashSet;

use indicatif::ProgressBar;
use inkstone_core::posts::Status;
use inkstone_core::text::Slug;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::Job;
use super::fields::Author;
use super::files::File;
use super::page::{self, Page};
use super::report::{Report, Skipped};

/// Grows when the same file is understood differently, so that an import again brings posts up to date.
const IMPORTER_VERSION: u8 = 1;

/// A file that can be imported, as the first walk saw it.
pub(super) struct Candidate {
    pub(super) file: File,
    pub(super) slug: Slug,
    pub(super) date: Option<Timestamp>,
}

/// The first walk: who wrote all this, and in which order.
pub(super) fn look_through(
    job: &Job,
    files: Vec<File>,
    report: &mut Report,
    bar: &ProgressBar,
) -> (Vec<Candidate>, Vec<Author>) {
    let mut candidates = Vec::with_capacity(files.len());
    let mut authors: Vec<Author> = Vec::new();
    let mut named = HashSet::new();
    for file in files {
        bar.inc(1);
        let page = match read(job, &file) {
            Ok((page, _)) => page,
            Err(skipped) => {
                report.skipped.push(skipped);
                continue;
            }
        };
        for name in page.unknown_fields {
            *report.unknown_fields.entry(name).or_default() += 1;
        }
        for name in page.templates {
            *report.templates.entry(name).or_default() += 1;
        }
        for note in page.notes {
            report.notes.entry(note).or_default().push(file.key.clone());
        }
        let by = if page.authors.is_empty() { vec![job.fallback.clone()] } else { page.authors };
        authors.extend(by.into_iter().filter(|author| named.insert(author.name.clone())));
        candidates.push(Candidate { file, slug: page.slug, date: page.date });
    }
    candidates.sort_by(|a, b| (a.date.is_none(), a.date, &a.file.key).cmp(&(b.date.is_none(), b.date, &b.file.key)));
    tell_slugs_apart(&mut candidates);
    (candidates, authors)
}

/// Of files that wish for the same address, the older one gets it, whichever is faster.
fn tell_slugs_apart(candidates: &mut [Candidate]) {
    let mut taken = HashSet::new();
    for candidate in candidates {
        let wish = candidate.slug.clone();
        let mut number = 1;
        while !taken.insert(candidate.slug.clone()) {
            number += 1;
            candidate.slug = wish.numbered(number);
        }
    }
}

/// Reads a file; with the fingerprint of all that the post is made from.
pub(super) fn read(job: &Job, file: &File) -> Result<(Page, [u8; 32]), Skipped> {
    let skipped = |line, reason| Skipped { file: file.key.clone(), line, reason };
    // One byte too many is enough to know that it is too long.
    let content = read_at_most(&file.path, inkstone_core::posts::Markdown::MAX_BYTES + 1)
        .map_err(|error| skipped(1, format!("it cannot be read: {error}")))?;
    let page =
        page::read(&file.key, &content, job.jekyll, job.now).map_err(|broken| skipped(broken.line, broken.reason))?;
    let mut hash = Sha256::new();
    hash.update([IMPORTER_VERSION, u8::from(job.jekyll)]);
    // A date comes into the past by itself, and an author may be named by the command.
    hash.update([u8::from(page.status == Status::Published)]);
    hash.update(if page.authors.is_empty() { job.fallback.name.as_bytes() } else { &[] });
    hash.update([0]);
    hash.update(&content);
    Ok((page, hash.finalize().into()))
}

fn read_at_most(path: &std::path::Path, bytes: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(bytes as u64).read_to_end(&mut content)?;
    Ok(content)
}
