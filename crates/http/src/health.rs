//! Whether the process lives, and whether it should get traffic.
//!
//! `/livez` asks nobody: who cannot answer it is to be restarted. `/readyz` asks everything the
//! process depends on, and says no while it drains. Both are on the main listener for load
//! balancers; why something fails is said on the operations listener only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::future::join_all;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use inkstone_core::Code;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::app::Edge;
use crate::problem::{Problem, Result};

/// The addresses of the health checks; they pass every gate.
pub const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The status of what works.
const WELL: &str = "ok";
/// The status of what is vital and does not work.
const FAILED: &str = "failed";
/// The status of what is not vital and does not work.
const DEGRADED: &str = "degraded";

/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a report is good: however often it is asked for, the dependencies are not.
const REPORT_LIFETIME: Duration = Duration::from_secs(1);

/// Something that the process depends on.
#[async_trait]
pub trait Check: Send + Sync {
    /// Its name: `database`, `keys`, `disk`.
    fn name(&self) -> &'static str;
    /// Whether the process is to get no traffic while it does not work. What is not vital is reported
    /// as `degraded`: the process answers all the same, only slower, or with less.
    fn is_vital(&self) -> bool {
        true
    }
    /// Whether it works; why not, in words for the operator.
    async fn check(&self) -> std::result::Result<(), String>;
}

/// Whether this process should get traffic.
pub struct Readiness {
    draining: AtomicBool,
    checks: Vec<Arc<dyn Check>>,
    last: Mutex<Option<(Instant, Report)>>,
}

/// What the checks came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report(pub Vec<Finding>);

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub name: &'static str,
    /// `ok`, `degraded` or `failed`.
    pub status: &'static str,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Report {
    /// Whether nothing failed that is vital.
    pub fn is_ready(&self) -> bool {
        self.0.iter().all(|finding| finding.status != FAILED)
    }

    /// Logs each check that has come to something else than before; a check that nobody has asked before was well.
    fn tell_what_is_new(&self, before: &[Finding]) {
        for Finding { name, status, reason } in &self.0 {
            let was = before.iter().find(|finding| finding.name == *name).map_or(WELL, |finding| finding.status);
            if *status == was {
                continue;
            }
            let reason = reason.as_deref().unwrap_or_default();
            tracing::info!(
                check.name = name,
                check.status = status,
                check.reason = reason,
                "a readiness check has changed"
            );
        }
    }

    /// The report without its reasons, which are for the operator.
    fn without_reasons(mut self) -> Self {
        self.0.iter_mut().for_each(|finding| finding.reason = None);
        self
    }
}

impl Readiness {
    /// With these checks.
    pub fn new(checks: Vec<Arc<dyn Check>>) -> Self {
        Self { draining: AtomicBool::new(false), checks, last: Mutex::new(None) }
    }

    /// From now on, no new traffic: readiness is false and connections are closed after their answer.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Asks every check at once; a report of the last second is good enough. Who comes while they are asked
    /// waits for the answers.
    pub async fn report(&self, now: Instant) -> Report {
        let mut report = {
            let mut last = self.last.lock().await;
            match &*last {
                Some((at, report)) if now.saturating_duration_since(*at) < REPORT_LIFETIME => report.clone(),
                _ => {
                    let report = Report(join_all(self.checks.iter().map(|check| ask(check.as_ref()))).await);
                    let before = last.as_ref().map_or(&[][..], |(_, before)| &before.0);
                    report.tell_what_is_new(before);
                    last.insert((now, report)).1.clone()
                }
            }
        };
        let drains = self.is_draining().then(|| "the process is about to stop".to_owned());
        report.0.push(finding("draining", FAILED, drains.map_or(Ok(()), Err)));
        report
    }
}

async fn ask(check: &dyn Check) -> Finding {
    let outcome = match tokio::time::timeout(CHECK_TIMEOUT, check.check()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
    };
    finding(check.name(), if check.is_vital() { FAILED } else { DEGRADED }, outcome)
}

/// `otherwise` is the status of what does not work.
fn finding(name: &'static str, otherwise: &'static str, outcome: std::result::Result<(), String>) -> Finding {
    match outcome {
        Ok(()) => Finding { name, status: WELL, reason: None },
        Err(reason) => Finding { name, status: otherwise, reason: Some(reason) },
    }
}

/// The health checks of the main listener.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Edge: FromRef<S>,
{
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz_in_public))
}

/// The process answers, so it lives.
pub(crate) async fn livez() -> Response {
    json(br#"{"status":"alive"}"#.to_vec())
}

async fn readyz_in_public(State(edge): State<Edge>) -> Result<Response> {
    let report = edge.readiness().report(edge.clock().instant()).await;
    answer(report.without_reasons())
}

/// With the reasons, for the operator.
pub(crate) async fn readyz(State(edge): State<Edge>) -> Result<Response> {
    answer(edge.readiness().report(edge.clock().instant()).await)
}

fn answer(report: Report) -> Result<Response> {
    let checks = serde_json::to_value(&report.0).map_err(Problem::internal)?;
    if !report.is_ready() {
        return Err(Problem::new(Code::Unavailable, "This process should get no traffic now.").member("checks", checks));
    }
    let body = serde_json::json!({ "status": "ready", "checks": checks });
    Ok(json(serde_json::to_vec(&body).map_err(Problem::internal)?))
}

fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
