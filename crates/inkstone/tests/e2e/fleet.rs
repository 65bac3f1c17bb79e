//! A fleet of clients through faults: whatever they were told holds afterwards, to the letter.

use std::net::SocketAddr;

use inkstone_testkit::history::{Ending, Promise, assert_kept};
use inkstone_testkit::{Client, Fleet, FleetOptions, Inkstone, Proxy};

use crate::faults::trial::events;
use crate::{open_store, start};

const CLIENTS: usize = 8;

/// Where a server listens, for a proxy.
fn address(server: &Inkstone) -> SocketAddr {
    server.base().trim_start_matches("http://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_told_nothing_that_two_kills_undo() {
    let mut server = start();
    server.add_user("ada", "editor");
    let token = server.token("ada", "read posts:write");
    // A server that starts again listens elsewhere; the proxy stays where it is.
    let proxy = Proxy::start(address(&server));
    let client = Client::new(&format!("http://{}", proxy.address())).with_token(&token);
    let fleet = Fleet::start(vec![client; CLIENTS], FleetOptions { seed: 3, ..FleetOptions::default() });
    for _ in 0..2 {
        fleet.acknowledged(400).await;
        server.kill();
        server.restart();
        proxy.forward_to(address(&server));
    }
    fleet.acknowledged(400).await;
    let mut log = fleet.stop().await;
    let rows = log.rows(&server.client()).await;
    assert_eq!(server.terminate(), Some(0));
    let events = events(&open_store(&server), &log).await;
    println!("{:?} acknowledged, refused, unknown; {} posts, {} events", log.outcomes(), rows.len(), events.len());
    assert!(log.outcomes().2 > 0, "the kills were felt");
    // One node: what is acknowledged is in every read that begins afterwards.
    assert_kept(&log.records, &Ending { rows, events: Some(events) }, Promise::default());
}
