//! The runner of migrations.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::PostgresOptions;
use inkstone_store::migrate::{Migration, postgres};
use inkstone_testkit::services::Postgres;

use crate::database::Database;

const FIRST: Migration = Migration { number: 1, name: "first", sql: "create table a (id bigint primary key)" };
const SECOND: Migration =
    Migration { number: 2, name: "second", sql: "create table b (id bigint); insert into b values (1)" };
const BROKEN: Migration =
    Migration { number: 3, name: "broken", sql: "create table c (id bigint); insert into nowhere values (1)" };

fn place() -> (Database, PostgresOptions) {
    let database = Database::empty();
    let options = database.options(Arc::new(SystemClock));
    (database, options)
}

fn tables(database: &Database) -> String {
    let sql = "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'public'";
    Postgres::shared().sql(database.name(), sql)
}

#[tokio::test]
async fn what_is_missing_is_applied_in_order_and_once() {
    let (database, options) = place();
    assert!(postgres::applied(&options).await.unwrap().is_empty());
    assert_eq!(postgres::pending(&options).await.unwrap(), postgres::MIGRATIONS);
    assert_eq!(tables(&database), "", "looking makes nothing");
    assert_eq!(postgres::run_of(&[FIRST], &options).await.unwrap().len(), 1);
    let applied = postgres::run_of(&[FIRST, SECOND], &options).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.number).collect::<Vec<_>>(), [2]);
    assert!(postgres::run_of(&[FIRST, SECOND], &options).await.unwrap().is_empty());
    let applied = postgres::applied(&options).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(tables(&database), "a b schema_migrations");
}

#[tokio::test]
async fn a_migration_that_breaks_off_leaves_nothing_and_can_be_done_again() {
    let (database, options) = place();
    postgres::run_of(&[FIRST, SECOND, BROKEN], &options).await.unwrap_err();
    assert_eq!(tables(&database), "a b schema_migrations");
    let mended = Migration { sql: "create table c (id bigint)", ..BROKEN };
    assert_eq!(postgres::run_of(&[FIRST, SECOND, mended], &options).await.unwrap().len(), 1);
    assert_eq!(tables(&database), "a b c schema_migrations");
}

#[tokio::test]
async fn a_changed_migration_and_a_newer_database_are_refused() {
    let (database, options) = place();
    postgres::run_of(&[FIRST, SECOND], &options).await.unwrap();
    let changed = Migration { sql: "create table other (id bigint)", ..FIRST };
    for list in [&[changed, SECOND, BROKEN][..], &[FIRST][..]] {
        assert_eq!(postgres::run_of(list, &options).await.unwrap_err().code(), Code::Conflict);
    }
    assert_eq!(tables(&database), "a b schema_migrations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_apply_each_once() {
    let (_database, options) = place();
    let nodes: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { postgres::run_of(&[FIRST, SECOND], &options).await.unwrap().len() })
        })
        .collect();
    let mut applied = 0;
    for node in nodes {
        applied += node.await.unwrap();
    }
    assert_eq!(applied, 2);
}

#[tokio::test]
async fn a_node_that_is_killed_in_the_middle_leaves_nothing_and_holds_nobody_up() {
    let (database, options) = place();
    let slow = Migration { number: 1, name: "slow", sql: "create table a (id bigint); select pg_sleep(600)" };
    let node = tokio::spawn({
        let options = options.clone();
        async move { postgres::run_of(&[slow], &options).await }
    });
    let asleep = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and wait_event = 'PgSleep'",
        database.name()
    );
    let is_asleep = || Postgres::shared().sql("postgres", &asleep) == "1";
    tokio::task::spawn_blocking({
        let asleep = asleep.clone();
        move || inkstone_testkit::wait_until("it runs", || Postgres::shared().sql("postgres", &asleep) == "1")
    })
    .await
    .unwrap();
    assert!(is_asleep());
    // As when a process dies: its connections close, without a word.
    node.abort();
    node.await.unwrap_err();
    let stop = format!("select pg_cancel_backend(pid) from pg_stat_activity where datname = '{}'", database.name());
    Postgres::shared().sql("postgres", &stop);
    assert_eq!(postgres::run_of(&[FIRST], &options).await.unwrap().len(), 1);
    assert_eq!(tables(&database), "a schema_migrations");
}

#[tokio::test]
async fn what_keeps_it_from_the_database_is_said() {
    let options = place().1;
    let nowhere = Postgres::shared().url("no_such_database").parse().unwrap();
    let error = postgres::run(&PostgresOptions { address: nowhere, ..options }).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let words = error.to_string();
    assert!(words.contains("no_such_database") && words.contains("does not exist"), "{words}");
}
