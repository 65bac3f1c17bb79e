//! `X-Request-Id`: the name of a request in every answer, log line and audit entry.

use http::{HeaderMap, HeaderName};
use uuid::Uuid;

use crate::app::Edge;

/// The header, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken from a proxy, in characters.
const MAX_CHARS: usize = 64;

/// A new id: a UUIDv7, which sorts by time. When randomness fails, time alone must do.
pub fn next(edge: &Edge) -> String {
    let mut random = [0_u8; 10];
    if edge.entropy().fill(&mut random).is_err() {
        tracing::warn!("no randomness for a request id");
    }
    let millis = u64::try_from(edge.clock().now().as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
}

/// The id that a trusted proxy gave, if it is harmless in logs: `[A-Za-z0-9._-]{1,64}`.
pub fn inbound(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(X_REQUEST_ID).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let id = line.to_str().ok()?;
    let harmless = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (harmless && (1..=MAX_CHARS).contains(&id.len())).then(|| id.to_owned())
}

/// Whether the id is one of ours.
pub fn is_uuid(id: &str) -> bool {
    Uuid::try_parse(id).is_ok()
}
