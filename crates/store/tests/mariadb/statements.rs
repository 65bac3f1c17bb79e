//! Every statement fits the schema, in the words that MariaDB is given.

use std::sync::Arc;

use inkstone_core::clock::SystemClock;
use inkstone_store::db::check;
use inkstone_store::statements;

use crate::database::Database;

#[tokio::test]
async fn every_statement_is_prepared_and_takes_and_gives_what_it_does_under_sqlite() {
    let under_sqlite = check::plans(&statements()).unwrap();
    let database = Database::migrated().await;
    let all = check::prepared_by_mariadb(&statements(), &database.options(Arc::new(SystemClock))).await.unwrap();
    assert_eq!(all.len(), under_sqlite.len());
    for ((ours, theirs), statement) in all.iter().zip(under_sqlite).zip(statements()) {
        assert_eq!(ours.statement, theirs.statement);
        assert_eq!(ours.parameters, theirs.parameters, "{}", ours.statement);
        // The driver knows the number of a new row.
        let asks_back = statement.sql.ends_with("returning id");
        let columns = if asks_back { 0 } else { theirs.columns.len() };
        assert_eq!(ours.columns, columns, "{}", ours.statement);
    }
    // That is what one connection keeps prepared, at most: `max_prepared_stmt_count` in docs/operations.md.
    println!("{} statements", all.len());
    assert!(all.len() < 180);
}

#[test]
fn what_stands_beside_a_statement_has_its_name() {
    let names: Vec<&str> = statements().iter().map(|statement| statement.name).collect();
    for variant in check::mariadb_variants() {
        assert!(names.contains(&variant), "{variant}");
    }
}
