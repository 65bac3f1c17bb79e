//! Which databases are taken for a blog's, and what is said of the others.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::MariaDbOptions;
use inkstone_store::migrate::mariadb;
use inkstone_testkit::services::MariaDb;

use crate::database::Database;

fn place() -> (Database, MariaDbOptions) {
    let database = Database::empty();
    let options = database.options(Arc::new(SystemClock));
    (database, options)
}

fn tables(database: &Database) -> String {
    let sql = "select coalesce(group_concat(table_name order by table_name separator ' '), '') \
               from information_schema.tables where table_schema = database()";
    MariaDb::shared().sql(database.name(), sql)
}

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    for (theirs, table) in [
        ("create table users (id bigint)", "users"),
        ("create table schema_migrations (version bigint, dirty boolean)", "schema_migrations"),
    ] {
        let (database, options) = place();
        MariaDb::shared().sql(database.name(), theirs);
        for refused in [mariadb::run(&options).await.map(drop), mariadb::fit(&options).await.map(drop)] {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), Code::Conflict, "{error}");
            assert!(
                error.to_string().contains(&format!("something else than a blog: it has a table {table}")),
                "{error}"
            );
        }
        assert_eq!(tables(&database), table);
    }
}

/// Each table says what it needs, whatever the database was made with.
#[tokio::test]
async fn a_database_that_was_made_for_latin1_holds_every_text_all_the_same() {
    let (database, options) = place();
    MariaDb::shared().sql("mysql", &format!("alter database {} character set latin1", database.name()));
    mariadb::run(&options).await.unwrap();
    let others = "select count(*), coalesce(sum(character_set_name not in ('utf8mb4', 'ascii')), 0) \
                  from information_schema.columns where table_schema = database() and character_set_name is not null";
    let seen = MariaDb::shared().sql(database.name(), others);
    let (all, other) = seen.split_once('\t').unwrap();
    assert!(all.parse::<u32>().unwrap() > 20 && other == "0", "{seen}");
}
