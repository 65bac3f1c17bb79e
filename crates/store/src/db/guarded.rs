//! What stands before a database that can be down, hang, or be somewhere else for a while.
//!
//! The lanes are its bulkheads already, so that only the circuit breaker and a time limit are
//! missing: one for reads and one for writes, since a database that only reads must go on reading.

use std::sync::Mutex;
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
    pub(super) writes: Guard,
}

impl Guards {
    pub(super) async fn read<T>(&self, ctx: &Context, run: impl AsyncFnOnce(Context) -> Result<T>) -> Result<T> {
        watch(&self.reads, ctx, NO_ANSWER, run).await
    }

    pub(super) async fn write<T>(&self, ctx: &Context, run: impl AsyncFnOnce(Context) -> Result<T>) -> Result<T> {
        watch(&self.writes, ctx, NO_ANSWER_TO_A_WRITE, run).await
    }

    pub(super) fn snapshots(&self) -> [(&'static str, Snapshot); 2] {
        [&self.reads, &self.writes].map(|guard| (guard.name(), guard.snapshot()))
    }
}

/// Runs a unit of work under the guard's time limit, or the caller's own if that ends sooner.
async fn watch<T>(
    guard: &Guard,
    ctx: &Context,
    no_answer: &'static str,
    run: impl AsyncFnOnce(Context) -> Result<T>,
) -> Result<T> {
    let given: Mutex<Option<Deadline>> = Mutex::default();
    let outcome = guard.watch(ctx.deadline, async |deadline| {
        if let Ok(mut given) = given.lock() {
            *given = Some(deadline);
        }
        run(Context { deadline, ..ctx.clone() }).await.map_err(Met)
    });
    let outcome = outcome.await;
    // Whose time was over: the guard's, so that others may have more luck in a moment, or the caller's.
    let is_ours = given.into_inner().is_ok_and(|given| given < Some(ctx.deadline));
    outcome.map_err(|blocked| match blocked {
        Blocked::Open { retry_after } => {
            Error::try_later(Code::Unavailable, "The database is not available at present.", retry_after.max(SOON))
        }
        Blocked::Failed(Met(error)) if error.code() != Code::DeadlineExceeded || !is_ours => error,
        Blocked::TimedOut if !is_ours => Error::refused(Code::DeadlineExceeded, NO_ANSWER),
        Blocked::Failed(_) | Blocked::TimedOut | Blocked::Full => Error::try_later(Code::Unavailable, no_answer, SOON),
    })
}

/// An error as a unit of work met it.
struct Met(Error);

impl Failure for Met {
    /// What a statement is to blame for says nothing about the database, however bad it is.
    fn is_fault(&self) -> bool {
        matches!(self.0.code(), Code::Unavailable | Code::DeadlineExceeded)
    }

    fn is_transient(&self) -> bool {
        false
    }

    fn is_late(&self) -> bool {
        self.0.code() == Code::DeadlineExceeded
    }

    /// Refused by our own queue.
    fn is_unrelated(&self) -> bool {
        self.0.code() == Code::Overloaded
    }
}
