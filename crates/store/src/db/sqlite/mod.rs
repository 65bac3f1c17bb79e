//! The SQLite arm: reader threads and one writer thread, each with its own connection and fed
//! by a bounded queue.

mod connection;
mod job;
mod log;
mod queue;
mod reader;
mod trouble;
mod writer;

use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use inkstone_core::clock::SharedClock;
use inkstone_core::{Code, Context, Error, Result};
use tokio::sync::oneshot;
use tracing::Span;

pub(super) use connection::Link;
use connection::Role;
pub use log::{LogDamage, damage_in_log};
pub use trouble::{FaultHook, Step, Trouble};

use queue::{Queue, Refused};
use trouble::{TO_DO, trouble_of};
use writer::Task;

use super::job::{Asked, Job, unit_of_work};
use super::stats::Counters;
use super::{BoxFuture, Conn, Health, SqlError, Stats};

/// When to come back after a queue was full.
const WHEN_FULL: Duration = Duration::from_secs(1);

/// How to open a SQLite database.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The database's file. Its write-ahead log lies beside it.
    pub path: PathBuf,
    /// For deadlines and durations.
    pub clock: SharedClock,
    /// Reader threads, each with a connection. At least one.
    pub readers: usize,
    /// Reads that may wait for a thread; one more is refused.
    pub read_queue: usize,
    /// Writes that may wait for the writer; one more is refused.
    pub write_queue: usize,
    /// The most units of work in one transaction, so in one flush to disk.
    pub group_max: usize,
    /// How many MiB of the file each reader may map into memory. A mapped page saves a system call
    /// and a copy; but where the disk fails under a mapped page, the process is killed instead
    /// of given an error. 0 turns it off.
    pub mmap_mib: u32,
    /// Page cache of each connection, in KiB.
    pub cache_kib: u32,
    /// Prepared statements that each connection keeps.
    pub statement_cache: usize,
    /// How long to wait for another process that holds a lock.
    pub busy_timeout: Duration,
    /// The write-ahead log is copied into the database once it has this many pages.
    pub checkpoint_pages: usize,
    /// The write-ahead log's file is cut to this many MiB when it begins anew.
    pub log_limit_mib: u32,
    /// A unit of work that ran for so long is logged.
    pub slow: Duration,
    /// The most pages that the database may grow to; `None` for SQLite's own limit.
    pub max_pages: Option<u32>,
    /// Makes steps fail; for tests.
    pub faults: Option<FaultHook>,
}

impl SqliteOptions {
    /// The defaults for a file.
    pub fn new(path: impl Into<PathBuf>, clock: SharedClock) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self {
            path: path.into(),
            clock,
            readers: cores.max(2),
            read_queue: 1024,
            write_queue: 1024,
            group_max: 64,
            mmap_mib: 64,
            cache_kib: 2048,
            statement_cache: 256,
            busy_timeout: Duration::from_secs(5),
            checkpoint_pages: 1000,
            log_limit_mib: 64,
            slow: Duration::from_millis(500),
            max_pages: None,
            faults: None,
        }
    }
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The threads and what they share.
pub(super) struct Engine {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    readers: Vec<JoinHandle<()>>,
    writer: JoinHandle<Option<Conn>>,
}

/// What the threads and the callers share.
struct Shared {
    options: SqliteOptions,
    reads: Queue<Box<dyn Job>>,
    writes: Queue<Task>,
    counters: Counters,
    /// Why nothing is written any more.
    broken: Mutex<Option<Health>>,
}

impl Shared {
    fn broken(&self) -> Option<Health> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets nothing be written any more after this, until [`Db::recover`](crate::db::Db::recover), and says so once.
    fn stop_writing_after(&self, trouble: Trouble, text: &str) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if !trouble.ends_writing() || broken.is_some() {
            return;
        }
        let advice = if trouble == Trouble::Corrupt { TO_DO } else { "look at the disk" };
        tracing::error!(error = %text, "the store takes no changes any more: {advice}");
        *broken = Some(Health::ReadOnly { since: self.options.clock.now(), reason: text.to_owned() });
    }

    fn set_broken(&self, health: Option<Health>) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

