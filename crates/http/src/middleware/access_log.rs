//! The access log: one line for a request, with nothing in it that says who or what was asked
//! for beyond the route and the account's number.

use std::time::Duration;

use http::{Method, StatusCode};

use super::exchange::RequestInfo;
use crate::health;
use crate::representation::Verdict;
use crate::settings::{AccessLog, Settings};

/// What a line says.
pub struct Line<'a> {
    /// The request.
    pub info: &'a RequestInfo,
    /// Its method.
    pub method: &'a Method,
    /// The route's template; never the path or the query as they were sent.
    pub route: &'a str,
    /// The answer's status.
    pub status: StatusCode,
    /// How long it took until the answer's head was ready.
    pub elapsed: Duration,
    /// The answer's body, in bytes, where that is known beforehand.
    pub bytes: Option<u64>,
    /// What the cache had to do with it.
    pub verdict: Option<Verdict>,
}

/// Writes the line, if the settings want it.
pub fn write(settings: &Settings, line: &Line<'_>) {
    if !is_wanted(settings, line) {
        return;
    }
    let Line { info, method, route, status, elapsed, bytes, verdict } = line;
    let trace = info.trace.map(|trace| format!("{:032x}", trace.trace_id));
    tracing::info!(
        target: "inkstone::access",
        {
            request.id = info.request_id,
            trace.id = trace,
            http.method = name(method),
            http.route = route,
            http.status = status.as_u16(),
            duration_ms = elapsed.as_secs_f64() * 1000.0,
            response.bytes = bytes,
            cache.verdict = verdict.map(Verdict::as_str),
            db.statements = info.meter.statements(),
            user.id = info.caller().map(|user| user.0),
        },
        "request answered"
    );
}

fn is_wanted(settings: &Settings, line: &Line<'_>) -> bool {
    match settings.access_log {
        AccessLog::All => true,
        AccessLog::None => false,
        // Balancers ask several times a second; that the answer has changed is logged by whoever gives it.
        AccessLog::Notable if health::PATHS.contains(&line.route) && line.method.is_safe() => {
            line.elapsed >= settings.slow_request
        }
        AccessLog::Notable => {
            let is_error = line.status.is_client_error() || line.status.is_server_error();
            is_error || !line.method.is_safe() || line.elapsed >= settings.slow_request
        }
    }
}

/// The methods that there are; a client's own invention is not repeated.
pub fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "OTHER",
    }
}
