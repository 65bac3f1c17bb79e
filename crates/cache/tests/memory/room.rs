//! Bounded by bytes, whatever comes.

use std::sync::Arc;

use inkstone_core::cache::Cache;

use crate::{LIFETIME, Page, cache_of, page, post, touch};

const MIB: u64 = 1024 * 1024;

#[test]
fn the_bound_holds_at_every_moment() {
    for max_bytes in [64 * 1024, 3 * MIB, 16 * MIB] {
        let (cache, _clock) = cache_of(max_bytes);
        for id in 0..20_000_u64 {
            let weight = usize::try_from(id * 7919 % 5000).unwrap();
            let value = Arc::new(Page { text: String::new(), weight, entities: Vec::new() });
            cache.put(cache.reading(), &format!("/posts/{id}"), value, LIFETIME, None);
            let bytes = cache.stats().bytes;
            assert!(bytes <= max_bytes, "{bytes} of {max_bytes} after {id}");
        }
        let stats = cache.stats();
        assert!(stats.evictions > 0 && stats.bytes > max_bytes / 2, "{stats:?}");
        assert_eq!(stats.entries + stats.evictions, 20_000 - stats.refused_puts, "every entry is accounted for");
    }
}

#[test]
fn many_threads_do_not_break_the_bound() {
    let (cache, _clock) = cache_of(8 * MIB);
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let cache = &cache;
            threads.spawn(move || {
                for id in 0..5_000 {
                    cache.put(cache.reading(), &format!("/{thread}/{id}"), page("x", &[post(id)]), LIFETIME, None);
                    if id % 50 == 0 {
                        touch(cache, &[post(id / 2)]);
                    }
                    assert!(cache.stats().bytes <= 8 * MIB);
                }
            });
        }
    });
}

#[test]
fn what_would_crowd_out_everything_else_is_refused() {
    let (cache, _clock) = cache_of(MIB);
    cache.put(cache.reading(), "small", page("small", &[]), LIFETIME, None);
    let huge = Arc::new(Page { text: String::new(), weight: 900 * 1024, entities: Vec::new() });
    assert!(!cache.put(cache.reading(), "huge", huge, LIFETIME, None));
    assert!(cache.get("huge").is_none());
    assert!(cache.get("small").is_some());
}

#[test]
fn a_cache_without_room_keeps_nothing_and_works() {
    let (cache, _clock) = cache_of(0);
    assert!(!cache.put(cache.reading(), "a", page("one", &[]), LIFETIME, None));
    assert!(cache.get("a").is_none());
}

#[test]
fn keys_weigh_too() {
    let (cache, _clock) = cache_of(MIB);
    for id in 0..100 {
        let key = format!("/posts?q={id}{}", "x".repeat(100_000));
        cache.put(cache.reading(), &key, page("one", &[]), LIFETIME, None);
    }
    assert!(cache.stats().entries <= 10, "{:?}", cache.stats());
}

#[test]
fn popular_entries_survive_a_crawler() {
    let (cache, _clock) = cache_of(MIB);
    for round in 0..20_000 {
        let popular = format!("/popular/{}", round % 50);
        if cache.get(&popular).is_none() {
            cache.put(cache.reading(), &popular, page("popular", &[]), LIFETIME, None);
        }
        cache.put(cache.reading(), &format!("/crawled/{round}"), page("crawled", &[]), LIFETIME, None);
    }
    let kept = (0..50).filter(|id| cache.get(&format!("/popular/{id}")).is_some()).count();
    assert!(kept > 45, "{kept} of 50");
}

/// Entries come and go by the ten thousand; what is left behind is nothing.
#[test]
fn invalidation_leaves_nothing_behind() {
    let (cache, _clock) = cache_of(64 * MIB);
    for id in 0..10_000 {
        cache.put(cache.reading(), &format!("/posts/{id}"), page("x", &[post(id)]), LIFETIME, None);
    }
    for id in 0..10_000 {
        touch(&cache, &[post(id)]);
    }
    cache.sweep();
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.bytes), (0, 0));
}
