//! Whether what others have written is known well enough to take an entry for fresh.
//!
//! A process learns of the changes of others by looking for them. Between two looks it knows
//! nothing, and if it cannot look (its database is out of reach, it was paused) it knows nothing for
//! longer. So each look is good for a bounded time only, counted from when it *began*: whoever wrote
//! longer ago than that has been seen. No message has to arrive for this to hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FOR_EVER: u64 = u64::MAX;

/// How long the looks of this process are good, and when it looked last.
#[derive(Debug)]
pub(crate) struct Trust {
    /// How long a look is good; none: for ever, since nobody else writes.
    bound: Option<Duration>,
    /// Where the microseconds count from.
    start: Instant,
    /// Until when entries may be taken for fresh, in microseconds. One load for those who ask.
    until: AtomicU64,
    /// Looks that began before this moment have missed something.
    misses_since: Mutex<Option<Instant>>,
}

impl Trust {
    /// A look is good for ever.
    pub(crate) fn for_ever(start: Instant) -> Self {
        Self { bound: None, start, until: AtomicU64::new(FOR_EVER), misses_since: Mutex::default() }
    }

    /// A look is good for so long; there was none yet.
    pub(crate) fn bounded(bound: Duration, start: Instant) -> Self {
        Self { bound: Some(bound), until: AtomicU64::new(0), ..Self::for_ever(start) }
    }

    /// Whether entries may be taken for fresh.
    pub(crate) fn is_given(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == FOR_EVER || self.micros(now) < until
    }

    /// Whether what was read at `began` shows everything that was acknowledged a bound before `asked`,
    /// and everything that this process wrote before `asked`.
    pub(crate) fn covers(&self, began: Instant, asked: Instant) -> bool {
        if self.is_given(asked) {
            return true;
        }
        match (*self.lock(), self.bound) {
            (Some(missed), _) => began > missed,
            (None, Some(bound)) => asked.saturating_duration_since(began) < bound,
            (None, None) => true,
        }
    }

    /// A look that began then has come to a good end.
    pub(crate) fn confirm(&self, began: Instant) {
        let mut misses_since = self.lock();
        if misses_since.is_some_and(|missed| began <= missed) {
            return;
        }
        *misses_since = None;
        match self.bound {
            Some(bound) => {
                self.until.fetch_max(self.micros(began + bound), Ordering::Release);
            }
            None => self.until.store(FOR_EVER, Ordering::Release),
        }
    }

    /// Something was written by then that no look has seen.
    pub(crate) fn withdraw(&self, since: Instant) {
        let mut misses_since = self.lock();
        *misses_since = (*misses_since).max(Some(since));
        self.until.store(0, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.misses_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(FOR_EVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use inkstone_core::clock::{Clock as _, SystemClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_look_is_good_for_the_bound_from_when_it_began() {
        let start = SystemClock.instant();
        let trust = Trust::bounded(2 * SECOND, start);
        assert!(!trust.is_given(start), "nobody has looked yet");
        trust.confirm(start + SECOND);
        assert!(trust.is_given(start + Duration::from_micros(2_999_999)));
        assert!(!trust.is_given(start + 3 * SECOND));
        trust.confirm(start);
        assert!(trust.is_given(start + 2 * SECOND), "a late report of an earlier look takes nothing away");
        assert!(trust.covers(start + 3 * SECOND, start + 4 * SECOND), "read recently enough");
        assert!(!trust.covers(start + 2 * SECOND, start + 4 * SECOND));
    }

    #[test]
    fn after_a_miss_only_a_later_look_counts() {
        let start = SystemClock.instant();
        for trust in [Trust::for_ever(start), Trust::bounded(100 * SECOND, start)] {
            trust.confirm(start + SECOND);
            assert!(trust.is_given(start + 2 * SECOND));
            trust.withdraw(start + 2 * SECOND);
            assert!(!trust.is_given(start + 3 * SECOND));
            trust.confirm(start + 2 * SECOND);
            assert!(!trust.is_given(start + 3 * SECOND), "it may have begun before the write was there");
            assert!(!trust.covers(start + 2 * SECOND, start + 3 * SECOND), "so may what is being loaded");
            assert!(trust.covers(start + 3 * SECOND, start + 3 * SECOND));
            trust.confirm(start + 3 * SECOND);
            assert!(trust.is_given(start + 4 * SECOND));
        }
    }
}
