//! The runner of migrations.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::MariaDbOptions;
use inkstone_store::migrate::{EXPANDS, Migration, mariadb};
use inkstone_testkit::services::MariaDb;

use crate::database::Database;

const FIRST: Migration =
    Migration { number: 1, name: "first", needs: 1, sql: "create table if not exists a (id bigint primary key);" };
const SECOND: Migration = Migration {
    number: 2,
    name: "second",
    needs: 2,
    sql: "create table if not exists b (id bigint primary key);\ninsert ignore into b values (1);",
};
const BROKEN: Migration = Migration {
    number: 3,
    name: "broken",
    needs: 3,
    sql: "create table if not exists c (id bigint);\ninsert into nowhere values (1);",
};

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
async fn what_is_missing_is_applied_in_order_and_once() {
    let (database, options) = place();
    assert!(mariadb::applied(&options).await.unwrap().is_empty());
    assert_eq!(mariadb::pending(&options).await.unwrap(), mariadb::MIGRATIONS);
    assert_eq!(tables(&database), "", "looking makes nothing");
    assert_eq!(mariadb::run_of(&[FIRST], &options).await.unwrap().len(), 1);
    let applied = mariadb::run_of(&[FIRST, SECOND], &options).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.number).collect::<Vec<_>>(), [2]);
    assert!(mariadb::run_of(&[FIRST, SECOND], &options).await.unwrap().is_empty());
    let applied = mariadb::applied(&options).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(tables(&database), "a b schema_migrations");
}

#[tokio::test]
async fn a_migration_that_breaks_off_is_done_again_from_its_beginning() {
    let (database, options) = place();
    mariadb::run_of(&[FIRST, SECOND, BROKEN], &options).await.unwrap_err();
    assert_eq!(tables(&database), "a b c schema_migrations", "what was made stays: no transaction holds it");
    assert_eq!(mariadb::applied(&options).await.unwrap().len(), 2);
    let mended = Migration { sql: "create table if not exists c (id bigint);", ..BROKEN };
    assert_eq!(mariadb::run_of(&[FIRST, SECOND, mended], &options).await.unwrap().len(), 1);
    assert_eq!(tables(&database), "a b c schema_migrations");
}

/// What a process leaves behind that is killed at any moment.
#[tokio::test]
async fn each_migration_can_be_killed_after_each_statement_and_run_again() {
    let (database, options) = place();
    let schema = |database: &Database| {
        let sql = "select table_name, column_name, column_type, is_nullable, column_default, collation_name \
                   from information_schema.columns where table_schema = database() \
                   union all \
                   select table_name, index_name, column_name, seq_in_index, non_unique, null \
                   from information_schema.statistics where table_schema = database() order by 1, 2, 3, 4";
        MariaDb::shared().sql(database.name(), sql)
    };
    let modes = "set session sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES'";
    // Before its first statement comes the table of the migrations themselves.
    let dead = Migration { sql: "insert into nowhere values (1);", ..FIRST };
    mariadb::run_of(&[dead], &options).await.unwrap_err();
    for (place, migration) in mariadb::MIGRATIONS.iter().enumerate() {
        for statement in mariadb::statements(migration.sql) {
            // Killed after this statement, and the next process comes as far as the next.
            MariaDb::shared().sql(database.name(), &format!("{modes};\n{statement}"));
            MariaDb::shared().sql(database.name(), &format!("{modes};\n{statement}"));
        }
        assert_eq!(mariadb::applied(&options).await.unwrap().len(), place);
        assert_eq!(mariadb::run_of(&mariadb::MIGRATIONS[..=place], &options).await.unwrap().len(), 1);
    }
    let whole = Database::migrated().await;
    assert_eq!(schema(&database), schema(&whole));
    for table in ["site", "counters"] {
        assert_eq!(MariaDb::shared().sql(database.name(), &format!("select count(*) from {table}")), "1");
    }
}

#[tokio::test]
async fn a_changed_migration_and_a_newer_database_are_refused() {
    let (database, options) = place();
    mariadb::run_of(&[FIRST, SECOND], &options).await.unwrap();
    let changed = Migration { sql: "create table other (id bigint)", ..FIRST };
    for list in [&[changed, SECOND, BROKEN][..], &[FIRST][..]] {
        assert_eq!(mariadb::run_of(list, &options).await.unwrap_err().code(), Code::Conflict);
    }
    assert_eq!(tables(&database), "a b schema_migrations");
}

#[tokio::test]
async fn a_newer_database_that_was_only_expanded_is_worked_with() {
    let (_database, options) = place();
    mariadb::run_of(&[FIRST, Migration { needs: EXPANDS, ..SECOND }], &options).await.unwrap();
    assert!(mariadb::run_of(&[FIRST], &options).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_apply_each_once() {
    let (_database, options) = place();
    let nodes: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { mariadb::run_of(&[FIRST, SECOND], &options).await.unwrap().len() })
        })
        .collect();
    let mut applied = 0;
    for node in nodes {
        applied += node.await.unwrap();
    }
    assert_eq!(applied, 2);
}

#[tokio::test]
async fn a_node_that_is_killed_in_the_middle_holds_nobody_up() {
    let (database, options) = place();
    let slow = Migration {
        number: 1,
        name: "slow",
        needs: 1,
        sql: "create table if not exists a (id bigint);\ndo sleep(600);",
    };
    let node = tokio::spawn({
        let options = options.clone();
        async move { mariadb::run_of(&[slow], &options).await }
    });
    let asleep = format!(
        "select id from information_schema.processlist where db = '{}' and info like '%sleep(600)%'",
        database.name()
    );
    let id = tokio::task::spawn_blocking(move || {
        let id = || MariaDb::shared().sql("mysql", &asleep);
        inkstone_testkit::wait_until("it runs", || !id().is_empty());
        id()
    });
    let id = id.await.unwrap();
    // As when a process dies: its connections close, without a word. The server ends what it runs for
    // it when it notices.
    node.abort();
    node.await.unwrap_err();
    MariaDb::shared().sql("mysql", &format!("kill {id}"));
    assert_eq!(mariadb::run_of(&[FIRST], &options).await.unwrap().len(), 1);
    assert_eq!(tables(&database), "a schema_migrations");
}

#[tokio::test]
async fn what_keeps_it_from_the_database_is_said() {
    let options = place().1;
    let nowhere = MariaDb::shared().url("no_such_database").parse().unwrap();
    let error = mariadb::run(&MariaDbOptions { address: nowhere, ..options }).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let words = error.to_string();
    assert!(words.contains("no_such_database") && words.contains("Unknown database"), "{words}");
}
