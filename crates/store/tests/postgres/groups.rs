//! Many writers, one transaction.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::clock::SystemClock;
use inkstone_core::{Code, Error};
use inkstone_store::db::{BoxFuture, Conn, Db, GROUP_SIZE_BOUNDS, Health, PostgresOptions, Statement};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::bed::{Bed, add, ctx, ctx_for};

const HITS: Statement = Statement { name: "hits.get", sql: "select value from hits" };
const SET_HITS: Statement = Statement { name: "hits.set", sql: "update hits set value = $1" };
const END_ME: Statement = Statement { name: "test.end_me", sql: "select pg_terminate_backend(pg_backend_pid())::text" };

/// What a unit of work does after having added its note.
type Then = for<'c> fn(&'c mut Conn, usize) -> BoxFuture<'c, inkstone_core::Result<()>>;

/// What a commit does when a note of this text is in it, as SQL.
fn at_commit(text: &str, deed: &str) -> String {
    format!(
        "create function at_commit() returns trigger language plpgsql as $$ begin
             if new.text = '{text}' then {deed}; end if; return null; end $$;
         create constraint trigger at_commit after insert on notes deferrable initially deferred
             for each row execute function at_commit()"
    )
}

impl Bed {
    /// Holds the writer in the midst of a unit of work, which adds `held`, until it is told to go on.
    async fn hold(&self) -> oneshot::Sender<()> {
        let (begun, begins) = oneshot::channel();
        let (go, gone) = oneshot::channel::<()>();
        let db = self.db.clone();
        tokio::spawn(async move {
            let ctx = ctx();
            let held = db.write(&ctx, "test.hold", move |conn| {
                Box::pin(async move {
                    add(conn, "held").await?;
                    begun.send(()).unwrap();
                    gone.await.unwrap();
                    Ok(())
                })
            });
            held.await
        });
        begins.await.unwrap();
        go
    }

    async fn until_writes_wait(&self, count: u64) {
        while self.db.stats().writer.queued < count {
            tokio::task::yield_now().await;
        }
    }

    /// Sends so many writes that become one group with the one that is held. Each adds a note of
    /// its number and goes on with `then`.
    async fn one_group(&self, count: usize, then: Then) -> Vec<inkstone_core::Result<()>> {
        let go = self.hold().await;
        let mut units = Vec::new();
        for number in 0..count {
            let db = self.db.clone();
            units.push(tokio::spawn(async move {
                let ctx = ctx();
                let unit = db.write(&ctx, "test.unit", move |conn| {
                    Box::pin(async move {
                        add(conn, &format!("unit {number:02}")).await?;
                        then(conn, number).await
                    })
                });
                unit.await
            }));
            self.until_writes_wait(number as u64 + 1).await;
        }
        go.send(()).unwrap();
        let mut outcomes = Vec::new();
        for unit in units {
            outcomes.push(unit.await.unwrap());
        }
        outcomes
    }
}

fn codes(outcomes: Vec<inkstone_core::Result<()>>) -> Vec<Result<(), Code>> {
    outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.code())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_two_nodes_keep_a_counter_exact() {
    const WRITERS: i64 = 32;
    const EACH: i64 = 10;
    let bed = Bed::new();
    bed.sql("create table hits (value bigint not null)");
    bed.sql("insert into hits values (0)");
    let other = Db::connect(bed.database.options(Arc::new(SystemClock))).unwrap();
    let nodes = [bed.db.clone(), other];
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let db = nodes[usize::try_from(writer).unwrap() % 2].clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let ctx = ctx();
                    let add_one = db.write(&ctx, "hits.add", |conn| {
                        Box::pin(async move {
                            let hits: i64 = conn.fetch_one(&HITS, &[]).await?;
                            conn.execute(&SET_HITS, &[(hits + 1).into()]).await
                        })
                    });
                    assert_eq!(add_one.await.unwrap(), 1);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(bed.sql("select value from hits"), (WRITERS * EACH).to_string());
    let stats = nodes.map(|node| node.stats().writer);
    assert_eq!(stats.iter().map(|writer| writer.jobs).sum::<u64>(), u64::try_from(WRITERS * EACH).unwrap());
    assert!(stats.iter().all(|writer| writer.failed == 0 && writer.groups < writer.jobs), "{stats:?}");
}

