//! Reading a row, column by column, with errors that say which column of which statement.

use inkstone_core::posts::PostId;
use inkstone_core::tags::TagId;
use inkstone_core::users::UserId;
use inkstone_core::{Error, Result};
use jiff::Timestamp;
use rusqlite::types::ValueRef;

use super::mariadb::types::cell;
use super::{SqlError, Statement};

/// One row of a result. Columns are counted from 0.
#[derive(Debug)]
pub struct Row<'r> {
    statement: &'static Statement,
    arm: RowArm<'r>,
}

#[derive(Debug)]
enum RowArm<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
    MariaDb(&'r mysql_async::Row),
}

/// A column as the database has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    /// Not yet known to be UTF-8.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// Of a type that no column of ours has.
    Other,
}

impl<'a> From<ValueRef<'a>> for Cell<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Int(value),
            ValueRef::Text(value) => Self::Text(value),
            ValueRef::Blob(value) => Self::Bytes(value),
            ValueRef::Real(_) => Self::Other,
        }
    }
}

/// What a whole row becomes.
pub trait FromRow: Sized + Send {
    /// Reads the row; columns in the order of the statement.
    ///
    /// # Errors
    /// `Internal` if a column is missing or holds something else.
    fn from_row(row: &Row<'_>) -> Result<Self>;
}

/// What one column becomes.
pub trait FromColumn: Sized + Send {
    /// Reads the column with this index.
    ///
    /// # Errors
    /// `Internal` if the column is missing or holds something else.
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self>;
}

impl<'r> Row<'r> {
    pub(super) fn sqlite(statement: &'static Statement, row: &'r rusqlite::Row<'r>) -> Self {
        Self { statement, arm: RowArm::Sqlite(row) }
    }

    pub(super) fn postgres(statement: &'static Statement, row: &'r tokio_postgres::Row) -> Self {
        Self { statement, arm: RowArm::Postgres(row) }
    }

    pub(super) fn mariadb(statement: &'static Statement, row: &'r mysql_async::Row) -> Self {
        Self { statement, arm: RowArm::MariaDb(row) }
    }

    /// How many columns there are.
    pub(crate) fn width(&self) -> usize {
        match &self.arm {
            RowArm::Sqlite(row) => row.as_ref().column_count(),
            RowArm::Postgres(row) => row.len(),
            RowArm::MariaDb(row) => row.len(),
        }
    }

    /// A column as it is.
    pub(crate) fn cell(&self, column: usize) -> Result<Cell<'_>> {
        self.value(column)
    }

    /// A column as whatever is asked for.
    pub fn get<T: FromColumn>(&self, column: usize) -> Result<T> {
        T::from_column(self, column)
    }

    /// A whole number.
    pub fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| self.null(column))
    }

    /// A whole number or null.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match self.value(column)? {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(value)),
            _ => Err(self.bad(column, "is not a whole number")),
        }
    }

    /// Text, copied.
    pub fn text(&self, column: usize) -> Result<String> {
        self.str(column).map(str::to_owned)
    }

    /// Text or null, copied.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>> {
        Ok(self.opt_str(column)?.map(str::to_owned))
    }

    /// Text, borrowed for as long as the row is looked at.
    pub fn str(&self, column: usize) -> Result<&str> {
        self.opt_str(column)?.ok_or_else(|| self.null(column))
    }

    /// Text or null, borrowed.
    pub fn opt_str(&self, column: usize) -> Result<Option<&str>> {
        match self.value(column)? {
            Cell::Null => Ok(None),
            Cell::Text(value) => std::str::from_utf8(value).map(Some).map_err(|_| self.bad(column, "is not UTF-8")),
            _ => Err(self.bad(column, "is not text")),
        }
    }

    /// Bytes, copied.
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>> {
        self.opt_bytes(column)?.ok_or_else(|| self.null(column))
    }

    /// Bytes or null, copied.
    pub fn opt_bytes(&self, column: usize) -> Result<Option<Vec<u8>>> {
        match self.value(column)? {
            Cell::Null => Ok(None),
            Cell::Bytes(value) => Ok(Some(value.to_vec())),
            _ => Err(self.bad(column, "is not bytes")),
        }
    }

    /// Exactly `N` bytes, such as a hash.
    pub fn array<const N: usize>(&self, column: usize) -> Result<[u8; N]> {
        self.bytes(column)?.try_into().map_err(|_| self.bad(column, "has another number of bytes"))
    }

    /// 0 or 1.
    pub fn bool(&self, column: usize) -> Result<bool> {
        match self.int(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad(column, "is neither 0 nor 1")),
        }
    }

    /// A time.
    pub fn time(&self, column: usize) -> Result<Timestamp> {
        self.opt_time(column)?.ok_or_else(|| self.null(column))
    }

    /// A time or null.
    pub fn opt_time(&self, column: usize) -> Result<Option<Timestamp>> {
        let Some(micros) = self.opt_int(column)? else { return Ok(None) };
        Timestamp::from_microsecond(micros).map(Some).map_err(|_| self.bad(column, "is not a time"))
    }

    /// An error about this column, for a repository that finds what it read to be wrong.
    pub fn bad(&self, column: usize, what: &str) -> Error {
        Error::internal(SqlError::new(self.statement.name, format!("column {column} {what}")))
    }

    fn null(&self, column: usize) -> Error {
        self.bad(column, "is null")
    }

    fn value(&self, column: usize) -> Result<Cell<'_>> {
        let cell = match &self.arm {
            RowArm::Sqlite(row) => row.get_ref(column).ok().map(Cell::from),
            RowArm::Postgres(row) => row.try_get(column).ok(),
            RowArm::MariaDb(row) => {
                row.columns_ref().get(column).zip(row.as_ref(column)).map(|(kind, value)| cell(kind, value))
            }
        };
        cell.ok_or_else(|| self.bad(column, "is not in the result"))
    }
}

impl FromColumn for i64 {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.int(column)
    }
}

impl FromColumn for String {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.text(column)
    }
}

impl FromColumn for Vec<u8> {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.bytes(column)
    }
}

impl<const N: usize> FromColumn for [u8; N] {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.array(column)
    }
}

impl FromColumn for bool {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.bool(column)
    }
}

impl FromColumn for Timestamp {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.time(column)
    }
}

impl FromColumn for PostId {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.int(column).map(Self)
    }
}

impl FromColumn for UserId {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.int(column).map(Self)
    }
}

impl FromColumn for TagId {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        row.int(column).map(Self)
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(row: &Row<'_>, column: usize) -> Result<Self> {
        if matches!(row.value(column)?, Cell::Null) {
            return Ok(None);
        }
        T::from_column(row, column).map(Some)
    }
}

impl<T: FromColumn> FromRow for T {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        row.get(0)
    }
}

macro_rules! tuples {
    ($($name:ident $column:literal),+) => {
        impl<$($name: FromColumn),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row<'_>) -> Result<Self> {
                Ok(($(row.get::<$name>($column)?,)+))
            }
        }
    };
}

tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
