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
        true
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
