//! Bringing a database to the schema that this program knows.
//!
//! Migrations are files under `migrations/<dialect>/`, numbered from 1, embedded into the
//! program, and never changed once released: their checksums are kept in the database. Each runs
//! in a transaction of its own, so that an interrupted one leaves nothing behind; in MariaDB, which
//! has none around changes of the schema, it is run again.
//!
//! To add one: write `migrations/sqlite/NNNN_name.sql` with the next number and its twins for
//! PostgreSQL and MariaDB, and add their lines to [`SQLITE`], [`postgres::MIGRATIONS`] and
//! [`mariadb::MIGRATIONS`]; tests compare the schemas that they make. A release and the one before it run on the same
//! schema side by side: first expand, and only a release later contract. Each migration says which programs can live
//! with it ([`Migration::needs`]), and so does the database, to programs that do not know it. What may call itself an
//! expansion, a test looks at; why it is so: `docs/decisions/0020`.

mod fit;
pub mod mariadb;
pub mod postgres;
mod servers;

use std::fmt::Write;
use std::time::Duration;

use inkstone_core::{Code, Error, Result, search};
use jiff::Timestamp;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use sha2::{Digest, Sha256};

use crate::copy::mark::PREPARE;
use crate::db::SqliteOptions;

pub use fit::{Fit, STATEMENTS, fit_of};

/// What a migration needs that only adds: every program that could work before can work after it.
pub const EXPANDS: u32 = 0;

/// One step of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order, from 1, without gaps.
    pub number: u32,
    /// What it is called; as in its file's name.
    pub name: &'static str,
    /// Which programs can work on what it leaves: those that know the migration of this number, and could
    /// work before. [`EXPANDS`] if it only adds what nobody need know of; its own number if whoever does
    /// not know it does harm; one between if it takes away what that one made superfluous.
    pub needs: u32,
    /// What it does.
    pub sql: &'static str,
}

impl Migration {
    /// What is written down of it.
    fn applied(&self, at: Timestamp) -> Applied {
        let Self { number, name, needs, sql } = *self;
        Applied { number, name: name.to_owned(), needs, checksum: checksum(sql), applied_at: at }
    }
}

/// A migration that a database has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// As [`Migration::number`].
    pub number: u32,
    /// As [`Migration::name`].
    pub name: String,
    /// As [`Migration::needs`]; its own number where a program applied it that did not say.
    pub needs: u32,
    /// SHA-256 of what was run, in hexadecimal.
    pub checksum: String,
    /// When.
    pub applied_at: Timestamp,
}

/// The migrations of SQLite, in order.
pub const SQLITE: &[Migration] = &[
    Migration { number: 1, name: "initial", needs: 1, sql: include_str!("../migrations/sqlite/0001_initial.sql") },
    // Who does not know the index does not keep it: their posts would never be found.
    Migration { number: 2, name: "search", needs: 2, sql: include_str!("../migrations/sqlite/0002_search.sql") },
    Migration { number: 3, name: "leases", needs: EXPANDS, sql: include_str!("../migrations/sqlite/0003_leases.sql") },
];

const CREATE_TABLE: &str = "
    create table if not exists schema_migrations (
        number     integer not null constraint schema_migrations_pkey primary key,
        name       text    not null,
        checksum   text    not null,
        applied_at integer not null,
        needs      integer
    )";
const HAS_NEEDS: &str = "select exists (select 1 from pragma_table_info('schema_migrations') where name = 'needs')";
const ADD_NEEDS: &str = "alter table schema_migrations add column needs integer";

/// Applies what is missing; gives what it applied. Safe to call from several processes at once.
///
/// # Errors
/// `Conflict` if the database has had a migration that this program cannot live with, or one that has been
/// changed since; `Unavailable` if it cannot be opened or written.
pub fn run(options: &SqliteOptions) -> Result<Vec<Applied>> {
    Migrator::of(SQLITE).run(options)
}

