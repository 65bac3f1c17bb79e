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

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use inkstone_core::Code;

use crate::app::Edge;
use crate::problem::Problem;
use exchange::Exchange;

/// Puts the conventions around every route and the fallback of `router`. Call it last, after all
/// routes are there.
pub fn conventions<S: Clone + Send + Sync + 'static>(router: Router<S>, edge: &Edge) -> Router<S> {
    router.layer(from_fn_with_state(edge.clone(), around))
}

async fn around(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let exchange = Exchange::begin(&edge, &mut request);
    let response = match gates::pass(&exchange, &request) {
        Ok(_slot) => run(&exchange, request, next).await,
        Err(answer) => *answer,
    };
    exchange.finish(response)
}

/// Runs the handler under the request's deadline; a panic in it is an error like any other.
async fn run(exchange: &Exchange, request: Request, next: Next) -> Response {
    let deadline = tokio::time::Instant::from_std(exchange.info().deadline.instant());
    let handler = AssertUnwindSafe(next.run(request)).catch_unwind();
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
