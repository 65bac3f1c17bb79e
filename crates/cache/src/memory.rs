//! The tier inside the process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use inkstone_core::cache::{Cache, Cacheable, Freshness, Hit, Invalidate, Joined, Lifetime, Reading, Stats, touched};
use inkstone_core::clock::SharedClock;
use inkstone_core::events::{Footprint, RecordedEvent, ServerRun};
use inkstone_core::{Code, Deadline, Error, Result};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::flight::{Boarding, Flights, Landing, copy};
use crate::stamps::Stamps;
use crate::trust::Trust;

/// What an entry costs beside its key and its value: the entry, the table's slot, the ghost of an
/// evicted key, the allocator's rounding.
const OVERHEAD_BYTES: u64 = 256;
/// A shard smaller than this would refuse answers that are worth keeping.
const MIN_SHARD_BYTES: u64 = 4 * 1024 * 1024;
/// More shards than this do not help any machine that we know of.
const MAX_SHARDS: u64 = 16;
/// Longer lifetimes are cut to this, so that no sum of times overflows.
const LONGEST: Duration = Duration::from_hours(24 * 366);

/// How large the cache is and how it refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most that all entries together may weigh, keys and bookkeeping included, in bytes.
    pub max_bytes: u64,
    /// How long a caller who was chosen to refresh a stale entry keeps that task. When it fails,
    /// the next one is chosen after this time, so it is also the pause between attempts.
    pub claim_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024, claim_for: Duration::from_secs(10) }
    }
}

/// Keeps values in this process: bounded by bytes, each with its lifetime, dead as soon as one of
/// the entities that it was made from is invalidated.
pub struct MemoryCache<V: Cacheable> {
    entries: quick_cache::sync::Cache<Arc<str>, Arc<Entry<V>>, ByBytes, DefaultHashBuilder, CountEvictions>,
    flights: Arc<Flights<V>>,
    stamps: Stamps,
    clock: SharedClock,
    /// Where the entries' microseconds count from.
    start: Instant,
    trust: Trust,
    claim_for: Duration,
    max_entry_bytes: u64,
    jitter: AtomicU64,
    counts: Counts,
}

struct Entry<V> {
    value: Arc<V>,
    weight: u64,
    /// The last epoch at which no entity of the value had been invalidated since it was loaded.
    holds_at: AtomicU64,
    stored_at: Instant,
    /// When it came to be here, wherever it was stored first.
    kept_at: Instant,
    fresh_until: Instant,
    revalidate_until: Instant,
    error_until: Instant,
    /// Until when somebody has the task of refreshing it: microseconds since the cache's start.
    claimed_until: AtomicU64,
}

impl<V> Entry<V> {
    fn hit(&self, freshness: Freshness, now: Instant) -> Hit<V> {
        Hit {
            value: Arc::clone(&self.value),
            stored_at: self.stored_at,
            looked_up_at: now,
            freshness,
            ttl: self.fresh_until.saturating_duration_since(now),
            overdue: now.saturating_duration_since(self.fresh_until),
        }
    }
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    stale_hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    refused_puts: AtomicU64,
    invalidations: AtomicU64,
    joined_loads: AtomicU64,
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

impl<V: Cacheable> MemoryCache<V> {
    /// An empty cache. `seed` makes the jitter of lifetimes; any number will do, but not the same
    /// on every node.
    pub fn new(settings: Settings, clock: SharedClock, seed: u64) -> Self {
        let shards = (settings.max_bytes / MIN_SHARD_BYTES).clamp(1, MAX_SHARDS);
        let shards = 1 << shards.ilog2();
        let shard_bytes = settings.max_bytes / shards;
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .weight_capacity(shard_bytes * shards)
            .estimated_items_capacity(usize::try_from((settings.max_bytes / 4096).max(shards * 32)).unwrap_or(1024))
            .build()
            .expect("both capacities are set");
        Self {
            entries: quick_cache::sync::Cache::with_options(
                options,
                ByBytes,
                DefaultHashBuilder::default(),
                CountEvictions,
            ),
            flights: Arc::new(Flights::new()),
            stamps: Stamps::new(),
            start: clock.instant(),
            trust: Trust::for_ever(clock.instant()),
            clock,
            claim_for: settings.claim_for.min(LONGEST),
            max_entry_bytes: shard_bytes / 2,
            jitter: AtomicU64::new(seed),
            counts: Counts::default(),
        }
    }

    /// Takes entries for fresh only while the changes that other processes make are known: for this
    /// long after each moment that was [confirmed](Invalidate::confirm). Past that they are only
    /// for emergencies. It is the bound on how long after a write somewhere else an old answer can
    /// be given here, and it holds because it needs nobody's message.
    #[must_use]
    pub fn trusting_for(mut self, bound: Duration) -> Self {
        self.trust = Trust::bounded(bound.min(LONGEST), self.clock.instant());
        self
    }

