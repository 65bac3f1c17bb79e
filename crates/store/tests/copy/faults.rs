//! What goes wrong on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inkstone_core::clock::SystemClock;
use inkstone_store::copy::{How, Stopped, is_unfinished};
use inkstone_store::db::{Db, FaultHook, Step, Trouble};
use inkstone_store::migrate::{self, Migration};
use inkstone_testkit::services::{MariaDb, Postgres};

use crate::bed::{File, Remote, after_copying, context, copier, copy, tables_of, watched};

/// Lets so many commits through, and none after.
fn commits(count: usize) -> FaultHook {
    let left = AtomicUsize::new(count);
    Arc::new(move |step| {
        let is_over = step == Step::Commit
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err();
        is_over.then_some(Trouble::Full)
    })
}

#[tokio::test]
async fn a_copy_that_breaks_off_at_any_commit_goes_on_there() {
    let here = File::full();
    let from = here.open();
    let expected = here.dump();
    let mut breaks = 0;
    loop {
        let there = File::empty();
        let broken = copier(&from, &there.open_with(commits(breaks))).run(false).await;
        let to = there.open();
        if broken.is_ok() {
            assert!(breaks > 22, "a transaction for each table at least: {breaks}");
            break;
        }
        assert_eq!(is_unfinished(&to, &context()).await.unwrap(), breaks > 0, "{breaks}");
        let copied = copier(&from, &to).run(false).await.unwrap();
        assert_eq!(copied.how, if breaks == 0 { How::Afresh } else { How::Resumed }, "{breaks}");
        assert_eq!(there.dump(), expected, "{breaks}");
        assert!(!is_unfinished(&to, &context()).await.unwrap());
        breaks += 1;
    }
}

/// What a process leaves behind that was killed while it read the source for the first time, or before: the rest of it
/// is another process.
#[tokio::test]
async fn a_copy_that_breaks_off_before_its_first_row_has_left_a_mark() {
    let (here, other) = (File::full(), File::full());
    other.sql("update posts set title = 'Another'");
    let from = here.open();
    for (source, restart) in [(&here, false), (&here, true), (&other, false)] {
        let there = File::new();
        assert_eq!(migrate::run_for_copy(&there.options()).unwrap().len(), migrate::SQLITE.len());
        let to = there.open();
        assert!(is_unfinished(&to, &context()).await.unwrap(), "nobody will serve it");
        let stopped = copier(&to, &File::empty().open()).run(false).await.unwrap_err();
        assert!(matches!(stopped, Stopped::SourceUnfinished), "{stopped:?}");
        assert!(migrate::run_for_copy(&there.options()).unwrap().is_empty());
        assert_eq!(copier(&source.open(), &to).run(restart).await.unwrap().how, How::Afresh);
        assert!(!is_unfinished(&to, &context()).await.unwrap());
        assert_eq!(there.dump(), source.dump());
    }

    let clock = || Arc::new(SystemClock);
    let database = crate::database::Database::empty();
    let options = database.options(clock());
    migrate::postgres::run_for_copy(&options).await.unwrap();
    let to = Db::connect(options).unwrap();
    assert!(is_unfinished(&to, &context()).await.unwrap());
    assert_eq!(copy(&from, &to).await.how, How::Afresh);
    to.close().await.unwrap();

    // What is there already was not made for the copy.
    let there = File::empty();
    assert!(migrate::run_for_copy(&there.options()).unwrap().is_empty());
    assert!(!is_unfinished(&there.open(), &context()).await.unwrap());
}

