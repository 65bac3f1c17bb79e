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

use crate::events::Entity;

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
#[derive(Debug, Clone)]
pub struct Hit<V> {
    /// The representation.
    pub value: Arc<V>,
    /// When it was stored, for `Age` (RFC 9111 §5.1).
    pub stored_at: Instant,
    /// How fresh it is.
    pub freshness: Freshness,
    /// What is left of its lifetime; zero when stale.
    pub ttl: Duration,
}

/// Proof of when a reader began to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading(pub u64);

/// What the cache needs to know of a value.
pub trait Cacheable: Send + Sync + 'static {
    /// What it weighs in memory, in bytes, all of it.
    fn weight(&self) -> usize;
    /// What it was made from.
    fn entities(&self) -> &[Entity];
}

/// Told about every committed write, before the write is acknowledged.
pub trait Invalidate: Send + Sync {
    /// Drops whatever was made from any of `entities`, and refuses what is being loaded now.
    fn invalidate(&self, entities: &[Entity]);
}
