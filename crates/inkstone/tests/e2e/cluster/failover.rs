//! The database fails over to a server whose clock is another one. It is the time of all nodes then: they go by it
//! within seconds, and for a small difference nobody is taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Client, Inkstone};
use jiff::Timestamp;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Site, metric, until};
use crate::clock::{ABOUT, Dial, HOUR};

/// What a node says when another time has become its own.
const FOLLOWS: &str = "another server has taken its place: all nodes follow it";

/// Two nodes over a primary whose clock is right, and a synchronous replica of it whose clock is not.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    nodes: [Inkstone; 2],
    token: String,
}

impl Pair {
    /// The replica's clock is so many seconds ahead.
    fn start(ahead: f64) -> Self {
        let primary = Postgres::start();
        let database = primary.database();
        let env = vec![
            ("LD_PRELOAD".to_owned(), Dial::library().display().to_string()),
            ("FAKETIME".to_owned(), format!("{ahead:+}")),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ];
        let standby = primary.replica(ReplicaOptions { synchronous: true, env, ..ReplicaOptions::default() });
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
        let site = Site::over(&primary.url_through(&hosts, &database)).set("STORE__TIMEOUT", "4s");
        let nodes = [site.node(), site.node()];
        nodes[0].add_user("ada", "author");
        let token = nodes[0].token("ada", "read posts:write");
        Self { primary, standby, nodes, token }
    }

    fn author(&self, node: &Inkstone) -> Client {
        node.client().with_token(&self.token)
    }

    /// The primary dies, the replica takes its place, and every node writes to it.
    async fn fail_over(&self) {
        self.primary.process().kill();
        self.standby.promote();
        for node in &self.nodes {
            let author = self.author(node);
            let draft = json!({"title": "Until it is back", "content": {"markdown": "x"}});
            until("a node writes to the other server", async || {
                author.post("/api/v2/posts", &draft).await.status == 201
            })
            .await;
        }
    }

    /// Waits until every node goes by a clock that is so many seconds ahead of this machine's, within `about`.
    async fn until_followed(&self, ahead: f64, about: f64) {
        for node in &self.nodes {
            until("a node goes by the other server's clock", async || {
                (metric(node, "inkstone_clock_ahead_seconds").await + ahead).abs() < about
            })
            .await;
        }
    }
}

/// Looks at a node's clock without a pause, whether its database is there or not: every answer has a name that
/// begins with the milliseconds at which it was asked for.
struct Watch {
    enough: Arc<AtomicBool>,
    seen: JoinHandle<Vec<i64>>,
}

impl Watch {
    fn begin(node: &Inkstone) -> Self {
        let (client, enough) = (node.client(), Arc::new(AtomicBool::new(false)));
        let is_enough = enough.clone();
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            while !is_enough.load(Ordering::Relaxed) {
                let answer = client.get("/livez").await.expect(200);
                let id = answer.header("x-request-id").unwrap().replace('-', "");
                seen.push(i64::from_str_radix(&id[..12], 16).unwrap());
            }
            seen
        });
        Self { enough, seen }
    }

    async fn end(self) -> Vec<i64> {
        self.enough.store(true, Ordering::Relaxed);
        self.seen.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_a_clock_that_is_a_little_behind_takes_nobody_back() {
    let behind = -0.5;
    let pair = Pair::start(behind);
    let watches = pair.nodes.each_ref().map(Watch::begin);
    pair.fail_over().await;
    pair.until_followed(behind, 0.25).await;
    for (number, watch) in watches.into_iter().enumerate() {
        let seen = watch.end().await;
        assert!(seen.len() > 10, "node {number} was looked at {} times", seen.len());
        let back = seen.windows(2).find(|pair| pair[1] < pair[0]);
        assert!(back.is_none(), "the clock of node {number} went back: {back:?}");
        assert!(!pair.nodes[number].log_text().contains(FOLLOWS), "that is nothing to warn of");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_to_another_time_all_nodes_go_by_it_and_say_so() {
    for ahead in [HOUR, -HOUR] {
        #[expect(clippy::cast_precision_loss, reason = "an hour is no large number")]
        let pair = Pair::start(ahead as f64);
        let draft = json!({"title": "Before", "content": {"markdown": "x"}});
        let before = pair.author(&pair.nodes[0]).post("/api/v2/posts", &draft).await.expect(201);
        pair.fail_over().await;
        for node in &pair.nodes {
            node.logged(FOLLOWS);
        }
        for (here, there) in [(0, 1), (1, 0)] {
            let (here, there) = (pair.author(&pair.nodes[here]), pair.author(&pair.nodes[there]));
            let made = here.post("/api/v2/posts", &draft).await.expect(201);
            let at: Timestamp = made.json()["created_at"].as_str().unwrap().parse().unwrap();
            let off = at.duration_since(SystemClock.now()).as_secs() - ahead;
            assert!(off.abs() <= ABOUT, "{ahead} s ahead: {off} s off");
            let path = made.header("location").unwrap();
            assert_eq!(there.get(path).await.expect(200).json(), made.json(), "{ahead} s ahead");
            let path = before.header("location").unwrap();
            assert_eq!(here.get(path).await.expect(200).json(), before.json(), "{ahead} s ahead");
        }
    }
}
