//! What can be wrong with a server, and what it means for the caller.

use std::time::Duration;

use inkstone_core::{Code, Error};

/// What is wrong with the database, as opposed to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum Trouble {
    /// No connection, or the one at hand broke.
    Unreachable,
    /// It has no connection left for us.
    Crowded,
    /// No space left.
    Full,
    /// Out of memory or of another resource.
    Exhausted,
    /// It ran, or waited for a lock, for longer than it may.
    Late,
    /// It stood in the way of another transaction.
    Collided,
    /// It only reads: a replica, or told so.
    ReadOnly,
    /// Its disk gave an error.
    Damaged,
    /// The statement met a part of its files that is damaged. The rest can be read.
    Rotten,
}

impl Trouble {
    /// As the caller sees it.
    pub(in crate::db) fn to_error(self) -> Error {
        let unavailable = |detail: &'static str, seconds: u64| {
            Error::try_later(Code::Unavailable, detail, Duration::from_secs(seconds))
        };
        match self {
            Self::Unreachable => unavailable("The database cannot be reached.", 1),
            Self::Crowded => {
                Error::try_later(Code::Overloaded, "The database has no connection left.", Duration::from_secs(1))
            }
            Self::Full => Error::try_later(
                Code::StorageFull,
                "The storage is full. Nothing was changed; reading goes on.",
                Duration::from_secs(10),
            ),
            Self::Exhausted => unavailable("The database is out of memory.", 5),
            Self::Late => {
                Error::refused(Code::DeadlineExceeded, "The deadline passed before the database had answered.")
            }
            Self::Collided => unavailable("Two changes got into each other's way. Nothing was changed.", 1),
            Self::ReadOnly => unavailable("The database takes no changes at present. Reading goes on.", 5),
            Self::Damaged => unavailable("The database cannot read or write its files.", 60),
            Self::Rotten => Error::try_later(
                Code::StorageDamaged,
                "A part of the database is damaged and cannot be read.",
                Duration::from_mins(1),
            ),
        }
    }

    /// What a caller is told whose change was being committed when the connection broke.
    pub(in crate::db) fn amid_commit() -> Error {
        let detail = "The connection to the database broke while the change was being committed: it may have happened.";
        Error::try_later(Code::Unavailable, detail, Duration::from_secs(1))
    }
}
