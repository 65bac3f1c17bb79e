//! With a Redis behind the cache: what it is good for, and that nobody needs it.

use std::sync::Arc;

use inkstone_testkit::services::{Authority, PASSWORD, Redis, RedisCluster, RedisOptions, free_ports};
use inkstone_testkit::{Inkstone, Options, until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::posts::post;

/// A Redis of the test's own, with a password.
fn redis() -> Redis {
    Redis::start_with(RedisOptions { password: true, ..RedisOptions::default() })
}

fn setting(name: &str, value: &str) -> (String, String) {
    (format!("INKSTONE__CACHE__SHARED__{name}"), value.to_owned())
}

fn behind(redis: &Redis) -> Inkstone {
    with(vec![setting("URL", &redis.url())])
}

fn with(mut env: Vec<(String, String)>) -> Inkstone {
    // Generous: the machine that tests may be busy, and what is tested is not its speed.
    env.push(setting("TIMEOUT", "2s"));
    Inkstone::start_with(BINARY, Options { env, ..Options::default() })
}

/// The warnings in the log that say something of the shared cache.
fn warnings(server: &Inkstone) -> Vec<Value> {
    let log = server.log_text();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == "WARN" && line.to_string().contains("shared cache")).collect()
}

/// What `doctor` says of the shared cache.
fn diagnosis(server: &Inkstone, settings: &[(String, String)]) -> Vec<Value> {
    let mut arguments = vec!["doctor".to_owned(), "--json".to_owned()];
    for (name, value) in settings {
        let name = name.trim_start_matches("INKSTONE__").to_lowercase().replace("__", ".");
        arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    let report: Vec<Value> = serde_json::from_slice(&server.cli(&arguments).stdout).unwrap();
    report.into_iter().filter(|finding| finding["check"] == "shared cache").collect()
}

/// What `/readyz` says of the shared cache, and its status.
async fn readiness(server: &Inkstone) -> (u16, String) {
    let answer = server.operations().get("/readyz").await;
    let checks = answer.json()["checks"].as_array().unwrap().clone();
    let shared = checks.iter().find(|check| check["name"] == "shared_cache").unwrap();
    (answer.status.as_u16(), shared["status"].as_str().unwrap().to_owned())
}

/// The value of the metric on the line that begins like this.
pub(crate) async fn metric(server: &Inkstone, line: &str) -> f64 {
    let text = server.operations().get("/metrics").await.text();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{line} is not among\n{text}"))
}

#[tokio::test]
async fn a_process_that_starts_anew_finds_what_the_last_one_made_and_nothing_old() {
    let redis = redis();
    let mut server = behind(&redis);
    until("the shared cache answers", async || readiness(&server).await == (200, "ok".to_owned())).await;
    let author = server.sign_up("ada", "author").await;
    let made = author.post("/api/v2/posts", &post("First")).await.expect(201);
    let other = author.post("/api/v2/posts", &post("Other")).await.expect(201);
    let (path, other) = (made.header("location").unwrap(), other.header("location").unwrap());
    let before = server.client().get(path).await.expect(200);
    server.client().get(other).await.expect(200);
    until("both are shared", async || metric(&server, "inkstone_shared_cache_puts_total ").await >= 2.0).await;
    let tag = before.etag().to_owned();
    author.patch(path, &tag, &json!({"title": "Second"})).await.expect(200);

    server.restart();
    until("the shared cache answers", async || readiness(&server).await == (200, "ok".to_owned())).await;
    let found = server.client().get(other).await.expect(200);
    assert!(found.header("cache-status").unwrap().starts_with("inkstone; hit; ttl="), "{found:?}");
    assert!(found.header("age").is_some());
    let changed = server.client().get(path).await.expect(200);
    assert_eq!(changed.json()["title"], "Second");
    assert_eq!(changed.header("cache-status"), Some("inkstone; fwd=uri-miss; stored"));
    assert!(metric(&server, "inkstone_shared_cache_lookups_total{outcome=\"hit\"} ").await >= 1.0);
    assert!(metric(&server, "inkstone_shared_cache_lookups_total{outcome=\"outdated\"} ").await >= 1.0);
}

#[tokio::test]
async fn without_its_redis_a_server_is_degraded_and_answers_everything() {
    let redis = redis();
    let server = behind(&redis);
    until("the shared cache answers", async || readiness(&server).await == (200, "ok".to_owned())).await;
    let author = server.sign_up("ada", "author").await;
    let made = author.post("/api/v2/posts", &post("First")).await.expect(201);
    assert!(made.header("ratelimit").is_some(), "{made:?}");
    let path = made.header("location").unwrap().to_owned();
    redis.process().kill();
    let mut tag = made.etag().to_owned();
    for round in 0..20 {
        let title = format!("Round {round}");
        let written = author.patch(&path, &tag, &json!({"title": title})).await.expect(200);
        assert!(written.header("ratelimit").is_some(), "it counts for itself");
        tag = written.etag().to_owned();
        assert_eq!(server.client().get(&path).await.expect(200).json()["title"], title);
    }
    until("it is reported", async || readiness(&server).await == (200, "degraded".to_owned())).await;
    assert!(metric(&server, "inkstone_guard_transitions_total{dependency=\"shared_cache\",to=\"open\"} ").await >= 1.0);
    let log = server.logged("a dependency fails");
    assert_eq!(log.matches("a dependency fails").count(), 1, "said once");
    assert!(!log.contains(PASSWORD), "the log knows the password");
    let [finding] = &diagnosis(&server, &[setting("URL", &redis.url())])[..] else { panic!("one finding") };
    assert!(finding["message"].as_str().unwrap().starts_with("redis://…@127.0.0.1"), "{finding}");
    assert!(finding["status"] == "warn" && !finding.to_string().contains(PASSWORD), "{finding}");
}

#[tokio::test]
async fn whoever_starts_without_its_redis_says_so_once_and_answers() {
    let port = free_ports(1)[0];
    let server = with(vec![setting("URL", &format!("redis://:hush@127.0.0.1:{port}"))]);
    let author = server.sign_up("ada", "author").await;
    author.post("/api/v2/posts", &post("First")).await.expect(201);
    until("it is said", async || !warnings(&server).is_empty()).await;
    until("it is reported", async || readiness(&server).await == (200, "degraded".to_owned())).await;
    let said = warnings(&server);
    let cannot = said.iter().filter(|line| line.to_string().contains("cannot be reached")).count();
    assert_eq!(cannot, 1, "{said:?}");
    assert!(said[0].to_string().contains("refused"), "{said:?}");
    assert!(!server.log_text().contains("hush"));
}

#[tokio::test]
async fn secrets_come_from_files_and_tls_is_checked() {
    let (ours, theirs) = (Arc::new(Authority::new()), Authority::new());
    let redis = Redis::start_with(RedisOptions { password: true, tls: Some(ours.clone()), ..RedisOptions::default() });
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let settings = |authority: &Authority| {
        vec![
            setting("URL", &format!("rediss://default@127.0.0.1:{}", redis.port())),
            setting("TLS__AUTHORITIES", &authority.file().display().to_string()),
        ]
    };
    let mut from_file = settings(&ours);
    from_file.push(setting("SECRET_FILE", &file.display().to_string()));
    let server = with(from_file);
    until("the shared cache answers", async || readiness(&server).await == (200, "ok".to_owned())).await;
    let mut trusted = settings(&ours);
    trusted.push(setting("SECRET", PASSWORD));
    let [finding] = &diagnosis(&server, &trusted)[..] else { panic!("one finding") };
    assert_eq!(finding["status"], "ok", "{finding}");
    let shown = server.cli(&["config", "show", "--set", &format!("cache.shared.secret={PASSWORD}")]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("cache.shared.secret") && !shown.contains(PASSWORD), "{shown}");

    let mut strange = settings(&theirs);
    strange.push(setting("SECRET", PASSWORD));
    let [finding] = &diagnosis(&server, &strange)[..] else { panic!("one finding") };
    assert!(finding["message"].to_string().contains("UnknownIssuer"), "{finding}");
    assert!(finding["advice"].to_string().contains("cache.shared.tls.authorities"), "{finding}");
    let degraded = with(strange);
    until("it is said", async || !warnings(&degraded).is_empty()).await;
    assert!(warnings(&degraded)[0].to_string().contains("UnknownIssuer"));
    assert_eq!(readiness(&degraded).await, (200, "degraded".to_owned()));
    degraded.client().get("/api/v2/posts").await.expect(200);
}

#[tokio::test]
async fn a_user_that_lacks_a_right_is_named_in_the_log_and_by_doctor() {
    let users = vec!["blog on >hush ~inkstone:* &inkstone:* +@all -eval".to_owned()];
    let redis = Redis::start_with(RedisOptions { password: true, users, ..RedisOptions::default() });
    let url = setting("URL", &format!("redis://blog:hush@127.0.0.1:{}", redis.port()));
    // A quota that nobody uses up, but that is counted.
    let server = with(vec![url.clone()]);
    let author = server.sign_up("ada", "author").await;
    until("it is said", async || {
        author.get("/api/v2/me").await.expect(200);
        author.post("/api/v2/tags", &json!({})).await;
        !warnings(&server).is_empty()
    })
    .await;
    let said = warnings(&server);
    assert!(said[0].to_string().contains("'eval'"), "{said:?}");
    assert!(said[0].to_string().contains("rate limits count per process"), "{said:?}");
    assert_eq!(said.len(), 1, "{said:?}");
    let [finding] = &diagnosis(&server, &[url])[..] else { panic!("one finding") };
    assert!(finding["message"].to_string().contains("'eval'"), "{finding}");
    assert!(finding["advice"].to_string().contains("ACL SETUSER"), "{finding}");
}

#[tokio::test]
async fn a_cluster_that_loses_a_node_is_not_noticed() {
    let cluster = RedisCluster::start(&RedisOptions::default());
    let server = with(vec![setting("URL", &format!("redis+cluster://{}", cluster.hosts()))]);
    until("the shared cache answers", async || readiness(&server).await == (200, "ok".to_owned())).await;
    let author = server.sign_up("ada", "author").await;
    let mut paths = Vec::new();
    for round in 0..12 {
        let made = author.post("/api/v2/posts", &post(&format!("Round {round}"))).await.expect(201);
        assert!(made.header("ratelimit").is_some());
        paths.push(made.header("location").unwrap().to_owned());
        server.client().get(&paths[round]).await.expect(200);
    }
    cluster.nodes()[1].process().kill();
    for (round, path) in paths.iter().enumerate() {
        let tag = server.client().get(path).await.expect(200).etag().to_owned();
        let title = format!("Again {round}");
        author.patch(path, &tag, &json!({"title": title})).await.expect(200);
        assert_eq!(server.client().get(path).await.expect(200).json()["title"], title);
    }
    until("it is reported", async || readiness(&server).await == (200, "degraded".to_owned())).await;
    cluster.nodes()[1].process().restart();
    until("the shared cache answers", async || readiness(&server).await == (200, "ok".to_owned())).await;
}
