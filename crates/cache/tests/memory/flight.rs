//! Single flight: one loads, the others wait, and nobody waits in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inkstone_cache::MemoryCache;
use inkstone_core::cache::{Cache, Freshness, Hit, Invalidate, Joined, Load};
use inkstone_core::clock::Clock;
use inkstone_core::{Code, Deadline, Error};
use inkstone_testkit::HandClock;
use tokio::task::JoinHandle;

use crate::{LIFETIME, Page, cache, page, post, touch};

type Answer = Result<Joined<Page>, Error>;

fn soon(clock: &impl Clock) -> Deadline {
    Deadline::at(clock.instant() + Duration::from_secs(30))
}

async fn lead(cache: &MemoryCache<Page>, deadline: Deadline) -> Box<dyn Load<Page>> {
    match cache.join("a", deadline).await {
        Ok(Joined::Load(leader)) => leader,
        Ok(Joined::Loaded(value)) => panic!("somebody has loaded {value:?}"),
        Ok(Joined::Found(hit)) => panic!("there is no cache further away that has {:?}", hit.value),
        Ok(Joined::Behind(value, age)) => panic!("nobody has loaded {value:?}, {age:?} old"),
        Err(error) => panic!("{error}"),
    }
}

/// Waits until this many have joined a load.
async fn until_joined(cache: &MemoryCache<Page>, joined: u64) {
    for _ in 0..1_000_000 {
        if cache.stats().joined_loads >= joined {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{:?}", cache.stats());
}

/// Somebody who joins, seen to be waiting before this returns.
async fn join(cache: &Arc<MemoryCache<Page>>, deadline: Deadline) -> JoinHandle<Answer> {
    let before = cache.stats().joined_loads;
    let waiting = tokio::spawn({
        let cache = Arc::clone(cache);
        async move { cache.join("a", deadline).await }
    });
    until_joined(cache, before + 1).await;
    waiting
}

fn text(answer: Answer) -> String {
    match answer {
        Ok(Joined::Loaded(value)) => value.text.clone(),
        Ok(Joined::Load(_)) => "leads".to_owned(),
        Ok(Joined::Found(hit)) => format!("{}, found, of {:?} ago", hit.value.text, hit.age()),
        Ok(Joined::Behind(value, age)) => format!("{}, {age:?} behind", value.text),
        Err(error) => error.code().as_str().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_at_once_cost_one_load() {
    let (cache, clock) = cache();
    let deadline = soon(&*clock);
    let loads = Arc::new(AtomicUsize::new(0));
    let mut asking = Vec::new();
    for _ in 0..1000 {
        let (cache, loads) = (Arc::clone(&cache), Arc::clone(&loads));
        asking.push(tokio::spawn(async move {
            if let Some(hit) = cache.get("a") {
                return hit.value.text.clone();
            }
            match cache.join("a", deadline).await.unwrap() {
                Joined::Loaded(value) => value.text.clone(),
                Joined::Found(_) | Joined::Behind(..) => panic!("it is loaded, here and now"),
                Joined::Load(leader) => {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    let value = page("one", &[post(1)]);
                    cache.put(leader.reading(), "a", Arc::clone(&value), LIFETIME, None);
                    leader.finish(Ok(&value));
                    value.text.clone()
                }
            }
        }));
    }
    for answer in asking {
        assert_eq!(answer.await.unwrap(), "one");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn those_who_wait_get_what_was_not_worth_storing() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    let waiting = join(&cache, soon(&*clock)).await;
    leader.finish(Ok(&page("one", &[])));
    assert_eq!(text(waiting.await.unwrap()), "one");
    assert!(cache.get("a").is_none());
}

#[tokio::test]
async fn a_leader_who_is_cancelled_is_succeeded_by_one_who_waits() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    let first = join(&cache, soon(&*clock)).await;
    drop(leader);
    let Ok(Joined::Load(successor)) = first.await.unwrap() else { panic!("nobody leads") };
    let second = join(&cache, soon(&*clock)).await;
    successor.finish(Ok(&page("two", &[])));
    assert_eq!(text(second.await.unwrap()), "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_wait_one_succeeds_a_leader_who_panicked() {
    let (cache, clock) = cache();
    let deadline = soon(&*clock);
    let leader = lead(&cache, deadline).await;
    let loads = Arc::new(AtomicUsize::new(0));
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let before = cache.stats().joined_loads;
        let (joined, loads) = (Arc::clone(&cache), Arc::clone(&loads));
        waiting.push(tokio::spawn(async move {
            match joined.join("a", deadline).await.unwrap() {
                Joined::Loaded(value) => value.text.clone(),
                Joined::Found(_) | Joined::Behind(..) => panic!("it is loaded, here and now"),
                Joined::Load(leader) => {
                    loads.fetch_add(1, Ordering::SeqCst);
                    let value = page("after", &[]);
                    joined.put(leader.reading(), "a", Arc::clone(&value), LIFETIME, None);
                    leader.finish(Ok(&value));
                    value.text.clone()
                }
            }
        }));
        until_joined(&cache, before + 1).await;
    }
    let panicked = tokio::spawn(async move {
        let _duty = leader;
        panic!("the load went wrong");
    });
    assert!(panicked.await.is_err());
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), "after");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failure_is_shared() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    let waiting = join(&cache, soon(&*clock)).await;
    leader.finish(Err(&Error::not_found("post")));
    assert_eq!(text(waiting.await.unwrap()), Code::NotFound.as_str());
    lead(&cache, soon(&*clock)).await;
}

#[tokio::test]
async fn a_leader_whose_time_was_up_does_not_fail_those_with_time_left() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    let waiting = join(&cache, soon(&*clock)).await;
    leader.finish(Err(&Error::refused(Code::DeadlineExceeded, "Too late.")));
    assert_eq!(text(waiting.await.unwrap()), "leads");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_the_deadline() {
    let (cache, clock) = cache();
    let _leader = lead(&cache, soon(&*clock)).await;
    let waiting = join(&cache, soon(&*clock)).await;
    // The runtime's clock is paused and jumps to the timer when nothing else is left to do.
    assert_eq!(text(waiting.await.unwrap()), Code::DeadlineExceeded.as_str());

    let already_over = Deadline::at(clock.instant());
    assert_eq!(text(cache.join("a", already_over).await), Code::DeadlineExceeded.as_str());
}

#[tokio::test]
async fn who_joins_after_an_invalidation_does_not_get_what_was_loaded_before_it() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    let early = join(&cache, soon(&*clock)).await;
    touch(&cache, &[post(1)]);
    let late = join(&cache, soon(&*clock)).await;
    leader.finish(Ok(&page("old", &[post(1)])));
    assert_eq!(text(early.await.unwrap()), "old", "this request came before the write");
    assert_eq!(text(late.await.unwrap()), "leads", "this one came after it");
}

#[tokio::test]
async fn an_unrelated_invalidation_does_not_cost_a_second_load() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    touch(&cache, &[post(2)]);
    let late = join(&cache, soon(&*clock)).await;
    leader.finish(Ok(&page("one", &[post(1)])));
    assert_eq!(text(late.await.unwrap()), "one");
}

