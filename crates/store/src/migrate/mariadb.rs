//! The same for MariaDB and MySQL, under a lock of the server's, so that nodes that start together do
//! not get into each other's way.
//!
//! Here a change of the schema is no part of a transaction: a process that dies in the middle of a
//! migration leaves half of it. The migration is then not among the applied ones, and whoever comes
//! next runs it again from its beginning. So **every statement of a migration must be one that can
//! be run again** (`create table if not exists`, `insert ignore`); a test breaks each migration off
//! after each statement. A statement ends with a `;` at the end of a line.

use std::fmt::Display;
use std::time::Duration;

use inkstone_core::{Code, Error, Result};
use jiff::Timestamp;
use mysql_async::prelude::Queryable as _;

use super::{Applied, EXPANDS, Fit, Migration, Migrator, servers};
use crate::db::{MariaDbConnection, MariaDbOptions, mariadb_words as words};

/// The migrations of MariaDB, in order: the same numbers, names and needs as SQLite's.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "initial", needs: 1, sql: include_str!("../../migrations/mariadb/0001_initial.sql") },
    Migration { number: 2, name: "search", needs: 2, sql: include_str!("../../migrations/mariadb/0002_search.sql") },
    Migration {
        number: 3,
        name: "leases",
        needs: EXPANDS,
        sql: include_str!("../../migrations/mariadb/0003_leases.sql"),
    },
];

/// Names are the server's, not the database's, and at most 64 characters long.
const LOCK: &str = "concat('inkstone migrations ', left(sha2(database(), 256), 32))";
/// Seconds to wait for another node that migrates.
const PATIENCE: u32 = 3600;

const CREATE_TABLE: &str = "
    create table if not exists schema_migrations (
        number     bigint       not null,
        name       varchar(255) not null,
        checksum   varchar(64)  not null,
        applied_at bigint       not null,
        needs      bigint,
        constraint schema_migrations_pkey primary key (number)
    ) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin";

/// How the statement begins that makes the table of the mark of a copy.
const COUNTERS: &str = "create table if not exists counters ";

/// Applies what is missing; gives what it applied. Safe to call from several nodes at once.
///
/// # Errors
/// `Conflict` if the database has had a migration that this program cannot live with, or one that has been
/// changed since; `Unavailable` if it cannot be reached, or others hold its tables for too long.
pub async fn run(options: &MariaDbOptions) -> Result<Vec<Applied>> {
    run_of(MIGRATIONS, options).await
}

/// As [`run`], for the target of a copy: see [`run_for_copy`](super::run_for_copy).
///
/// # Errors
/// As [`run`].
pub async fn run_for_copy(options: &MariaDbOptions) -> Result<Vec<Applied>> {
    run_with(Migrator::of(MIGRATIONS).for_copy(), options).await
}

/// What the database has had. Empty for an empty database.
///
/// # Errors
/// `Unavailable` if it cannot be reached.
pub async fn applied(options: &MariaDbOptions) -> Result<Vec<Applied>> {
    read_applied(&mut connect(options).await?).await
}

/// What [`run`] would apply, or what the database has had that this program does not know.
///
/// # Errors
/// As [`run`].
pub async fn fit(options: &MariaDbOptions) -> Result<Fit<'static>> {
    Migrator::of(MIGRATIONS).compare(applied(options).await?)
}

/// What [`run`] would apply.
///
/// # Errors
/// As [`run`].
pub async fn pending(options: &MariaDbOptions) -> Result<Vec<Migration>> {
    fit(options).await.map(|fit| fit.missing.to_vec())
}

/// Makes a table and removes it: whether [`run`] could do what it has to.
///
/// # Errors
/// `Unavailable` with what the server said.
pub async fn try_table(options: &MariaDbOptions) -> Result<()> {
    let mut connection = connect(options).await?;
    for sql in ["create table if not exists inkstone_doctor (id int)", "drop table if exists inkstone_doctor"] {
        connection.conn.query_drop(sql).await.map_err(|error| unusable(words(&error)))?;
    }
    Ok(())
}

/// As [`run`], with another list.
///
/// # Errors
/// As [`run`].
pub async fn run_of(migrations: &[Migration], options: &MariaDbOptions) -> Result<Vec<Applied>> {
    run_with(Migrator::of(migrations), options).await
}

