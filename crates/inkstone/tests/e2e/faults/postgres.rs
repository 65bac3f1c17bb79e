//! Battery rows F4, F6 and F12: what clients feel of a PostgreSQL that is in trouble.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use inkstone_testkit::services::Postgres;
use inkstone_testkit::{Client, Fault, Figures, Inkstone, Proxy, Toward, until};
use serde_json::json;

use super::away::{self, without_a_connection, without_its_database, without_its_database_for};
use super::trial::Trial;
use crate::posts::post;

/// A PostgreSQL of the test's own behind a proxy, and a server on it.
pub(super) struct Stage {
    pub(super) server: Inkstone,
    proxy: Proxy,
    pub(super) postgres: Arc<Postgres>,
}

impl Stage {
    pub(super) fn set(settings: &[(&str, &str)]) -> Self {
        let postgres = Arc::new(Postgres::start());
        let database = postgres.database();
        Self::on(postgres, &database, settings)
    }

    pub(super) fn on(postgres: Arc<Postgres>, database: &str, settings: &[(&str, &str)]) -> Self {
        let proxy = Proxy::before(postgres.port());
        let url = postgres.url_through(&proxy.address().to_string(), database);
        Self { server: away::serve(&url, settings), proxy, postgres }
    }

    pub(super) async fn begin(&self, name: &str) -> Trial {
        away::begin(&self.server, name).await
    }

    pub(super) async fn popular(&self) -> (Client, String) {
        away::popular(&self.server).await
    }

