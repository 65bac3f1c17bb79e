//! A unit of work on its way through a queue, to a thread and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use inkstone_core::context::Meter;
use inkstone_core::{Deadline, Error, Result};
use tokio::sync::oneshot;

use crate::db::{BoxFuture, Conn, SqlError};

/// What a thread sees of a unit of work, whatever its type.
pub(super) trait Job: Send {
    fn name(&self) -> &'static str;
    fn deadline(&self) -> Deadline;
    /// Nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Does the work, once, and keeps its outcome.
    fn run(&mut self, conn: &mut Conn) -> Ran;
    /// Sends the outcome to whoever waits.
    fn reply(self: Box<Self>);
    /// Sends this error, whatever the outcome was.
    fn refuse(self: Box<Self>, error: Error);
}

/// How the work ended, before any commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    Done,
    Failed,
    Panicked,
}

pub(super) struct UnitOfWork<T, W> {
    pub(super) name: &'static str,
    pub(super) deadline: Deadline,
    pub(super) meter: Arc<Meter>,
    pub(super) work: Option<W>,
    pub(super) outcome: Option<Result<T>>,
    pub(super) reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Job for UnitOfWork<T, W>
where
    T: Send,
    W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, conn: &mut Conn) -> Ran {
        let Some(work) = self.work.take() else { return Ran::Failed };
        conn.meter = Arc::clone(&self.meter);
        // The connection is put right by a rollback, whatever the panic left behind.
        let caught = catch_unwind(AssertUnwindSafe(|| poll_once(self.name, work(conn))));
        let (ran, outcome) = match caught {
            Ok(outcome @ Ok(_)) => (Ran::Done, outcome),
            Ok(outcome @ Err(_)) => (Ran::Failed, outcome),
            Err(_) => (Ran::Panicked, Err(Error::internal(SqlError::new(self.name, "the unit of work panicked")))),
        };
        self.outcome = Some(outcome);
        ran
    }

    fn reply(self: Box<Self>) {
        let outcome =
            self.outcome.unwrap_or_else(|| Err(Error::internal(SqlError::new(self.name, "the work was never run"))));
        // Whoever has gone away does not want to know.
        let _ = self.reply.send(outcome);
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.reply.send(Err(error));
    }
}

/// Under SQLite every await on a connection is ready at once, so one poll is the whole run.
fn poll_once<T>(name: &'static str, mut future: BoxFuture<'_, Result<T>>) -> Result<T> {
    match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => {
            Err(Error::internal(SqlError::new(name, "the unit of work awaited something other than its connection")))
        }
    }
}
