//! To MariaDB and from there, in every direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inkstone_core::clock::SystemClock;
use inkstone_store::copy::{How, Phase, Progress, Stopped, is_unfinished, statements, statements_of};
use inkstone_store::db::{Db, Dialect, MariaDbOptions, check};
use inkstone_testkit::services::MariaDb;

use crate::bed::{File, Maria, Remote, after_copying, context, copier, copy, tables_of, watched};
use crate::round_trip::found;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blog_goes_round_all_databases_without_a_difference() {
    let here = File::full();
    let (postgres, maria, home) = (Remote::empty().await, Maria::empty().await, File::empty());
    let first = copy(&here.open(), &postgres.db).await;
    assert_eq!(copy(&postgres.db, &maria.db).await.manifest, first.manifest);
    assert_eq!(copy(&maria.db, &home.open()).await.manifest, first.manifest);
    assert_eq!(here.dump(), home.dump(), "what SQLite itself says of both");

    // The other way round.
    let (postgres, other) = (Remote::empty().await, Maria::empty().await);
    copy(&home.open(), &other.db).await;
    copy(&other.db, &postgres.db).await;
    assert_eq!(copy(&other.db, &postgres.db).await.how, How::AlreadyThere);
    for db in [&maria.db, &other.db, &postgres.db] {
        assert_eq!((found(db, "pebbles").await, found(db, "\"one stone\"").await, found(db, "lost").await), (1, 1, 0));
    }
    // What MariaDB itself says: bytes are bytes, and what differs in case, accents or spaces differs.
    assert_eq!(other.sql("select hex(value) from secrets where length(value) = 300"), "80".repeat(300));
    assert_eq!(other.sql("select count(distinct slug), sum(char_length(slug)) from slug_history"), lengths(&here));
    assert_eq!(other.sql("select min(created_at) = -9223372036854775808 from slug_history"), "1");
}

