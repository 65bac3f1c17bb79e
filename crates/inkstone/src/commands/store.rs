//! `inkstone store copy`: moves a blog to another database.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use inkstone_store::copy::{
    Comparison, Copied, Copier, How, Manifest, Phase, Progress, Stopped, is_one_mariadb, is_one_postgres,
};
use inkstone_store::db::DataDirLock;
use serde_json::{Value, json};

use super::{block_on, configuration, read_place};
use crate::cli::{Common, StoreCommand, StoreCopy};
use crate::compose::{Ambient, Database};
use crate::failure::{Failure, Result};
use crate::{data_dir, output};

/// How many digits of a SHA-256 people are shown.
const SHOWN_DIGITS: usize = 16;

pub(super) fn run(common: &Common, command: StoreCommand) -> Result<()> {
    let StoreCommand::Copy(arguments) = command;
    let config = configuration(common)?.config;
    let clock = Ambient::system().clock;
    let place = |flag: &str, text: &str| -> Result<Database> {
        let text = read_place(text).map_err(|why| Failure::Usage(format!("{flag}: {why}")))?;
        Database::at(&text, &config, &clock).map_err(|why| Failure::Usage(format!("{flag}: {why}")))
    };
    let (from, to) = (place("--from", &arguments.from)?, place("--to", &arguments.to)?);
    block_on(async {
        if is_same_place(&from, &to).await? {
            return Err(Failure::Usage(format!("--from and --to are the same database, {from}")));
        }
        if arguments.verify { verify(from, to, &arguments).await } else { copy(from, to, &arguments).await }
    })
}

/// Whether both are one database, under whatever names.
async fn is_same_place(one: &Database, two: &Database) -> Result<bool> {
    if one.to_string() == two.to_string() {
        return Ok(true);
    }
    let mut key = [0; 8];
    Ambient::system().entropy.fill(&mut key)?;
    let key = i64::from_ne_bytes(key);
    Ok(match (one, two) {
        (Database::Sqlite { options: one, .. }, Database::Sqlite { options: two, .. }) => {
            is_same_file(&one.path, &two.path)
        }
        (Database::Postgres(one), Database::Postgres(two)) => is_one_postgres(one, two, key).await?,
        (Database::MariaDb(one), Database::MariaDb(two)) => is_one_mariadb(one, two, key).await?,
        _ => false,
    })
}

/// By what the file system says, or, where one is not there yet, by where it would be.
fn is_same_file(one: &Path, two: &Path) -> bool {
    if let (Ok(one), Ok(two)) = (one.metadata(), two.metadata()) {
        return (one.dev(), one.ino()) == (two.dev(), two.ino());
    }
    let directory = |path: &Path| path.parent().map(Path::canonicalize).and_then(std::result::Result::ok);
    directory(one).is_some_and(|one| directory(two) == Some(one))
}

/// Keeps servers off a data directory for as long as it is held.
fn lock(database: &Database) -> Result<Option<DataDirLock>> {
    match database {
        Database::Sqlite { data_dir, .. } => {
            let lock = DataDirLock::acquire(data_dir)?;
            data_dir::require_sound_log(data_dir)?;
            Ok(Some(lock))
        }
        Database::Postgres(_) | Database::MariaDb(_) => Ok(None),
    }
}

/// Both have the schema of this program, or nothing is copied between them.
async fn require_up_to_date(database: &Database) -> Result<()> {
    database.require_sound()?;
    database.require().await?;
    if !database.fit().await?.missing.is_empty() {
        return Err(Failure::with_hint(
            format!("{database} is older than this program"),
            "bring it up to date first, with `inkstone migrate`",
        ));
    }
    require_not_ahead(database).await
}

/// Nothing there is of a kind that this program does not know, and so would leave behind.
async fn require_not_ahead(database: &Database) -> Result<()> {
    database.require_sound()?;
    let Some(ahead) = database.fit().await?.ahead() else { return Ok(()) };
    Err(Failure::with_hint(
        format!("{database} is {ahead}; but what it does not know, it cannot copy"),
        "use the newer version of the program",
    ))
}

