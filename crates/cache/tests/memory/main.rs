//! What the cache in memory promises, with a clock that only moves when it is told to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flight;
mod invalidation;
mod lifetime;
mod model;
mod room;

use std::sync::Arc;
use std::time::Duration;

use inkstone_cache::{MemoryCache, Settings};
use inkstone_core::cache::{Cacheable, Invalidate as _, Lifetime};
use inkstone_core::events::{Entity, RecordedEvent};
use inkstone_core::posts::PostId;
use inkstone_testkit::HandClock;

/// A value that says what it is, weighs what it is told to, and was made from what it is told.
#[derive(Debug, PartialEq)]
struct Page {
    text: String,
    weight: usize,
    entities: Vec<Entity>,
}

impl Cacheable for Page {
    fn weight(&self) -> usize {
        self.weight
    }

    fn entities(&self) -> &[Entity] {
        &self.entities
    }
}

fn page(text: &str, entities: &[Entity]) -> Arc<Page> {
    Arc::new(Page { text: text.to_owned(), weight: 1000, entities: entities.to_vec() })
}

fn post(id: i64) -> Entity {
    Entity::Post(PostId(id))
}

/// Something was written: as the cache is told of it.
fn touch(cache: &MemoryCache<Page>, entities: &[Entity]) {
    let (kind, at) = ("test".into(), jiff::Timestamp::UNIX_EPOCH);
    cache.follow(&[RecordedEvent { change_seq: 1, kind, entities: entities.to_vec(), at }]);
}

/// 100 s fresh, 50 s stale while somebody refreshes, 1000 s if the store fails.
const LIFETIME: Lifetime = Lifetime {
    fresh: Duration::from_secs(100),
    stale_while_revalidate: Duration::from_secs(50),
    stale_if_error: Duration::from_secs(1000),
};

fn cache_of(max_bytes: u64) -> (Arc<MemoryCache<Page>>, Arc<HandClock>) {
    let clock = HandClock::new();
    let settings = Settings { max_bytes, claim_for: Duration::from_secs(10) };
    (Arc::new(MemoryCache::new(settings, Arc::<HandClock>::clone(&clock), 7)), clock)
}

fn cache() -> (Arc<MemoryCache<Page>>, Arc<HandClock>) {
    cache_of(64 * 1024 * 1024)
}
