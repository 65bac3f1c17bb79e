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

pub mod check;
mod conn;
mod error;
mod guarded;
mod health;
mod job;
mod lock;
mod mariadb;
mod postgres;
mod replicas;
mod row;
mod server;
mod slow;
mod sqlite;
mod statement;
mod stats;
mod value;

use std::pin::Pin;
use std::sync::Arc;

use inkstone_core::clock::{Reading, SharedClock};
use inkstone_core::guard::{Guard, Snapshot};
use inkstone_core::{Context, Result};

pub use conn::Conn;
pub use error::{Constraint, ConstraintKind, SqlError, constraint_of};
use guarded::Met;
pub use health::Health;
pub use lock::DataDirLock;
pub(crate) use mariadb::Connection as MariaDbConnection;
pub(crate) use mariadb::words as mariadb_words;
pub use mariadb::{MariaDbAddress, MariaDbOptions};
pub(crate) use postgres::words as postgres_words;
pub use postgres::{PostgresAddress, PostgresOptions};
pub use replicas::{Replica, ReplicaStats, Replicas, ReplicasOptions};
pub(crate) use row::Cell;
pub use row::{FromColumn, FromRow, Row};
pub use server::{BadAddress, ServerAddress};
pub use sqlite::{FaultHook, LogDamage, SqliteOptions, Step, Trouble, damage_in_log};
pub(crate) use statement::Variant;
pub use statement::{Dialect, Statement};
pub use stats::{GROUP_SIZE_BOUNDS, ReaderStats, Stats, WriterStats};
pub use value::Value;

use crate::leases;

/// What a unit of work returns.
pub type BoxFuture<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

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
    /// the question itself: hardly ever is waiting for a connection, or behind others, in it.
    ///
    /// # Errors
    /// As [`Db::read`].
    pub async fn read_time(&self, ctx: &Context, clock: &SharedClock) -> Result<Option<Reading>> {
        let clock = Arc::clone(clock);
        self.read(ctx, "db.time", move |conn| {
            Box::pin(async move {
                // Asked twice, since the first question may have to wait for a connection to be made.
                conn.time_apart().await?;
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
