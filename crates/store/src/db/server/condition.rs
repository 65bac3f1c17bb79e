//! What is wrong with a server at present, as the last unit of work met it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use inkstone_core::clock::SharedClock;

use crate::db::Health;

use super::front::Kind;
use super::trouble::Trouble;

/// How often it is said that there is no space.
const BETWEEN: Duration = Duration::from_mins(1);

/// What is known of a server's health, and what was said about it.
pub(super) struct Condition {
    clock: SharedClock,
    /// The server's, for the log.
    address: String,
    ill: Mutex<Option<Health>>,
    /// When it was last said that there is no space.
    said_full: Mutex<Option<Instant>>,
    /// It was said that something is damaged: once is enough, it stays so.
    is_rotten: AtomicBool,
}

impl Condition {
    /// Sound, until something else is met.
    pub(super) fn new(clock: SharedClock, address: String) -> Self {
        let is_rotten = AtomicBool::new(false);
        Self { clock, address, ill: Mutex::default(), said_full: Mutex::default(), is_rotten }
    }

    pub(super) fn health(&self) -> Health {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(Health::Sound)
    }

    /// Notes what a unit of work met; `None` is an answer without trouble. Said in the log when it
    /// begins and when it ends, not for each unit.
    pub(super) fn note(&self, kind: Kind, trouble: Option<(Trouble, String)>) {
        self.say(trouble.as_ref());
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
            (None, Some(Health::ReadOnly { reason, .. })) => self.say_ill("read-only", reason),
            (None, Some(Health::Unreachable { reason, .. })) => self.say_ill("unreachable", reason),
            (Some(_), None) => tracing::info!(db.address = %self.address, "the database answers again"),
            (None, None | Some(Health::Sound | Health::Closed)) | (Some(_), Some(_)) => {}
        }
        // The beginning of a trouble stands until it ends.
        let same = ill.as_ref().map(std::mem::discriminant) == found.as_ref().map(std::mem::discriminant);
        if !same {
            *ill = found;
        }
    }

    fn say_ill(&self, state: &'static str, error: &str) {
        tracing::warn!(db.address = %self.address, state, error, "the database does not do all that it should");
    }

    /// Says in the log, now and then, what is of the moment, and once what is of a part of the database.
    fn say(&self, trouble: Option<&(Trouble, String)>) {
        match trouble {
            Some((Trouble::Full, error)) if self.is_due_again() => {
                tracing::warn!(db.address = %self.address, error, "the database has no space left: make room on its disk");
            }
            Some((Trouble::Rotten, error)) if !self.is_rotten.swap(true, Ordering::Relaxed) => {
                let advice = "fail over to a replica, or restore a backup";
                tracing::error!(db.address = %self.address, error, "a part of the database is damaged: {advice}");
            }
            _ => {}
        }
    }

    /// Whether it was not said lately that there is no space: while the disk fills up, a small change
    /// succeeds here and there.
    fn is_due_again(&self) -> bool {
        let now = self.clock.instant();
        let mut said = self.said_full.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}
