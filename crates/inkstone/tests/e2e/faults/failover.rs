//! Battery row F5: the primary dies, and its synchronous replica takes over.

use inkstone_testkit::history::Promise;
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Inkstone, Options};

use super::trial::Trial;
use crate::{BINARY, open_store};

async fn fail_over() {
    let primary = Postgres::start();
    let database = primary.database();
    let standby = primary.replica(ReplicaOptions { synchronous: true, ..ReplicaOptions::default() });
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let env = vec![
        ("INKSTONE__STORE__URL".to_owned(), primary.url_through(&hosts, &database)),
        ("INKSTONE__STORE__TIMEOUT".to_owned(), "4s".to_owned()),
    ];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let mut trial = Trial::begin(
        "PostgreSQL failed over to its synchronous replica",
        &server,
        &[server.base()],
        Promise::default(),
    )
    .await;
    trial.strikes();
    primary.process().kill();
    trial.nobody_is_let_in().await;
    standby.promote();
    trial.heals();
    let figures = trial.end(&server.client(), &open_store(&server)).await;
    assert!(figures.errors.keys().all(|status| [0, 503, 504].contains(status)), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_a_synchronous_replica_loses_nothing() {
    fail_over().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: ./battery --long runs it"]
async fn long_twenty_failovers_lose_nothing() {
    for _ in 0..20 {
        fail_over().await;
    }
}
