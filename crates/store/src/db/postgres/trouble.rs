//! What PostgreSQL's error codes mean for the caller.

use std::borrow::Cow;

use inkstone_core::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::db::server::Trouble;
use crate::db::{Constraint, ConstraintKind, SqlError};

/// What a new connection dies of when its server has no room for a file that it makes now and
/// then. Before version 17 it comes as an internal error, always in English.
const NO_INIT_FILE: &str = "could not write init file";

/// Reads the code. `None` for errors that a statement is to blame for.
pub(super) fn trouble_of(error: &tokio_postgres::Error) -> Option<Trouble> {
    let Some(db) = error.as_db_error() else { return is_broken(error).then_some(Trouble::Unreachable) };
    let code = db.code();
    match *code {
        SqlState::TOO_MANY_CONNECTIONS => return Some(Trouble::Crowded),
        SqlState::DISK_FULL => return Some(Trouble::Full),
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => return Some(Trouble::Rotten),
        SqlState::INTERNAL_ERROR if db.message().starts_with(NO_INIT_FILE) => return Some(Trouble::Full),
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => return Some(Trouble::Late),
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => return Some(Trouble::Collided),
        SqlState::READ_ONLY_SQL_TRANSACTION => return Some(Trouble::ReadOnly),
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => return Some(Trouble::Unreachable),
        _ => {}
    }
    match code.code().get(..2)? {
        // Connection exceptions, shutdowns, and the refusals of a start.
        "08" | "57" | "28" | "3D" => Some(Trouble::Unreachable),
        "53" => Some(Trouble::Exhausted),
        "58" | "XX" => Some(Trouble::Damaged),
        _ => None,
    }
}

/// Whether the connection is to blame for an error that the server did not send.
fn is_broken(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error);
    error.is_closed() || source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// The error of a statement that failed.
pub(super) fn statement_error(statement: &'static str, error: &tokio_postgres::Error) -> Error {
    if let Some(trouble) = trouble_of(error) {
        return trouble.to_error();
    }
    let constraint = error.as_db_error().and_then(constraint_in);
    Error::internal(SqlError { statement, detail: Cow::Owned(words(error)), constraint })
}

/// What went wrong, without values: those stand in the details that the server sends along, and,
/// where the data itself is to blame (class 22), in the message.
pub(crate) fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) if db.code().code().starts_with("22") => format!("the data does not fit ({})", db.code().code()),
        // What PgBouncer says of the settings that come with a connection.
        Some(db) if db.message().starts_with("unsupported startup parameter") => {
            format!("{} ({}); with PgBouncer in between, set store.pooler = true", db.message(), db.code().code())
        }
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

fn constraint_in(error: &DbError) -> Option<Constraint> {
    let name = error.constraint().unwrap_or_default();
    let kind = match *error.code() {
        SqlState::UNIQUE_VIOLATION if name.ends_with("_pkey") => ConstraintKind::PrimaryKey,
        SqlState::UNIQUE_VIOLATION => ConstraintKind::Unique,
        SqlState::FOREIGN_KEY_VIOLATION => ConstraintKind::ForeignKey,
        SqlState::CHECK_VIOLATION => ConstraintKind::Check,
        SqlState::NOT_NULL_VIOLATION => {
            // It has a name of its own only from PostgreSQL 18 on.
            let (table, column) = (error.table().unwrap_or_default(), error.column().unwrap_or_default());
            return Some(Constraint { kind: ConstraintKind::NotNull, name: format!("{table}_{column}_not_null") });
        }
        _ => return None,
    };
    Some(Constraint { kind, name: name.to_owned() })
}
