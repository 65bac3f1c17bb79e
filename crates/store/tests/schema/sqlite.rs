//! The schema of SQLite, which those of the others are compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use inkstone_core::clock::SystemClock;
use inkstone_store::db::SqliteOptions;
use inkstone_store::migrate;
use rusqlite::Connection;

pub(crate) type Columns = Vec<String>;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Type and whether it may be null, by name.
    pub(crate) columns: BTreeMap<String, (String, bool)>,
    /// Primary keys and unique constraints: SQLite does not keep their names.
    pub(crate) unique: BTreeSet<Columns>,
    /// From which columns to which of which table.
    pub(crate) references: BTreeSet<(Columns, String, Columns)>,
    pub(crate) indexes: BTreeMap<String, Columns>,
    pub(crate) checks: BTreeSet<String>,
}

pub(crate) type Schema = BTreeMap<String, Table>;

/// Without the index of words, which is each database's own affair.
pub(crate) fn under_sqlite() -> Schema {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(directory.path().join("blog.db"), Arc::new(SystemClock));
    migrate::run(&options).unwrap();
    let connection = Connection::open(&options.path).unwrap();
    let rows = |sql: &str, width: usize| -> Vec<Vec<String>> {
        let mut statement = connection.prepare(sql).unwrap();
        let text = |row: &rusqlite::Row<'_>, column| match row.get_ref(column).unwrap() {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => other.as_str_or_null().unwrap().unwrap_or_default().to_owned(),
        };
        statement
            .query_map([], |row| Ok((0..width).map(|column| text(row, column)).collect()))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let mut schema = Schema::new();
    for table in rows(
        "select name, sql from sqlite_schema where type = 'table' and name not like 'sqlite%'
                  and name not like 'posts!_search%' escape '!'",
        2,
    ) {
        let [name, sql] = table.try_into().unwrap();
        let mut found = Table::default();
        let mut key = BTreeMap::new();
        for column in rows(&format!("select name, type, \"notnull\", pk from pragma_table_info('{name}')"), 4) {
            let [column, kind, not_null, place] = column.try_into().unwrap();
            // A key that is the row's own number cannot be null, whether it says so or not.
            let may_be_null = not_null == "0" && place == "0";
            if place != "0" {
                key.insert(place, column.clone());
            }
            let kind = match kind.to_lowercase().as_str() {
                "integer" => "bigint",
                "text" => "text",
                "blob" => "bytea",
                other => panic!("{name}.{column}: {other}"),
            };
            found.columns.insert(column, (kind.to_owned(), may_be_null));
        }
        found.unique.insert(key.into_values().collect());
        for index in rows(&format!("select name, origin from pragma_index_list('{name}')"), 2) {
            let [index, origin] = index.try_into().unwrap();
            let columns = rows(&format!("select name from pragma_index_info('{index}') order by seqno"), 1);
            let columns: Columns = columns.into_iter().flatten().collect();
            if origin == "c" {
                found.indexes.insert(index, columns);
            } else {
                found.unique.insert(columns);
            }
        }
        let mut references: BTreeMap<String, (Columns, String, Columns)> = BTreeMap::new();
        let keys =
            format!("select id, \"table\", \"from\", \"to\" from pragma_foreign_key_list('{name}') order by id, seq");
        for reference in rows(&keys, 4) {
            let [id, table, from, to] = reference.try_into().unwrap();
            let entry = references.entry(id).or_insert((Vec::new(), table, Vec::new()));
            entry.0.push(from);
            entry.2.push(to);
        }
        found.references = references.into_values().collect();
        let words: Vec<&str> = sql.split_whitespace().collect();
        let checks = words.windows(3).filter(|words| words[0] == "constraint" && words[2] == "check");
        found.checks = checks.map(|words| words[1].to_owned()).collect();
        schema.insert(name, found);
    }
    schema
}
