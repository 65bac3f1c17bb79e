//! The executor: how a repository reaches a database without knowing which one.
//!
//! A repository hands a *unit of work*, a closure over a [`Conn`], to [`Db::read`] or
//! [`Db::write`]. It is written once, as async code:
//!
//! ```text
//! db.read(ctx, "posts.find", move |conn| Box::pin(async move {
//!     conn.fetch_optional::<PostRow>(&FIND, &[id.into()]).await
//! })).await
//! ```
//!
//! Under SQLite the whole unit runs on a database thread, where every await on the `Conn` is
//! ready at once; awaiting anything else there is a programming error and is reported as one.
//! A client-server database awaits for real. A unit therefore awaits its `Conn` and nothing
//! else: nothing leaves the process inside a transaction.
//!
//! What is promised:
//! * A read sees one snapshot, however many statements it runs, but for those that it says may stand
//!   apart.
//! * A write is one transaction. It is acknowledged after the commit has returned, and every
//!   statement is run to its end, `returning` or not.
//! * Every statement is a [`Statement`]: static, named, with `$1`-style parameters.

mod address;
pub mod check;
mod error;
mod guarded;
mod lock;
mod mariadb;
mod postgres;
mod replicas;
mod row;
mod silence;
mod sqlite;
mod stats;
mod value;

use std::pin::Pin;
use std::sync::Arc;

use inkstone_core::clock::{Reading, SharedClock};
use inkstone_core::context::Meter;
use inkstone_core::events::Mark;
use inkstone_core::guard::{Guard, Snapshot};
use inkstone_core::{Context, Error, Result};
use jiff::Timestamp;

pub use address::ServerAddress;
pub use error::{Constraint, ConstraintKind, SqlError, constraint_of};
use guarded::Met;
pub use lock::DataDirLock;
pub(crate) use mariadb::Connection as MariaDbConnection;
pub(crate) use mariadb::words as mariadb_words;
pub use mariadb::{MariaDbAddress, MariaDbOptions};
use postgres::Session;
pub(crate) use postgres::words as postgres_words;
pub use postgres::{BadAddress, PostgresAddress, PostgresOptions};
pub use replicas::{Replica, ReplicaStats, Replicas, ReplicasOptions};
pub(crate) use row::Cell;
pub use row::{FromColumn, FromRow, Row};
use sqlite::Link;
pub use sqlite::{FaultHook, LogDamage, SqliteOptions, Step, Trouble, damage_in_log};
pub use stats::{GROUP_SIZE_BOUNDS, ReaderStats, Stats, WriterStats};
pub use value::Value;

use crate::leases;

/// One SQL statement: written once, by hand, named `resource.verb`.
#[derive(Debug)]
pub struct Statement {
    /// Names it in logs, errors and plans, such as `posts.find_by_slug`.
    pub name: &'static str,
    /// The text. Parameters are `$1`, `$2`, … without gaps; each may stand more than once.
    pub sql: &'static str,
}

/// What MariaDB runs instead of a [`Statement`], where the subset of SQL that the databases share does
/// not reach. Stands beside it, under its name.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The statement's.
    pub(crate) name: &'static str,
    /// The texts, run one after the other with the parameters of the statement; what the last one
    /// gives is what the statement gives.
    pub(crate) sql: &'static [&'static str],
}

/// What a unit of work returns.
pub type BoxFuture<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// A connection for the length of one unit of work. Every call counts in the request's meter.
#[derive(Debug)]
pub struct Conn {
    arm: ConnArm,
    meter: Arc<Meter>,
}

#[derive(Debug)]
enum ConnArm {
    /// Answers on the spot.
    Sqlite(Link),
    Postgres(Session),
    MariaDb(mariadb::Session),
}

