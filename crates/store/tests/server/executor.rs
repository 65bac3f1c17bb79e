//! Units of work.

use std::time::Duration;

use futures_util::FutureExt as _;
use inkstone_core::Code;
use inkstone_store::db::{ConstraintKind, Health, Statement, constraint_of};
use tokio::sync::oneshot;

use crate::backend::{ASLEEP, Options, SLEEP};

use super::bed::{ADD_NOTE, Bed, NOTE_TEXTS, add, ctx, ctx_for};

const SLEEPING: Statement = Statement { name: "test.sleep", sql: SLEEP };

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
    // Nor is one that did not wait to hear of it.
    let leaving = bed.write(ctx(), |conn| {
        Box::pin(async move {
            let _left = add(conn, "one").now_or_never();
            Ok(())
        })
    });
    assert_eq!(leaving.await.unwrap_err().code(), Code::Internal);
    bed.add("two").await.unwrap();
    assert_eq!(bed.texts().await, ["one", "two"]);
}

#[tokio::test]
async fn a_unit_that_panics_or_is_abandoned_leaves_nothing_behind() {
    let bed = Bed::with(|options| Options { readers: 1, ..options });
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
    let slow = bed.read(ctx_for(Duration::from_millis(200)), |conn| Box::pin(conn.fetch_all::<i64>(&SLEEPING, &[])));
    assert_eq!(slow.await.unwrap_err().code(), Code::DeadlineExceeded);
    let late = bed.read(ctx_for(Duration::ZERO), |conn| Box::pin(conn.fetch_all::<i64>(&SLEEPING, &[])));
    assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(bed.db.stats().readers.dropped, 1);
    assert_eq!(bed.sql(ASLEEP), "0", "nothing runs on");
    assert_eq!(bed.db.health(), Health::Sound);
}

#[tokio::test]
async fn a_write_that_stands_still_is_ended_so_that_others_can_write() {
    let bed = Bed::with(|options| Options { write_timeout: Duration::from_millis(300), ..options });
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
    let node = bed.other_node();
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
async fn a_full_queue_refuses_and_a_closed_store_does_too() {
    let bed = Bed::with(|options| Options { readers: 1, read_queue: 0, ..options });
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
