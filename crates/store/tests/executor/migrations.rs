//! The runner of migrations.

use std::sync::{Arc, Barrier};

use inkstone_core::Code;
use inkstone_store::db::SqliteOptions;
use inkstone_store::migrate::{self, EXPANDS, Migration, Migrator};
use inkstone_testkit::HandClock;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::bed::options_in;

const FIRST: Migration =
    Migration { number: 1, name: "first", needs: 1, sql: "create table a (id integer primary key);" };
const SECOND: Migration = Migration {
    number: 2,
    name: "second",
    needs: 2,
    sql: "create table b (a integer references a (id)); insert into a values (1); insert into b values (1);",
};
const BROKEN: Migration = Migration {
    number: 3,
    name: "broken",
    needs: 3,
    sql: "create table c (id integer); insert into nowhere values (1);",
};
const MORE: Migration =
    Migration { number: 3, name: "more", needs: EXPANDS, sql: "alter table b add column note text;" };
/// What [`MORE`] has made superfluous.
const LESS: Migration = Migration { number: 4, name: "less", needs: 3, sql: "alter table b drop column a;" };
const DANGLING: Migration = Migration { number: 3, name: "dangling", needs: 3, sql: "delete from a;" };

fn place() -> (TempDir, SqliteOptions) {
    let directory = tempfile::tempdir().unwrap();
    let options = options_in(directory.path(), HandClock::new());
    (directory, options)
}

