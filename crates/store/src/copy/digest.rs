//! What a database holds, in a few numbers for each table: the same for the same rows, wherever
//! they are.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::mark::{EMPTYING, PREPARED};
use super::walk::Record;

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDigest {
    /// Its name.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// The bytes of all values. A number has eight.
    pub bytes: u64,
    /// SHA-256 over all rows in the order of their keys, in hexadecimal.
    pub sha256: String,
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Each table, in the order in which they are copied.
    pub tables: Vec<TableDigest>,
}

impl Manifest {
    /// All rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// The tables that are not the same here and there.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = self.tables.iter().zip(&other.tables);
        pairs.filter(|(ours, theirs)| ours != theirs).map(|(ours, _)| ours.table).collect()
    }

    /// A number that no other content has, as good as certainly. None of those that mean something else in a mark.
    pub(super) fn identity(&self) -> i64 {
        let mut hash = Sha256::new();
        for table in &self.tables {
            hash.update(table.table);
            hash.update(&table.sha256);
        }
        let number = hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte));
        if matches!(number, EMPTYING | PREPARED) { PREPARED + 1 } else { number }
    }
}

/// Takes in the rows of a table.
pub(super) struct Hashing {
    table: &'static str,
    rows: u64,
    bytes: u64,
    hash: Sha256,
}

impl Hashing {
    pub(super) fn of(table: &'static str) -> Self {
        Self { table, rows: 0, bytes: 0, hash: Sha256::new() }
    }

    pub(super) fn add(&mut self, rows: &[Record]) {
        for row in rows {
            self.rows += 1;
            self.bytes += row.hash_into(&mut self.hash);
        }
    }

    pub(super) fn finish(self) -> TableDigest {
        let Self { table, rows, bytes, hash } = self;
        let sha256 = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        TableDigest { table, rows, bytes, sha256 }
    }
}
