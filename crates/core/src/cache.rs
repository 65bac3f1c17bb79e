//! The port to the cache of finished representations.
//!
//! The unit of caching is the finished answer: its bytes, its strong entity tag, and the
//! [`Entity`]s that it was made from. A write invalidates entities; where the two meet, the
//! representation dies.
//!
//! **The race that matters**: a reader loads from the database, a writer commits and
//! invalidates, and only then the reader stores what it loaded. So a reader first takes a
//! [`Reading`], and `put` refuses whatever was invalidated since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::context::Deadline;
use crate::error::Result;
use crate::events::{Entity, Footprint, RecordedEvent, ServerRun};

/// How long a kind of resource may be kept: an upper bound, since invalidation comes sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Served without a question for this long (before jitter).
    pub fresh: Duration,
    /// After that, served stale for this long while one caller refreshes it (RFC 5861).
    pub stale_while_revalidate: Duration,
    /// After `fresh`, served for this long if the store cannot answer (RFC 5861).
    pub stale_if_error: Duration,
}

/// How fresh an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Within its lifetime.
    Fresh,
    /// Past its lifetime, but may be served while one caller refreshes it.
    /// `refresh` is true for exactly one caller at a time.
    Stale {
        /// This caller was chosen to refresh the entry.
        refresh: bool,
    },
    /// Only to be served if the store fails.
    OnlyOnError,
}

/// What the cache gives back.
#[derive(Debug)]
pub struct Hit<V> {
    /// The representation.
    pub value: Arc<V>,
    /// When it was stored.
    pub stored_at: Instant,
    /// When it was looked up; since `stored_at`, that is its `Age` (RFC 9111 §5.1).
    pub looked_up_at: Instant,
    /// How fresh it is.
    pub freshness: Freshness,
    /// What is left of its lifetime; zero when stale.
    pub ttl: Duration,
    /// How long ago its lifetime ended; zero when fresh.
    pub overdue: Duration,
}

impl<V> Clone for Hit<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), ..*self }
    }
}

impl<V> Hit<V> {
    /// How old the value was when it was looked up.
    pub fn age(&self) -> Duration {
        self.looked_up_at.saturating_duration_since(self.stored_at)
    }
}

/// Proof of when a reader began to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Reading(pub u64);

/// What the cache needs to know of a value.
pub trait Cacheable: Send + Sync + 'static {
    /// What it weighs in memory, in bytes, all of it.
    fn weight(&self) -> usize;
    /// What it was made from.
    fn entities(&self) -> &[Entity];
}

/// A value that can leave the process, into a cache that many processes share, and come back.
pub trait Portable: Cacheable + Sized {
    /// Appends the value's form. Its [entities](Cacheable::entities) are kept beside it and need
    /// not be part of it.
    fn encode(&self, form: &mut Vec<u8>);

    /// Reads a form back; `None` if it is none. What comes in was made by this program and not
    /// altered since, but perhaps by another release.
    fn decode(form: &[u8], entities: Vec<Entity>) -> Option<Self>;
}

/// Told about every committed write, before the write is acknowledged.
pub trait Invalidate: Send + Sync {
    /// Takes the next changes in their one order, oldest first, each of them at least once. Drops whatever was
    /// made from anything that they [touched], and refuses what is being loaded of it now.
    fn follow(&self, changes: &[RecordedEvent]);

    /// Learns that the changes it was handed are not the ones that led to what the database is now. Drops
    /// everything, and refuses whatever is being loaded now.
    fn forget(&self);

    /// Learns that another run of the database's server tells of the changes from here on. `since` is when the last look
    /// began that the one before answered; none if there was none. What was read since then may show changes that were
    /// lost with it before any look saw them: drops all of that, and refuses whatever is being loaded now. What was kept
    /// before `since` is sound, as the last change that it can show is still there.
    fn turn_to(&self, server_run: ServerRun, since: Option<Instant>);

    /// Learns that everything that was committed before this moment has been handed to
    /// [`Invalidate::follow`]. Told again and again, so that its absence says something, too.
    fn confirm(&self, _as_of: Instant) {}

