//! Deadlines, full queues, and callers that went away.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::{Code, Error};
use inkstone_store::db::Statement;

use crate::bed::{Bed, HITS, add_note, context_until, insert_note};

const FOREVER: Statement = Statement {
    name: "test.forever",
    sql: "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
};

fn one_reader() -> Bed {
    Bed::with(|options| {
        options.readers = 1;
        options.read_queue = 2;
        options.write_queue = 2;
    })
}

#[tokio::test]
async fn a_running_read_is_interrupted_at_its_deadline() {
    let bed = one_reader();
    let ctx = context_until(bed.clock.deadline_in(Duration::from_secs(5)));
    let (started, has_started) = tokio::sync::oneshot::channel();
    let db = bed.db.clone();
    let read = tokio::spawn(async move {
        let work = db.read_once(&ctx, "test.forever", |conn| {
            Box::pin(async move {
                started.send(()).unwrap();
                conn.fetch_one::<i64>(&FOREVER, &[]).await
            })
        });
        work.await
    });
    has_started.await.unwrap();
    // Without this the read would run on for years: nothing but the deadline ends it.
    bed.clock.pass(Duration::from_secs(5));
    assert_eq!(read.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    assert!(bed.texts().await.is_empty(), "the one reader serves again");
    assert_eq!(bed.db.stats().readers.failed, 1);
}

#[tokio::test]
async fn what_waited_past_its_deadline_is_not_started() {
    let bed = Arc::new(one_reader());
    let (reader, writer) = (bed.hold_reader().await, bed.hold_writer().await);
    let short = context_until(bed.clock.deadline_in(Duration::from_secs(1)));
    let (db, ctx) = (bed.db.clone(), short.clone());
    let read = tokio::spawn(async move {
        let work = db.read(&ctx, "test", |conn| Box::pin(async move { conn.fetch_one::<i64>(&HITS, &[]).await }));
        work.await.map_err(|error| error.code())
    });
    let (db, ctx) = (bed.db.clone(), short.clone());
    let write =
        tokio::spawn(async move { add_note(&db, &ctx, "late".to_owned(), 0).await.map_err(|error| error.code()) });
    bed.until_reads_wait(1).await;
    bed.until_writes_wait(1).await;
    bed.clock.pass(Duration::from_secs(2));
    reader.open();
    writer.open();
    assert_eq!(read.await.unwrap(), Err(Code::DeadlineExceeded));
    assert_eq!(write.await.unwrap(), Err(Code::DeadlineExceeded));
    assert_eq!(short.meter.statements(), 0);
    assert!(bed.texts().await.is_empty());
    let stats = bed.db.stats();
    assert_eq!((stats.readers.dropped, stats.writer.dropped), (1, 1));
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_started() {
    let bed = Arc::new(one_reader());
    let gate = bed.hold_writer().await;
    let gone = {
        let bed = Arc::clone(&bed);
        tokio::spawn(async move { bed.add("gone").await })
    };
    bed.until_writes_wait(1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.open();
    bed.add("here").await.unwrap();
    assert_eq!(bed.texts().await, ["here"]);
    assert_eq!(bed.db.stats().writer.dropped, 1);
}

#[tokio::test]
async fn a_full_queue_sheds_at_once_and_says_when_to_come_back() {
    let bed = Arc::new(one_reader());
    let (reader, writer) = (bed.hold_reader().await, bed.hold_writer().await);
    let reads: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn({
                let bed = Arc::clone(&bed);
                async move { bed.texts().await }
            })
        })
        .collect();
    let writes: Vec<_> = (0..2)
        .map(|number| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move { bed.add(&format!("note {number}")).await.unwrap() })
        })
        .collect();
    bed.until_reads_wait(2).await;
    bed.until_writes_wait(2).await;
    let read = bed.db.read(&bed.ctx, "test", |conn| Box::pin(async move { conn.fetch_one::<i64>(&HITS, &[]).await }));
    for error in [read.await.unwrap_err(), bed.add("shed").await.unwrap_err()] {
        assert!(matches!(error, Error::TryLater { code: Code::Overloaded, retry_after, .. } if !retry_after.is_zero()));
    }
    reader.open();
    writer.open();
    for read in reads {
        read.await.unwrap();
    }
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(bed.texts().await, ["note 0", "note 1"]);
    let stats = bed.db.stats();
    assert_eq!((stats.readers.shed, stats.writer.shed), (1, 1));
    assert_eq!((stats.readers.capacity, stats.writer.capacity, stats.readers.threads), (2, 2, 1));
}

#[tokio::test]
async fn a_read_that_panics_leaves_its_thread_alive() {
    let bed = one_reader();
    let outcome = bed
        .db
        .read(&bed.ctx, "test.panics", |_| Box::pin(async move { if true { panic!("on purpose") } else { Ok(()) } }));
    assert!(crate::statements::source_of(&outcome.await.unwrap_err()).contains("test.panics"));
    assert!(bed.texts().await.is_empty());
    assert_eq!(bed.db.stats().readers.panicked, 1);
}

#[tokio::test]
async fn closing_finishes_what_is_queued_and_refuses_the_rest() {
    let bed = Arc::new(Bed::new());
    let gate = bed.hold_writer().await;
    let writes: Vec<_> = (0..10)
        .map(|number| {
            let db = bed.db.clone();
            let ctx = bed.ctx();
            tokio::spawn(async move {
                let work = db.write(&ctx, "test", move |conn| {
                    Box::pin(async move { insert_note(conn, &format!("note {number}"), 0).await })
                });
                work.await
            })
        })
        .collect();
    bed.until_writes_wait(10).await;
    let closing = tokio::spawn({
        let db = bed.db.clone();
        async move { db.close().await }
    });
    while bed.db.health() != inkstone_store::db::Health::Closed {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.add("too late").await.unwrap_err().code(), Code::Unavailable);
    gate.open();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    closing.await.unwrap().unwrap();
    bed.db.close().await.unwrap();
    let mut log = bed.options.path.clone().into_os_string();
    log.push("-wal");
    assert!(std::fs::metadata(log).map_or(0, |file| file.len()) == 0, "all of the log is in the database");
    let again = inkstone_store::db::Db::open(bed.options.clone()).unwrap();
    assert_eq!(crate::bed::texts(&again, &bed.ctx).await.len(), 10);
}
