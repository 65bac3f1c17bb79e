//! The same for PostgreSQL: each migration in a transaction of its own, under an advisory lock, so
//! that nodes that start together do not get into each other's way.

use std::time::Duration;

use deadpool_postgres::{Client, Transaction};
use inkstone_core::{Code, Error, Result};
use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::{Applied, Migration, Migrator, checksum};
use crate::db::PostgresOptions;
use crate::db::postgres_words as words;

/// The migrations of PostgreSQL, in order: the same numbers and names as SQLite's.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "initial", sql: include_str!("../../migrations/postgres/0001_initial.sql") },
    Migration { number: 2, name: "search", sql: include_str!("../../migrations/postgres/0002_search.sql") },
    Migration { number: 3, name: "leases", sql: include_str!("../../migrations/postgres/0003_leases.sql") },
];

/// What serialises migrations, among the advisory locks of the database: "inkstonM".
const LOCK: i64 = 0x696e_6b73_746f_6e4d;

const CREATE_TABLE: &str = r#"
    create table if not exists schema_migrations (
        number     bigint           not null constraint schema_migrations_pkey primary key,
        name       text collate "C" not null,
        checksum   text collate "C" not null,
        applied_at bigint           not null
    )"#;

/// Applies what is missing; gives what it applied. Safe to call from several nodes at once.
///
/// # Errors
/// `Conflict` if the database was made by a newer program, or with a migration that has been
/// changed since; `Unavailable` if it cannot be reached, or others hold its tables for too long.
pub async fn run(options: &PostgresOptions) -> Result<Vec<Applied>> {
    run_of(MIGRATIONS, options).await
}

/// What the database has had. Empty for an empty database.
///
/// # Errors
/// `Unavailable` if it cannot be reached.
pub async fn applied(options: &PostgresOptions) -> Result<Vec<Applied>> {
    let mut client = connect(options).await?;
    let transaction = client.transaction().await.map_err(|error| unusable(&error))?;
    read_applied(&transaction).await
}

/// What [`run`] would apply.
///
/// # Errors
/// As [`run`].
pub async fn pending(options: &PostgresOptions) -> Result<Vec<Migration>> {
    Migrator::of(MIGRATIONS).missing(&applied(options).await?).map(<[Migration]>::to_vec)
}

/// As [`run`], with another list.
///
/// # Errors
/// As [`run`].
pub async fn run_of(migrations: &[Migration], options: &PostgresOptions) -> Result<Vec<Applied>> {
    let mut client = connect(options).await?;
    let mut done = Vec::new();
    while let Some(applied) = apply_next(&Migrator::of(migrations), &mut client, options.clock.now()).await? {
        tracing::info!(migration.number = applied.number, migration.name = %applied.name, "migration applied");
        done.push(applied);
    }
    Ok(done)
}

async fn connect(options: &PostgresOptions) -> Result<Client> {
    options.single().await.map_err(|error| {
        let detail = format!("The database {} cannot be used: {error}.", options.address);
        Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
    })
}

/// Applies one migration. What is missing is found out under the lock: another node may have been
/// quicker.
async fn apply_next(migrator: &Migrator<'_>, client: &mut Client, now: Timestamp) -> Result<Option<Applied>> {
    // Dropped on the way, it is taken back.
    let transaction = client.transaction().await.map_err(|error| unusable(&error))?;
    let prepare = format!(
        "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; \
         select pg_advisory_xact_lock({LOCK}); set local lock_timeout = '30s'"
    );
    transaction.batch_execute(&prepare).await.map_err(|error| unusable(&error))?;
    let Some(migration) = migrator.missing(&read_applied(&transaction).await?)?.first().copied() else {
        return Ok(None);
    };
    let failed = |error: tokio_postgres::Error| {
        let Migration { number, name, .. } = migration;
        Error::internal(format!("migration {number} ({name}) failed: {}", words(&error)))
    };
    transaction.batch_execute(CREATE_TABLE).await.map_err(failed)?;
    transaction.batch_execute(migration.sql).await.map_err(failed)?;
    let applied = Applied {
        number: migration.number,
        name: migration.name.to_owned(),
        checksum: checksum(migration.sql),
        applied_at: now,
    };
    transaction
        .execute_typed(
            "insert into schema_migrations (number, name, checksum, applied_at) values ($1, $2, $3, $4)",
            &[
                (&i64::from(applied.number), Type::INT8),
                (&applied.name, Type::TEXT),
                (&applied.checksum, Type::TEXT),
                (&applied.applied_at.as_microsecond(), Type::INT8),
            ],
        )
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Some(applied))
}

async fn read_applied(transaction: &Transaction<'_>) -> Result<Vec<Applied>> {
    let query =
        |sql: &'static str| async move { transaction.query_typed(sql, &[]).await.map_err(|error| unusable(&error)) };
    let exists = query("select to_regclass('schema_migrations') is not null").await?;
    if !exists.first().is_some_and(|row| row.get(0)) {
        return Ok(Vec::new());
    }
    let rows = query("select number, name, checksum, applied_at from schema_migrations order by number").await?;
    let applied = rows.iter().map(|row| {
        let number: i64 = row.get(0);
        Ok(Applied {
            number: u32::try_from(number).map_err(Error::internal)?,
            name: row.get(1),
            checksum: row.get(2),
            applied_at: Timestamp::from_microsecond(row.get(3)).unwrap_or(Timestamp::UNIX_EPOCH),
        })
    });
    applied.collect()
}

fn unusable(error: &tokio_postgres::Error) -> Error {
    let detail = format!("The database cannot be read or written: {}.", words(error));
    Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
}
