//! How long to wait after a failure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);

/// Waits that double from failure to failure.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Whether the last attempt failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// How many attempts in a row have failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The wait after one more failure.
    pub(crate) fn fail(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// An attempt succeeded.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| u64::try_from(backoff.fail().as_millis()).unwrap()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        for _ in 0..100 {
            assert_eq!(backoff.fail(), LONGEST);
        }
        backoff.succeed();
        assert!(!backoff.has_failed());
        assert_eq!(backoff.fail(), FIRST);
    }
}
