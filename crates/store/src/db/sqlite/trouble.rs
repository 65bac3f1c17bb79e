//! What SQLite's result codes mean for the caller and for the store.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::{Code, Error};
use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::db::{Constraint, ConstraintKind, SqlError};

use super::connection::Role;

/// What to do about damage, for the log.
pub(super) const TO_DO: &str =
    "it is damaged; run `inkstone doctor`, keep a copy of the data directory, and restore a backup";

/// What can be wrong with the database itself, as opposed to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No space left. Passes once there is space.
    Full,
    /// Locked by another process.
    Busy,
    /// Interrupted because the deadline passed.
    Interrupted,
    /// No memory.
    Memory,
    /// A file cannot be opened: gone, forbidden, or too many are open.
    CannotOpen,
    /// The disk gave an error.
    Io,
    /// The file is damaged, or not a database.
    Corrupt,
    /// The file or its file system is read-only.
    ReadOnly,
}

/// Where a [`FaultHook`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Before a statement of this name, of a reader or the writer.
    Statement(&'static str),
    /// When the writer commits a group.
    Commit,
    /// When the write-ahead log is copied into the database.
    Checkpoint,
}

/// Makes a step fail as if the disk had: for tests that sweep over every step. SQLite itself
/// takes the failed commit back, so that what is tested is the real way out.
pub type FaultHook = Arc<dyn Fn(Step) -> Option<Trouble> + Send + Sync>;

impl Trouble {
    /// Whether nothing more may be written after it: after a failed flush the system may have
    /// dropped what it could not write, and a later flush that succeeds proves nothing.
    pub(super) fn ends_writing(self) -> bool {
        matches!(self, Self::Io | Self::Corrupt | Self::ReadOnly)
    }

    /// As the caller sees it.
    pub(super) fn to_error(self) -> Error {
        match self {
            Self::Full => Error::try_later(
                Code::StorageFull,
                "The storage is full. Nothing was changed; reading goes on.",
                Duration::from_secs(10),
            ),
            Self::Busy => Error::try_later(
                Code::Unavailable,
                "The database is locked by another process.",
                Duration::from_secs(1),
            ),
            Self::Interrupted => {
                Error::refused(Code::DeadlineExceeded, "The deadline passed before the database had answered.")
            }
            Self::Memory => {
                Error::try_later(Code::Unavailable, "The database is out of memory.", Duration::from_secs(5))
            }
            Self::CannotOpen => {
                Error::try_later(Code::Unavailable, "The database cannot be opened.", Duration::from_secs(5))
            }
            Self::Corrupt => damaged(),
            Self::Io | Self::ReadOnly => Error::try_later(
                Code::Unavailable,
                "The store takes no changes after a disk error. Reading goes on.",
                Duration::from_mins(1),
            ),
        }
    }
}

/// Reads SQLite's code. `None` for errors that a statement is to blame for.
pub(super) fn trouble_of(error: &rusqlite::Error) -> Option<Trouble> {
    let failure = error.sqlite_error()?;
    // The index of the write-ahead log could not grow: a full disk in the clothes of a broken one.
    if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE {
        return Some(Trouble::Full);
    }
    match failure.code {
        ErrorCode::DiskFull => Some(Trouble::Full),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            Some(Trouble::Busy)
        }
        ErrorCode::OperationInterrupted => Some(Trouble::Interrupted),
        ErrorCode::OutOfMemory => Some(Trouble::Memory),
        ErrorCode::CannotOpen => Some(Trouble::CannotOpen),
        ErrorCode::SystemIoFailure => Some(Trouble::Io),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Trouble::Corrupt),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Some(Trouble::ReadOnly),
        _ => None,
    }
}

/// What cannot be read is not shown.
fn damaged() -> Error {
    let detail =
        "A part of the database is damaged and cannot be read. It takes no changes until it has been repaired.";
    Error::try_later(Code::StorageDamaged, detail, Duration::from_mins(1))
}

