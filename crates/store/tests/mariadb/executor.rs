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
use inkstone_store::db::{BoxFuture, Conn, ConstraintKind, Db, Health, MariaDbOptions, Statement, constraint_of};
use inkstone_testkit::services::MariaDb;
use inkstone_testkit::wait_until;
use tokio::sync::oneshot;

use crate::bed::{ADD_NOTE, Bed, NOTE_TEXTS, add, ctx, ctx_for};

const SLEEP: Statement = Statement { name: "test.sleep", sql: "select 1 from (select sleep(60)) as s" };
const SHOUT: Statement = Statement { name: "test.shout", sql: "update notes set text = upper(text)" };

#[tokio::test]
async fn a_write_is_there_once_it_is_acknowledged_and_not_at_all_after_an_error() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let refused = bed.write(ctx(), |conn| {
        Box::pin(async move {
            add(conn, "two").await?;
            Err::<(), _>(inkstone_core::Error::not_found("note"))
        })
    });
    assert_eq!(refused.await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bed.sql("select text from notes"), "one");
    assert_eq!(bed.texts().await, ["one"]);
}

#[tokio::test]
async fn a_read_sees_one_snapshot_and_cannot_write() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let (other, mut both) = (bed.db.clone(), Vec::new());
    let read = bed.read(ctx(), move |conn| {
        Box::pin(async move {
            both.push(conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await?);
            other.write(&ctx(), "notes.add", |conn| Box::pin(add(conn, "two"))).await?;
            both.push(conn.fetch_all::<String>(&NOTE_TEXTS, &[]).await?);
            Ok(both)
        })
    });
    assert_eq!(read.await.unwrap(), [["one"], ["one"]]);
    assert_eq!(bed.texts().await, ["one", "two"]);
    let sneaky = bed.read(ctx(), |conn| Box::pin(add(conn, "three"))).await;
    assert_eq!(sneaky.unwrap_err().code(), Code::Unavailable);
    assert_eq!(bed.texts().await, ["one", "two"]);
}

#[tokio::test]
async fn a_broken_constraint_is_known_by_its_name() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let next = Statement { name: "notes.next", sql: "update notes set next = $1" };
    let next: &'static Statement = Box::leak(Box::new(next));
    let broken = bed.add("one").await.unwrap_err();
    assert!(constraint_of(&broken).unwrap().is_unique("notes_text_key"));
    assert!(!format!("{broken:?}").contains("one"), "no values in errors: {broken:?}");
    let long = bed.add(Box::leak("x".repeat(300).into_boxed_str())).await.unwrap_err();
    assert_eq!(constraint_of(&long).unwrap().kind, ConstraintKind::Check);
    assert_eq!(constraint_of(&long).unwrap().name, "notes_text_length");
    let null =
        bed.write(ctx(), |conn| Box::pin(async move { conn.insert(&ADD_NOTE, &[None::<&str>.into()]).await })).await;
    assert_eq!(constraint_of(&null.unwrap_err()).unwrap().name, "notes_text_not_null");
    let dangling = bed.write(ctx(), move |conn| Box::pin(async move { conn.execute(next, &[99_i64.into()]).await }));
    assert_eq!(constraint_of(&dangling.await.unwrap_err()).unwrap().name, "notes_next_fkey");
}

#[tokio::test]
async fn a_unit_that_hides_a_failed_statement_is_not_acknowledged() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let hiding = bed.write(ctx(), |conn| {
        Box::pin(async move {
            let _hidden = add(conn, "one").await;
            Ok(())
        })
    });
    assert_eq!(hiding.await.unwrap_err().code(), Code::Internal);
    bed.add("two").await.unwrap();
}

