//! How far this process has followed the one order of all changes.
//!
//! Whoever follows the changes says so here; whoever reads where changes arrive later, or answers
//! somebody who knows of a change, looks here whether it is far enough.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::events::Mark;

/// How far this process is. Shared by all of its parts.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    known: Mutex<Known>,
    followed: AtomicI64,
    /// When the last look began that came to a good end, in microseconds since `start`.
    looked: AtomicU64,
}

/// The last change that is known to be committed.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    change_seq: i64,
    /// The same, with what tells it from that of another history; none before that was found out.
    mark: Option<Mark>,
    /// How often changes were lost, or may have been.
    losses: u64,
}

impl Progress {
    /// Nothing is known yet, at `now`.
    pub fn new(now: Instant) -> Self {
        Self { start: now, known: Mutex::default(), followed: AtomicI64::new(0), looked: AtomicU64::new(0) }
    }

    /// This change is committed. Said *before* anything that was made without it is dropped, and before
    /// the write that made it is acknowledged: what is read from then on has it, wherever it is read.
    pub fn know(&self, change: Mark) {
        let mut known = self.lock();
        let is_news = change.change_seq > known.change_seq || known.mark.is_none() || change.at.is_some();
        if change.change_seq >= known.change_seq && is_news {
            *known = Known { change_seq: change.change_seq, mark: Some(change), ..*known };
        }
    }

    /// Everything up to this change has been handed to those who keep what was made without it.
    pub fn follow(&self, change: Mark) {
        self.know(change);
        self.followed.fetch_max(change.change_seq, Ordering::SeqCst);
    }

    /// What was known is of a history that the database does not have any more. This is its last change,
    /// and nobody here keeps anything that was made before it was read.
    pub fn start_over(&self, change_seq: i64) {
        {
            let mut known = self.lock();
            *known = Known { change_seq, mark: None, losses: known.losses + 1 };
        }
        self.followed.store(change_seq, Ordering::SeqCst);
    }

    /// What was known may be lost: nothing is told from other histories by it any more.
    pub fn doubt(&self) {
        self.lock().mark = None;
    }

    /// Changes that nobody here knew of may be lost: of those who showed them nothing is read before they were looked at
    /// again.
    pub fn may_have_lost(&self) {
        self.lock().losses += 1;
    }

    /// How often changes [were](Self::start_over) or [may have been](Self::may_have_lost) lost.
    pub fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// All that was committed before this moment is known; `newest` is the last of it.
    pub fn confirm(&self, as_of: Instant, newest: Mark) {
        self.know(newest);
        let micros = as_of.saturating_duration_since(self.start).as_micros();
        self.looked.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// The number of the last change that is known to be committed; 0 if there is none.
    pub fn known(&self) -> i64 {
        self.lock().change_seq
    }

    /// The last change that is known to be committed, by which its history is told from others; none if
    /// that was not found out yet.
    pub fn newest(&self) -> Option<Mark> {
        self.lock().mark
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

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn mark(change_seq: i64, at: i64) -> Mark {
        Mark { change_seq, at: Some(Timestamp::from_microsecond(at).unwrap()) }
    }

    #[test]
    fn it_goes_forward_unless_it_starts_over_and_what_is_followed_is_known() {
        let start = SystemClock.instant();
        let progress = Progress::new(start);
        assert_eq!((progress.known(), progress.newest()), (0, None));
        progress.know(mark(5, 50));
        assert_eq!((progress.known(), progress.followed()), (5, 0));
        progress.follow(mark(7, 70));
        progress.follow(mark(6, 60));
        progress.know(mark(3, 30));
        assert_eq!((progress.newest(), progress.followed()), (Some(mark(7, 70)), 7));
        progress.know(mark(9, 90));
        progress.start_over(4);
        assert_eq!((progress.known(), progress.newest(), progress.followed()), (4, None, 4));
        assert_eq!(progress.losses(), 1);
        let second = Duration::from_secs(1);
        progress.confirm(start + 2 * second, mark(4, 41));
        progress.confirm(start + second, mark(4, 41));
        assert_eq!(progress.since_look(start + 5 * second), 3 * second);
        assert_eq!(progress.newest(), Some(mark(4, 41)));
        progress.may_have_lost();
        assert_eq!((progress.newest(), progress.followed(), progress.losses()), (Some(mark(4, 41)), 4, 2));
    }

    #[test]
    fn what_tells_a_change_from_others_is_kept_and_the_latest_word_counts() {
        let progress = Progress::new(SystemClock.instant());
        let bare = |change_seq| Mark { change_seq, at: None };
        progress.know(bare(0));
        assert_eq!(progress.newest(), Some(bare(0)), "that there is nothing yet is something to know");
        progress.know(mark(5, 50));
        progress.know(bare(5));
        assert_eq!(progress.newest(), Some(mark(5, 50)));
        progress.know(mark(5, 51));
        assert_eq!(progress.newest(), Some(mark(5, 51)), "somebody has met another database");
        progress.know(bare(6));
        assert_eq!(progress.newest(), Some(bare(6)));
        progress.doubt();
        assert_eq!((progress.known(), progress.newest(), progress.losses()), (6, None, 0));
    }
}
