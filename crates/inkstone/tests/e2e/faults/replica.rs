//! What clients feel of a replica that is in trouble: nothing but that a few wait.

use std::time::Duration;

use futures_util::future::join_all;
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Fault, Inkstone, Proxy, Toward, until};

use super::away;
use super::trial::Trial;
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
    until("it is read from", async || metric(server, &usable).await >= 1.0).await;
}

async fn counted(server: &Inkstone, replica: &str) -> (f64, f64) {
    let failed = metric(server, &format!("inkstone_database_replica_failed_total{{replica=\"{replica}\"}} ")).await;
    (metric(server, "inkstone_database_public_reads_total{target=\"replica\"} ").await, failed)
}

/// A primary, a replica behind a proxy, and a server that keeps no answers and reads from the replica.
struct Stage {
    primary: Postgres,
    copy: Postgres,
    proxy: Proxy,
    server: Inkstone,
    /// How the server calls the replica.
    replica: String,
}

impl Stage {
    async fn set(max_lag: &str) -> Self {
        let primary = Postgres::start();
        let database = primary.database();
        let copy = primary.replica(ReplicaOptions::default());
        let proxy = Proxy::before(copy.port());
        let address = copy.url_through(&proxy.address().to_string(), &database);
        // The others have all the time that they want.
        let settings = [
            ("STORE__REPLICAS", &*address),
            ("STORE__MAX_LAG", max_lag),
            ("STORE__TIMEOUT", "1m"),
            ("CACHE__MAX_BYTES", "0"),
        ];
        let server = away::serve(&primary.url(&database), &settings);
        let (user, rest) = address.trim_start_matches("postgres://").split_once('@').unwrap();
        let replica = format!("postgres://{}@{rest}", user.split(':').next().unwrap());
        until_usable(&server, &replica).await;
        Self { primary, copy, proxy, server, replica }
    }

    /// The end of a fault that no client may have noticed, and that was reported.
    async fn end(&self, mut trial: Trial) {
        trial.heals();
        until_usable(&self.server, &self.replica).await;
        let figures = away::end(&self.server, trial).await;
        assert!(figures.errors.is_empty(), "{figures}");
    }

    async fn until_reported(&self) {
        until("the replica is reported", async || {
            let answer = self.server.operations().get("/readyz").await.expect(200);
            let checks = answer.json()["checks"].as_array().unwrap().clone();
            checks.iter().any(|check| check["name"] == "replicas" && check["status"] == "degraded")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_left_alone_and_found_again() {
    let stage = Stage::set("1h").await;
    let (server, replica) = (&stage.server, &stage.replica);
    let mut trial = away::begin(server, "a replica hung").await;
    stage.copy.catch_up_with(&stage.primary);
    trial.strikes();
    stage.proxy.set(Fault::Hang(Toward::Both));
    // Who is at it waits, and is answered by the primary.
    read(server, 1).await;
    away::until_open(server, &format!("replica {replica}")).await;
    trial.nobody_is_let_in().await;
    // Reads that were at it when the guard opened fail after that.
    until("no read is lost on it", async || {
        let before = counted(server, replica).await;
        read(server, 10).await;
        counted(server, replica).await == before
    })
    .await;
    stage.until_reported().await;
    stage.proxy.set(Fault::None);
    stage.end(trial).await;
    for said in ["a dependency fails", "a dependency works again"] {
        server.logged(said);
    }
}

async fn lags(name: &str, time: Duration) {
    let stage = Stage::set("1s").await;
    let mut trial = away::begin(&stage.server, name).await;
    trial.strikes();
    stage.copy.sql("postgres", "select pg_wal_replay_pause()");
    trial.work(200).await;
    stage.until_reported().await;
    trial.nobody_is_let_in().await;
    trial.work(200).await;
    trial.holds(time).await;
    stage.copy.sql("postgres", "select pg_wal_replay_resume()");
    stage.end(trial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_is_not_noticed() {
    lags("a replica lags", Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: ./battery --long runs it"]
async fn long_a_replica_that_lags_for_half_a_minute_is_not_noticed() {
    lags("a replica lags for long", Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_is_not_noticed() {
    let stage = Stage::set("1h").await;
    let mut trial = away::begin(&stage.server, "a replica gone").await;
    trial.strikes();
    stage.copy.process().kill();
    trial.work(200).await;
    stage.until_reported().await;
    trial.nobody_is_let_in().await;
    trial.work(200).await;
    stage.copy.process().restart();
    stage.end(trial).await;
}
