//! One SQLite connection, opened the way its role needs it, and the running of statements on it.

use std::ffi::CStr;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use inkstone_core::{Deadline, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use crate::db::{FromRow, Row, SqlError, Statement, Value};

use super::SqliteOptions;
use super::trouble::{FaultHook, Step, Trouble, statement_error, trouble_of};

/// Virtual machine instructions between two looks at the deadline: some 50 µs.
const OPS_BETWEEN_LOOKS: i32 = 4096;
/// No deadline.
const NEVER: u64 = u64::MAX;
/// The names of parameters: SQLite numbers `$1` by where it stands first, so they are found by name.
const PARAMETERS: [&CStr; 32] = [
    c"$1", c"$2", c"$3", c"$4", c"$5", c"$6", c"$7", c"$8", c"$9", c"$10", c"$11", c"$12", c"$13", c"$14", c"$15",
    c"$16", c"$17", c"$18", c"$19", c"$20", c"$21", c"$22", c"$23", c"$24", c"$25", c"$26", c"$27", c"$28", c"$29",
    c"$30", c"$31", c"$32",
];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Reader,
    Writer,
}

/// A connection, and what it went through since it was last asked.
pub(crate) struct Link {
    connection: Connection,
    role: Role,
    faults: Option<FaultHook>,
    /// The fault that the commit hook injected.
    injected: Arc<Mutex<Option<Trouble>>>,
    trouble: Option<(Trouble, String)>,
    /// Nanoseconds after `epoch`; [`NEVER`] for none.
    deadline: Arc<AtomicU64>,
    epoch: Instant,
    log_pages: Arc<AtomicUsize>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("role", &self.role).field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

enum Failed {
    Sql(rusqlite::Error),
    Ours(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

impl Link {
    /// Opens a connection of this role.
    pub(super) fn open(options: &SqliteOptions, role: Role) -> rusqlite::Result<Self> {
        let access = match role {
            Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        let connection = Connection::open_with_flags(&options.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        let link = Self {
            connection,
            role,
            faults: options.faults.clone(),
            injected: Arc::default(),
            trouble: None,
            deadline: Arc::new(AtomicU64::new(NEVER)),
            epoch: options.clock.instant(),
            log_pages: Arc::default(),
        };
        link.set_up(options)
    }

    fn set_up(mut self, options: &SqliteOptions) -> rusqlite::Result<Self> {
        let connection = &self.connection;
        connection.busy_timeout(options.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(options.statement_cache);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        // Plans must not depend on bound values: SQLite would prepare a statement anew for each
        // new value of such a parameter, which was two thirds of the time of the reader threads.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "cell_size_check", true)?;
        match self.role {
            Role::Reader => self.set_up_reader(options)?,
            Role::Writer => self.set_up_writer(options)?,
        }
        Ok(self)
    }

    fn set_up_reader(&mut self, options: &SqliteOptions) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "query_only", true)?;
        self.connection.pragma_update(None, "mmap_size", i64::from(options.mmap_mib) << 20)?;
        let (deadline, clock, epoch) = (Arc::clone(&self.deadline), Arc::clone(&options.clock), self.epoch);
        let has_passed = move || {
            let deadline = deadline.load(Ordering::Relaxed);
            deadline != NEVER && nanos_between(epoch, clock.instant()) >= deadline
        };
        self.connection.progress_handler(OPS_BETWEEN_LOOKS, Some(has_passed))
    }

    fn set_up_writer(&mut self, options: &SqliteOptions) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| expect(row, "wal"))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update_and_check(
            None,
            "journal_size_limit",
            i64::from(options.log_limit_mib) << 20,
            |_| Ok(()),
        )?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        connection.pragma_query(None, "synchronous", |row| expect(row, "2"))?;
        connection.pragma_query(None, "foreign_keys", |row| expect(row, "1"))?;
        // Instead of SQLite's own checkpoint inside the commit, which makes a caller wait and
        // keeps its errors to itself: see the writer.
        let log_pages = Arc::clone(&self.log_pages);
        self.connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            log_pages.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let Some(faults) = self.faults.clone() else { return Ok(()) };
        let injected = Arc::clone(&self.injected);
        let fails = move || {
            let trouble = faults(Step::Commit);
            *injected.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
            trouble.is_some()
        };
        self.connection.commit_hook(Some(fails))
    }

    /// Sets when a running statement of a reader is interrupted; `None` for never.
    pub(super) fn set_deadline(&self, deadline: Option<Deadline>) {
        let nanos = deadline.map_or(NEVER, |deadline| nanos_between(self.epoch, deadline.instant()).min(NEVER - 1));
        self.deadline.store(nanos, Ordering::Relaxed);
    }

    /// Every row of a statement, which is run to its end whatever it is: a statement with
    /// `returning` that is left after its first row has not yet reported all its errors.
    pub(in crate::db) fn fetch_all<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        self.ask_for_fault(statement)?;
        let outcome = run(&self.connection, statement, values, T::from_row);
        outcome.map_err(|failed| self.fail(statement, failed))
    }