fn lengths(file: &File) -> String {
    let sql = "select count(distinct slug) || char(9) || sum(length(slug)) from slug_history";
    file.connection().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_go_on_after_the_last() {
    let (here, there, back) = (File::full(), Maria::empty().await, File::empty());
    here.sql(
        "insert into personal_tokens (id, user_id, name, hint, hash, scopes, created_at, expires_at)
              values (40, 1, 'n', 'h', x'0103', 'read', 1, 2); delete from personal_tokens where id = 40",
    );
    copy(&here.open(), &there.db).await;
    assert_eq!(there.sql("select count(*) from tags"), "1", "whoever made room for the numbers is gone");
    let added = |sql: &str| there.sql(&format!("insert into {sql}; select last_insert_id()"));
    let user = "users (handle, display_name, role, is_public, created_at, updated_at)
                values ('eve', 'Eve', 'reader', 0, 1, 1)";
    let post = "posts (slug, title, excerpt, excerpt_given, author_id, status, created_at, updated_at, words, revision)
                values ('next', 'Next', '', 0, 1, 'draft', 1, 1, 0, 1)";
    let session = "sessions (user_id, scopes, created_at, last_used_at, expires_at) values (1, 'read', 1, 1, 9)";
    let token = "personal_tokens (user_id, name, hint, hash, scopes, created_at, expires_at)
                 values (1, 'n', 'h', 'new', 'read', 1, 2)";
    let entry = "audit_log (at, actor_kind, action, subject, request_id, details)
                 values (1, 'operator', 'a', 's', 'r', '{}')";
    // There was a tag 9, a session 6, a token 40; the highest of the others are there.
    assert_eq!(added("tags (name, slug, created_at, updated_at) values ('New', 'new', 1, 1)"), "10");
    let others = [added(user), added(post), added(session), added(token), added(entry)];
    assert_eq!(others, ["3", "8", "7", "41", "601"]);

    // A post without a revision is none.
    there.sql("delete from posts where id = 8; delete from tags where id = 10");
    copy(&there.db, &back.open()).await;
    let add = "insert into tags (name, slug, created_at, updated_at) values ('New', 'new', 1, 1) returning id";
    let id: i64 = back.connection().query_row(add, [], |row| row.get(0)).unwrap();
    assert_eq!(id, 11, "the tag 10 is gone, and another must not be taken for it");
}

/// Is told of the progress, and breaks the copy off when it is told for the so-and-so-manieth time.
fn until(times: usize) -> impl Fn(Progress) + Send + Sync {
    let left = AtomicUsize::new(times);
    move |progress| {
        let is_over = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        if progress.phase == Phase::Copy && is_over {
            // Between two transactions, and without a word about a panic.
            std::panic::resume_unwind(Box::new("broken off"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_broken_off_again_and_again_goes_on() {
    let (here, there, home) = (File::full(), Maria::empty().await, File::empty());
    let from = here.open();
    let mut times = 30;
    loop {
        let copier = watched(&from, &there.db, until(times));
        match tokio::spawn(async move { copier.run(false).await }).await {
            Ok(copied) => {
                assert_eq!(copied.unwrap().how, How::Resumed);
                break;
            }
            Err(error) => assert!(error.is_panic()),
        }
        assert!(is_unfinished(&there.db, &context()).await.unwrap(), "{times}");
        times += 3;
    }
    assert!(times > 42, "broken off several times: {times}");
    copy(&there.db, &home.open()).await;
    assert_eq!(home.dump(), here.dump());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_unfinished_copy_is_ever_written_over() {
    let (here, other, there) = (File::full(), File::full(), Maria::empty().await);
    other.sql("update posts set title = 'Another'");
    there.sql("insert into secrets (name, value) values ('cursor', '')");
    for restart in [false, true] {
        let stopped = copier(&here.open(), &there.db).run(restart).await.unwrap_err();
        let Stopped::NotEmpty(rows) = stopped else { panic!("{stopped:?}") };
        assert_eq!(rows, [("secrets", 1)]);
    }
    there.sql("delete from secrets");

    // Half a copy of another blog, with words in the index.
    let (options, from) = (there.options(), other.open());
    let broken = tokio::spawn(async move {
        let to = Db::connect_mariadb(options);
        watched(&from, &to, after_copying("posts_search", || std::panic::resume_unwind(Box::new("")))).run(false).await
    });
    assert!(broken.await.is_err());
    let from = here.open();
    let stopped = copier(&from, &there.db).run(false).await.unwrap_err();
    assert!(matches!(stopped, Stopped::OtherCopy), "{stopped:?}");
    let stopped = copier(&there.db, &File::empty().open()).run(false).await.unwrap_err();
    assert!(matches!(stopped, Stopped::SourceUnfinished), "{stopped:?}");
    assert_eq!(copier(&from, &there.db).run(true).await.unwrap().how, How::Afresh);
    let title = "select distinct title from posts where id = 1";
    assert_eq!(there.sql(title), "One stone");

    // A copy that somebody uses; what differs in little is another.
    for (change, table, undo) in [
        ("update tags set name = 'ink'", "tags", "update tags set name = 'Ink'"),
        ("update revisions set html = concat(html, ' ')", "revisions", "update revisions set html = trim(html)"),
        ("update redirects set path = '/OLD'", "redirects", "update redirects set path = '/old'"),
    ] {
        there.sql(change);
        let comparison = copier(&from, &there.db).compare().await.unwrap();
        assert_eq!(comparison.from.differences(&comparison.to), [table]);
        let stopped = copier(&from, &there.db).run(true).await.unwrap_err();
        assert!(matches!(stopped, Stopped::NotEmpty(_)), "{stopped:?}");
        there.sql(undo);
        assert!(copier(&from, &there.db).compare().await.unwrap().is_same(), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_on_the_way_is_noticed() {
    let (here, there) = (Maria::empty().await, Maria::empty().await);
    copy(&File::full().open(), &here.db).await;
    let (name, other) = (here.name(), there.name());
    let sql = |name: String, sql: &'static str| move || drop(MariaDb::shared().sql(&name, sql));
    let change = sql(name, "update posts set title = 'Changed' where id = 7");
    let stopped = watched(&here.db, &there.db, after_copying("revisions", change)).run(false).await.unwrap_err();
    assert_eq!(tables_of(stopped), ["posts"]);
    let tamper = sql(other, "update revisions set html = upper(html) where id = 1");
    let stopped = watched(&here.db, &there.db, after_copying("audit_log", tamper)).run(true).await.unwrap_err();
    assert_eq!(tables_of(stopped), ["revisions"]);
    assert!(is_unfinished(&there.db, &context()).await.unwrap(), "nobody will serve it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_before_anything_is_written() {
    let (here, there) = (File::full(), Maria::empty().await);
    // A NUL does, and many small rows beside one of 6 MiB.
    here.sql("update revisions set markdown = 'a' || char(0) || 'b', html = printf('%.*c', 6291456, 'x') where id = 3");
    copy(&here.open(), &there.db).await;
    assert_eq!(there.sql("select hex(markdown), length(html) from revisions where id = 3"), "610062\t6291456");

    let there = Maria::empty().await;
    let limit: u64 = there.sql("select @@max_allowed_packet").parse().unwrap();
    here.sql("update revisions set html = printf('%.*c', 16777000, 'x') where id = 3");
    let stopped = copier(&here.open(), &there.db).run(false).await.unwrap_err();
    let Stopped::TooLarge { place, most } = stopped else { panic!("{stopped:?}") };
    assert_eq!((place.as_str(), most), ("revisions.html of the row 3", limit));

    here.sql("update revisions set html = '' where id = 3");
    here.sql("update tags set name = printf('%.*c', 101, 'x') where id = 1");
    let stopped = copier(&here.open(), &there.db).run(false).await.unwrap_err();
    let Stopped::TooLong(place) = stopped else { panic!("{stopped:?}") };
    assert_eq!(place, "tags.name of the row 1");
    assert_eq!(there.sql("select count(*) from users"), "0");
    assert!(!is_unfinished(&there.db, &context()).await.unwrap());
    // Characters are counted, not bytes.
    here.sql("update tags set name = replace(printf('%.*c', 100, 'x'), 'x', char(128396)) where id = 1");
    copy(&here.open(), &there.db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_fits() {
    let database = crate::mariadb_database::Database::migrated().await;
    let options: MariaDbOptions = database.options(Arc::new(SystemClock));
    let mut all = statements();
    let shared = all.len();
    all.extend(statements_of(Dialect::MariaDb));
    assert!(all.len() - shared > 24, "{}", all.len());
    let prepared = check::prepared_by_mariadb(&all, &options).await.unwrap();
    for (ours, plan) in prepared.iter().zip(check::plans(&all[..shared]).unwrap()) {
        assert_eq!((ours.statement, ours.parameters), (plan.statement, plan.parameters));
        assert_eq!(ours.columns, plan.columns.len(), "{}", ours.statement);
    }
}
