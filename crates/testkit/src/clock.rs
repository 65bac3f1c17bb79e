//! Time as a test wants it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inkstone_core::Deadline;
use inkstone_core::clock::{Clock, SystemClock};
use jiff::Timestamp;

/// A clock that stands still until it is moved. Both its times move together.
#[derive(Debug)]
pub struct HandClock {
    begin: (Timestamp, Instant),
    passed: Mutex<Duration>,
}

impl HandClock {
    /// One that begins at half past eight on 22 November 2026, and at the machine's own instant.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let begin = Timestamp::from_second(1_795_336_200).expect("a time");
        Arc::new(Self { begin: (begin, SystemClock.instant()), passed: Mutex::default() })
    }

    /// Lets so much time pass.
    pub fn pass(&self, time: Duration) {
        *self.passed() += time;
    }

    /// Lets so many seconds pass.
    pub fn pass_secs(&self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// A deadline that is so far away.
    pub fn deadline_in(&self, after: Duration) -> Deadline {
        Deadline::at(self.instant() + after)
    }

    fn passed(&self) -> MutexGuard<'_, Duration> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.begin.0 + *self.passed()
    }

    fn instant(&self) -> Instant {
        self.begin.1 + *self.passed()
    }
}
