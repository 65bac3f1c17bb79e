//! Moving a blog to another database: every row of every table, whatever kinds of databases the
//! two are.
//!
//! ```text
//! read   the source from end to end: what is in it
//! copy   table by table in the order of keys, a page to a transaction
//! check  both from end to end: the same as was read at the beginning
//! finish the counters, which make the copy whole
//! ```
//!
//! No long transaction is held anywhere, and none is needed: each row is read before it is copied,
//! when it is copied, and afterwards. What says the same in the first and the last reading of the
//! whole did not change in between, so what was copied is one state that the source really had.
//!
//! An interrupted copy goes on after the last row of each table, since rows are copied in the order
//! of their keys and whole pages at a time. Until it is whole the target bears a mark
//! ([`is_unfinished`]), by which it is known what it is a copy of, and that it is no blog yet. It comes with
//! the tables where they are made for the copy ([`migrate::run_for_copy`](crate::migrate::run_for_copy)).
//!
//! The index of words is made anew, since it cannot be read everywhere. To add a table: list it in
//! `tables`; a test compares that list with the schema.

mod copier;
mod digest;
mod identities;
mod limits;
pub(crate) mod mark;
mod same;
mod tables;
mod walk;

use std::sync::Arc;

use inkstone_core::{Context, Error, Result};

use crate::db::{Db, Dialect, Statement};

pub use copier::Copier;
pub use digest::{Manifest, TableDigest};
pub use same::{is_one_mariadb, is_one_postgres};
pub use tables::tables;

/// What a copy is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading what the source holds.
    Read,
    /// Copying rows.
    Copy,
    /// Comparing both.
    Check,
}

/// So many more rows are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// To which table.
    pub table: &'static str,
    /// How many rows, since the last time.
    pub rows: u64,
}

/// Is told what has been done.
pub type Watch = Arc<dyn Fn(Progress) + Send + Sync>;

/// What a copy came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// How.
    pub how: How,
    /// What both databases hold.
    pub manifest: Manifest,
}

/// How a copy came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// All of it now.
    Afresh,
    /// It went on where it was interrupted.
    Resumed,
    /// It was there already: nothing was written.
    AlreadyThere,
}

/// What two databases hold, side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The one.
    pub from: Manifest,
    /// The other.
    pub to: Manifest,
    /// The tables of the other that could give a number to a row that another row has or had.
    pub behind: Vec<&'static str>,
}

impl Comparison {
    /// Whether they are the same.
    pub fn is_same(&self) -> bool {
        self.from == self.to && self.behind.is_empty()
    }
}

/// Why a copy did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// There is something in the target that is not this copy: so many rows in these tables.
    #[error("the target is not empty")]
    NotEmpty(Vec<(&'static str, u64)>),
    /// The target holds an unfinished copy of something else, or of what the source was before.
    #[error("the target holds an unfinished copy of something else")]
    OtherCopy,
    /// The source is an unfinished copy itself.
    #[error("the source is an unfinished copy")]
    SourceUnfinished,
    /// These tables of the source changed while they were copied.
    #[error("the source changed")]
    SourceChanged(Vec<&'static str>),
    /// The rows of these tables are not the same in the target.
    #[error("the copy is not the same")]
    Differs(Vec<&'static str>),
    /// These tables of the target could give a number to a row that another row has or had.
    #[error("the numbers of the copy are behind")]
    Behind(Vec<&'static str>),
    /// The source holds what the target cannot: this column of this row.
    #[error("{0} holds U+0000")]
    Nul(String),
    /// The source holds what is longer than the target's column: this column of this row.
    #[error("{0} is too long")]
    TooLong(String),
    /// The source has a row that is larger than what the target takes at once.
    #[error("a row with {place} is larger than {most} bytes")]
    TooLarge {
        /// The largest column of the row.
        place: String,
        /// How many bytes the target takes at once.
        most: u64,
    },
    /// A database failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Whether a database is an unfinished copy, which nobody should use.
///
/// # Errors
/// Those of the database.
pub async fn is_unfinished(db: &Db, ctx: &Context) -> Result<bool> {
    let mark = db.read(ctx, "copy.mark", |conn| Box::pin(mark::read(conn))).await?;
    Ok(mark.is_some())
}

/// Every statement that all databases understand, for the tests that prepare each.
pub fn statements() -> Vec<&'static Statement> {
    tables::statements().into_iter().chain(mark::STATEMENTS.iter().copied()).collect()
}

/// Every statement that only this kind of database understands, or is given.
pub fn statements_of(dialect: Dialect) -> Vec<&'static Statement> {
    match dialect {
        Dialect::Sqlite => identities::SQLITE_STATEMENTS.to_vec(),
        Dialect::Postgres => identities::POSTGRES_STATEMENTS.to_vec(),
        Dialect::MariaDb => {
            let own = identities::mariadb_statements().into_iter().chain(limits::MARIADB_STATEMENTS.iter().copied());
            own.chain(tables::many()).collect()
        }
    }
}
