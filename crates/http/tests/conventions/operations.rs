//! The operator's listener: health with reasons, and metrics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use inkstone_core::clock::{Clock, SystemEntropy};
use inkstone_core::{Context, Result};
use inkstone_http::health::{Check, Readiness};
use inkstone_http::metrics::{Kind, Metrics, Sample};
use inkstone_http::operations::operations_router;
use inkstone_http::{Authenticate, Edge, Settings, health, middleware};
use inkstone_testkit::HandClock;
use tower::ServiceExt as _;

use crate::access_log::Log;
use crate::support::{Answer, request};

struct Broken(&'static str, Option<&'static str>);

#[async_trait]
impl Check for Broken {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn check(&self) -> std::result::Result<(), String> {
        self.1.map_or(Ok(()), |reason| Err(reason.to_owned()))
    }
}

struct Nobody;

#[async_trait]
impl Authenticate for Nobody {
    async fn authenticate(&self, _: &Context, _: &str) -> Result<inkstone_core::access::Caller> {
        Ok(inkstone_core::access::Caller::Anonymous)
    }
}

fn edge(checks: Vec<Arc<dyn Check>>) -> Edge {
    edge_at(HandClock::new(), checks)
}

fn edge_at(clock: Arc<HandClock>, checks: Vec<Arc<dyn Check>>) -> Edge {
    let samples = || {
        let sample = |role: &str, value| Sample {
            name: "database_queue_depth",
            help: "Jobs waiting",
            kind: Kind::Gauge,
            labels: vec![("role", role.to_owned())],
            value,
        };
        let counter = Sample { name: "cache_hits", help: "Hits", kind: Kind::Counter, labels: Vec::new(), value: 5.0 };
        vec![sample("reader", 3.0), sample("writer", 1.5), counter]
    };
    let metrics = Arc::new(Metrics::new("1.2.3", vec![Arc::new(samples)]));
    let clock: Arc<dyn Clock> = clock;
    let readiness = Arc::new(Readiness::new(checks));
    Edge::new(Settings::default(), clock, Arc::new(SystemEntropy), Arc::new(Nobody), b"key", metrics, readiness)
}

async fn ask(router: &Router, path: &str) -> Answer {
    Answer::of(router.clone().oneshot(request("GET", path, &[], "")).await.unwrap()).await
}

#[tokio::test]
async fn readiness_says_why_not_to_the_operator_alone() {
    let edge = edge(vec![Arc::new(Broken("database", None)), Arc::new(Broken("keys", Some("no active key")))]);
    let public = middleware::conventions(health::routes::<Edge>(), &edge).with_state(edge.clone());
    for (router, reason) in [(operations_router(&edge), Some("no active key")), (public, None)] {
        let answer = ask(&router, "/readyz").await;
        let json = answer.json();
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        let names: Vec<_> =
            json["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["database", "keys", "draining"]);
        assert_eq!(json["checks"][0]["status"], "ok");
        assert_eq!(json["checks"][1]["status"], "failed");
        assert_eq!(json["checks"][1].get("reason").and_then(|reason| reason.as_str()), reason);
        assert_eq!(ask(&router, "/livez").await.status, StatusCode::OK);
    }
}

/// Something that the process can do without.
struct Spare(Broken);

#[async_trait]
impl Check for Spare {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn check(&self) -> std::result::Result<(), String> {
        self.0.check().await
    }
}

#[tokio::test]
async fn what_the_process_can_do_without_degrades_and_takes_no_traffic_away() {
    let spare = Spare(Broken("shared cache", Some("no answer in time")));
    let edge = edge(vec![Arc::new(Broken("database", None)), Arc::new(spare)]);
    let answer = ask(&operations_router(&edge), "/readyz").await;
    let json = answer.json();
    assert_eq!((answer.status, &json["status"]), (StatusCode::OK, &"ready".into()));
    assert_eq!(json["checks"][1]["status"], "degraded");
    assert_eq!(json["checks"][1]["reason"], "no answer in time");
}

#[tokio::test]
async fn readiness_is_true_when_all_is_well() {
    let edge = edge(vec![Arc::new(Broken("database", None))]);
    let answer = ask(&operations_router(&edge), "/readyz").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["status"], "ready");
}

/// Something that fails, or not, as it is told.
struct Told(Arc<Mutex<Option<&'static str>>>);

#[async_trait]
impl Check for Told {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> std::result::Result<(), String> {
        self.0.lock().unwrap().map_or(Ok(()), |reason| Err(reason.to_owned()))
    }
}

#[tokio::test]
async fn who_asks_again_and_again_whether_it_is_ready_leaves_a_line_when_that_changes() {
    let (log, clock, told) = (Log::default(), HandClock::new(), Arc::new(Mutex::new(None)));
    let _guard = log.take_down();
    let router = operations_router(&edge_at(clock.clone(), vec![Arc::new(Told(told.clone()))]));
    for (reason, status) in [(None, 200), (Some("it is away"), 503), (Some("it is still away"), 503), (None, 200)] {
        *told.lock().unwrap() = reason;
        for _ in 0..20 {
            clock.pass(Duration::from_millis(250));
            ask(&router, "/readyz").await;
        }
        assert_eq!(ask(&router, "/readyz").await.status, status);
    }
    let lines = log.lines();
    let seen: Vec<_> = lines.iter().map(|line| (&line["check.status"], &line["check.reason"])).collect();
    assert_eq!(seen, [(&"failed".into(), &"it is away".into()), (&"ok".into(), &"".into())], "{lines:?}");
}

#[tokio::test]
async fn metrics_count_what_was_answered_and_are_not_public() {
    let edge = edge(Vec::new());
    let routes = Router::new().route("/api/v1/posts/{id}", get(|| async { "{}" })).merge(health::routes::<Edge>());
    let public = middleware::conventions(routes, &edge).with_state(edge.clone());
    for path in ["/api/v1/posts/1", "/api/v1/posts/2", "/api/v1/posts/2", "/nothing?token=secret", "/metrics"] {
        ask(&public, path).await;
    }
    assert_eq!(ask(&public, "/metrics").await.status, StatusCode::NOT_FOUND);
    edge.metrics().observe(&Method::from_bytes(b"BREW").unwrap(), None, StatusCode::OK, Duration::from_millis(3));

    let answer = ask(&operations_router(&edge), "/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        r#"inkstone_http_requests_total{method="GET",route="/api/v1/posts/{id}",status="2xx"} 3"#,
        r#"inkstone_http_requests_total{method="GET",route="unmatched",status="4xx"} 3"#,
        r#"inkstone_http_requests_total{method="OTHER",route="unmatched",status="2xx"} 1"#,
        r#"inkstone_http_request_duration_seconds_count{method="GET",route="/api/v1/posts/{id}"} 3"#,
        r#"inkstone_build_info{version="1.2.3"} 1"#,
        r#"inkstone_database_queue_depth{role="writer"} 1.5"#,
        "inkstone_cache_hits_total 5.0",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("inkstone_http_requests_in_work 1\n"), "{text}");
    assert!(!text.contains("secret"));
}
