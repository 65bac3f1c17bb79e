//! Whether two addresses lead to one database, whatever they call it: another name of its host, a port that is
//! passed on, a pooler in front. No name says so for certain; but a lock that is taken through one of them is seen
//! through the other. It needs no rights, and nothing is written.

use deadpool_postgres::Transaction;
use inkstone_core::Result;
use mysql_async::prelude::Queryable as _;
use tokio_postgres::types::Type;

use crate::db::{MariaDbOptions, PostgresOptions, mariadb_words as words};
use crate::migrate::{mariadb, postgres};

/// Whether both are one database of PostgreSQL. `key` is of nobody else's: a random one.
///
/// # Errors
/// `Unavailable` if one of them cannot be reached.
pub async fn is_one_postgres(one: &PostgresOptions, two: &PostgresOptions, key: i64) -> Result<bool> {
    let (mut holder, mut asker) = (postgres::connect(one).await?, postgres::connect(two).await?);
    let failed = |error| postgres::unusable(&error);
    // Of a transaction, not of a session, which a pooler may give to somebody else.
    let holder = holder.transaction().await.map_err(failed)?;
    let asker = asker.transaction().await.map_err(failed)?;
    let held = try_lock(&holder, key).await.map_err(failed)?;
    let is_free = try_lock(&asker, key).await.map_err(failed)?;
    asker.rollback().await.map_err(failed)?;
    holder.rollback().await.map_err(failed)?;
    Ok(held && !is_free)
}

async fn try_lock(transaction: &Transaction<'_>, key: i64) -> Result<bool, tokio_postgres::Error> {
    let rows = transaction.query_typed("select pg_try_advisory_xact_lock($1)", &[(&key, Type::INT8)]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// Whether both are one database of MariaDB or MySQL, whose locks are the whole server's. `key` as in
/// [`is_one_postgres`].
///
/// # Errors
/// As there.
pub async fn is_one_mariadb(one: &MariaDbOptions, two: &MariaDbOptions, key: i64) -> Result<bool> {
    let (mut holder, mut asker) = (mariadb::connect(one).await?, mariadb::connect(two).await?);
    let failed = |error| mariadb::unusable(words(&error));
    let lock = format!("select get_lock('inkstone.copy.{key:016x}', 0), database()");
    let look = format!("select is_free_lock('inkstone.copy.{key:016x}'), database()");
    // The lock goes with the connection.
    let held: Option<(Option<i64>, String)> = holder.conn.query_first(lock).await.map_err(failed)?;
    let seen: Option<(Option<i64>, String)> = asker.conn.query_first(look).await.map_err(failed)?;
    Ok(match (held, seen) {
        (Some((Some(1), ours)), Some((Some(0), theirs))) => ours == theirs,
        _ => false,
    })
}
