//! Clients write down what three nodes tell them while one is killed, one stopped and one cut off from
//! the database: nothing acknowledged is missing or doubled, no read is older than the bound, and nobody
//! is told of something older than what they know, unless they move between nodes.

use std::time::Duration;

use inkstone_testkit::history::{Ending, Promise, assert_kept};
use inkstone_testkit::services::{Postgres, free_ports};
use inkstone_testkit::{Client, Fault, Fleet, FleetOptions, Heard, Inkstone, Options, Proxy, Toward};

use super::{MAX_LAG, Site};
use crate::faults::trial::{events, tell};
use crate::{BINARY, open_store};

const CLIENTS: usize = 9;

/// A node that is found again at the same place, and reaches the database through a proxy.
fn node(database: &str, with_redis: &Site) -> (Inkstone, Proxy) {
    let proxy = Proxy::before(Postgres::shared().port());
    let url = Postgres::shared().url_through(&proxy.address().to_string(), database);
    // So that a node which is stopped, or cut off, in the midst of a write does not hold up the others for long.
    let site = with_redis.clone().set("STORE__URL", &url).set("STORE__WRITE_TIMEOUT", "2s");
    let ports = free_ports(2);
    let options = Options { env: site.env, ports: Some((ports[0], ports[1])), ..Options::default() };
    (Inkstone::start_with(BINARY, options), proxy)
}

async fn run(seed: u64, moving: bool) {
    let database = Postgres::shared().database();
    let site = Site::over("").with_redis();
    let mut nodes: Vec<(Inkstone, Proxy)> = (0..3).map(|_| node(&database, &site)).collect();
    nodes[0].0.add_user("ada", "editor");
    let token = nodes[0].0.token("ada", "read posts:write");
    let bases: Vec<String> = nodes.iter().map(|(node, _)| node.base().to_owned()).collect();
    let clients = (0..CLIENTS).map(|number| {
        let place = number % bases.len();
        // Each begins somewhere else; the others stay where they began.
        let turns: Vec<&str> = bases[place..].iter().chain(&bases[..place]).map(String::as_str).collect();
        let client = if moving { Client::moving(&turns) } else { Client::new(turns[0]) };
        client.with_token(&token)
    });
    // Whoever moves comes by the node that says nothing again and again, and need not wait long each time.
    let deadline = Duration::from_secs(if moving { 3 } else { 10 });
    let fleet = Fleet::start(clients.collect(), FleetOptions { seed, deadline });

    fleet.acknowledged(200).await;
    let mut faults = Vec::new();
    let struck = fleet.elapsed();
    nodes[0].0.kill();
    fleet.acknowledged(100).await;
    nodes[0].0.restart();
    faults.push(("a node killed", struck, fleet.elapsed()));
    fleet.acknowledged(100).await;

    let struck = fleet.elapsed();
    nodes[1].0.pause();
    // Longer than what it has is good for: when it goes on, it must know that.
    tokio::time::sleep(MAX_LAG.mul_f64(1.5)).await;
    fleet.acknowledged(50).await;
    nodes[1].0.resume();
    faults.push(("a node paused (SIGSTOP)", struck, fleet.elapsed()));
    fleet.acknowledged(100).await;

    let struck = fleet.elapsed();
    nodes[2].1.set(Fault::Hang(Toward::Both));
    tokio::time::sleep(MAX_LAG.mul_f64(1.5)).await;
    fleet.acknowledged(50).await;
    nodes[2].1.set(Fault::None);
    faults.push(("a node cut off from the database", struck, fleet.elapsed()));
    fleet.acknowledged(200).await;

    let mut log = fleet.stop().await;
    let clients = if moving { "each request to another node" } else { "a third of the clients are at it" };
    for (number, (name, struck, healed)) in faults.iter().enumerate() {
        let next = faults.get(number + 1).map_or(Duration::MAX, |(_, struck, _)| *struck);
        let heard: Vec<Heard> = log.heard.iter().filter(|one| one.end < next).copied().collect();
        tell(&format!("{name}; {clients}"), &heard, *struck, *healed);
    }
    let rows = log.rows(&nodes[0].0.client()).await;
    let events = events(&open_store(&nodes[0].0), &log).await;
    println!("{:?} acknowledged, refused, unknown; {} posts, {} events", log.outcomes(), rows.len(), events.len());
    assert!(log.outcomes().2 > 0, "the faults were felt");
    let promise = Promise { staleness: MAX_LAG, moving };
    assert_kept(&log.records, &Ending { rows, events: Some(events) }, promise);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stay_at_a_node_are_told_nothing_that_faults_undo() {
    run(5, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_move_between_nodes_are_told_nothing_older_than_the_bound() {
    run(6, true).await;
}
