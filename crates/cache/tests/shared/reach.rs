//! How Redis is reached: over TLS, as a user with few rights, through sentinels, as a cluster. What
//! `docs/operations.md` tells operators to write is what is written here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inkstone_cache::{Access, Address, Credentials, Identity, Need, Notice, Remote, RemoteError, examine};
use inkstone_testkit::PATIENCE;
use inkstone_testkit::services::{Authority, Redis, RedisCluster, RedisOptions, SentinelOptions, Sentinels};

use crate::faults::until_it_is_back;
use crate::servers::{self, connected};
use crate::support::{World, page, post, until};

const OPERATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");

/// The rights of a user as the documentation has them, in the block that begins with these words.
fn documented(user: &str) -> String {
    let text = std::fs::read_to_string(OPERATIONS).unwrap();
    let begins = format!("ACL SETUSER {user} on >PASSWORD ");
    let found = text.lines().find_map(|line| line.strip_prefix(begins.as_str()));
    let rights = found.unwrap_or_else(|| panic!("{begins:?} is not documented")).to_owned();
    format!("{user} on >hush {rights}")
}

fn trusting(authority: &Authority) -> Access {
    Access { authorities: Some(authority.pem().into_bytes()), ..Access::default() }
}

fn open(url: &str, access: &Access) -> Arc<dyn Remote> {
    servers::open(&Address::new(url, access).unwrap(), PATIENCE)
}

/// Why there is no connection.
async fn refused(url: &str, access: &Access) -> String {
    let remote = open(url, access);
    // However long the first attempt takes.
    let mut ended = remote.ping().await;
    while ended == Err(RemoteError::NotConnected) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        ended = remote.ping().await;
    }
    let lacks = examine(&*remote, "inkstone:", Duration::from_millis(300)).await;
    let [lack] = &lacks[..] else { panic!("{url}: {lacks:?}") };
    assert_eq!(lack.need, Need::Answer, "{url}: {lacks:?}");
    let (RemoteError::Unreachable(why) | RemoteError::Denied(why)) = &lack.error else { panic!("{url}: {lacks:?}") };
    why.clone()
}

/// One node shares with another, is heard by it, and counts with it.
async fn works(url: &str, access: &Access) {
    assert_eq!(examine(&*open(url, access), "inkstone:", PATIENCE).await, [], "{url}");
    let world = World { timeout: PATIENCE, ..World::new() };
    let (one, two) = (world.node(connected(open(url, access)).await), world.node(connected(open(url, access)).await));
    one.load("/a", &page("text", &[post(1)])).await;
    assert!(two.find("/a").await.is_some());
    let hour = Duration::from_hours(1);
    assert_eq!(one.cache.take("somebody", 2, hour).await.unwrap().remaining, 1);
    assert_eq!(two.cache.take("somebody", 2, hour).await.unwrap().remaining, 0);
    until("two was told", || {
        one.write(&[post(1)]);
        two.woken.load(Ordering::SeqCst) > 0
    })
    .await;
    assert!(one.notices.lock().unwrap().is_empty(), "{:?}", one.notices);
}

#[tokio::test]
async fn over_tls_who_cannot_show_the_right_certificate_is_not_spoken_to() {
    let (ours, theirs) = (Arc::new(Authority::new()), Authority::new());
    let redis = Redis::start_with(RedisOptions { tls: Some(ours.clone()), ..RedisOptions::default() });
    let plain = Redis::start();
    works(&redis.url(), &trusting(&ours)).await;
    for access in [trusting(&theirs), Access::default()] {
        let why = refused(&redis.url(), &access).await;
        assert!(why.contains("certificate") && why.contains("UnknownIssuer"), "{why}");
    }
    // The right server under a name that its certificate does not know.
    let why = refused(&format!("rediss://[::ffff:127.0.0.1]:{}", redis.port()), &trusting(&ours)).await;
    assert!(why.contains("certificate") && why.contains("not valid for name"), "{why}");
    // Nobody falls back: not to the open where TLS was asked for, nor the other way round.
    refused(&format!("rediss://127.0.0.1:{}", plain.port()), &trusting(&ours)).await;
    refused(&format!("redis://127.0.0.1:{}", redis.port()), &Access::default()).await;
    assert!(redis.cli(&["client", "list"]).lines().count() >= 1, "it is well");
}