/// As [`run`], for the target of a copy: a database that had nothing bears the mark of an unfinished copy as soon as
/// it has tables ([`crate::copy::is_unfinished`]).
///
/// # Errors
/// As [`run`].
pub fn run_for_copy(options: &SqliteOptions) -> Result<Vec<Applied>> {
    Migrator::of(SQLITE).for_copy().run(options)
}

/// What the database has had. Empty if there is no database yet.
///
/// # Errors
/// `Unavailable` if it cannot be opened.
pub fn applied(options: &SqliteOptions) -> Result<Vec<Applied>> {
    Migrator::of(SQLITE).applied(options)
}

/// What [`run`] would apply, or what the database has had that this program does not know.
///
/// # Errors
/// As [`run`].
pub fn fit(options: &SqliteOptions) -> Result<Fit<'static>> {
    Migrator::of(SQLITE).fit(options)
}

/// What [`run`] would apply.
///
/// # Errors
/// As [`run`].
pub fn pending(options: &SqliteOptions) -> Result<Vec<Migration>> {
    fit(options).map(|fit| fit.missing.to_vec())
}

/// A list of migrations, and how to apply it.
#[derive(Debug, Clone, Copy)]
pub struct Migrator<'a> {
    migrations: &'a [Migration],
    is_for_copy: bool,
}

impl<'a> Migrator<'a> {
    /// Uses this list.
    pub fn of(migrations: &'a [Migration]) -> Self {
        Self { migrations, is_for_copy: false }
    }

    /// As [`run_for_copy`].
    #[must_use]
    pub fn for_copy(self) -> Self {
        Self { is_for_copy: true, ..self }
    }

    /// What is to be done in the same step as this migration, if anything.
    fn beside(&self, migration: &Migration) -> Option<&'static str> {
        (self.is_for_copy && migration.number == 1).then_some(PREPARE)
    }

    /// As [`run`].
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, options: &SqliteOptions) -> Result<Vec<Applied>> {
        let mut connection = open(options, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        self.apply_to(&mut connection, options.clock.now())
    }

    /// As [`applied`].
    ///
    /// # Errors
    /// As [`applied`].
    pub fn applied(&self, options: &SqliteOptions) -> Result<Vec<Applied>> {
        if !options.path.exists() {
            return Ok(Vec::new());
        }
        read_applied(&open(options, OpenFlags::SQLITE_OPEN_READ_ONLY)?)
    }

    /// As [`fit`](fn@fit).
    ///
    /// # Errors
    /// As [`run`].
    pub fn fit(&self, options: &SqliteOptions) -> Result<Fit<'a>> {
        self.compare(self.applied(options)?)
    }

    pub(crate) fn apply_to(&self, connection: &mut Connection, now: Timestamp) -> Result<Vec<Applied>> {
        // A migration may rebuild a table that others refer to; what refers to nothing afterwards
        // is looked for before its commit.
        connection.pragma_update(None, "foreign_keys", false).map_err(unusable)?;
        add_functions(connection).map_err(unusable)?;
        let mut done = Vec::new();
        while let Some(applied) = self.apply_next(connection, now)? {
            tracing::info!(migration.number = applied.number, migration.name = %applied.name, "migration applied");
            done.push(applied);
        }
        Ok(done)
    }

    /// Applies one migration. What is missing is found out under the lock: another process may
    /// have been quicker.
    fn apply_next(&self, connection: &mut Connection, now: Timestamp) -> Result<Option<Applied>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unusable)?;
        let fit = self.compare(read_applied(&transaction)?)?;
        let Some(migration) = fit.missing.first().copied() else {
            fit.tell();
            return Ok(None);
        };
        let failed = |error: rusqlite::Error| {
            Error::internal(format!("migration {} ({}) failed: {error}", migration.number, migration.name))
        };
        transaction.execute_batch(CREATE_TABLE).map_err(failed)?;
        if !transaction.query_row(HAS_NEEDS, [], |row| row.get::<_, bool>(0)).map_err(failed)? {
            transaction.execute_batch(ADD_NEEDS).map_err(failed)?;
        }
        transaction.execute_batch(migration.sql).map_err(failed)?;
        transaction.execute_batch(self.beside(&migration).unwrap_or_default()).map_err(failed)?;
        let dangling = transaction
            .query_row("pragma foreign_key_check", [], |row| row.get::<_, String>(0))
            .optional()
            .map_err(failed)?;
        if let Some(table) = dangling {
            let text = format!(
                "migration {} ({}) left rows in {table} that refer to nothing",
                migration.number, migration.name
            );
            return Err(Error::internal(text));
        }
        let applied = migration.applied(now);
        let row =
            (applied.number, &applied.name, &applied.checksum, applied.applied_at.as_microsecond(), applied.needs);
        let insert = "insert into schema_migrations (number, name, checksum, applied_at, needs) \
                      values (?1, ?2, ?3, ?4, ?5)";
        transaction.execute(insert, row).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Some(applied))
    }
}