impl Conn {
    /// All rows.
    ///
    /// # Errors
    /// `TryLater` or `DeadlineExceeded` as the database is; `Internal` with a [`SqlError`]
    /// otherwise, constraints included: see [`constraint_of`].
    pub async fn fetch_all<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        self.meter.count_statement();
        match &mut self.arm {
            ConnArm::Sqlite(link) => link.fetch_all(statement, values),
            ConnArm::Postgres(session) => session.fetch_all(statement, values).await,
            ConnArm::MariaDb(session) => session.fetch_all(statement, values).await,
        }
    }

    /// All rows of a statement that needs no snapshot in common with what follows in this unit of
    /// work: a read of one statement is cheapest so.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`].
    pub async fn fetch_apart<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<T>> {
        self.meter.count_statement();
        match &mut self.arm {
            ConnArm::Sqlite(link) => link.fetch_all(statement, values),
            ConnArm::Postgres(session) => session.fetch_apart(statement, values).await,
            ConnArm::MariaDb(session) => session.fetch_all(statement, values).await,
        }
    }

    /// The row, if there is one.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`]; `Internal` if there are two.
    pub async fn fetch_optional<T: FromRow>(
        &mut self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Option<T>> {
        let mut rows = self.fetch_all(statement, values).await?;
        if rows.len() > 1 {
            return Err(Error::internal(SqlError::new(statement.name, "more than one row where at most one belongs")));
        }
        Ok(rows.pop())
    }

    /// The one row that must be there, such as a count or what `returning` gives.
    ///
    /// # Errors
    /// As [`Conn::fetch_optional`]; `Internal` if there is none.
    pub async fn fetch_one<T: FromRow>(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<T> {
        let row = self.fetch_optional(statement, values).await?;
        row.ok_or_else(|| Error::internal(SqlError::new(statement.name, "no row where one belongs")))
    }

    /// Runs an `insert … returning id` of one row and gives its id.
    ///
    /// # Errors
    /// As [`Conn::fetch_one`].
    pub async fn insert(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<i64> {
        if let ConnArm::MariaDb(session) = &mut self.arm {
            self.meter.count_statement();
            return session.insert(statement, values).await;
        }
        self.fetch_one(statement, values).await
    }

    /// Runs an `insert`, `update` or `delete` and says how many rows it touched.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`].
    pub async fn execute(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<u64> {
        self.meter.count_statement();
        match &mut self.arm {
            ConnArm::Sqlite(link) => link.execute(statement, values),
            ConnArm::Postgres(session) => session.execute(statement, values).await,
            ConnArm::MariaDb(session) => session.execute(statement, values).await,
        }
    }

    /// Runs an `insert`, `update` or `delete` of which nobody here needs to know more than that it
    /// succeeds. A database far away may get it only with the next statement, or at the end of the
    /// unit of work; the error is given there, whoever is asking.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`], of this statement or of one before it.
    pub async fn execute_later(&mut self, statement: &'static Statement, values: &[Value<'_>]) -> Result<()> {
        self.meter.count_statement();
        match &mut self.arm {
            ConnArm::Sqlite(link) => link.execute(statement, values).map(drop),
            ConnArm::Postgres(session) => session.execute_later(statement, values).await,
            ConnArm::MariaDb(session) => session.execute(statement, values).await.map(drop),
        }
    }

    /// Runs one statement for each of these rows, in their order; how many rows that touched. Over
    /// a network it costs some round trips, not one for each row.
    ///
    /// # Errors
    /// As [`Conn::fetch_all`], of the first row that failed.
    pub async fn execute_each(&mut self, statement: &'static Statement, rows: &[Vec<Value<'_>>]) -> Result<u64> {
        self.meter.count_statement();
        match &mut self.arm {
            ConnArm::Sqlite(link) => {
                let mut touched = 0;
                for values in rows {
                    touched += link.execute(statement, values)?;
                }
                Ok(touched)
            }
            ConnArm::Postgres(session) => session.execute_each(statement, rows).await,
            ConnArm::MariaDb(session) => {
                let mut touched = 0;
                for values in rows {
                    touched += session.execute(statement, values).await?;
                }
                Ok(touched)
            }
        }
    }

    /// What time it is for all who share the database: its server says so, since the clocks of nodes
    /// differ. A file has no clock but that of its one process, which is `own`.
    ///
    /// # Errors
    /// As [`Conn::fetch_one`].
    pub(crate) async fn time(&mut self, own: Timestamp) -> Result<Timestamp> {
        match &self.arm {
            ConnArm::Sqlite(_) => Ok(own),
            ConnArm::Postgres(_) => self.fetch_one(&postgres::TIME, &[]).await,
            ConnArm::MariaDb(_) => self.fetch_one(&mariadb::TIME, &[]).await,
        }
    }

    /// As [`Conn::time`], in one round trip and no transaction; `None` of a file.
    ///
    /// # Errors
    /// As there.
    async fn time_apart(&mut self) -> Result<Option<Timestamp>> {
        let statement = match &self.arm {
            ConnArm::Sqlite(_) => return Ok(None),
            ConnArm::Postgres(_) => &postgres::TIME,
            ConnArm::MariaDb(_) => &mariadb::TIME,
        };
        Ok(self.fetch_apart(statement, &[]).await?.pop())
    }
}

impl Conn {
    /// Notes in the request's meter that it has made this change.
    pub(crate) fn note_written(&self, change: Mark) {
        self.meter.note_written(change);
    }

    pub(crate) fn sqlite(link: Link) -> Self {
        Self { arm: ConnArm::Sqlite(link), meter: Arc::default() }
    }

    fn postgres(session: Session, meter: Arc<Meter>) -> Self {
        Self { arm: ConnArm::Postgres(session), meter }
    }

    fn mariadb(session: mariadb::Session, meter: Arc<Meter>) -> Self {
        Self { arm: ConnArm::MariaDb(session), meter }
    }

    // Each arm makes its own connections, and no other.

    fn link(&mut self) -> &mut Link {
        match &mut self.arm {
            ConnArm::Sqlite(link) => link,
            ConnArm::Postgres(_) | ConnArm::MariaDb(_) => unreachable!("a session on a database thread"),
        }
    }

    fn into_link(self) -> Link {
        match self.arm {
            ConnArm::Sqlite(link) => link,
            ConnArm::Postgres(_) | ConnArm::MariaDb(_) => unreachable!("a session on a database thread"),
        }
    }

    fn session(&mut self) -> &mut Session {
        match &mut self.arm {
            ConnArm::Postgres(session) => session,
            ConnArm::Sqlite(_) | ConnArm::MariaDb(_) => unreachable!("not a session of PostgreSQL"),
        }
    }

    fn into_session(self) -> Session {
        match self.arm {
            ConnArm::Postgres(session) => session,
            ConnArm::Sqlite(_) | ConnArm::MariaDb(_) => unreachable!("not a session of PostgreSQL"),
        }
    }

    fn into_mariadb_session(self) -> mariadb::Session {
        match self.arm {
            ConnArm::MariaDb(session) => session,
            ConnArm::Sqlite(_) | ConnArm::Postgres(_) => unreachable!("not a session of MariaDB"),
        }
    }
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes go through.
    Sound,
    /// The disk gave an error while writing. What it holds of the latest writes is not known,
    /// so that nothing more is written until [`Db::recover`] or a restart succeeds. Reads go on.
    ReadOnly {
        /// When it happened.
        since: Timestamp,
        /// What the database said; for operators.
        reason: String,
    },
    /// The database cannot be reached, or does not answer. Every unit of work tries anew.
    Unreachable {
        /// When that was noticed.
        since: Timestamp,
        /// What was met; for operators.
        reason: String,
    },
    /// [`Db::close`] was called.
    Closed,
}

/// Which kind of database it is, for the few who must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB or MySQL.
    MariaDb,
}

