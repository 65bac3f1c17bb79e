//! What holds for every answer of the server, whatever was asked. [`crate::Client`] checks each
//! one of the whole suite; a broken law fails the test that saw it.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::client::Answer;

/// What must never leave the process.
const INTERNALS: &[&str] =
    &["sqlite", "SQLITE", "panicked", ".rs:", "rusqlite", "select ", "insert into", "/.cargo/", "stack backtrace"];

/// Checks one answer.
///
/// # Panics
/// When a law is broken, naming it and the request.
pub fn check(method: &Method, path: &str, authenticated: bool, answer: &Answer) {
    let context = || format!("{method} {path} -> {} {:?}", answer.status, answer.text());
    let header = |name: &str| answer.header(name);
    assert!(header("x-request-id").is_some_and(|id| !id.is_empty()), "every answer has a request id: {}", context());
    assert_eq!(header("date").map(str::len), Some("Sun, 06 Nov 1994 08:49:37 GMT".len()), "a date: {}", context());
    assert_eq!(header("x-content-type-options"), Some("nosniff"), "nosniff: {}", context());
    assert!(
        header("content-security-policy")
            .is_some_and(|csp| csp.contains("frame-ancestors 'none'") && csp.contains("base-uri 'none'")),
        "a content security policy: {}",
        context()
    );
    assert_eq!(header("referrer-policy"), Some("no-referrer"), "referrer policy: {}", context());
    assert!(header("set-cookie").is_none(), "the API sets no cookies: {}", context());
    assert!(header("server").is_none_or(|server| !server.contains('/')), "no version in Server: {}", context());
    let status = answer.status;
    if status.is_client_error() || status.is_server_error() {
        check_problem(method, answer, &context);
    }
    match status {
        StatusCode::UNAUTHORIZED => assert!(
            header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")),
            "401 says how to sign in: {}",
            context()
        ),
        StatusCode::METHOD_NOT_ALLOWED => assert!(header("allow").is_some(), "405 has Allow: {}", context()),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            assert!(header("retry-after").is_some(), "says when to come back: {}", context());
        }
        StatusCode::CREATED => assert!(
            header("location").is_some() || header("idempotency-replayed").is_some(),
            "201 has a Location: {}",
            context()
        ),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => assert!(answer.body.is_empty(), "no body: {}", context()),
        _ => {}
    }
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "no internal errors: {}", context());
    let cache_control = header("cache-control").unwrap_or_default();
    assert!(
        !cache_control.is_empty() || matches!(status, StatusCode::NO_CONTENT),
        "every answer says how it may be cached: {}",
        context()
    );
    if authenticated && path.starts_with("/api/") && !path.ends_with("openapi.json") {
        assert!(cache_control.contains("no-store"), "answers to somebody are not stored: {}", context());
    }
    if cache_control.contains("public") && path.starts_with("/api/") {
        assert!(header("vary").is_some(), "what is cached says what it varies by: {}", context());
        if path.starts_with("/api/")
            && method == Method::GET
            && matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED)
        {
            assert!(header("etag").is_some_and(|tag| tag.starts_with('"')), "a strong entity tag: {}", context());
        }
    }
    if method == Method::HEAD {
        assert!(answer.body.is_empty(), "HEAD has no body: {}", context());
    }
}

fn check_problem(method: &Method, answer: &Answer, context: &dyn Fn() -> String) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "errors are problem details: {}",
        context()
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"), "errors are not stored: {}", context());
    if method == Method::HEAD {
        return;
    }
    let problem: Value =
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("a problem is JSON: {}", context()));
    assert_eq!(problem["status"], answer.status.as_u16(), "{}", context());
    let kind = problem["type"].as_str().unwrap_or_default();
    assert!(kind.contains("/problems/"), "{}", context());
    for member in ["title", "detail", "instance"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "a problem has {member}: {}", context());
    }
    let said = [problem["title"].as_str(), problem["detail"].as_str()].into_iter().flatten().collect::<String>();
    for word in INTERNALS {
        assert!(!said.contains(word), "nothing internal leaks ({word}): {}", context());
    }
}
