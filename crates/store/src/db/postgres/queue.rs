//! The writes that wait, and whether there is a writer at work: it comes with the first that
//! waits and goes when nobody is left.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inkstone_core::guard::bulkhead::NoTurn;
use tokio::sync::watch;

use crate::db::job::Job;

/// First come, first served.
pub(super) struct Queue {
    state: Mutex<State>,
    capacity: usize,
    /// Whether nobody waits and nobody writes.
    is_idle: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Job>>,
    has_writer: bool,
    is_closed: bool,
}

impl Queue {
    /// A queue in which so many may wait.
    pub(super) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), capacity, is_idle: watch::Sender::new(true) }
    }

    /// Takes a job in. True if there is no writer: whoever hears that brings one.
    pub(super) fn push(&self, job: Box<dyn Job>) -> Result<bool, NoTurn> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(NoTurn::Closed);
        }
        if state.has_writer && state.waiting.len() >= self.capacity {
            // Those who gave up in the meantime hold no place.
            state.waiting.retain(|job| !job.is_abandoned());
            if state.waiting.len() >= self.capacity {
                return Err(NoTurn::Full);
            }
        }
        state.waiting.push_back(job);
        let is_wanted = !std::mem::replace(&mut state.has_writer, true);
        if is_wanted {
            self.is_idle.send_replace(false);
        }
        Ok(is_wanted)
    }

    /// The next, if one waits.
    pub(super) fn pop(&self) -> Option<Box<dyn Job>> {
        self.lock().waiting.pop_front()
    }

    /// All that wait at this moment.
    pub(super) fn take_all(&self) -> VecDeque<Box<dyn Job>> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// The next for a writer between two transactions, who goes if there is none.
    pub(super) fn pop_or_leave(&self) -> Option<Box<dyn Job>> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            self.leave(&mut state);
        }
        next
    }

    /// For a writer that went without having been told to; those who wait get no answer.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        if state.has_writer {
            state.waiting.clear();
            self.leave(&mut state);
        }
    }

    fn leave(&self, state: &mut State) {
        state.has_writer = false;
        self.is_idle.send_replace(true);
    }

    /// Refuses newcomers, and waits until everybody who is here is through, or for `patience`.
    pub(super) async fn close(&self, patience: Duration) {
        self.lock().is_closed = true;
        let mut is_idle = self.is_idle.subscribe();
        let _through = tokio::time::timeout(patience, is_idle.wait_for(|is_idle| *is_idle)).await;
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    // No code of others runs under the lock, apart from what drops a job that nobody waits for.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
