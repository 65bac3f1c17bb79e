//! Units of work on MariaDB.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use inkstone_core::clock::SystemClock;
use inkstone_core::guard::breaker::BreakerSettings;
use inkstone_core::guard::bulkhead::BulkheadSettings;
use inkstone_core::guard::retry::RetrySettings;
use inkstone_core::guard::{Guard, GuardSettings};
use inkstone_core::{Code, Result};
use inkstone_store::db::{BoxFuture, Conn, Db, Health, MariaDbOptions, Statement};
use inkstone_testkit::services::MariaDb;
use inkstone_testkit::wait_until;
use tokio::sync::oneshot;

use crate::bed::{Bed, NOTE_TEXTS, add, ctx, ctx_for};

const SHOUT: Statement = Statement { name: "test.shout", sql: "update notes set text = upper(text)" };

#[tokio::test]
async fn a_node_that_is_stopped_in_the_middle_of_a_write_holds_the_others_up_for_a_while_only() {
    let bed = Bed::new();
    let options = bed.database.options(Arc::new(SystemClock));
    let options = MariaDbOptions { write_timeout: Duration::from_secs(1), ..options };
    let (begun, begins) = oneshot::channel();
    let (go, gone) = mpsc::channel::<()>();
    // Nothing in there runs while it waits, as when the process is stopped.
    let stopped = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = Db::connect_mariadb(options);
        runtime.block_on(async move {
            node.write(&ctx(), "test.stopped", move |conn| {
                Box::pin(async move {
                    add(conn, "of a stopped node").await?;
                    begun.send(()).unwrap();
                    gone.recv().unwrap();
                    Ok(())
                })
            })
            .await
        })
    });
    begins.await.unwrap();
    bed.add("of another").await.unwrap();
    go.send(()).unwrap();
    assert_eq!(stopped.join().unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(bed.texts().await, ["of another"]);
}

#[tokio::test]
async fn text_is_compared_by_its_bytes_and_numbers_count_what_was_met() {
    let bed = Bed::new();
    for text in ["e", "E", "é", "e ", "e\\", "e'", "𝔸", "\u{ffff}"] {
        bed.add(text).await.unwrap();
    }
    let sorted: Statement = Statement { name: "notes.sorted", sql: "select text from notes order by text" };
    let sorted: &'static Statement = Box::leak(Box::new(sorted));
    let texts = bed.read(ctx(), move |conn| Box::pin(conn.fetch_all::<String>(sorted, &[]))).await.unwrap();
    assert_eq!(texts, ["E", "e", "e ", "e'", "e\\", "é", "\u{ffff}", "𝔸"]);
    // A row counts that is met, whether it changes by that or not.
    let same: Statement = Statement { name: "notes.same", sql: "update notes set next = next where text = $1" };
    let same: &'static Statement = Box::leak(Box::new(same));
    for (text, count) in [("e", 1), ("x", 0)] {
        let met = bed.write(ctx(), move |conn| Box::pin(async move { conn.execute(same, &[text.into()]).await }));
        assert_eq!(met.await.unwrap(), count);
    }
}

#[tokio::test]
async fn a_connection_that_the_server_ended_meanwhile_is_not_missed() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    end_connections(bed.database.name());
    bed.add("two").await.unwrap();
    assert_eq!(bed.texts().await, ["one", "two"]);
    assert_eq!(bed.db.health(), Health::Sound);
    assert_eq!(bed.db.integrity_check().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_read_whose_connection_breaks_is_read_over_another() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let work = interrupted_once(Arc::clone(&runs), bed.database.name().to_owned());
    let breaker = BreakerSettings::default();
    let retry = RetrySettings { attempts: 2, ..RetrySettings::default() };
    let bulkhead = BulkheadSettings { concurrency: 1, queue: 0 };
    let settings = GuardSettings { timeout: Duration::from_mins(1), bulkhead, breaker, retry };
    let guarded = bed.db.clone().guarded(Guard::new("reads", settings, Arc::new(SystemClock), 1), None);
    // Ten reads pay for one that is repeated, itself included.
    assert_eq!(guarded.read(&ctx(), "test.read", work.clone()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(runs.swap(0, Ordering::SeqCst), 1);
    for _ in 0..8 {
        guarded.read(&ctx(), "notes.texts", |conn| Box::pin(conn.fetch_all::<String>(&NOTE_TEXTS, &[]))).await.unwrap();
    }
    assert_eq!(guarded.read(&ctx(), "test.read", work.clone()).await.unwrap(), ["one"]);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(bed.db.health(), Health::Sound);
    // What can be run only once is not run again.
    runs.store(0, Ordering::SeqCst);
    assert_eq!(bed.read(ctx(), work).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// A read whose connection is ended in the middle, the first time that it runs.
fn interrupted_once(
    runs: Arc<AtomicUsize>,
    database: String,
) -> impl for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<Vec<String>>> + Clone + Send + 'static {
    move |conn| {
        Box::pin(async move {
            conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await?;
            if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                end_connections(&database);
            }
            conn.fetch_all(&NOTE_TEXTS, &[]).await
        })
    }
}

/// As an administrator would, or a server that is stopped.
fn end_connections(database: &str) {
    let server = MariaDb::shared();
    let all = "select id from information_schema.processlist where db = database() and id <> connection_id()";
    for id in server.sql(database, all).lines() {
        server.sql(database, &format!("kill {id}"));
    }
}

/// The lock of a row that somebody has who is none of the nodes: those wait for one another before.
#[tokio::test]
async fn a_write_that_waits_for_a_row_until_its_deadline_is_late_and_changes_nothing() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let name = bed.database.name().to_owned();
    // It ends by itself if the test does not end it.
    let holder = std::thread::spawn(move || {
        let hold = "start transaction; select text from notes for update; select sleep(30) as lunch";
        MariaDb::shared().try_sql(&name, hold)
    });
    let at_lunch = "select id from information_schema.processlist \
                    where db = database() and info like '%as lunch' and id <> connection_id()";
    wait_until("the row is locked", || !bed.sql(at_lunch).is_empty());
    let late = bed.write(ctx_for(Duration::from_secs(1)), |conn| {
        Box::pin(async move {
            add(conn, "two").await?;
            conn.execute(&SHOUT, &[]).await
        })
    });
    assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!((bed.texts().await, bed.db.health()), (vec!["one".to_owned()], Health::Sound));
    bed.sql(&format!("kill {}", bed.sql(at_lunch)));
    holder.join().unwrap().unwrap_err();
    let shouted = bed.write(ctx(), |conn| Box::pin(conn.execute(&SHOUT, &[])));
    assert_eq!(shouted.await.unwrap(), 1);
    assert_eq!(bed.texts().await, ["ONE"]);
}