fn tables(options: &SqliteOptions) -> Vec<String> {
    let connection = Connection::open(&options.path).unwrap();
    let mut statement =
        connection.prepare("select name from sqlite_schema where type = 'table' order by name").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_missing_is_applied_in_order_and_once() {
    let (_directory, options) = place();
    let one = [FIRST];
    let both = [FIRST, SECOND];
    assert_eq!(Migrator::of(&both).fit(&options).unwrap().missing, both);
    assert!(!options.path.exists(), "looking makes no file");
    assert_eq!(Migrator::of(&one).run(&options).unwrap().len(), 1);
    assert_eq!(Migrator::of(&both).fit(&options).unwrap().missing, [SECOND]);
    let applied = Migrator::of(&both).run(&options).unwrap();
    assert_eq!(applied.iter().map(|migration| migration.number).collect::<Vec<_>>(), [2]);
    assert!(Migrator::of(&both).run(&options).unwrap().is_empty());
    let applied = Migrator::of(&both).applied(&options).unwrap();
    assert_eq!(applied.iter().map(|migration| migration.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(applied[0].applied_at.as_second(), 1_795_336_200);
    assert_eq!(tables(&options), ["a", "b", "schema_migrations"]);
}

#[test]
fn a_changed_migration_and_a_newer_database_are_refused_and_nothing_is_touched() {
    let (_directory, options) = place();
    Migrator::of(&[FIRST, SECOND]).run(&options).unwrap();
    let changed = Migration { sql: "create table other (id integer);", ..FIRST };
    for (list, words) in
        [(vec![changed, SECOND, BROKEN], "Migration 1 (first)"), (vec![FIRST], "newer than this program")]
    {
        let error = Migrator::of(&list).run(&options).unwrap_err();
        assert_eq!(error.code(), Code::Conflict);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(Migrator::of(&list).fit(&options).unwrap_err().code(), Code::Conflict);
    }
    assert_eq!(tables(&options), ["a", "b", "schema_migrations"]);
}

#[test]
fn a_program_works_on_a_schema_that_is_ahead_until_it_lacks_something() {
    let (_directory, options) = place();
    Migrator::of(&[FIRST, SECOND, MORE]).run(&options).unwrap();
    let (older, newer) = ([FIRST, SECOND], [FIRST, SECOND, MORE]);
    assert!(Migrator::of(&older).run(&options).unwrap().is_empty());
    let fit = Migrator::of(&older).fit(&options).unwrap();
    assert_eq!((fit.known, fit.missing, &fit.newer[..]), (2, &[][..], &[(3, "more".to_owned())][..]));
    assert!(fit.ahead().unwrap().contains("migration 3 (more), and the program knows 2"));
    assert_eq!(Migrator::of(&newer).fit(&options).unwrap().ahead(), None);

    Migrator::of(&[FIRST, SECOND, MORE, LESS]).run(&options).unwrap();
    assert!(Migrator::of(&newer).run(&options).unwrap().is_empty(), "the release in between goes on");
    for error in [Migrator::of(&older).run(&options).unwrap_err(), Migrator::of(&older).fit(&options).unwrap_err()] {
        assert_eq!(error.code(), Code::Conflict);
        let words = "newer than this program: it has migration 4 (less), which only programs can work with that know \
                     migration 3, and this one knows 2.";
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_database_that_does_not_say_what_it_needs_is_for_programs_that_know_all_of_it() {
    let (_directory, options) = place();
    Migrator::of(&[FIRST, SECOND]).run(&options).unwrap();
    let sql = |sql: &str| Connection::open(&options.path).unwrap().execute_batch(sql);
    // As programs left it that knew nothing of needs.
    sql("alter table schema_migrations drop column needs").unwrap();
    let needs = || -> Vec<u32> {
        let applied = Migrator::of(&[FIRST]).applied(&options).unwrap();
        applied.iter().map(|migration| migration.needs).collect()
    };
    assert_eq!(needs(), [1, 2]);
    assert_eq!(Migrator::of(&[FIRST]).run(&options).unwrap_err().code(), Code::Conflict);
    assert!(Migrator::of(&[FIRST, SECOND]).run(&options).unwrap().is_empty());
    Migrator::of(&[FIRST, SECOND, BROKEN]).run(&options).unwrap_err();
    sql("select needs from schema_migrations").unwrap_err();
    Migrator::of(&[FIRST, SECOND, MORE]).run(&options).unwrap();
    assert_eq!(needs(), [1, 2, 0]);
    // Such a program may come back; what it does not say, it does not lose.
    sql("insert into schema_migrations (number, name, checksum, applied_at) values (4, 'less', '', 0)").unwrap();
    assert_eq!(needs(), [1, 2, 0, 4]);
}

#[test]
fn line_ends_do_not_change_a_migration() {
    let (_directory, options) = place();
    let unix = Migration { sql: "create table a (\n id integer\n);", ..FIRST };
    let windows = Migration { sql: "create table a (\r\n id integer\r\n);", ..FIRST };
    Migrator::of(&[unix]).run(&options).unwrap();
    assert!(Migrator::of(&[windows]).run(&options).unwrap().is_empty());
}

#[test]
fn one_that_fails_leaves_nothing_and_keeps_those_before_it() {
    for bad in [BROKEN, DANGLING] {
        let (_directory, options) = place();
        let error = Migrator::of(&[FIRST, SECOND, bad]).run(&options).unwrap_err();
        let text = crate::statements::source_of(&error);
        assert!(text.contains(bad.name), "{text}");
        assert_eq!(tables(&options), ["a", "b", "schema_migrations"]);
        assert_eq!(Migrator::of(&[FIRST, SECOND]).applied(&options).unwrap().len(), 2);
        let rows: i64 =
            Connection::open(&options.path).unwrap().query_row("select count(*) from a", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }
}

#[test]
fn two_that_start_at_once_apply_each_migration_once() {
    let (_directory, options) = place();
    let barrier = Arc::new(Barrier::new(4));
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let (barrier, options) = (Arc::clone(&barrier), options.clone());
            std::thread::spawn(move || {
                barrier.wait();
                Migrator::of(&[FIRST, SECOND]).run(&options).unwrap().len()
            })
        })
        .collect();
    assert_eq!(runs.into_iter().map(|run| run.join().unwrap()).sum::<usize>(), 2);
}

#[test]
fn the_stores_own_migrations_are_numbered_without_gaps_and_apply() {
    let numbers: Vec<u32> = migrate::SQLITE.iter().map(|migration| migration.number).collect();
    assert_eq!(numbers, (1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
    let (_directory, options) = place();
    assert_eq!(migrate::run(&options).unwrap().len(), numbers.len());
    assert!(migrate::pending(&options).unwrap().is_empty());
    assert_eq!(migrate::applied(&options).unwrap().len(), numbers.len());
}

/// A post as the first release wrote it, before there was an index of words.
const WITHOUT_INDEX: &str = "
    insert into users (id, handle, display_name, role, is_public, created_at, updated_at)
    values (1, 'ada', 'Ada', 'author', 1, 0, 0);
    insert into posts (id, slug, title, excerpt, excerpt_given, author_id, status, published_at, created_at,
                       updated_at, words, revision, was_public, deleted_at)
    values (1, 'one', 'Crème', '', 0, 1, 'published', 0, 0, 0, 1, 2, 1, null),
           (2, null, 'Crème', '', 0, 1, 'deleted', null, 0, 0, 1, 1, 1, 0);
    insert into revisions (post_id, number, title, excerpt, summary, words, renderer, created_at, markdown, html)
    values (1, 1, 'Old', null, '', 1, 'test', 0, '', '<p>older</p>'),
           (1, 2, 'Crème', 'in short', '', 1, 'test', 0, '', '<p>brû<b>lée</b> 東京</p>'),
           (2, 1, 'Crème', null, '', 1, 'test', 0, '', '<p>gone</p>');";

#[test]
fn posts_that_were_there_before_the_index_of_words_are_found() {
    let (_directory, options) = place();
    Migrator::of(&migrate::SQLITE[..1]).run(&options).unwrap();
    Connection::open(&options.path).unwrap().execute_batch(WITHOUT_INDEX).unwrap();
    migrate::run(&options).unwrap();
    let connection = Connection::open(&options.path).unwrap();
    let found = |words: &str| -> Vec<i64> {
        let mut statement = connection.prepare("select s.rowid from posts_search($1) s").unwrap();
        statement.query_map([words], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for (words, ids) in [
        ("creme", vec![1]),
        ("\"in short\"", vec![1]),
        ("brulee", vec![1]),
        ("\"東 京\"", vec![1]),
        ("older OR old OR gone", vec![]),
    ] {
        assert_eq!(found(words), ids, "{words}");
    }
}
