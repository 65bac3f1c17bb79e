//! How often a call is tried again, and when: with pauses that grow and are spread by chance, and
//! never more than a tenth of all calls, so that retries cannot turn a slow dependency into a dead one.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How a failed call is repeated, where repeating it is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Tries altogether; 1 means never again.
    pub attempts: u32,
    /// The longest pause before the second try.
    pub first_pause: Duration,
    /// The longest pause at all.
    pub longest_pause: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { attempts: 3, first_pause: Duration::from_millis(50), longest_pause: Duration::from_secs(2) }
    }
}

impl RetrySettings {
    /// The pause after this many failures (at least 1): a random part, `chance` from 0 to 1, of a
    /// time that doubles from failure to failure. ("Full jitter": whoever failed together does not
    /// come back together.)
    pub fn pause(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause);
        longest.mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// Calls that pay for one retry.
const CALLS_PER_RETRY: u32 = 10;
/// Retries that can be saved up.
const MOST_SAVED: u32 = 10;

/// Lets a tenth of all calls be repeated: each call pays in a tenth of a retry, each retry costs a
/// whole one. It begins empty and saves up ten retries at most, so that at no moment there were
/// more retries than a tenth of the calls so far, and after a quiet day no burst of them.
#[derive(Debug, Default)]
pub struct RetryBudget {
    saved_tenths: AtomicU32,
}

impl RetryBudget {
    /// One call is made.
    pub fn pay_in(&self) {
        let more = |saved: u32| (saved < MOST_SAVED * CALLS_PER_RETRY).then_some(saved + 1);
        // At the cap there is nothing to change.
        let _ = self.saved_tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes the price of one retry, if it is there.
    pub fn take(&self) -> bool {
        let less = |saved: u32| saved.checked_sub(CALLS_PER_RETRY);
        self.saved_tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Chance for what needs no secrecy: spreads pauses. The same seed gives the same numbers.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// Dice that begin here. Any number will do, but not the same on every node.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number from 0 to 1 (SplitMix64: consecutive states give independent numbers).
    pub fn roll(&self) -> f64 {
        let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from(mixed >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}
