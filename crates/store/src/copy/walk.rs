//! Reading a table from its first row to its last, in the order of its key, a page at a time.
//!
//! A page is measured before it is read, so that large rows come few at a time.

use inkstone_core::{Error, Result};
use sha2::Digest as _;

use super::tables::statement;
use crate::db::{Cell, Conn, FromRow, Row, Statement, Value};

/// The most rows of a page.
pub(super) const PAGE_ROWS: i64 = 500;
/// The most bytes of a page, unless a single row has more.
pub(super) const PAGE_BYTES: i64 = 4 << 20;

/// What stands in one column of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Datum {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row, or its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record(pub(super) Vec<Datum>);

impl Datum {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(*number),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Null => 0,
            Self::Int(_) => 8,
            Self::Text(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Goes into the hash in a form that no other value has, whatever stands before and after it.
    /// Gives the bytes of the value itself.
    fn hash_into(&self, hash: &mut sha2::Sha256) -> u64 {
        let (kind, bytes): (u8, &[u8]) = match self {
            Self::Null => (0, &[]),
            Self::Int(number) => (1, &number.to_be_bytes()),
            Self::Text(text) => (2, text.as_bytes()),
            Self::Bytes(bytes) => (3, bytes),
        };
        let length = bytes.len() as u64;
        hash.update([kind]);
        hash.update(length.to_be_bytes());
        hash.update(bytes);
        length
    }
}

impl Record {
    pub(super) fn values(&self) -> Vec<Value<'_>> {
        self.0.iter().map(Datum::value).collect()
    }

    /// The bytes of all values. A number has eight.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(Datum::bytes).sum()
    }

    /// The place of the value with the most bytes.
    pub(super) fn largest(&self) -> usize {
        let sizes = self.0.iter().map(Datum::bytes).enumerate();
        sizes.max_by_key(|(_, bytes)| *bytes).map_or(0, |(place, _)| place)
    }

    pub(super) fn hash_into(&self, hash: &mut sha2::Sha256) -> u64 {
        self.0.iter().map(|datum| datum.hash_into(hash)).sum()
    }
}

impl FromRow for Record {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let datum = |column| {
            Ok(match row.cell(column)? {
                Cell::Null => Datum::Null,
                Cell::Int(number) => Datum::Int(number),
                Cell::Text(_) => Datum::Text(row.text(column)?),
                Cell::Bytes(bytes) => Datum::Bytes(bytes.to_vec()),
                Cell::Other => return Err(row.bad(column, "is of a type that no column has")),
            })
        };
        (0..row.width()).map(datum).collect::<Result<_>>().map(Self)
    }
}

/// How to read a table, or what is like one.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) name: &'static str,
    key: Vec<String>,
    columns: Vec<String>,
    /// The places of texts that come as bytes from MariaDB.
    texts_as_bytes: Vec<usize>,
    /// Keys and sizes in bytes, from the first row or after a key, so many.
    measure: [Statement; 2],
    /// Rows from the first or after a key, up to a key.
    page: [Statement; 2],
    last: Statement,
    count: Statement,
}

impl Walk {
    /// Reads `columns`, qualified names of which those of whole numbers end in `#`, those of texts that
    /// MariaDB keeps as bytes in `~`, and of which the first `key` are the order. `from` and `only`
    /// stand after those words of SQL.
    pub(super) fn new(name: &'static str, from: &str, only: Option<&str>, key: usize, columns: &str) -> Self {
        let texts_as_bytes =
            columns.split_whitespace().enumerate().filter(|(_, column)| column.ends_with('~')).map(|(place, _)| place);
        let texts_as_bytes = texts_as_bytes.collect();
        let long = columns.split_whitespace().filter(|column| !column.ends_with('#'));
        let long = long.map(|column| column.trim_end_matches('~'));
        let lengths: Vec<String> = long.map(|column| format!("coalesce(octet_length({column}), 0)")).collect();
        let size = if lengths.is_empty() { "0".to_owned() } else { lengths.join(" + ") };
        let columns: Vec<String> =
            columns.split_whitespace().map(|column| column.trim_end_matches(['#', '~']).to_owned()).collect();
        let key = columns[..key].to_vec();
        let (keys, width) = (key.join(", "), key.len());
        let backwards: Vec<String> = key.iter().map(|column| format!("{column} desc")).collect();
        let select = |what: &str, conditions: &[String], rest: String| {
            let conditions: Vec<&str> = only.into_iter().chain(conditions.iter().map(String::as_str)).collect();
            let only =
                if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
            format!("select {what} from {from}{only}{rest}")
        };
        let (after, up_to) = (compare(&key, ">", 1), |first| compare(&key, "<=", first));
        let measured = format!("{keys}, {size}");
        let in_order = |limit: usize| format!(" order by {keys} limit ${limit}");
        let all = columns.join(", ");
        let ordered = format!(" order by {keys}");
        Self {
            name,
            measure: [
                statement(name, "measure_first", select(&measured, &[], in_order(1))),
                statement(name, "measure_next", select(&measured, std::slice::from_ref(&after), in_order(width + 1))),
            ],
            page: [
                statement(name, "page_first", select(&all, &[up_to(1)], ordered.clone())),
                statement(name, "page_next", select(&all, &[after.clone(), up_to(width + 1)], ordered)),
            ],
            last: statement(name, "last", select(&keys, &[], format!(" order by {} limit 1", backwards.join(", ")))),
            count: statement(name, "count", select("count(*)", &[], String::new())),
            key,
            columns,
            texts_as_bytes,
        }
    }

