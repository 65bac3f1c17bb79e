//! What a statement can fail with, and how a repository recognises a broken constraint.

use std::borrow::Cow;

use inkstone_core::Error;

/// A statement that failed for a reason that is not the caller's: the source of an
/// [`Error::Internal`]. It never holds values, only names.
#[derive(Debug, thiserror::Error)]
#[error("statement {statement}: {detail}")]
pub struct SqlError {
    /// The statement's name.
    pub statement: &'static str,
    /// What went wrong.
    pub detail: Cow<'static, str>,
    /// The constraint, if it was one that stood in the way.
    pub constraint: Option<Constraint>,
}

impl SqlError {
    pub(crate) fn new(statement: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { statement, detail: detail.into(), constraint: None }
    }
}

/// What a constraint watches over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConstraintKind {
    /// No two rows alike.
    Unique,
    /// No two rows with the same primary key.
    PrimaryKey,
    /// What is referred to exists.
    ForeignKey,
    /// Not null.
    NotNull,
    /// A condition on the row.
    Check,
}

/// A constraint that refused a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// What it watches over.
    pub kind: ConstraintKind,
    /// Its name. SQLite knows the names of checks only, and columns for the rest, from which the
    /// name is made after the convention that migrations keep: `table_column_column_key`,
    /// `table_pkey`, `table_column_not_null`. Unique indexes are named by it too, partial ones
    /// included. Empty for a foreign key under SQLite, which does not say which.
    pub name: String,
}

impl Constraint {
    /// Whether it is the uniqueness (or primary key) of this name.
    pub fn is_unique(&self, name: &str) -> bool {
        matches!(self.kind, ConstraintKind::Unique | ConstraintKind::PrimaryKey) && self.name == name
    }
}

/// The constraint that made a statement fail, if that was the reason. A refused statement has
/// changed nothing, and the unit of work may go on after it under SQLite, but not under the
/// others: turn it into the refusal that it means and return.
pub fn constraint_of(error: &Error) -> Option<&Constraint> {
    let Error::Internal(source) = error else { return None };
    source.downcast_ref::<SqlError>()?.constraint.as_ref()
}
