//! Guards before a dependency that has queues of its own.

use super::*;

/// What a dependency that has queues of its own may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Broken,
    Late,
    Full,
}

impl Failure for Said {
    fn is_fault(&self) -> bool {
        *self != Self::Full
    }

    fn is_transient(&self) -> bool {
        *self == Self::Broken
    }

    fn is_late(&self) -> bool {
        *self == Self::Late
    }

    fn is_unrelated(&self) -> bool {
        *self == Self::Full
    }
}

async fn says(guard: &Guard, deadline: Deadline, said: Said) -> Result<(), Blocked<Said>> {
    guard.watch(deadline, async |_| Err(said)).await
}

#[tokio::test(start_paused = true)]
async fn what_our_own_queue_refuses_hides_no_failure() {
    let guard = guard();
    for _ in 0..100 {
        assert_eq!(says(&guard, soon(), Said::Full).await, Err(Blocked::Failed(Said::Full)));
    }
    assert_eq!(guard.snapshot().state, State::Closed);
    for _ in 0..4 {
        says(&guard, soon(), Said::Full).await.unwrap_err();
        says(&guard, soon(), Said::Broken).await.unwrap_err();
    }
    let snapshot = guard.snapshot();
    assert_eq!((snapshot.state, snapshot.failures, snapshot.retries), (State::Open, 4, 0));
    assert!(matches!(says(&guard, soon(), Said::Broken).await, Err(Blocked::Open { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_came_with_little_time_blames_nobody_however_it_is_said() {
    let guard = guard();
    for _ in 0..20 {
        let late = Deadline::at(Paused.instant() + Duration::from_millis(10));
        assert_eq!(says(&guard, late, Said::Late).await, Err(Blocked::Failed(Said::Late)));
    }
    assert_eq!(guard.snapshot().state, State::Closed);
    for _ in 0..4 {
        says(&guard, soon(), Said::Late).await.unwrap_err();
    }
    assert_eq!(guard.snapshot().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_unit_is_told_its_time_and_a_probe_has_half_of_it() {
    let guard = guard();
    let hangs = || async {
        let asked = Paused.instant();
        let mut told = None;
        let ended = guard.watch(soon(), |deadline| {
            told = Some(deadline.remaining(asked));
            std::future::pending::<Result<(), Said>>()
        });
        assert_eq!(ended.await, Err(Blocked::TimedOut));
        assert_eq!(Some(Paused.instant() - asked), told, "no longer than it was told");
        told
    };
    for _ in 0..4 {
        assert_eq!(hangs().await, Some(Duration::from_millis(100)));
    }
    assert_eq!(guard.snapshot().state, State::Open);
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(hangs().await, Some(Duration::from_millis(50)));
    let snapshot = guard.snapshot();
    assert_eq!((snapshot.state, snapshot.transitions.reopened, snapshot.at_work), (State::Open, 1, 0));
}

/// A guard whose breaker stays closed, whatever happens.
fn patient(attempts: u32) -> Guard {
    let settings = settings();
    let breaker = BreakerSettings { failure_percent: 101, ..SETTINGS };
    let retry = RetrySettings { attempts, ..settings.retry };
    Guard::new("test", GuardSettings { breaker, retry, ..settings }, Arc::new(Paused), 1)
}

/// How often a call is made that fails each time.
async fn tries(guard: &Guard, said: Said) -> u32 {
    let mut tries = 0;
    let ended = guard.watch_again(soon(), |_| {
        tries += 1;
        async move { Err::<(), _>(said) }
    });
    assert_eq!(ended.await, Err(Blocked::Failed(said)));
    tries
}

proptest! {
    #[test]
    fn of_all_calls_no_more_than_a_tenth_is_made_again(
        attempts in 1..5_u32,
        calls in prop::collection::vec((any::<bool>(), any::<bool>()), 1..200)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let guard = patient(attempts);
            let (mut made, mut again, mut saved) = (0, 0, 0_u32);
            for (may_repeat, is_broken) in calls {
                made += 1;
                saved = (saved + 1).min(100);
                let said = if is_broken { Said::Broken } else { Said::Full };
                let more = if may_repeat {
                    tries(&guard, said).await - 1
                } else {
                    says(&guard, soon(), said).await.unwrap_err();
                    0
                };
                let allowed = if may_repeat && is_broken { (saved / 10).min(attempts - 1) } else { 0 };
                prop_assert_eq!(more, allowed);
                saved -= more * 10;
                again += more;
                prop_assert!(again * 10 <= made, "{} of {} calls were made again", again, made);
                prop_assert_eq!(guard.snapshot().retries, u64::from(again));
                prop_assert_eq!(guard.snapshot().calls, u64::from(made));
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn all_tries_share_one_time_limit() {
    let guard = patient(3);
    for _ in 0..20 {
        says(&guard, soon(), Said::Full).await.unwrap_err();
    }
    let asked = Paused.instant();
    let ended = guard.watch_again(soon(), |deadline| async move {
        assert_eq!(deadline.remaining(asked), Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(70)).await;
        Err::<(), _>(Said::Broken)
    });
    assert_eq!(ended.await, Err(Blocked::TimedOut));
    assert_eq!(Paused.instant() - asked, Duration::from_millis(100));
    assert_eq!(guard.snapshot().retries, 1);
}
