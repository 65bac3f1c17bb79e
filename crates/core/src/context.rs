//! What every call carries with it: who asks, under which request id, and until when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::access::Caller;
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

/// Counts what one request costs, for `Server-Timing` and for the tests that forbid N+1.
#[derive(Debug, Default)]
pub struct Meter {
    statements: AtomicU32,
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
}
