//! Quotas that are counted in Redis, for all nodes together.

use std::time::Duration;

use inkstone_cache::{RemoteError, Taken};

use crate::servers::{Server, connected};

#[tokio::test]
async fn a_quota_is_one_for_all_nodes() {
    let server = Server::redis();
    let nodes = [connected(server.remote()).await, connected(server.remote()).await];
    let hour = Duration::from_hours(1);
    for taken in 0..10_u32 {
        let standing = nodes[taken as usize % 2].take("somebody", 10, hour).await.unwrap();
        assert_eq!(standing, Taken { remaining: 9 - taken, wait: None });
    }
    let refused = nodes[0].take("somebody", 10, hour).await.unwrap();
    let wait = refused.wait.expect("the quota is used up");
    assert_eq!(refused.remaining, 0);
    // One tenth of an hour for each, less what the test has taken so far.
    assert!(wait <= hour / 10 && wait > hour / 20, "{wait:?}");
    assert_eq!(nodes[1].take("somebody else", 10, hour).await.unwrap().remaining, 9);
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_let_in_and_what_is_full_is_forgotten() {
    let server = Server::redis();
    let remote = connected(server.remote()).await;
    let window = Duration::from_millis(400);
    for _ in 0..2 {
        remote.take("a", 2, window).await.unwrap();
    }
    // However long the machine takes: either there is room by now, or there is after the wait.
    if let Some(wait) = remote.take("a", 2, window).await.unwrap().wait {
        tokio::time::sleep(wait).await;
        assert_eq!(remote.take("a", 2, window).await.unwrap().wait, None);
    }
    let client = redis::Client::open(server.url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    for round in 0.. {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.unwrap();
        if keys.is_empty() {
            break;
        }
        assert!(round < 3000, "{keys:?} is never forgotten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn memcached_cannot_count() {
    let server = Server::memcached();
    let remote = connected(server.remote()).await;
    assert_eq!(remote.take("a", 2, Duration::from_secs(1)).await, Err(RemoteError::Unsupported));
    assert_eq!(remote.announce("a", 1).await, Err(RemoteError::Unsupported));
}