    /// Lets go of everything that will never be served again: outlived or invalidated. Nothing
    /// depends on it, since every entry is judged when it is looked up and the bound holds anyway;
    /// called now and then, it gives memory back.
    pub fn sweep(&self) {
        let now = self.clock.instant();
        self.entries.retain(|_, entry| now < entry.error_until && self.holds(entry));
    }

    /// Keeps a value that was made some time ago: what is left of its lifetime is shorter by that.
    /// False as in [`Cache::put`].
    pub(crate) fn adopt(
        &self,
        reading: Reading,
        key: &str,
        value: Arc<V>,
        age: Duration,
        lifetime: Lifetime,
        expires_at: Option<Instant>,
    ) -> bool {
        let now = self.clock.instant();
        let weight = value.weight() as u64 + key.len() as u64 + OVERHEAD_BYTES;
        let is_over = expires_at.is_some_and(|at| at <= now);
        if weight > self.max_entry_bytes || is_over || !self.stamps.hold_since(reading.0, value.entities()) {
            count(&self.counts.refused_puts, 1);
            return false;
        }
        // A process that is younger than the value cannot say when that was made, only how long ago.
        let stored_at = now.checked_sub(age.min(LONGEST)).unwrap_or(self.start);
        let fresh = stored_at + self.jittered(lifetime.fresh);
        let no_later = |at: Instant| expires_at.map_or(at, |end| at.min(end));
        let revalidate = fresh + lifetime.stale_while_revalidate.min(LONGEST);
        let error = fresh + lifetime.stale_if_error.min(LONGEST);
        let entry = Entry {
            value,
            weight,
            holds_at: AtomicU64::new(reading.0),
            stored_at,
            kept_at: now,
            fresh_until: no_later(fresh),
            revalidate_until: no_later(revalidate),
            error_until: no_later(error.max(revalidate)),
            claimed_until: AtomicU64::new(0),
        };
        let key: Arc<str> = Arc::from(key);
        let mut evicted = Evicted { inserted: Some(Arc::clone(&key)), count: 0 };
        self.entries.insert_with_lifecycle(key, Arc::new(entry), &mut evicted);
        count(&self.counts.evictions, evicted.count);
        true
    }

    /// Whether nothing that the entry was made from was invalidated since it was loaded. Costs one
    /// comparison while nothing is written anywhere; after a write, once, a look at each entity.
    fn holds(&self, entry: &Entry<V>) -> bool {
        let epoch = self.stamps.epoch();
        let held_at = entry.holds_at.load(Ordering::Relaxed);
        if held_at >= epoch {
            return true;
        }
        if !self.stamps.hold_since(held_at, entry.value.entities()) {
            return false;
        }
        entry.holds_at.fetch_max(epoch, Ordering::Relaxed);
        true
    }

    /// How an entry may be served at `now`; `None` if not at all.
    fn judge(&self, entry: &Entry<V>, now: Instant) -> Option<Freshness> {
        if now >= entry.error_until || !self.holds(entry) {
            None
        } else if !self.trust.is_given(now) {
            Some(Freshness::OnlyOnError)
        } else if now < entry.fresh_until {
            Some(Freshness::Fresh)
        } else if now < entry.revalidate_until {
            Some(Freshness::Stale { refresh: self.claim(entry, now) })
        } else {
            Some(Freshness::OnlyOnError)
        }
    }

    /// True for one caller at a time.
    fn claim(&self, entry: &Entry<V>, now: Instant) -> bool {
        let claimed_until = entry.claimed_until.load(Ordering::Relaxed);
        let now = self.micros(now);
        if now < claimed_until {
            return false;
        }
        // At least one microsecond, or two callers in the same one would both be chosen.
        let until = now + u64::try_from(self.claim_for.as_micros()).unwrap_or(u64::MAX >> 1).max(1);
        entry.claimed_until.compare_exchange(claimed_until, until, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX >> 1)
    }

    /// `lifetime` less up to a tenth, so that what was stored together does not expire together. Never
    /// more: what the operator set is an upper bound.
    fn jittered(&self, lifetime: Duration) -> Duration {
        // SplitMix64: consecutive states give independent numbers.
        let state = self.jitter.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let per_mille = 900 + u32::try_from((mixed ^ (mixed >> 31)) % 101).unwrap_or(100);
        lifetime.min(LONGEST) / 1000 * per_mille
    }
}

#[async_trait]
impl<V: Cacheable> Cache<V> for MemoryCache<V> {
    fn reading(&self) -> Reading {
        Reading(self.stamps.epoch())
    }

    fn get(&self, key: &str) -> Option<Hit<V>> {
        let Some(entry) = self.entries.get(key) else {
            count(&self.counts.misses, 1);
            return None;
        };
        let now = self.clock.instant();
        let Some(freshness) = self.judge(&entry, now) else {
            self.entries.remove_if(key, |current| Arc::ptr_eq(current, &entry));
            count(&self.counts.misses, 1);
            return None;
        };
        let counter = match freshness {
            Freshness::Fresh => &self.counts.hits,
            Freshness::Stale { .. } => &self.counts.stale_hits,
            Freshness::OnlyOnError => &self.counts.misses,
        };
        count(counter, 1);
        Some(entry.hit(freshness, now))
    }

