//! The interactive API reference at `/docs`: Scalar, from its own crate, served by ourselves.

use std::io::Write as _;
use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inkstone_core::Error;

use crate::app::App;
use crate::problem::Problem;

use super::{asset, page};

/// Scalar styles its page from script, so it needs inline styles; it may talk to this server only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const START: &str = "Scalar.createApiReference('#app', {\n\
    sources: [{title: 'v2', url: '/api/v2/openapi.json', default: true}, {title: 'v1', url: '/api/v1/openapi.json'}],\n\
    withDefaultFonts: false, telemetry: false, hideClientButton: true, showDeveloperTools: 'never',\n\
    agent: {disabled: true}, mcp: {disabled: true}\n});\n";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/docs", get(async || page(POLICY, "Inkstone API", BODY)))
        .route("/docs/start.js", get(async || asset("text/javascript; charset=utf-8", START)))
        .route("/docs/scalar.js", get(script))
}

const BODY: &str =
    "<div id=\"app\"></div><script src=\"/docs/scalar.js\"></script><script src=\"/docs/start.js\"></script>";

/// The script, compressed once when somebody first asks: it is 5 MB as it comes.
async fn script() -> Response {
    static COMPRESSED: OnceLock<Option<(Bytes, HeaderValue)>> = OnceLock::new();
    let made = tokio::task::spawn_blocking(|| COMPRESSED.get_or_init(compress).clone()).await;
    let Ok(Some((body, etag))) = made else {
        return Problem::from(Error::internal("the API reference is not part of this build")).into_response();
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    // Every browser takes gzip; a client that does not has no use for this script.
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    (StatusCode::OK, headers, Body::from(body)).into_response()
}

fn compress() -> Option<(Bytes, HeaderValue)> {
    let script = scalar_api_reference::get_asset("scalar.js")?;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&script).ok()?;
    let body = Bytes::from(encoder.finish().ok()?);
    let etag = HeaderValue::from_str(&format!("\"{}\"", crate::representation::digest(&body))).ok()?;
    Some((body, etag))
}