    /// Learns that something was written, at this moment at the latest, that nobody could hand over:
    /// until a later moment is confirmed, nothing may be served as if it were up to date. Who wrote has been told
    /// that it is done, so that what was made before from anything that it touched is dropped at once.
    fn distrust(&self, since: Instant, written: &Footprint);
}

/// Everything that these changes touched, each entity once.
pub fn touched(changes: &[RecordedEvent]) -> Vec<Entity> {
    let mut entities: Vec<Entity> = changes.iter().flat_map(|change| change.entities.iter().copied()).collect();
    entities.sort_unstable();
    entities.dedup();
    entities
}

/// The cache as those see it who answer requests. `get` and `put` never wait.
#[async_trait]
pub trait Cache<V: Cacheable>: Invalidate + std::fmt::Debug {
    /// Taken before loading from the store, and handed to [`Cache::put`] afterwards.
    fn reading(&self) -> Reading;

    /// Looks `key` up.
    fn get(&self, key: &str) -> Option<Hit<V>>;

    /// Looks `key` up for somebody who can do nothing with an entry that is not fresh: all else is
    /// as if nobody had asked, so that neither a miss is counted nor a refresh handed out.
    fn get_fresh(&self, key: &str) -> Option<Hit<V>>;

    /// Keeps `value`. False where it was refused: invalidated since `reading`, or too large.
    ///
    /// `expires_at` is a moment at which the content is known to change, such as the next
    /// scheduled publication: like an invalidation, nothing is served stale after it.
    fn put(&self, reading: Reading, key: &str, value: Arc<V>, lifetime: Lifetime, expires_at: Option<Instant>) -> bool;

    /// Single flight: makes the caller the one who loads `key`, or waits for the one who already
    /// does. What was loaded before an invalidation never reaches a caller who joined after it.
    ///
    /// # Errors
    /// What the loader failed with, or [`Code::DeadlineExceeded`](crate::Code) if it takes too long.
    async fn join(&self, key: &str, deadline: Deadline) -> Result<Joined<V>>;

    /// What it did so far and what it holds now.
    fn stats(&self) -> Stats;
}

/// What [`Cache::join`] came to.
pub enum Joined<V> {
    /// The caller loads. Dropped without a word, it hands the task to one of those who wait.
    Load(Box<dyn Load<V>>),
    /// Somebody else has loaded it.
    Loaded(Arc<V>),
    /// Somebody else has loaded it from where changes of so long ago may be missing.
    Behind(Arc<V>, Duration),
    /// It was in a cache further away, where the caller or somebody else has looked, and now is here as
    /// well.
    Found(Hit<V>),
}

/// The duty to load, and to tell those who wait.
pub trait Load<V>: Send + Sync {
    /// Taken when the duty began: whatever is loaded from now on is at least as new.
    fn reading(&self) -> Reading;
    /// Tells those who wait. Storing the value is a matter of its own: see [`Cache::put`].
    fn finish(self: Box<Self>, outcome: std::result::Result<&Arc<V>, &crate::Error>);
    /// Tells those who wait of what was found in a cache further away, and how old it is.
    fn finish_found(self: Box<Self>, hit: &Hit<V>);
    /// Tells those who wait of a value in which changes of so long ago may be missing. It is not to be
    /// stored.
    fn finish_behind(self: Box<Self>, value: &Arc<V>, age: Duration);
}

/// What a cache did since it was made, and what it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Answered fresh.
    pub hits: u64,
    /// Answered stale, while somebody refreshes.
    pub stale_hits: u64,
    /// Not there, expired, or invalidated.
    pub misses: u64,
    /// Thrown out to make room.
    pub evictions: u64,
    /// Not taken in: invalidated while it was loaded, or too large.
    pub refused_puts: u64,
    /// Entities that were named by invalidations.
    pub invalidations: u64,
    /// Waits for a load that somebody else had begun.
    pub joined_loads: u64,
    /// What the entries weigh now, in bytes.
    pub bytes: u64,
    /// Entries held now.
    pub entries: u64,
}