#[tokio::test]
async fn a_unit_that_fails_or_panics_takes_only_itself_back() {
    for bed in [Bed::new(), Bed::pooled()] {
        let outcomes = bed.one_group(20, |conn, number| {
            Box::pin(async move {
                match number {
                    3 => Err(Error::refused(Code::Conflict, "no")),
                    7 => panic!("on purpose"),
                    // Breaks a constraint after having written; the last even hides it.
                    11 => add(conn, "unit 00").await.map(drop),
                    19 => {
                        let _hidden = add(conn, "unit 00").await;
                        Ok(())
                    }
                    _ => Ok(()),
                }
            })
        });
        let outcomes = codes(outcomes.await);
        for (number, code) in [(3, Code::Conflict), (7, Code::Internal), (11, Code::Internal), (19, Code::Internal)] {
            assert_eq!(outcomes[number], Err(code), "unit {number}");
        }
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 16);
        let failed = [3, 7, 11, 19];
        let units = (0..20).filter(|number| !failed.contains(number)).map(|number| format!("unit {number:02}"));
        let wanted: Vec<_> = std::iter::once("held".to_owned()).chain(units).collect();
        assert_eq!(bed.texts().await, wanted);
        let writer = bed.db.stats().writer;
        let bucket = GROUP_SIZE_BOUNDS.iter().position(|bound| *bound >= 21).unwrap();
        assert_eq!(writer.group_sizes[bucket], 1, "all were one group: {:?}", writer.group_sizes);
        assert_eq!((writer.jobs, writer.failed, writer.panicked), (21, 4, 1));
    }
}

#[tokio::test]
async fn a_unit_that_fails_first_is_alone_and_keeps_nobody_from_writing() {
    let bed = Bed::new();
    let refused = bed.write(ctx(), |conn| {
        Box::pin(async move {
            add(conn, "first").await?;
            Err::<(), _>(Error::not_found("note"))
        })
    });
    let (refused, second) = tokio::join!(refused, bed.add("second"));
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    second.unwrap();
    assert_eq!(bed.texts().await, ["second"]);
}

#[tokio::test]
async fn a_failed_commit_fails_the_whole_group_and_the_next_one_works() {
    let bed = Bed::new();
    bed.sql(&at_commit("unit 04", "raise exception 'no room' using errcode = '53100'"));
    let then: Then =
        |_, number| Box::pin(async move { if number == 0 { Err(Error::not_found("note")) } else { Ok(()) } });
    // Even the refusal of the domain: what it was based on was never committed.
    assert_eq!(codes(bed.one_group(5, then).await), vec![Err(Code::StorageFull); 5]);
    assert!(bed.texts().await.is_empty());
    assert_eq!(bed.db.health(), Health::Sound);
    let outcomes = codes(bed.one_group(4, then).await);
    assert_eq!(outcomes, [Err(Code::NotFound), Ok(()), Ok(()), Ok(())]);
    assert_eq!(bed.texts().await, ["held", "unit 01", "unit 02", "unit 03"]);
    let writer = bed.db.stats().writer;
    // The held one, whom nobody asks here, failed with the five of its group.
    assert_eq!((writer.jobs, writer.failed, writer.commit_errors), (11, 7, 1));
}

#[tokio::test]
async fn a_commit_whose_outcome_is_not_known_is_unknown_to_the_whole_group() {
    let bed = Bed::new();
    bed.sql(&at_commit("unit 02", "perform pg_sleep(60)"));
    let group = bed.one_group(3, |_, _| Box::pin(async { Ok(()) }));
    let ending = async {
        let end = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and wait_event = 'PgSleep') as ended";
        while bed.sql(end) == "0" {
            tokio::task::yield_now().await;
        }
    };
    let (outcomes, ()) = tokio::join!(group, ending);
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.to_string().contains("may have happened"), "{error}");
    }
    assert_eq!(bed.db.stats().writer.commit_errors, 1);
    bed.add("then").await.unwrap();
    assert_eq!(bed.db.health(), Health::Sound);
}

