//! The runner of migrations, where each is a transaction.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::PostgresOptions;
use inkstone_store::migrate::{Migration, postgres};
use inkstone_testkit::services::Postgres;

use crate::server::migrations::{BROKEN, FIRST, MORE, SECOND, place, tables};

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
async fn a_database_that_does_not_say_what_it_needs_is_for_programs_that_know_all_of_it() {
    let (database, options) = place();
    postgres::run_of(&[FIRST, SECOND], &options).await.unwrap();
    // As programs left it that knew nothing of needs.
    Postgres::shared().sql(database.name(), "alter table schema_migrations drop column needs");
    let needs = async || -> Vec<u32> {
        postgres::applied(&options).await.unwrap().iter().map(|migration| migration.needs).collect()
    };
    assert_eq!(needs().await, [1, 2]);
    assert_eq!(postgres::run_of(&[FIRST], &options).await.unwrap_err().code(), Code::Conflict);
    assert!(postgres::run_of(&[FIRST, SECOND], &options).await.unwrap().is_empty());
    postgres::run_of(&[FIRST, SECOND, BROKEN], &options).await.unwrap_err();
    Postgres::shared().try_sql(database.name(), "select needs from schema_migrations").unwrap_err();
    postgres::run_of(&[FIRST, SECOND, MORE], &options).await.unwrap();
    assert_eq!(needs().await, [1, 2, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_waits_for_a_table_lets_others_by_and_comes_back() {
    let (database, options) = place();
    postgres::run_of(&[FIRST], &options).await.unwrap();
    let name = database.name().to_owned();
    // A long dump, for instance.
    let holder = std::thread::spawn({
        let name = name.clone();
        move || Postgres::shared().try_sql(&name, "begin; select count(*) from a; select pg_sleep(600)")
    });
    let held = "select count(*) from pg_locks where relation = 'a'::regclass and granted";
    let until = async |what, ask: &'static str| {
        inkstone_testkit::until(what, async || Postgres::shared().sql(&name, ask) == "1").await;
    };
    until("the table is held", held).await;
    let more = Migration { sql: "alter table a add column note text", ..SECOND };
    let node = tokio::spawn(async move { postgres::run_of(&[FIRST, more], &options).await });
    until("it waits for it", "select count(*) from pg_locks where relation = 'a'::regclass and not granted").await;
    // Behind the migration; if that did not step aside, until it gave up.
    assert_eq!(Postgres::shared().sql(&name, "select count(*) from a"), "0");
    let stop = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
                and query like '%pg_sleep(600)%' and pid <> pg_backend_pid()";
    Postgres::shared().sql(&name, stop);
    assert!(holder.join().unwrap().is_err());
    assert_eq!(node.await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn looking_leaves_no_transaction_open() {
    let server = Postgres::start();
    let database = server.database();
    let options = PostgresOptions::new(server.url(&database).parse().unwrap(), Arc::new(SystemClock));
    postgres::run_of(&[FIRST], &options).await.unwrap();
    postgres::run_of(&[FIRST], &options).await.unwrap();
    postgres::applied(&options).await.unwrap();
    let others = format!("select count(*) from pg_stat_activity where datname = '{database}'");
    inkstone_testkit::until("they have gone", async || server.sql("postgres", &others) == "0").await;
    let log = server.process().log_text();
    assert!(!log.contains("with an open transaction"), "{log}");
}

#[tokio::test]
async fn a_node_that_is_killed_in_the_middle_leaves_nothing_and_holds_nobody_up() {
    let (database, options) = place();
    let slow = Migration { number: 1, name: "slow", needs: 1, sql: "create table a (id bigint); select pg_sleep(600)" };
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
