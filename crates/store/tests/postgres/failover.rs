//! The primary dies, or becomes a replica, and another server takes its place.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inkstone_core::Code;
use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_core::guard::breaker::BreakerSettings;
use inkstone_core::guard::bulkhead::BulkheadSettings;
use inkstone_core::guard::retry::RetrySettings;
use inkstone_core::guard::{Guard, GuardSettings};
use inkstone_store::db::{Db, PostgresOptions};
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Fault, Proxy, Toward};

use crate::backend::NOTES;
use crate::bed::{Bed, NOTE_TEXTS, add, ctx, ctx_for};

/// A primary with a replica that confirms every commit, the name of a database there, and the
/// executor on both.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    db: Db,
}

impl Pair {
    fn start() -> Self {
        let primary = Postgres::start();
        let database = primary.database();
        primary.sql(&database, NOTES);
        let standby = primary.replica(ReplicaOptions { synchronous: true, ..ReplicaOptions::default() });
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
        let address = primary.url_through(&hosts, &database).parse().unwrap();
        let db = Db::connect(PostgresOptions::new(address, Arc::new(SystemClock))).unwrap();
        Self { primary, standby, db }
    }
}

/// The first host was stopped, or lost its power: it takes connections, or not even that, and says nothing.
#[tokio::test]
async fn a_host_that_says_nothing_does_not_keep_us_from_the_next_one() {
    let bed = Bed::new();
    let proxy = Proxy::before(Postgres::shared().port());
    proxy.set(Fault::Hang(Toward::Both));
    let hosts = format!("{},127.0.0.1:{}", proxy.address(), Postgres::shared().port());
    let address = Postgres::shared().url_through(&hosts, bed.database.name()).parse().unwrap();
    let options = PostgresOptions::new(address, Arc::new(SystemClock));
    // With time enough it is found at once, also by a program that starts.
    inkstone_store::migrate::postgres::applied(&options).await.unwrap();
    let patient = Db::connect(options.clone()).unwrap();
    write(&patient, "patient".to_owned()).await.unwrap();
    // Nobody who comes has time for the first one: each leaves the next one further.
    let hasty = Db::connect(options).unwrap();
    let read = || {
        let db = hasty.clone();
        async move {
            let ctx = ctx_for(Duration::from_secs(1));
            db.read(&ctx, "notes.texts", |conn| Box::pin(conn.fetch_all::<String>(&NOTE_TEXTS, &[]))).await
        }
    };
    read().await.unwrap_err();
    let found = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            if let Ok(found) = read().await {
                return found;
            }
        }
    });
    assert_eq!(found.await.expect("the second host is found"), ["patient"]);
}

async fn write(db: &Db, text: String) -> inkstone_core::Result<i64> {
    let ctx = ctx_for(Duration::from_secs(5));
    db.write(&ctx, "notes.add", move |conn| Box::pin(async move { add(conn, &text).await })).await
}

async fn texts(db: &Db) -> Vec<String> {
    db.read(&ctx(), "notes.texts", |conn| Box::pin(conn.fetch_all(&NOTE_TEXTS, &[]))).await.unwrap()
}

/// Writes one note after the other until it is told to stop.
#[derive(Default)]
struct Writers {
    stop: AtomicBool,
    acked: AtomicUsize,
    /// What was acknowledged, and when.
    log: Mutex<Vec<(String, Instant)>>,
}

