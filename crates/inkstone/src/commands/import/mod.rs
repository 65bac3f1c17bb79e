//! `inkstone import`: posts from elsewhere.
//!
//! An import takes two walks over the files. The first one reads them all and finds out what
//! there is: which are broken, who wrote them, and which of those that wish for the same address
//! is the oldest and gets it. The second one imports them, many at a time, so that the store can commit
//! them in groups. Every post remembers where it came from, so that doing it again, after an
//! interruption or a change of some files, does only what is left to do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use inkstone_core::access::Role;
use inkstone_core::error::{Code, Error, Fault};
use inkstone_core::posts::{ImportKey, Imported, ImportedPost, Plan, PostDraft, Status};
use inkstone_core::text::Slug;
use inkstone_core::users::{DisplayName, Email, Handle, NewUser, UserId, UserKey};
use jiff::Timestamp;
use tokio::task::JoinSet;

use self::fields::Author;
use self::files::Found;
use self::page::Page;
use self::report::{Report, Skipped};
use self::survey::{Candidate, look_through, read};
use super::{block_on, configuration, with_new_blog};
use crate::cli::Common;
use crate::compose::{Ambient, Blog, Database};
use crate::failure::{Failure, Result};
use crate::output;

mod dates;
mod fields;
mod files;
mod front_matter;
mod page;
mod report;
mod survey;
#[cfg(test)]
mod tests;

/// Posts on their way into the store at one time.
const IN_FLIGHT: usize = 32;
/// How often a write is tried again that the store had no room for.
const RETRIES: u32 = 8;

/// Bring in posts from elsewhere.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// A folder of Markdown files, as Hugo, Jekyll and Zola use them
    #[command(after_help = "\
Doing it again changes only posts whose files have changed since. Old addresses (path, url,
aliases, redirect_from) become redirects. Authors become accounts without a password.

Exit codes: 0 everything was imported; 1 some files were skipped, or it was interrupted.")]
    Markdown(Arguments),
}

/// What to import, and how.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// The folder: what Hugo and Zola call content, or a Jekyll site
    pub dir: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Who wrote what names no author
    #[arg(long, value_name = "NAME", default_value = "Unknown author")]
    pub author: String,
    /// What posts are remembered by; give the same one again when the folder has moved [default: the folder's path]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Failure::Said`] when some files were skipped; whatever kept it from going on.