#[tokio::test]
async fn a_unit_that_panics_or_is_abandoned_leaves_nothing_behind() {
    let bed = Bed::with(|options| MariaDbOptions { readers: 1, ..options });
    let panics = bed.write(ctx(), |conn| {
        Box::pin(async move {
            add(conn, "one").await?;
            panic!("on purpose")
        })
    });
    let outcome: inkstone_core::Result<()> = panics.await;
    assert_eq!(outcome.unwrap_err().code(), Code::Internal);
    assert_eq!(bed.db.stats().writer.panicked, 1);
    // Whoever asked goes away in the middle: the write goes on to its end, and nobody is in the way.
    let (begun, begins) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let db = bed.db.clone();
    let asking = tokio::spawn(async move {
        let ctx = ctx();
        let work = db.write(&ctx, "test.abandoned", move |conn| {
            Box::pin(async move {
                add(conn, "two").await?;
                begun.send(()).unwrap();
                gone.await.unwrap();
                Ok(())
            })
        });
        work.await
    });
    begins.await.unwrap();
    asking.abort();
    asking.await.unwrap_err();
    go.send(()).unwrap();
    bed.add("three").await.unwrap();
    assert_eq!(bed.texts().await, ["two", "three"]);
}

#[tokio::test]
async fn the_server_ends_what_runs_past_its_deadline() {
    let bed = Bed::new();
    let slow = bed.read(ctx_for(Duration::from_millis(200)), |conn| Box::pin(conn.fetch_all::<i64>(&SLEEP, &[])));
    assert_eq!(slow.await.unwrap_err().code(), Code::DeadlineExceeded);
    let late = bed.read(ctx_for(Duration::ZERO), |conn| Box::pin(conn.fetch_all::<i64>(&SLEEP, &[])));
    assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(bed.db.stats().readers.dropped, 1);
    let asleep = "select count(*) from information_schema.processlist \
                  where db = database() and info like '%sleep(60)%' and id <> connection_id()";
    assert_eq!(bed.sql(asleep), "0", "nothing runs on");
    assert_eq!(bed.db.health(), Health::Sound);
}

#[tokio::test]
async fn a_write_that_stands_still_is_ended_so_that_others_can_write() {
    let bed = Bed::with(|options| MariaDbOptions { write_timeout: Duration::from_millis(300), ..options });
    let stuck = bed.write(ctx_for(Duration::from_millis(100)), |conn| {
        Box::pin(async move {
            add(conn, "one").await?;
            std::future::pending::<()>().await;
            Ok(())
        })
    });
    let other = bed.add("two");
    let (stuck, other) = tokio::join!(stuck, other);
    assert_eq!(stuck.unwrap_err().code(), Code::DeadlineExceeded);
    other.unwrap();
    assert_eq!(bed.texts().await, ["two"]);
}

#[tokio::test]
async fn a_write_waits_for_those_of_other_nodes_until_its_deadline() {
    let bed = Bed::new();
    let (begun, begins) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let node = Db::connect_mariadb(bed.database.options(Arc::new(SystemClock)));
    let holding = tokio::spawn(async move {
        node.write(&ctx(), "test.hold", move |conn| {
            Box::pin(async move {
                add(conn, "held").await?;
                begun.send(()).unwrap();
                gone.await.unwrap();
                Ok(())
            })
        })
        .await
    });
    begins.await.unwrap();
    let waiting = bed.write(ctx_for(Duration::from_millis(100)), |conn| Box::pin(add(conn, "late")));
    assert_eq!(waiting.await.unwrap_err().code(), Code::DeadlineExceeded);
    go.send(()).unwrap();
    holding.await.unwrap().unwrap();
    bed.add("then").await.unwrap();
    assert_eq!(bed.texts().await, ["held", "then"]);
}

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

#[tokio::test]
async fn a_full_queue_refuses_and_a_closed_store_does_too() {
    let bed = Bed::with(|options| MariaDbOptions { readers: 1, read_queue: 0, ..options });
    let (begun, begins) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let db = bed.db.clone();
    let holding = tokio::spawn(async move {
        db.read_once(&ctx(), "test.hold", move |_| {
            Box::pin(async move {
                begun.send(()).unwrap();
                gone.await.unwrap();
                Ok(())
            })
        })
        .await
    });
    begins.await.unwrap();
    let refused = bed.read(ctx(), |conn| Box::pin(conn.fetch_all::<String>(&NOTE_TEXTS, &[]))).await;
    assert_eq!(refused.unwrap_err().code(), Code::Overloaded);
    assert_eq!(bed.db.stats().readers.shed, 1);
    go.send(()).unwrap();
    holding.await.unwrap().unwrap();
    bed.db.close().await.unwrap();
    assert_eq!(bed.add("late").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(bed.db.health(), Health::Closed);
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
