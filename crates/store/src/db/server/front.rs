//! What stands before the connections to a server: who may come in, what is counted, and what is known
//! of its health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inkstone_core::clock::SharedClock;
use inkstone_core::context::Meter;
use inkstone_core::guard::bulkhead::{Bulkhead, BulkheadSettings, NoTurn, Turn};
use inkstone_core::{Code, Context, Deadline, Error, Result};
use tracing::Instrument as _;

use crate::db::guarded::Met;
use crate::db::slow;
use crate::db::stats::{self, Counters};
use crate::db::{Health, SqlError, Statement, Stats};

use super::condition::Condition;
use super::trouble::Trouble;

/// When to come back after a queue was full.
const WHEN_FULL: Duration = Duration::from_secs(1);
/// How long the executor's own questions may take.
const QUESTION: Duration = Duration::from_mins(1);
/// How much longer than its deadline a unit is waited for: the server is to end it at the deadline,
/// and one that does not is gone.
pub(in crate::db) const GRACE: Duration = Duration::from_millis(500);
/// How long the end may take.
pub(in crate::db) const CLOSING: Duration = Duration::from_secs(10);

/// What a unit of work does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum Kind {
    Read,
    Write,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What is asked of a unit of work, whatever its type.
pub(in crate::db) struct Ask {
    pub(in crate::db) kind: Kind,
    pub(in crate::db) name: &'static str,
    pub(in crate::db) deadline: Deadline,
    pub(in crate::db) meter: Arc<Meter>,
}

impl Ask {
    pub(in crate::db) fn of(ctx: &Context, kind: Kind, name: &'static str) -> Self {
        Self { kind, name, deadline: ctx.deadline, meter: Arc::clone(&ctx.meter) }
    }
}

/// The lane for reads, the counters and the condition of one server.
pub(in crate::db) struct Front {
    clock: SharedClock,
    /// A unit of work that ran for so long is logged.
    slow: Duration,
    pub(in crate::db) reads: Bulkhead,
    pub(in crate::db) counters: Counters,
    condition: Condition,
}

impl Front {
    pub(in crate::db) fn new(
        clock: SharedClock,
        address: String,
        readers: u32,
        read_queue: usize,
        slow: Duration,
    ) -> Self {
        Self {
            slow,
            reads: lane(readers, read_queue),
            counters: Counters::default(),
            condition: Condition::new(clock.clone(), address),
            clock,
        }
    }

    /// A read that the executor itself wants.
    pub(in crate::db) fn question(&self, statement: &Statement) -> Ask {
        let deadline = Deadline::at(self.clock.instant() + QUESTION);
        Ask { kind: Kind::Read, name: statement.name, deadline, meter: Arc::default() }
    }

    /// A turn for a unit of work, which may have to wait for it until its deadline.
    pub(in crate::db) async fn enter(&self, kind: Kind, lane: &Bulkhead, deadline: Deadline) -> Result<Turn> {
        let patience = self.patience(kind, deadline)?;
        lane.turn(patience).await.map_err(|refused| self.refusal(kind, refused))
    }

    /// What is left until the deadline, if anything.
    pub(in crate::db) fn patience(&self, kind: Kind, deadline: Deadline) -> Result<Duration> {
        let patience = deadline.remaining(self.clock.instant());
        if patience.is_zero() { Err(self.refusal(kind, NoTurn::TooLate)) } else { Ok(patience) }
    }

    /// Counts a unit of work that got no turn, and says so.
    pub(in crate::db) fn refusal(&self, kind: Kind, refused: NoTurn) -> Error {
        let counters = self.lane(kind);
        match refused {
            NoTurn::Full => {
                counters.shed.add(1);
                Error::try_later(Code::Overloaded, "Too many requests wait for the database.", WHEN_FULL)
            }
            NoTurn::TooLate => {
                counters.dropped.add(1);
                Trouble::Late.to_error()
            }
            NoTurn::Closed => Error::try_later(Code::Unavailable, "The store is closed.", WHEN_FULL),
        }
    }

    /// Runs a unit of work as a task of its own, so that a caller that goes away leaves nothing half
    /// done, and one that panics takes only its connection along, and with that its transaction.
    pub(in crate::db) async fn detach<T: Send + 'static>(
        &self,
        kind: Kind,
        name: &'static str,
        unit: impl Future<Output = Result<T, Met>> + Send + 'static,
    ) -> Result<T, Met> {
        tokio::spawn(unit.in_current_span()).await.unwrap_or_else(|_| {
            let counters = self.lane(kind);
            counters.failed.add(1);
            counters.panicked.add(1);
            Err(Error::internal(SqlError::new(name, "the unit of work panicked")).into())
        })
    }

    /// Counts a unit of work that begins now. How long it may take, and since when it does.
    pub(in crate::db) fn begin(&self, ask: &Ask) -> (Duration, Instant) {
        self.lane(ask.kind).jobs.add(1);
        let began = self.clock.instant();
        (ask.deadline.remaining(began), began)
    }

    /// Counts what came of it.
    pub(in crate::db) fn end(&self, ask: &Ask, began: Instant, has_failed: bool) {
        let (counters, took) = (self.lane(ask.kind), self.since(began));
        if has_failed {
            counters.failed.add(1);
        }
        counters.busy.add_time(took);
        self.warn_if_slow(ask.kind, ask.name, took, has_failed);
    }

    pub(in crate::db) fn warn_if_slow(&self, kind: Kind, name: &'static str, took: Duration, has_failed: bool) {
        if took >= self.slow {
            slow::warn(name, kind.as_str(), took, has_failed);
        }
    }

    pub(in crate::db) fn since(&self, began: Instant) -> Duration {
        self.clock.instant().saturating_duration_since(began)
    }

    /// The counters for this kind of work.
    pub(in crate::db) fn lane(&self, kind: Kind) -> &stats::Lane {
        match kind {
            Kind::Read => &self.counters.readers,
            Kind::Write => &self.counters.writer,
        }
    }

    /// Notes what a unit of work met; `None` is an answer without trouble.
    pub(in crate::db) fn note(&self, kind: Kind, trouble: Option<(Trouble, String)>) {
        self.condition.note(kind, trouble);
    }

    pub(in crate::db) fn health(&self) -> Health {
        if self.reads.is_closed() {
            return Health::Closed;
        }
        self.condition.health()
    }

    /// What was counted. `queued` writes wait, of at most `capacity`.
    pub(in crate::db) fn stats(&self, queued: u64, capacity: u64) -> Stats {
        let mut stats = self.counters.snapshot();
        let BulkheadSettings { concurrency, queue } = self.reads.settings();
        stats.readers.threads = concurrency.into();
        stats.readers.queued = self.reads.waiting().into();
        stats.readers.capacity = queue.into();
        stats.writer.queued = queued;
        stats.writer.capacity = capacity;
        stats
    }
}

/// A lane for `width` units of work at once, for which `queue` more may wait.
pub(in crate::db) fn lane(width: u32, queue: usize) -> Bulkhead {
    Bulkhead::new(BulkheadSettings { concurrency: width, queue: u32::try_from(queue).unwrap_or(u32::MAX) })
}
