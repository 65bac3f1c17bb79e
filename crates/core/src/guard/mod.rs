//! What stands between the program and everything that can fail: a [`Guard`] for each dependency.
//!
//! A guarded call passes, in this order: the circuit [`breaker`] (is the dependency known to be
//! down?), the [`bulkhead`] (is there room?), a deadline, and, where it failed and may be repeated,
//! the [`retry`] budget. Each can end it at once and says so; none waits longer than the deadline.
//!
//! To guard one more dependency: give its errors a [`Failure`], make one [`Guard`] where the program
//! is put together, and write into `docs/operations.md` what users see while it is open.

pub mod breaker;
pub mod bulkhead;
pub mod load;
pub mod retry;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::context::Deadline;
use crate::error::{Code, Error};
use breaker::{Breaker, BreakerSettings, Outcome, Pass, State, Transitions};
use bulkhead::{Bulkhead, BulkheadSettings, NoTurn};
use retry::{Dice, RetryBudget, RetrySettings};

/// How one dependency is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSettings {
    /// How long one try may take, waiting for a turn included; the caller's deadline if that is sooner.
    pub timeout: Duration,
    /// How much of the process it may take.
    pub bulkhead: BulkheadSettings,
    /// When it is not asked any more.
    pub breaker: BreakerSettings,
    /// How often it is asked again.
    pub retry: RetrySettings,
}

/// What a guard needs to know of an error.
pub trait Failure {
    /// Whether the dependency is at fault. A refusal that it gave on good grounds is none.
    fn is_fault(&self) -> bool;
    /// Whether the same call may succeed in a moment.
    fn is_transient(&self) -> bool;
    /// Whether it was given up because its time was over.
    fn is_late(&self) -> bool {
        false
    }
    /// Whether it says nothing about the dependency, which was not even asked.
    fn is_unrelated(&self) -> bool {
        false
    }
}

impl Failure for Error {
    fn is_fault(&self) -> bool {
        matches!(self.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Internal)
    }

    fn is_transient(&self) -> bool {
        self.is_retryable() && self.code() == Code::Unavailable
    }
}

/// Whether a call may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing, or the same thing however often it is made.
    Safe,
    /// It must be made once at most.
    Never,
}

/// Why a guarded call came to nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Blocked<E> {
    /// The dependency is known to be down; it was not asked.
    #[error("not asked: it failed too often")]
    Open {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// Too many calls are at work and waiting.
    #[error("not asked: too many calls are waiting")]
    Full,
    /// The deadline passed.
    #[error("no answer in time")]
    TimedOut,
    /// It was asked and failed.
    #[error(transparent)]
    Failed(#[from] E),
}

impl From<Blocked<Error>> for Error {
    fn from(blocked: Blocked<Error>) -> Self {
        const SOON: Duration = Duration::from_secs(1);
        match blocked {
            Blocked::Open { retry_after } => {
                Self::try_later(Code::Unavailable, "A part of the service is not available.", retry_after.max(SOON))
            }
            Blocked::Full => Self::try_later(Code::Overloaded, "Too many requests are waiting.", SOON),
            Blocked::TimedOut => Self::refused(Code::DeadlineExceeded, "The answer was not ready in time."),
            Blocked::Failed(error) => error,
        }
    }
}

/// What a guard saw so far and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the breaker stands.
    pub state: State,
    /// How often it went from state to state.
    pub transitions: Transitions,
    /// Calls that came, refused ones included, retries not.
    pub calls: u64,
    /// Tries that failed by the dependency's fault, those without an answer included.
    pub failures: u64,
    /// Tries that ended because their time was over.
    pub timeouts: u64,
    /// Calls refused because the breaker was open.
    pub refused_open: u64,
    /// Calls refused because too many waited.
    pub refused_full: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Retries that the budget did not allow.
    pub retries_denied: u64,
    /// Calls at work now, those past a bulkhead of the dependency's own included.
    pub at_work: u32,
    /// Calls that wait now.
    pub waiting: u32,
}

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    refused_open: AtomicU64,
    refused_full: AtomicU64,
    retries: AtomicU64,
    retries_denied: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Told when a breaker changes its state: the dependency's name, from where, and to where.
pub type OnChange = Box<dyn Fn(&str, State, State) + Send + Sync>;

/// Guards one dependency.
pub struct Guard {
    name: Cow<'static, str>,
    settings: GuardSettings,
    clock: SharedClock,
    breaker: Mutex<Breaker>,
    bulkhead: Bulkhead,
    budget: RetryBudget,
    dice: Dice,
    counts: Counts,
    at_work: AtomicU32,
    on_change: Option<OnChange>,
}

