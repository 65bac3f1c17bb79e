//! Cross-origin access (the Fetch standard's CORS): closed unless origins are configured.
//!
//! Origins are compared byte by byte with the list: no patterns, no suffixes, and `null` never matches.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use axum::body::Body;
use axum::response::Response;

use crate::settings::CorsSettings;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, if-match, if-none-match, if-modified-since, idempotency-key, inkstone-change, x-request-id, x-server-timing, traceparent",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag, link, location, retry-after, ratelimit, ratelimit-policy, x-request-id, inkstone-change, idempotency-replayed, deprecation, sunset, server-timing",
);

/// The allow-list.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    allows_any: bool,
    credentials: bool,
    max_age: HeaderValue,
}

impl Cors {
    /// From the settings. Credentials together with `*` would let every site act for its
    /// visitors; they are left off then.
    pub fn new(settings: &CorsSettings) -> Self {
        let allows_any = settings.origins.iter().any(|origin| origin == "*");
        let origins = settings.origins.iter().filter(|origin| !matches!(origin.as_str(), "*" | "null"));
        Self {
            origins: origins.filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            allows_any,
            credentials: settings.credentials && !allows_any,
            max_age: HeaderValue::from(settings.max_age.as_secs()),
        }
    }

    /// The answer to a preflight, if the request is one.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let is_preflight = *method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || self.is_closed() {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.allows(headers) {
            let answer = response.headers_mut();
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        Some(response)
    }

    /// Marks an answer as readable by the origin that asked, if it is allowed.
    pub fn add(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if self.is_closed() {
            return;
        }
        let allowed = if self.allows_any {
            // Whoever asks: a cache may hand the answer to a page of another origin.
            HeaderValue::from_static("*")
        } else {
            answer.append(header::VARY, HeaderValue::from_static("origin"));
            let Some(origin) = origin.filter(|origin| self.is_allowed(origin)) else { return };
            origin.clone()
        };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        // What a page of another origin may read, it may also embed.
        answer.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    }

    fn is_closed(&self) -> bool {
        self.origins.is_empty() && !self.allows_any
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        headers.get(header::ORIGIN).is_some_and(|origin| self.is_allowed(origin))
    }

    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        self.allows_any || self.origins.contains(origin)
    }
}
