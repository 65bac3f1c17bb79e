//! What is counted of the shared tier.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the shared tier did for this process so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SharedStats {
    /// Found and used.
    pub hits: u64,
    /// Not there.
    pub misses: u64,
    /// There, but something that it was made from was touched since.
    pub outdated: u64,
    /// There, but loaded before all that this process remembers, or in another history.
    pub unknown: u64,
    /// There, but newer than the last change that this process has seen.
    pub ahead: u64,
    /// There, but not what was put there.
    pub corrupt: u64,
    /// Could not be asked, or did not answer in time.
    pub unavailable: u64,
    /// Put there.
    pub puts: u64,
    /// Not put there: too much waited, or it was too large, or too old by then, or it failed.
    pub dropped_puts: u64,
    /// Announcements of changes that were heard.
    pub heard: u64,
}

/// The counters behind [`SharedStats`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) outdated: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) ahead: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) dropped_puts: AtomicU64,
    pub(crate) heard: AtomicU64,
}

impl Counts {
    pub(crate) fn read(&self) -> SharedStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SharedStats {
            hits: read(&self.hits),
            misses: read(&self.misses),
            outdated: read(&self.outdated),
            unknown: read(&self.unknown),
            ahead: read(&self.ahead),
            corrupt: read(&self.corrupt),
            unavailable: read(&self.unavailable),
            puts: read(&self.puts),
            dropped_puts: read(&self.dropped_puts),
            heard: read(&self.heard),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