async fn copy(from: Database, to: Database, arguments: &StoreCopy) -> Result<()> {
    require_up_to_date(&from).await?;
    let _from = lock(&from)?;
    require_not_ahead(&to).await?;
    if let Database::Sqlite { data_dir, .. } = &to {
        data_dir::prepare(data_dir)?;
    }
    let _to = lock(&to)?;
    to.migrate_for_copy().await?;
    let names = (from.to_string(), to.to_string());
    let (copier, bar) = open(from, to, 4).await?;
    let outcome = copier.run(arguments.restart).await;
    bar.finish_and_clear();
    close(&copier).await?;
    let Copied { how, manifest } = outcome.map_err(|stopped| failure(stopped, &names))?;
    if arguments.json {
        return output::json(&report(&names, how_word(how), &manifest, None));
    }
    let (rows, tables) = (manifest.rows(), manifest.tables.len());
    let (from, to) = &names;
    let done = match how {
        How::Afresh => "Copied",
        How::Resumed => "Finished copying",
        How::AlreadyThere => "Copied before, and nothing to do:",
    };
    show(&manifest, None)?;
    output::text(&format!("{done} {from} to {to}: {rows} rows in {tables} tables, the same in both."))
}

async fn verify(from: Database, to: Database, arguments: &StoreCopy) -> Result<()> {
    require_up_to_date(&from).await?;
    require_up_to_date(&to).await?;
    let names = (from.to_string(), to.to_string());
    let (copier, bar) = open(from, to, 2).await?;
    let outcome = copier.compare().await;
    bar.finish_and_clear();
    close(&copier).await?;
    let comparison = outcome.map_err(|stopped| failure(stopped, &names))?;
    let word = if comparison.is_same() { "same" } else { "different" };
    if arguments.json {
        output::json(&report(&names, word, &comparison.from, Some(&comparison.to)))?;
    } else {
        show(&comparison.from, Some(&comparison.to))?;
    }
    let Comparison { from, to, behind } = &comparison;
    if comparison.is_same() {
        return if arguments.json { Ok(()) } else { output::text("Both are the same.") };
    }
    let other = in_words(&from.differences(to), behind);
    Err(Failure::new(format!("{} is not the same as {}: {other}", names.1, names.0)))
}

/// What is not the same. The rows of a table are one thing, and the numbers that it would give to new ones another.
fn in_words(rows: &[&str], behind: &[&str]) -> String {
    let parts = [("rows of", rows), ("next numbers of", behind)].into_iter().filter(|(_, tables)| !tables.is_empty());
    parts.map(|(what, tables)| format!("{what} {}", tables.join(", "))).collect::<Vec<_>>().join("; ")
}

/// Opens both, with a bar that is full once every row has been seen so many times.
async fn open(from: Database, to: Database, times: u64) -> Result<(Copier, ProgressBar)> {
    let bar = ProgressBar::no_length();
    let watched = bar.clone();
    let watch = move |progress: Progress| {
        let doing = match progress.phase {
            Phase::Read => "reading",
            Phase::Copy => "copying",
            Phase::Check => "checking",
        };
        watched.set_message(format!("{doing} {}", progress.table));
        watched.inc(progress.rows);
    };
    let copier = Copier { from: from.open()?, to: to.open()?, clock: Ambient::system().clock, watch: Arc::new(watch) };
    bar.set_length(copier.rows().await? * times);
    // On stderr, and only where that is a terminal.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}% {elapsed} {msg}") {
        bar.set_style(style);
    }
    Ok((copier, bar))
}

async fn close(copier: &Copier) -> Result<()> {
    copier.from.close().await?;
    Ok(copier.to.close().await?)
}

fn how_word(how: How) -> &'static str {
    match how {
        How::Afresh => "copied",
        How::Resumed => "resumed",
        How::AlreadyThere => "unchanged",
    }
}

