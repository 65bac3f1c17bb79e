//! One request and its answer, from the first byte of ours to the last: what is known of the
//! request, and what every answer gets before it leaves.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Extensions, Method, StatusCode, Version};
use http_body::Frame;
use inkstone_core::access::Caller;
use inkstone_core::context::{self, Deadline, Meter};
use inkstone_core::users::UserId;

use super::rate_limit::Standing;
use super::request_id::{self, X_REQUEST_ID};
use super::trace::{self, TraceParent};
use super::{access_log, security, versions};
use crate::app::Edge;
use crate::changes::INKSTONE_CHANGE;
use crate::extract::client::{self, OverTls};
use crate::problem::{self, Problem, RenderedProblem, Result};
use crate::representation::{NO_STORE, Verdict, header_value};

/// What is known of a request before anybody handles it. Handlers find it in the extensions.
#[derive(Debug)]
pub struct RequestInfo {
    /// Its name in answers, logs and audit entries.
    pub request_id: String,
    /// Where it came from.
    pub client: IpAddr,
    /// Whether the client speaks HTTPS with us or with the proxy in front.
    pub is_https: bool,
    /// The distributed trace that it belongs to.
    pub trace: Option<TraceParent>,
    /// When it arrived.
    pub received: Instant,
    /// Until when it must be answered.
    pub deadline: Deadline,
    /// What it costs.
    pub meter: Arc<Meter>,
    route: OnceLock<String>,
    caller: OnceLock<UserId>,
    standing: OnceLock<Standing>,
}

impl RequestInfo {
    /// What was noted for this request.
    ///
    /// # Errors
    /// When [`super::conventions`] is not around the router: a bug.
    pub fn of(extensions: &Extensions) -> Result<Arc<Self>> {
        extensions.get::<Arc<Self>>().cloned().ok_or_else(|| Problem::internal("no conventions around this route"))
    }

    /// What services take, for this caller.
    pub fn context(&self, caller: Caller) -> context::Context {
        let meter = Arc::clone(&self.meter);
        context::Context { meter, ..context::Context::new(caller, self.request_id.as_str(), self.deadline) }
    }

    /// Remembers who called, for the access log.
    pub fn note_caller(&self, caller: &Caller) {
        if let Some(user) = caller.user_id() {
            // Only the first one counts; there is but one.
            let _ = self.caller.set(user);
        }
    }

    /// Remembers the template of the route that the request found.
    pub fn note_route(&self, template: &str) {
        let _ = self.route.set(template.to_owned());
    }

    /// The template of the route, if the request found one.
    pub fn route(&self) -> Option<&str> {
        self.route.get().map(String::as_str)
    }

    /// Remembers where the caller stands with a rate limit, for the answer's headers.
    pub fn note_standing(&self, standing: Standing) {
        let _ = self.standing.set(standing);
    }

    /// Who called, if they are known.
    pub fn caller(&self) -> Option<UserId> {
        self.caller.get().copied()
    }
}

/// A request that is being answered.
pub struct Exchange {
    edge: Edge,
    info: Arc<RequestInfo>,
    method: Method,
    version: Version,
    path: String,
    origin: Option<HeaderValue>,
    _in_work: crate::metrics::InWork,
}

impl Exchange {
    /// Begins: gives the request its id and deadline, and notes both in its extensions.
    pub fn begin<B>(edge: &Edge, request: &mut http::Request<B>) -> Self {
        let settings = edge.settings();
        let trusted = &settings.trusted_proxies;
        let is_from_proxy = client::is_behind_trusted_proxy(request.extensions(), trusted);
        let inbound = if is_from_proxy { request_id::inbound(request.headers()) } else { None };
        let received = edge.clock().instant();
        let info = Arc::new(RequestInfo {
            request_id: inbound.unwrap_or_else(|| request_id::next(edge)),
            client: client::address(request.extensions(), request.headers(), trusted, settings.client_address_header),
            is_https: settings.is_public_https() || request.extensions().get::<OverTls>().is_some(),
            trace: trace::parent(request.headers()),
            received,
            deadline: Deadline::at(received + settings.request_deadline),
            meter: Arc::default(),
            route: OnceLock::new(),
            caller: OnceLock::new(),
            standing: OnceLock::new(),
        });
        request.extensions_mut().insert(Arc::clone(&info));
        Self {
            _in_work: edge.metrics().begin(),
            edge: edge.clone(),
            info,
            method: request.method().clone(),
            version: request.version(),
            path: request.uri().path().to_owned(),
            origin: request.headers().get(header::ORIGIN).cloned(),
        }
    }

