//! How the store is, for those who ask whether it can be used.

use jiff::Timestamp;

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes go through.
    Sound,
    /// The disk gave an error while writing. What it holds of the latest writes is not known,
    /// so that nothing more is written until [`Db::recover`](super::Db::recover) or a restart succeeds. Reads go on.
    ReadOnly {
        /// When it happened.
        since: Timestamp,
        /// What the database said; for operators.
        reason: String,
    },
    /// The database cannot be reached, or does not answer. Every unit of work tries anew.
    Unreachable {
        /// When that was noticed.
        since: Timestamp,
        /// What was met; for operators.
        reason: String,
    },
    /// [`Db::close`](super::Db::close) was called.
    Closed,
}