/// As a pooler answers whose server died of the commit.
#[tokio::test]
async fn a_commit_that_somebody_on_the_way_lost_is_unknown() {
    let bed = Bed::new();
    bed.sql(&at_commit("lost", "raise exception 'server conn crashed?' using errcode = '08P01'"));
    let error = bed.add("lost").await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.to_string().contains("may have happened"), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_commit_has_changed_nothing() {
    let bed = Bed::new();
    let outcomes = bed.one_group(3, |conn, number| {
        Box::pin(async move {
            if number == 1 {
                conn.fetch_one::<String>(&END_ME, &[]).await?;
            }
            Ok(())
        })
    });
    let mut outcomes = outcomes.await;
    // The last came too late for that transaction, and has one of its own.
    outcomes.pop().unwrap().unwrap();
    assert_eq!(codes(outcomes), vec![Err(Code::Unavailable); 2]);
    assert_eq!(bed.texts().await, ["unit 02"]);
    assert_eq!(bed.db.health(), Health::Sound);
}

#[tokio::test]
async fn a_write_that_waits_too_long_never_happens() {
    let bed = Bed::new();
    let go = bed.hold().await;
    let late = bed.write(ctx_for(Duration::from_millis(50)), |conn| Box::pin(add(conn, "late")));
    assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(bed.db.stats().writer.dropped, 1);
    go.send(()).unwrap();
    bed.add("then").await.unwrap();
    assert_eq!(bed.texts().await, ["held", "then"]);
}

/// Sends so many writes, which wait.
async fn waiting(bed: &Bed, count: u64) -> Vec<JoinHandle<inkstone_core::Result<i64>>> {
    let send = |number| {
        let db = bed.db.clone();
        let text: &'static str = Box::leak(format!("unit {number:02}").into_boxed_str());
        tokio::spawn(async move { db.write(&ctx(), "notes.add", move |conn| Box::pin(add(conn, text))).await })
    };
    let units = (0..count).map(send).collect();
    bed.until_writes_wait(count).await;
    units
}

#[tokio::test]
async fn a_transaction_whose_time_is_up_takes_nobody_in() {
    let bed = Bed::with(|options| PostgresOptions { group_time: Duration::ZERO, ..options });
    let go = bed.hold().await;
    let units = waiting(&bed, 3).await;
    go.send(()).unwrap();
    for unit in units {
        unit.await.unwrap().unwrap();
    }
    assert_eq!(bed.db.stats().writer.group_sizes[..3], [4, 0, 0]);
}

#[tokio::test]
async fn a_group_is_bounded_and_so_is_the_queue() {
    // Whatever is set, there are 64 at most.
    let bed = Bed::with(|options| PostgresOptions { group_max: 10_000, ..options });
    let go = bed.hold().await;
    let units = waiting(&bed, 80).await;
    go.send(()).unwrap();
    for unit in units {
        unit.await.unwrap().unwrap();
    }
    assert_eq!(bed.db.stats().writer.group_sizes, [0, 0, 0, 0, 0, 1, 1, 0], "17 and 64");
    let bed = Bed::with(|options| PostgresOptions { group_max: 3, write_queue: 7, ..options });
    let go = bed.hold().await;
    let units = waiting(&bed, 7).await;
    assert_eq!(bed.add("one more").await.unwrap_err().code(), Code::Overloaded);
    assert_eq!(bed.db.stats().writer.shed, 1);
    go.send(()).unwrap();
    for unit in units {
        unit.await.unwrap().unwrap();
    }
    // The held one and two more, three, and the last two.
    assert_eq!(bed.db.stats().writer.group_sizes[..3], [0, 1, 2]);
}

/// The writer goes when nobody waits, and the next write brings another: nobody is forgotten in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_that_come_as_the_writer_goes_are_all_answered() {
    let bed = Bed::new();
    let clients = (0..4).map(|client| {
        let db = bed.db.clone();
        tokio::spawn(async move {
            for number in 0..250 {
                let text = format!("{client}/{number}");
                let ctx = ctx();
                let added = db.write(&ctx, "notes.add", move |conn| Box::pin(async move { add(conn, &text).await }));
                added.await.unwrap_or_else(|error| panic!("{client}/{number}: {error}"));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert_eq!(bed.texts().await.len(), 1000);
}
