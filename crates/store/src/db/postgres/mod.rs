//! The PostgreSQL arm: a pool of connections, behind a lane for reads and one for writes.
//!
//! A read runs in one `repeatable read` transaction, so on one snapshot. A write takes one lock
//! for the whole database first, so that writes happen one after another, as they do under
//! SQLite: see `docs/decisions/0014`. Neither opening a transaction nor ending a read costs a round
//! trip. Each unit runs as a task of its own: a caller that goes away leaves no transaction half
//! done, and one that panics takes only its connection along.

mod address;
pub(super) mod lane;
mod options;
mod session;
pub(super) mod trouble;
mod types;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Client, Pool, PoolError, TimeoutType, Timeouts};
use inkstone_core::context::Meter;
use inkstone_core::{Code, Context, Deadline, Error, Result};
use tracing::Instrument as _;

pub use address::{BadAddress, PostgresAddress};
pub use options::PostgresOptions;
pub(super) use session::Session;

use lane::{Lane, NoPlace, Place};
use session::Lost;
pub(crate) use trouble::words;
use trouble::{Trouble, trouble_of};

use super::stats::Counters;
use super::{BoxFuture, Conn, Health, SqlError, Statement, Stats};

/// Writes that get ready at once: one writes, the next waits for the lock, not for the network.
const WRITERS: u32 = 2;
/// What serialises the writes of all nodes, among the advisory locks of the database: "inkstone".
const WRITE_LOCK: i64 = 0x696e_6b73_746f_6e65;
/// When to come back after a queue was full.
const WHEN_FULL: Duration = Duration::from_secs(1);
/// How much longer than its deadline a unit is waited for: the server ends it at the deadline, and
/// one that does not is gone.
const GRACE: Duration = Duration::from_millis(500);
/// How long the end may take.
const CLOSING: Duration = Duration::from_secs(10);

/// How long the executor's own questions may take.
const QUESTION: Duration = Duration::from_mins(1);

/// Whether the server takes no writes.
const IS_READ_ONLY: Statement = Statement {
    name: "db.is_read_only",
    sql: "select case when pg_is_in_recovery() or current_setting('default_transaction_read_only') = 'on' then 1 else 0 end",
};

/// What time it is there, in microseconds since 1970; not that of the transaction's beginning, which
/// may have waited for the lock.
pub(super) const TIME: Statement =
    Statement { name: "db.time", sql: "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)" };

/// What an aborted change of the schema leaves behind.
const NOT_VALID: Statement = Statement {
    name: "db.not_valid",
    sql: "select 'index ' || cast(indexrelid as regclass) || ' is not valid' from pg_index where not indisvalid
          union all
          select 'constraint ' || conname || ' was never checked' from pg_constraint where not convalidated",
};

/// The pool, and who waits for it.
pub(super) struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: PostgresOptions,
    pool: Pool,
    reads: Lane,
    writes: Lane,
    counters: Counters,
    /// What is wrong at present, as the last unit of work met it.
    ill: Mutex<Option<Health>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

impl Engine {
    pub(super) fn open(options: PostgresOptions) -> Result<Self> {
        let readers = options.readers.max(1);
        let shared = Shared {
            pool: options.pool((readers + WRITERS) as usize)?,
            reads: Lane::new(readers, options.read_queue),
            writes: Lane::new(WRITERS, options.write_queue),
            counters: Counters::default(),
            ill: Mutex::default(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(super) async fn read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.run(Ask::of(ctx, Kind::Read, name), work).await.0
    }

    /// As [`Self::read`], and once more if the connection broke meanwhile: after a restart of the
    /// server every connection in the pool is dead, and the first to use each would pay for it.
    pub(super) async fn read_again<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Clone + Send + 'static,
    {
        let (outcome, has_broken) = self.run(Ask::of(ctx, Kind::Read, name), work.clone()).await;
        if has_broken && outcome.is_err() { self.read(ctx, name, work).await } else { outcome }
    }

    pub(super) async fn write<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.run(Ask::of(ctx, Kind::Write, name), work).await.0
    }

    /// The outcome, and whether the connection broke after it had been made.
    async fn run<T, W>(&self, ask: Ask, work: W) -> (Result<T>, bool)
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let shared = &self.shared;
        let (kind, name) = (ask.kind, ask.name);
        let place = match shared.enter(&ask).await {
            Ok(place) => place,
            Err(error) => return (Err(error), false),
        };
        let task = tokio::spawn(Arc::clone(shared).serve(ask, place, work).in_current_span());
        // A panic has taken its connection along, and with that its transaction.
        task.await.unwrap_or_else(|_| {
            let lane = shared.counters.lane(kind);
            lane.failed.add(1);
            lane.panicked.add(1);
            (Err(Error::internal(SqlError::new(name, "the unit of work panicked"))), false)
        })
    }

