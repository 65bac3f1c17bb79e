//! The MariaDB arm, which speaks to MySQL too: connections behind a lane for reads and one for
//! writes.
//!
//! A read runs in one transaction that only reads, on one snapshot. A write locks the row from which
//! changes are numbered before it does anything else, so that writes happen one after another on
//! however many nodes: see `docs/decisions/0015`. Each unit runs as a task of its own: a caller that
//! goes away leaves no transaction half done, and one that panics takes only its connection along.
//!
//! Statements are put into MariaDB's words when they are prepared ([`dialect`]); what only MySQL
//! does differently is in [`flavor`].

mod address;
mod dialect;
mod flavor;
mod options;
mod pool;
mod session;
mod trouble;
pub(super) mod types;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::guard::bulkhead::{Bulkhead, Turn};
use inkstone_core::{Context, Error, Result};
use mysql_async::prelude::Queryable as _;

pub use address::MariaDbAddress;
pub use options::MariaDbOptions;
pub(crate) use pool::Connection;
pub(super) use session::Session;
pub(crate) use trouble::words;

use pool::{NoConnection, Pool};
use session::Lost;
use trouble::{trouble_of, trouble_of_connecting};

use super::check::Prepared;
use super::guarded::Met;
use super::server::{Ask, CLOSING, Front, GRACE, Kind, Silence, Trouble, lane};
use super::{BoxFuture, Conn, Health, SqlError, Statement, Stats};

/// Writes that get ready at once: one writes, the next waits for the lock, not for the network.
const WRITERS: u32 = 2;
/// How long looking through all tables may take.
const CHECKING: Duration = Duration::from_hours(1);

/// Whether the server takes no writes.
const IS_READ_ONLY: Statement =
    Statement { name: "db.is_read_only", sql: "select case when @@global.read_only = 0 then 0 else 1 end" };

/// What time it is there, in microseconds since 1970; not that of the statement's beginning.
pub(super) const TIME: Statement =
    Statement { name: "db.time", sql: "select cast(unix_timestamp(sysdate(6)) * 1000000 as signed)" };

/// The tables of the database.
const TABLES: &str = "select table_name from information_schema.tables \
    where table_schema = database() and table_type = 'BASE TABLE' order by table_name";

/// The connections, and who waits for them.
pub(super) struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: MariaDbOptions,
    pool: Pool,
    front: Front,
    writes: Bulkhead,
    silence: Silence,
}

impl MariaDbOptions {
    /// One connection; or why there is none.
    pub(crate) async fn single(&self) -> Result<Connection, NoConnection> {
        Connection::open(&self.address, self.connect_timeout).await
    }
}

impl Engine {
    pub(super) fn open(options: MariaDbOptions) -> Self {
        let shared = Shared {
            pool: Pool::default(),
            front: Front::new(
                options.clock.clone(),
                options.address.to_string(),
                options.readers.max(1),
                options.read_queue,
                options.slow,
            ),
            writes: lane(WRITERS, options.write_queue),
            silence: Silence::default(),
            options,
        };
        Self { shared: Arc::new(shared) }
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
        self.run(Ask::of(ctx, Kind::Write, name), work).await.map_err(|met| met.error)
    }