#[tokio::test]
async fn who_joins_after_an_invalidation_does_not_get_an_older_failure() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    touch(&cache, &[post(1)]);
    let late = join(&cache, soon(&*clock)).await;
    leader.finish(Err(&Error::not_found("post")));
    assert_eq!(text(late.await.unwrap()), "leads", "the post may be there by now");
}

/// However often the content changes meanwhile, the second flight is new enough.
#[tokio::test]
async fn constant_writes_do_not_keep_anybody_waiting() {
    let (cache, clock) = cache();
    let first = lead(&cache, soon(&*clock)).await;
    touch(&cache, &[post(1)]);
    let late = join(&cache, soon(&*clock)).await;
    let later = join(&cache, soon(&*clock)).await;
    first.finish(Ok(&page("old", &[post(1)])));
    // Both wake; one leads the second flight and the other joins it.
    until_joined(&cache, 3).await;
    let (leads, follows) = if late.is_finished() { (late, later) } else { (later, late) };
    let second = leads.await.unwrap();
    let Ok(Joined::Load(second)) = second else { panic!("one of them leads") };
    touch(&cache, &[post(1)]);
    second.finish(Ok(&page("new enough", &[post(1)])));
    assert_eq!(text(follows.await.unwrap()), "new enough");
}

/// Nobody knows what others have written, and the load that is under way began before the bound.
#[tokio::test]
async fn a_load_that_took_longer_than_the_bound_is_not_good_enough_for_who_came_late() {
    for looks_in_between in [false, true] {
        let clock = HandClock::new();
        let settings = inkstone_cache::Settings { max_bytes: 1 << 26, claim_for: Duration::from_secs(10) };
        let cache = MemoryCache::new(settings, Arc::<HandClock>::clone(&clock), 7);
        let cache = Arc::new(cache.trusting_for(Duration::from_secs(2)));
        cache.confirm(clock.instant());
        let leader = lead(&cache, soon(&*clock)).await;
        clock.pass_secs(3);
        if looks_in_between {
            cache.confirm(clock.instant());
        }
        let late = join(&cache, soon(&*clock)).await;
        leader.finish(Ok(&page("one", &[post(1)])));
        let expected = if looks_in_between { "one" } else { "leads" };
        assert_eq!(text(late.await.unwrap()), expected);
    }
}

/// What is not of this moment says so to those who waited for it, too.
#[tokio::test]
async fn who_waits_is_told_how_old_it_is() {
    let (cache, clock) = cache();
    let leader = lead(&cache, soon(&*clock)).await;
    let waiting = join(&cache, soon(&*clock)).await;
    leader.finish_behind(&page("one", &[post(1)]), Duration::from_secs(7));
    assert_eq!(text(waiting.await.unwrap()), "one, 7s behind");

    let looked_up_at = clock.instant();
    let hit = Hit {
        value: page("two", &[post(1)]),
        stored_at: looked_up_at,
        looked_up_at: looked_up_at + Duration::from_secs(9),
        freshness: Freshness::Fresh,
        ttl: Duration::from_secs(1),
        overdue: Duration::ZERO,
    };
    let leader = lead(&cache, soon(&*clock)).await;
    let waiting = join(&cache, soon(&*clock)).await;
    leader.finish_found(&hit);
    assert_eq!(text(waiting.await.unwrap()), "two, found, of 9s ago");

    // Nobody gets what lacks a write that was made before they came.
    for end in [true, false] {
        let leader = lead(&cache, soon(&*clock)).await;
        touch(&cache, &[post(1)]);
        let late = join(&cache, soon(&*clock)).await;
        if end {
            leader.finish_found(&hit);
        } else {
            leader.finish_behind(&hit.value, Duration::from_secs(7));
        }
        assert_eq!(text(late.await.unwrap()), "leads");
    }
}
