//! What this process knows of the one order of all changes: enough to judge whether something that
//! another process made still holds.
//!
//! An entry in a shared tier says at which *position* of that order it was loaded: everything up to
//! there is in it. This process has followed the same order out of the same database, so it knows
//! by itself what was touched since. Nothing in the shared tier has to be believed but where an
//! entry stood, and nothing there can be lost, flushed or rolled back in a way that would matter.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use inkstone_core::cache::Reading;
use inkstone_core::events::{Entity, Footprint, RecordedEvent, ServerRun};

use crate::stamps::Stamps;

/// How many changes are known by position. Entries loaded before the oldest of them are not used.
pub(crate) const REMEMBERED: usize = 10_000;

/// A place in the order of changes: just after this change. The time names the change itself: after
/// a backup was restored, other changes get the same numbers, but not the same times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) change_seq: u64,
    /// When the change was made, in microseconds since 1970.
    pub(crate) at: i64,
    /// Which run of the database's server had told of it: what was read from that may also show later changes, which
    /// may be lost with it.
    pub(crate) server_run: ServerRun,
}

/// Whether something loaded at a position may be used here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing it was made from was touched since, as far as this process has followed.
    Holds,
    /// Something was.
    Outdated,
    /// It is from before all that this process remembers, from another history, or from another run of the server.
    Unknown,
    /// It is from after the last change that this process has seen.
    Ahead,
}

/// A change that was followed.
struct Known {
    change_seq: u64,
    at: i64,
    /// The reading from which on loads have seen this change.
    seen_by: Reading,
}

/// The changes that this process has followed.
pub(crate) struct History {
    stamps: Stamps,
    followed: Mutex<Followed>,
}

#[derive(Default)]
struct Followed {
    /// Oldest first.
    known: VecDeque<Known>,
    /// Who told of them.
    server_run: ServerRun,
    /// The reading from which on loads have read from that run.
    read_from: Reading,
}

impl History {
    /// Nothing was followed yet.
    pub(crate) fn new() -> Self {
        Self { stamps: Stamps::new(), followed: Mutex::default() }
    }

    /// Takes the next changes. `invalidate` makes the local cache drop what was made from them and
    /// gives the reading after that. The stamps come first and the position last: what is judged
    /// in between can only be refused too early, or be dropped by the local cache in a moment.
    pub(crate) fn follow(&self, changes: &[RecordedEvent], invalidate: impl FnOnce() -> Reading) {
        for change in changes {
            self.stamps.stamp(&change.entities, number(change));
        }
        let seen_by = invalidate();
        let known = &mut self.lock().known;
        for change in changes {
            let (change_seq, at) = (number(change), change.at.as_microsecond());
            // At least once means perhaps twice.
            if known.back().is_none_or(|last| last.change_seq < change_seq) {
                known.push_back(Known { change_seq, at, seen_by });
            }
        }
        let surplus = known.len().saturating_sub(REMEMBERED);
        known.drain(..surplus);
    }

    /// Learns of changes before they can be followed: what was loaded before them is outdated by now.
    pub(crate) fn expect(&self, written: &Footprint) {
        self.stamps.stamp(&written.touched, u64::try_from(written.change_seq).unwrap_or_default());
    }

    /// Forgets everything: these are not, or not all, the changes that happened. Numbers begin anew, at
    /// lower ones perhaps, so the old stamps would say nothing.
    pub(crate) fn forget(&self) {
        let mut followed = self.lock();
        followed.known.clear();
        self.stamps.clear();
    }

    /// Another run of the server tells of the changes. `read_from` is the reading from which on loads have read from it.
    pub(crate) fn turn_to(&self, server_run: ServerRun, read_from: Reading) {
        let mut followed = self.lock();
        (followed.server_run, followed.read_from) = (server_run, read_from);
    }

    /// The newest position that a load which began at `reading` has certainly seen; none if that is
    /// older than what is remembered, if there was no change yet, or if it read from another run of the server.
    pub(crate) fn position_of(&self, reading: Reading) -> Option<Position> {
        let Followed { known, server_run, read_from } = &*self.lock();
        let seen = known.partition_point(|known| known.seen_by <= reading);
        let last = known.get(seen.checked_sub(1)?).filter(|_| *read_from <= reading)?;
        Some(Position { change_seq: last.change_seq, at: last.at, server_run: *server_run })
    }

    /// Judges what was loaded at `position` and made from `entities`.
    pub(crate) fn judge(&self, position: Position, entities: &[Entity]) -> Judgement {
        {
            let Followed { known, server_run, .. } = &*self.lock();
            match known.binary_search_by_key(&position.change_seq, |known| known.change_seq) {
                Ok(index) if known[index].at == position.at && *server_run == position.server_run => {}
                Err(index) if index > 0 && index == known.len() => return Judgement::Ahead,
                Ok(_) | Err(_) => return Judgement::Unknown,
            }
        }
        if self.stamps.hold_since(position.change_seq, entities) { Judgement::Holds } else { Judgement::Outdated }
    }

