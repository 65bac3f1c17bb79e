//! Pages by keyset: a position in an order, not an offset, so that any page costs what the
//! first one costs and concurrent inserts neither repeat nor hide a row.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// The most rows that one page may have.
pub const MAX_LIMIT: u32 = 100;
/// The rows of a page when nobody says.
pub const DEFAULT_LIMIT: u32 = 20;
/// The deepest row that the page numbers of v1 reach. Deeper needs v2's cursors, which cost the same everywhere.
pub const MAX_OFFSET: u64 = 1_000_000;

/// The sort key of a row: what a cursor carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// Ordered by a time (microseconds since 1970), then by id.
    #[serde(rename = "t")]
    Time(i64, i64),
    /// Ordered by a text, then by id.
    #[serde(rename = "s")]
    Text(String, i64),
    /// Ordered by id.
    #[serde(rename = "i")]
    Id(i64),
}

/// What the keys of an order are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Times.
    Time,
    /// Texts.
    Text,
    /// Ids alone.
    Id,
}

impl Key {
    /// What it is made of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Time(..) => Kind::Time,
            Self::Text(..) => Kind::Text,
            Self::Id(_) => Kind::Id,
        }
    }
}

/// Checks how much of an order is asked for, and that a key belongs to this kind of order.
///
/// # Errors
/// [`Code::BadQuery`] for a limit or an offset out of range, [`Code::BadCursor`] for a foreign key.
pub fn check(limit: u32, position: &Position, kind: Kind) -> Result<()> {
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::refused(Code::BadQuery, format!("A page has 1 to {MAX_LIMIT} entries.")));
    }
    match position {
        Position::Offset(skipped) if *skipped > MAX_OFFSET => Err(Error::refused(
            Code::BadQuery,
            format!("Page numbers reach the first {MAX_OFFSET} entries only. Use cursors to go deeper."),
        )),
        Position::After(key) | Position::Before(key) if key.kind() != kind => {
            Err(Error::refused(Code::BadCursor, "The cursor belongs to another order."))
        }
        _ => Ok(()),
    }
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Position {
    /// At the first row.
    #[default]
    Start,
    /// After the row with this key, in the direction of the order.
    After(Key),
    /// Before the row with this key: the page that ends just in front of it.
    Before(Key),
    /// After this many rows (v1's page numbers).
    Offset(u64),
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows, in the order asked for.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<Key>,
    /// Where the page before ends, if there is one.
    pub prev: Option<Key>,
}

impl<T> Page<T> {
    /// Builds a page out of up to `limit + 1` rows read in the direction of `position`
    /// (so for `Before` in reverse order): the extra row only says that there are more.
    pub fn from_rows(mut rows: Vec<T>, limit: u32, position: &Position, key: impl Fn(&T) -> Key) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let backwards = matches!(position, Position::Before(_));
        if backwards {
            rows.reverse();
        }
        let has_prev = match position {
            Position::Start => false,
            Position::Offset(skipped) => *skipped > 0,
            Position::After(_) => true,
            Position::Before(_) => more,
        };
        let has_next = if backwards { true } else { more };
        Self {
            next: rows.last().filter(|_| has_next).map(&key),
            prev: rows.first().filter(|_| has_prev).map(&key),
            items: rows,
        }
    }
}
