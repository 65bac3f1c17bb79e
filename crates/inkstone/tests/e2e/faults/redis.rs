//! Battery row F9: whatever becomes of the shared cache, clients see no error.

use std::time::Duration;

use inkstone_testkit::history::Promise;
use inkstone_testkit::services::{Redis, Sentinels};
use inkstone_testkit::{Fault, Figures, Inkstone, Options, Proxy};

use super::trial::Trial;
use crate::shared_cache::metric;
use crate::{BINARY, open_store};

/// A server with a shared cache at this address.
fn with_cache(url: &str) -> Inkstone {
    let env = vec![("INKSTONE__CACHE__SHARED__URL".to_owned(), url.to_owned())];
    Inkstone::start_with(BINARY, Options { env, ..Options::default() })
}

async fn begin(name: &str, server: &Inkstone) -> Trial {
    Trial::begin(name, server, &[server.base()], Promise::default()).await
}

/// The end of a fault that the guard has noticed, and nobody else may have.
async fn unnoticed(trial: Trial, server: &Inkstone) {
    let opened = "inkstone_guard_transitions_total{dependency=\"shared_cache\",to=\"open\"} ";
    assert!(metric(server, opened).await >= 1.0, "the fault was felt");
    all_went_well(trial, server).await;
}

async fn all_went_well(trial: Trial, server: &Inkstone) {
    let figures: Figures = trial.end(&server.client(), &open_store(server)).await;
    assert!(figures.errors.is_empty(), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_comes_back_empty_is_not_noticed() {
    let redis = Redis::start();
    let server = with_cache(&redis.url());
    let mut trial = begin("Redis killed", &server).await;
    trial.strikes();
    redis.process().kill();
    trial.work(400).await;
    trial.nobody_is_let_in().await;
    redis.process().restart();
    trial.heals();
    unnoticed(trial, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_not_noticed() {
    let redis = Redis::start();
    let server = with_cache(&redis.url());
    let mut trial = begin("Redis hung (SIGSTOP)", &server).await;
    trial.strikes();
    redis.process().pause();
    trial.work(400).await;
    trial.nobody_is_let_in().await;
    redis.process().resume();
    trial.heals();
    unnoticed(trial, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_slow_is_not_noticed() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port());
    let server = with_cache(&redis.url_through(&proxy.address().to_string()));
    let mut trial = begin("Redis slow (200 ms)", &server).await;
    trial.strikes();
    proxy.set(Fault::Delay(Duration::from_millis(200)));
    trial.work(400).await;
    trial.nobody_is_let_in().await;
    proxy.set(Fault::None);
    trial.heals();
    unnoticed(trial, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_flushed_again_and_again_is_not_noticed() {
    let redis = Redis::start();
    let server = with_cache(&redis.url());
    let mut trial = begin("Redis flushed", &server).await;
    trial.strikes();
    for _ in 0..10 {
        redis.cli(&["flushall"]);
        trial.work(40).await;
    }
    trial.nobody_is_let_in().await;
    trial.heals();
    all_went_well(trial, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_and_goes_is_not_noticed() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port());
    let server = with_cache(&redis.url_through(&proxy.address().to_string()));
    let mut trial = begin("Redis flapping", &server).await;
    trial.strikes();
    for _ in 0..5 {
        proxy.set(Fault::Refuse);
        trial.work(40).await;
        proxy.set(Fault::None);
        trial.work(40).await;
    }
    trial.nobody_is_let_in().await;
    trial.heals();
    unnoticed(trial, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_is_not_noticed() {
    let redis = Redis::start();
    let server = with_cache(&redis.url());
    let mut trial = begin("Redis out of memory", &server).await;
    trial.strikes();
    redis.cli(&["config", "set", "maxmemory", "1"]);
    trial.work(400).await;
    trial.nobody_is_let_in().await;
    redis.cli(&["config", "set", "maxmemory", "0"]);
    trial.heals();
    all_went_well(trial, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinels_is_not_noticed() {
    let redis = Redis::start();
    let replica = redis.replica();
    let sentinels = Sentinels::watch(&redis, 1, Duration::from_millis(500));
    let hosts: Vec<String> = sentinels.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let server = with_cache(&format!("redis+sentinel://{}/{}", hosts.join(","), sentinels.name()));
    let mut trial = begin("Redis failed over (sentinels)", &server).await;
    trial.strikes();
    redis.process().kill();
    trial.nobody_is_let_in().await;
    sentinels.wait_for_primary(replica.port());
    trial.heals();
    trial.work(200).await;
    unnoticed(trial, &server).await;
}