impl Writers {
    async fn work(self: Arc<Self>, db: Db, name: usize) {
        for number in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let text = format!("{name}-{number}");
            match write(&db, text.clone()).await {
                Ok(_) => {
                    self.log.lock().unwrap().push((text, SystemClock.instant()));
                    self.acked.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => assert_eq!(error.code(), Code::Unavailable, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn acknowledged(&self, more: usize) {
        let enough = self.acked.load(Ordering::SeqCst) + more;
        let reached = tokio::time::timeout(Duration::from_mins(1), async {
            while self.acked.load(Ordering::SeqCst) < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(reached.await.is_ok(), "writes do not go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_writes_go_on_and_nothing_acknowledged_is_lost() {
    let Pair { primary, standby, db } = Pair::start();
    let writers = Arc::new(Writers::default());
    let tasks: Vec<_> = (0..4).map(|name| tokio::spawn(Arc::clone(&writers).work(db.clone(), name))).collect();
    writers.acknowledged(100).await;
    primary.process().kill();
    let killed = SystemClock.instant();
    standby.promote();
    let promoted = SystemClock.instant();
    writers.acknowledged(100).await;
    writers.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let there = texts(&db).await;
    let log = writers.log.lock().unwrap();
    let distinct: BTreeSet<&String> = there.iter().collect();
    assert_eq!(distinct.len(), there.len(), "nothing is there twice");
    for (text, _) in log.iter() {
        assert!(distinct.contains(text), "{text} was acknowledged and is lost");
    }
    let gap = log.windows(2).map(|pair| pair[1].1.saturating_duration_since(pair[0].1)).max().unwrap();
    println!(
        "{} acknowledged, 0 lost; longest time without an acknowledgement {gap:?}, of which the promotion took {:?}",
        log.len(),
        promoted.saturating_duration_since(killed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_server_that_has_become_a_replica_are_given_up() {
    let Pair { primary, standby, db } = Pair::start();
    write(&db, "before".to_owned()).await.unwrap();
    // As after a switch-over: it answers, on the same connections, and takes no writes.
    primary.sql("postgres", "alter system set synchronous_standby_names = ''");
    primary.sql("postgres", "alter system set default_transaction_read_only = on");
    primary.sql("postgres", "select pg_reload_conf()");
    standby.catch_up_with(&primary);
    standby.promote();
    let mut errors = 0;
    while let Err(error) = write(&db, format!("after {errors}")).await {
        assert_eq!(error.code(), Code::Unavailable);
        errors += 1;
        assert!(errors < 50, "it goes on writing to the old primary");
    }
    assert_eq!(texts(&db).await.len(), 2);
    println!("{errors} writes were refused until the new primary was found");
}

#[tokio::test]
async fn a_read_whose_connection_is_dead_is_read_over_another() {
    let server = Postgres::shared();
    let database = crate::database::Database::empty();
    server.sql(database.name(), NOTES);
    let proxy = Proxy::before(server.port());
    let address = server.url_through(&proxy.address().to_string(), database.name()).parse().unwrap();
    let settings = GuardSettings {
        timeout: Duration::from_mins(1),
        bulkhead: BulkheadSettings { concurrency: 1, queue: 0 },
        breaker: BreakerSettings::default(),
        retry: RetrySettings { attempts: 2, ..RetrySettings::default() },
    };
    let guard = Guard::new("reads", settings, Arc::new(SystemClock), 1);
    let db = Db::connect(PostgresOptions::new(address, Arc::new(SystemClock))).unwrap().guarded(guard, None);
    write(&db, "one".to_owned()).await.unwrap();
    let many = async || futures_util::future::join_all((0..8).map(|_| texts(&db))).await;
    // Ten reads pay for one that is repeated.
    for _ in 0..10 {
        many().await;
    }
    assert!(proxy.counts().open > 1, "there is a pool to be stale");
    // Dead, which nobody knows before something is sent.
    proxy.set_existing(Fault::ResetAfter { toward: Toward::Server, bytes: 1 });
    assert_eq!(many().await, vec![vec!["one".to_owned()]; 8]);
    // A write may have happened: it is not repeated. The writer's connection went with the others.
    write(&db, "two".to_owned()).await.unwrap();
    proxy.set_existing(Fault::ResetAfter { toward: Toward::Server, bytes: 1 });
    assert_eq!(write(&db, "lost".to_owned()).await.unwrap_err().code(), Code::Unavailable);
    write(&db, "three".to_owned()).await.unwrap();
}