/// The database. Cheap to clone; all clones share the same threads and connections.
#[derive(Debug, Clone)]
pub struct Db {
    arm: Arm,
    guards: Option<Arc<guarded::Guards>>,
    /// Where reads may go instead.
    replicas: Option<Arc<Replicas>>,
}

#[derive(Debug, Clone)]
enum Arm {
    Sqlite(Arc<sqlite::Engine>),
    Postgres(Arc<postgres::Engine>),
    MariaDb(Arc<mariadb::Engine>),
}

/// Calls the same method of whichever arm it is.
macro_rules! each_arm {
    ($db:expr, $arm:ident => $call:expr) => {
        match &$db.arm {
            Arm::Sqlite($arm) => $call,
            Arm::Postgres($arm) => $call,
            Arm::MariaDb($arm) => $call,
        }
    };
}

impl Db {
    /// Opens a SQLite database and starts its threads. The schema is not looked at: run
    /// [`crate::migrate`] before. Blocks for as long as opening the files takes.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be opened, is not a database or cannot be written.
    pub fn open(options: SqliteOptions) -> Result<Self> {
        Ok(Self { arm: Arm::Sqlite(Arc::new(sqlite::Engine::open(options)?)), guards: None, replicas: None })
    }

    /// Gets ready to use a PostgreSQL database. Connections are made when they are needed, so that
    /// this succeeds while the database is away.
    ///
    /// # Errors
    /// `Internal` if there cannot be a pool of such connections.
    pub fn connect(options: PostgresOptions) -> Result<Self> {
        Ok(Self { arm: Arm::Postgres(Arc::new(postgres::Engine::open(options)?)), guards: None, replicas: None })
    }