/// There no transaction holds the tables and the mark together.
#[tokio::test]
async fn the_mark_is_in_a_mariadb_before_all_other_tables() {
    let database = crate::mariadb_database::Database::empty();
    let options = database.options(Arc::new(SystemClock));
    let sql = |sql: &str| MariaDb::shared().sql(database.name(), sql);
    // The first migration comes no further than to its first row: a view stands where that should go.
    let dead = Migration { sql: "insert into nowhere values (1);", ..migrate::mariadb::MIGRATIONS[0] };
    migrate::mariadb::run_of(&[dead], &options).await.unwrap_err();
    sql("create view site as select 1 as nothing");
    migrate::mariadb::run_for_copy(&options).await.unwrap_err();
    let tables = "select group_concat(table_name order by table_name) from information_schema.tables \
                  where table_schema = database() and table_type = 'BASE TABLE'";
    assert_eq!(sql(tables), "counters,schema_migrations");
    assert_eq!(sql("select name from counters"), "store.copy");

    sql("drop view site");
    migrate::mariadb::run_for_copy(&options).await.unwrap();
    let to = Db::connect_mariadb(options);
    assert!(is_unfinished(&to, &context()).await.unwrap());
    assert_eq!(copy(&File::full().open(), &to).await.how, How::Afresh);
    to.close().await.unwrap();
}

#[tokio::test]
async fn emptying_that_breaks_off_is_not_taken_for_a_beginning() {
    let (here, other) = (File::full(), File::full());
    other.sql("update posts set title = 'Another'");
    let from = here.open();
    let mut breaks = 0;
    loop {
        let there = File::empty();
        let half = copier(&other.open(), &there.open_with(commits(8))).run(false).await;
        assert!(matches!(half, Err(Stopped::Store(_))), "{half:?}");
        let outcome = copier(&from, &there.open_with(commits(breaks))).run(true).await;
        if outcome.is_ok() {
            break;
        }
        let to = there.open();
        // The mark says whose the rows are: of the other blog, of nobody, or of this one.
        match copier(&from, &to).run(false).await {
            Ok(copied) => assert_eq!(copied.how, How::Resumed),
            Err(Stopped::OtherCopy) => {
                assert_eq!(copier(&from, &to).run(true).await.unwrap().how, How::Afresh);
            }
            Err(other) => panic!("{breaks}: {other:?}"),
        }
        assert_eq!(there.dump(), here.dump(), "{breaks}");
        breaks += 3;
    }
    assert!(breaks > 30, "{breaks}");
}

#[tokio::test]
async fn what_is_not_an_unfinished_copy_is_never_written_over() {
    let (here, there) = (File::full(), Remote::empty().await);
    let sql = |sql: &str| Postgres::shared().sql(there.database.name(), sql);
    sql("insert into secrets (name, value) values ('cursor', '\\x00')");
    for restart in [false, true] {
        let stopped = copier(&here.open(), &there.db).run(restart).await.unwrap_err();
        let Stopped::NotEmpty(rows) = stopped else { panic!("{stopped:?}") };
        assert_eq!(rows, [("secrets", 1)]);
    }
    assert_eq!(sql("select count(*) from users"), "0");

    // A copy that somebody has begun to use.
    sql("delete from secrets");
    copy(&here.open(), &there.db).await;
    sql("update users set bio = 'Changed since'");
    let stopped = copier(&here.open(), &there.db).run(true).await.unwrap_err();
    assert!(matches!(stopped, Stopped::NotEmpty(_)), "{stopped:?}");
    assert_eq!(sql("select distinct bio from users"), "Changed since");
}

#[tokio::test]
async fn an_unfinished_copy_is_neither_a_source_nor_the_target_of_another_blog() {
    let (here, other, there) = (File::full(), File::full(), File::empty());
    other.sql("update posts set title = 'Another'");
    let half = copier(&here.open(), &there.open_with(commits(5))).run(false).await;
    assert!(half.is_err());
    let to = there.open();
    let stopped = copier(&other.open(), &to).run(false).await.unwrap_err();
    assert!(matches!(stopped, Stopped::OtherCopy), "{stopped:?}");
    let stopped = copier(&to, &File::empty().open()).run(false).await.unwrap_err();
    assert!(matches!(stopped, Stopped::SourceUnfinished), "{stopped:?}");
    assert_eq!(copier(&other.open(), &to).run(true).await.unwrap().how, How::Afresh);
    assert_eq!(there.dump(), other.dump());
}

