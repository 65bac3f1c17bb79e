//! Reads from replicas: whatever becomes of a replica, nothing is shown that lacks a known change.

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::clock::{Clock as _, SharedClock, SystemClock};
use inkstone_core::events::Mark;
use inkstone_core::progress::Progress;
use inkstone_core::{Code, Context};
use inkstone_store::db::{Db, PostgresOptions, Replicas, ReplicasOptions, Statement};
use inkstone_store::migrate;
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Fault, Proxy, Toward};
use jiff::Timestamp;

use crate::bed::{ctx, ctx_for};

const CHANGE: Statement = Statement {
    name: "test.change",
    sql: "with next as (update counters set value = value + 1 where name = 'change_seq' returning value)
          insert into outbox (change_seq, event_id, kind, subject, entities, payload, request_id, at)
          select value, gen_random_uuid()::text, 'test', 'posts', '[]', '{}', 'test',
                 (extract(epoch from clock_timestamp()) * 1000000)::bigint
          from next
          returning change_seq, at",
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
    database: String,
}

/// A change that this process is not told of; its number.
fn change_unseen(server: &Postgres, database: &str) -> i64 {
    let made = server.sql(database, CHANGE.sql);
    made.split('|').next().unwrap().parse().unwrap()
}

impl Site {
    /// A primary and a replica, of which the replica is reached through a proxy.
    async fn start(max_lag: Duration) -> Self {
        Self::start_with(max_lag, false).await
    }

