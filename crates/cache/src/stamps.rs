//! When each entity was last invalidated, in a fixed amount of memory and without a lock for readers.
//!
//! Every invalidation gets the next number, the *epoch*, and leaves it as a stamp on each entity it
//! names. Whatever was loaded at epoch `n` still holds if no entity that it was made from has a
//! stamp above `n`. Entities share a fixed number of slots by hash: two entities in one slot are
//! invalidated together, which costs a reload now and then and can never serve something old.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use inkstone_core::events::Entity;

/// How many slots: 512 KiB. One write that names ten entities touches one in 6,500 of the others.
const SLOTS: usize = 1 << 16;

/// The stamps of all entities.
pub(crate) struct Stamps {
    epoch: AtomicU64,
    /// The epoch of the last invalidation of everything.
    floor: AtomicU64,
    slots: Box<[AtomicU64]>,
    /// One invalidation at a time: its stamps must be in place before its epoch shows.
    writing: Mutex<()>,
}

impl Stamps {
    /// No entity was ever invalidated.
    pub(crate) fn new() -> Self {
        Self {
            epoch: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            writing: Mutex::new(()),
        }
    }

    /// The number of the last invalidation. Its stamps are visible to whoever has seen it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Stamps `entities`. The stamps come first and the epoch last: a reader that already sees the
    /// new epoch then also sees every stamp, and one that does not yet see it can only be refused
    /// too early.
    pub(crate) fn invalidate(&self, entities: &[Entity]) {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.epoch.load(Ordering::Relaxed) + 1;
        for entity in entities {
            self.slots[slot(*entity)].store(next, Ordering::Relaxed);
        }
        self.epoch.store(next, Ordering::Release);
    }

    /// Stamps every entity there is.
    pub(crate) fn invalidate_all(&self) {
        self.invalidate_all_but(|_| {});
    }

    /// Stamps every entity there is, after `spare` has marked what is to be kept as holding at the epoch that it is given.
    pub(crate) fn invalidate_all_but(&self, spare: impl FnOnce(u64)) {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.epoch.load(Ordering::Relaxed) + 1;
        spare(next);
        self.floor.store(next, Ordering::Relaxed);
        self.epoch.store(next, Ordering::Release);
    }

    /// Stamps `entities` with a number of the caller's own, which never gets smaller. Not to be
    /// mixed with [`Stamps::invalidate`] on the same table.
    pub(crate) fn stamp(&self, entities: &[Entity], number: u64) {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for entity in entities {
            self.slots[slot(*entity)].fetch_max(number, Ordering::Relaxed);
        }
        self.epoch.fetch_max(number, Ordering::Release);
    }

    /// Takes all stamps away, for whoever [stamps](Stamps::stamp) with numbers that begin anew.
    pub(crate) fn clear(&self) {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in &self.slots {
            slot.store(0, Ordering::Relaxed);
        }
    }

    /// Whether none of `entities` was invalidated after `epoch`.
    pub(crate) fn hold_since(&self, epoch: u64, entities: &[Entity]) -> bool {
        self.floor.load(Ordering::Relaxed) <= epoch
            && entities.iter().all(|entity| self.slots[slot(*entity)].load(Ordering::Relaxed) <= epoch)
    }
}

/// Which slot an entity has. Multiplicative hashing spreads consecutive ids evenly; nobody can
/// choose ids, so no secret is needed.
fn slot(entity: Entity) -> usize {
    let mut hasher = Multiplying(0);
    entity.hash(&mut hasher);
    usize::try_from(hasher.finish() >> 48).unwrap_or_default() % SLOTS
}

/// A hasher for a kind and a number.
struct Multiplying(u64);

impl Multiplying {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for Multiplying {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_i64(&mut self, id: i64) {
        self.mix(id.cast_unsigned());
    }

    fn write_isize(&mut self, kind: isize) {
        self.mix(u64::try_from(kind).unwrap_or_default());
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inkstone_core::posts::PostId;
    use inkstone_core::users::UserId;

    #[test]
    fn what_was_loaded_before_an_invalidation_does_not_hold() {
        let stamps = Stamps::new();
        let before = stamps.epoch();
        stamps.invalidate(&[Entity::Post(PostId(1)), Entity::Posts]);
        assert!(!stamps.hold_since(before, &[Entity::Tags, Entity::Posts]));
        assert!(stamps.hold_since(before, &[Entity::Tags]), "an entity that was not named is untouched");
        assert!(stamps.hold_since(stamps.epoch(), &[Entity::Posts]), "what is loaded afterwards holds");
    }

    #[test]
    fn everything_can_be_invalidated_at_once_what_was_made_from_nothing_included() {
        let stamps = Stamps::new();
        stamps.invalidate_all();
        assert!(!stamps.hold_since(0, &[Entity::Tags]) && !stamps.hold_since(0, &[]));
        assert!(stamps.hold_since(stamps.epoch(), &[Entity::Tags]));
    }

    #[test]
    fn ids_spread_over_the_slots() {
        let mut used = std::collections::HashSet::new();
        for id in 0..10_000 {
            used.insert(slot(Entity::Post(PostId(id))));
            used.insert(slot(Entity::User(UserId(id))));
        }
        assert!(used.len() > 15_000, "20,000 entities share {} slots", used.len());
    }
}
