//! For tests: every statement is prepared against a freshly migrated database, and its plan
//! looked at. That is what takes the place of SQL that the compiler checks.

use inkstone_core::{Error, Result};
use jiff::Timestamp;
use rusqlite::Connection;

use super::{MariaDbOptions, SqlError, Statement, mariadb};
use crate::migrate::{Migration, Migrator};

/// What SQLite makes of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The statement's name.
    pub statement: &'static str,
    /// How many parameters it takes.
    pub parameters: usize,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Whether it changes nothing.
    pub is_read_only: bool,
    /// The steps of its plan, such as `SEARCH posts USING INTEGER PRIMARY KEY (rowid=?)`.
    pub steps: Vec<String>,
}

impl Plan {
    /// The steps that go through the whole of `table`, under whatever alias the plan names it:
    /// give that alias. A scan that is fed by an index in the right order is one all the same.
    pub fn scans(&self, table: &str) -> Vec<&str> {
        let is_scan = |step: &str| {
            let mut words = step.split_whitespace();
            words.next() == Some("SCAN") && words.next() == Some(table)
        };
        self.steps.iter().map(String::as_str).filter(|step| is_scan(step)).collect()
    }
}

/// The plans of these statements under the store's own migrations.
///
/// # Errors
/// Names the first statement that does not fit the schema, or whose parameters have gaps.
pub fn plans(statements: &[&'static Statement]) -> Result<Vec<Plan>> {
    plans_under(crate::migrate::SQLITE, statements)
}

/// The plans of these statements under these migrations.
///
/// # Errors
/// As [`plans`].
pub fn plans_under(migrations: &[Migration], statements: &[&'static Statement]) -> Result<Vec<Plan>> {
    let mut connection = Connection::open_in_memory().map_err(Error::internal)?;
    Migrator::of(migrations).apply_to(&mut connection, Timestamp::UNIX_EPOCH)?;
    statements.iter().map(|statement| plan(&connection, statement)).collect()
}

fn plan(connection: &Connection, statement: &'static Statement) -> Result<Plan> {
    let bad = |error: rusqlite::Error| Error::internal(SqlError::new(statement.name, error.to_string()));
    let prepared = connection.prepare(statement.sql).map_err(bad)?;
    let parameters = prepared.parameter_count();
    for number in 1..=parameters {
        if prepared.parameter_index(&format!("${number}")).map_err(bad)?.is_none() {
            let detail = format!("{parameters} parameters, but no ${number}");
            return Err(Error::internal(SqlError::new(statement.name, detail)));
        }
    }
    let columns = prepared.column_names().map(str::to_owned).collect();
    let mut explained = connection.prepare(&format!("explain query plan {}", statement.sql)).map_err(bad)?;
    let steps = explained.raw_query().mapped(|row| row.get(3)).collect::<rusqlite::Result<_>>().map_err(bad)?;
    Ok(Plan { statement: statement.name, parameters, columns, is_read_only: prepared.readonly(), steps })
}

/// What MariaDB makes of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The statement's name.
    pub statement: &'static str,
    /// How many parameters it takes, each counted once.
    pub parameters: usize,
    /// How many columns it gives.
    pub columns: usize,
}

/// These statements as MariaDB has them, in the words that it is given.
///
/// # Errors
/// Names the first statement that does not fit the schema.
pub async fn prepared_by_mariadb(statements: &[&'static Statement], options: &MariaDbOptions) -> Result<Vec<Prepared>> {
    mariadb::prepare_all(statements, options).await
}

/// The names of the statements for which MariaDB is given something else.
pub fn mariadb_variants() -> Vec<&'static str> {
    crate::statements::mariadb_variants().map(|variant| variant.name).collect()
}