    /// Runs a statement to its end; the number of rows that it touched.
    pub(in crate::db) fn execute(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<u64> {
        self.ask_for_fault(statement)?;
        match run(&self.connection, statement, values, |_| Ok(())) {
            Ok(_) => Ok(self.connection.changes()),
            Err(failed) => Err(self.fail(statement, failed)),
        }
    }

    fn ask_for_fault(&mut self, statement: &'static Statement) -> Result<()> {
        let Some(faults) = &self.faults else { return Ok(()) };
        let Some(trouble) = faults(Step::Statement(statement.name)) else { return Ok(()) };
        self.note(trouble, "injected");
        Err(trouble.to_error())
    }

    fn fail(&mut self, statement: &'static Statement, failed: Failed) -> Error {
        match failed {
            Failed::Ours(error) => error,
            Failed::Sql(error) => {
                // A reader that is not let write is not the file's fault.
                let is_ours = |trouble: &Trouble| self.role == Role::Writer || *trouble != Trouble::ReadOnly;
                if let Some(trouble) = trouble_of(&error).filter(is_ours) {
                    self.note(trouble, &error.to_string());
                }
                statement_error(statement.name, &error, self.role)
            }
        }
    }

    fn note(&mut self, trouble: Trouble, text: &str) {
        // The first is the cause, what follows are its effects; but none hides a broken disk.
        let known = self.trouble.as_ref().map(|(known, _)| known.ends_writing());
        if known.is_none_or(|known| !known && trouble.ends_writing()) {
            self.trouble = Some((trouble, text.to_owned()));
        }
    }

    /// What went wrong with the database since the last call, even if a unit of work hid it.
    pub(super) fn take_trouble(&mut self) -> Option<(Trouble, String)> {
        self.trouble.take()
    }

    /// Runs one of the executor's own statements: `begin immediate` and the like.
    pub(super) fn control(&mut self, sql: &'static str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.raw_execute().map(drop)
    }

    /// Commits; on failure says what kind of trouble it was.
    pub(super) fn commit(&mut self) -> Result<(), (Option<Trouble>, String)> {
        let Err(error) = self.control("commit") else { return Ok(()) };
        let injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err((injected.or_else(|| trouble_of(&error)), error.to_string()))
    }

    /// Whether no transaction is open.
    pub(super) fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Pages in the write-ahead log after the last commit.
    pub(super) fn log_pages(&self) -> usize {
        self.log_pages.load(Ordering::Relaxed)
    }

    /// Copies the write-ahead log into the database. `passive` waits for nobody, `restart` for
    /// readers, `truncate` empties the file. Whether all of it was copied.
    pub(super) fn checkpoint(&mut self, mode: &'static str) -> Result<bool, (Option<Trouble>, String)> {
        if let Some(trouble) = self.faults.as_ref().and_then(|faults| faults(Step::Checkpoint)) {
            return Err((Some(trouble), "injected".to_owned()));
        }
        let sql = format!("pragma wal_checkpoint({mode})");
        let outcome = self.connection.query_row(&sql, [], |row| {
            let (busy, pages, copied): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(busy == 0 && pages == copied)
        });
        outcome.map_err(|error| (trouble_of(&error), error.to_string()))
    }

    /// The lines of SQLite's own check, and rows that refer to nothing. Empty means sound.
    pub(super) fn integrity_check(&mut self) -> rusqlite::Result<Vec<String>> {
        let mut found: Vec<String> = lines(&self.connection, "pragma integrity_check(100)", |row| row.get(0))?;
        found.retain(|line| line != "ok");
        found.extend(lines(&self.connection, "pragma foreign_key_check", |row| {
            let (table, id, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(format!("row {id:?} of {table} refers to a row of {parent} that is not there"))
        })?);
        Ok(found)
    }

    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.connection.close().map_err(|(_, error)| error)
    }
}

fn lines<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

fn run<T>(
    connection: &Connection,
    statement: &'static Statement,
    values: &[Value<'_>],
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>, Failed> {
    let mut prepared = connection.prepare_cached(statement.sql)?;
    if prepared.parameter_count() != values.len() || values.len() > PARAMETERS.len() {
        let detail = format!("{} values for {} parameters", values.len(), prepared.parameter_count());
        return Err(Failed::Ours(Error::internal(SqlError::new(statement.name, detail))));
    }
    for (name, value) in PARAMETERS.iter().zip(values) {
        prepared.raw_bind_parameter(*name, value)?;
    }
    let mut rows = prepared.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(&Row::sqlite(statement, row))?);
    }
    Ok(found)
}

/// Refuses a setting that did not take.
fn expect(row: &rusqlite::Row<'_>, wanted: &str) -> rusqlite::Result<()> {
    let got = match row.get_ref(0)? {
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    };
    if got == wanted {
        return Ok(());
    }
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
    Err(rusqlite::Error::SqliteFailure(error, Some(format!("a setting is {got:?} where {wanted:?} was asked for"))))
}

fn nanos_between(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(NEVER - 1)
}
