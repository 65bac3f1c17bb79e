//! The circuit breaker: stops asking a dependency that keeps failing, and finds out when it is back.
//!
//! A pure state machine: time and chance are arguments, nothing waits, nothing is locked.
//!
//! ```text
//!            too many failures               the time is over, somebody asks
//!   Closed ───────────────────▶ Open ─────────────────────────────▶ HalfOpen
//!      ▲                          ▲            a probe failed           │
//!      │                          └─────────────────────────────────────┤
//!      └────────────────────────────────────────────────────────────────┘
//!                          all probes succeeded
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When a breaker opens, for how long, and how it closes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// How many outcomes are remembered at most.
    pub window: u32,
    /// How long an outcome is remembered.
    pub memory: Duration,
    /// With fewer outcomes than this nothing is concluded.
    pub min_calls: u32,
    /// Opens when this share of the remembered outcomes, in per cent, are failures.
    pub failure_percent: u32,
    /// How long it stays open, give or take a quarter, so that many nodes do not ask at one moment.
    pub open_for: Duration,
    /// How many calls pass while it is half open, and how many must succeed to close it.
    pub probes: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: 20,
            memory: Duration::from_secs(10),
            min_calls: 10,
            failure_percent: 50,
            open_for: Duration::from_secs(1),
            probes: 3,
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// A few calls pass to find out whether the dependency is back.
    HalfOpen,
}

impl State {
    /// Every state, in the order in which a dependency fails and comes back.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// One word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// How a call ended, as far as the dependency's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The dependency answered, be it with a refusal.
    Success,
    /// It failed, or did not answer in time.
    Failure,
    /// Nothing can be concluded: the caller went away.
    Unknown,
}

/// The right to make one call. To be handed back with [`Breaker::report`], whatever happens.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a pass that is not reported keeps a probe from ever ending"]
pub struct Pass {
    term: u64,
}

/// How often a breaker went from state to state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transitions {
    /// From closed to open.
    pub opened: u64,
    /// From half open back to open.
    pub reopened: u64,
    /// From open to half open.
    pub half_opened: u64,
    /// From half open to closed.
    pub closed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { under_way: u32, succeeded: u32 },
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    phase: Phase,
    /// Grows with every transition: what a call of an earlier term came to says nothing about now.
    term: u64,
    /// When each remembered call ended, and whether it failed. Oldest first.
    outcomes: VecDeque<(Instant, bool)>,
    transitions: Transitions,
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            phase: Phase::Closed,
            term: 0,
            outcomes: VecDeque::with_capacity(settings.window as usize),
            transitions: Transitions::default(),
        }
    }

    /// Asks whether a call may be made now.
    ///
    /// # Errors
    /// The time after which asking again makes sense.
    pub fn ask(&mut self, now: Instant) -> Result<Pass, Duration> {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Err(until.saturating_duration_since(now));
            }
            self.enter(Phase::HalfOpen { under_way: 0, succeeded: 0 });
            self.transitions.half_opened += 1;
        }
        if let Phase::HalfOpen { under_way, succeeded } = &mut self.phase {
            if *under_way + *succeeded >= self.settings.probes {
                return Err(self.settings.open_for);
            }
            *under_way += 1;
        }
        Ok(Pass { term: self.term })
    }

    /// Says what a call came to. `chance`, a random number from 0 to 1, spreads the time for which
    /// it stays open, should this open it.
    pub fn report(&mut self, pass: Pass, outcome: Outcome, now: Instant, chance: f64) {
        if pass.term != self.term {
            return;
        }
        match (&mut self.phase, outcome) {
            (Phase::Closed, Outcome::Unknown) | (Phase::Open { .. }, _) => {}
            (Phase::Closed, outcome) => {
                self.remember(now, outcome == Outcome::Failure);
                if self.fails_too_often() {
                    self.open(now, chance);
                    self.transitions.opened += 1;
                }
            }
            (Phase::HalfOpen { .. }, Outcome::Failure) => {
                self.open(now, chance);
                self.transitions.reopened += 1;
            }
            (Phase::HalfOpen { under_way, succeeded }, outcome) => {
                *under_way -= 1;
                *succeeded += u32::from(outcome == Outcome::Success);
                if *succeeded >= self.settings.probes {
                    self.enter(Phase::Closed);
                    self.transitions.closed += 1;
                }
            }
        }
    }

    /// How long it lets nothing pass; none if a call may be asked for.
    pub fn open_for(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => until.checked_duration_since(now).filter(|left| !left.is_zero()),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }

    /// Where it stands, as of the last call. Open also when its time is over and nobody has asked.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How often it went from state to state.
    pub fn transitions(&self) -> Transitions {
        self.transitions
    }

    fn open(&mut self, now: Instant, chance: f64) {
        let share = 0.75 + 0.5 * chance.clamp(0.0, 1.0);
        self.enter(Phase::Open { until: now + self.settings.open_for.mul_f64(share) });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.term += 1;
        self.outcomes.clear();
    }

    fn remember(&mut self, now: Instant, failed: bool) {
        let too_old = |at: Instant| now.saturating_duration_since(at) >= self.settings.memory;
        while self.outcomes.front().is_some_and(|(at, _)| too_old(*at)) {
            self.outcomes.pop_front();
        }
        while self.outcomes.len() >= self.settings.window.max(1) as usize {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((now, failed));
    }

    fn fails_too_often(&self) -> bool {
        let calls = self.outcomes.len() as u64;
        let failures = self.outcomes.iter().filter(|(_, failed)| *failed).count() as u64;
        failures > 0
            && calls >= u64::from(self.settings.min_calls)
            && failures * 100 >= calls * u64::from(self.settings.failure_percent)
    }
}
