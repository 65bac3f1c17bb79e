//! What clients feel of a replica that is in trouble: nothing but that a few wait.

use std::time::Duration;

use futures_util::future::join_all;
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Fault, Inkstone, Proxy, Toward};

use super::away;
use crate::shared_cache::metric;

/// Eight who are nobody in particular read at once, some times in a row.
async fn read(server: &Inkstone, times: usize) {
    let client = server.client();
    for _ in 0..times {
        for answer in join_all((0..8).map(|_| client.get("/api/v2/posts"))).await {
            answer.expect(200);
        }
    }
}

async fn until_usable(server: &Inkstone, replica: &str) {
    let usable = format!("inkstone_database_replica_usable{{replica=\"{replica}\"}} ");
    let found = async {
        while metric(server, &usable).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(inkstone_testkit::PATIENCE, found).await.expect("it is read from");
}

async fn counted(server: &Inkstone, replica: &str) -> (f64, f64) {
    let failed = metric(server, &format!("inkstone_database_replica_failed_total{{replica=\"{replica}\"}} ")).await;
    (metric(server, "inkstone_database_public_reads_total{target=\"replica\"} ").await, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_left_alone_and_found_again() {
    let primary = Postgres::start();
    let database = primary.database();
    let copy = primary.replica(ReplicaOptions::default());
    let proxy = Proxy::before(copy.port());
    let address = copy.url_through(&proxy.address().to_string(), &database);
    // The others have all the time that they want.
    let settings =
        [("STORE__REPLICAS", &*address), ("STORE__MAX_LAG", "1h"), ("STORE__TIMEOUT", "1m"), ("CACHE__MAX_BYTES", "0")];
    let server = away::serve(&primary.url(&database), &settings);
    let (user, rest) = address.trim_start_matches("postgres://").split_once('@').unwrap();
    let replica = format!("postgres://{}@{rest}", user.split(':').next().unwrap());
    until_usable(&server, &replica).await;
    let mut trial = away::begin(&server, "a replica hung").await;
    copy.catch_up_with(&primary);
    trial.strikes();
    proxy.set(Fault::Hang(Toward::Both));
    // Who is at it waits, and is answered by the primary.
    read(&server, 1).await;
    away::until_open(&server, &format!("replica {replica}")).await;
    trial.nobody_is_let_in().await;
    let before = counted(&server, &replica).await;
    read(&server, 10).await;
    assert_eq!(counted(&server, &replica).await, before, "no read is lost on it");
    let answer = server.operations().get("/readyz").await.expect(200);
    let checks = answer.json()["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|check| check["name"] == "replicas").unwrap();
    assert_eq!(check["status"], "degraded", "{check}");
    proxy.set(Fault::None);
    trial.heals();
    until_usable(&server, &replica).await;
    for said in ["a dependency fails", "a dependency works again"] {
        server.logged(said);
    }
    let figures = away::end(&server, trial).await;
    assert!(figures.errors.is_empty(), "{figures}");
}
