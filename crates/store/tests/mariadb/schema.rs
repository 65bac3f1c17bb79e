//! The schema is that of SQLite: the same tables, columns, keys, indexes and checks, by name.

use inkstone_store::migrate;
use inkstone_testkit::services::MariaDb;

use crate::database::Database;
use crate::sqlite::{Columns, Schema, under_sqlite};

/// Texts of a bounded length, and bytes of one, are texts and bytes. A path is longer than a key of
/// characters may be, so that it is kept as bytes.
fn kind(table: &str, column: &str, kind: &str) -> String {
    match kind {
        "bigint" => "bigint",
        _ if (table, column) == ("redirects", "path") => "text",
        "varchar" | "text" | "mediumtext" | "longtext" => "text",
        "varbinary" | "blob" | "longblob" => "bytea",
        other => panic!("{table}.{column}: {other}"),
    }
    .to_owned()
}

async fn under_mariadb() -> Schema {
    let database = Database::migrated().await;
    let rows = |sql: &str| -> Vec<Vec<String>> {
        let text = MariaDb::shared().sql(database.name(), sql);
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    };
    let list = |text: String| -> Columns { text.split(',').map(str::to_owned).collect() };
    let mut schema = Schema::new();
    let columns = "select table_name, column_name, data_type, is_nullable
                   from information_schema.columns where table_schema = database()";
    for column in rows(columns) {
        let [table, name, data_type, may_be_null] = column.try_into().unwrap();
        let kind = kind(&table, &name, &data_type);
        schema.entry(table).or_default().columns.insert(name, (kind, may_be_null == "YES"));
    }
    let references = "select table_name, constraint_name, referenced_table_name,
                             group_concat(column_name order by ordinal_position),
                             group_concat(referenced_column_name order by ordinal_position)
                      from information_schema.key_column_usage
                      where table_schema = database() and referenced_table_name is not null
                      group by 1, 2, 3";
    let mut made_for_references = Vec::new();
    for reference in rows(references) {
        let [table, name, other, own, theirs] = reference.try_into().unwrap();
        schema.get_mut(&table).unwrap().references.insert((list(own), other, list(theirs)));
        made_for_references.push((table, name));
    }
    let indexes = "select table_name, index_name, non_unique, group_concat(column_name order by seq_in_index)
                   from information_schema.statistics where table_schema = database() group by 1, 2, 3";
    for index in rows(indexes) {
        let [table, name, is_plain, columns] = index.try_into().unwrap();
        // MariaDB makes an index where a reference has none.
        if made_for_references.contains(&(table.clone(), name.clone())) {
            continue;
        }
        let table = schema.get_mut(&table).unwrap();
        if is_plain == "0" {
            table.unique.insert(list(columns));
        } else {
            table.indexes.insert(name, list(columns));
        }
    }
    let checks = "select table_name, constraint_name from information_schema.table_constraints
                  where table_schema = database() and constraint_type = 'CHECK'";
    for check in rows(checks) {
        let [table, name] = check.try_into().unwrap();
        schema.get_mut(&table).unwrap().checks.insert(name);
    }
    schema
}

#[tokio::test]
async fn both_databases_have_the_same_schema() {
    let (mut ours, theirs) = (under_mariadb().await, under_sqlite());
    for own in ["posts_search", "posts_words"] {
        ours.remove(own).unwrap();
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, table) in &theirs {
        assert_eq!(&ours[name], table, "{name}");
    }
}

#[tokio::test]
async fn text_has_the_order_of_its_bytes() {
    let database = Database::migrated().await;
    let other = "select concat(table_name, '.', column_name) from information_schema.columns
                 where table_schema = database() and collation_name <> 'utf8mb4_nopad_bin'";
    assert_eq!(MariaDb::shared().sql(database.name(), other), "");
}

#[test]
fn the_migrations_have_the_same_numbers_and_names() {
    let names = |list: &[migrate::Migration]| list.iter().map(|step| (step.number, step.name)).collect::<Vec<_>>();
    assert_eq!(names(migrate::mariadb::MIGRATIONS), names(migrate::SQLITE));
}