pub(super) fn run(common: &Common, import: Import) -> Result<()> {
    let Import::Markdown(arguments) = import;
    let json = arguments.json;
    let found = files::find(&arguments.dir)?;
    let report = if arguments.dry_run && !has_blog(common)? {
        // Looking at what would be done makes no data directory.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(import_folder(None, &arguments, found))?
    } else {
        with_new_blog(common, |blog| async move { import_folder(Some(&blog), &arguments, found).await })?
    };
    if json {
        output::json(&report)?;
    } else {
        output::text(&report.to_text())?;
    }
    if report.skipped.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

fn has_blog(common: &Common) -> Result<bool> {
    let database = Database::of(&configuration(common)?.config, &Ambient::system().clock);
    block_on(database.exists())
}

/// What all files of an import share.
struct Job {
    source: String,
    fallback: Author,
    jekyll: bool,
    dry_run: bool,
    now: Timestamp,
    /// Accounts by name; empty in a dry run.
    authors: BTreeMap<String, UserId>,
}

/// What became of a file.
enum Outcome {
    Imported(Imported, Status),
    Planned(Plan, Status),
    Skipped(Skipped),
}

async fn import_folder(blog: Option<&Blog>, arguments: &Arguments, found: Found) -> Result<Report> {
    let mut report = Report {
        source: source_of(arguments)?,
        dry_run: arguments.dry_run,
        files: found.files.len() + found.unreadable.len(),
        ..Report::default()
    };
    report.skipped.extend(found.unreadable.into_iter().map(|(file, reason)| Skipped { file, line: 1, reason }));
    let mut job = Job {
        source: report.source.clone(),
        fallback: Author { name: arguments.author.trim().to_owned(), email: None },
        jekyll: found.jekyll,
        dry_run: arguments.dry_run,
        now: blog.map_or_else(Ambient::system, |blog| blog.ambient.clone()).clock.now(),
        authors: BTreeMap::new(),
    };
    let bar = progress(found.files.len() * 2);
    let (candidates, authors) = look_through(&job, found.files, &mut report, &bar);
    report.authors = authors.len();
    for author in authors {
        if let Some(id) = account(blog, &author, job.dry_run, &mut report.new_authors).await? {
            job.authors.insert(author.name, id);
        }
    }
    let outcome = import_all(blog, Arc::new(job), candidates, &mut report, &bar).await;
    bar.finish_and_clear();
    outcome?;
    report.skipped.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(report)
}

/// What posts remember of where they came from.
fn source_of(arguments: &Arguments) -> Result<String> {
    let name = match &arguments.source {
        Some(name) => name.clone(),
        None => arguments.dir.canonicalize()?.to_string_lossy().into_owned(),
    };
    let source = format!("markdown:{name}");
    if source.chars().count() > ImportKey::MAX_SOURCE_CHARS {
        let most = ImportKey::MAX_SOURCE_CHARS - (source.len() - name.len());
        return Err(Failure::with_hint(
            format!("posts cannot be remembered by a name of more than {most} characters"),
            "give a shorter one with --source",
        ));
    }
    Ok(source)
}

/// The account of an author; made if there is none, except in a dry run.
async fn account(blog: Option<&Blog>, author: &Author, dry_run: bool, made: &mut usize) -> Result<Option<UserId>> {
    let Some(blog) = blog else {
        *made += 1;
        return Ok(None);
    };
    let ctx = blog.context();
    let email = author.email.clone().and_then(|email| Email::try_from(email).ok());
    let handle = Handle::from_name(&author.name);
    let keys =
        email.iter().map(|email| UserKey::Email(email.folded())).chain([UserKey::Handle(handle.as_str().into())]);
    for key in keys {
        match blog.users.find(&ctx, &key).await {
            Ok(user) => return Ok(Some(user.id)),
            Err(error) if error.code() == Code::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    *made += 1;
    if dry_run {
        return Ok(None);
    }
    let shown: String = author.name.chars().take(DisplayName::MAX_CHARS).collect();
    let display_name = DisplayName::try_from(shown)
        .map_err(|fault| Failure::new(format!("the author {:?}: {}", author.name, fault.detail)))?;
    let new = NewUser {
        handle,
        email,
        display_name,
        role: Role::Author,
        password_hash: None,
        // The service knows the time.
        created_at: Timestamp::UNIX_EPOCH,
    };
    Ok(Some(blog.users.create(&ctx, new).await?.id))
}

/// The second walk. Ends early when nothing more can be written, which is no fault of the files.
async fn import_all(
    blog: Option<&Blog>,
    job: Arc<Job>,
    candidates: Vec<Candidate>,
    report: &mut Report,
    bar: &ProgressBar,
) -> Result<()> {
    let total = candidates.len();
    let mut waiting = candidates.into_iter();
    let mut running = JoinSet::new();
    let mut failed = None;
    loop {
        while failed.is_none() && running.len() < IN_FLIGHT {
            let Some(candidate) = waiting.next() else { break };
            let (blog, job) = (blog.cloned(), Arc::clone(&job));
            running.spawn(async move { import_file(blog.as_ref(), &job, candidate).await });
        }
        let Some(finished) = running.join_next().await else { break };
        bar.inc(1);
        match finished {
            Ok(Ok(outcome)) => count(report, outcome),
            Ok(Err(error)) => failed = failed.or(Some(Failure::from(error))),
            Err(error) => failed = failed.or_else(|| Some(Failure::new(format!("the import broke off: {error}")))),
        }
    }
    let Some(failure) = failed else { return Ok(()) };
    bar.finish_and_clear();
    let done = report.created + report.updated + report.unchanged + report.deleted;
    let why = failure.message().unwrap_or_default();
    Err(Failure::with_hint(
        format!("{}; {done} of {total} posts are in", why.trim_start_matches("error: ").trim_end()),
        "run the same command again: it goes on where it stopped",
    ))
}

fn count(report: &mut Report, outcome: Outcome) {
    let status = match outcome {
        Outcome::Imported(Imported::Created(_), status) | Outcome::Planned(Plan::Create, status) => {
            report.created += 1;
            status
        }
        Outcome::Imported(Imported::Updated(_), status) | Outcome::Planned(Plan::Update(_), status) => {
            report.updated += 1;
            status
        }
        Outcome::Imported(Imported::Unchanged(_), _) | Outcome::Planned(Plan::Nothing(_), _) => {
            report.unchanged += 1;
            return;
        }
        Outcome::Imported(Imported::Deleted(_), _) => {
            report.deleted += 1;
            return;
        }
        Outcome::Skipped(skipped) => {
            report.skipped.push(skipped);
            return;
        }
    };
    match status {
        Status::Published => report.published += 1,
        Status::Draft => report.drafts += 1,
    }
}

/// Imports one file.
///
/// # Errors
/// What keeps every other file from being imported, too.
async fn import_file(blog: Option<&Blog>, job: &Job, candidate: Candidate) -> inkstone_core::Result<Outcome> {
    let Candidate { file, slug, date: _ } = candidate;
    let (page, fingerprint) = match read(job, &file) {
        Ok(read) => read,
        Err(skipped) => return Ok(Outcome::Skipped(skipped)),
    };
    let key = ImportKey { source: job.source.clone(), key: file.key.clone(), fingerprint };
    let status = page.status;
    if let Err(Error::Invalid(faults)) = key.check() {
        return Ok(Outcome::Skipped(Skipped { file: file.key, line: 1, reason: sentence(&faults) }));
    }
    let Some(blog) = blog else { return Ok(Outcome::Planned(Plan::Create, status)) };
    if job.dry_run {
        return Ok(Outcome::Planned(blog.posts.plan_import(&blog.context(), &key).await?, status));
    }
    let post = post_of(job, page, slug, key);
    let mut tries = 0;
    loop {
        match blog.posts.import(&blog.context(), post.clone()).await {
            Ok(imported) => return Ok(Outcome::Imported(imported, status)),
            Err(Error::TryLater { code: Code::Overloaded, retry_after, .. }) if tries < RETRIES => {
                tries += 1;
                tokio::time::sleep(retry_after.clamp(Duration::from_millis(10), Duration::from_secs(2))).await;
            }
            // Another import runs beside this one, and was faster.
            Err(error) if error.code() == Code::Conflict && tries < RETRIES => tries += 1,
            Err(Error::Invalid(faults)) => {
                return Ok(Outcome::Skipped(Skipped { file: file.key, line: 1, reason: sentence(&faults) }));
            }
            Err(error) => return Err(error),
        }
    }
}

fn post_of(job: &Job, page: Page, slug: Slug, key: ImportKey) -> ImportedPost {
    let Page {
        title,
        markdown,
        slug: _,
        excerpt,
        status,
        authors,
        tags,
        date,
        created_at,
        updated_at,
        redirects,
        unknown_fields: _,
        templates: _,
        notes: _,
    } = page;
    let mut ids: Vec<UserId> = Vec::new();
    for name in authors.iter().map(|author| &author.name).chain(authors.is_empty().then_some(&job.fallback.name)) {
        // Two ways to write a name can lead to one account.
        ids.extend(job.authors.get(name).filter(|id| !ids.contains(id)));
    }
    let past = |at: Option<Timestamp>| at.map(|at| at.min(job.now));
    let written = past(created_at.or(date)).unwrap_or(job.now);
    ImportedPost {
        draft: PostDraft {
            title,
            markdown,
            slug: Some(slug),
            excerpt,
            status,
            tags,
            authors: ids,
            published_at: date.filter(|_| status == Status::Published),
        },
        created_at: written,
        updated_at: past(updated_at).unwrap_or(written).max(written),
        redirects,
        key,
    }
}

fn sentence(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect::<Vec<_>>().join(" ")
}

/// On stderr, and only where that is a terminal.
fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}% {elapsed}") {
        bar.set_style(style);
    }
    bar
}
