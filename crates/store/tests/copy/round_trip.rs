//! There and back.

use std::sync::Arc;
use std::sync::Mutex;

use inkstone_core::clock::{SystemClock, SystemEntropy};
use inkstone_core::posts::{PostFilter, PostRepository};
use inkstone_core::search::Search;
use inkstone_store::Store;
use inkstone_store::copy::{How, Phase, TableDigest};
use inkstone_store::db::{Db, PostgresOptions};
use inkstone_testkit::services::{PgBouncer, Postgres};

use crate::bed::{File, Remote, copier, copy, watched};

/// How many posts have these words.
pub(crate) async fn found(db: &Db, text: &str) -> u64 {
    let store = Store::new(db.clone(), Arc::new(SystemClock), Arc::new(SystemEntropy));
    let filter = PostFilter { search: Some(Search::try_from(text.to_owned()).unwrap()), ..PostFilter::default() };
    store.count(&crate::bed::context(), &filter).await.unwrap()
}

#[tokio::test]
async fn a_blog_goes_to_postgresql_and_back_without_a_difference() {
    let (here, there, back) = (File::full(), Remote::empty().await, File::empty());
    let first = copy(&here.open(), &there.db).await;
    let second = copy(&there.db, &back.open()).await;
    assert_eq!((first.how, second.how), (How::Afresh, How::Afresh));
    assert_eq!(first.manifest, second.manifest);
    assert_eq!(here.dump(), back.dump(), "what SQLite itself says of both");
    let rows = |name: &str| first.manifest.tables.iter().find(|table| table.table == name).unwrap().rows;
    assert_eq!((rows("audit_log"), rows("posts"), rows("posts_search"), rows("counters")), (600, 3, 2, 1));
    for db in [&here.open(), &there.db, &back.open()] {
        assert_eq!((found(db, "pebbles").await, found(db, "\"one stone\"").await, found(db, "lost").await), (1, 1, 0));
    }
}

#[tokio::test]
async fn a_blog_goes_from_file_to_file_and_from_server_to_server() {
    let (here, there) = (File::full(), File::empty());
    copy(&here.open(), &there.open()).await;
    assert_eq!(here.dump(), there.dump());

    let (one, two) = (Remote::empty().await, Remote::empty().await);
    copy(&here.open(), &one.db).await;
    copy(&one.db, &two.db).await;
    assert!(copier(&here.open(), &two.db).compare().await.unwrap().is_same());
}

#[tokio::test]
async fn a_pooler_may_be_in_between() {
    let settings = [("default_pool_size", "3"), ("server_idle_timeout", "1")];
    let bouncer = PgBouncer::start(Postgres::shared().port(), &settings);
    let pooled =
        |options, name: &str| PostgresOptions { address: bouncer.url(name).parse().unwrap(), pooler: true, ..options };
    let (here, there, back) = (File::full(), Remote::with(pooled).await, File::empty());
    copy(&here.open(), &there.db).await;
    copy(&there.db, &back.open()).await;
    assert_eq!(here.dump(), back.dump());
}

#[tokio::test]
async fn no_number_is_given_twice() {
    let (here, there, back) = (File::full(), Remote::empty().await, File::empty());
    copy(&here.open(), &there.db).await;
    let add = "insert into tags (name, slug, created_at, updated_at) values ('New', 'new', 1, 1) returning id";
    // There was a tag 9, a session 6; the highest post is 7.
    let sql = |sql: &str| Postgres::shared().sql(there.database.name(), sql);
    assert_eq!(sql(add), "10");
    sql("delete from tags where id = 10");
    let add_session = "insert into sessions (user_id, scopes, created_at, last_used_at, expires_at)
                       values (1, 'read', 1, 1, 9) returning id";
    assert_eq!(sql(add_session), "7");
    let add_audit = "insert into audit_log (at, actor_kind, action, subject, request_id, details)
                     values (1, 'operator', 'a', 's', 'r', '{}') returning id";
    assert_eq!(sql(add_audit), "601");
    copy(&there.db, &back.open()).await;
    let id: i64 = back.connection().query_row(add, [], |row| row.get(0)).unwrap();
    assert_eq!(id, 11, "the tag 10 is gone, and another must not be taken for it");
}

#[tokio::test]
async fn a_number_that_could_be_given_twice_is_a_difference() {
    let (here, there) = (File::full(), Remote::empty().await);
    copy(&here.open(), &there.db).await;
    Postgres::shared().sql(there.database.name(), "alter table tags alter id restart with 5");
    let comparison = copier(&here.open(), &there.db).compare().await.unwrap();
    assert_eq!((comparison.is_same(), comparison.behind), (false, vec!["tags"]));
}

#[tokio::test]
async fn a_copy_that_is_there_already_is_left_alone() {
    let (here, there) = (File::full(), Remote::empty().await);
    let (from, to) = (here.open(), there.db.clone());
    let first = copy(&from, &to).await;
    let again = copy(&from, &to).await;
    assert_eq!((again.how, again.manifest), (How::AlreadyThere, first.manifest));
}

#[tokio::test]
async fn an_empty_blog_can_be_copied() {
    let (here, there) = (File::empty(), Remote::empty().await);
    let copied = copy(&here.open(), &there.db).await;
    assert_eq!(copied.manifest.rows(), 2, "the site and the counter");
}

#[tokio::test]
async fn large_rows_come_few_at_a_time() {
    let (here, there) = (File::full(), File::empty());
    here.sql(
        "insert into revisions (post_id, number, title, summary, words, renderer, created_at, markdown, html)
         with recursive n (n) as (select 3 union all select n + 1 from n where n < 9)
         select 1, n, 't', 's', 1, 'r', 1, '', printf('%.*c', 3000000, 'x') from n",
    );
    let pages = Arc::new(Mutex::new(Vec::new()));
    let seen = pages.clone();
    let copier = watched(&here.open(), &there.open(), move |progress| {
        if progress.phase == Phase::Copy && progress.table == "revisions" {
            seen.lock().unwrap().push(progress.rows);
        }
    });
    let copied = copier.run(false).await.unwrap();
    let revisions: &TableDigest = copied.manifest.tables.iter().find(|table| table.table == "revisions").unwrap();
    assert_eq!((revisions.rows, revisions.bytes > 21_000_000), (11, true));
    // The small ones with the first of the large ones; then each for itself.
    assert_eq!(*pages.lock().unwrap(), [0, 5, 1, 1, 1, 1, 1, 1]);
    assert_eq!(here.dump(), there.dump());
}
