//! What every call carries with it: who asks, under which request id, and until when.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::access::Caller;
use crate::events::{Entity, Footprint, Mark};
use crate::lease::Fence;

/// The moment after which nobody waits for the answer any more. Each query and
/// outgoing call inherits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at this instant.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Time left as seen at `now`; zero once passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }
}

/// Handed down from the edge through every layer.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who is asking.
    pub caller: Caller,
    /// Names this request in logs, audit entries and problem details.
    pub request_id: String,
    /// When to give up.
    pub deadline: Deadline,
    /// Counts what the request costs.
    pub meter: Arc<Meter>,
    /// The lease under which all of this is done, if under any: every write is then refused, with
    /// nothing of it done, once the lease has gone to somebody else.
    pub fence: Option<Fence>,
}

impl Context {
    /// Nothing has been counted yet, and no lease is needed.
    pub fn new(caller: Caller, request_id: impl Into<String>, deadline: Deadline) -> Self {
        Self { caller, request_id: request_id.into(), deadline, meter: Arc::default(), fence: None }
    }
}

/// What one request costs, for `Server-Timing` and for the tests that forbid N+1; and where it
/// stands in the one order of all changes ([`crate::events`]).
#[derive(Debug, Default)]
pub struct Meter {
    statements: AtomicU32,
    written: Mutex<Written>,
    awaited: AtomicI64,
    /// In milliseconds.
    behind: AtomicU64,
}

#[derive(Debug, Default)]
struct Written {
    last: Option<Mark>,
    touched: Vec<Entity>,
}

impl Meter {
    /// One more SQL statement was run.
    pub fn count_statement(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// SQL statements run so far.
    pub fn statements(&self) -> u32 {
        self.statements.load(Ordering::Relaxed)
    }

    /// The request has made this change to these. Means something once its write has succeeded.
    pub fn note_written(&self, change: Mark, touched: &[Entity]) {
        let mut written = self.lock();
        written.last = Some(written.last.filter(|before| before.change_seq > change.change_seq).unwrap_or(change));
        written.touched.extend_from_slice(touched);
    }

    /// The last change that the request has made, if it has made any.
    pub fn written(&self) -> Option<Mark> {
        self.lock().last.filter(|change| change.change_seq > 0)
    }

    /// The same with all that its changes touched.
    pub fn footprint(&self) -> Footprint {
        let written = self.lock();
        Footprint { change_seq: written.last.map_or(0, |last| last.change_seq), touched: written.touched.clone() }
    }

    /// Nothing may be shown to the request that this change is not in, wherever it is read.
    pub fn await_change(&self, change_seq: i64) {
        self.awaited.fetch_max(change_seq, Ordering::Relaxed);
    }

    /// The change that must be in all that is read; 0 if there is none in particular.
    pub fn awaited(&self) -> i64 {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Something was read where changes of so long ago may be missing.
    pub fn note_behind(&self, by: Duration) {
        self.behind.fetch_max(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago changes may have been made that are missing in what was read; none if nothing is missing.
    pub fn behind(&self) -> Option<Duration> {
        Some(self.behind.load(Ordering::Relaxed)).filter(|millis| *millis > 0).map(Duration::from_millis)
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