fn report(names: &(String, String), outcome: &str, from: &Manifest, to: Option<&Manifest>) -> Value {
    let tables = from.tables.iter().enumerate().map(|(place, table)| {
        let mut row = json!({ "table": table.table, "rows": table.rows, "bytes": table.bytes, "sha256": table.sha256 });
        if let Some(other) = to.and_then(|to| to.tables.get(place)) {
            row["to"] = json!({ "rows": other.rows, "bytes": other.bytes, "sha256": other.sha256 });
        }
        row
    });
    json!({
        "from": names.0,
        "to": names.1,
        "outcome": outcome,
        "rows": from.rows(),
        "tables": tables.collect::<Vec<_>>(),
    })
}

fn show(from: &Manifest, to: Option<&Manifest>) -> Result<()> {
    let short = |sha256: &str| sha256.chars().take(SHOWN_DIGITS).collect::<String>();
    let rows: Vec<Vec<String>> = from
        .tables
        .iter()
        .enumerate()
        .map(|(place, table)| {
            let mut row = vec![table.table.to_owned(), table.rows.to_string(), short(&table.sha256)];
            if let Some(other) = to.and_then(|to| to.tables.get(place)) {
                let is_same = if table == other { "same" } else { "DIFFERENT" };
                row.extend([other.rows.to_string(), short(&other.sha256), is_same.to_owned()]);
            }
            row
        })
        .collect();
    match to {
        None => output::table(&["table", "rows", "sha256"], &rows),
        Some(_) => output::table(&["table", "rows", "sha256", "rows", "sha256", ""], &rows),
    }
}

/// Why nothing came of it, and what to do about that.
fn failure(stopped: Stopped, (from, to): &(String, String)) -> Failure {
    let restart = "then run the command again with --restart, which throws the unfinished copy away";
    match stopped {
        Stopped::NotEmpty(tables) => {
            let tables: Vec<String> = tables.iter().map(|(table, rows)| format!("{table} ({rows})")).collect();
            Failure::with_hint(
                format!("{to} is not empty: {}", tables.join(", ")),
                "name a new database: what is there is not thrown away. A server that was started on it once has \
                 left its keys there",
            )
        }
        Stopped::OtherCopy => Failure::with_hint(
            format!("{to} holds an unfinished copy, but not of {from} as it is now"),
            "finish that one, or run the command again with --restart, which throws it away",
        ),
        Stopped::SourceUnfinished => Failure::with_hint(
            format!("{from} holds an unfinished copy of another blog"),
            "finish it with the `inkstone store copy` that began it, or copy the other blog",
        ),
        Stopped::SourceChanged(tables) => Failure::with_hint(
            format!("{from} has changed while it was copied: {}", tables.join(", ")),
            format!("stop whatever writes to it, {restart}"),
        ),
        Stopped::Differs(tables) => Failure::with_hint(
            format!("the copy in {to} is not the same as {from}: {}", in_words(&tables, &[])),
            format!("find out who else writes to it, {restart}"),
        ),
        Stopped::Behind(tables) => Failure::with_hint(
            format!("the copy in {to} is not the same as {from}: {}", in_words(&[], &tables)),
            format!("find out who else writes to it, {restart}"),
        ),
        Stopped::Nul(place) => Failure::with_hint(
            format!("{place} in {from} holds the character U+0000, which {to} cannot hold"),
            "change that text first; nothing has been copied",
        ),
        Stopped::TooLong(place) => Failure::with_hint(
            format!("{place} in {from} is longer than {to} can hold"),
            "shorten that text first; nothing has been copied",
        ),
        Stopped::TooLarge { place, most } => Failure::with_hint(
            format!("the row of {place} in {from} is larger than {to} takes at once, which is {most} bytes"),
            "raise max_allowed_packet of that server first; nothing has been copied",
        ),
        Stopped::Store(error) => {
            let why = Failure::from(error).message().unwrap_or_default();
            let why = why.trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned();
            Failure::with_hint(
                format!("{why} (copying {from} to {to})"),
                "run the same command again: it goes on where it stopped",
            )
        }
    }
}
