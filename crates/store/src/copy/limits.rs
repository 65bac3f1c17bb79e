//! What the target cannot hold, found in the source before anything is written.

use std::collections::HashMap;

use inkstone_core::Result;

use super::Stopped;
use super::walk::{Datum, Record, Walk};
use crate::db::{Conn, Dialect, FromRow, Row, Statement};

const MARIADB_LENGTHS: Statement = Statement {
    name: "copy.mariadb.lengths",
    sql: "select c.table_name, c.column_name, c.character_maximum_length, c.character_octet_length
          from information_schema.columns c
          where c.table_schema = database() and c.character_maximum_length is not null",
};

const MARIADB_PACKET: Statement = Statement { name: "copy.mariadb.packet", sql: "select @@max_allowed_packet" };

pub(super) const MARIADB_STATEMENTS: &[&Statement] = &[&MARIADB_LENGTHS, &MARIADB_PACKET];

/// What goes along with the values of a row, at most.
const AROUND: u64 = 4096;

/// What a database can hold.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// The character U+0000.
    takes_nul: bool,
    /// By table and column.
    lengths: HashMap<String, Length>,
    /// The bytes that come and go at once.
    packet: Option<u64>,
}

/// The most that a column holds.
#[derive(Debug, Clone, Copy)]
struct Length {
    characters: u64,
    bytes: u64,
}

struct Column {
    name: String,
    length: Length,
}

impl FromRow for Column {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let number = |column| row.int(column).map(i64::unsigned_abs);
        Ok(Self {
            name: format!("{}.{}", row.str(0)?, row.str(1)?),
            length: Length { characters: number(2)?, bytes: number(3)? },
        })
    }
}

impl Limits {
    /// Whatever can be read.
    pub(super) fn none() -> Self {
        Self { takes_nul: true, lengths: HashMap::new(), packet: None }
    }

    /// Those of a database. SQLite and PostgreSQL hold texts of any length that this program makes.
    pub(super) async fn of(conn: &mut Conn, dialect: Dialect) -> Result<Self> {
        let mut limits = Self::none();
        match dialect {
            Dialect::Sqlite => {}
            Dialect::Postgres => limits.takes_nul = false,
            Dialect::MariaDb => {
                let columns: Vec<Column> = conn.fetch_all(&MARIADB_LENGTHS, &[]).await?;
                limits.lengths = columns.into_iter().map(|column| (column.name, column.length)).collect();
                let packet: i64 = conn.fetch_one(&MARIADB_PACKET, &[]).await?;
                limits.packet = Some(packet.unsigned_abs());
            }
        }
        Ok(limits)
    }

    /// Whether there is room for these rows.
    pub(super) fn check(&self, walk: &Walk, rows: &[Record]) -> Result<(), Stopped> {
        for row in rows {
            for (place, datum) in row.0.iter().enumerate() {
                if let Datum::Text(text) = datum
                    && !self.takes_nul
                    && text.contains('\0')
                {
                    return Err(Stopped::Nul(walk.name_of(row, place)));
                }
                if let Some(length) = self.lengths.get(walk.column(place))
                    && !length.holds(datum)
                {
                    return Err(Stopped::TooLong(walk.name_of(row, place)));
                }
            }
            if let Some(most) = self.packet
                && row.bytes() + AROUND > most
            {
                return Err(Stopped::TooLarge { place: walk.name_of(row, row.largest()), most });
            }
        }
        Ok(())
    }
}

impl Length {
    fn holds(self, datum: &Datum) -> bool {
        match datum {
            Datum::Null | Datum::Int(_) => true,
            // A text of few bytes has few characters: nothing is counted but where it is close.
            Datum::Text(text) => {
                let bytes = text.len() as u64;
                bytes <= self.bytes && (bytes <= self.characters || text.chars().count() as u64 <= self.characters)
            }
            Datum::Bytes(bytes) => bytes.len() as u64 <= self.bytes,
        }
    }
}