#[tokio::test]
async fn a_source_that_changes_meanwhile_is_noticed() {
    // Before its table is copied, after that, and without a change that the outbox knows.
    let changes = [
        ("users", "update posts set title = 'Changed' where id = 7", "posts"),
        ("revisions", "update posts set title = 'Changed' where id = 7", "posts"),
        ("secrets", "delete from refresh_tokens; delete from sessions where id = 5", "sessions"),
        ("secrets", "update counters set value = 43", "counters"),
    ];
    for (when, change, table) in changes {
        let (here, there) = (File::full(), File::empty());
        let (from, path) = (here.open(), here.path());
        let change = move || rusqlite::Connection::open(path).unwrap().execute_batch(change).unwrap();
        let copier_to = watched(&from, &there.open(), after_copying(when, change));
        let stopped = copier_to.run(false).await.unwrap_err();
        assert!(tables_of(stopped).contains(&table), "{table}");
        let to = there.open();
        assert!(is_unfinished(&to, &context()).await.unwrap(), "nobody will serve it");
        let stopped = copier(&from, &to).run(false).await.unwrap_err();
        assert!(matches!(stopped, Stopped::OtherCopy), "{stopped:?}");
        copier(&from, &to).run(true).await.unwrap();
        assert_eq!(there.dump(), here.dump());
    }
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_found() {
    let (here, there) = (File::full(), Remote::empty().await);
    let from = here.open();
    let name = there.database.name().to_owned();
    let tamper = move || {
        Postgres::shared().sql(&name, "update revisions set html = html || ' ' where id = 1");
    };
    let stopped = watched(&from, &there.db, after_copying("audit_log", tamper)).run(false).await.unwrap_err();
    assert_eq!(tables_of(stopped), ["revisions"]);
    assert!(is_unfinished(&there.db, &context()).await.unwrap());
    copier(&from, &there.db).run(true).await.unwrap();

    let sql = |sql: &str| Postgres::shared().sql(there.database.name(), sql);
    for (change, table) in [
        ("update users set role = 'administrator', is_public = 1 where id = 2", "users"),
        ("delete from audit_log where id = 300", "audit_log"),
        ("update slug_history set slug = 'ss ' where slug = 'ss'", "slug_history"),
        ("update refresh_tokens set used_at = 0 where used_at is null", "refresh_tokens"),
        ("delete from posts_search where rowid = 7", "posts_search"),
    ] {
        assert!(copier(&from, &there.db).compare().await.unwrap().is_same(), "before {table}");
        sql(change);
        let comparison = copier(&from, &there.db).compare().await.unwrap();
        assert_eq!(comparison.from.differences(&comparison.to), [table]);
        sql("truncate users, tags, site, counters, outbox, outbox_cursors, idempotency_keys, audit_log, signing_keys,
             login_throttles, secrets, leases, posts_search cascade; insert into counters (name, value) values ('change_seq', 0)");
        copier(&from, &there.db).run(false).await.unwrap();
    }
}

#[tokio::test]
async fn rows_that_somebody_else_writes_stop_the_copy() {
    let (here, there) = (File::full(), File::empty());
    let (from, path) = (here.open(), there.path());
    let write = move || {
        let add = "insert into audit_log (id, at, actor_kind, action, subject, request_id, details)
                   values (9000, 1, 'operator', 'a', 's', 'r', '{}')";
        rusqlite::Connection::open(path).unwrap().execute_batch(add).unwrap();
    };
    let stopped = watched(&from, &there.open(), after_copying("audit_log", write)).run(false).await.unwrap_err();
    let Stopped::Store(error) = stopped else { panic!("{stopped:?}") };
    assert!(error.to_string().contains("Somebody else"), "{error}");
}

#[tokio::test]
async fn a_nul_is_refused_before_anything_is_written() {
    let (here, there, file) = (File::full(), Remote::empty().await, File::empty());
    here.sql("update revisions set markdown = 'a' || char(0) || 'b' where id = 3");
    let stopped = copier(&here.open(), &there.db).run(false).await.unwrap_err();
    let Stopped::Nul(place) = stopped else { panic!("{stopped:?}") };
    assert_eq!(place, "revisions.markdown of the row 3");
    assert_eq!(Postgres::shared().sql(there.database.name(), "select count(*) from users"), "0");
    assert!(!is_unfinished(&there.db, &context()).await.unwrap());
    // SQLite keeps it.
    copy(&here.open(), &file.open()).await;
}