async fn run_with(migrator: Migrator<'_>, options: &MariaDbOptions) -> Result<Vec<Applied>> {
    let mut connection = connect(options).await?;
    let fit = migrator.compare(read_applied(&mut connection).await?)?;
    if fit.missing.is_empty() {
        fit.tell();
        return Ok(Vec::new());
    }
    lock(&mut connection).await?;
    // Another node may have been quicker. The lock goes with the connection.
    let missing = migrator.compare(read_applied(&mut connection).await?)?.missing;
    let mut done = Vec::new();
    for migration in missing {
        let applied = apply(&mut connection, migration, migrator.beside(migration), options.clock.now()).await?;
        tracing::info!(migration.number = applied.number, migration.name = %applied.name, "migration applied");
        done.push(applied);
    }
    // Whoever waits need not wait until the server has noticed that nobody is there any more.
    let _noticed = connection.conn.disconnect().await;
    Ok(done)
}

/// The statements of a migration.
pub fn statements(sql: &str) -> Vec<String> {
    let (mut statements, mut statement) = (Vec::new(), String::new());
    for line in sql.lines().filter(|line| !line.trim_start().starts_with("--")) {
        statement.push_str(line);
        statement.push('\n');
        if line.ends_with(';') {
            statements.push(std::mem::take(&mut statement));
        }
    }
    statements.push(statement);
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

pub(crate) async fn connect(options: &MariaDbOptions) -> Result<MariaDbConnection> {
    options.single().await.map_err(|error| {
        let detail = format!("The database {} cannot be used: {error}.", options.address);
        if error.is_final() {
            return Error::refused(Code::Conflict, detail);
        }
        Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
    })
}

async fn lock(connection: &mut MariaDbConnection) -> Result<()> {
    let ask = format!("select get_lock({LOCK}, {PATIENCE})");
    let given: Option<Option<i64>> = connection.conn.query_first(ask).await.map_err(|error| unusable(words(&error)))?;
    match given.flatten() {
        Some(1) => Ok(()),
        _ => Err(unusable("another node has been migrating it for an hour")),
    }
}

/// Applies a migration. What is to be done `beside` it is done as soon as its table is there: no transaction holds the
/// two together.
async fn apply(
    connection: &mut MariaDbConnection,
    migration: &Migration,
    beside: Option<&str>,
    now: Timestamp,
) -> Result<Applied> {
    let Migration { number, name, sql, .. } = *migration;
    let failed =
        |error: mysql_async::Error| Error::internal(format!("migration {number} ({name}) failed: {}", words(&error)));
    let own = statements(sql);
    let mut first = vec![CREATE_TABLE.to_owned()];
    if let Some(beside) = beside {
        // Every statement can be run again.
        first.extend(own.iter().find(|statement| statement.contains(COUNTERS)).cloned());
        first.push(beside.replacen("insert into", "insert ignore into", 1));
    }
    for statement in first.into_iter().chain(own) {
        let statement = connection.flavor.in_its_words(&statement);
        connection.conn.query_drop(statement).await.map_err(failed)?;
    }
    let applied = migration.applied(now);
    let row = (number, &applied.name, &applied.checksum, now.as_microsecond(), applied.needs);
    let insert = "insert into schema_migrations (number, name, checksum, applied_at, needs) values (?, ?, ?, ?, ?)";
    connection.conn.exec_drop(insert, row).await.map_err(failed)?;
    Ok(applied)
}

async fn read_applied(connection: &mut MariaDbConnection) -> Result<Vec<Applied>> {
    let failed = |error: mysql_async::Error| unusable(words(&error));
    let exists = "select count(*) from information_schema.tables \
                  where table_schema = database() and table_name = 'schema_migrations'";
    if connection.conn.query_first::<i64, _>(exists).await.map_err(failed)? != Some(1) {
        let others = format!(
            "select table_name from information_schema.tables where table_schema = database() and table_name in ({}) \
             limit 1",
            servers::COMMON_NAMES
        );
        let other: Option<String> = connection.conn.query_first(others).await.map_err(failed)?;
        let Some(other) = other else { return Ok(Vec::new()) };
        // Another node may have made them just now; then it is there, too, since it is the first that a blog makes.
        if connection.conn.query_first::<i64, _>(exists).await.map_err(failed)? != Some(1) {
            return Err(servers::not_a_blog(&other));
        }
    }
    let rows: Vec<(u32, String, String, i64, u32)> = connection
        .conn
        .query(
            "select number, name, checksum, applied_at, coalesce(needs, number) from schema_migrations order by number",
        )
        .await
        .map_err(|error| match error {
            // An unknown column: others call theirs so, too.
            mysql_async::Error::Server(ref server) if server.code == 1054 => servers::not_a_blog("schema_migrations"),
            error => failed(error),
        })?;
    let applied = rows.into_iter().map(|(number, name, checksum, at, needs)| Applied {
        number,
        name,
        needs,
        checksum,
        applied_at: Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH),
    });
    Ok(applied.collect())
}

pub(crate) fn unusable(why: impl Display) -> Error {
    let detail = format!("The database cannot be read or written: {why}.");
    Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
}