fn open(options: &SqliteOptions, access: OpenFlags) -> Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&options.path, flags).map_err(unusable)?;
    connection.busy_timeout(options.busy_timeout).map_err(unusable)?;
    if access.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        write_ahead(&connection, options.busy_timeout).map_err(unusable)?;
        connection.pragma_update(None, "synchronous", "full").map_err(unusable)?;
    }
    Ok(connection)
}

/// Turns the write-ahead log on. Where two do so at once on a new file, SQLite tells one of them
/// that it is locked without waiting for the other, so that the waiting is done here.
#[expect(clippy::disallowed_methods, reason = "nothing tells when the other is done")]
fn write_ahead(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut left = patience;
    loop {
        let outcome = connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()));
        let is_locked = outcome.as_ref().is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
        if !is_locked || left.is_zero() {
            return outcome;
        }
        std::thread::sleep(PAUSE.min(left));
        left = left.saturating_sub(PAUSE);
    }
}

/// What migrations may call beside SQLite's own functions: the rules of the program that fill an
/// index, which SQL cannot say.
fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    for (name, words) in [("words_of_text", search::of_text as fn(&str) -> String), ("words_of_html", search::of_html)]
    {
        connection.create_scalar_function(name, 1, flags, move |context| {
            context.get_raw(0).as_str().map(words).map_err(Into::into)
        })?;
    }
    Ok(())
}

fn read_applied(connection: &Connection) -> Result<Vec<Applied>> {
    let exists = "select exists (select 1 from sqlite_schema where type = 'table' and name = 'schema_migrations')";
    if !connection.query_row(exists, [], |row| row.get::<_, bool>(0)).map_err(unusable)? {
        return Ok(Vec::new());
    }
    let has_needs: bool = connection.query_row(HAS_NEEDS, [], |row| row.get(0)).map_err(unusable)?;
    let needs = if has_needs { "coalesce(needs, number)" } else { "number" };
    let rows = format!("select number, name, checksum, applied_at, {needs} from schema_migrations order by number");
    let mut statement = connection.prepare(&rows).map_err(unusable)?;
    let rows = statement.query_map([], |row| {
        let applied_at = Timestamp::from_microsecond(row.get(3)?).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Applied { number: row.get(0)?, name: row.get(1)?, checksum: row.get(2)?, applied_at, needs: row.get(4)? })
    });
    rows.and_then(Iterator::collect).map_err(unusable)
}

/// Over the text with plain line ends, so that a checkout on Windows gives the same.
fn checksum(sql: &str) -> String {
    let digest = Sha256::digest(sql.replace("\r\n", "\n").as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unusable(error: rusqlite::Error) -> Error {
    let detail = format!("The database cannot be read or written: {error}.");
    let is_damaged = error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt);
    let code = if is_damaged { Code::StorageDamaged } else { Code::Unavailable };
    Error::try_later(code, detail, Duration::from_mins(1))
}
