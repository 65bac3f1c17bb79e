//! The PostgreSQL arm: a pool of connections behind a lane for reads, and a writer behind a queue.
//!
//! A read runs in one `repeatable read` transaction, so on one snapshot. Writes are done by the
//! [`writer`], which takes one lock for the whole database first, so that writes happen one after
//! another, as they do under SQLite, and shares it among all that wait: see `docs/decisions/0014`.
//! Neither opening a transaction nor ending a read costs a round trip. Units run in tasks of their
//! own: a caller that goes away leaves no transaction half done.

mod address;
mod health;
mod hosts;
mod job;
pub(super) mod lane;
mod options;
mod queue;
mod session;
pub(super) mod trouble;
mod types;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::{Client, Pool, PoolError, TimeoutType, Timeouts};
use futures_util::future::join;
use inkstone_core::context::Meter;
use inkstone_core::{Code, Context, Deadline, Error, Result};
use tracing::Instrument as _;

pub use address::{BadAddress, PostgresAddress};
pub use options::PostgresOptions;
pub(super) use session::Session;

use lane::{Lane, NoPlace, Place};
use queue::Queue;
pub(crate) use trouble::words;
use trouble::{Trouble, trouble_of};

use super::guarded::Met;
use super::said::Said;
use super::silence::Silence;
use super::stats::Counters;
use super::{BoxFuture, Conn, Health, SqlError, Statement, Stats};

/// What serialises the writes of all nodes, among the advisory locks of the database: "inkstone".
const WRITE_LOCK: i64 = 0x696e_6b73_746f_6e65;
/// When to come back after a queue was full.
const WHEN_FULL: Duration = Duration::from_secs(1);
/// How much longer than its deadline a unit is waited for: the server is asked to end it at the
/// deadline, and one that does not is gone.
const GRACE: Duration = Duration::from_millis(500);
/// How long a read may run whose node does not end it: that is its deadline's task.
const SESSION_LIMIT: Duration = Duration::from_mins(2);
/// What opens a read.
const READ: &str = "begin isolation level repeatable read read only";
/// How long a write may pause at least: a busy node needs a moment now and then.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
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
          select 'constraint ' || conname || ' was never checked' from pg_constraint where not convalidated
          union all
          select checksum_failures || ' pages had wrong checksums, the last one at ' || checksum_last_failure
          from pg_stat_database where datname = current_database() and checksum_failures > 0",
};

