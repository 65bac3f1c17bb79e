//! Freshness, staleness, the one who refreshes, and jitter.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inkstone_core::cache::{Cache, Freshness, Lifetime, Stats};
use inkstone_core::clock::Clock;

use crate::{LIFETIME, cache, page};

/// Stores `a` and returns how long it is fresh, jitter included.
fn store(cache: &impl Cache<crate::Page>) -> Duration {
    assert!(cache.put(cache.reading(), "a", page("one", &[]), LIFETIME, None));
    cache.get("a").unwrap().ttl
}

#[test]
fn an_entry_is_fresh_then_stale_then_for_emergencies_then_gone() {
    let (cache, clock) = cache();
    let ttl = store(&*cache);
    let step = Duration::from_millis(1);

    clock.pass(ttl.saturating_sub(step * 2));
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::Fresh);
    clock.pass(step * 2);
    let hit = cache.get("a").unwrap();
    assert_eq!(hit.freshness, Freshness::Stale { refresh: true });
    assert_eq!((hit.ttl, hit.overdue), (Duration::ZERO, Duration::from_millis(0)));
    clock.pass_secs(50);
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::OnlyOnError);
    clock.pass_secs(949);
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::OnlyOnError);
    clock.pass_secs(2);
    assert!(cache.get("a").is_none());
    assert_eq!(cache.stats().entries, 0, "what is over is thrown away");
}

#[test]
fn a_stored_entry_knows_its_age() {
    let (cache, clock) = cache();
    store(&*cache);
    clock.pass_secs(42);
    let hit = cache.get("a").unwrap();
    assert_eq!(clock.instant() - hit.stored_at, Duration::from_secs(42));
}

#[test]
fn who_only_wants_what_is_fresh_takes_no_task_away_and_leaves_no_trace() {
    let (cache, clock) = cache();
    assert!(cache.get_fresh("a").is_none());
    store(&*cache);
    let before = cache.stats();
    assert_eq!(cache.get_fresh("a").unwrap().value.text, "one");
    clock.pass_secs(115);
    assert!(cache.get_fresh("a").is_none());
    assert_eq!(cache.stats(), Stats { hits: before.hits + 1, ..before });
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::Stale { refresh: true });
}

#[test]
fn one_caller_at_a_time_is_chosen_to_refresh() {
    let (cache, clock) = cache();
    store(&*cache);
    clock.pass_secs(115);
    let chosen = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..1000 {
                    match cache.get("a").unwrap().freshness {
                        Freshness::Stale { refresh } => chosen.fetch_add(usize::from(refresh), Ordering::SeqCst),
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    assert_eq!(chosen.load(Ordering::SeqCst), 1);
}

#[test]
fn a_refresh_that_never_came_is_handed_to_the_next() {
    let (cache, clock) = cache();
    store(&*cache);
    clock.pass_secs(115);
    let refresh = || cache.get("a").unwrap().freshness == Freshness::Stale { refresh: true };
    assert!(refresh());
    clock.pass(Duration::from_millis(9_999));
    assert!(!refresh(), "the claim still runs");
    clock.pass(Duration::from_millis(1));
    assert!(refresh(), "the claim has run out");
    assert!(!refresh());
}

#[test]
fn a_refreshed_entry_is_fresh_again() {
    let (cache, clock) = cache();
    store(&*cache);
    clock.pass_secs(115);
    let old = cache.get("a").unwrap();
    assert!(cache.put(cache.reading(), "a", page("two", &[]), LIFETIME, None));
    let new = cache.get("a").unwrap();
    assert_eq!((new.freshness, new.value.text.as_str()), (Freshness::Fresh, "two"));
    assert_eq!(old.value.text, "one", "whoever still writes the old answer keeps it");
    assert_eq!(cache.stats().evictions, 0, "a replacement is no eviction");
}

#[test]
fn lifetimes_are_spread_by_a_tenth_and_no_more() {
    let (cache, _clock) = cache();
    let ttls: Vec<Duration> = (0..500).map(|_| store(&*cache)).collect();
    assert!(ttls.iter().all(|ttl| (Duration::from_secs(90)..=Duration::from_secs(100)).contains(ttl)));
    let (shortest, longest) = (ttls.iter().min().unwrap(), ttls.iter().max().unwrap());
    assert!(*shortest < Duration::from_secs(91) && *longest > Duration::from_secs(99), "{shortest:?} to {longest:?}");
}

#[test]
fn nothing_outlives_the_moment_at_which_the_content_changes() {
    let (cache, clock) = cache();
    let change = clock.instant() + Duration::from_secs(30);
    assert!(cache.put(cache.reading(), "a", page("one", &[]), LIFETIME, Some(change)));
    assert_eq!(cache.get("a").unwrap().ttl, Duration::from_secs(30));
    clock.pass(Duration::from_millis(29_999));
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::Fresh);
    clock.pass(Duration::from_millis(1));
    assert!(cache.get("a").is_none(), "not even stale, and not even if the store fails");
    assert!(!cache.put(cache.reading(), "a", page("one", &[]), LIFETIME, Some(change)), "it is over already");
}

#[test]
fn absurd_lifetimes_do_not_overflow() {
    let (cache, clock) = cache();
    let forever =
        Lifetime { fresh: Duration::MAX, stale_while_revalidate: Duration::MAX, stale_if_error: Duration::MAX };
    assert!(cache.put(cache.reading(), "a", page("one", &[]), forever, None));
    clock.pass_secs(86_400 * 300);
    assert!(cache.get("a").is_some());
}

#[test]
fn a_sweep_lets_go_of_what_is_over_and_of_nothing_else() {
    let (cache, clock) = cache();
    store(&*cache);
    clock.pass_secs(1161);
    cache.put(cache.reading(), "b", page("two", &[]), LIFETIME, None);
    assert_eq!(cache.stats().entries, 2);
    cache.sweep();
    assert_eq!(cache.stats().entries, 1);
    assert!(cache.get("b").is_some());
}