    /// The edge.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// What is known of the request.
    pub fn info(&self) -> &Arc<RequestInfo> {
        &self.info
    }

    /// Finishes the answer: errors become problem details, and every answer gets what all must have.
    pub fn finish(self, response: Response) -> Response {
        let mut response = self.as_http(response);
        let settings = self.edge.settings();
        let verdict = response.extensions().get::<Verdict>().copied();
        // A read that counts itself somewhere has written nothing that anybody could look for.
        let has_written = !self.method.is_safe() && response.status().is_success();
        let made = self.info.meter.written().filter(|_| has_written);
        let headers = response.headers_mut();
        security::add(headers);
        if self.info.is_https {
            security::add_strict_transport(settings, headers);
        }
        // Whoever did not say that it may be kept has said that it may not.
        headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
        versions::announce(settings, &self.path, headers);
        self.edge.cors.add(self.origin.as_ref(), headers);
        if let Some(standing) = self.info.standing.get() {
            standing.add(headers);
        }
        if let Some(change) = made {
            headers.insert(INKSTONE_CHANGE, HeaderValue::from(change.change_seq));
        }
        headers.insert(X_REQUEST_ID, header_value(&self.info.request_id));
        if self.edge.readiness().is_draining() && self.version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let bytes = self.strip_body(&mut response);
        self.record(&response, bytes, verdict);
        response
    }

    /// Errors in whatever form they come out of the handlers and the libraries below them.
    fn as_http(&self, mut response: Response) -> Response {
        let settings = self.edge.settings();
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            return carry_over(response, problem.render(settings, &self.info.request_id));
        }
        let status = response.status();
        if status == StatusCode::METHOD_NOT_ALLOWED && self.method == Method::OPTIONS {
            return options(response);
        }
        let is_rendered = response.extensions().get::<RenderedProblem>().is_some();
        if !(status.is_client_error() || status.is_server_error()) || is_rendered {
            return response;
        }
        let mut problem = problem::of_status(status);
        if let Some(allow) = allowed(&response) {
            problem = problem.header(header::ALLOW, allow);
        }
        problem.render(settings, &self.info.request_id)
    }

    /// HEAD says how long the body would be, and leaves it out. Gives the bytes that go out.
    fn strip_body(&self, response: &mut Response) -> Option<u64> {
        if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::new(NoBody);
            return Some(0);
        }
        let length = http_body::Body::size_hint(response.body()).exact();
        if self.method != Method::HEAD {
            return length;
        }
        let has_length = response.headers().contains_key(header::CONTENT_LENGTH);
        if let Some(length) = length.filter(|length| !has_length && *length > 0) {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
        Some(0)
    }

    fn record(&self, response: &Response, bytes: Option<u64>, verdict: Option<Verdict>) {
        let elapsed = self.edge.clock().instant().saturating_duration_since(self.info.received);
        self.edge.metrics().observe(&self.method, self.info.route(), response.status(), elapsed);
        let line = access_log::Line {
            info: &self.info,
            method: &self.method,
            route: self.info.route().unwrap_or("unmatched"),
            status: response.status(),
            elapsed,
            bytes,
            verdict,
        };
        access_log::write(self.edge.settings(), &line);
    }

    /// How long the request has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.edge.clock().instant().saturating_duration_since(self.info.received)
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The body of answers that have none by definition. Its length is not even known to be zero, since
/// the router would write that down, and a 204 must not say it (RFC 9110 §8.6).
struct NoBody;

impl http_body::Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// What a handler had said beside its error stays.
fn carry_over(from: Response, mut rendered: Response) -> Response {
    let (parts, _) = from.into_parts();
    for (name, value) in &parts.headers {
        if !rendered.headers().contains_key(name) && *name != header::CONTENT_LENGTH {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    if let Some(verdict) = parts.extensions.get::<Verdict>() {
        rendered.extensions_mut().insert(*verdict);
    }
    rendered
}

/// The router's 405 to OPTIONS knows which methods there are.
fn options(response: Response) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    if let Some(allow) = allowed(&response) {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

/// `Allow` as the router has it, and OPTIONS, which works everywhere.
fn allowed(response: &Response) -> Option<HeaderValue> {
    let methods = response.headers().get(header::ALLOW)?.to_str().ok()?;
    let methods: Vec<&str> = methods.split(',').map(str::trim).filter(|method| !method.is_empty()).collect();
    Some(header_value(&format!("{}, OPTIONS", methods.join(", "))))
}
