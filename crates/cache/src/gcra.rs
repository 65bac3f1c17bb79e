//! A quota as one number: the moment at which all of it will be back (GCRA's theoretical arrival
//! time). Each tier keeps that number and advances it in one step; here is what the step is.
//!
//! Moments are microseconds of the wall clock. Where no clock is common to all nodes they may differ
//! by [`CLOCKS_APART`]; clocks that are `d` apart let through as much more as comes back in `d`, once.

use std::time::Duration;

use crate::remote::Taken;

/// How far the clocks of nodes may be apart. A moment that no quota reaches, even so, was written by
/// a clock that is wrong: it counts as nothing left, and is replaced, so that nobody waits for that clock's time.
pub(crate) const CLOCKS_APART: Duration = Duration::from_secs(5);

/// A quota of `q` in `w`: one comes back each `w/q`, and `q` are saved up at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Microseconds until one comes back.
    pub(crate) step: u64,
    /// Microseconds until all are back.
    pub(crate) window: u64,
}

impl Rate {
    /// So many in `window`, both at least one.
    pub(crate) fn new(quota: u32, window: Duration) -> Self {
        let quota = u64::from(quota.max(1));
        let window = u64::try_from(window.as_micros()).unwrap_or(u64::MAX >> 12).max(1);
        let step = (window / quota).max(1);
        Self { step, window: step * quota }
    }

    /// The last moment that somebody's quota can be said to be back at.
    pub(crate) fn latest(self, now: u64) -> u64 {
        now.saturating_add(self.window).saturating_add(micros(CLOCKS_APART))
    }

    /// Takes one, where all are back at `full_at` or, if that is none, have been for long. Gives the
    /// moment that is to be kept and where that leaves whoever asked.
    pub(crate) fn take(self, full_at: Option<u64>, now: u64) -> (u64, Taken) {
        let full_at = match full_at {
            Some(moment) if moment > self.latest(now) => now.saturating_add(self.window),
            Some(moment) => moment.max(now),
            None => now,
        };
        let next = full_at.saturating_add(self.step);
        let missing = next.saturating_sub(now);
        let Some(left) = self.window.checked_sub(missing) else {
            let wait = Duration::from_micros(missing - self.window);
            return (full_at, Taken { remaining: 0, wait: Some(wait) });
        };
        (next, Taken { remaining: u32::try_from(left / self.step).unwrap_or(u32::MAX), wait: None })
    }
}

/// A time in microseconds, the longest there is if it is longer.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;
    const BEGINNING: u64 = 2_000_000_000 * SECOND;

    /// A token bucket, told with what is in it instead of with a moment.
    struct Bucket {
        rate: Rate,
        /// Microseconds' worth of what is there.
        worth: u64,
        at: u64,
    }

    impl Bucket {
        fn take(&mut self, now: u64) -> Taken {
            self.worth = (self.worth + (now - self.at)).min(self.rate.window);
            self.at = now;
            match self.worth.checked_sub(self.rate.step) {
                Some(rest) => {
                    self.worth = rest;
                    Taken { remaining: u32::try_from(rest / self.rate.step).unwrap(), wait: None }
                }
                None => Taken { remaining: 0, wait: Some(Duration::from_micros(self.rate.step - self.worth)) },
            }
        }
    }

    fn rates() -> impl Strategy<Value = Rate> {
        (1_u32..200, 1_u64..7200).prop_map(|(quota, secs)| Rate::new(quota, Duration::from_secs(secs)))
    }

    /// Times between questions: mostly short against any window, sometimes long.
    fn pauses() -> impl Strategy<Value = Vec<u64>> {
        let pause = prop_oneof![8 => 0_u64..SECOND, 2 => 0_u64..60 * SECOND, 1 => 0_u64..10_000 * SECOND];
        prop::collection::vec(pause, 1..300)
    }

    proptest! {
        #[test]
        fn it_is_a_bucket_that_fills_steadily(rate in rates(), pauses in pauses()) {
            let mut bucket = Bucket { rate, worth: rate.window, at: BEGINNING };
            let (mut kept, mut now) = (None, BEGINNING);
            for pause in pauses {
                now += pause;
                let (full_at, taken) = rate.take(kept, now);
                prop_assert_eq!(taken, bucket.take(now));
                prop_assert!(full_at <= now + rate.window);
                prop_assert!(taken.wait.is_none() || Some(full_at) == kept, "a refusal changes nothing");
                if let Some(wait) = taken.wait {
                    let later = now + u64::try_from(wait.as_micros()).unwrap();
                    prop_assert_eq!(rate.take(kept, later).1.wait, None, "who waits as told is let in");
                    prop_assert!(rate.take(kept, later - 1).1.wait.is_some(), "and not before");
                }
                kept = Some(full_at);
            }
        }

        /// However nodes take turns: more than a quota comes through only as time passes, by the
        /// clock that is ahead.
        #[test]
        fn clocks_that_are_apart_let_through_what_comes_back_in_between(
            rate in rates(),
            turns in prop::collection::vec((0_usize..3, 0_u64..2 * SECOND), 1..400),
            behind in prop::array::uniform3(0..=micros(CLOCKS_APART)),
        ) {
            let (mut kept, mut time, mut admitted) = (None, BEGINNING, 0);
            for (node, pause) in turns {
                time += pause;
                let (full_at, taken) = rate.take(kept, time - behind[node]);
                admitted += u64::from(taken.wait.is_none());
                kept = Some(full_at);
                let apart = behind.iter().max().unwrap() - behind.iter().min().unwrap();
                let came_back = time - BEGINNING + apart;
                prop_assert!(admitted * rate.step <= rate.window + came_back, "{admitted} within {came_back} us");
            }
        }

        #[test]
        fn nobody_waits_for_a_moment_that_a_wrong_clock_wrote(rate in rates(), ahead in 1_u64..1_000_000 * SECOND) {
            let wrong = rate.latest(BEGINNING) + ahead;
            let (kept, taken) = rate.take(Some(wrong), BEGINNING);
            prop_assert_eq!(taken, Taken { remaining: 0, wait: Some(Duration::from_micros(rate.step)) });
            let (_, taken) = rate.take(Some(kept), BEGINNING + rate.step);
            prop_assert_eq!(taken, Taken { remaining: 0, wait: None });
        }

        #[test]
        fn nothing_overflows(
            quota: u32, window in (0_u64.., 0_u32..1_000_000_000), full_at: Option<u64>, now: u64,
        ) {
            let rate = Rate::new(quota, Duration::new(window.0, window.1));
            rate.take(full_at, now);
        }
    }

    #[test]
    fn a_quota_is_used_up_after_so_many_and_says_how_many_are_left() {
        let rate = Rate::new(3, Duration::from_mins(1));
        let mut kept = None;
        for remaining in [2, 1, 0] {
            let (full_at, taken) = rate.take(kept, BEGINNING);
            assert_eq!(taken, Taken { remaining, wait: None });
            kept = Some(full_at);
        }
        assert_eq!(rate.take(kept, BEGINNING).1.wait, Some(Duration::from_secs(20)));
        assert_eq!(rate.take(kept, BEGINNING + 25 * SECOND).1, Taken { remaining: 0, wait: None });
    }
}
