//! The access log: one line, nothing personal, nothing forged.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use inkstone_http::Settings;
use inkstone_http::extract::Call;
use inkstone_http::settings::AccessLog;
use inkstone_testkit::HandClock;
use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{request, site_at, site_with};

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Has what this thread logs from now on.
    pub(crate) fn take_down(&self) -> DefaultGuard {
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(self.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// Each line so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// Method, path and headers.
type Sent<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// The lines that these requests leave behind.
async fn lines(access_log: AccessLog, requests: &[Sent<'_>]) -> Vec<Value> {
    let log = Log::default();
    let _guard = log.take_down();
    let routes =
        Router::new().route("/api/v1/posts/{id}", get(|_: Call| async { "{}" }).delete(|_: Call| async {})).route(
            "/broken",
            get(|| async { Err::<(), _>(inkstone_http::problem::Problem::internal("secret: disk on fire")) }),
        );
    let site = site_with(Settings { access_log, ..Settings::default() }, routes);
    for (method, path, headers) in requests {
        site.send(request(method, path, headers, "")).await;
    }
    log.lines()
}

#[tokio::test]
async fn a_line_says_what_happened_and_not_what_was_asked_for() {
    let bearer = ("authorization", "Bearer user-77");
    let agent = ("user-agent", "evil agent canary");
    let trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let lines = lines(AccessLog::All, &[("GET", "/api/v1/posts/5?q=canary", &[bearer, agent, trace])]).await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["http.route"], "/api/v1/posts/{id}");
    assert_eq!((&line["http.method"], &line["http.status"]), (&"GET".into(), &200.into()));
    assert_eq!((&line["user.id"], &line["db.statements"], &line["response.bytes"]), (&77.into(), &0.into(), &2.into()));
    assert_eq!(line["trace.id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["request.id"].as_str().unwrap().len(), 36);
    assert!(line["duration_ms"].is_number());
    let text = line.to_string();
    for personal in ["canary", "203.0.113.7", "user-77", "posts/5"] {
        assert!(!text.contains(personal), "{personal}: {text}");
    }
}

#[tokio::test]
async fn only_what_is_notable_leaves_a_line() {
    let requests: &[Sent<'_>] = &[
        ("GET", "/api/v1/posts/5", &[]),
        ("DELETE", "/api/v1/posts/5", &[]),
        ("GET", "/nothing\u{2028}%0Aforged", &[]),
    ];
    let requests: Vec<_> = requests.iter().filter(|(_, path, _)| path.parse::<http::Uri>().is_ok()).copied().collect();
    let notable = lines(AccessLog::Notable, &requests).await;
    let seen: Vec<_> = notable.iter().map(|line| (line["http.method"].clone(), line["http.status"].clone())).collect();
    assert_eq!(seen[0], ("DELETE".into(), 200.into()));
    assert!(notable.iter().all(|line| !line.to_string().contains("forged")));
    assert!(lines(AccessLog::None, &requests).await.is_empty());
}

#[tokio::test]
async fn reads_that_take_long_are_notable() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let clock = HandClock::new();
    let work = |takes: Duration| {
        let clock = clock.clone();
        get(move || async move { clock.pass(takes) })
    };
    let (slow, quick) = (Duration::from_millis(700), Duration::from_millis(699));
    let routes = Router::new().route("/slow", work(slow)).route("/quick", work(quick));
    let site = site_at(Settings { slow_request: slow, ..Settings::default() }, routes, &clock);
    for path in ["/slow", "/quick"] {
        site.get(path, &[]).await;
    }
    let bytes = log.0.lock().unwrap().clone();
    let lines: Vec<Value> =
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&line["http.route"], &line["duration_ms"]), (&"/slow".into(), &700.0.into()));
}

#[tokio::test]
async fn internal_errors_are_logged_once_with_their_source() {
    let lines = lines(AccessLog::Notable, &[("GET", "/broken", &[])]).await;
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    let [error] = errors.as_slice() else { panic!("{lines:?}") };
    assert_eq!(error["error"], "secret: disk on fire");
    let access = lines.iter().find(|line| line["level"] == "INFO").unwrap();
    assert_eq!(access["request.id"], error["request.id"]);
}
