//! A unit of work on its way through a queue, to whoever does it and back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use inkstone_core::context::Meter;
use inkstone_core::{Context, Deadline, Error, Result};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use super::{BoxFuture, Conn, SqlError};

/// What a reader or a writer sees of a unit of work, whatever its type.
pub(super) trait Job: Send {
    fn name(&self) -> &'static str;
    fn deadline(&self) -> Deadline;
    /// Nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Takes it out of the hands of whoever waits, who can give up until then. False if they have.
    fn take_turn(&self) -> bool;
    /// Does the work, once, and keeps its outcome.
    fn run<'r>(&'r mut self, conn: &'r mut Conn) -> BoxFuture<'r, Ran>;
    /// Whether it was run and gave no error.
    fn is_done(&self) -> bool;
    /// Makes this error the outcome, whatever it was.
    fn overrule(&mut self, error: Error);
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

/// Whose turn it is: of whoever waits, who may give up, or of a writer that runs to the end.
#[derive(Debug, Default)]
pub(super) struct Turn {
    is_taken: AtomicBool,
}

impl Turn {
    /// True for the first of the two who asks.
    pub(super) fn take(&self) -> bool {
        !self.is_taken.swap(true, Ordering::AcqRel)
    }
}

struct UnitOfWork<T, W> {
    name: &'static str,
    deadline: Deadline,
    meter: Arc<Meter>,
    span: Span,
    work: Option<W>,
    outcome: Option<Result<T>>,
    turn: Arc<Turn>,
    reply: oneshot::Sender<Result<T>>,
}

/// What whoever asked for it holds.
pub(super) struct Asked<T> {
    pub(super) answer: oneshot::Receiver<Result<T>>,
    pub(super) turn: Arc<Turn>,
}

/// A unit of work, and where its answer will come. What it logs belongs to `span`.
pub(super) fn unit_of_work<T, W>(ctx: &Context, name: &'static str, span: Span, work: W) -> (Box<dyn Job>, Asked<T>)
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let turn = Arc::new(Turn::default());
    let job = UnitOfWork {
        name,
        deadline: ctx.deadline,
        meter: Arc::clone(&ctx.meter),
        span,
        work: Some(work),
        outcome: None,
        turn: Arc::clone(&turn),
        reply,
    };
    (Box::new(job), Asked { answer, turn })
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

    fn take_turn(&self) -> bool {
        self.turn.take()
    }

    fn run<'r>(&'r mut self, conn: &'r mut Conn) -> BoxFuture<'r, Ran> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return Ran::Failed };
            conn.meter = Arc::clone(&self.meter);
            // The connection is put right by a rollback, whatever the panic left behind.
            let work = AssertUnwindSafe(async move { work(conn).await });
            let (ran, outcome) = match work.catch_unwind().instrument(self.span.clone()).await {
                Ok(outcome @ Ok(_)) => (Ran::Done, outcome),
                Ok(outcome @ Err(_)) => (Ran::Failed, outcome),
                Err(_) => (Ran::Panicked, Err(Error::internal(SqlError::new(self.name, "the unit of work panicked")))),
            };
            self.outcome = Some(outcome);
            ran
        })
    }

    fn is_done(&self) -> bool {
        matches!(self.outcome, Some(Ok(_)))
    }

    fn overrule(&mut self, error: Error) {
        self.outcome = Some(Err(error));
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
