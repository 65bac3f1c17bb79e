//! What is said in the log of the troubles of a database server that are of the moment, or of a part of it.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::postgres::trouble::Trouble;

/// How often it is said that there is no space.
const BETWEEN: Duration = Duration::from_mins(1);

/// What was said.
#[derive(Debug, Default)]
pub(in crate::db) struct Said {
    full: Mutex<Option<Instant>>,
    rotten: AtomicBool,
}

impl Said {
    /// Says in the log, now and then, that there is no space, and once that a part of the database is damaged.
    pub(in crate::db) fn say(&self, address: &dyn Display, trouble: Option<&(Trouble, String)>, now: Instant) {
        match trouble {
            Some((Trouble::Full, error)) if self.is_due_again(now) => {
                tracing::warn!(db.address = %address, error, "the database has no space left: make room on its disk");
            }
            Some((Trouble::Rotten, error)) if !self.rotten.swap(true, Ordering::Relaxed) => {
                let advice = "fail over to a replica, or restore a backup";
                tracing::error!(db.address = %address, error, "a part of the database is damaged: {advice}");
            }
            _ => {}
        }
    }

    /// Whether it was not said lately that there is no space: while the disk fills up, a small change
    /// succeeds here and there.
    fn is_due_again(&self, now: Instant) -> bool {
        let mut said = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}
