//! Battery rows F6 and F12: what clients feel of a PostgreSQL that is in trouble.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use inkstone_testkit::history::Promise;
use inkstone_testkit::services::Postgres;
use inkstone_testkit::{Client, Fault, Figures, Inkstone, Options, Proxy, Toward};
use serde_json::json;

use super::smoke::TITLE;
use super::trial::Trial;
use crate::posts::post;
use crate::shared_cache::metric;
use crate::{BINARY, open_store};

/// A PostgreSQL of the test's own behind a proxy, and a server on it.
struct Stage {
    server: Inkstone,
    proxy: Proxy,
    postgres: Arc<Postgres>,
}

impl Stage {
    fn set(settings: &[(&str, &str)]) -> Self {
        let postgres = Arc::new(Postgres::start());
        let database = postgres.database();
        Self::on(postgres, &database, settings)
    }

    fn on(postgres: Arc<Postgres>, database: &str, settings: &[(&str, &str)]) -> Self {
        let proxy = Proxy::before(postgres.port());
        let url = postgres.url_through(&proxy.address().to_string(), database);
        let mut env = vec![
            ("INKSTONE__STORE__URL".to_owned(), url),
            // Twice of what is the default, since machines that test are slow. Other tests have more patience.
            ("INKSTONE__STORE__TIMEOUT".to_owned(), "4s".to_owned()),
        ];
        env.extend(settings.iter().map(|(name, value)| (format!("INKSTONE__{name}"), (*value).to_owned())));
        let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
        Self { server, proxy, postgres }
    }

    async fn begin(&self, name: &str) -> Trial {
        Trial::begin(name, &self.server, &[self.server.base()], Promise::default()).await
    }

    async fn opened(&self, guard: &str) -> f64 {
        let name = format!("inkstone_guard_transitions_total{{dependency=\"{guard}\",to=\"open\"}} ");
        metric(&self.server, &name).await
    }

    async fn failures(&self, guard: &str) -> f64 {
        metric(&self.server, &format!("inkstone_guard_failures_total{{dependency=\"{guard}\"}} ")).await
    }

    /// Waits until the database is not asked any more. With reads, who somebody is cannot be found out
    /// either, so that few writes get as far as to fail.
    async fn until_open(&self) {
        let opened = async {
            while self.opened("database_reads").await < 1.0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(inkstone_testkit::PATIENCE, opened).await.expect("the breaker opens");
    }

    /// A public post that everybody has read, so that it is in the cache.
    async fn popular(&self) -> (Client, String) {
        let author = self.server.with_token("popular", "author");
        let made = author.post("/api/v2/posts", &post(TITLE)).await.expect(201);
        let path = made.header("location").unwrap().to_owned();
        let reader = self.server.client();
        reader.get(&path).await.expect(200);
        (author, path)
    }

    async fn end(&self, trial: Trial) -> Figures {
        trial.end(&self.server.client(), &open_store(&self.server)).await
    }
}

/// What holds of every fault that makes the database unreachable.
async fn without_its_database(stage: &Stage, name: &str, strike: impl FnOnce(), heal: impl FnOnce()) {
    let (author, popular) = stage.popular().await;
    let mut trial = stage.begin(name).await;
    trial.strikes();
    strike();
    stage.until_open().await;
    trial.nobody_is_let_in().await;
    trial.felt(100).await;
    let cached = stage.server.client().get(&popular).await.expect(200);
    assert_eq!(cached.json()["title"], TITLE, "what is kept is served");
    let refused = author.post("/api/v2/posts", &json!({"title": "x", "content": {"markdown": "x"}})).await.expect(503);
    assert_eq!(refused.problem(), "unavailable");
    stage.server.client().get("/livez").await.expect(200);
    stage.server.operations().get("/readyz").await.expect(503);
    for guard in ["database_reads", "database_writes"] {
        // Those that were waiting when it opened fail after it, without a say.
        let (failures, opened) = (stage.failures(guard).await, stage.opened(guard).await);
        println!("{name}: {guard} opened {opened} times after {failures} failures");
    }
    trial.holds(Duration::from_secs(5)).await;
    heal();
    trial.heals();
    let figures = stage.end(trial).await;
    assert!(figures.writes.errors > 0, "it was felt: {figures}");
    assert!(figures.errors.keys().all(|status| [0, 503, 504].contains(status)), "{figures}");
    let log = stage.server.log_text();
    for said in ["a dependency fails", "a dependency works again"] {
        assert!(log.contains(said), "the log does not say: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_hangs_is_not_waited_for_and_found_again() {
    let stage = Stage::set(&[]);
    let process = stage.postgres.process();
    without_its_database(&stage, "PostgreSQL hung (SIGSTOP)", || process.pause(), || process.resume()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_is_found_again_when_it_is_back() {
    let stage = Stage::set(&[]);
    let process = stage.postgres.process();
    without_its_database(&stage, "PostgreSQL killed", || process.kill(), || process.restart()).await;
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
    without_its_database(&stage, "PostgreSQL out of reach (packets lost)", swallow, heal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_clients_at_a_locked_table_most_are_refused_at_once() {
    let stage = Stage::set(&[("STORE__READ_QUEUE", "16"), ("STORE__READERS", "4"), ("CACHE__MAX_BYTES", "0")]);
    let (_, popular) = stage.popular().await;
    let server = &stage.server;
    let database = server.database_url().unwrap().rsplit('/').next().unwrap().to_owned();
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
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock%' and pid <> pg_backend_pid()";
    stage.postgres.sql(&database, end);
    locker.await.unwrap();
    let told: Vec<_> = answers.iter().map(|answer| (answer.status.as_u16(), answer.problem())).collect();
    let overloaded = told.iter().filter(|told| **told == (503, "overloaded".to_owned())).count();
    assert!(told.iter().all(|(status, _)| *status == 503), "{told:?}");
    assert!(overloaded >= 150, "{overloaded} of 200 were refused by the bound of the queue");
    // Nothing has to be restarted.
    let patience = tokio::time::timeout(inkstone_testkit::PATIENCE, async {
        while server.client().get(&popular).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    patience.await.expect("it recovers");
}
