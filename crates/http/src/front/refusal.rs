//! The answer to requests that are too many: made once, and copied for each.

use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use super::body::FrontBody;
use crate::middleware::request_id::X_REQUEST_ID;
use crate::middleware::{gates, security};
use crate::settings::Settings;

/// Stands for the id of the request, and is as long.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// The parts around the id of the request.
pub(super) struct Refusal {
    headers: HeaderMap,
    before: Bytes,
    after: Bytes,
}

impl Refusal {
    pub(super) fn new(settings: &Settings) -> Self {
        let (parts, body) = gates::too_much().render(settings, NOBODY).into_parts();
        // The body is in memory, so it is there at once.
        let body = body.collect().now_or_never().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
        let body = body.unwrap_or_default();
        let place = body.windows(NOBODY.len()).position(|part| part == NOBODY.as_bytes()).unwrap_or(body.len());
        let mut headers = parts.headers;
        security::add(&mut headers);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let after = body.slice((place + NOBODY.len()).min(body.len())..);
        Self { headers, before: body.slice(..place), after }
    }

    pub(super) fn answer(&self, method: &Method, request_id: HeaderValue) -> Response<FrontBody> {
        let body = if *method == Method::HEAD {
            FrontBody::empty()
        } else {
            FrontBody::of(&[&self.before, request_id.as_bytes(), &self.after].concat().into())
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(X_REQUEST_ID, request_id);
        response
    }
}
