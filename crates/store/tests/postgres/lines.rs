//! Connections that reads of one statement share.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::{Code, Context, Error, Result};
use inkstone_store::db::{Health, PostgresOptions, Statement};
use inkstone_testkit::services::Postgres;
use inkstone_testkit::{HandClock, until};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::bed::{Bed, NOTE_TEXTS, ctx, ctx_for};

const LOCK_NOTES: Statement = Statement { name: "notes.lock", sql: "lock table notes in access exclusive mode" };
const SLEEP: Statement = Statement { name: "test.sleep", sql: "select cast(pg_sleep(600) as text)" };

const OURS: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
const AT_THE_LOCK: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
const ASLEEP: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
const CUT: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
     where datname = current_database() and pid <> pg_backend_pid()";

/// A read of one statement, as a task.
fn read(bed: &Bed, ctx: Context, statement: &'static Statement) -> JoinHandle<Result<Vec<String>>> {
    let db = bed.db.clone();
    tokio::spawn(async move {
        db.read(&ctx, statement.name, move |conn| Box::pin(conn.fetch_apart::<String>(statement, &[]))).await
    })
}

/// Keeps everybody from reading notes, until it is told.
async fn lock_notes(bed: &Bed) -> (oneshot::Sender<()>, JoinHandle<Result<()>>) {
    let (locked, is_locked) = oneshot::channel();
    let (go, gone) = oneshot::channel();
    let db = bed.db.clone();
    let holding = tokio::spawn(async move {
        let ctx = ctx();
        let work = db.write(&ctx, "test.lock", move |conn| {
            Box::pin(async move {
                conn.execute(&LOCK_NOTES, &[]).await?;
                locked.send(()).unwrap();
                gone.await.unwrap();
                Ok(())
            })
        });
        work.await
    });
    is_locked.await.unwrap();
    (go, holding)
}

/// Two connections that are shared, over which notes were read already.
async fn with_two_lines() -> (Bed, Arc<HandClock>) {
    // Stands still, so that no line is held up before a test says so.
    let clock = HandClock::new();
    let bed = Bed::with(|options| PostgresOptions { readers: 16, clock: clock.clone(), ..options });
    bed.add("one").await.unwrap();
    let have_read = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and query = '{}'",
        NOTE_TEXTS.sql
    );
    until("both have read", async || {
        let both = [read(&bed, ctx(), &NOTE_TEXTS), read(&bed, ctx(), &NOTE_TEXTS)];
        for read in both {
            assert_eq!(read.await.unwrap().unwrap(), ["one"]);
        }
        bed.sql(&have_read) == "2"
    })
    .await;
    (bed, clock)
}

async fn until_sql(bed: &Bed, sql: &str, wanted: &str) {
    until(&format!("{sql}: {wanted}"), async || bed.sql(sql) == wanted).await;
}

#[tokio::test]
async fn many_reads_of_one_statement_share_two_connections() {
    let (bed, _clock) = with_two_lines().await;
    let before = bed.db.stats().readers.jobs;
    let (go, holding) = lock_notes(&bed).await;
    let reads: Vec<_> = (0..16).map(|_| read(&bed, ctx(), &NOTE_TEXTS)).collect();
    until("all have begun", async || bed.db.stats().readers.jobs == before + 16).await;
    until_sql(&bed, AT_THE_LOCK, "2").await;
    go.send(()).unwrap();
    holding.await.unwrap().unwrap();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap(), ["one"]);
    }
    assert_eq!(bed.sql(OURS), "3", "two of them, and the writer's");
    // What needs a snapshot for itself has a connection for itself.
    assert_eq!(bed.texts().await, ["one"]);
    assert_eq!(bed.sql(OURS), "4");
    bed.db.close().await.unwrap();
    until_sql(&bed, OURS, "0").await;
}

