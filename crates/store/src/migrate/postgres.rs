//! The same for PostgreSQL: each migration in a transaction of its own, under an advisory lock, so
//! that nodes that start together do not get into each other's way.

use std::time::Duration;

use deadpool_postgres::{Client, Transaction};
use inkstone_core::{Code, Error, Result};
use jiff::Timestamp;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::{Applied, EXPANDS, Fit, Migration, Migrator, servers};
use crate::db::PostgresOptions;
use crate::db::postgres_words as words;

/// The migrations of PostgreSQL, in order: the same numbers, names and needs as SQLite's.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "initial", needs: 1, sql: include_str!("../../migrations/postgres/0001_initial.sql") },
    Migration { number: 2, name: "search", needs: 2, sql: include_str!("../../migrations/postgres/0002_search.sql") },
    Migration {
        number: 3,
        name: "leases",
        needs: EXPANDS,
        sql: include_str!("../../migrations/postgres/0003_leases.sql"),
    },
];

/// What serialises migrations, among the advisory locks of the database: "inkstonM".
const LOCK: i64 = 0x696e_6b73_746f_6e4d;

/// How long a migration waits for a table that others use: whoever comes later waits behind it.
const WAIT_MS: u32 = 1000;
/// How long it lets them by after that.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it comes back.
const TRIES: u32 = 30;
/// What it is told when it waited in vain, and when it and another waited for one another.
const IN_THE_WAY: &[SqlState] = &[SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];

const CREATE_TABLE: &str = r#"
    create table if not exists schema_migrations (
        number     bigint           not null constraint schema_migrations_pkey primary key,
        name       text collate "C" not null,
        checksum   text collate "C" not null,
        applied_at bigint           not null,
        needs      bigint
    );
    alter table schema_migrations add column if not exists needs bigint"#;

/// Applies what is missing; gives what it applied. Safe to call from several nodes at once.
///
/// # Errors
/// `Conflict` if the database has had a migration that this program cannot live with, or one that has been
/// changed since; `Unavailable` if it cannot be reached, or others hold its tables for too long.
pub async fn run(options: &PostgresOptions) -> Result<Vec<Applied>> {
    run_of(MIGRATIONS, options).await
}

/// As [`run`], for the target of a copy: see [`run_for_copy`](super::run_for_copy).
///
/// # Errors
/// As [`run`].
pub async fn run_for_copy(options: &PostgresOptions) -> Result<Vec<Applied>> {
    run_with(Migrator::of(MIGRATIONS).for_copy(), options).await
}

/// What the database has had. Empty for an empty database.
///
/// # Errors
/// `Unavailable` if it cannot be reached.
pub async fn applied(options: &PostgresOptions) -> Result<Vec<Applied>> {
    applied_to(&mut connect(options).await?).await
}

async fn applied_to(client: &mut Client) -> Result<Vec<Applied>> {
    let transaction = client.transaction().await.map_err(|error| unusable(&error))?;
    let applied = read_applied(&transaction).await?;
    // In order: a connection that breaks off is a complaint in the server's log.
    transaction.rollback().await.map_err(|error| unusable(&error))?;
    Ok(applied)
}

/// What [`run`] would apply, or what the database has had that this program does not know.
///
/// # Errors
/// As [`run`].
pub async fn fit(options: &PostgresOptions) -> Result<Fit<'static>> {
    Migrator::of(MIGRATIONS).compare(applied(options).await?)
}

/// What [`run`] would apply.
///
/// # Errors
/// As [`run`].
pub async fn pending(options: &PostgresOptions) -> Result<Vec<Migration>> {
    fit(options).await.map(|fit| fit.missing.to_vec())
}

/// Makes a table and takes it back: whether [`run`] could do what it has to.
///
/// # Errors
/// `Unavailable` with what the server said.
pub async fn try_table(options: &PostgresOptions) -> Result<()> {
    let mut client = connect(options).await?;
    let transaction = client.transaction().await.map_err(|error| unusable(&error))?;
    let made = transaction.batch_execute("create table inkstone_doctor ()").await;
    transaction.rollback().await.map_err(|error| unusable(&error))?;
    made.map_err(|error| unusable(&error))
}

/// As [`run`], with another list.
///
/// # Errors
/// As [`run`].
pub async fn run_of(migrations: &[Migration], options: &PostgresOptions) -> Result<Vec<Applied>> {
    run_with(Migrator::of(migrations), options).await
}