    async fn run<T, W>(&self, ask: Ask, work: W) -> Result<T, Met>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (front, kind, name) = (&self.shared.front, ask.kind, ask.name);
        let lane = match kind {
            Kind::Read => &front.reads,
            Kind::Write => &self.shared.writes,
        };
        let turn = front.enter(kind, lane, ask.deadline).await?;
        front.detach(kind, name, Arc::clone(&self.shared).serve(ask, turn, work)).await
    }

    pub(super) fn health(&self) -> Health {
        self.shared.front.health()
    }

    pub(super) fn stats(&self) -> Stats {
        let writes = &self.shared.writes;
        self.shared.front.stats(writes.waiting().into(), writes.settings().queue.into())
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

    /// Has the server look through all tables and their indexes.
    pub(super) async fn integrity_check(&self) -> Result<Vec<String>> {
        let unusable = |error: mysql_async::Error| match trouble_of(&error) {
            Some(trouble) => trouble.to_error(),
            None => Error::internal(words(&error)),
        };
        let checking = async {
            let connected = self.shared.options.single().await;
            let mut connection = connected.map_err(|error| trouble_of_connecting(&error).to_error())?;
            let tables: Vec<String> = connection.conn.query(TABLES).await.map_err(unusable)?;
            let mut faults = Vec::new();
            for table in tables {
                let check = format!("check table \"{}\"", table.replace('"', "\"\""));
                let rows: Vec<(String, String, String, String)> =
                    connection.conn.query(check).await.map_err(unusable)?;
                let wrong = rows.into_iter().filter(|(_, _, kind, text)| !(kind == "status" && text == "OK"));
                faults.extend(wrong.map(|(_, _, kind, text)| format!("table {table}: {kind}: {text}")));
            }
            Ok(faults)
        };
        let late = |_| Err(Trouble::Late.to_error());
        tokio::time::timeout(CHECKING, checking).await.unwrap_or_else(late)
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.shared.front.reads.close(CLOSING).await;
        self.shared.writes.close(CLOSING).await;
        self.shared.pool.close(CLOSING).await;
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Shared {
    /// Runs one unit of work, which keeps its turn until its connection is free.
    async fn serve<T, W>(self: Arc<Self>, ask: Ask, turn: Turn, work: W) -> Result<T, Met>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let (left, began) = self.front.begin(&ask);
        let outcome = match self.begin(&ask, left).await {
            Ok(session) => self.transact(session, turn, left, &ask, work).await,
            Err((trouble, text)) => {
                self.front.note(ask.kind, Some((trouble, text)));
                Err(trouble.to_error().into())
            }
        };
        self.front.end(&ask, began, outcome.is_err());
        outcome
    }

    /// Opens a transaction. A kept connection that turns out to be dead was ended by the server while
    /// nobody used it; nothing has been asked on it, so that another can be taken.
    async fn begin(&self, ask: &Ask, left: Duration) -> Result<Session, (Trouble, String)> {
        while let Some(connection) = self.pool.take() {
            match self.begin_on(connection, ask, left).await {
                Err((Trouble::Unreachable, _)) => {}
                begun => return begun,
            }
        }
        let patience = left.min(self.options.connect_timeout);
        let connected = Connection::open(&self.options.address, patience).await;
        let connection = connected.map_err(|error| (trouble_of_connecting(&error), error.to_string()))?;
        self.begin_on(connection, ask, left).await
    }

    async fn begin_on(
        &self,
        mut connection: Connection,
        ask: &Ask,
        left: Duration,
    ) -> Result<Session, (Trouble, String)> {
        let flavor = connection.flavor;
        let (sql, wait) = match ask.kind {
            Kind::Read => (flavor.begin_read(left), left),
            Kind::Write => (flavor.begin_write(left, self.options.write_timeout), flavor.longest_wait(left)),
        };
        match tokio::time::timeout(wait + GRACE, connection.conn.query_drop(sql)).await {
            Ok(Ok(())) => Ok(Session::new(connection)),
            Ok(Err(error)) => Err((trouble_of(&error).unwrap_or(Trouble::Damaged), words(&error))),
            Err(_) => {
                self.fell_silent();
                Err((Trouble::Late, format!("{} got no answer in time", ask.name)))
            }
        }
    }

    /// The server did not even end what it was asked to end: the connections that wait are hardly
    /// better off, and those who wait for an answer to a write may know.
    fn fell_silent(&self) {
        self.pool.leave();
        self.silence.tell();
    }

    async fn transact<T, W>(
        self: &Arc<Self>,
        session: Session,
        turn: Turn,
        left: Duration,
        ask: &Ask,
        work: W,
    ) -> Result<T, Met>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let mut conn = Conn::mariadb(session, Arc::clone(&ask.meter));
        let asked = work(&mut conn);
        let outcome = match ask.kind {
            Kind::Read => tokio::time::timeout(left + GRACE, asked).await.ok(),
            // One that has the lock runs to its end, as long as it is not too long for everybody.
            Kind::Write => self.silence.answered(left, left + self.options.write_timeout + GRACE, asked).await,
        };
        let Some(outcome) = outcome else {
            self.front.note(ask.kind, Some((Trouble::Unreachable, format!("{} got no answer in time", ask.name))));
            match ask.kind {
                Kind::Read => self.fell_silent(),
                Kind::Write => self.pool.leave(),
            }
            return Err(Trouble::Late.to_error().into());
        };
        let mut session = conn.into_mariadb_session();
        let trouble = session.take_trouble();
        let has_broken = matches!(trouble, Some((Trouble::Unreachable, _)));
        // What took writes may be a replica now: the next connection looks for its successor.
        let leaves = match trouble {
            Some((Trouble::Unreachable, _)) => true,
            Some((Trouble::ReadOnly, _)) => ask.kind == Kind::Write,
            _ => false,
        };
        if leaves {
            session.give_up();
            self.pool.leave();
        }
        self.front.note(ask.kind, trouble);
        let value = match outcome {
            Ok(value) if ask.kind == Kind::Write => value,
            outcome => {
                self.take_back(session, turn);
                return outcome.map_err(|error| Met { error, has_broken, is_unrelated: false });
            }
        };
        let began = self.options.clock.instant();
        let committed = session.commit(&self.pool);
        let committed = self.silence.answered(left, self.options.write_timeout, committed).await;
        let counters = &self.front.counters;
        counters.committing.add_time(self.front.since(began));
        let text = match committed {
            Some(Ok(())) => {
                counters.count_group(1);
                return Ok(value);
            }
            Some(Err(Lost::TakenBack(error))) => {
                counters.commit_errors.add(1);
                return Err(error.into());
            }
            Some(Err(Lost::Unknown(text))) => text,
            None => "no answer to a commit in time".to_owned(),
        };
        counters.commit_errors.add(1);
        tracing::warn!(error = %text, db.unit = ask.name, "whether a write was committed is not known");
        self.front.note(ask.kind, Some((Trouble::Unreachable, text)));
        Err(Trouble::amid_commit().into())
    }

    /// Ends a transaction of which nothing is to stay, beside the answer, which need not wait for it.
    fn take_back(self: &Arc<Self>, session: Session, turn: Turn) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            session.take_back(&shared.pool).await;
            drop(turn);
        });
    }
}

/// Prepares each of these, for the tests.
pub(super) async fn prepare_all(statements: &[&'static Statement], options: &MariaDbOptions) -> Result<Vec<Prepared>> {
    let mut connection = options.single().await.map_err(|error| Error::internal(error.to_string()))?;
    let mut all = Vec::new();
    for statement in statements {
        let bad = |error| Error::internal(SqlError::new(statement.name, words(&error)));
        let parts = connection.prepare(statement).await.map_err(bad)?;
        let parameters = parts.iter().flat_map(|part| part.order.iter()).max().map_or(0, |last| last + 1);
        let columns = parts.last().map_or(0, |part| part.statement.columns().len());
        all.push(Prepared { statement: statement.name, parameters, columns });
    }
    Ok(all)
}
