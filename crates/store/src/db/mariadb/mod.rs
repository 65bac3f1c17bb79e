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
mod front;
mod options;
mod pool;
mod session;
mod trouble;
pub(super) mod types;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::{Code, Context, Deadline, Error, Result};
use mysql_async::prelude::Queryable as _;
use tracing::Instrument as _;

pub use address::MariaDbAddress;
pub use options::MariaDbOptions;
pub(crate) use pool::Connection;
pub(super) use session::Session;
pub(crate) use trouble::words;

use front::{Ask, CLOSING, Front, Kind};
use pool::{NoConnection, Pool};
use session::Lost;
use trouble::{trouble_of, trouble_of_connecting};

use super::check::Prepared;
use super::guarded::Met;
use super::postgres::lane::Place;
use super::postgres::trouble::Trouble;
use super::silence::Silence;
use super::{BoxFuture, Conn, Health, SqlError, Statement, Stats};

/// How much longer than its deadline a unit is waited for: the server ends it at the deadline, and
/// one that does not is gone.
const GRACE: Duration = Duration::from_millis(500);
/// How long the executor's own questions may take.
const QUESTION: Duration = Duration::from_mins(1);
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
        let front = Front::new(&options);
        Self { shared: Arc::new(Shared { pool: Pool::default(), front, silence: Silence::default(), options }) }
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
        let shared = &self.shared;
        let (kind, name) = (ask.kind, ask.name);
        let place = shared.front.enter(&ask).await?;
        let task = tokio::spawn(Arc::clone(shared).serve(ask, place, work).in_current_span());
        // A panic has taken its connection along, and with that its transaction.
        task.await.unwrap_or_else(|_| {
            let lane = shared.front.lane(kind);
            lane.failed.add(1);
            lane.panicked.add(1);
            Err(Error::internal(SqlError::new(name, "the unit of work panicked")).into())
        })
    }

    pub(super) fn health(&self) -> Health {
        self.shared.front.health()
    }

    pub(super) fn stats(&self) -> Stats {
        self.shared.front.stats()
    }

    pub(super) async fn recover(&self) -> Result<()> {
        let deadline = Deadline::at(self.shared.options.clock.instant() + QUESTION);
        let ask = Ask { kind: Kind::Read, name: IS_READ_ONLY.name, deadline, meter: Arc::default() };
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
        self.shared.front.close().await;
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
    /// Runs one unit of work, which keeps its place in the lane until its connection is free.
    async fn serve<T, W>(self: Arc<Self>, ask: Ask, place: Place, work: W) -> Result<T, Met>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let (clock, counters) = (&self.options.clock, self.front.lane(ask.kind));
        let began = clock.instant();
        let left = ask.deadline.remaining(began);
        counters.jobs.add(1);
        let outcome = match self.begin(&ask, left).await {
            Ok(session) => self.transact(session, place, left, &ask, work).await,
            Err((trouble, text)) => {
                self.front.note(ask.kind, Some((trouble, text)));
                Err(trouble.to_error().into())
            }
        };
        if outcome.is_err() {
            counters.failed.add(1);
        }
        let took = clock.instant().saturating_duration_since(began);
        counters.busy.add_time(took);
        if took >= self.options.slow {
            tracing::warn!(db.unit = ask.name, db.kind = ?ask.kind, db.duration_ms = took.as_millis(), "a unit of work was slow");
        }
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

    /// What came of it within `limit`, or, for a write, within `left` once somebody else found that
    /// the server says nothing.
    async fn answered<T>(
        &self,
        kind: Kind,
        left: Duration,
        limit: Duration,
        asked: impl Future<Output = T>,
    ) -> Option<T> {
        let silent = async {
            match kind {
                Kind::Read => std::future::pending().await,
                Kind::Write => self.silence.outlasts(left).await,
            }
        };
        tokio::select! {
            answered = tokio::time::timeout(limit, asked) => answered.ok(),
            () = silent => None,
        }
    }

    async fn transact<T, W>(
        self: &Arc<Self>,
        session: Session,
        place: Place,
        left: Duration,
        ask: &Ask,
        work: W,
    ) -> Result<T, Met>
    where
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send,
        T: Send,
    {
        let mut conn = Conn::mariadb(session, Arc::clone(&ask.meter));
        // A write that has the lock runs to its end, as long as it is not too long for everybody.
        let limit = match ask.kind {
            Kind::Read => left + GRACE,
            Kind::Write => left + self.options.write_timeout + GRACE,
        };
        let Some(outcome) = self.answered(ask.kind, left, limit, work(&mut conn)).await else {
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
                self.take_back(session, place);
                return outcome.map_err(|error| Met { error, has_broken });
            }
        };
        let began = self.options.clock.instant();
        let committed = session.commit(&self.pool);
        let committed = self.answered(ask.kind, left, self.options.write_timeout, committed).await;
        let counters = &self.front.counters;
        counters.committing.add_time(self.options.clock.instant().saturating_duration_since(began));
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
        let detail = "The connection to the database broke while the change was being committed: it may have happened.";
        Err(Error::try_later(Code::Unavailable, detail, Duration::from_secs(1)).into())
    }

    /// Ends a transaction of which nothing is to stay, beside the answer, which need not wait for it.
    fn take_back(self: &Arc<Self>, session: Session, place: Place) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            session.take_back(&shared.pool).await;
            drop(place);
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
