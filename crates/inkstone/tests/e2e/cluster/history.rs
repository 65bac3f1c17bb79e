//! Clients write down what three nodes tell them while one is killed, one stopped and one cut off from
//! the database: nothing acknowledged is missing or doubled, no read is older than the bound, and nobody
//! is told of something older than what they know, unless they move between nodes. Nobody is let in meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use inkstone_testkit::history::{Ending, Promise, assert_kept};
use inkstone_testkit::services::{Postgres, free_ports};
use inkstone_testkit::{Client, Fault, Fleet, FleetOptions, Heard, Inkstone, Options, Proxy, Toward, until};

use super::{MAX_LAG, Site};
use crate::faults::smoke::Smoke;
use crate::faults::trial::{events, tell};
use crate::{BINARY, open_store};

const CLIENTS: usize = 9;

/// A node that is found again at the same place, and reaches the database through a proxy.
fn node(database: &str, with_redis: &Site) -> (Inkstone, Proxy) {
    let proxy = Proxy::before(Postgres::shared().port());
    let url = Postgres::shared().url_through(&proxy.address().to_string(), database);
    // So that a node which is stopped, or cut off, in the midst of a write does not hold up the others for long.
    let site = with_redis.clone().set("STORE__URL", &url).set("STORE__TIMEOUT", "4s").set("STORE__WRITE_TIMEOUT", "2s");
    let ports = free_ports(2);
    let options = Options { env: site.env, ports: Some((ports[0], ports[1])), ..Options::default() };
    (Inkstone::start_with(BINARY, options), proxy)
}

/// The permission matrix behind a door that leads to one node at a time.
struct Guarded {
    smoke: Smoke,
    door: Proxy,
}

impl Guarded {
    async fn prepare(node: &Inkstone) -> Self {
        let door = Proxy::start(address(node));
        let smoke = Smoke::prepare(node, &Client::new(&format!("http://{}", door.address()))).await;
        Self { smoke, door }
    }

    async fn lead_to(&self, node: &Inkstone) {
        self.door.forward_to(address(node));
        self.door.set_existing(Fault::Reset);
        until("no connection leads elsewhere", async || self.door.counts().open == 0).await;
    }

    /// Asks, now, what must be refused, at each of these nodes, all of which answer.
    async fn nobody_is_let_in(&self, nodes: &[&Inkstone], during: &str) {
        for node in nodes {
            self.lead_to(node).await;
            let (refused, later) = self.smoke.nobody_is_let_in().await;
            println!("{during}: {refused} refused, {later} told to come later, nobody let in");
            assert!(refused > 0, "{during}: the node was asked");
        }
    }
}

fn address(node: &Inkstone) -> SocketAddr {
    node.base().trim_start_matches("http://").parse().unwrap()
}

async fn run(seed: u64, moving: bool) {
    let database = Postgres::shared().database();
    let site = Site::over("").with_redis();
    let mut nodes: Vec<(Inkstone, Proxy)> = (0..3).map(|_| node(&database, &site)).collect();
    let guarded = Guarded::prepare(&nodes[0].0).await;
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
    let name = "a node killed";
    guarded.nobody_is_let_in(&[&nodes[1].0, &nodes[2].0], name).await;
    fleet.acknowledged(100).await;
    nodes[0].0.restart();
    faults.push((name, struck, fleet.elapsed()));
    fleet.acknowledged(100).await;

    let struck = fleet.elapsed();
    nodes[1].0.pause();
    let name = "a node paused (SIGSTOP)";
    let others = [&nodes[0].0, &nodes[2].0];
    // Longer than what it has is good for: when it goes on, it must know that.
    tokio::join!(tokio::time::sleep(MAX_LAG.mul_f64(1.5)), guarded.nobody_is_let_in(&others, name));
    fleet.acknowledged(50).await;
    nodes[1].0.resume();
    faults.push((name, struck, fleet.elapsed()));
    fleet.acknowledged(100).await;

    let struck = fleet.elapsed();
    nodes[2].1.set(Fault::Hang(Toward::Both));
    let name = "a node cut off from the database";
    // At the one that is cut off, too: it can still say no.
    let all = [&nodes[2].0, &nodes[0].0, &nodes[1].0];
    tokio::join!(tokio::time::sleep(MAX_LAG.mul_f64(1.5)), guarded.nobody_is_let_in(&all, name));
    fleet.acknowledged(50).await;
    nodes[2].1.set(Fault::None);
    faults.push((name, struck, fleet.elapsed()));
    fleet.acknowledged(200).await;
    for (node, _) in &nodes {
        guarded.lead_to(node).await;
        until("all are refused as ever", async || guarded.smoke.nobody_is_let_in().await.1 == 0).await;
    }

    let mut log = fleet.stop().await;
    let clients = if moving { "each request to another node" } else { "a third of the clients are at it" };
    for (number, (name, struck, healed)) in faults.iter().enumerate() {
        let next = faults.get(number + 1).map_or(Duration::MAX, |(_, struck, _)| *struck);
        let heard: Vec<Heard> = log.heard.iter().filter(|one| one.end < next).copied().collect();
        tell(&format!("{name}; {clients}"), &heard, *struck, *healed);
    }
    let mut rows = log.rows(&nodes[0].0.client()).await;
    let mut events = events(&open_store(&nodes[0].0), &log).await;
    rows.retain(|row| !guarded.smoke.made(&row.thing));
    events.retain(|event| !guarded.smoke.made(&event.thing));
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
