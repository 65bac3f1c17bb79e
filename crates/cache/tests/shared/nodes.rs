//! Two nodes that share a tier: what one has loaded the other finds, unless it is old.

use std::sync::atomic::Ordering;
use std::time::Duration;

use inkstone_core::cache::{Cache, Freshness, Invalidate, Lifetime};
use inkstone_core::clock::Clock;
use inkstone_core::events::RecordedEvent;

use crate::servers::{Server, connected};
use crate::support::{BOUND, LIFETIME, World, page, post, until};

macro_rules! on_both {
    ($($law:ident),+ $(,)?) => {
        mod redis {
            $(#[tokio::test] async fn $law() { super::$law(crate::servers::Server::redis()).await; })+
        }
        mod memcached {
            $(#[tokio::test] async fn $law() { super::$law(crate::servers::Server::memcached()).await; })+
        }
    };
}

on_both![
    what_one_has_loaded_the_other_finds_with_its_age,
    what_was_touched_is_found_by_nobody,
    a_put_that_was_under_way_for_long_does_no_harm,
    who_is_behind_does_not_take_what_is_ahead,
    who_cannot_look_for_changes_takes_nothing_for_fresh,
    nothing_is_used_that_was_made_of_a_history_that_was_lost,
    what_was_read_of_a_server_that_is_gone_is_shared_with_nobody_and_not_kept,
    a_new_node_finds_what_it_remembers_the_changes_of,
    a_restored_database_is_another_history,
    other_releases_and_other_sites_share_nothing,
    what_is_too_large_is_left_out,
];

async fn what_one_has_loaded_the_other_finds_with_its_age(server: Server) {
    let world = World::new();
    let (one, two) = (world.node(connected(server.remote()).await), world.node(connected(server.remote()).await));
    one.load("/a", &page("text", &[post(1)])).await;
    world.clock.pass(Duration::from_secs(30));
    two.follow();
    let hit = two.find("/a").await.expect("it is there");
    assert_eq!((hit.value.text.as_str(), hit.value.entities.as_slice()), ("text", &[post(1)][..]));
    assert_eq!((hit.freshness, hit.age()), (Freshness::Fresh, Duration::from_secs(30)));
    assert!(hit.ttl <= Duration::from_secs(80), "its lifetime began when it was made: {:?}", hit.ttl);
    assert!(two.cache.get_fresh("/a").is_some(), "from now on it is in memory");
    assert_eq!((two.cache.shared_stats().hits, two.cache.shared_stats().misses), (1, 0));
    world.clock.pass(Duration::from_secs(100));
    two.follow();
    assert!(two.cache.get_fresh("/a").is_none(), "it is over here when it is over there");
}

async fn what_was_touched_is_found_by_nobody(server: Server) {
    let world = World::new();
    let (one, two) = (world.node(connected(server.remote()).await), world.node(connected(server.remote()).await));
    one.load("/a", &page("old", &[post(1)])).await;
    one.load("/b", &page("other", &[post(2)])).await;
    two.write(&[post(1)]);
    assert!(two.find("/a").await.is_none(), "the writer never sees what it has changed");
    assert!(two.find("/b").await.is_some(), "what was not touched is shared");
    assert_eq!(two.cache.shared_stats().outdated, 1);
    one.follow();
    assert!(one.cache.get("/a").is_none() && one.find("/a").await.is_none());
}

/// A node loads, and is then cut off from the shared tier, or paused, for a while. Meanwhile another
/// one writes. What arrives late is old, and everybody can tell.
async fn a_put_that_was_under_way_for_long_does_no_harm(server: Server) {
    let world = World::new();
    let remote = connected(server.remote()).await;
    let (one, two) = (world.node(remote.clone()), world.node(remote.clone()));
    let leader = one.lead("/a").await;
    let old = page("old", &[post(1)]);
    two.write(&[post(1)]);
    // Not yet seen by the one who loaded: it puts in good faith.
    let before = one.puts();
    assert!(one.cache.put(leader.reading(), "/a", old, LIFETIME, None));
    until("the put was done", || one.puts() != before).await;
    assert_eq!(one.cache.shared_stats().puts, 1, "it lies there");
    assert!(two.find("/a").await.is_none());
    assert_eq!(two.cache.shared_stats().outdated, 1);
}

async fn who_is_behind_does_not_take_what_is_ahead(server: Server) {
    let world = World::new();
    let (one, two) = (world.node(connected(server.remote()).await), world.node(connected(server.remote()).await));
    one.write(&[post(1)]);
    one.load("/a", &page("new", &[post(1)])).await;
    assert!(two.find("/a").await.is_none(), "it cannot judge it yet");
    assert_eq!(two.woken.load(Ordering::SeqCst), 1, "but it knows now that there are changes");
    two.follow();
    assert_eq!(two.find("/a").await.unwrap().value.text, "new");
}

async fn who_cannot_look_for_changes_takes_nothing_for_fresh(server: Server) {
    let world = World::new();
    let (one, two) = (world.node(connected(server.remote()).await), world.node(connected(server.remote()).await));
    one.load("/a", &page("old", &[post(1)])).await;
    two.find("/a").await.unwrap();
    one.write(&[post(1)]);
    world.clock.pass(BOUND);
    // Two has not heard of the write: nothing told it, and it has not looked.
    assert_eq!(two.cache.get("/a").unwrap().freshness, Freshness::OnlyOnError);
    assert!(two.cache.get_fresh("/a").is_none());
    assert!(two.find("/a").await.is_none(), "nor is what lies in the shared tier fresh to it");
    two.follow();
    assert!(two.cache.get("/a").is_none());
}

/// A replica took over that lacked the last changes, or a backup was restored.
async fn nothing_is_used_that_was_made_of_a_history_that_was_lost(server: Server) {
    let world = World::new();
    let remote = connected(server.remote()).await;
    let two = world.node(remote.clone());
    let lifetime = Lifetime { fresh: Duration::from_hours(12), ..LIFETIME };
    for key in ["/a", "/b"] {
        let leader = two.lead(key).await;
        let (value, before) = (page("old", &[post(1)]), two.puts());
        assert!(two.cache.put(leader.reading(), key, value, lifetime, None));
        until("the put was done", || two.puts() != before).await;
    }
    for _ in 0..3 {
        two.write(&[post(3)]);
    }
    world.database.changes.lock().unwrap().truncate(1);
    two.follow();
    assert!(two.cache.get("/a").is_none() && two.find("/b").await.is_none());
    assert_eq!(two.cache.shared_stats().unknown, 1);
    two.write(&[post(2)]);
    let shared = two.puts().0;
    two.load("/c", &page("new", &[post(3)])).await;
    assert_eq!(two.puts().0, shared + 1, "from the next change on it shares again, whatever was touched before");
}

/// A replica took over that lacked a change which somebody had read and nobody had looked at.
async fn what_was_read_of_a_server_that_is_gone_is_shared_with_nobody_and_not_kept(server: Server) {
    let world = World::new();
    let (one, two) = (world.node(connected(server.remote()).await), world.node(connected(server.remote()).await));
    one.load("/sound", &page("sound", &[post(1)])).await;
    world.clock.pass(Duration::from_secs(1));
    one.follow();
    world.database.commit(&*world.clock, &[post(1)]);
    let leader = one.lead("/slow").await;
    one.load("/lost", &page("lost", &[post(1)])).await;
    world.database.fail_over(1);
    two.follow();
    assert!(two.find("/lost").await.is_none());
    assert_eq!(two.cache.shared_stats().unknown, 1);
    one.follow();
    assert!(one.cache.get("/lost").is_none() && one.find("/lost").await.is_none());
    assert!(!one.cache.put(leader.reading(), "/slow", page("lost", &[post(1)]), LIFETIME, None));
    assert_eq!(one.cache.get("/sound").unwrap().freshness, Freshness::Fresh, "its last change is still there");
    one.load("/new", &page("new", &[post(1)])).await;
    assert_eq!(two.find("/new").await.unwrap().value.text, "new", "what is read of the new one is shared at once");
}

async fn a_new_node_finds_what_it_remembers_the_changes_of(server: Server) {
    let world = World::new();
    let remote = connected(server.remote()).await;
    let one = world.node(remote.clone());
    one.load("/a", &page("a", &[post(1)])).await;
    one.write(&[post(2)]);
    one.load("/b", &page("b", &[post(2)])).await;
    let new = world.node(remote.clone());
    assert!(new.find("/a").await.is_some() && new.find("/b").await.is_some());
    // One that remembers only the last change cannot know what happened to `/a` before.
    let forgetful = World { database: std::sync::Arc::default(), ..world.clone() };
    let last = world.database.changes.lock().unwrap().last().cloned().unwrap();
    forgetful.database.changes.lock().unwrap().push(last);
    let forgetful = forgetful.node(remote);
    assert!(forgetful.find("/a").await.is_none());
    assert!(forgetful.find("/b").await.is_some());
    assert_eq!(forgetful.cache.shared_stats().unknown, 1);
}

/// A backup was restored: the same numbers stand for other changes now.
async fn a_restored_database_is_another_history(server: Server) {
    let world = World::new();
    let remote = connected(server.remote()).await;
    let one = world.node(remote.clone());
    one.write(&[post(1)]);
    one.load("/a", &page("written and lost again", &[post(1)])).await;
    let restored = World { database: std::sync::Arc::default(), ..world.clone() };
    let first = world.database.changes.lock().unwrap()[0].clone();
    restored.database.changes.lock().unwrap().push(first);
    world.clock.pass(Duration::from_secs(1));
    restored.database.commit(&*world.clock, &[post(3)]);
    assert_eq!(restored.database.len(), world.database.len());
    let two = restored.node(remote);
    assert!(two.find("/a").await.is_none());
    assert_eq!(two.cache.shared_stats().unknown, 1);
}

async fn other_releases_and_other_sites_share_nothing(server: Server) {
    let world = World::new();
    let remote = connected(server.remote()).await;
    let one = world.node(remote.clone());
    one.load("/a", &page("text", &[post(1)])).await;
    assert!(world.node_of("release 2", remote.clone()).find("/a").await.is_none());
    let site = World { secret: b"another site".to_vec(), ..world.clone() };
    assert!(site.node(remote.clone()).find("/a").await.is_none());
    assert!(world.node(remote).find("/a").await.is_some());
}

async fn what_is_too_large_is_left_out(server: Server) {
    let world = World::new();
    let remote = connected(server.remote()).await;
    let (one, two) = (world.node(remote.clone()), world.node(remote));
    one.load("/small", &page(&"x".repeat(900_000), &[post(1)])).await;
    one.load("/large", &page(&"x".repeat(1_000_000), &[post(1)])).await;
    assert_eq!(one.puts(), (1, 1));
    assert_eq!(two.find("/small").await.unwrap().value.text.len(), 900_000);
    assert!(two.find("/large").await.is_none());
}

/// Only Redis carries messages. They make others look sooner; nothing depends on them.
#[tokio::test]
async fn changes_are_announced_to_those_who_have_not_seen_them() {
    let server = Server::redis();
    let world = World::new();
    let (one, two) = (world.node(connected(server.remote()).await), world.node(connected(server.remote()).await));
    // Listening begins some time after a node has begun.
    until("two was told", || {
        one.write(&[post(1)]);
        two.woken.load(Ordering::SeqCst) > 0
    })
    .await;
    until("one has heard itself", || one.cache.shared_stats().heard > 0).await;
    assert_eq!(one.woken.load(Ordering::SeqCst), 0, "who knows already is not woken");
}

/// Whoever can write to Redis can announce what there is not: that wakes, and silences nobody.
#[tokio::test]
async fn a_lie_about_changes_to_come_keeps_none_from_being_announced() {
    let server = Server::redis();
    let Server::Redis(redis) = &server else { unreachable!() };
    let world = World::new();
    let (one, two) = (world.node(connected(server.remote()).await), world.node(connected(server.remote()).await));
    until("two was told", || {
        one.write(&[post(1)]);
        two.woken.load(Ordering::SeqCst) > 0
    })
    .await;
    let channel = redis.cli(&["pubsub", "channels"]);
    until("one was told of what is not", || {
        redis.cli(&["publish", channel.trim(), &u64::MAX.to_string()]);
        one.woken.load(Ordering::SeqCst) > 0
    })
    .await;
    two.follow();
    let woken = two.woken.load(Ordering::SeqCst);
    until("two was told again", || {
        one.write(&[post(2)]);
        two.woken.load(Ordering::SeqCst) > woken
    })
    .await;
}

/// The port's contract for changes that come twice, or without anything that they touched.
#[tokio::test]
async fn changes_may_come_twice() {
    let server = Server::redis();
    let world = World::new();
    let remote = connected(server.remote()).await;
    let (one, two) = (world.node(remote.clone()), world.node(remote));
    two.write(&[post(1)]);
    one.follow();
    one.load("/a", &page("new", &[post(1)])).await;
    let again: Vec<RecordedEvent> = world.database.changes.lock().unwrap().clone();
    two.cache.follow(&again);
    two.cache.confirm(world.clock.instant());
    assert_eq!(two.find("/a").await.unwrap().value.text, "new");
}
