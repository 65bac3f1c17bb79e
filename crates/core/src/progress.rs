//! How far this process has followed the one order of all changes.
//!
//! Whoever follows the changes says so here; whoever reads where changes arrive later, or answers
//! somebody who knows of a change, looks here whether it is far enough.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far this process is. Shared by all of its parts.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    known: AtomicI64,
    followed: AtomicI64,
    /// When the last look began that came to a good end, in microseconds since `start`.
    looked: AtomicU64,
}

impl Progress {
    /// Nothing is known yet, at `now`.
    pub fn new(now: Instant) -> Self {
        Self { start: now, known: AtomicI64::new(0), followed: AtomicI64::new(0), looked: AtomicU64::new(0) }
    }

    /// This change is committed. Said *before* anything that was made without it is dropped, and before
    /// the write that made it is acknowledged: what is read from then on has it, wherever it is read.
    pub fn know(&self, change_seq: i64) {
        self.known.fetch_max(change_seq, Ordering::SeqCst);
    }

    /// Everything up to this change has been handed to those who keep what was made without it.
    pub fn follow(&self, change_seq: i64) {
        self.know(change_seq);
        self.followed.fetch_max(change_seq, Ordering::SeqCst);
    }

    /// What was known is of a history that the database does not have any more. This is its last change,
    /// and nobody here keeps anything that was made before it was read.
    pub fn start_over(&self, change_seq: i64) {
        self.known.store(change_seq, Ordering::SeqCst);
        self.followed.store(change_seq, Ordering::SeqCst);
    }

    /// All that was committed before this moment is known.
    pub fn confirm(&self, as_of: Instant) {
        let micros = as_of.saturating_duration_since(self.start).as_micros();
        self.looked.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// The last change that is known to be committed; 0 if there is none.
    pub fn known(&self) -> i64 {
        self.known.load(Ordering::SeqCst)
    }

    /// The last change that everybody here has been told of; 0 if there is none.
    pub fn followed(&self) -> i64 {
        self.followed.load(Ordering::SeqCst)
    }

    /// How long before `now` the last look for changes began that came to a good end. What others
    /// have written since then may not be known.
    pub fn since_look(&self, now: Instant) -> Duration {
        let looked = Duration::from_micros(self.looked.load(Ordering::SeqCst));
        now.saturating_duration_since(self.start).saturating_sub(looked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn it_goes_forward_unless_it_starts_over_and_what_is_followed_is_known() {
        let start = SystemClock.instant();
        let progress = Progress::new(start);
        progress.know(5);
        assert_eq!((progress.known(), progress.followed()), (5, 0));
        progress.follow(7);
        progress.follow(6);
        progress.know(3);
        assert_eq!((progress.known(), progress.followed()), (7, 7));
        progress.know(9);
        progress.start_over(4);
        assert_eq!((progress.known(), progress.followed()), (4, 4));
        let second = Duration::from_secs(1);
        progress.confirm(start + 2 * second);
        progress.confirm(start + second);
        assert_eq!(progress.since_look(start + 5 * second), 3 * second);
    }
}
