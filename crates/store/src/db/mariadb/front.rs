//! What stands before the connections: who may come in, what is counted, and what is known of the
//! database's health.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inkstone_core::clock::SharedClock;
use inkstone_core::context::Meter;
use inkstone_core::{Code, Context, Deadline, Error, Result};

use crate::db::postgres::lane::{Lane, NoPlace, Place};
use crate::db::postgres::trouble::Trouble;
use crate::db::said::Said;
use crate::db::stats::{self, Counters};
use crate::db::{Health, Stats};

use super::options::MariaDbOptions;

/// Writes that get ready at once: one writes, the next waits for the lock, not for the network.
const WRITERS: u32 = 2;
/// When to come back after a queue was full.
const WHEN_FULL: Duration = Duration::from_secs(1);
/// How long the end may take.
pub(super) const CLOSING: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// What is asked of a unit of work, whatever its type.
pub(super) struct Ask {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) deadline: Deadline,
    pub(super) meter: Arc<Meter>,
}

impl Ask {
    pub(super) fn of(ctx: &Context, kind: Kind, name: &'static str) -> Self {
        Self { kind, name, deadline: ctx.deadline, meter: Arc::clone(&ctx.meter) }
    }
}

pub(super) struct Front {
    clock: SharedClock,
    readers: u32,
    reads: Lane,
    writes: Lane,
    pub(super) counters: Counters,
    /// What is wrong at present, as the last unit of work met it.
    ill: Mutex<Option<Health>>,
    said: Said,
    address: String,
}

impl Front {
    pub(super) fn new(options: &MariaDbOptions) -> Self {
        let readers = options.readers.max(1);
        Self {
            clock: options.clock.clone(),
            readers,
            reads: Lane::new(readers, options.read_queue),
            writes: Lane::new(WRITERS, options.write_queue),
            counters: Counters::default(),
            ill: Mutex::default(),
            said: Said::default(),
            address: options.address.to_string(),
        }
    }

    /// A place for a unit of work, which may have to wait for it until its deadline.
    pub(super) async fn enter(&self, ask: &Ask) -> Result<Place> {
        let lane = match ask.kind {
            Kind::Read => &self.reads,
            Kind::Write => &self.writes,
        };
        let counters = self.lane(ask.kind);
        let patience = ask.deadline.remaining(self.clock.instant());
        if patience.is_zero() {
            counters.dropped.add(1);
            return Err(Trouble::Late.to_error());
        }
        lane.enter(patience).await.map_err(|refused| match refused {
            NoPlace::Full => {
                counters.shed.add(1);
                Error::try_later(Code::Overloaded, "Too many requests wait for the database.", WHEN_FULL)
            }
            NoPlace::Late => {
                counters.dropped.add(1);
                Trouble::Late.to_error()
            }
            NoPlace::Closed => Error::try_later(Code::Unavailable, "The store is closed.", WHEN_FULL),
        })
    }

    pub(super) fn lane(&self, kind: Kind) -> &stats::Lane {
        match kind {
            Kind::Read => &self.counters.readers,
            Kind::Write => &self.counters.writer,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.counters.snapshot();
        stats.readers.threads = self.readers.into();
        stats.readers.queued = self.reads.waiting() as u64;
        stats.readers.capacity = self.reads.capacity() as u64;
        stats.writer.queued = self.writes.waiting() as u64;
        stats.writer.capacity = self.writes.capacity() as u64;
        stats
    }

    /// Lets nobody in any more, and waits for those who are.
    pub(super) async fn close(&self) {
        self.reads.close(CLOSING).await;
        self.writes.close(CLOSING).await;
    }

    pub(super) fn health(&self) -> Health {
        if self.writes.is_closed() {
            return Health::Closed;
        }
        self.ill.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(Health::Sound)
    }

    /// Notes what a unit of work met; `None` is an answer without trouble. Said in the log when it
    /// begins and when it ends, not for each unit.
    pub(super) fn note(&self, kind: Kind, trouble: Option<(Trouble, String)>) {
        self.said.say(&self.address, trouble.as_ref(), self.clock.instant());
        let since = || self.clock.now();
        let found = match trouble {
            None => None,
            Some((Trouble::Unreachable | Trouble::Damaged, reason)) => {
                Some(Health::Unreachable { since: since(), reason })
            }
            Some((Trouble::ReadOnly, reason)) => Some(Health::ReadOnly { since: since(), reason }),
            // Of the statement or of the moment, not of the database.
            Some(_) => return,
        };
        let mut ill = self.ill.lock().unwrap_or_else(PoisonError::into_inner);
        // That reads succeed says nothing about writes.
        if kind == Kind::Read && found.is_none() && matches!(*ill, Some(Health::ReadOnly { .. })) {
            return;
        }
        match (&*ill, &found) {
            (None, Some(found)) => tracing::warn!(state = ?found, "the database does not do all that it should"),
            (Some(_), None) => tracing::info!("the database answers again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        // The beginning of a trouble stands until it ends.
        let same = ill.as_ref().map(std::mem::discriminant) == found.as_ref().map(std::mem::discriminant);
        if !same {
            *ill = found;
        }
    }
}
