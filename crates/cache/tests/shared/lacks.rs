//! What the operator is told of a tier that is not there, or does not let us do what we need.

use std::time::Duration;

use inkstone_cache::{Access, Address, Lack, Need, Notice, Remote, RemoteError, examine};
use inkstone_testkit::PATIENCE;
use inkstone_testkit::services::{PASSWORD, Redis, RedisOptions};

use crate::servers::{Server, connected, open};
use crate::support::{Node, World, page, post, until};

fn told(node: &Node) -> Vec<Notice> {
    node.notices.lock().unwrap().clone()
}

#[tokio::test]
async fn whoever_starts_without_its_tier_says_so_once_and_again_when_it_is_there() {
    for server in [Server::redis(), Server::memcached()] {
        server.process().kill();
        let node = World::new().node(server.remote());
        until("the operator is told", || !told(&node).is_empty()).await;
        let [Notice::Unreachable(error)] = &told(&node)[..] else { panic!("{:?}", told(&node)) };
        assert!(error.to_string().contains("refused"), "{error}");
        // Asked in vain, again and again: nothing new to tell.
        for number in 0..5 {
            assert!(node.find(&format!("/{number}")).await.is_none());
        }
        server.process().restart();
        until("the operator is told", || told(&node).len() > 1).await;
        assert_eq!(told(&node)[1..], [Notice::Answers]);
    }
}

#[tokio::test]
async fn whoever_starts_with_its_tier_says_nothing() {
    let server = Server::redis();
    let node = World::new().node(connected(server.remote()).await);
    node.load("/a", &page("text", &[post(1)])).await;
    assert!(told(&node).is_empty(), "{:?}", told(&node));
}

/// A user of these rights on a server whose other user needs a password.
async fn user(rights: &str) -> (Redis, std::sync::Arc<dyn Remote>) {
    let users = vec![format!("ink on >hush {rights}")];
    let redis = Redis::start_with(RedisOptions { password: true, users, ..RedisOptions::default() });
    let access = Access { password: Some("hush".to_owned()), ..Access::default() };
    let address = Address::new(&format!("redis://ink@127.0.0.1:{}", redis.port()), &access).unwrap();
    let remote = connected(open(&address, PATIENCE)).await;
    (redis, remote)
}

#[tokio::test]
async fn a_user_who_may_not_announce_is_told_of_once_and_shares_all_the_same() {
    let (_redis, remote) = user("~* &* +@all -publish").await;
    let world = World::new();
    let (one, two) = (world.node(remote.clone()), world.node(remote));
    until("the operator is told", || {
        one.write(&[post(1)]);
        !told(&one).is_empty()
    })
    .await;
    // Twenty more, whether they were announced together or not: no fault of the server's.
    for _ in 0..20 {
        one.write(&[post(1)]);
        tokio::task::yield_now().await;
    }
    let [Notice::Denied(Lack { need: Need::Announce, error })] = &told(&one)[..] else { panic!("{:?}", told(&one)) };
    assert!(error.to_string().contains("'publish'") && !error.to_string().contains("hush"), "{error}");
    one.load("/a", &page("text", &[post(1)])).await;
    two.follow();
    assert!(two.find("/a").await.is_some());
    assert_eq!((one.cache.guard().failures, told(&one).len()), (0, 1));
}

#[tokio::test]
async fn whatever_a_user_lacks_is_found_out_before_it_is_needed() {
    let (redis, remote) = user("~inkstone:* &inkstone:* +@all").await;
    assert_eq!(examine(&*remote, "inkstone:examined:", PATIENCE).await, []);
    for (taken, needs) in [
        ("-get", &[Need::Read, Need::Count][..]),
        ("-set", &[Need::Write, Need::Count]),
        ("-eval", &[Need::Count]),
        ("-time", &[Need::Count]),
        ("-publish", &[Need::Announce]),
        ("-subscribe", &[Need::Listen]),
        ("-ping", &[Need::Answer]),
    ] {
        redis.cli(&["acl", "setuser", "ink", taken]);
        let lacks = examine(&*remote, "inkstone:examined:", PATIENCE).await;
        let found: Vec<Need> = lacks.iter().map(|lack| lack.need).collect();
        assert_eq!(found, needs, "{taken}: {lacks:?}");
        assert!(lacks.iter().all(|lack| matches!(lack.error, RemoteError::Denied(_))), "{taken}: {lacks:?}");
        redis.cli(&["acl", "setuser", "ink", &taken.replace('-', "+")]);
    }
    // Other people's names and channels.
    let lacks = examine(&*remote, "elsewhere:", PATIENCE).await;
    let found: Vec<Need> = lacks.iter().map(|lack| lack.need).collect();
    assert_eq!(found, [Need::Write, Need::Read, Need::Count, Need::Announce, Need::Listen], "{lacks:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let redis = Redis::start_with(RedisOptions { password: true, ..RedisOptions::default() });
    for (who, password, said) in [("", "secret", "WRONGPASS"), ("nobody", PASSWORD, "WRONGPASS"), ("", "", "NOAUTH")] {
        let access = Access { password: Some(password.to_owned()).filter(|it| !it.is_empty()), ..Access::default() };
        let address = Address::new(&format!("redis://{who}@127.0.0.1:{}", redis.port()), &access).unwrap();
        let lacks = examine(&*open(&address, PATIENCE), "inkstone:", PATIENCE).await;
        let [Lack { need: Need::Answer, error: RemoteError::Denied(why) }] = &lacks[..] else { panic!("{lacks:?}") };
        assert!(why.contains(said) && !why.contains("secret") && !why.contains(PASSWORD), "{why}");
    }
}

#[tokio::test]
async fn memcached_is_examined_for_what_it_can_do() {
    let server = Server::memcached();
    assert_eq!(examine(&*server.remote(), "inkstone:", PATIENCE).await, []);
    server.process().kill();
    let lacks = examine(&*server.remote(), "inkstone:", Duration::from_millis(200)).await;
    assert!(matches!(&lacks[..], [Lack { need: Need::Answer, .. }]), "{lacks:?}");
}