#[tokio::test]
async fn one_that_takes_long_does_not_hold_up_the_others() {
    let (bed, clock) = with_two_lines().await;
    let slow = read(&bed, ctx_for(Duration::from_mins(5)), &SLEEP);
    until_sql(&bed, ASLEEP, "1").await;
    // Now it takes long.
    clock.pass_secs(1);
    let many: Vec<_> = (0..12).map(|_| read(&bed, ctx(), &NOTE_TEXTS)).collect();
    for read in many {
        assert_eq!(read.await.unwrap().unwrap(), ["one"]);
    }
    assert_eq!(bed.sql(OURS), "3", "all over the other one");
    // When both are held up, whoever comes has a connection of their own.
    let other = read(&bed, ctx_for(Duration::from_mins(5)), &SLEEP);
    until_sql(&bed, ASLEEP, "2").await;
    clock.pass_secs(1);
    assert_eq!(read(&bed, ctx(), &NOTE_TEXTS).await.unwrap().unwrap(), ["one"]);
    assert_eq!(bed.sql(OURS), "4");
    for read in [slow, other] {
        assert!(!read.is_finished());
        read.abort();
    }
}

#[tokio::test]
async fn who_is_too_late_gets_nobody_else_an_error() {
    let (bed, _clock) = with_two_lines().await;
    let (go, holding) = lock_notes(&bed).await;
    let patient: Vec<_> = (0..2).map(|_| read(&bed, ctx(), &NOTE_TEXTS)).collect();
    until_sql(&bed, AT_THE_LOCK, "2").await;
    // They are behind these, and ask the server to end what is done there.
    let late: Vec<_> = (0..4).map(|_| read(&bed, ctx_for(Duration::from_millis(200)), &NOTE_TEXTS)).collect();
    for read in late {
        assert_eq!(read.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    }
    assert_eq!(bed.db.health(), Health::Sound, "the server has answered that");
    until_sql(&bed, AT_THE_LOCK, "2").await;
    go.send(()).unwrap();
    holding.await.unwrap().unwrap();
    for read in patient {
        assert_eq!(read.await.unwrap().unwrap(), ["one"]);
    }
    assert_eq!(bed.db.stats().readers.failed, 4);
}

#[tokio::test]
async fn a_read_that_asks_nothing_says_nothing_of_the_database() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let name = bed.database.name();
    // It takes no connections any more, and ends those that there are.
    Postgres::shared().sql("postgres", &format!("alter database {name} allow_connections false"));
    Postgres::shared()
        .sql("postgres", &format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"));
    until("that is known", async || {
        read(&bed, ctx(), &NOTE_TEXTS).await.unwrap().unwrap_err();
        bed.db.health() != Health::Sound
    })
    .await;
    let known = bed.db.health();
    let refused = || Error::refused(Code::BadQuery, "on purpose");
    let nothing = bed.read(ctx(), move |_| Box::pin(async move { Err::<(), _>(refused()) })).await;
    assert_eq!(nothing.unwrap_err().code(), Code::BadQuery);
    assert_eq!(bed.db.health(), known);
    Postgres::shared().sql("postgres", &format!("alter database {name} allow_connections true"));
    assert_eq!(read(&bed, ctx(), &NOTE_TEXTS).await.unwrap().unwrap(), ["one"]);
    assert_eq!(bed.db.health(), Health::Sound);
}

#[tokio::test]
async fn what_runs_past_its_deadline_is_ended_on_a_shared_connection_too() {
    let bed = Bed::new();
    let slow = read(&bed, ctx_for(Duration::from_millis(200)), &SLEEP).await.unwrap();
    assert_eq!(slow.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(bed.sql(ASLEEP), "0", "nothing runs on");
    assert_eq!(bed.db.health(), Health::Sound);
    until_sql(&bed, OURS, "0").await;
}

#[tokio::test]
async fn lines_that_were_cut_are_not_used_again() {
    let (bed, _clock) = with_two_lines().await;
    let slow = [read(&bed, ctx(), &SLEEP), read(&bed, ctx(), &SLEEP)];
    until_sql(&bed, ASLEEP, "2").await;
    bed.sql(CUT);
    for read in slow {
        assert_eq!(read.await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
    assert_eq!(read(&bed, ctx(), &NOTE_TEXTS).await.unwrap().unwrap(), ["one"]);
    assert_eq!(bed.db.health(), Health::Sound);
}
