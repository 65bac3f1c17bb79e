//! What the operator's own listener serves: health with reasons, and metrics. Never public.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::app::Edge;
use crate::health;
use crate::middleware::conventions;
use crate::problem::{Problem, Result};

/// The media type of OpenMetrics.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `/livez`, `/readyz` and `/metrics`, for a listener of their own.
pub fn operations_router(edge: &Edge) -> Router {
    let router = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics));
    conventions(router, edge).with_state(edge.clone())
}

async fn metrics(State(edge): State<Edge>) -> Result<Response> {
    let text = edge.metrics().encode().map_err(Problem::internal)?;
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