    pub(super) async fn end(&self, trial: Trial) -> Figures {
        away::end(&self.server, trial).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_hangs_is_not_waited_for_and_found_again() {
    let stage = Stage::set(&[]);
    let process = stage.postgres.process();
    without_its_database(&stage.server, "PostgreSQL hung (SIGSTOP)", || process.pause(), || process.resume()).await;
    stage.server.logged("a unit of work took long, and failed");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: ./battery --long runs it"]
async fn long_a_postgres_that_hangs_for_half_a_minute_is_found_again() {
    // With the default, which the other trials don't have.
    let stage = Stage::set(&[("STORE__TIMEOUT", "2s")]);
    let (process, time) = (stage.postgres.process(), Duration::from_secs(30));
    let (pause, resume) = (|| process.pause(), || process.resume());
    without_its_database_for(
        time,
        &stage.server,
        "PostgreSQL hung (SIGSTOP) for long, the default timeout",
        pause,
        resume,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_restarted_is_used_again_at_once() {
    let stage = Stage::set(&[]);
    let (_, popular) = stage.popular().await;
    let mut trial = stage.begin("PostgreSQL restarted").await;
    trial.strikes();
    stage.postgres.process().terminate();
    stage.server.client().get(&popular).await.expect(200);
    stage.postgres.process().restart();
    trial.heals();
    let figures = stage.end(trial).await;
    assert!(figures.writes.errors > 0, "it was felt: {figures}");
    assert!(figures.errors.keys().all(|status| [503, 504].contains(status)), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_replaced_is_not_shown_in_an_emergency_either() {
    let postgres = Arc::new(Postgres::start());
    let database = postgres.database();
    // Not a superuser, who may do what is forbidden.
    postgres.sql("postgres", &format!("create role narrow login; alter database {database} owner to narrow"));
    let url = postgres.url_through(&format!("127.0.0.1:{}", postgres.port()), &database);
    let (_, place) = url.split_once('@').unwrap();
    let server = away::serve(&format!("postgres://narrow:x@{place}"), &[]);
    let (author, popular) = away::popular(&server).await;
    let other = author.post("/api/v2/posts", &post("Another")).await.expect(201);
    let other = other.header("location").unwrap();
    let reader = server.client();
    for path in [&popular, other] {
        reader.get(path).await.expect(200);
        assert_eq!(reader.get(path).await.expect(200).header("cache-status").unwrap().split(';').nth(1), Some(" hit"));
    }
    // The node can write, and cannot look for changes any more.
    postgres.sql(&database, "revoke execute on function pg_postmaster_start_time() from public");
    let etag = author.get(&popular).await.expect(200).etag().to_owned();
    author.patch(&popular, &etag, &json!({"title": "Replaced"})).await.expect(200);
    server.logged("the cache was not told of a write at once");
    postgres.process().kill();
    let kept = reader.get(other).await.expect(200);
    assert!(kept.header("cache-status").unwrap().ends_with("detail=stale-if-error"), "{kept:?}");
    assert_eq!(reader.get(&popular).await.expect(503).problem(), "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_is_found_again_when_it_is_back() {
    let stage = Stage::set(&[]);
    let process = stage.postgres.process();
    without_its_database(&stage.server, "PostgreSQL killed", || process.kill(), || process.restart()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_is_survived() {
    let stage = Stage::set(&[]);
    let (swallow, heal) = (
        || stage.proxy.set(Fault::Swallow(Toward::Both)),
        || {
            // What was swallowed is gone for good: these connections never answer again.
            stage.proxy.set_new(Fault::None);
        },
    );
    without_its_database(&stage.server, "PostgreSQL out of reach (packets lost)", swallow, heal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_clients_at_a_locked_table_most_are_refused_at_once() {
    let stage = Stage::set(&[("STORE__READ_QUEUE", "24"), ("STORE__READERS", "4"), ("CACHE__MAX_BYTES", "0")]);
    let (_, popular) = stage.popular().await;
    let server = &stage.server;
    let database = server.database_url().unwrap().rsplit('/').next().unwrap().to_owned();
    let mut trial = stage.begin("a table of PostgreSQL locked, 200 more clients at it").await;
    trial.strikes();
    let locker = tokio::task::spawn_blocking({
        let (postgres, database) = (stage.postgres.clone(), database.clone());
        move || drop(postgres.try_sql(&database, "begin; lock table posts; select pg_sleep(3600)"))
    });
    let held =
        "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'posts'::regclass";
    inkstone_testkit::wait_until("the table is locked", || stage.postgres.sql(&database, held) == "1");
    let client = server.client();
    let asked = join_all((0..200).map(|_| client.get(&popular)));
    let (answers, alive) = tokio::join!(asked, client.get("/livez"));
    alive.expect(200);
    trial.nobody_is_let_in().await;
    trial.felt(50).await;
    server.client().get("/livez").await.expect(200);
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock%' and pid <> pg_backend_pid()";
    stage.postgres.sql(&database, end);
    locker.await.unwrap();
    trial.heals();
    let told: Vec<_> = answers.iter().map(|answer| (answer.status.as_u16(), answer.problem())).collect();
    let overloaded = told.iter().filter(|told| **told == (503, "overloaded".to_owned())).count();
    assert!(told.iter().all(|(status, _)| *status == 503), "{told:?}");
    assert!(overloaded >= 150, "{overloaded} of 200 were refused by the bound of the queue");
    // Nothing has to be restarted.
    until("it recovers", async || server.client().get(&popular).await.status == 200).await;
    let figures = stage.end(trial).await;
    assert!(figures.reads.errors > 0 && figures.writes.errors > 0, "it was felt: {figures}");
    assert!(figures.errors.keys().all(|status| [503, 504].contains(status)), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_left_at_postgres_one_is_told_to_come_later() {
    let postgres = Postgres::start();
    let (database, proxy) = (postgres.database(), Proxy::before(postgres.port()));
    // Superusers have no limit.
    postgres.sql(&database, &format!("create role blog login; alter database {database} owner to blog"));
    let url = postgres.url_through(&proxy.address().to_string(), &database).replace("//inkstone:", "//blog:");
    let server = away::serve(&url, &[("CACHE__MAX_BYTES", "0")]);
    let take = || {
        postgres.sql("postgres", "alter role blog connection limit 1");
        proxy.set_existing(Fault::Reset);
    };
    let give = || drop(postgres.sql("postgres", "alter role blog connection limit -1"));
    without_a_connection(&server, "PostgreSQL out of connections", take, give).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_while_its_postgres_only_reads() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let server = away::serve(&postgres.url(&database), &[]);
    let set = |value: &str| {
        postgres.sql("postgres", &format!("alter database {database} set default_transaction_read_only = {value}"));
        let others = format!("from pg_stat_activity where datname = '{database}' and pid <> pg_backend_pid()");
        postgres.sql("postgres", &format!("select pg_terminate_backend(pid) {others}"));
    };
    let sql = |sql: &str| drop(postgres.sql(&database, sql));
    away::started_while_nothing_is_written(server, sql, || set("on"), || set("off")).await;
}