impl Engine {
    pub(super) fn open(options: SqliteOptions) -> Result<Self> {
        let unusable = |error: rusqlite::Error| cannot_open(&options, &error);
        // The writer first: it makes the file, and the log that readers may not make.
        let writer = Link::open(&options, Role::Writer).map_err(unusable)?;
        let readers = (0..options.readers.max(1)).map(|_| Link::open(&options, Role::Reader));
        let readers = readers.collect::<rusqlite::Result<Vec<_>>>().map_err(unusable)?;
        let shared = Arc::new(Shared {
            reads: Queue::new(options.read_queue),
            writes: Queue::new(options.write_queue),
            counters: Counters::default(),
            broken: Mutex::default(),
            options,
        });
        let engine = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        let readers = readers.into_iter().enumerate().map(|(number, link)| {
            let shared = Arc::clone(&shared);
            start(format!("db-reader-{number}"), move || reader::run(&shared, Conn::sqlite(link)))
        });
        let readers = readers.collect::<Result<Vec<_>>>()?;
        let writer = start("db-writer".to_owned(), move || writer::run(&shared, Conn::sqlite(writer)))?;
        *engine.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(Threads { readers, writer });
        Ok(engine)
    }

    pub(super) async fn read<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (job, Asked { answer: reply, .. }) = unit_of_work(ctx, name, Span::none(), work);
        if let Err(refused) = self.shared.reads.push(job) {
            return Err(refusal(refused, &self.shared.counters.readers.shed));
        }
        answer(name, reply).await
    }

    pub(super) async fn write<T, W>(&self, ctx: &Context, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (job, Asked { answer: reply, .. }) = unit_of_work(ctx, name, Span::none(), work);
        if let Err(refused) = self.shared.writes.push(Task::Job(job)) {
            return Err(refusal(refused, &self.shared.counters.writer.shed));
        }
        answer(name, reply).await
    }

    pub(super) async fn recover(&self) -> Result<()> {
        let (sender, reply) = oneshot::channel();
        if let Err(refused) = self.shared.writes.push(Task::Recover(sender)) {
            return Err(refusal(refused, &self.shared.counters.writer.shed));
        }
        answer("db.recover", reply).await
    }

    pub(super) fn health(&self) -> Health {
        if self.shared.writes.is_closed() {
            return Health::Closed;
        }
        self.shared.broken().unwrap_or(Health::Sound)
    }

    pub(super) fn stats(&self) -> Stats {
        let Shared { options, reads, writes, counters, .. } = &*self.shared;
        let mut stats = counters.snapshot();
        stats.readers.threads = options.readers.max(1) as u64;
        stats.readers.queued = reads.len() as u64;
        stats.readers.capacity = reads.capacity() as u64;
        stats.writer.queued = writes.len() as u64;
        stats.writer.capacity = writes.capacity() as u64;
        stats
    }

    pub(super) async fn integrity_check(&self) -> Result<Vec<String>> {
        let shared = Arc::clone(&self.shared);
        off_the_runtime(move || {
            let mut link =
                Link::open(&shared.options, Role::Reader).map_err(|error| cannot_open(&shared.options, &error))?;
            match link.integrity_check() {
                // So damaged that it cannot even be looked at.
                Err(error) if trouble_of(&error) == Some(Trouble::Corrupt) => Ok(vec![error.to_string()]),
                found => found.map_err(|error| Error::internal(SqlError::new("db.integrity_check", error.to_string()))),
            }
        })
        .await
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.shared.reads.close();
        self.shared.writes.close();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { readers, writer }) = threads else { return Ok(()) };
        off_the_runtime(move || {
            // The readers first: the log can be emptied once nobody reads from it.
            for reader in readers {
                reader.join().map_err(|_| ended())?;
            }
            match writer.join().map_err(|_| ended())? {
                Some(conn) => writer::close(conn),
                None => Ok(()),
            }
        })
        .await
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.reads.close();
        self.shared.writes.close();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

async fn answer<T>(name: &'static str, reply: oneshot::Receiver<Result<T>>) -> Result<T> {
    match reply.await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::internal(SqlError::new(name, "the database thread ended without an answer"))),
    }
}

async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(ended()))
}

fn start<T: Send + 'static>(name: String, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name).spawn(run).map_err(Error::internal)
}

fn ended() -> Error {
    Error::internal("a database thread panicked outside of any unit of work")
}

fn refusal(refused: Refused, shed: &super::stats::Counter) -> Error {
    match refused {
        Refused::Full => {
            shed.add(1);
            Error::try_later(Code::Overloaded, "Too many requests wait for the database.", WHEN_FULL)
        }
        Refused::Closed => Error::try_later(Code::Unavailable, "The store is closed.", WHEN_FULL),
    }
}

fn too_late() -> Error {
    Trouble::Interrupted.to_error()
}

fn cannot_open(options: &SqliteOptions, error: &rusqlite::Error) -> Error {
    let path = options.path.display();
    let is_damaged = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt);
    Error::try_later(
        if is_damaged { Code::StorageDamaged } else { Code::Unavailable },
        format!("The database {path} cannot be opened: {error}."),
        Duration::from_mins(1),
    )
}
