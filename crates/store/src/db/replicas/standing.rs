//! Where a replica stands, and whether it is in the history of the primary at all.

use std::time::{Duration, Instant};

use inkstone_core::Result;
use inkstone_core::events::Mark;
use inkstone_core::progress::Progress;
use jiff::Timestamp;

use super::super::Conn;
use crate::outbox::STANDING;

/// For how long a replica may show a change that the primary does not: a synchronous one is first, by
/// a moment.
const SETTLING: Duration = Duration::from_secs(1);

/// What is to be thought of one that shows other changes than the primary. Which of the two is wrong nobody knows here: an
/// old primary that came back writable is taken for the primary too, and who was promoted in its place then looks like this.
const OTHER_HISTORY: &str = "one of the two follows another history, that of a former primary (find out which before \
                             either is built anew), or it is another database";

/// What a replica shows in one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The number of its last change.
    pub(super) position: i64,
    /// The newest change that is known, as it is there.
    shown: Mark,
}

impl Standing {
    /// Asks a replica where it stands, and for the newest change that is known.
    pub(super) async fn ask(conn: &mut Conn, newest: Mark) -> Result<Self> {
        let (position, at): (i64, Option<Timestamp>) = conn.fetch_one(&STANDING, &[newest.change_seq.into()]).await?;
        Ok(Self { position, shown: Mark { at, ..newest } })
    }

    /// Why it is not in the history that has this change; none if it is, or is not as far.
    pub(super) fn departure(&self, newest: Mark) -> Option<String> {
        let is_other = self.position >= newest.change_seq && self.shown != newest;
        is_other.then(|| format!("does not show change {} as the primary made it: {OTHER_HISTORY}", newest.change_seq))
    }
}

/// A change that a replica showed when the primary was not known to have it, since when that is so, and after how many
/// losses of changes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ahead(Option<(i64, Instant, u64)>);

impl Ahead {
    /// The change that it showed, if nothing was lost since: what the primary has made of that number then may be another.
    pub(super) fn seen(&self, losses: u64) -> Option<i64> {
        self.0.filter(|(_, _, after)| *after == losses).map(|(seen, ..)| seen)
    }

    /// Takes note of where the replica is at `now`, and says whether that is further than the primary ever
    /// was, as after a failover that lost changes: the primary was asked a good while after they were seen,
    /// and did not have them. If it cannot be asked, nobody can tell.
    pub(super) fn note(&mut self, position: i64, progress: &Progress, now: Instant) -> Option<String> {
        // In this order: what the look has found is then known.
        let since_look = progress.since_look(now);
        let (known, losses) = (progress.known(), progress.losses());
        let is_still =
            |(seen, _, after): &(i64, Instant, u64)| (known + 1..=position).contains(seen) && *after == losses;
        self.0 = self.0.filter(is_still).or((position > known).then_some((position, now, losses)));
        let (seen, since, _) = self.0?;
        let until_look = now.saturating_duration_since(since).saturating_sub(since_look);
        (until_look >= SETTLING)
            .then(|| format!("shows change {seen}, which the primary does not have: {OTHER_HISTORY}"))
    }
}

#[cfg(test)]
mod tests {
    use inkstone_core::clock::{Clock as _, SystemClock};

    use super::*;

    fn mark(change_seq: i64) -> Mark {
        Mark { change_seq, at: Some(Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn who_is_ahead_is_so_for_good_when_the_primary_was_asked_well_after_it_was_seen() {
        let start = SystemClock.instant();
        let at = |millis| start + Duration::from_millis(millis);
        let progress = Progress::new(start);
        progress.confirm(at(0), mark(5));
        let mut ahead = Ahead::default();
        let mut note = |position, millis| ahead.note(position, &progress, at(millis)).is_some();
        assert!(!note(5, 100) && !note(6, 1_000) && !note(9, 60_000), "nobody has looked since");
        progress.confirm(at(1_999), mark(5));
        assert!(!note(9, 60_000), "too soon after it was seen");
        progress.confirm(at(2_000), mark(5));
        assert!(note(9, 60_000) && note(6, 60_100));
        assert!(!note(5, 60_200), "it was built anew");
        assert!(!note(7, 61_000));
        progress.confirm(at(70_000), mark(7));
        assert!(!note(8, 70_100), "the primary has what was seen; what is more is news");
        progress.confirm(at(71_100), mark(8));
        assert!(!note(8, 71_200));
    }

    #[test]
    fn what_was_seen_before_a_loss_vouches_for_nothing_after_it() {
        let start = SystemClock.instant();
        let progress = Progress::new(start);
        progress.confirm(start, mark(5));
        let mut ahead = Ahead::default();
        ahead.note(6, &progress, start);
        assert_eq!(ahead.seen(progress.losses()), Some(6));
        progress.confirm(start, mark(6));
        progress.may_have_lost();
        assert_eq!(ahead.seen(progress.losses()), None);
        ahead.note(7, &progress, start);
        assert_eq!(ahead.seen(progress.losses()), Some(7));
    }

    #[test]
    fn the_same_number_and_another_time_is_another_history() {
        let newest = mark(5);
        let standing = |position, shown| Standing { position, shown };
        assert_eq!(standing(5, newest).departure(newest), None);
        assert_eq!(standing(8, newest).departure(newest), None, "it has what came before");
        let other = Mark { at: Some(Timestamp::UNIX_EPOCH + Duration::from_micros(1)), ..newest };
        let none = Mark { at: None, ..newest };
        for shown in [other, none] {
            assert!(standing(5, shown).departure(newest).is_some() && standing(8, shown).departure(newest).is_some());
            assert_eq!(standing(4, shown).departure(newest), None, "it is not that far");
        }
    }
}
