//! What stands before a database that can be down, hang, or be somewhere else for a while.
//!
//! The lanes are its bulkheads already, so that only the circuit breaker and a time limit are
//! missing: one for reads and one for writes, since a database that only reads must go on reading.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inkstone_core::guard::{Blocked, Failure, Guard, Snapshot};
use inkstone_core::{Code, Context, Deadline, Error, Result};

/// When to come back, if nobody knows better.
const SOON: Duration = Duration::from_secs(1);

const NO_ANSWER: &str = "The database does not answer.";
const NO_ANSWER_TO_A_WRITE: &str =
    "The database does not answer. The change may have happened: repeat it under the same Idempotency-Key.";

/// The guards before one database.
#[derive(Debug)]
pub(super) struct Guards {
    pub(super) reads: Guard,
    /// None where nothing is written, as on a replica.
    pub(super) writes: Option<Guard>,
}

impl Guards {
    /// A read that is run again if the connection broke, as far as the budget allows.
    pub(super) async fn read_again<T, Fut>(&self, ctx: &Context, mut run: impl FnMut(Context) -> Fut) -> Result<T>
    where
        Fut: Future<Output = Result<T, Met>>,
    {
        let given = Given::default();
        let run = |deadline| run(given.note(ctx, deadline));
        let outcome = self.reads.watch_again(ctx.deadline, run).await;
        outcome.map_err(|blocked| given.say(ctx, blocked, NO_ANSWER))
    }

    pub(super) async fn read<T>(&self, ctx: &Context, run: impl AsyncFnOnce(Context) -> Result<T>) -> Result<T> {
        watch(&self.reads, ctx, NO_ANSWER, run).await
    }

    pub(super) async fn write<T>(&self, ctx: &Context, run: impl AsyncFnOnce(Context) -> Result<T>) -> Result<T> {
        let Some(writes) = &self.writes else { return run(ctx.clone()).await };
        watch(writes, ctx, NO_ANSWER_TO_A_WRITE, run).await
    }

    pub(super) fn snapshots(&self) -> impl Iterator<Item = (String, Snapshot)> {
        std::iter::once(&self.reads).chain(&self.writes).map(|guard| (guard.name().to_owned(), guard.snapshot()))
    }
}

/// Runs a unit of work under the guard's time limit, or the caller's own if that ends sooner.
async fn watch<T>(
    guard: &Guard,
    ctx: &Context,
    no_answer: &'static str,
    run: impl AsyncFnOnce(Context) -> Result<T>,
) -> Result<T> {
    let given = Given::default();
    let outcome =
        guard.watch(ctx.deadline, async |deadline| run(given.note(ctx, deadline)).await.map_err(Met::from)).await;
    outcome.map_err(|blocked| given.say(ctx, blocked, no_answer))
}

/// Until when a unit of work was told to be through.
#[derive(Default)]
struct Given(Mutex<Option<Deadline>>);

impl Given {
    fn note(&self, ctx: &Context, deadline: Deadline) -> Context {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        Context { deadline, ..ctx.clone() }
    }

    /// What the caller is told.
    fn say(&self, ctx: &Context, blocked: Blocked<Met>, no_answer: &'static str) -> Error {
        // Whose time was over: the guard's, so that others may have more luck in a moment, or the caller's.
        let is_ours = *self.0.lock().unwrap_or_else(PoisonError::into_inner) < Some(ctx.deadline);
        match blocked {
            Blocked::Open { retry_after } => {
                Error::try_later(Code::Unavailable, "The database is not available at present.", retry_after.max(SOON))
            }
            Blocked::Failed(Met { error, .. }) if error.code() != Code::DeadlineExceeded || !is_ours => error,
            Blocked::TimedOut if !is_ours => Error::refused(Code::DeadlineExceeded, NO_ANSWER),
            Blocked::Failed(_) | Blocked::TimedOut | Blocked::Full => {
                Error::try_later(Code::Unavailable, no_answer, SOON)
            }
        }
    }
}

/// An error as a unit of work met it.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) error: Error,
    /// The connection broke after it had been made: another may be sound, since after a restart of the
    /// server every connection that was kept is dead, and the first to use each would pay for it.
    pub(super) has_broken: bool,
    /// The database was not asked for it.
    pub(super) is_unrelated: bool,
}

impl From<Error> for Met {
    fn from(error: Error) -> Self {
        Self { error, has_broken: false, is_unrelated: false }
    }
}

impl Failure for Met {
    /// What a statement is to blame for says nothing about the database, however bad it is.
    fn is_fault(&self) -> bool {
        matches!(self.error.code(), Code::Unavailable | Code::DeadlineExceeded)
    }

    fn is_transient(&self) -> bool {
        self.has_broken
    }

    fn is_late(&self) -> bool {
        self.error.code() == Code::DeadlineExceeded
    }

    /// Refused by our own queue, or before anything was asked.
    fn is_unrelated(&self) -> bool {
        self.is_unrelated || self.error.code() == Code::Overloaded
    }
}
