//! What happens around every handler, in one place and one order.
//!
//! [`conventions`] puts one layer around a router. For each request it opens an
//! [`exchange::Exchange`] (request id, deadline, client), lets the gates decide (address length,
//! load, preflight, version, rate limits), runs the handler under its deadline with panics
//! caught, and finishes the answer: problem details, security headers, cache defaults, metrics,
//! access log. Whoever answers without the router (the cache's front, the server's own refusals)
//! uses the same exchange.

pub mod access_log;
pub mod cors;
pub mod exchange;
pub mod gates;
pub mod rate_limit;
pub mod request_id;
pub mod security;
pub mod trace;
pub mod versions;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use inkstone_core::Code;
use tracing::Instrument as _;

use crate::app::Edge;
use crate::problem::Problem;
use exchange::{Exchange, RequestInfo};

/// Puts the conventions around `router`. Call it last, after all routes are there, and give it
/// the router's state: `conventions(router, &edge).with_state(app)`.
pub fn conventions<S>(router: Router<S>, edge: &Edge) -> Conventions<S> {
    Conventions { router, edge: edge.clone() }
}

/// A router that waits for its state to be put under the conventions.
///
/// The layer must stand outside of the whole router, not around each route: only there is it
/// known which methods a route has (`Allow` on 405), and only a router with its state can be
/// wrapped so.
#[must_use]
pub struct Conventions<S> {
    router: Router<S>,
    edge: Edge,
}

impl<S: Clone + Send + Sync + 'static> Conventions<S> {
    /// The finished router.
    pub fn with_state(self, state: S) -> Router {
        let inner = self.router.layer(from_fn(note_route)).with_state(state);
        Router::new().fallback_service(inner).layer(from_fn_with_state(self.edge, around))
    }
}

/// Runs where the route is known, and notes it before the handler can break down or run late.
async fn note_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(info), Some(route)) = (extensions.get::<Arc<RequestInfo>>(), extensions.get::<MatchedPath>()) {
        info.note_route(route.as_str());
    }
    next.run(request).await
}

async fn around(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let exchange = Exchange::begin(&edge, &mut request);
    let response = match gates::pass(&exchange, &request) {
        Ok(slot) => {
            // Whoever waits for the client's body lends it to others.
            if let Some(slot) = &slot {
                request.extensions_mut().insert(slot.clone());
            }
            let response = match rate_limit::check_auth(&exchange).await {
                Ok(()) => run(&exchange, request, next).await,
                Err(problem) => problem.into_response(),
            };
            if let Some(slot) = slot {
                slot.leave(exchange.path(), &response);
            }
            response
        }
        Err(answer) => *answer,
    };
    exchange.finish(response)
}

/// Runs the handler under the request's deadline; a panic in it is an error like any other.
async fn run(exchange: &Exchange, request: Request, next: Next) -> Response {
    let info = exchange.info();
    let deadline = tokio::time::Instant::from_std(info.deadline.instant());
    let trace = info.trace.map(|trace| format!("{:032x}", trace.trace_id));
    // Whatever is logged underneath carries these two.
    let span = tracing::info_span!("http.request.answer", request.id = info.request_id, trace.id = trace);
    let handler = AssertUnwindSafe(next.run(request).instrument(span)).catch_unwind();
    match tokio::time::timeout_at(deadline, handler).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Problem::internal(format!("panic: {}", panic_text(panic.as_ref()))).into_response(),
        Err(_) => Problem::new(Code::DeadlineExceeded, "The deadline of the request passed.").into_response(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown kind")
}
