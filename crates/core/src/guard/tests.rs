//! What guards promise, each law against a model that is too simple to be wrong.

mod simulation;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::clock::{Clock, SystemClock};

const SETTINGS: BreakerSettings = BreakerSettings {
    window: 6,
    memory: Duration::from_secs(1),
    min_calls: 4,
    failure_percent: 50,
    open_for: Duration::from_millis(400),
    probes: 2,
};

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    /// Reports the n-th call that is under way, oldest first.
    Report(usize, Outcome),
    Wait(u64),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![4 => Just(Outcome::Success), 4 => Just(Outcome::Failure), 1 => Just(Outcome::Unknown)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        4 => (0..6_usize, outcome()).prop_map(|(index, outcome)| Step::Report(index, outcome)),
        2 => (0..500_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

/// The breaker as one would explain it: it keeps everything that ever happened and counts anew
/// each time. Times are milliseconds since the beginning.
#[derive(Debug, Default)]
struct Model {
    /// When the current state began, what it is, and until when it lasts if it is open.
    state: Option<(State, u64)>,
    /// When, and whether it failed: of the current state only.
    ended: Vec<(u64, Outcome)>,
    probes_out: u32,
    era: u32,
}

impl Model {
    fn state(&self) -> State {
        self.state.map_or(State::Closed, |(state, _)| state)
    }

    fn change(&mut self, state: State, until: u64) {
        self.state = Some((state, until));
        self.ended.clear();
        self.probes_out = 0;
        self.era += 1;
    }

    fn ask(&mut self, now: u64) -> bool {
        if let Some((State::Open, until)) = self.state {
            if now < until {
                return false;
            }
            self.change(State::HalfOpen, 0);
        }
        if self.state() == State::HalfOpen {
            let succeeded = self.ended.iter().filter(|(_, outcome)| *outcome == Outcome::Success).count();
            if self.probes_out as usize + succeeded >= SETTINGS.probes as usize {
                return false;
            }
            self.probes_out += 1;
        }
        true
    }

    fn report(&mut self, era: u32, outcome: Outcome, now: u64, until: u64) {
        if era != self.era {
            return;
        }
        if outcome != Outcome::Unknown {
            self.ended.push((now, outcome));
        }
        let failed = |(_, outcome): &&(u64, Outcome)| *outcome == Outcome::Failure;
        match self.state() {
            State::Closed if outcome != Outcome::Unknown => {
                let young = self.ended.iter().filter(|(at, _)| now - at < 1000).collect::<Vec<_>>();
                let last = &young[young.len().saturating_sub(6)..];
                let failures = last.iter().copied().filter(failed).count();
                if last.len() >= 4 && failures > 0 && failures * 2 >= last.len() {
                    self.change(State::Open, until);
                }
            }
            State::HalfOpen => {
                self.probes_out -= 1;
                if outcome == Outcome::Failure {
                    self.change(State::Open, until);
                } else if self.ended.len() >= 2 {
                    self.change(State::Closed, 0);
                }
            }
            State::Closed | State::Open => {}
        }
    }
}

proptest! {
    #[test]
    fn the_breaker_does_what_the_model_does(steps in steps()) {
        let start = SystemClock.instant();
        let (mut breaker, mut model) = (Breaker::new(SETTINGS), Model::default());
        let mut now_ms = 0;
        let mut under_way: Vec<(Pass, u32)> = Vec::new();
        for step in steps {
            let now = start + Duration::from_millis(now_ms);
            match step {
                Step::Wait(ms) => now_ms += ms,
                Step::Ask => {
                    let was_open = breaker.open_for(now).is_some();
                    let answer = breaker.ask(now);
                    prop_assert_eq!(answer.is_ok(), model.ask(now_ms));
                    prop_assert!(!was_open || answer.is_err(), "open lets nothing pass");
                    match answer {
                        Ok(pass) => under_way.push((pass, model.era)),
                        Err(retry_after) => prop_assert!(!retry_after.is_zero()),
                    }
                }
                Step::Report(index, outcome) => {
                    if under_way.is_empty() {
                        continue;
                    }
                    let (pass, era) = under_way.remove(index % under_way.len());
                    // Half a chance: open for exactly as long as it is set to.
                    breaker.report(pass, outcome, now, 0.5);
                    model.report(era, outcome, now_ms, now_ms + 400);
                }
            }
            prop_assert_eq!(breaker.state(), model.state());
            let probes = under_way.iter().filter(|(_, era)| *era == model.era).count();
            prop_assert!(
                breaker.state() != State::HalfOpen || probes <= SETTINGS.probes as usize,
                "{} probes at once", probes
            );
        }
        let Transitions { opened, reopened, half_opened, closed } = breaker.transitions();
        prop_assert_eq!(opened + reopened + half_opened + closed, u64::from(model.era));
    }

    #[test]
    fn an_open_breaker_stays_so_for_its_time_give_or_take_a_quarter(chance in 0.0..=1.0_f64) {
        let now = SystemClock.instant();
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..4 {
            let pass = breaker.ask(now).unwrap();
            breaker.report(pass, Outcome::Failure, now, chance);
        }
        let open_for = breaker.open_for(now).unwrap();
        prop_assert!((300..=500).contains(&open_for.as_millis()), "{:?}", open_for);
        prop_assert!(breaker.ask(now + open_for.saturating_sub(Duration::from_nanos(1))).is_err());
        prop_assert!(breaker.ask(now + open_for).is_ok());
    }

    #[test]
    fn at_no_moment_there_were_more_retries_than_a_tenth_of_the_calls(
        calls in prop::collection::vec(0..30_u32, 1..400)
    ) {
        let budget = RetryBudget::default();
        let (mut made, mut retried) = (0, 0);
        let mut saved: u32 = 0;
        for wanted in calls {
            budget.pay_in();
            made += 1;
            saved = (saved + 1).min(100);
            for _ in 0..wanted {
                let granted = budget.take();
                prop_assert_eq!(granted, saved >= 10);
                if granted {
                    retried += 1;
                    saved -= 10;
                }
                prop_assert!(retried * 10 <= made, "{} retries of {} calls", retried, made);
            }
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_are_spread_from_nothing_up(failures in 1..80_u32, chance in 0.0..=1.0_f64) {
        let settings = RetrySettings {
            attempts: 9, first_pause: Duration::from_millis(10), longest_pause: Duration::from_millis(500),
        };
        let longest = settings.pause(failures, 1.0);
        let expected = 10.0 * 2.0_f64.powi(i32::try_from(failures).unwrap() - 1);
        prop_assert_eq!(longest, Duration::from_secs_f64(expected.min(500.0) / 1000.0));
        let pause = settings.pause(failures, chance);
        prop_assert!(pause.abs_diff(longest.mul_f64(chance)) < Duration::from_micros(1));
    }
}

#[test]
fn dice_roll_everything_from_0_to_1_alike() {
    let dice = Dice::new(7);
    let mut tenths = [0_u32; 10];
    for _ in 0..10_000 {
        let rolled = dice.roll();
        assert!((0.0..=1.0).contains(&rolled));
        let tenth = (1..10).filter(|tenth| rolled * 10.0 >= f64::from(*tenth)).count();
        tenths[tenth] += 1;
    }
    assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
}

/// A dependency's error: whether it is at fault, and whether it may pass.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {0}")]
struct Fault(bool);

impl Failure for Fault {
    fn is_fault(&self) -> bool {
        self.0
    }

    fn is_transient(&self) -> bool {
        self.0
    }
}

/// tokio's clock, which tests can stop.
#[derive(Debug)]
struct Paused;

impl Clock for Paused {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

fn settings() -> GuardSettings {
    GuardSettings {
        timeout: Duration::from_millis(100),
        bulkhead: BulkheadSettings { concurrency: 2, queue: 1 },
        breaker: SETTINGS,
        retry: RetrySettings {
            attempts: 3,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(20),
        },
    }
}

fn guard() -> Guard {
    Guard::new("test", settings(), Arc::new(Paused), 1)
}

fn soon() -> Deadline {
    Deadline::at(Paused.instant() + Duration::from_secs(10))
}

async fn fails(guard: &Guard, repeat: Repeat) -> Blocked<Fault> {
    guard.call(soon(), repeat, || async { Err::<(), _>(Fault(true)) }).await.unwrap_err()
}

async fn succeeds(guard: &Guard) {
    guard.call(soon(), Repeat::Never, || async { Ok::<_, Fault>(()) }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_fails_is_left_alone_and_found_again() {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&changes);
    let guard = guard().on_change(Box::new(move |name, from, to| {
        seen.lock().unwrap().push(format!("{name}: {} to {}", from.as_str(), to.as_str()));
    }));
    for _ in 0..4 {
        assert_eq!(fails(&guard, Repeat::Never).await, Blocked::Failed(Fault(true)));
    }
    assert!(matches!(fails(&guard, Repeat::Never).await, Blocked::Open { .. }), "it is not asked any more");
    assert_eq!((guard.snapshot().failures, guard.snapshot().refused_open), (4, 1));
    tokio::time::advance(Duration::from_millis(500)).await;
    succeeds(&guard).await;
    assert_eq!(guard.snapshot().state, State::HalfOpen);
    succeeds(&guard).await;
    assert_eq!(guard.snapshot().state, State::Closed);
    let expected = ["test: closed to open", "test: open to half-open", "test: half-open to closed"];
    assert_eq!(*changes.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn refusals_on_good_grounds_open_nothing() {
    let guard = guard();
    for _ in 0..50 {
        let refused = guard.call(soon(), Repeat::Safe, || async { Err::<(), _>(Fault(false)) }).await;
        assert_eq!(refused, Err(Blocked::Failed(Fault(false))));
    }
    let snapshot = guard.snapshot();
    assert_eq!((snapshot.state, snapshot.failures, snapshot.retries), (State::Closed, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_given_up_and_blamed_unless_the_caller_was_late() {
    let guard = guard();
    let hangs = |deadline| guard.call(deadline, Repeat::Safe, std::future::pending::<Result<(), Fault>>);
    for _ in 0..8 {
        let late = Deadline::at(Paused.instant() + Duration::from_millis(10));
        assert_eq!(hangs(late).await, Err(Blocked::TimedOut));
    }
    assert_eq!((guard.snapshot().state, guard.snapshot().failures), (State::Closed, 0));
    for _ in 0..4 {
        let asked = Paused.instant();
        assert_eq!(hangs(soon()).await, Err(Blocked::TimedOut));
        assert_eq!(Paused.instant() - asked, Duration::from_millis(100), "a try takes no longer than it may");
    }
    assert_eq!((guard.snapshot().state, guard.snapshot().timeouts), (State::Open, 12));
}

#[tokio::test(start_paused = true)]
async fn what_failed_for_a_moment_is_tried_again_within_the_budget() {
    let guard = guard();
    for _ in 0..19 {
        succeeds(&guard).await;
    }
    let tries = AtomicU32::new(0);
    let work = || async {
        let failed = tries.fetch_add(1, Ordering::SeqCst) < 2;
        if failed { Err(Fault(true)) } else { Ok(()) }
    };
    assert_eq!(guard.call(soon(), Repeat::Safe, work).await, Ok(()), "the third try succeeds");
    assert_eq!(guard.snapshot().retries, 2);
    for _ in 0..6 {
        succeeds(&guard).await;
    }
    assert_eq!(fails(&guard, Repeat::Safe).await, Blocked::Failed(Fault(true)), "too little is saved up");
    assert_eq!((guard.snapshot().retries, guard.snapshot().retries_denied), (2, 1));
    for _ in 0..30 {
        succeeds(&guard).await;
    }
    let before = guard.snapshot().failures;
    fails(&guard, Repeat::Never).await;
    assert_eq!(guard.snapshot().failures, before + 1, "what must not be repeated is not");
}

#[tokio::test(start_paused = true)]
async fn so_many_at_once_so_many_wait_and_the_next_is_refused() {
    let guard = Arc::new(guard());
    let call = |ms: u64| {
        let guard = Arc::clone(&guard);
        tokio::spawn(async move {
            let work = || async {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok::<_, Fault>(())
            };
            guard.call(soon(), Repeat::Never, work).await
        })
    };
    let calls: Vec<_> = [30, 30, 30].map(call).into_iter().collect();
    while guard.snapshot().waiting < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(guard.snapshot().at_work, 2);
    assert_eq!(call(30).await.unwrap(), Err(Blocked::Full));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let snapshot = guard.snapshot();
    assert_eq!((snapshot.at_work, snapshot.waiting, snapshot.refused_full), (0, 0, 1));
}

/// Callers who go away give everything back: their turn, their place in the queue, their probe.
#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_leaves_nothing_behind() {
    let guard = Arc::new(guard());
    for _ in 0..4 {
        fails(&guard, Repeat::Never).await;
    }
    tokio::time::advance(Duration::from_millis(500)).await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let guard = Arc::clone(&guard);
            tokio::spawn(
                async move { guard.call(soon(), Repeat::Never, std::future::pending::<Result<(), Fault>>).await },
            )
        })
        .collect();
    while guard.snapshot().waiting < 1 {
        tokio::task::yield_now().await;
    }
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    let snapshot = guard.snapshot();
    assert_eq!((snapshot.state, snapshot.at_work, snapshot.waiting), (State::HalfOpen, 0, 0));
    succeeds(&guard).await;
    succeeds(&guard).await;
    assert_eq!(guard.snapshot().state, State::Closed, "the probes were free again");
}
