//! The runner of migrations.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::migrate::{EXPANDS, Migration};

use crate::backend::{self, NO_SUCH_DATABASE, Options, TABLES, runner};
use crate::database::Database;

pub(crate) const FIRST: Migration =
    Migration { number: 1, name: "first", needs: 1, sql: "create table if not exists a (id bigint primary key);" };
pub(crate) const SECOND: Migration = Migration {
    number: 2,
    name: "second",
    needs: 2,
    sql: "create table if not exists b (id bigint primary key);\ninsert into b values (1);",
};
pub(crate) const BROKEN: Migration = Migration {
    number: 3,
    name: "broken",
    needs: 3,
    sql: "create table if not exists c (id bigint);\ninsert into nowhere values (1);",
};
pub(crate) const MORE: Migration =
    Migration { number: 3, name: "more", needs: EXPANDS, sql: "alter table b add column note text;" };
/// What [`MORE`] has made superfluous.
const LESS: Migration = Migration { number: 4, name: "less", needs: 3, sql: "alter table b drop column id;" };

pub(crate) fn place() -> (Database, Options) {
    let database = Database::empty();
    let options = database.options(Arc::new(SystemClock));
    (database, options)
}

pub(crate) fn tables(database: &Database) -> String {
    backend::sql(database.name(), TABLES)
}

#[tokio::test]
async fn what_is_missing_is_applied_in_order_and_once() {
    let (database, options) = place();
    assert!(runner::applied(&options).await.unwrap().is_empty());
    assert_eq!(runner::pending(&options).await.unwrap(), runner::MIGRATIONS);
    assert_eq!(tables(&database), "", "looking makes nothing");
    assert_eq!(runner::run_of(&[FIRST], &options).await.unwrap().len(), 1);
    let applied = runner::run_of(&[FIRST, SECOND], &options).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.number).collect::<Vec<_>>(), [2]);
    assert!(runner::run_of(&[FIRST, SECOND], &options).await.unwrap().is_empty());
    let applied = runner::applied(&options).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(tables(&database), "a b schema_migrations");
}

#[tokio::test]
async fn a_changed_migration_and_a_newer_database_are_refused() {
    let (database, options) = place();
    runner::run_of(&[FIRST, SECOND], &options).await.unwrap();
    let changed = Migration { sql: "create table other (id bigint)", ..FIRST };
    for list in [&[changed, SECOND, BROKEN][..], &[FIRST][..]] {
        assert_eq!(runner::run_of(list, &options).await.unwrap_err().code(), Code::Conflict);
    }
    assert_eq!(tables(&database), "a b schema_migrations");
}

#[tokio::test]
async fn a_program_works_on_a_schema_that_is_ahead_until_it_lacks_something() {
    let (_database, options) = place();
    runner::run_of(&[FIRST, SECOND, MORE], &options).await.unwrap();
    assert!(runner::run_of(&[FIRST, SECOND], &options).await.unwrap().is_empty());
    runner::run_of(&[FIRST, SECOND, MORE, LESS], &options).await.unwrap();
    assert!(runner::run_of(&[FIRST, SECOND, MORE], &options).await.unwrap().is_empty());
    let error = runner::run_of(&[FIRST, SECOND], &options).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    let words = "newer than this program: it has migration 4 (less), which only programs can work with that know \
                 migration 3, and this one knows 2.";
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_apply_each_once() {
    let (_database, options) = place();
    let nodes: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { runner::run_of(&[FIRST, SECOND], &options).await.unwrap().len() })
        })
        .collect();
    let mut applied = 0;
    for node in nodes {
        applied += node.await.unwrap();
    }
    assert_eq!(applied, 2);
}

#[tokio::test]
async fn what_keeps_it_from_the_database_is_said() {
    let options = place().1;
    let nowhere = backend::url("no_such_database").parse().unwrap();
    let error = runner::run(&Options { address: nowhere, ..options }).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let words = error.to_string();
    assert!(words.contains("no_such_database") && words.contains(NO_SUCH_DATABASE), "{words}");
}