#[tokio::test]
async fn with_the_wrong_authority_a_node_does_without_and_says_why() {
    let ours = Arc::new(Authority::new());
    let redis = Redis::start_with(RedisOptions { tls: Some(ours), ..RedisOptions::default() });
    let node = World::new().node(open(&redis.url(), &trusting(&Authority::new())));
    node.load("/a", &page("text", &[post(1)])).await;
    assert!(node.cache.check().await.is_err());
    until("the operator is told", || !node.notices.lock().unwrap().is_empty()).await;
    let notices = node.notices.lock().unwrap().clone();
    let [Notice::Unreachable(error)] = &notices[..] else { panic!("{notices:?}") };
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_redis_that_asks_who_is_there_is_shown_a_certificate() {
    let authority = Arc::new(Authority::new());
    let settings = vec![("tls-auth-clients".to_owned(), "yes".to_owned())];
    let redis = Redis::start_with(RedisOptions { tls: Some(authority.clone()), settings, ..RedisOptions::default() });
    refused(&redis.url(), &trusting(&authority)).await;
    let issued = authority.issue(&["inkstone"]);
    let read = |path| std::fs::read(path).unwrap();
    let identity = Some(Identity { certificate: read(issued.certificate), key: read(issued.key) });
    works(&redis.url(), &Access { identity, ..trusting(&authority) }).await;
}

#[tokio::test]
async fn the_documented_user_may_do_all_that_is_needed() {
    let users = vec![documented("inkstone")];
    let redis = Redis::start_with(RedisOptions { password: true, users, ..RedisOptions::default() });
    works(&format!("redis://inkstone:hush@127.0.0.1:{}", redis.port()), &Access::default()).await;
    let access = Access { password: Some("hush".to_owned()), ..Access::default() };
    works(&format!("redis://inkstone@127.0.0.1:{}", redis.port()), &access).await;
    assert_eq!(redis.cli(&["acl", "log"]), "", "nothing was refused to it");
}

/// Other users for the sentinels than for what they watch, all of it over TLS; the master is killed.
#[tokio::test]
async fn sentinels_and_what_they_watch_have_users_of_their_own_and_the_new_master_is_found() {
    let authority = Arc::new(Authority::new());
    let users = vec![documented("inkstone-behind-sentinels")];
    let tls = Some(authority.clone());
    let master = Redis::start_with(RedisOptions { password: true, users, tls, ..RedisOptions::default() });
    let replica = master.replica();
    let users = vec![documented("inkstone-at-sentinels")];
    let down_after = Duration::from_millis(500);
    let sentinels = Sentinels::watch_with(&master, 1, SentinelOptions { down_after, password: true, users });
    let url = |user: &str| format!("rediss+sentinel://{user}@{}/{}", sentinels.hosts(), sentinels.name());
    let watcher = |password: &str| {
        let (user, password) = ("inkstone-at-sentinels".to_owned(), password.to_owned());
        Access { sentinel: Some(Credentials { user, password }), ..trusting(&authority) }
    };
    let (user, stranger) = ("inkstone-behind-sentinels:hush", "inkstone-behind-sentinels:wrong");
    works(&url(user), &watcher("hush")).await;
    assert_eq!(master.cli(&["acl", "log"]), "", "nothing was refused to it");
    for (user, access, said) in [
        (user, trusting(&authority), "NOAUTH"),
        (user, watcher("wrong"), "WRONGPASS"),
        (stranger, watcher("hush"), "WRONGPASS"),
        (user, Access { authorities: trusting(&Authority::new()).authorities, ..watcher("hush") }, "UnknownIssuer"),
    ] {
        let why = refused(&url(user), &access).await;
        assert!(why.contains(said), "{said}: {why}");
    }
    let world = World::new();
    let node =
        world.node(connected(servers::open(&Address::new(&url(user), &watcher("hush")).unwrap(), world.timeout)).await);
    node.load("/a", &page("text", &[post(1)])).await;
    master.process().kill();
    until_it_is_back(&node, &world).await;
    sentinels.wait_for_primary(replica.port());
}

#[tokio::test]
async fn a_cluster_over_tls_is_used_by_a_user_of_its_own() {
    let authority = Arc::new(Authority::new());
    let users = vec![documented("inkstone-in-cluster")];
    let tls = Some(authority.clone());
    let cluster = RedisCluster::start(&RedisOptions { password: true, users, tls, ..RedisOptions::default() });
    let url = |user: &str| format!("rediss+cluster://{user}@{}", cluster.hosts());
    works(&url("inkstone-in-cluster:hush"), &trusting(&authority)).await;
    for node in cluster.nodes() {
        assert_eq!(node.cli(&["acl", "log"]), "", "nothing was refused to it");
    }
    refused(&url("inkstone-in-cluster:wrong"), &trusting(&authority)).await;
    refused(&url("inkstone-in-cluster:hush"), &trusting(&Authority::new())).await;
}

#[tokio::test]
async fn in_a_cluster_everything_lies_where_it_belongs_and_a_lost_node_costs_its_share() {
    let cluster = RedisCluster::start(&RedisOptions::default());
    // One node is enough to find the others.
    let url = format!("redis+cluster://127.0.0.1:{}", cluster.nodes()[0].port());
    let address: Address = url.parse().unwrap();
    works(&url, &Access::default()).await;
    let remote = connected(servers::open(&address, Duration::from_secs(2))).await;
    for node in cluster.nodes() {
        node.cli(&["flushall"]);
    }
    let world = World::new();
    let (one, two) =
        (world.node(remote.clone()), world.node(connected(servers::open(&address, Duration::from_secs(2))).await));
    let keys: Vec<String> = (0..60).map(|number| format!("/{number}")).collect();
    for key in &keys {
        one.load(key, &page("text", &[post(1)])).await;
    }
    let held = |place: usize| cluster.nodes()[place].cli(&["dbsize"]).parse::<usize>().unwrap();
    let share = [held(0), held(1), held(2)];
    assert!(share.iter().all(|held| *held > 0) && share.iter().sum::<usize>() == 60, "{share:?}");

    cluster.nodes()[2].process().kill();
    // Whoever asks is told: what the others hold, and nothing of the rest.
    let mut found = BTreeSet::new();
    for _ in 0..1000 {
        for key in keys.iter().filter(|key| !found.contains(key)).collect::<Vec<_>>() {
            // Nodes that remember no failure: theirs is not the matter here.
            if world.node(remote.clone()).find(key).await.is_some() {
                found.insert(key);
            }
        }
        if found.len() == share[0] + share[1] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(found.len(), share[0] + share[1], "{share:?}");
    for key in &keys {
        two.find(key).await;
    }
    assert!(two.cache.check().await.is_err(), "it is reported");

    cluster.nodes()[2].process().restart();
    cluster.wait_until_whole();
    until_it_is_back(&two, &world).await;
    for number in 0.. {
        if held(2) > 0 {
            break;
        }
        assert!(number < 3000, "nothing is put there any more");
        world.clock.pass(Duration::from_millis(20));
        one.follow();
        one.load(&format!("/again/{number}"), &page("text", &[post(1)])).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