    pub(super) fn health(&self) -> Health {
        if self.shared.writes.is_closed() {
            return Health::Closed;
        }
        self.shared.ill().unwrap_or(Health::Sound)
    }

    pub(super) fn stats(&self) -> Stats {
        let Shared { options, reads, writes, counters, .. } = &*self.shared;
        let mut stats = counters.snapshot();
        stats.readers.threads = options.readers.max(1).into();
        stats.readers.queued = reads.waiting() as u64;
        stats.readers.capacity = reads.capacity() as u64;
        stats.writer.queued = writes.waiting() as u64;
        stats.writer.capacity = writes.capacity() as u64;
        stats
    }

    pub(super) async fn recover(&self) -> Result<()> {
        let is_read_only: bool =
            self.run(self.question(&IS_READ_ONLY), |conn| Box::pin(conn.fetch_one(&IS_READ_ONLY, &[]))).await.0?;
        if is_read_only {
            return Err(Trouble::ReadOnly.to_error());
        }
        self.shared.note(Kind::Write, None);
        Ok(())
    }

    pub(super) async fn integrity_check(&self) -> Result<Vec<String>> {
        self.run(self.question(&NOT_VALID), |conn| Box::pin(conn.fetch_all(&NOT_VALID, &[]))).await.0
    }

