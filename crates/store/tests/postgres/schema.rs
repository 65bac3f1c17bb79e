//! The schema is that of SQLite: the same tables, columns, keys, indexes and checks, by name.

use inkstone_store::migrate;
use inkstone_testkit::services::Postgres;

use crate::database::Database;
use crate::sqlite::{Columns, Schema, under_sqlite};

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
            // From PostgreSQL 18 on, what a column says of itself is here too.
            "n" => {}
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
