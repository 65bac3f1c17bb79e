//! The PostgreSQL arm: connections behind a lane for reads, and a writer behind a queue.
//!
//! A read of one statement goes over one of the [`lines`], which many share; any other runs on a connection of its own, in
//! one `repeatable read` transaction, so on one snapshot. Writes are done by the
//! [`writer`], which takes one lock for the whole database first, so that writes happen one after
//! another, as they do under SQLite, and shares it among all that wait: see `docs/decisions/0014`.
//! Neither opening a transaction nor ending a read costs a round trip. Units run in tasks of their
//! own: a caller that goes away leaves no transaction half done.

mod address;
mod connections;
mod hosts;
mod lines;
mod options;
mod queue;
mod send;
mod session;
mod trouble;
mod types;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::guard::bulkhead::{NoTurn, Turn};
use inkstone_core::{Context, Error, Result};
use tracing::Span;

pub use address::PostgresAddress;
pub use options::PostgresOptions;
pub(super) use session::Session;

use connections::{Connections, Lender, SESSION_LIMIT};
use queue::Queue;
use session::Heard;
pub(crate) use trouble::words;

use super::guarded::Met;
use super::job::unit_of_work;
use super::server::{Ask, CLOSING, Front, Kind, Silence, Trouble};
use super::{BoxFuture, Conn, Health, SqlError, Statement, Stats};

/// What serialises the writes of all nodes, among the advisory locks of the database: "inkstone".
const WRITE_LOCK: i64 = 0x696e_6b73_746f_6e65;
/// What opens a read.
const READ: &str = "begin isolation level repeatable read read only";
/// How long a write may pause at least: a busy node needs a moment now and then.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

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

/// The connections, and who waits for them.
pub(super) struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: PostgresOptions,
    connections: Arc<Connections>,
    front: Front,
    writes: Queue,
    silence: Silence,
}

impl Engine {
    pub(super) fn open(options: PostgresOptions) -> Result<Self> {
        let shared = Shared {
            connections: Arc::new(Connections::new(options.clone())?),
            front: Front::new(
                options.clock.clone(),
                options.address.to_string(),
                options.readers.max(1),
                options.read_queue,
                options.slow,
            ),
            writes: Queue::new(options.write_queue),
            silence: Silence::default(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(super) async fn read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.try_read(ctx, name, work).await.map_err(|met| met.error)
    }

    /// As [`Self::read`], and says whether the connection broke.
    pub(super) async fn try_read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T, Met>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.run(Ask::of(ctx, Kind::Read, name), work).await
    }

    pub(super) async fn write<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let shared = &self.shared;
        let patience = shared.front.patience(Kind::Write, ctx.deadline)?;
        let (job, mut asked) = unit_of_work(ctx, name, Span::current(), work);
        match shared.writes.push(job) {
            Ok(true) => drop(tokio::spawn(Arc::clone(shared).write_what_waits())),
            Ok(false) => {}
            Err(refused) => return Err(shared.front.refusal(Kind::Write, refused)),
        }
        let answer = match tokio::time::timeout(patience, &mut asked.answer).await {
            Ok(answer) => answer,
            // It has not begun, and now it never will.
            Err(_) if asked.turn.take() => return Err(shared.front.refusal(Kind::Write, NoTurn::TooLate)),
            Err(_) => asked.answer.await,
        };
        answer.unwrap_or_else(|_| Err(Error::internal(SqlError::new(name, "the writer ended without an answer"))))
    }

    async fn run<T, W>(&self, ask: Ask, work: W) -> Result<T, Met>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (front, kind, name) = (&self.shared.front, ask.kind, ask.name);
        let turn = front.enter(kind, &front.reads, ask.deadline).await?;
        front.detach(kind, name, Arc::clone(&self.shared).serve(ask, turn, work)).await
    }

    pub(super) fn health(&self) -> Health {
        self.shared.front.health()
    }

    pub(super) fn stats(&self) -> Stats {
        self.shared.front.stats(self.shared.writes.waiting() as u64, self.shared.writes.capacity() as u64)
    }

    pub(super) async fn recover(&self) -> Result<()> {
        let ask = self.shared.front.question(&IS_READ_ONLY);
        let asked = self.run(ask, |conn| Box::pin(conn.fetch_one(&IS_READ_ONLY, &[])));
        let is_read_only: bool = asked.await.map_err(|met| met.error)?;
        if is_read_only {
            return Err(Trouble::ReadOnly.to_error());
        }
        self.shared.front.note(Kind::Write, None);
        Ok(())
    }

    pub(super) async fn integrity_check(&self) -> Result<Vec<String>> {
        let ask = self.shared.front.question(&NOT_VALID);
        self.run(ask, |conn| Box::pin(conn.fetch_all(&NOT_VALID, &[]))).await.map_err(|met| met.error)
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.shared.front.reads.close(CLOSING).await;
        self.shared.writes.close(CLOSING).await;
        self.shared.connections.close();
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Shared {
    /// Runs one read, which keeps its turn until it is through.
    async fn serve<T, W>(self: Arc<Self>, ask: Ask, _turn: Turn, work: W) -> Result<T, Met>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let (left, began) = self.front.begin(&ask);
        let outcome = self.look(left, &ask, work).await;
        self.front.end(&ask, began, outcome.is_err());
        outcome
    }

    async fn look<T, W>(&self, left: Duration, ask: &Ask, work: W) -> Result<T, Met>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let lender = Lender { connections: Arc::clone(&self.connections), deadline: ask.deadline };
        let session = Session::for_reading(lender, self.begin(Kind::Read, left), self.options.pooler);
        let mut conn = Conn::postgres(session, Arc::clone(&ask.meter));
        let in_time = tokio::time::timeout(left, work(&mut conn)).await;
        let mut session = conn.into_session();
        let Ok(outcome) = in_time else {
            // Seldom, and large.
            let heard = Box::pin(session.end_late()).await;
            let trouble = if heard == Heard::Word { Trouble::Late } else { Trouble::Unreachable };
            self.front.note(Kind::Read, Some((trouble, format!("{} got no answer in time", ask.name))));
            if trouble == Trouble::Unreachable {
                self.connections.leave();
            }
            if heard == Heard::Nothing {
                self.silence.tell();
            }
            return Err(Trouble::Late.to_error().into());
        };
        let has_broken = session.is_broken();
        if has_broken {
            self.connections.leave();
        }
        let trouble = session.take_trouble();
        // Who asked nothing learnt nothing.
        let is_unrelated = trouble.is_none() && !session.has_asked();
        if !is_unrelated {
            self.front.note(Kind::Read, trouble);
        }
        session.take_back();
        outcome.map_err(|error| Met { error, has_broken, is_unrelated })
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