    /// As [`Site::start`]; what is taken for the replica may be another database, which is at change 3.
    async fn start_with(max_lag: Duration, is_mistaken: bool) -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let primary = Postgres::start();
        let database = primary.database();
        let options = PostgresOptions::new(primary.url(&database).parse().unwrap(), clock.clone());
        migrate::postgres::run(&options).await.unwrap();
        let mut follower = database.clone();
        if is_mistaken {
            follower = primary.database();
            let address = primary.url(&follower).parse().unwrap();
            migrate::postgres::run(&PostgresOptions::new(address, clock.clone())).await.unwrap();
            for _ in 0..3 {
                change_unseen(&primary, &follower);
            }
        }
        let replica = primary.replica(ReplicaOptions::default());
        replica.catch_up_with(&primary);
        let proxy = Proxy::before(replica.port());
        let address = replica.url_through(&proxy.address().to_string(), &follower);
        let copy = Db::connect(PostgresOptions::new(address.parse().unwrap(), clock.clone())).unwrap();
        let progress = Arc::new(Progress::new(clock.instant()));
        progress.confirm(clock.instant(), Mark { change_seq: 0, at: None });
        let options_of_replicas = ReplicasOptions { max_lag, clock, progress: progress.clone() };
        let replicas = Arc::new(Replicas::new(vec![("replica".to_owned(), copy)], options_of_replicas));
        let db = Db::connect(options).unwrap().reading_from(replicas.clone());
        Self { primary, replica, proxy, progress, replicas, db, database }
    }

    /// Writes, and has the write known before it is acknowledged, as a server does.
    async fn change(&self) -> i64 {
        let ctx = ctx();
        let change = self.db.write(&ctx, "test.change", |conn| Box::pin(conn.fetch_one(&CHANGE, &[])));
        let (change_seq, at): (i64, Timestamp) = change.await.unwrap();
        self.progress.know(Mark { change_seq, at: Some(at) });
        change_seq
    }

    /// A change that the replica has, too, which is read.
    async fn change_shown_by_both(&self) -> i64 {
        let made = self.change().await;
        self.replica.catch_up_with(&self.primary);
        self.until_usable(true).await;
        made
    }

    /// What a look at the primary finds, as the relay does.
    fn confirm(&self) {
        let newest = self.progress.newest().unwrap();
        self.progress.confirm(SystemClock.instant(), newest);
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
    let second = change_unseen(&site.primary, &site.database);
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
    let made = site.change_shown_by_both().await;
    site.confirm();
    site.primary.process().kill();
    let began = SystemClock.instant();
    while SystemClock.instant().saturating_duration_since(began) <= Duration::from_millis(50) {
        tokio::task::yield_now().await;
    }
    let asked = ctx();
    assert_eq!(site.look(&asked).await.unwrap(), on(made, "replica"));
    assert!(asked.meter.behind().unwrap() > Duration::from_millis(50));
    let refused: inkstone_core::Result<(i64, Timestamp)> = site
        .db
        .write(&ctx_for(Duration::from_secs(5)), "test.change", |conn| Box::pin(conn.fetch_one(&CHANGE, &[])))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    // Whoever knows of more than the replica gets no old answer instead.
    let told = ctx_for(Duration::from_secs(5));
    told.meter.await_change(made + 1);
    assert_eq!(site.look(&told).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_replica_with_another_history_is_not_read_however_far_it_is() {
    let site = Site::start(LONG).await;
    let made = site.change_shown_by_both().await;
    assert_eq!(site.shown().await, on(made, "replica"));
    // From here on it takes changes of its own, as a primary would whose last changes were lost.
    site.replica.promote();
    for _ in 0..3 {
        change_unseen(&site.replica, &site.database);
    }
    for later in 1..=4 {
        assert_eq!(site.change().await, made + later);
        let told = ctx();
        told.meter.await_change(made + later);
        assert_eq!(site.look(&told).await.unwrap().0, made + later, "and not what was lost");
        assert_eq!(site.shown().await.0, made + later);
        if later <= 3 {
            assert!(site.trouble().contains("another history"), "{}", site.trouble());
            site.replicas.look().await;
            assert!(!site.replicas.any_usable());
        }
    }
}

#[tokio::test]
async fn a_replica_that_has_more_than_the_primary_is_not_read_once_that_was_asked() {
    let site = Site::start(LONG).await;
    let made = site.change_shown_by_both().await;
    site.replica.promote();
    change_unseen(&site.replica, &site.database);
    site.replicas.look().await;
    assert!(site.replicas.any_usable(), "it may be first, and nobody has asked the primary since");
    let condemned = tokio::time::timeout(Duration::from_mins(1), async {
        while site.replicas.any_usable() {
            site.confirm();
            site.replicas.look().await;
        }
    });
    assert!(condemned.await.is_ok());
    assert!(site.trouble().contains("which the primary does not have"), "{}", site.trouble());
    assert_eq!(site.shown().await, on(made, "primary"));
}

#[tokio::test]
async fn after_changes_were_lost_a_replica_that_may_still_have_them_is_not_read_for_a_moment() {
    let site = Site::start(LONG).await;
    let made = site.change_shown_by_both().await;
    site.replica.promote();
    let lost = change_unseen(&site.replica, &site.database);
    site.replicas.look().await;
    assert_eq!(site.shown().await.0, lost, "it may be first");
    // What a look finds after a failover that lost changes. Nobody has looked at the replica since.
    let newest = site.progress.newest().unwrap();
    site.progress.start_over(made);
    assert_eq!(site.shown().await, on(made, "primary"));
    site.progress.confirm(SystemClock.instant(), newest);
    assert_eq!(site.shown().await, on(made, "primary"));
    site.replicas.look().await;
    assert_eq!(site.shown().await, on(made, "primary"), "what it shows may be what was lost");
}

#[tokio::test]
async fn after_changes_were_lost_a_replica_of_the_primary_is_read_on() {
    let site = Site::start(LONG).await;
    let made = site.change_shown_by_both().await;
    let newest = site.progress.newest().unwrap();
    site.progress.start_over(made);
    site.progress.confirm(SystemClock.instant(), newest);
    assert_eq!(site.shown().await, on(made, "primary"), "nobody has looked");
    site.replicas.look().await;
    assert_eq!(site.shown().await, on(made, "replica"));
    // Again; now it is always a change ahead of what is known, as on a busy site.
    site.progress.start_over(made);
    site.progress.confirm(SystemClock.instant(), newest);
    let next = change_unseen(&site.primary, &site.database);
    site.replica.catch_up_with(&site.primary);
    site.replicas.look().await;
    assert!(!site.replicas.any_usable(), "{next} may be of another history");
    assert_eq!(site.change().await, next + 1);
    site.replica.catch_up_with(&site.primary);
    let latest = change_unseen(&site.primary, &site.database);
    site.replica.catch_up_with(&site.primary);
    site.replicas.look().await;
    assert_eq!(site.shown().await, on(latest, "replica"));
}

#[tokio::test]
async fn another_database_is_no_replica() {
    let site = Site::start_with(LONG, true).await;
    for made in 1..=3 {
        assert_eq!(site.change().await, made);
        site.replicas.look().await;
        assert_eq!(site.shown().await, on(made, "primary"));
        assert!(site.trouble().contains("is another database"), "{}", site.trouble());
    }
}
