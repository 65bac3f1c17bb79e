//! A tiny router under the real conventions, with a clock that the test moves.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use inkstone_core::access::{Caller, Credential, Role, Scopes, SignedIn};
use inkstone_core::clock::{Clock, SystemEntropy};
use inkstone_core::users::UserId;
use inkstone_core::{Code, Context, Error, Result};
use inkstone_http::extract::client::ClientAddr;
use inkstone_http::health::Readiness;
use inkstone_http::metrics::Metrics;
use inkstone_http::middleware::conventions;
use inkstone_http::{Authenticate, Edge, Settings};
use inkstone_testkit::HandClock;
use serde_json::Value;
use tower::ServiceExt as _;

/// Knows the tokens `user-<id>`; `broken` breaks.
struct Tokens;

#[async_trait]
impl Authenticate for Tokens {
    async fn authenticate(&self, _: &Context, token: &str) -> Result<Caller> {
        if token == "broken" {
            return Err(Error::internal("secret: the key file is gone"));
        }
        let id = token.strip_prefix("user-").and_then(|id| id.parse().ok());
        let user = UserId(id.ok_or_else(|| Error::refused(Code::Unauthenticated, "This token is not valid."))?);
        let credential = Credential::Session(1);
        Ok(Caller::User(SignedIn { user, role: Role::Author, scopes: Scopes::all(), credential }))
    }
}

pub(crate) struct Site {
    pub(crate) edge: Edge,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) router: Router,
}

pub(crate) fn edge_with(settings: Settings, clock: &Arc<HandClock>, readiness: Readiness) -> Edge {
    let metrics = Arc::new(Metrics::new("1.2.3", Vec::new()));
    let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(clock);
    Edge::new(settings, clock, Arc::new(SystemEntropy), Arc::new(Tokens), b"key", metrics, Arc::new(readiness))
}

/// The routes under the conventions.
pub(crate) fn site_with(settings: Settings, routes: Router<Edge>) -> Site {
    site_at(settings, routes, &HandClock::new())
}

/// The same, where a test or a route moves the clock.
pub(crate) fn site_at(settings: Settings, routes: Router<Edge>, clock: &Arc<HandClock>) -> Site {
    let edge = edge_with(settings, clock, Readiness::new(Vec::new()));
    let router = conventions(routes, &edge).with_state(edge.clone());
    Site { edge, clock: clock.clone(), router }
}

pub(crate) fn site(routes: Router<Edge>) -> Site {
    site_with(Settings::default(), routes)
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let answer = Self { status: parts.status, headers: parts.headers, body };
        answer.check_conventions();
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The last part of the problem's type.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        json["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// Pointer and code of every fault.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let json = self.json();
        let faults = json["errors"].as_array().cloned().unwrap_or_default();
        let text = |fault: &Value, name: &str| fault[name].as_str().unwrap().to_owned();
        faults.iter().map(|fault| (text(fault, "pointer"), text(fault, "code"))).collect()
    }

    /// What every answer must have, whatever was asked.
    fn check_conventions(&self) {
        assert!(self.headers.contains_key("x-request-id"), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert!(self.header("content-security-policy").unwrap().contains("default-src 'none'"));
        assert!(self.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
        assert_eq!(self.header("referrer-policy"), Some("no-referrer"));
        assert!(self.headers.contains_key("cross-origin-resource-policy"));
        assert!(self.headers.contains_key("cache-control"));
        if self.status.is_client_error() || self.status.is_server_error() {
            assert_eq!(self.header("content-type"), Some("application/problem+json"));
            assert_eq!(self.header("cache-control"), Some("no-store"));
        }
        if matches!(self.status.as_u16(), 429 | 503) {
            assert!(self.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            assert!(self.header("www-authenticate").unwrap().starts_with("Bearer realm="));
        }
    }
}

impl Site {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, headers, "")).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.send(request("POST", path, headers, body)).await
    }
}

/// A request from 203.0.113.7.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    request_from("203.0.113.7", method, path, headers, body)
}

pub(crate) fn request_from(
    from: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    request.extensions_mut().insert(ClientAddr(from.parse::<IpAddr>().unwrap()));
    request
}
