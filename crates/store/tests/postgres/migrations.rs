//! The runner of migrations.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::PostgresOptions;
use inkstone_store::migrate::{EXPANDS, Migration, postgres};
use inkstone_testkit::services::Postgres;

use crate::database::Database;

const FIRST: Migration =
    Migration { number: 1, name: "first", needs: 1, sql: "create table a (id bigint primary key)" };
const SECOND: Migration =
    Migration { number: 2, name: "second", needs: 2, sql: "create table b (id bigint); insert into b values (1)" };
const BROKEN: Migration = Migration {
    number: 3,
    name: "broken",
    needs: 3,
    sql: "create table c (id bigint); insert into nowhere values (1)",
};

const MORE: Migration =
    Migration { number: 3, name: "more", needs: EXPANDS, sql: "alter table b add column note text" };
/// What [`MORE`] has made superfluous.
const LESS: Migration = Migration { number: 4, name: "less", needs: 3, sql: "alter table b drop column id" };

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

#[tokio::test]
async fn a_program_works_on_a_schema_that_is_ahead_until_it_lacks_something() {
    let (_database, options) = place();
    postgres::run_of(&[FIRST, SECOND, MORE], &options).await.unwrap();
    assert!(postgres::run_of(&[FIRST, SECOND], &options).await.unwrap().is_empty());
    postgres::run_of(&[FIRST, SECOND, MORE, LESS], &options).await.unwrap();
    assert!(postgres::run_of(&[FIRST, SECOND, MORE], &options).await.unwrap().is_empty());
    let error = postgres::run_of(&[FIRST, SECOND], &options).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    let words = "newer than this program: it has migration 4 (less), which only programs can work with that know \
                 migration 3, and this one knows 2.";
    assert!(error.to_string().contains(words), "{error}");
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

#[tokio::test]
async fn what_keeps_it_from_the_database_is_said() {
    let options = place().1;
    let nowhere = Postgres::shared().url("no_such_database").parse().unwrap();
    let error = postgres::run(&PostgresOptions { address: nowhere, ..options }).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let words = error.to_string();
    assert!(words.contains("no_such_database") && words.contains("does not exist"), "{words}");
}