impl Guard {
    /// A guard that lets everything pass until it learns otherwise. `seed` spreads pauses: not the
    /// same on every node.
    pub fn new(name: impl Into<Cow<'static, str>>, settings: GuardSettings, clock: SharedClock, seed: u64) -> Self {
        Self {
            name: name.into(),
            settings,
            clock,
            breaker: Mutex::new(Breaker::new(settings.breaker)),
            bulkhead: Bulkhead::new(settings.bulkhead),
            budget: RetryBudget::default(),
            dice: Dice::new(seed),
            counts: Counts::default(),
            at_work: AtomicU32::new(0),
            on_change: None,
        }
    }

    /// Has somebody told of every change of state, such as the log.
    #[must_use]
    pub fn on_change(mut self, tell: OnChange) -> Self {
        self.on_change = Some(tell);
        self
    }

    /// The dependency's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls the dependency: `work` once for each try.
    ///
    /// # Errors
    /// Why it was not asked, or what it failed with at last.
    pub async fn call<T, E, F, Fut>(&self, deadline: Deadline, repeat: Repeat, mut work: F) -> Result<T, Blocked<E>>
    where
        E: Failure,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        count(&self.counts.calls);
        self.budget.pay_in();
        let mut failures = 0;
        loop {
            let error = match self.attempt(deadline, work()).await {
                Err(Blocked::Failed(error)) if error.is_transient() && repeat == Repeat::Safe => error,
                ended => return ended,
            };
            failures += 1;
            if !self.may_repeat(failures, deadline).await {
                return Err(Blocked::Failed(error));
            }
        }
    }

    /// Whether a call may be made again after so many failures; waits for its pause, if it may.
    async fn may_repeat(&self, failures: u32, deadline: Deadline) -> bool {
        let pause = self.settings.retry.pause(failures, self.dice.roll());
        let is_too_late = deadline.remaining(self.clock.instant()) <= pause;
        if failures >= self.settings.retry.attempts || is_too_late {
            return false;
        }
        if !self.budget.take() {
            count(&self.counts.retries_denied);
            return false;
        }
        count(&self.counts.retries);
        tokio::time::sleep(pause).await;
        true
    }

    /// Calls a dependency that has queues of its own, so that a bulkhead would be one too many: only
    /// the breaker and the time limit stand before it, and nothing is repeated. `work` is told until
    /// when it is waited for. What finds out whether the dependency is back has half the time.
    ///
    /// # Errors
    /// Why it was not asked, or what it failed with.
    pub async fn watch<T, E, Fut>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(Deadline) -> Fut,
    ) -> Result<T, Blocked<E>>
    where
        E: Failure,
        Fut: Future<Output = Result<T, E>>,
    {
        count(&self.counts.calls);
        self.budget.pay_in();
        self.watch_once(deadline, work).await
    }

    /// As [`Guard::watch`], of what may be made again where it [may succeed](Failure::is_transient) in
    /// a moment. All tries share one time limit.
    ///
    /// # Errors
    /// Why it was not asked, or what it failed with at last.
    pub async fn watch_again<T, E, F, Fut>(&self, deadline: Deadline, mut work: F) -> Result<T, Blocked<E>>
    where
        E: Failure,
        F: FnMut(Deadline) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        count(&self.counts.calls);
        self.budget.pay_in();
        let deadline = deadline.min(Deadline::at(self.clock.instant() + self.settings.timeout));
        let mut failures = 0;
        loop {
            let error = match self.watch_once(deadline, &mut work).await {
                Err(Blocked::Failed(error)) if error.is_transient() => error,
                ended => return ended,
            };
            failures += 1;
            if !self.may_repeat(failures, deadline).await {
                return Err(Blocked::Failed(error));
            }
        }
    }

    async fn watch_once<T, E, Fut>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(Deadline) -> Fut,
    ) -> Result<T, Blocked<E>>
    where
        E: Failure,
        Fut: Future<Output = Result<T, E>>,
    {
        let attempt = Attempt::begin(self)?;
        let is_probe = self.lock().state() == State::HalfOpen;
        let most = if is_probe { self.settings.timeout / 2 } else { self.settings.timeout };
        let began = self.clock.instant();
        let patience = deadline.remaining(began).min(most);
        let ended = tokio::time::timeout(patience, work(Deadline::at(began + patience))).await;
        attempt.end(ended.ok(), patience)
    }

    async fn attempt<T, E: Failure>(
        &self,
        deadline: Deadline,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Blocked<E>> {
        let began = self.clock.instant();
        let patience = deadline.remaining(began).min(self.settings.timeout);
        let trial = async {
            let turn = self.bulkhead.turn(patience).await.map_err(|why| match why {
                NoTurn::Full => {
                    count(&self.counts.refused_full);
                    Blocked::Full
                }
                NoTurn::TooLate => Blocked::TimedOut,
            })?;
            // Asked once there is room: a probe that only waited would keep the others out.
            let attempt = Attempt::begin(self)?;
            let left = patience.saturating_sub(self.clock.instant().saturating_duration_since(began));
            let ended = tokio::time::timeout(left, work).await;
            drop(turn);
            attempt.end(ended.ok(), left)
        };
        // While it is open nobody waits for a turn either.
        self.peek()?;
        trial.await
    }

    /// Refuses while the breaker is open, without becoming a probe.
    fn peek<E>(&self) -> Result<(), Blocked<E>> {
        let now = self.clock.instant();
        match self.lock().open_for(now) {
            Some(retry_after) => {
                count(&self.counts.refused_open);
                Err(Blocked::Open { retry_after })
            }
            None => Ok(()),
        }
    }

    fn ask<E>(&self) -> Result<Pass, Blocked<E>> {
        let now = self.clock.instant();
        self.with_breaker(|breaker| breaker.ask(now)).map_err(|retry_after| {
            count(&self.counts.refused_open);
            Blocked::Open { retry_after }
        })
    }

    /// Where it stands.
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (state, transitions) = {
            let breaker = self.lock();
            (breaker.state(), breaker.transitions())
        };
        Snapshot {
            state,
            transitions,
            calls: read(&self.counts.calls),
            failures: read(&self.counts.failures),
            timeouts: read(&self.counts.timeouts),
            refused_open: read(&self.counts.refused_open),
            refused_full: read(&self.counts.refused_full),
            retries: read(&self.counts.retries),
            retries_denied: read(&self.counts.retries_denied),
            at_work: self.at_work.load(Ordering::Relaxed),
            waiting: self.bulkhead.waiting(),
        }
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let (before, value, after) = {
            let mut breaker = self.lock();
            let before = breaker.state();
            let value = act(&mut breaker);
            (before, value, breaker.state())
        };
        if let (Some(tell), true) = (&self.on_change, before != after) {
            tell(&self.name, before, after);
        }
        value
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("name", &self.name).field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

/// One try. If it is dropped before its end, the caller went away and the breaker learns nothing.
struct Attempt<'a> {
    guard: &'a Guard,
    pass: Option<Pass>,
}