    /// The newest change that was followed; 0 if there was none.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().known.back().map_or(0, |last| last.change_seq)
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(change: &RecordedEvent) -> u64 {
    u64::try_from(change.change_seq).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use inkstone_core::posts::PostId;
    use jiff::Timestamp;

    use super::*;

    const POST: Entity = Entity::Post(PostId(1));

    fn change(change_seq: i64, at: i64, entities: &[Entity]) -> RecordedEvent {
        let at = Timestamp::from_microsecond(at).unwrap();
        RecordedEvent { change_seq, kind: "test".into(), entities: entities.to_vec(), at }
    }

    fn at(change_seq: u64, at: i64) -> Position {
        Position { change_seq, at, server_run: ServerRun(0) }
    }

    #[test]
    fn what_was_loaded_elsewhere_is_judged_by_what_was_touched_since() {
        let history = History::new();
        assert_eq!(history.judge(at(1, 10), &[POST]), Judgement::Unknown, "nothing is known yet");
        history.follow(&[change(3, 30, &[POST]), change(5, 50, &[Entity::Tags])], || Reading(1));
        assert_eq!(history.judge(at(3, 30), &[POST]), Judgement::Holds);
        assert_eq!(history.judge(at(3, 30), &[POST, Entity::Tags]), Judgement::Outdated);
        assert_eq!(history.judge(at(5, 50), &[POST, Entity::Tags]), Judgement::Holds);
        history.follow(&[change(8, 80, &[POST])], || Reading(2));
        assert_eq!(history.judge(at(5, 50), &[POST]), Judgement::Outdated);
        assert_eq!(history.judge(at(5, 50), &[Entity::Tags]), Judgement::Holds, "others are not touched");
    }

    #[test]
    fn other_histories_other_times_and_what_nobody_remembers_are_not_used() {
        let history = History::new();
        history.follow(&[change(3, 30, &[]), change(5, 50, &[])], || Reading(1));
        assert_eq!(history.judge(at(5, 51), &[]), Judgement::Unknown, "another change with the same number");
        assert_eq!(history.judge(at(4, 40), &[]), Judgement::Unknown, "a change that is not in this history");
        assert_eq!(history.judge(at(2, 20), &[]), Judgement::Unknown, "before all that is remembered");
        assert_eq!(history.judge(at(6, 60), &[]), Judgement::Ahead);
        let many: Vec<_> = (6..6 + i64::try_from(REMEMBERED).unwrap()).map(|seq| change(seq, seq * 10, &[])).collect();
        history.follow(&many, || Reading(2));
        assert_eq!(history.judge(at(5, 50), &[]), Judgement::Unknown, "forgotten");
        assert_eq!(history.judge(at(6, 60), &[]), Judgement::Holds);
    }

    #[test]
    fn a_load_stands_where_the_changes_are_that_it_has_certainly_seen() {
        let history = History::new();
        assert_eq!(history.position_of(Reading(0)), None);
        history.follow(&[change(3, 30, &[]), change(5, 50, &[])], || Reading(1));
        history.follow(&[change(8, 80, &[])], || Reading(2));
        assert_eq!(history.position_of(Reading(0)), None, "it may have missed all of them");
        assert_eq!(history.position_of(Reading(1)), Some(at(5, 50)));
        assert_eq!(history.position_of(Reading(2)), Some(at(8, 80)));
        history.follow(&[change(8, 80, &[])], || Reading(3));
        assert_eq!(history.position_of(Reading(2)), Some(at(8, 80)), "what comes twice counts once");
    }

    #[test]
    fn what_was_read_from_another_run_of_the_server_is_not_used_nor_told_as_if_it_were_of_this_one() {
        let history = History::new();
        history.turn_to(ServerRun(1), Reading(0));
        history.follow(&[change(3, 30, &[])], || Reading(1));
        let before = Position { server_run: ServerRun(1), ..at(3, 30) };
        assert_eq!((history.position_of(Reading(1)), history.judge(before, &[])), (Some(before), Judgement::Holds));
        history.turn_to(ServerRun(2), Reading(5));
        let after = Position { server_run: ServerRun(2), ..before };
        assert_eq!((history.judge(before, &[]), history.judge(after, &[])), (Judgement::Unknown, Judgement::Holds));
        assert_eq!((history.position_of(Reading(4)), history.position_of(Reading(5))), (None, Some(after)));
    }
}
