//! The schema is that of SQLite: the same tables, columns, keys, indexes and checks, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use inkstone_core::clock::SystemClock;
use inkstone_store::db::SqliteOptions;
use inkstone_store::migrate;
use inkstone_testkit::services::Postgres;
use rusqlite::Connection;

use crate::database::Database;

type Columns = Vec<String>;

#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// Type and whether it may be null, by name.
    columns: BTreeMap<String, (String, bool)>,
    /// Primary keys and unique constraints: SQLite does not keep their names.
    unique: BTreeSet<Columns>,
    /// From which columns to which of which table.
    references: BTreeSet<(Columns, String, Columns)>,
    indexes: BTreeMap<String, Columns>,
    checks: BTreeSet<String>,
}

type Schema = BTreeMap<String, Table>;

/// Without the index of words, which is each database's own affair.
fn under_sqlite() -> Schema {
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

async fn under_postgres() -> Schema {
    let database = Database::migrated().await;
    let rows = |sql: &str| -> Vec<Vec<String>> {
        let text = Postgres::shared().sql(database.name(), sql);
        text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    };
    let list = |text: String| -> Columns { text.split(',').map(str::to_owned).collect() };
    let mut schema = Schema::new();
    let columns = "select table_name, column_name, data_type, is_nullable
                   from information_schema.columns where table_schema = 'public'";
    for column in rows(columns) {
        let [table, name, kind, may_be_null] = column.try_into().unwrap();
        schema.entry(table).or_default().columns.insert(name, (kind, may_be_null == "YES"));
    }
    let constraints = "
        with names as (
            select c.oid,
                   (select string_agg(a.attname, ',' order by k.place)
                    from unnest(c.conkey) with ordinality k (number, place)
                    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number) as own,
                   (select string_agg(a.attname, ',' order by k.place)
                    from unnest(c.confkey) with ordinality k (number, place)
                    join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number) as theirs
            from pg_constraint c)
        select t.relname, c.conname, c.contype, n.own, coalesce(r.relname, ''), coalesce(n.theirs, '')
        from pg_constraint c
        join names n on n.oid = c.oid
        join pg_class t on t.oid = c.conrelid
        left join pg_class r on r.oid = c.confrelid
        where t.relnamespace = 'public'::regnamespace";
    for constraint in rows(constraints) {
        let [table, name, kind, own, other, theirs] = constraint.try_into().unwrap();
        let table = schema.get_mut(&table).unwrap();
        match kind.as_str() {
            "p" | "u" => {
                table.unique.insert(list(own));
            }
            "f" => {
                table.references.insert((list(own), other, list(theirs)));
            }
            "c" => {
                table.checks.insert(name);
            }
            other => panic!("{name}: {other}"),
        }
    }
    let indexes = "
        select t.relname, i.relname,
               (select string_agg(a.attname, ',' order by a.attnum) from pg_attribute a where a.attrelid = i.oid)
        from pg_index x
        join pg_class t on t.oid = x.indrelid
        join pg_class i on i.oid = x.indexrelid
        where t.relnamespace = 'public'::regnamespace
          and not exists (select 1 from pg_constraint c where c.conindid = i.oid and c.contype in ('p', 'u'))";
    for index in rows(indexes) {
        let [table, name, columns] = index.try_into().unwrap();
        schema.get_mut(&table).unwrap().indexes.insert(name, list(columns));
    }
    schema
}

#[tokio::test]
async fn both_databases_have_the_same_schema() {
    let (mut ours, theirs) = (under_postgres().await, under_sqlite());
    ours.remove("posts_search").unwrap();
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, table) in &theirs {
        assert_eq!(&ours[name], table, "{name}");
    }
}

#[tokio::test]
async fn text_has_the_order_of_its_bytes() {
    let database = Database::migrated().await;
    let other = "select table_name || '.' || column_name from information_schema.columns
                 where table_schema = 'public' and data_type = 'text' and collation_name is distinct from 'C'";
    assert_eq!(Postgres::shared().sql(database.name(), other), "");
}

#[test]
fn the_migrations_have_the_same_numbers_names_and_needs() {
    let names = |list: &[migrate::Migration]| -> Vec<_> {
        list.iter().map(|step| (step.number, step.name, step.needs)).collect()
    };
    assert_eq!(names(migrate::postgres::MIGRATIONS), names(migrate::SQLITE));
}