impl<'a> Attempt<'a> {
    fn begin<E>(guard: &'a Guard) -> Result<Self, Blocked<E>> {
        let pass = Some(guard.ask()?);
        guard.at_work.fetch_add(1, Ordering::Relaxed);
        Ok(Self { guard, pass })
    }

    /// `ended` is what the work came to; none if it was waited for in vain, for as long as `patience`.
    fn end<T, E: Failure>(mut self, ended: Option<Result<T, E>>, patience: Duration) -> Result<T, Blocked<E>> {
        let guard = self.guard;
        let is_late = ended.as_ref().is_none_or(|ended| ended.as_ref().is_err_and(Failure::is_late));
        let outcome = match &ended {
            // Who came with little time left has no right to complain of the dependency.
            _ if is_late && patience < guard.settings.timeout / 2 => Outcome::Unknown,
            Some(Err(error)) if error.is_unrelated() => Outcome::Unknown,
            Some(Err(error)) if error.is_fault() => Outcome::Failure,
            Some(_) => Outcome::Success,
            None => Outcome::Failure,
        };
        if outcome == Outcome::Failure {
            count(&guard.counts.failures);
        }
        self.report(outcome);
        let Some(result) = ended else {
            count(&guard.counts.timeouts);
            return Err(Blocked::TimedOut);
        };
        result.map_err(Blocked::Failed)
    }

    fn report(&mut self, outcome: Outcome) {
        let Some(pass) = self.pass.take() else { return };
        self.guard.at_work.fetch_sub(1, Ordering::Relaxed);
        let (now, chance) = (self.guard.clock.instant(), self.guard.dice.roll());
        self.guard.with_breaker(|breaker| breaker.report(pass, outcome, now, chance));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.report(Outcome::Unknown);
    }
}

#[cfg(test)]
mod tests;
