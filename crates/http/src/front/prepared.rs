//! What all plain hits on one answer have in common, made by the first and kept for the others.

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};

use crate::metrics::{Handles, Metrics};
use crate::middleware::request_id::X_REQUEST_ID;
use crate::representation::{CACHE_STATUS, Representation};

/// The complete list of headers, so that a hit copies one list and replaces values in it: to make
/// a list grow costs as much as to copy it. And the counters, which cost a search to find.
///
/// Belongs to a [`Representation`], which is kept by one cache and served by one process, and so
/// always meets the same counters.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// With a place for `Age`, `Cache-Status` and `X-Request-Id`.
    headers: HeaderMap,
    /// Of answers to GET.
    pub(super) counters: Handles,
}

impl Prepared {
    /// What one [`Prepared`] weighs in memory, in bytes.
    pub(crate) const WEIGHT: usize = 2048;

    pub(super) fn of(representation: &Representation, metrics: &Metrics) -> Self {
        let mut headers = representation.headers().clone();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(representation.body().len()));
        for name in [CACHE_STATUS, header::AGE, X_REQUEST_ID] {
            headers.insert(name, HeaderValue::from_static(""));
        }
        let counters = metrics.handles(&Method::GET, representation.route(), representation.status());
        Self { headers, counters }
    }

    /// The headers of one answer.
    pub(super) fn headers(&self, cache_status: HeaderValue, age: HeaderValue, request_id: HeaderValue) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(CACHE_STATUS, cache_status);
        headers.insert(header::AGE, age);
        headers.insert(X_REQUEST_ID, request_id);
        headers
    }
}
