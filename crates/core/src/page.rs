//! Pages by keyset: a position in an order, not an offset, so that any page costs what the
//! first one costs and concurrent inserts neither repeat nor hide a row.

use serde::{Deserialize, Serialize};

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
