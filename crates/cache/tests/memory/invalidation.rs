//! Where a write meets what was made before it.

use std::sync::atomic::{AtomicU64, Ordering};

use inkstone_core::cache::{Cache, Freshness, Invalidate};
use inkstone_core::clock::Clock;
use inkstone_core::events::{Entity, Footprint, ServerRun};

use crate::{LIFETIME, cache, page, post, touch};

#[test]
fn what_was_made_from_it_dies_and_nothing_else() {
    let (cache, _clock) = cache();
    cache.put(cache.reading(), "post", page("post", &[post(1)]), LIFETIME, None);
    cache.put(cache.reading(), "list", page("list", &[post(1), post(2), Entity::Posts]), LIFETIME, None);
    cache.put(cache.reading(), "other", page("other", &[post(2)]), LIFETIME, None);
    touch(&cache, &[post(1)]);
    assert!(cache.get("post").is_none());
    assert!(cache.get("list").is_none());
    assert!(cache.get("other").is_some());
    assert_eq!(cache.stats().entries, 1, "the dead are thrown away where they are met");
    assert_eq!(cache.stats().invalidations, 1);
}

#[test]
fn what_was_invalidated_is_not_served_stale_or_in_an_emergency() {
    let (cache, clock) = cache();
    cache.put(cache.reading(), "a", page("one", &[post(1)]), LIFETIME, None);
    clock.pass_secs(300);
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::OnlyOnError);
    touch(&cache, &[post(1)]);
    assert!(cache.get("a").is_none());
}

#[test]
fn what_a_write_touched_that_no_look_has_seen_is_not_served_in_an_emergency_and_the_rest_is() {
    let (cache, clock) = cache();
    cache.put(cache.reading(), "a", page("one", &[post(1)]), LIFETIME, None);
    cache.put(cache.reading(), "b", page("two", &[post(2)]), LIFETIME, None);
    let loading = cache.reading();
    cache.distrust(clock.instant(), &Footprint { change_seq: 7, touched: vec![post(1)] });
    assert!(cache.get("a").is_none());
    assert_eq!(cache.get("b").unwrap().freshness, Freshness::OnlyOnError);
    assert!(!cache.put(loading, "a", page("one", &[post(1)]), LIFETIME, None), "it was read before the write");
    clock.pass_secs(1);
    cache.confirm(clock.instant());
    assert_eq!(cache.get("b").unwrap().freshness, Freshness::Fresh);
}

#[test]
fn what_was_kept_since_the_last_look_goes_with_the_server_that_it_was_read_of_and_the_rest_stays() {
    let (cache, clock) = cache();
    for (key, id) in [("a", 1), ("touched", 2)] {
        cache.put(cache.reading(), key, page(key, &[post(id)]), LIFETIME, None);
    }
    touch(&cache, &[post(2)]);
    let loading = cache.reading();
    clock.pass_secs(1);
    let since = clock.instant();
    cache.put(cache.reading(), "b", page("b", &[post(1)]), LIFETIME, None);
    cache.turn_to(ServerRun(1), None);
    assert!(cache.get("b").is_some(), "nobody had told of anything before");
    cache.turn_to(ServerRun(2), Some(since));
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::Fresh);
    assert!(cache.get("b").is_none() && cache.get("touched").is_none());
    assert!(!cache.put(loading, "c", page("c", &[post(3)]), LIFETIME, None), "it may have read what was lost");
    assert!(cache.put(cache.reading(), "c", page("c", &[post(3)]), LIFETIME, None));
    touch(&cache, &[post(1)]);
    assert!(cache.get("a").is_none(), "what was spared dies as ever");
}

/// The race of the module's documentation, step by step: the reader loads, the writer commits and
/// invalidates, the reader stores what is old by now.
#[test]
fn what_was_invalidated_while_it_was_loaded_is_not_stored() {
    let (cache, _clock) = cache();
    let reading = cache.reading();
    let loaded_before_the_write = page("old", &[post(1)]);
    touch(&cache, &[post(1)]);
    assert!(!cache.put(reading, "a", loaded_before_the_write, LIFETIME, None));
    assert!(cache.get("a").is_none());
    assert_eq!(cache.stats().refused_puts, 1);

    assert!(cache.put(reading, "b", page("other", &[post(2)]), LIFETIME, None), "another post is not touched");
    assert!(cache.put(cache.reading(), "a", page("new", &[post(1)]), LIFETIME, None), "a later load is welcome");
}

/// The same race, where the write falls between the check in `put` and the insertion. The cache
/// has no such gap to lose: the stored entry remembers its reading and is judged by it.
#[test]
fn an_entry_is_judged_by_its_reading_and_not_by_its_insertion() {
    let (cache, _clock) = cache();
    let reading = cache.reading();
    touch(&cache, &[post(9)]);
    assert!(cache.put(reading, "a", page("one", &[post(1)]), LIFETIME, None));
    assert!(cache.get("a").is_some(), "an unrelated write does no harm");
    touch(&cache, &[post(1)]);
    assert!(cache.get("a").is_none());
}

/// Readers and a writer as fast as they can. The store's version is raised before the invalidation,
/// as a commit is; after an invalidation has returned, nobody may see an older version.
#[test]
fn nobody_sees_what_is_older_than_the_last_acknowledged_write() {
    let (cache, _clock) = cache();
    let (committed, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for version in 1..=1_000 {
                committed.store(version, Ordering::SeqCst);
                touch(&cache, &[post(1)]);
                acknowledged.store(version, Ordering::SeqCst);
                let hits = cache.stats().hits;
                // Lets the readers see this version, unless they are gone because one was wrong.
                for _ in 0..10_000 {
                    if cache.stats().hits != hits {
                        break;
                    }
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..3 {
            threads.spawn(|| {
                while acknowledged.load(Ordering::SeqCst) < 1_000 {
                    let at_least = acknowledged.load(Ordering::SeqCst);
                    if let Some(hit) = cache.get("a") {
                        let seen: u64 = hit.value.text.parse().unwrap();
                        assert!(seen >= at_least, "version {seen} was served after {at_least} was acknowledged");
                        continue;
                    }
                    let reading = cache.reading();
                    let version = committed.load(Ordering::SeqCst);
                    cache.put(reading, "a", page(&version.to_string(), &[post(1)]), LIFETIME, None);
                }
            });
        }
    });
    let stats = cache.stats();
    assert!(stats.hits > 0 && stats.misses > 0, "both sides ran: {stats:?}");
}
