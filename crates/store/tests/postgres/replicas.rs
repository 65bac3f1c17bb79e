//! Reads from replicas: whatever becomes of a replica, nothing is shown that lacks a known change.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::clock::{Clock as _, SharedClock, SystemClock};
use inkstone_core::progress::Progress;
use inkstone_core::{Code, Context};
use inkstone_store::db::{Db, PostgresOptions, Replicas, ReplicasOptions, Statement};
use inkstone_store::migrate;
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Fault, Proxy, Toward};

use crate::bed::{ctx, ctx_for};

const CHANGE: Statement = Statement {
    name: "test.change",
    sql: "update counters set value = value + 1 where name = 'change_seq' returning value",
};
const WHERE: Statement = Statement {
    name: "test.where",
    sql: "select value, case when pg_is_in_recovery() then 'replica' else 'primary' end from counters where name = 'change_seq'",
};

struct Site {
    primary: Postgres,
    replica: Postgres,
    proxy: Proxy,
    progress: Arc<Progress>,
    replicas: Arc<Replicas>,
    db: Db,
}

impl Site {
    /// A primary and a replica, of which the replica is reached through a proxy.
    async fn start(max_lag: Duration) -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let primary = Postgres::start();
        let database = primary.database();
        let options = PostgresOptions::new(primary.url(&database).parse().unwrap(), clock.clone());
        migrate::postgres::run(&options).await.unwrap();
        let replica = primary.replica(ReplicaOptions::default());
        replica.catch_up_with(&primary);
        let proxy = Proxy::before(replica.port());
        let address = replica.url_through(&proxy.address().to_string(), &database);
        let copy = Db::connect(PostgresOptions::new(address.parse().unwrap(), clock.clone())).unwrap();
        let progress = Arc::new(Progress::new(clock.instant()));
        progress.confirm(clock.instant());
        let options_of_replicas = ReplicasOptions { max_lag, clock, progress: progress.clone() };
        let replicas = Arc::new(Replicas::new(vec![("replica".to_owned(), copy)], options_of_replicas));
        let db = Db::connect(options).unwrap().reading_from(replicas.clone());
        Self { primary, replica, proxy, progress, replicas, db }
    }

    /// Writes, and has the write known before it is acknowledged, as a server does.
    async fn change(&self) -> i64 {
        let made = self.db.write(&ctx(), "test.change", |conn| Box::pin(conn.fetch_one(&CHANGE, &[]))).await.unwrap();
        self.progress.know(made);
        made
    }

    async fn look(&self, ctx: &Context) -> inkstone_core::Result<(i64, String)> {
        self.db.read(ctx, "test.where", |conn| Box::pin(conn.fetch_one(&WHERE, &[]))).await
    }

    async fn shown(&self) -> (i64, String) {
        self.look(&ctx()).await.unwrap()
    }

    /// Probes until the replica is used, or not used.
    async fn until_usable(&self, usable: bool) {
        let probed = tokio::time::timeout(Duration::from_mins(1), async {
            while self.replicas.any_usable() != usable {
                self.replicas.look().await;
            }
        });
        assert!(probed.await.is_ok(), "{:?}", self.replicas);
    }

    fn trouble(&self) -> String {
        self.replicas.stats().replicas[0].trouble.clone().unwrap_or_default()
    }
}

fn on(position: i64, server: &str) -> (i64, String) {
    (position, server.to_owned())
}

