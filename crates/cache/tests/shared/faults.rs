//! Redis and Memcached killed, hung, slow, flushed, flapping, full of rubbish: nobody who asks the
//! cache notices more than a miss.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use inkstone_cache::{Remote, RemoteError};
use inkstone_core::cache::Cache;
use inkstone_core::clock::{Clock, SystemClock};
use inkstone_core::guard::breaker::State;
use inkstone_core::{Code, Deadline};
use inkstone_testkit::services::free_ports;
use proptest::prelude::*;

use crate::servers::{Server, connected, open};
use crate::support::{Node, World, page, post};

/// As the program sets it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);

pub(crate) fn impatient() -> World {
    World { timeout: PATIENCE, ..World::new() }
}

/// Asks for something that no cache has, and gives how long that took: the guard's time, measured
/// on the machine's own clock and compared with something generous only.
pub(crate) async fn miss(node: &Node, key: &str) -> Duration {
    let asked = SystemClock.instant();
    assert!(node.find(key).await.is_none());
    SystemClock.instant() - asked
}

/// Goes on asking, while the time of the node passes, until what it puts can be found again.
pub(crate) async fn until_it_is_back(node: &Node, world: &World) {
    for number in 0..3000 {
        node.clock.pass(Duration::from_millis(20));
        node.follow();
        let key = format!("/back/{number}");
        node.load(&key, &page("back", &[post(1)])).await;
        // A node that has nothing in memory finds it in the tier or nowhere.
        let is_closed = node.cache.guard().state == State::Closed;
        if is_closed && world.node(node.remote.clone()).find(&key).await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came back: {:?}", node.cache);
}

#[tokio::test]
async fn a_redis_that_is_killed_costs_misses_and_is_used_again_when_it_is_back() {
    let server = Server::redis();
    let world = impatient();
    let node = world.node(connected(server.remote_within(PATIENCE)).await);
    node.load("/a", &page("text", &[post(1)])).await;
    server.process().kill();
    for number in 0..40 {
        miss(&node, &format!("/{number}")).await;
    }
    assert_eq!(node.cache.guard().state, State::Open);
    assert!(node.cache.get_fresh("/a").is_some(), "the memory knows nothing of it");
    let failed = node.cache.guard().failures;
    assert!(failed <= 20, "{failed} failures before it was left alone");
    server.process().restart();
    until_it_is_back(&node, &world).await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_no_more_than_the_deadline() {
    let server = Server::redis();
    let world = impatient();
    let node = world.node(connected(server.remote_within(PATIENCE)).await);
    node.load("/a", &page("text", &[post(1)])).await;
    server.process().pause();
    let mut slowest = Duration::ZERO;
    for number in 0..40 {
        slowest = slowest.max(miss(&node, &format!("/{number}")).await);
    }
    // One deadline and what a busy machine adds; without the guard it would be for ever.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert_eq!(node.cache.guard().state, State::Open);
    server.process().resume();
    until_it_is_back(&node, &world).await;
}

#[tokio::test]
async fn a_memcached_that_hangs_or_dies_is_left_alone_and_found_again() {
    let server = Server::memcached();
    let world = impatient();
    let node = world.node(connected(server.remote()).await);
    node.load("/a", &page("text", &[post(1)])).await;
    server.process().pause();
    for number in 0..40 {
        miss(&node, &format!("/{number}")).await;
    }
    assert_eq!(node.cache.guard().state, State::Open);
    server.process().resume();
    until_it_is_back(&node, &world).await;
}

#[tokio::test]
async fn a_memcached_that_hangs_counts_for_nobody_and_counts_again() {
    let server = Server::memcached();
    let node = impatient().node(connected(server.remote_within(PATIENCE)).await);
    let take = async || node.cache.take("somebody", 1_000_000, Duration::from_hours(1)).await;
    server.process().pause();
    for _ in 0..40 {
        assert_eq!(take().await, None);
    }
    assert_eq!(node.cache.guard().state, State::Open);
    server.process().resume();
    for _ in 0..3000 {
        if take().await.is_some() {
            return;
        }
        node.clock.pass(Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never counted again: {:?}", node.cache);
}

#[tokio::test]
async fn where_nothing_ever_listened_the_cache_works_all_the_same() {
    for scheme in ["redis", "memcached"] {
        let address: inkstone_cache::Address = format!("{scheme}://127.0.0.1:{}", free_ports(1)[0]).parse().unwrap();
        let node = impatient().node(open(&address, PATIENCE));
        let leader = node.lead("/a").await;
        let value = page("text", &[post(1)]);
        assert!(node.cache.put(leader.reading(), "/a", Arc::clone(&value), crate::support::LIFETIME, None));
        leader.finish(Ok(&value));
        assert!(node.cache.get_fresh("/a").is_some());
        assert!(node.cache.check().await.is_err());
    }
}

/// Flushed, and what was there comes back in an old form: as after a failover to a replica that
/// lagged. What comes back is judged like everything else.
#[tokio::test]
async fn a_redis_that_is_flushed_or_rolled_back_never_brings_old_things_back() {
    let server = Server::redis();
    let world = World::new();
    let remote = connected(server.remote()).await;
    let (one, two) = (world.node(remote.clone()), world.node(remote));
    one.load("/a", &page("old", &[post(1)])).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let old: Vec<u8> = redis::cmd("GET").arg(key).query_async(&mut raw).await.unwrap();
    two.write(&[post(1)]);
    one.follow();
    two.load("/a", &page("new", &[post(1)])).await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    let three = world.node(connected(server.remote()).await);
    assert!(three.find("/a").await.is_none());
    redis::cmd("SET").arg(key).arg(&old).exec_async(&mut raw).await.unwrap();
    for node in [&three, &world.node(connected(server.remote()).await)] {
        assert!(node.find("/a").await.is_none());
        assert_eq!(node.cache.shared_stats().outdated, 1);
    }
    let ttl: i64 = redis::cmd("TTL").arg(key).query_async(&mut raw).await.unwrap();
    assert_eq!(ttl, -1, "the test put it there for ever");
}

#[tokio::test]
async fn what_rotted_in_redis_is_found_out() {
    let server = Server::redis();
    let world = World::new();
    let remote = connected(server.remote()).await;
    let one = world.node(remote.clone());
    one.load("/a", &page("text", &[post(1)])).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.unwrap();
    let sound: Vec<u8> = redis::cmd("GET").arg(&keys[0]).query_async(&mut raw).await.unwrap();
    for place in 0..sound.len() {
        let mut rotten = sound.clone();
        rotten[place] ^= 1;
        redis::cmd("SET").arg(&keys[0]).arg(&rotten).exec_async(&mut raw).await.unwrap();
        let node = world.node(remote.clone());
        assert!(node.find("/a").await.is_none(), "byte {place}");
        assert_eq!(node.cache.shared_stats().corrupt, 1);
    }
    let ttl: i64 = {
        one.write(&[post(1)]);
        one.load("/a", &page("text", &[post(1)])).await;
        redis::cmd("TTL").arg(&keys[0]).query_async(&mut raw).await.unwrap()
    };
    assert!((1000..=1100).contains(&ttl), "as long as it can be of use to anybody: {ttl} s");
}

/// A tier that answers whatever it is told to.
#[derive(Debug)]
struct Liar(Bytes);

#[async_trait]
impl Remote for Liar {
    async fn get(&self, _: &str) -> Result<Option<Bytes>, RemoteError> {
        Ok(Some(self.0.clone()))
    }

    async fn put(&self, _: &str, _: Bytes, _: Duration) -> Result<(), RemoteError> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), RemoteError> {
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_lie_is_believed(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = World::new().node(Arc::new(Liar(bytes.into())));
            assert!(node.find("/a").await.is_none());
        });
    }
}

#[tokio::test]
async fn whoever_has_no_time_left_is_told_so_and_blames_nobody() {
    let server = Server::redis();
    let node = World::new().node(connected(server.remote()).await);
    let over = Deadline::at(node.clock.instant());
    let leader = node.lead("/a").await;
    let Err(error) = node.cache.join("/a", over).await else { panic!("it had no time") };
    assert_eq!(error.code(), Code::DeadlineExceeded);
    drop(leader);
    assert_eq!(node.cache.guard().failures, 0);
}
