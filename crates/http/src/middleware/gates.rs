//! What can turn a request away before a handler sees it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use inkstone_core::Code;

use super::exchange::Exchange;
use super::rate_limit;
use super::versions;
use crate::extract::client;
use crate::load::{self, Slot};
use crate::problem::{Problem, Result};

const EVERY_METHOD: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Lets the request pass, or answers it.
///
/// # Errors
/// The answer.
pub fn pass(exchange: &Exchange, request: &Request) -> Result<Option<Slot>, Box<Response>> {
    let edge = exchange.edge();
    let problem = |problem: Problem| Box::new(problem.into_response());
    check_address(exchange, request).map_err(problem)?;
    if let Some(preflight) = edge.cors.preflight(request.method(), request.headers()) {
        return Err(Box::new(preflight));
    }
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Err(Box::new(server_wide_options()));
    }
    check_transport(exchange, request).map_err(problem)?;
    let slot = take_slot(exchange, request).map_err(problem)?;
    versions::check(edge.settings(), exchange.path(), edge.clock().now()).map_err(problem)?;
    Ok(slot)
}

fn check_address(exchange: &Exchange, request: &Request) -> Result<()> {
    let most = exchange.edge().settings().max_uri_bytes;
    let length = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if length > most {
        return Err(Problem::new(Code::UriTooLong, format!("The address is longer than {most} bytes.")));
    }
    Ok(())
}

/// Refuses passwords and tokens that somebody may have read on their way to a site that is reached by
/// HTTPS: answered instead, the client would never learn of its mistake (OWASP ASVS 4.1.2).
fn check_transport(exchange: &Exchange, request: &Request) -> Result<()> {
    let settings = exchange.edge().settings();
    let carries_secret = request.headers().contains_key(header::AUTHORIZATION)
        || (!request.method().is_safe() && rate_limit::is_auth(exchange.path()));
    if !settings.is_public_https() || !carries_secret || crate::health::PATHS.contains(&exchange.path()) {
        return Ok(());
    }
    let (trusted, header) = (&settings.trusted_proxies, settings.client_address_header);
    if client::is_exposed(request.extensions(), request.headers(), trusted, header) {
        let detail = "What you sent came without encryption. Use HTTPS, and replace the password or token.";
        return Err(Problem::new(Code::InsecureTransport, detail));
    }
    Ok(())
}

/// Sheds load: whoever is too many does not wait. Health checks always pass.
fn take_slot(exchange: &Exchange, request: &Request) -> Result<Option<Slot>> {
    if crate::health::PATHS.contains(&exchange.path()) {
        return Ok(None);
    }
    let priority = load::priority(request.method(), request.headers());
    exchange.edge().gate.enter(priority).map(Some).ok_or_else(too_much)
}

/// What those are told who are too many.
pub(crate) fn too_much() -> Problem {
    Problem::new(Code::Overloaded, "Too many requests are in work.").retry_after(Duration::from_secs(1))
}

/// `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7).
fn server_wide_options() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, EVERY_METHOD);
    response
}
