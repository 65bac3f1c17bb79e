//! What holds of every database that cannot be reached, whoever made it.

use std::time::Duration;

use futures_util::future::join_all;
use inkstone_testkit::history::Promise;
use inkstone_testkit::{Client, Figures, Inkstone, Options, until};
use serde_json::{Value, json};

use super::smoke::TITLE;
use super::trial::Trial;
use crate::posts::post;
use crate::shared_cache::metric;
use crate::{BINARY, open_store};

/// A server on this database. `settings` are without `INKSTONE__`.
pub(super) fn serve(url: &str, settings: &[(&str, &str)]) -> Inkstone {
    let mut env = vec![
        ("INKSTONE__STORE__URL".to_owned(), url.to_owned()),
        // Twice of what is the default, since machines that test are slow. Other tests have more patience.
        ("INKSTONE__STORE__TIMEOUT".to_owned(), "4s".to_owned()),
    ];
    env.extend(settings.iter().map(|(name, value)| (format!("INKSTONE__{name}"), (*value).to_owned())));
    Inkstone::start_with(BINARY, Options { env, ..Options::default() })
}

pub(super) async fn begin(server: &Inkstone, name: &str) -> Trial {
    Trial::begin(name, server, &[server.base()], Promise::default()).await
}

pub(super) async fn end(server: &Inkstone, trial: Trial) -> Figures {
    trial.end(&server.client(), &open_store(server)).await
}

/// How often a guard has opened.
pub(super) async fn opened(server: &Inkstone, guard: &str) -> f64 {
    metric(server, &format!("inkstone_guard_transitions_total{{dependency=\"{guard}\",to=\"open\"}} ")).await
}

async fn failures(server: &Inkstone, guard: &str) -> f64 {
    metric(server, &format!("inkstone_guard_failures_total{{dependency=\"{guard}\"}} ")).await
}

/// Waits until a dependency is not asked any more.
pub(super) async fn until_open(server: &Inkstone, guard: &str) {
    until("the breaker opens", async || opened(server, guard).await >= 1.0).await;
}

/// An author, and where their public post is that everybody has read, so that it is in the cache.
pub(super) async fn popular(server: &Inkstone) -> (Client, String) {
    let author = server.with_token("popular", "author");
    let made = author.post("/api/v2/posts", &post(TITLE)).await.expect(201);
    let path = made.header("location").unwrap().to_owned();
    let reader = server.client();
    reader.get(&path).await.expect(200);
    (author, path)
}

/// What holds of a node that starts while its database takes no changes, though one of its own is due.
pub(super) async fn started_while_nothing_is_written(
    mut server: Inkstone,
    sql: impl Fn(&str),
    only_reads: impl FnOnce(),
    writes: impl FnOnce(),
) {
    let (author, popular) = popular(&server).await;
    sql("update signing_keys set state_since = 0, created_at = 0");
    only_reads();
    server.restart();
    let author = server.client().with_token(author.token().unwrap());
    assert_eq!(server.client().get(&popular).await.expect(200).json()["title"], TITLE);
    author.get("/api/v2/me").await.expect(200);
    server.client().get("/.well-known/jwks.json").await.expect(200);
    let refused = author.post("/api/v2/posts", &post("Not now")).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    writes();
    let again = async {
        while author.post("/api/v2/posts", &post("Now")).await.status != 201 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(inkstone_testkit::PATIENCE, again).await.expect("changes are taken again");
}

/// What holds of every fault that makes the database unreachable, for some seconds.
pub(super) async fn without_its_database(
    server: &Inkstone,
    name: &str,
    strike: impl FnOnce(),
    heal: impl FnOnce(),
) -> Figures {
    without_its_database_for(Duration::from_secs(5), server, name, strike, heal).await
}

/// The same for a longer time.
pub(super) async fn without_its_database_for(
    time: Duration,
    server: &Inkstone,
    name: &str,
    strike: impl FnOnce(),
    heal: impl FnOnce(),
) -> Figures {
    let (author, popular) = popular(server).await;
    let mut trial = begin(server, name).await;
    trial.strikes();
    strike();
    // With reads, who somebody is cannot be found out either, so that few writes get as far as to fail.
    until_open(server, "database_reads").await;
    trial.nobody_is_let_in().await;
    trial.felt(100).await;
    let cached = server.client().get(&popular).await.expect(200);
    assert_eq!(cached.json()["title"], TITLE, "what is kept is served");
    let refused = author.post("/api/v2/posts", &json!({"title": "x", "content": {"markdown": "x"}})).await.expect(503);
    assert_eq!(refused.problem(), "unavailable");
    server.client().get("/livez").await.expect(200);
    let ready = server.operations().get("/readyz").await.expect(503).json();
    let writes = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database_writes").unwrap();
    assert_eq!(writes["status"], "degraded", "none gets through: {ready}");
    for guard in ["database_reads", "database_writes"] {
        // Those that were waiting when it opened fail after it, without a say.
        let (failures, opened) = (failures(server, guard).await, opened(server, guard).await);
        println!("{name}: {guard} opened {opened} times after {failures} failures");
    }
    trial.holds(time).await;
    heal();
    trial.heals();
    let figures = end(server, trial).await;
    assert!(figures.writes.errors > 0, "it was felt: {figures}");
    assert!(figures.errors.keys().all(|status| [0, 503, 504].contains(status)), "{figures}");
    for said in ["a dependency fails", "a dependency works again"] {
        programs_can_read(&server.logged(said));
    }
    figures
}

/// A log has numbers where it counts, words where it names, and nothing that says nothing.
#[track_caller]
fn programs_can_read(log: &str) {
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut states = 0;
    for line in lines {
        assert!(!line["target"].as_str().unwrap().starts_with("deadpool"), "{line}");
        assert!(line.get("db.duration_ms").is_none_or(Value::is_u64), "{line}");
        assert!(line.get("db.kind").is_none_or(|kind| kind == "read" || kind == "write"), "{line}");
        if line["message"] == "the database does not do all that it should" {
            assert!(line["state"] == "unreachable" || line["state"] == "read-only", "{line}");
            assert!(!line["error"].as_str().unwrap().is_empty(), "{line}");
            states += 1;
        }
    }
    assert!(states > 0, "it is said that the database is away");
}

/// What holds of every database that has no connection for whoever has none yet. `take` takes those away that
/// there are, `give` gives back as many as anybody wants.
pub(super) async fn without_a_connection(server: &Inkstone, name: &str, take: impl FnOnce(), give: impl FnOnce()) {
    let (_, popular) = popular(server).await;
    let mut trial = begin(server, name).await;
    trial.strikes();
    take();
    let refused = tokio::time::timeout(inkstone_testkit::PATIENCE, async {
        loop {
            let client = server.client();
            for answer in join_all((0..20).map(|_| client.get(&popular))).await {
                assert!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
                if answer.status == 503 && answer.problem() == "overloaded" {
                    return answer;
                }
            }
        }
    });
    assert!(refused.await.expect("it is said").header("retry-after").is_some());
    trial.nobody_is_let_in().await;
    trial.felt(100).await;
    server.client().get("/livez").await.expect(200);
    give();
    trial.heals();
    let figures = end(server, trial).await;
    assert!(figures.errors.keys().all(|status| [503, 504].contains(status)), "{figures}");
}
