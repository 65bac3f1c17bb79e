//! With a Redis behind the cache: what it is good for, and that nobody needs it.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use inkstone_testkit::{Inkstone, Options, until};
use serde_json::json;

use crate::BINARY;
use crate::posts::post;

/// A Redis of the test's own.
struct Redis {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Redis {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--requirepass", "hush"])
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { child, port, _directory: directory };
        until("Redis listens", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        redis
    }

    fn url(&self) -> String {
        format!("redis://:hush@127.0.0.1:{}", self.port)
    }

    fn kill(&mut self) {
        // Already gone is gone, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn behind(redis: &Redis) -> Inkstone {
    let set = |name: &str, value: &str| (format!("INKSTONE__CACHE__SHARED__{name}"), value.to_owned());
    // Generous: the machine that tests may be busy, and what is tested is not its speed.
    let env = vec![set("URL", &redis.url()), set("TIMEOUT", "2s")];
    Inkstone::start_with(BINARY, Options { env, ..Options::default() })
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
    let redis = Redis::start().await;
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
    let mut redis = Redis::start().await;
    let server = behind(&redis);
    until("the shared cache answers", async || readiness(&server).await == (200, "ok".to_owned())).await;
    let author = server.sign_up("ada", "author").await;
    let made = author.post("/api/v2/posts", &post("First")).await.expect(201);
    assert!(made.header("ratelimit").is_some(), "{made:?}");
    let path = made.header("location").unwrap().to_owned();
    redis.kill();
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
    let log = server.log_text();
    assert_eq!(log.matches("a dependency fails").count(), 1, "said once");
    assert!(!log.contains("hush"), "the log knows the password");
    let shown = Command::new(BINARY)
        .args(["config", "show", "--set", &format!("cache.shared.url={}", redis.url())])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("cache.shared.url") && !shown.contains("hush"), "{shown}");
    let set = format!("cache.shared.url={}", redis.url());
    let doctor = server.cli(&["doctor", "--set", &set]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("warn  shared cache: redis://…@127.0.0.1"), "{said}");
    assert!(!said.contains("hush"));
}