    /// Puts a guard before all reads, and one before all writes if there are any, those of
    /// [`Replicas`] aside: for a database that can be down or hang. They need no bulkhead, see
    /// [`Guard::watch`], and no read is repeated without one.
    #[must_use]
    pub fn guarded(self, reads: Guard, writes: Option<Guard>) -> Self {
        Self { guards: Some(Arc::new(guarded::Guards { reads, writes })), ..self }
    }

    /// Where the guards before reads and writes stand, by name; empty if there are none.
    pub fn guards(&self) -> Vec<(String, Snapshot)> {
        self.guards.iter().flat_map(|guards| guards.snapshots()).collect()
    }

    /// The same database, with reads that may go to replicas which are far enough. Only for what
    /// nobody decides anything by: see `docs/decisions/0016`.
    #[must_use]
    pub fn reading_from(&self, replicas: Arc<Replicas>) -> Self {
        Self { replicas: Some(replicas), ..self.clone() }
    }

    /// Which kind it is.
    pub fn dialect(&self) -> Dialect {
        match &self.arm {
            Arm::Sqlite(_) => Dialect::Sqlite,
            Arm::Postgres(_) => Dialect::Postgres,
            Arm::MariaDb(_) => Dialect::MariaDb,
        }
    }

    /// Gets ready to use a MariaDB or MySQL database. Connections are made when they are needed, so
    /// that this succeeds while the database is away.
    pub fn connect_mariadb(options: MariaDbOptions) -> Self {
        Self { arm: Arm::MariaDb(Arc::new(mariadb::Engine::open(options))), guards: None, replicas: None }
    }

    /// Runs a unit of work that only reads, on one snapshot. `name` (`posts.list`) stands in logs.
    /// It is run again elsewhere if a replica fails, and over another connection if the first one breaks
    /// and the guard's budget for that allows it.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full, `DeadlineExceeded` if the context's deadline passed
    /// while queued or running, `Unavailable` after [`Db::close`] or if the guard does not ask, or
    /// what `work` gave.
    pub async fn read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Clone + Send + 'static,
    {
        if let Some(replicas) = &self.replicas
            && let Some(shown) = replicas.read(ctx, name, &work).await
        {
            return shown;
        }
        let Some(guards) = &self.guards else { return each_arm!(self, arm => arm.read(ctx, name, work).await) };
        let run = |ctx: Context| {
            let work = work.clone();
            async move { self.try_read(&ctx, name, work).await }
        };
        guards.read_again(ctx, run).await
    }

