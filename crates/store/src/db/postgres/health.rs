//! What is wrong with the database at present, as the last unit of work met it.

use std::sync::PoisonError;

use crate::db::Health;

use super::trouble::Trouble;
use super::{Kind, Shared};

impl Shared {
    pub(super) fn ill(&self) -> Option<Health> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what a unit of work met; `None` is an answer without trouble. Said in the log when it
    /// begins and when it ends, not for each unit.
    pub(super) fn note(&self, kind: Kind, trouble: Option<(Trouble, String)>) {
        self.said.say(&self.options.address, trouble.as_ref(), self.options.clock.instant());
        let since = || self.options.clock.now();
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
            (None, Some(found)) => {
                tracing::warn!(db.address = %self.options.address, state = ?found, "the database does not do all that it should");
            }
            (Some(_), None) => {
                tracing::info!(db.address = %self.options.address, "the database answers again");
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        // The beginning of a trouble stands until it ends.
        let same = ill.as_ref().map(std::mem::discriminant) == found.as_ref().map(std::mem::discriminant);
        if !same {
            *ill = found;
        }
    }
}
