//! A hot answer ends, and everybody asks at once: how often the database is.

use std::time::Duration;

use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_testkit::Inkstone;
use serde_json::json;

use super::{Site, until};
use crate::posts::post;

/// Who asks at once, of each node.
const HERD: usize = 200;
/// How long the answer is fresh, give or take a tenth.
const FRESH: Duration = Duration::from_secs(4);

/// Nodes whose answers about posts are soon old.
fn site() -> Site {
    let fresh = format!("{}s", FRESH.as_secs());
    Site::fresh()
        .set("CACHE__LIFETIMES__POST__FRESH", &fresh)
        .set("CACHE__LIFETIMES__POST__STALE_WHILE_REVALIDATE", "0s")
}

/// All ask all nodes at once; how many of them were given an answer that was loaded for them, and how
/// long it took altogether.
async fn stampede(nodes: &[Inkstone], path: &str) -> (usize, Duration) {
    let began = SystemClock.instant();
    let clients = nodes.iter().map(Inkstone::client);
    let asked: Vec<_> = clients
        .flat_map(|client| (0..HERD).map(move |_| client.clone()))
        .map(|client| {
            let path = path.to_owned();
            tokio::spawn(async move { client.get(&path).await.expect(200) })
        })
        .collect();
    let mut loads = 0;
    for answer in asked {
        let answer = answer.await.unwrap();
        let status = answer.header("cache-status").unwrap();
        // Whoever waited for somebody else's load is `collapsed`, whoever came later has a `hit`.
        loads += usize::from(status.starts_with("inkstone; fwd=uri-miss") && !status.ends_with("collapsed"));
    }
    (loads, SystemClock.instant() - began)
}

/// Ends the answer by a change and by its age, with a herd after each. A load is one read of the database
/// at most for each node; a machine so slow that the answer ends again meanwhile gets as many more.
async fn check(nodes: &[Inkstone], name: &str) {
    let author = nodes[0].sign_up("ada", "author").await;
    let made = author.post("/api/v2/posts", &post("Hot")).await.expect(201);
    let (path, mut tag) = (made.header("location").unwrap().to_owned(), made.etag().to_owned());
    stampede(nodes, &path).await;
    let mut figures = Vec::new();
    for round in 0..4 {
        if round % 2 == 0 {
            tokio::time::sleep(FRESH.mul_f64(1.1)).await;
        } else {
            let title = format!("Round {round}");
            let written = author.patch(&path, &tag, &json!({"title": title})).await.expect(200);
            written.etag().clone_into(&mut tag);
        }
        let (loads, took) = stampede(nodes, &path).await;
        let again = 1 + took.as_millis() / FRESH.mul_f64(0.9).as_millis();
        let most = nodes.len() * usize::try_from(again).unwrap();
        assert!((1..=most).contains(&loads), "{name}: {loads} loads in {took:?} for {HERD} who asked");
        figures.push(loads);
    }
    println!("FIGURES herd, {name}: {figures:?} loads for {HERD} clients at each node");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_is_one_load_on_a_node() {
    check(&[site().node()], "one node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_is_one_load_on_each_of_two_nodes_at_most() {
    let site = site().with_redis();
    let nodes = [site.node(), site.node()];
    for node in &nodes {
        until("the Redis is there", async || !node.operations().get("/readyz").await.text().contains("degraded")).await;
    }
    check(&nodes, "two nodes with Redis").await;
}