const LONG: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_replica_is_read_as_long_as_it_shows_all_that_is_known() {
    let site = Site::start(LONG).await;
    assert_eq!(site.shown().await, on(0, "primary"), "nobody has looked yet whether the replica is there");
    site.until_usable(true).await;
    assert_eq!(site.shown().await, on(0, "replica"));
    site.replica.sql("postgres", "select pg_wal_replay_pause()");
    let first = site.change().await;
    assert_eq!(site.shown().await, on(first, "primary"), "what was written is read");
    let stats = site.replicas.stats();
    assert_eq!((stats.replicas[0].behind, stats.primary_reads), (1, 2));

    // A change that only this one request knows of, as its client has told.
    site.replica.sql("postgres", "select pg_wal_replay_resume()");
    site.replica.catch_up_with(&site.primary);
    site.replica.sql("postgres", "select pg_wal_replay_pause()");
    let sql = "update counters set value = value + 1 where name = 'change_seq' returning value";
    let database = site.primary.sql("postgres", "select max(datname) from pg_database where datname like 'test%'");
    let second: i64 = site.primary.sql(&database, sql).parse().unwrap();
    assert_eq!(site.shown().await, on(first, "replica"), "nobody here knows of it");
    let told = ctx();
    told.meter.await_change(second);
    assert_eq!(site.look(&told).await.unwrap(), on(second, "primary"));
    site.replica.sql("postgres", "select pg_wal_replay_resume()");
    site.replica.catch_up_with(&site.primary);
    assert_eq!(site.look(&told).await.unwrap(), on(second, "replica"));
}

#[tokio::test]
async fn a_replica_that_lags_for_too_long_is_not_even_asked() {
    let site = Site::start(Duration::from_millis(200)).await;
    site.until_usable(true).await;
    site.replica.sql("postgres", "select pg_wal_replay_pause()");
    let made = site.change().await;
    site.until_usable(false).await;
    assert!(site.trouble().contains("lags"), "{}", site.trouble());
    let lag = site.replicas.stats().replicas[0].lag;
    assert!(lag >= Duration::from_millis(200), "{lag:?}");
    let refused = site.replicas.stats().replicas[0].behind;
    assert_eq!(site.shown().await, on(made, "primary"));
    assert_eq!(site.replicas.stats().replicas[0].behind, refused, "it was not asked");
    site.replica.sql("postgres", "select pg_wal_replay_resume()");
    site.until_usable(true).await;
    assert_eq!(site.shown().await, on(made, "replica"));
    assert_eq!(site.replicas.stats().replicas[0].lag, Duration::ZERO);
}

#[tokio::test]
async fn a_replica_that_is_away_or_says_nothing_is_passed_over() {
    let site = Site::start(LONG).await;
    site.until_usable(true).await;
    assert_eq!(site.shown().await, on(0, "replica"));
    for fault in [Fault::Reset, Fault::Hang(Toward::Both), Fault::Refuse] {
        site.proxy.set(fault);
        assert_eq!(site.shown().await, on(0, "primary"), "{fault:?}");
        assert!(!site.trouble().is_empty(), "{fault:?}");
        let failed = site.replicas.stats().replicas[0].failed;
        assert_eq!(site.shown().await, on(0, "primary"));
        assert_eq!(site.replicas.stats().replicas[0].failed, failed, "it is left alone");
        site.proxy.set(Fault::None);
        site.until_usable(true).await;
        assert_eq!(site.shown().await, on(0, "replica"), "after {fault:?}");
    }
}

#[tokio::test]
async fn without_the_primary_reads_go_on_and_say_how_old_they_may_be() {
    let site = Site::start(Duration::from_millis(50)).await;
    let made = site.change().await;
    site.replica.catch_up_with(&site.primary);
    site.until_usable(true).await;
    site.progress.confirm(SystemClock.instant());
    site.primary.process().kill();
    let began = SystemClock.instant();
    while SystemClock.instant().saturating_duration_since(began) <= Duration::from_millis(50) {
        tokio::task::yield_now().await;
    }
    let asked = ctx();
    assert_eq!(site.look(&asked).await.unwrap(), on(made, "replica"));
    assert!(asked.meter.behind().unwrap() > Duration::from_millis(50));
    let refused: inkstone_core::Result<i64> = site
        .db
        .write(&ctx_for(Duration::from_secs(5)), "test.change", |conn| Box::pin(conn.fetch_one(&CHANGE, &[])))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    // Whoever knows of more than the replica gets no old answer instead.
    let told = ctx_for(Duration::from_secs(5));
    told.meter.await_change(made + 1);
    assert_eq!(site.look(&told).await.unwrap_err().code(), Code::Unavailable);
}