    fn question(&self, statement: &Statement) -> Ask {
        let deadline = Deadline::at(self.shared.options.clock.instant() + QUESTION);
        Ask {
            kind: Kind::Read,
            name: statement.name,
            deadline,
            meter: Arc::default(),
            has_broken: AtomicBool::new(false),
        }
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.shared.reads.close(CLOSING).await;
        self.shared.writes.close(CLOSING).await;
        self.shared.pool.close();
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// What is asked of a unit of work, whatever its type.
struct Ask {
    kind: Kind,
    name: &'static str,
    deadline: Deadline,
    meter: Arc<Meter>,
    /// The connection broke after it had been made.
    has_broken: AtomicBool,
}

impl Ask {
    fn of(ctx: &Context, kind: Kind, name: &'static str) -> Self {
        let has_broken = AtomicBool::new(false);
        Self { kind, name, deadline: ctx.deadline, meter: Arc::clone(&ctx.meter), has_broken }
    }
}

impl Shared {
    async fn enter(&self, ask: &Ask) -> Result<Place> {
        let lane = match ask.kind {
            Kind::Read => &self.reads,
            Kind::Write => &self.writes,
        };
        let counters = self.counters.lane(ask.kind);
        let patience = ask.deadline.remaining(self.options.clock.instant());
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

    /// Runs one unit of work, which keeps its place in the lane until it is through.
    async fn serve<T, W>(self: Arc<Self>, ask: Ask, _place: Place, work: W) -> (Result<T>, bool)
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let (clock, counters) = (&self.options.clock, self.counters.lane(ask.kind));
        let began = clock.instant();
        let left = ask.deadline.remaining(began);
        counters.jobs.add(1);
        let outcome = match self.connect(&ask, left).await {
            Ok(client) => self.transact(client, left, &ask, work).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            counters.failed.add(1);
        }
        let took = clock.instant().saturating_duration_since(began);
        counters.busy.add_time(took);
        if took >= self.options.slow {
            tracing::warn!(db.unit = ask.name, db.kind = ?ask.kind, db.duration_ms = took.as_millis(), "a unit of work was slow");
        }
        (outcome, ask.has_broken.into_inner())
    }

    async fn connect(&self, ask: &Ask, left: Duration) -> Result<Client> {
        let limit = Some(left);
        let timeouts = Timeouts { wait: limit, create: limit.min(Some(self.options.connect_timeout)), recycle: limit };
        let (trouble, text) = match self.pool.timeout_get(&timeouts).await {
            Ok(client) => return Ok(client),
            Err(PoolError::Backend(error)) => (trouble_of(&error).unwrap_or(Trouble::Unreachable), words(&error)),
            Err(PoolError::Timeout(TimeoutType::Create)) => {
                (Trouble::Unreachable, "connecting took too long".to_owned())
            }
            Err(error) => (Trouble::Late, error.to_string()),
        };
        self.note(ask.kind, Some((trouble, text)));
        Err(trouble.to_error())
    }

    async fn transact<T, W>(&self, client: Client, left: Duration, ask: &Ask, work: W) -> Result<T>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let session = Session::new(client, self.begin(ask.kind, left), self.options.pooler);
        let mut conn = Conn::postgres(session, Arc::clone(&ask.meter));
        // A write that has the lock runs to its end, as long as it is not too long for everybody.
        let limit = match ask.kind {
            Kind::Read => left + GRACE,
            Kind::Write => left + self.options.write_timeout + GRACE,
        };
        let Ok(outcome) = tokio::time::timeout(limit, work(&mut conn)).await else {
            self.note(ask.kind, Some((Trouble::Unreachable, format!("{} got no answer in time", ask.name))));
            return Err(Trouble::Late.to_error());
        };
        let mut session = conn.into_session();
        let trouble = session.take_trouble();
        match trouble {
            // Those that wait in the pool are hardly better off.
            Some((Trouble::Unreachable, _)) => {
                ask.has_broken.store(true, Ordering::Relaxed);
                self.leave(&mut session);
            }
            // What took writes is a replica now: the next connections look for its successor.
            Some((Trouble::ReadOnly, _)) if ask.kind == Kind::Write => self.leave(&mut session),
            _ => {}
        }
        self.note(ask.kind, trouble);
        let value = match outcome {
            Ok(value) if ask.kind == Kind::Write => value,
            outcome => {
                session.take_back();
                return outcome;
            }
        };
        let began = self.options.clock.instant();
        let committed = tokio::time::timeout(self.options.write_timeout, session.commit()).await;
        self.counters.committing.add_time(self.options.clock.instant().saturating_duration_since(began));
        let text = match committed {
            Ok(Ok(())) => {
                self.counters.count_group(1);
                return Ok(value);
            }
            Ok(Err(Lost::TakenBack(error))) => {
                self.counters.commit_errors.add(1);
                return Err(error);
            }
            Ok(Err(Lost::Unknown(text))) => text,
            Err(_) => "no answer to a commit in time".to_owned(),
        };
        self.counters.commit_errors.add(1);
        tracing::warn!(error = %text, db.unit = ask.name, "whether a write was committed is not known");
        self.note(ask.kind, Some((Trouble::Unreachable, text)));
        let detail = "The connection to the database broke while the change was being committed: it may have happened.";
        Err(Error::try_later(Code::Unavailable, detail, Duration::from_secs(1)))
    }

    /// Lets go of this connection and of all that wait in the pool.
    fn leave(&self, session: &mut Session) {
        session.close();
        self.pool.retain(|_, _| false);
    }

    /// What opens a transaction: its kind, its time limits, and for a write the one lock.
    fn begin(&self, kind: Kind, left: Duration) -> String {
        let left = left.as_millis().max(1);
        match kind {
            Kind::Read => {
                format!("begin isolation level repeatable read read only; set local statement_timeout = {left}")
            }
            Kind::Write => {
                let most = self.options.write_timeout.as_millis().max(1);
                let whole = left.saturating_add(most);
                format!(
                    "begin isolation level read committed; set local lock_timeout = {left}; \
                     set local statement_timeout = {whole}; \
                     set local idle_in_transaction_session_timeout = {most}; \
                     select pg_advisory_xact_lock({WRITE_LOCK})"
                )
            }
        }
    }

    fn ill(&self) -> Option<Health> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what a unit of work met; `None` is an answer without trouble. Said in the log when it
    /// begins and when it ends, not for each unit.
    fn note(&self, kind: Kind, trouble: Option<(Trouble, String)>) {
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

impl Counters {
    fn lane(&self, kind: Kind) -> &super::stats::Lane {
        match kind {
            Kind::Read => &self.readers,
            Kind::Write => &self.writer,
        }
    }
}