/// The error of a statement that failed under this role.
pub(super) fn statement_error(statement: &'static str, error: &rusqlite::Error, role: Role) -> Error {
    match trouble_of(error) {
        // To a reader it makes no difference whether it is the disk or the file.
        Some(Trouble::Io) if role == Role::Reader => damaged(),
        // A reader that tries to write is a defect of ours.
        Some(trouble) if role == Role::Writer || trouble != Trouble::ReadOnly => trouble.to_error(),
        _ => Error::internal(SqlError {
            statement,
            detail: Cow::Owned(error.to_string()),
            constraint: constraint_in(error),
        }),
    }
}

fn constraint_in(error: &rusqlite::Error) -> Option<Constraint> {
    let rusqlite::Error::SqliteFailure(failure, text) = error else { return None };
    let kind = match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE => ConstraintKind::Unique,
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => ConstraintKind::PrimaryKey,
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        ffi::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
        _ => return None,
    };
    // "UNIQUE constraint failed: posts.slug"
    let subject = text.as_deref().and_then(|text| text.split_once("failed: ")).map_or("", |(_, subject)| subject);
    Some(Constraint { kind, name: constraint_name(kind, subject) })
}

/// The name by convention, from what SQLite says: `post_tags.post_id, post_tags.tag_id`.
fn constraint_name(kind: ConstraintKind, subject: &str) -> String {
    if let Some(index) = subject.strip_prefix("index '") {
        return index.trim_end_matches('\'').to_owned();
    }
    let suffix = match kind {
        ConstraintKind::Unique => "key",
        ConstraintKind::PrimaryKey => "pkey",
        ConstraintKind::NotNull => "not_null",
        ConstraintKind::Check | ConstraintKind::ForeignKey => return subject.to_owned(),
    };
    let Some((table, _)) = subject.split_once('.') else { return subject.to_owned() };
    if kind == ConstraintKind::PrimaryKey {
        return format!("{table}_{suffix}");
    }
    let columns: Vec<&str> = subject.split(", ").filter_map(|column| Some(column.split_once('.')?.1)).collect();
    format!("{table}_{}_{suffix}", columns.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_convention() {
        for (kind, subject, name) in [
            (ConstraintKind::Unique, "posts.slug", "posts_slug_key"),
            (ConstraintKind::Unique, "post_tags.post_id, post_tags.position", "post_tags_post_id_position_key"),
            (ConstraintKind::Unique, "index 'users_email_key'", "users_email_key"),
            (ConstraintKind::PrimaryKey, "posts.id", "posts_pkey"),
            (ConstraintKind::PrimaryKey, "post_tags.post_id, post_tags.tag_id", "post_tags_pkey"),
            (ConstraintKind::NotNull, "posts.title", "posts_title_not_null"),
            (ConstraintKind::Check, "posts_title_length", "posts_title_length"),
            (ConstraintKind::ForeignKey, "", ""),
        ] {
            assert_eq!(constraint_name(kind, subject), name);
        }
    }

    #[test]
    fn a_log_index_that_cannot_grow_is_a_full_disk() {
        let error = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert_eq!(trouble_of(&error(ffi::SQLITE_IOERR_SHMSIZE)), Some(Trouble::Full));
        assert_eq!(trouble_of(&error(ffi::SQLITE_IOERR_FSYNC)), Some(Trouble::Io));
        assert_eq!(trouble_of(&error(ffi::SQLITE_CANTOPEN)), Some(Trouble::CannotOpen));
        assert!(!Trouble::CannotOpen.ends_writing() && !Trouble::Full.ends_writing() && Trouble::Io.ends_writing());
        assert_eq!(trouble_of(&error(ffi::SQLITE_FULL)), Some(Trouble::Full));
        assert_eq!(trouble_of(&error(ffi::SQLITE_CONSTRAINT_UNIQUE)), None);
    }
}