    /// One try, which says whether another one makes sense.
    async fn try_read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T, Met>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        match &self.arm {
            Arm::Sqlite(arm) => arm.read(ctx, name, work).await.map_err(Met::from),
            Arm::Postgres(arm) => arm.try_read(ctx, name, work).await,
            Arm::MariaDb(arm) => arm.try_read(ctx, name, work).await,
        }
    }

    /// As [`Db::read`], of what can be run only once.
    ///
    /// # Errors
    /// As there.
    pub async fn read_once<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let Some(guards) = &self.guards else { return each_arm!(self, arm => arm.read(ctx, name, work).await) };
        guards.read(ctx, async move |ctx| each_arm!(self, arm => arm.read(&ctx, name, work).await)).await
    }

    /// Runs a unit of work that writes: everything it did is committed when this returns `Ok`,
    /// and nothing of it is there when it returns `Err`; except `DeadlineExceeded`, an `Unavailable`
    /// that says so, and a caller that went away, after which it may or may not have happened.
    ///
    /// The deadline keeps a queued write from starting. One that has started runs to its end.
    ///
    /// Under a [fence](Context::fence) it is looked first, in the same transaction, whether the lease
    /// is still the caller's.
    ///
    /// # Errors
    /// `Conflict` if it is not; `Overloaded` if the queue is full; `StorageFull`; `Unavailable` if the store is read-only
    /// after a disk error, locked by another process or closed; or what `work` gave.
    pub async fn write<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let Some(guards) = &self.guards else { return self.write_unguarded(ctx, name, work).await };
        guards.write(ctx, async move |ctx| self.write_unguarded(&ctx, name, work).await).await
    }

    async fn write_unguarded<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let Some(fence) = ctx.fence.clone() else { return each_arm!(self, arm => arm.write(ctx, name, work).await) };
        each_arm!(self, arm => arm.write(ctx, name, leases::behind(fence, work)).await)
    }

    /// Asks the server of the database what time it is; `None` of a file, which has no clock. `clock` times
    /// the question itself: no waiting for a connection is in it.
    ///
    /// # Errors
    /// As [`Db::read`].
    pub async fn read_time(&self, ctx: &Context, clock: &SharedClock) -> Result<Option<Reading>> {
        let clock = Arc::clone(clock);
        self.read(ctx, "db.time", move |conn| {
            Box::pin(async move {
                let asked = clock.instant();
                let time = conn.time_apart().await?;
                Ok(time.map(|time| Reading { asked, time, answered: clock.instant() }))
            })
        })
        .await
    }

    /// Whether the store can be read and written.
    pub fn health(&self) -> Health {
        each_arm!(self, arm => arm.health())
    }

    /// What the executor did so far, for metrics.
    pub fn stats(&self) -> Stats {
        each_arm!(self, arm => arm.stats())
    }

    /// Tries to leave [`Health::ReadOnly`]: opens the writer's connection anew, checks the
    /// database, and copies the write-ahead log into it with a flush.
    ///
    /// # Errors
    /// `Unavailable` if that fails; the store then stays read-only.
    pub async fn recover(&self) -> Result<()> {
        each_arm!(self, arm => arm.recover().await)
    }

    /// Reads the whole database and lists what is wrong with it: pages, indexes, and rows that
    /// refer to nothing. Empty means sound. Takes time in proportion to the size.
    ///
    /// # Errors
    /// If the database cannot be opened or read at all.
    pub async fn integrity_check(&self) -> Result<Vec<String>> {
        each_arm!(self, arm => arm.integrity_check().await)
    }

    /// Refuses new work, finishes what is queued, copies the write-ahead log into the database
    /// and closes every connection. Calling it again does nothing.
    ///
    /// # Errors
    /// If the last copying failed; nothing is lost by that, the next start does it again.
    pub async fn close(&self) -> Result<()> {
        each_arm!(self, arm => arm.close().await)
    }
}