    pub(super) fn statements(&self) -> [&Statement; 6] {
        let ([measure, measure_next], [page, page_next]) = (&self.measure, &self.page);
        [measure, measure_next, page, page_next, &self.last, &self.count]
    }

    /// A condition on the key, whose values are parameters from this place on.
    pub(super) fn compare(&self, how: &str, first: usize) -> String {
        compare(&self.key, how, first)
    }

    /// The key of a row.
    pub(super) fn key_of(&self, row: &Record) -> Record {
        Record(row.0[..self.key.len()].to_vec())
    }

    /// What a column of a row is called in a message.
    pub(super) fn name_of(&self, row: &Record, column: usize) -> String {
        let key: Vec<String> = self
            .key_of(row)
            .0
            .iter()
            .map(|datum| match datum {
                Datum::Int(number) => number.to_string(),
                Datum::Text(text) => format!("{text:?}"),
                Datum::Null | Datum::Bytes(_) => "(bytes)".to_owned(),
            })
            .collect();
        format!("{} of the row {}", self.columns[column], key.join(", "))
    }

    /// What a column is called, with its table.
    pub(super) fn column(&self, place: usize) -> &str {
        &self.columns[place]
    }

    /// Rows as every database has them: texts are texts.
    fn made_alike(&self, mut rows: Vec<Record>) -> Result<Vec<Record>> {
        for Record(row) in &mut rows {
            for place in &self.texts_as_bytes {
                if let Some(Datum::Bytes(bytes)) = row.get_mut(*place) {
                    let text = String::from_utf8(std::mem::take(bytes));
                    let bad = |_| Error::internal(format!("{} is not UTF-8", self.columns[*place]));
                    row[*place] = Datum::Text(text.map_err(bad)?);
                }
            }
        }
        Ok(rows)
    }

    /// The key of the last row of the page after this row; `None` after the last row.
    pub(super) async fn end(&'static self, conn: &mut Conn, after: Option<&Record>) -> Result<Option<Record>> {
        let mut values = after.map(Record::values).unwrap_or_default();
        values.push(PAGE_ROWS.into());
        let rows = conn.fetch_all(&self.measure[usize::from(after.is_some())], &values).await?;
        let rows = self.made_alike(rows)?;
        let mut bytes = 0;
        let fits = rows.iter().take_while(|row| {
            let is_first = bytes == 0;
            if let Some(Datum::Int(size)) = row.0.last() {
                // Never nothing, so that the second row is not taken for the first.
                bytes += size + 1;
            }
            is_first || bytes <= PAGE_BYTES
        });
        Ok(fits.last().map(|row| self.key_of(row)))
    }

    /// The page of rows after this one, in order; empty after the last.
    pub(super) async fn page(&'static self, conn: &mut Conn, after: Option<&Record>) -> Result<Vec<Record>> {
        let Some(end) = self.end(conn, after).await? else { return Ok(Vec::new()) };
        let mut values = after.map(Record::values).unwrap_or_default();
        values.extend(end.values());
        self.made_alike(conn.fetch_all(&self.page[usize::from(after.is_some())], &values).await?)
    }

    /// The key of the last row.
    pub(super) async fn last(&'static self, conn: &mut Conn) -> Result<Option<Record>> {
        Ok(self.made_alike(conn.fetch_all(&self.last, &[]).await?)?.pop())
    }

    /// How many rows there are.
    pub(super) async fn count(&'static self, conn: &mut Conn) -> Result<u64> {
        let count: i64 = conn.fetch_one(&self.count, &[]).await?;
        Ok(count.unsigned_abs())
    }
}

fn compare(key: &[String], how: &str, first: usize) -> String {
    let places: Vec<String> = (first..first + key.len()).map(|place| format!("${place}")).collect();
    match key {
        [column] => format!("{column} {how} {}", places[0]),
        columns => {
            // A bound of the first column beside that of all: MariaDB walks no index for several.
            let loosely = if how.starts_with('>') { ">=" } else { "<=" };
            let (column, place) = (&columns[0], &places[0]);
            format!("{column} {loosely} {place} and ({}) {how} ({})", columns.join(", "), places.join(", "))
        }
    }
}