/// The pool, and who waits for it.
pub(super) struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: PostgresOptions,
    /// For reads.
    pool: Pool,
    /// For the writer: one connection.
    writing: Pool,
    reads: Lane,
    writes: Queue,
    counters: Counters,
    silence: Silence,
    /// What is wrong at present, as the last unit of work met it.
    ill: Mutex<Option<Health>>,
    said: Said,
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
            pool: options.pool(readers as usize, Some(SESSION_LIMIT))?,
            writing: options.pool(1, None)?,
            reads: Lane::new(readers, options.read_queue),
            writes: Queue::new(options.write_queue),
            counters: Counters::default(),
            silence: Silence::default(),
            ill: Mutex::default(),
            said: Said::default(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(super) async fn read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.run(Ask::of(ctx, name), work).await.0
    }

    /// As [`Self::read`], and says whether the connection broke.
    pub(super) async fn try_read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T, Met>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (outcome, has_broken) = self.run(Ask::of(ctx, name), work).await;
        outcome.map_err(|error| Met { error, has_broken })
    }

    pub(super) async fn write<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let shared = &self.shared;
        let patience = ctx.deadline.remaining(shared.options.clock.instant());
        if patience.is_zero() {
            return Err(shared.refusal(Kind::Write, NoPlace::Late));
        }
        let (job, mut asked) = job::unit_of_work(ctx, name, work);
        match shared.writes.push(job) {
            Ok(true) => drop(tokio::spawn(Arc::clone(shared).write_what_waits())),
            Ok(false) => {}
            Err(refused) => return Err(shared.refusal(Kind::Write, refused)),
        }
        let answer = match tokio::time::timeout(patience, &mut asked.answer).await {
            Ok(answer) => answer,
            // It has not begun, and now it never will.
            Err(_) if asked.turn.take() => return Err(shared.refusal(Kind::Write, NoPlace::Late)),
            Err(_) => asked.answer.await,
        };
        answer.unwrap_or_else(|_| Err(Error::internal(SqlError::new(name, "the writer ended without an answer"))))
    }

    /// The outcome, and whether the connection broke after it had been made.
    async fn run<T, W>(&self, ask: Ask, work: W) -> (Result<T>, bool)
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (shared, name) = (&self.shared, ask.name);
        let place = match shared.enter(&ask).await {
            Ok(place) => place,
            Err(error) => return (Err(error), false),
        };
        let task = tokio::spawn(Arc::clone(shared).serve(ask, place, work).in_current_span());
        // A panic has taken its connection along, and with that its transaction.
        task.await.unwrap_or_else(|_| {
            shared.counters.readers.failed.add(1);
            shared.counters.readers.panicked.add(1);
            (Err(Error::internal(SqlError::new(name, "the unit of work panicked"))), false)
        })
    }

    pub(super) fn health(&self) -> Health {
        if self.shared.reads.is_closed() {
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
        Ask { name: statement.name, deadline, meter: Arc::default(), has_broken: AtomicBool::new(false) }
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.shared.reads.close(CLOSING).await;
        self.shared.writes.close(CLOSING).await;
        self.shared.pool.close();
        self.shared.writing.close();
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// What is asked of a read, whatever its type.
struct Ask {
    name: &'static str,
    deadline: Deadline,
    meter: Arc<Meter>,
    /// The connection broke after it had been made.
    has_broken: AtomicBool,
}

impl Ask {
    fn of(ctx: &Context, name: &'static str) -> Self {
        let has_broken = AtomicBool::new(false);
        Self { name, deadline: ctx.deadline, meter: Arc::clone(&ctx.meter), has_broken }
    }
}

impl Shared {
    async fn enter(&self, ask: &Ask) -> Result<Place> {
        let patience = ask.deadline.remaining(self.options.clock.instant());
        if patience.is_zero() {
            return Err(self.refusal(Kind::Read, NoPlace::Late));
        }
        self.reads.enter(patience).await.map_err(|refused| self.refusal(Kind::Read, refused))
    }

    fn refusal(&self, kind: Kind, refused: NoPlace) -> Error {
        let counters = self.counters.lane(kind);
        match refused {
            NoPlace::Full => {
                counters.shed.add(1);
                Error::try_later(Code::Overloaded, "Too many requests wait for the database.", WHEN_FULL)
            }
            NoPlace::Late => {
                counters.dropped.add(1);
                Trouble::Late.to_error()
            }
            NoPlace::Closed => Error::try_later(Code::Unavailable, "The store is closed.", WHEN_FULL),
        }
    }

    /// Runs one read, which keeps its place in the lane until it is through.
    async fn serve<T, W>(self: Arc<Self>, ask: Ask, _place: Place, work: W) -> (Result<T>, bool)
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let (clock, counters) = (&self.options.clock, &self.counters.readers);
        let began = clock.instant();
        let left = ask.deadline.remaining(began);
        counters.jobs.add(1);
        let outcome = match self.connect(Kind::Read, left).await {
            Ok(client) => self.transact(client, left, &ask, work).await,
            Err(trouble) => Err(trouble.to_error()),
        };
        if outcome.is_err() {
            counters.failed.add(1);
        }
        let took = clock.instant().saturating_duration_since(began);
        counters.busy.add_time(took);
        self.warn_if_slow(Kind::Read, ask.name, took);
        (outcome, ask.has_broken.into_inner())
    }

    fn warn_if_slow(&self, kind: Kind, name: &'static str, took: Duration) {
        if took >= self.options.slow {
            tracing::warn!(db.unit = name, db.kind = ?kind, db.duration_ms = took.as_millis(), "a unit of work was slow");
        }
    }

    async fn connect(&self, kind: Kind, left: Duration) -> std::result::Result<Client, Trouble> {
        let limit = Some(left);
        let timeouts = Timeouts { wait: limit, create: limit.min(Some(self.options.connect_timeout)), recycle: limit };
        let pool = match kind {
            Kind::Read => &self.pool,
            Kind::Write => &self.writing,
        };
        let (trouble, text) = match pool.timeout_get(&timeouts).await {
            Ok(client) => return Ok(client),
            Err(PoolError::Backend(error)) => (trouble_of(&error).unwrap_or(Trouble::Unreachable), words(&error)),
            // Otherwise it was only the caller who could not wait.
            Err(PoolError::Timeout(TimeoutType::Create)) if left >= self.options.connect_timeout => {
                (Trouble::Unreachable, "connecting took too long".to_owned())
            }
            Err(error) => (Trouble::Late, error.to_string()),
        };
        self.note(kind, Some((trouble, text)));
        Err(trouble)
    }

    async fn transact<T, W>(&self, client: Client, left: Duration, ask: &Ask, work: W) -> Result<T>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let token = client.cancel_token();
        let session = Session::new(Kind::Read, client, self.begin(Kind::Read, left), self.options.pooler);
        let mut conn = Conn::postgres(session, Arc::clone(&ask.meter));
        let mut work = work(&mut conn);
        let in_time = tokio::time::timeout(left, &mut work).await;
        let is_late = in_time.is_err();
        let outcome = if let Ok(outcome) = in_time {
            Some(outcome)
        } else {
            let ended = join(self.options.cancel(token), &mut work);
            tokio::time::timeout(GRACE, ended).await.ok().map(|((), outcome)| outcome)
        };
        drop(work);
        let Some(outcome) = outcome else {
            self.note(Kind::Read, Some((Trouble::Unreachable, format!("{} got no answer in time", ask.name))));
            self.leave();
            self.silence.tell();
            return Err(Trouble::Late.to_error());
        };
        let mut session = conn.into_session();
        let trouble = session.take_trouble();
        if let Some((Trouble::Unreachable, _)) = trouble {
            ask.has_broken.store(true, Ordering::Relaxed);
            self.leave();
        }
        self.note(Kind::Read, trouble);
        if is_late {
            session.close();
        } else {
            session.take_back();
        }
        outcome
    }

    /// Lets go of all connections that wait: they are hardly better off than the one that broke or
    /// says nothing.
    fn leave(&self) {
        self.pool.retain(|_, _| false);
        self.writing.retain(|_, _| false);
    }

    /// What opens a transaction: its kind, its time limits, and for a write the one lock.
    fn begin(&self, kind: Kind, left: Duration) -> String {
        let left = left.as_millis().max(1);
        match kind {
            // Without a pooler the connection has a limit of its own, which is seldom too long.
            Kind::Read if !self.options.pooler && left <= SESSION_LIMIT.as_millis() => READ.to_owned(),
            Kind::Read => format!("{READ}; set local statement_timeout = {left}"),
            Kind::Write => {
                let most = self.options.write_timeout.as_millis().max(1);
                let whole = left.saturating_add(most);
                // A pause in it is a node that is gone or stands still; and when nobody waits for this
                // write any more, the others do.
                let pause = left.max(SHORTEST_PAUSE.as_millis()).min(most);
                format!(
                    "begin isolation level read committed; set local lock_timeout = {left}; \
                     set local statement_timeout = {whole}; \
                     set local idle_in_transaction_session_timeout = {pause}; \
                     select pg_advisory_xact_lock({WRITE_LOCK})"
                )
            }
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