async fn run_with(migrator: Migrator<'_>, options: &PostgresOptions) -> Result<Vec<Applied>> {
    let mut client = connect(options).await?;
    // Not under the lock, which a node may hold that stands still: who has nothing to do need not wait for it.
    let fit = migrator.compare(applied_to(&mut client).await?)?;
    if fit.missing.is_empty() {
        fit.tell();
        return Ok(Vec::new());
    }
    let (mut done, mut tries) = (Vec::new(), TRIES);
    loop {
        match apply_next(&migrator, &mut client, options.clock.now()).await? {
            Step::Applied(applied) => {
                tracing::info!(migration.number = applied.number, migration.name = %applied.name, "migration applied");
                done.push(applied);
                tries = TRIES;
            }
            Step::Nothing => return Ok(done),
            Step::InTheWay(error) if tries == 0 => return Err(error),
            Step::InTheWay(error) => {
                tracing::warn!(%error, "a migration waits for others and is tried again");
                tries -= 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What came of a step.
enum Step {
    Applied(Applied),
    /// There is nothing more to do.
    Nothing,
    /// Others use what it would change. Nothing was changed.
    InTheWay(Error),
}

pub(crate) async fn connect(options: &PostgresOptions) -> Result<Client> {
    let client = options.single().await.map_err(|error| {
        let detail = format!("The database {} cannot be used: {error}.", options.address);
        Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
    })?;
    let about = "select current_setting('server_version_num'), current_setting('server_encoding')";
    let rows = client.query_typed(about, &[]).await.map_err(|error| unusable(&error))?;
    if let Some(row) = rows.first() {
        servers::require_postgres(&options.address.to_string(), row.get(0), row.get(1))?;
    }
    Ok(client)
}

/// Applies one migration. What is missing is found out under the lock: another node may have been
/// quicker.
async fn apply_next(migrator: &Migrator<'_>, client: &mut Client, now: Timestamp) -> Result<Step> {
    // Dropped on the way, it is taken back.
    let transaction = client.transaction().await.map_err(|error| unusable(&error))?;
    let prepare = format!(
        "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; \
         select pg_advisory_xact_lock({LOCK}); set local lock_timeout = '{WAIT_MS}ms'"
    );
    transaction.batch_execute(&prepare).await.map_err(|error| unusable(&error))?;
    let fit = migrator.compare(read_applied(&transaction).await?);
    let Some(migration) = fit.as_ref().ok().and_then(|fit| fit.missing.first().copied()) else {
        transaction.rollback().await.map_err(|error| unusable(&error))?;
        fit?.tell();
        return Ok(Step::Nothing);
    };
    let failed = |error: tokio_postgres::Error| {
        let Migration { number, name, .. } = migration;
        Error::internal(format!("migration {number} ({name}) failed: {}", words(&error)))
    };
    for sql in [CREATE_TABLE, migration.sql].into_iter().chain(migrator.beside(&migration)) {
        let Err(error) = transaction.batch_execute(sql).await else { continue };
        if !error.code().is_some_and(|code| IN_THE_WAY.contains(code)) {
            return Err(failed(error));
        }
        transaction.rollback().await.map_err(|error| unusable(&error))?;
        return Ok(Step::InTheWay(unusable(&error)));
    }
    let applied = migration.applied(now);
    transaction
        .execute_typed(
            "insert into schema_migrations (number, name, checksum, applied_at, needs) values ($1, $2, $3, $4, $5)",
            &[
                (&i64::from(applied.number), Type::INT8),
                (&applied.name, Type::TEXT),
                (&applied.checksum, Type::TEXT),
                (&applied.applied_at.as_microsecond(), Type::INT8),
                (&i64::from(applied.needs), Type::INT8),
            ],
        )
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Step::Applied(applied))
}

async fn read_applied(transaction: &Transaction<'_>) -> Result<Vec<Applied>> {
    let query = async |sql: &str| transaction.query_typed(sql, &[]).await;
    // Not by `to_regclass`, which may remember from before the lock was there that the table is not.
    let named = |names: &str, schemas: &str| {
        format!(
            "select cast(c.relname as text)
             from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where c.relname in ({names}) and n.nspname = any ({schemas}) limit 1"
        )
    };
    let of_a_blog = named("'schema_migrations'", "current_schemas(false)");
    let is_there = async || query(&of_a_blog).await.map(|rows| !rows.is_empty()).map_err(|error| unusable(&error));
    if !is_there().await? {
        let others = query(&named(servers::COMMON_NAMES, "array[current_schema()]")).await;
        let others = others.map_err(|error| unusable(&error))?;
        let Some(other) = others.first() else { return Ok(Vec::new()) };
        // Another node may have made them just now; then it is there, too.
        if !is_there().await? {
            return Err(servers::not_a_blog(other.get(0)));
        }
    }
    // As JSON, since the column is not there where only programs have been that knew nothing of it.
    let rows = query(
        "select number, name, checksum, applied_at, coalesce(cast(to_jsonb(m) ->> 'needs' as bigint), number)
         from schema_migrations m order by number",
    )
    .await
    .map_err(|error| match error.code() {
        // Others call theirs so, too.
        Some(&SqlState::UNDEFINED_COLUMN) => servers::not_a_blog("schema_migrations"),
        _ => unusable(&error),
    })?;
    let applied = rows.iter().map(|row| {
        let number = |column| u32::try_from(row.get::<_, i64>(column)).map_err(Error::internal);
        Ok(Applied {
            number: number(0)?,
            needs: number(4)?,
            name: row.get(1),
            checksum: row.get(2),
            applied_at: Timestamp::from_microsecond(row.get(3)).unwrap_or(Timestamp::UNIX_EPOCH),
        })
    });
    applied.collect()
}

pub(crate) fn unusable(error: &tokio_postgres::Error) -> Error {
    let detail = format!("The database cannot be read or written: {}.", words(error));
    Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
}
