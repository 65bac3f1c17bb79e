//! No table and no column is forgotten, and every statement fits.

use std::collections::BTreeMap;

use inkstone_store::copy::{statements, statements_of, tables};
use inkstone_store::db::Dialect;
use inkstone_store::db::check::plans;

use crate::bed::File;

/// Made anew, or kept by the migrations themselves.
const NOT_COPIED: &[&str] = &["posts_search", "schema_migrations", "sqlite_sequence", "sqlite_stat1"];

#[test]
fn every_table_and_every_column_is_copied() {
    let file = File::empty();
    let connection = file.connection();
    let list = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut schema = BTreeMap::new();
    for table in list("select name from pragma_table_list where schema = 'main' and type in ('table', 'virtual')") {
        if !NOT_COPIED.contains(&table.as_str()) && !table.starts_with("sqlite_schema") {
            let key = list(&format!("select name from pragma_table_info('{table}') where pk > 0 order by pk"));
            let columns = list(&format!("select name from pragma_table_info('{table}') order by cid"));
            assert_eq!(columns[..key.len()], key, "{table}: the key comes first");
            schema.insert(table, columns);
        }
    }
    let listed = tables();
    let copied: BTreeMap<String, Vec<String>> = listed
        .iter()
        .map(|(table, columns)| ((*table).to_owned(), columns.iter().map(|&column| column.to_owned()).collect()))
        .collect();
    assert_eq!(listed.len(), copied.len(), "each is listed once");
    assert_eq!(copied, schema, "a table of the schema must be listed in crates/store/src/copy/tables.rs");
}

#[test]
fn every_statement_fits_and_none_sorts() {
    let mut all = statements();
    all.extend(statements_of(Dialect::Sqlite));
    assert!(all.len() > 150, "{}", all.len());
    for plan in plans(&all).unwrap() {
        let sorts: Vec<_> = plan.steps.iter().filter(|step| step.contains("TEMP B-TREE")).collect();
        assert!(sorts.is_empty(), "{}: {:#?}", plan.statement, plan.steps);
        // A page begins where the one before it ended, whatever the table has grown to.
        if plan.statement.ends_with("_next") {
            let is_found = plan.steps.iter().all(|step| !step.starts_with("SCAN ") || step.contains("VIRTUAL TABLE"));
            assert!(is_found, "{}: {:#?}", plan.statement, plan.steps);
        }
    }
}