    fn get_fresh(&self, key: &str) -> Option<Hit<V>> {
        let entry = self.entries.get(key)?;
        let now = self.clock.instant();
        if now >= entry.fresh_until || !self.holds(&entry) || !self.trust.is_given(now) {
            return None;
        }
        count(&self.counts.hits, 1);
        Some(entry.hit(Freshness::Fresh, now))
    }

    fn put(&self, reading: Reading, key: &str, value: Arc<V>, lifetime: Lifetime, expires_at: Option<Instant>) -> bool {
        self.adopt(reading, key, value, Duration::ZERO, lifetime, expires_at)
    }

    async fn join(&self, key: &str, deadline: Deadline) -> Result<Joined<V>> {
        let (since, asked) = (self.reading(), self.clock.instant());
        loop {
            let landed = || self.get_fresh(key).map(|hit| hit.value);
            let mut flight = match self.flights.board(key, self.clock.instant(), || self.reading(), landed) {
                Boarding::Lead(leader) => return Ok(Joined::Load(Box::new(leader))),
                Boarding::Landed(value) => return Ok(Joined::Loaded(value)),
                Boarding::Follow(flight) => flight,
            };
            count(&self.counts.joined_loads, 1);
            let time_left = deadline.remaining(self.clock.instant());
            let Ok(landing) = tokio::time::timeout(time_left, flight.landing()).await else {
                return Err(Error::refused(Code::DeadlineExceeded, "The answer was not ready in time."));
            };
            // A flight that began after this caller asked brings nothing old. An older one may, if
            // what it brings was invalidated in between; then the next flight is new enough. And while
            // nobody knows what others have written, it is too old if it took longer than the bound.
            let holds = |value: &V| {
                let is_known = flight.reading >= since || self.stamps.hold_since(flight.reading.0, value.entities());
                is_known && self.trust.covers(flight.began, asked)
            };
            match landing {
                Some(Landing::Value(value)) if holds(&value) => {
                    return Ok(Joined::Loaded(value));
                }
                Some(Landing::Found(hit)) if holds(&hit.value) => {
                    return Ok(Joined::Found(hit));
                }
                Some(Landing::Behind(value, age)) if holds(&value) => {
                    return Ok(Joined::Behind(value, age));
                }
                Some(Landing::Failed(error)) if flight.reading >= since => return Err(copy(&error)),
                _ => {}
            }
        }
    }

    fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: read(&self.counts.hits),
            stale_hits: read(&self.counts.stale_hits),
            misses: read(&self.counts.misses),
            evictions: read(&self.counts.evictions),
            refused_puts: read(&self.counts.refused_puts),
            invalidations: read(&self.counts.invalidations),
            joined_loads: read(&self.counts.joined_loads),
            bytes: self.entries.weight(),
            entries: self.entries.len() as u64,
        }
    }
}

impl<V: Cacheable> Invalidate for MemoryCache<V> {
    fn follow(&self, changes: &[RecordedEvent]) {
        let entities = touched(changes);
        if !entities.is_empty() {
            self.stamps.invalidate(&entities);
            count(&self.counts.invalidations, entities.len());
        }
    }

    fn forget(&self) {
        self.stamps.invalidate_all();
    }

    fn turn_to(&self, _server_run: ServerRun, since: Option<Instant>) {
        let Some(since) = since else { return };
        self.stamps.invalidate_all_but(|epoch| {
            self.entries.retain(|_, entry| {
                let is_sound = entry.kept_at < since && self.holds(entry);
                if is_sound {
                    entry.holds_at.fetch_max(epoch, Ordering::Relaxed);
                }
                is_sound
            });
        });
    }

    fn confirm(&self, as_of: Instant) {
        self.trust.confirm(as_of);
    }

    fn distrust(&self, since: Instant, written: &Footprint) {
        self.trust.withdraw(since);
        self.stamps.invalidate(&written.touched);
    }
}

impl<V: Cacheable> fmt::Debug for MemoryCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Weighs entries by what they take in memory.
#[derive(Clone)]
struct ByBytes;

impl<V> Weighter<Arc<str>, Arc<Entry<V>>> for ByBytes {
    fn weight(&self, _key: &Arc<str>, entry: &Arc<Entry<V>>) -> u64 {
        entry.weight
    }
}

/// Counts what had to go; an entry that was replaced by its successor does not count.
#[derive(Clone)]
struct CountEvictions;

/// What one insertion pushed out. Holds the inserted key to know a replacement.
#[derive(Default)]
struct Evicted {
    inserted: Option<Arc<str>>,
    count: usize,
}

impl<V> Lifecycle<Arc<str>, Arc<Entry<V>>> for CountEvictions {
    type RequestState = Evicted;

    fn on_evict(&self, state: &mut Evicted, key: Arc<str>, _entry: Arc<Entry<V>>) {
        if state.inserted.as_ref() != Some(&key) {
            state.count += 1;
        }
    }
}
