//! The headers that tell browsers what an answer may not be used for.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::settings::Settings;

/// For answers that are data: nothing may be loaded, framed or run from them.
pub const DATA_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");

/// One year, in seconds.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");
const STRICT_TRANSPORT_EVERYWHERE: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Adds the headers, but where an answer has its own policy (the pages for people), that stands.
pub fn add(headers: &mut HeaderMap) {
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(DATA_POLICY);
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(RESOURCE_POLICY).or_insert(HeaderValue::from_static("same-origin"));
}

/// Tells browsers to come by HTTPS from now on (RFC 6797); only sent where HTTPS is spoken.
pub fn add_strict_transport(settings: &Settings, headers: &mut HeaderMap) {
    let value = if settings.hsts_subdomains { STRICT_TRANSPORT_EVERYWHERE } else { STRICT_TRANSPORT };
    headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(value);
}
