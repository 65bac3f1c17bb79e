//! Many writers, one transaction.

use std::sync::Arc;

use inkstone_core::{Code, Error};
use inkstone_store::db::{GROUP_SIZE_BOUNDS, Health, Step, Trouble, Value};

use crate::bed::{Bed, Faults, HITS, SET_HITS, insert_note};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_keep_a_counter_exact() {
    const WRITERS: i64 = 64;
    const EACH: i64 = 20;
    let bed = Arc::new(Bed::new());
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let add_one = bed.db.write(&bed.ctx, "counters.add", |conn| {
                        Box::pin(async move {
                            let hits: i64 = conn.fetch_one(&HITS, &[]).await?;
                            conn.execute(&SET_HITS, &[Value::Int(hits + 1)]).await
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
    let hits = bed.db.read(&bed.ctx, "test", |conn| Box::pin(async move { conn.fetch_one::<i64>(&HITS, &[]).await }));
    assert_eq!(hits.await.unwrap(), WRITERS * EACH);
    let writer = bed.db.stats().writer;
    assert_eq!(writer.jobs, u64::try_from(WRITERS * EACH).unwrap());
    assert_eq!(writer.failed, 0);
}

#[tokio::test]
async fn a_unit_that_fails_or_panics_takes_only_itself_back() {
    let bed = Arc::new(Bed::new());
    let gate = bed.hold_writer().await;
    let units: Vec<_> = (0..20)
        .map(|number| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move {
                let work = bed.db.write(&bed.ctx, "test.unit", move |conn| {
                    Box::pin(async move {
                        insert_note(conn, &format!("unit {number:02}"), 0).await?;
                        match number {
                            3 => Err(Error::refused(Code::Conflict, "no")),
                            7 => panic!("on purpose"),
                            // Breaks a constraint after having written.
                            11 => insert_note(conn, "unit 00", 0).await,
                            _ => Ok(0),
                        }
                    })
                });
                work.await.map_err(|error| error.code())
            })
        })
        .collect();
    bed.until_writes_wait(20).await;
    gate.open();
    let mut outcomes = Vec::new();
    for unit in units {
        outcomes.push(unit.await.unwrap());
    }
    assert_eq!(outcomes[3], Err(Code::Conflict));
    assert_eq!(outcomes[7], Err(Code::Internal));
    assert_eq!(outcomes[11], Err(Code::Internal));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 17);
    let failed = ["unit 03", "unit 07", "unit 11"];
    let wanted: Vec<_> =
        (0..20).map(|number| format!("unit {number:02}")).filter(|text| !failed.contains(&text.as_str())).collect();
    assert_eq!(bed.texts().await, wanted);
    let writer = bed.db.stats().writer;
    let bucket = GROUP_SIZE_BOUNDS.iter().position(|bound| *bound >= 20).unwrap();
    assert_eq!(writer.group_sizes[bucket], 1, "the twenty were one group: {:?}", writer.group_sizes);
    assert_eq!((writer.failed, writer.panicked, writer.reopened), (3, 1, 0));
}

/// Sends five writes that become one group, the first of which gives a refusal of the domain.
/// The last makes the commit fail, if there is `trouble`.
async fn one_group(bed: &Arc<Bed>, faults: &Faults, trouble: Option<Trouble>) -> Vec<Result<i64, Code>> {
    let gate = bed.hold_writer().await;
    let units: Vec<_> = (0..5)
        .map(|number| {
            let (bed, faults) = (Arc::clone(bed), faults.clone());
            tokio::spawn(async move {
                let work = bed.db.write(&bed.ctx, "test.unit", move |conn| {
                    Box::pin(async move {
                        let id = insert_note(conn, &format!("unit {number}"), 0).await?;
                        match (number, trouble) {
                            (0, _) => return Err(Error::not_found("note")),
                            (4, Some(trouble)) => faults.next(Step::Commit, trouble),
                            _ => {}
                        }
                        Ok(id)
                    })
                });
                work.await.map_err(|error| error.code())
            })
        })
        .collect();
    bed.until_writes_wait(5).await;
    gate.open();
    let mut outcomes = Vec::new();
    for unit in units {
        outcomes.push(unit.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn a_failed_commit_fails_the_whole_group_and_the_next_one_works() {
    let faults = Faults::default();
    let bed = Arc::new(Bed::with(|options| options.faults = Some(faults.hook())));
    bed.add("before").await.unwrap();
    let outcomes = one_group(&bed, &faults, Some(Trouble::Full)).await;
    // Even the refusal of the domain: what it was based on was never committed.
    assert_eq!(outcomes, vec![Err(Code::StorageFull); 5]);
    assert_eq!(bed.texts().await, ["before"]);
    assert_eq!(bed.db.health(), Health::Sound);
    let outcomes = one_group(&bed, &faults, None).await;
    assert_eq!(outcomes[0], Err(Code::NotFound));
    assert!(outcomes[1..].iter().all(Result::is_ok));
    assert_eq!(bed.texts().await, ["before", "unit 1", "unit 2", "unit 3", "unit 4"]);
    let writer = bed.db.stats().writer;
    assert_eq!((writer.commit_errors, writer.reopened), (1, 1), "a connection is not used again after that");
}

#[tokio::test]
async fn after_a_disk_error_nothing_is_written_until_recovery() {
    for trouble in [Trouble::Io, Trouble::Corrupt, Trouble::ReadOnly] {
        let faults = Faults::default();
        let bed = Arc::new(Bed::with(|options| options.faults = Some(faults.hook())));
        bed.add("before").await.unwrap();
        let outcomes = one_group(&bed, &faults, Some(trouble)).await;
        let code = if trouble == Trouble::Corrupt { Code::StorageDamaged } else { Code::Unavailable };
        assert_eq!(outcomes, vec![Err(code); 5]);
        assert!(matches!(bed.db.health(), Health::ReadOnly { .. }), "{trouble:?}");
        for _ in 0..3 {
            let error = bed.add("after").await.unwrap_err();
            assert!(error.is_retryable() && error.code() == Code::Unavailable);
        }
        assert_eq!(bed.texts().await, ["before"], "reading goes on");
        faults.next(Step::Checkpoint, Trouble::Io);
        assert_eq!(bed.db.recover().await.unwrap_err().code(), Code::Unavailable);
        assert!(matches!(bed.db.health(), Health::ReadOnly { .. }), "the disk is still broken");
        bed.db.recover().await.unwrap();
        assert_eq!(bed.db.health(), Health::Sound);
        bed.add("after").await.unwrap();
        assert_eq!(bed.texts().await, ["before", "after"]);
    }
}

#[tokio::test]
async fn whether_a_commit_that_the_disk_broke_has_happened_is_left_open() {
    for (trouble, is_open) in [(Trouble::Io, true), (Trouble::Full, false), (Trouble::ReadOnly, false)] {
        let faults = Faults::default();
        let bed = Bed::with(|options| options.faults = Some(faults.hook()));
        bed.add("before").await.unwrap();
        faults.next(Step::Commit, trouble);
        let error = bed.add("lost").await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.to_string().contains("it may have happened"), is_open, "{trouble:?}: {error}");
    }
}

#[tokio::test]
async fn an_error_of_the_disk_that_a_unit_hides_still_stops_the_writing() {
    let faults = Faults::default();
    let bed = Bed::with(|options| options.faults = Some(faults.hook()));
    faults.next(Step::Statement("notes.add"), Trouble::Io);
    let outcome = bed.db.write(&bed.ctx, "test", |conn| {
        Box::pin(async move {
            // The worst repository there could be.
            let _ = insert_note(conn, "a", 0).await;
            Ok(())
        })
    });
    assert_eq!(outcome.await.unwrap_err().code(), Code::Unavailable);
    assert!(matches!(bed.db.health(), Health::ReadOnly { .. }));
}

#[tokio::test]
async fn a_failed_checkpoint_loses_nothing_and_stops_the_writing() {
    let faults = Faults::default();
    let bed = Bed::with(|options| {
        options.faults = Some(faults.hook());
        options.checkpoint_pages = 1;
    });
    bed.add("a").await.unwrap();
    let broken = faults.clone();
    let second = bed.db.write(&bed.ctx, "test", |conn| {
        Box::pin(async move {
            broken.next(Step::Checkpoint, Trouble::Io);
            insert_note(conn, "b", 0).await
        })
    });
    second.await.unwrap();
    // The checkpoint comes after the answer: a third write is behind it in the queue.
    assert_eq!(bed.add("c").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(bed.texts().await, ["a", "b"]);
    assert!(matches!(bed.db.health(), Health::ReadOnly { .. }));
    bed.db.recover().await.unwrap();
    bed.add("c").await.unwrap();
}

#[tokio::test]
async fn whichever_statement_fails_a_unit_is_there_as_a_whole_or_not_at_all() {
    let mut swept = 0;
    for nth in 1.. {
        let counted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = Arc::clone(&counted);
        let bed = Bed::with(|options| {
            options.faults = Some(Arc::new(move |step| {
                let is_mine = matches!(step, Step::Statement("notes.add" | "counters.set") | Step::Commit);
                (is_mine && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == nth).then_some(Trouble::Full)
            }));
        });
        let outcome = bed.db.write(&bed.ctx, "test", |conn| {
            Box::pin(async move {
                insert_note(conn, "a", 0).await?;
                conn.execute(&SET_HITS, &[Value::Int(1)]).await?;
                insert_note(conn, "b", 0).await
            })
        });
        let outcome = outcome.await;
        if counted.load(std::sync::atomic::Ordering::SeqCst) < nth {
            assert!(outcome.is_ok());
            assert_eq!(bed.texts().await, ["a", "b"]);
            break;
        }
        assert_eq!(outcome.unwrap_err().code(), Code::StorageFull, "step {nth}");
        assert!(bed.texts().await.is_empty(), "step {nth}");
        bed.add("after").await.unwrap();
        swept = nth;
    }
    assert_eq!(swept, 4, "three statements and the commit");
}
