//! Every error that leaves the server, as problem details (RFC 9457).
//!
//! A [`Problem`] is made from the domain's [`Error`] or by one of the edge's own checks. It only
//! becomes bytes in [`Problem::render`], at the very end of a request, where the request id and
//! the public address are known and where internal errors are logged, once. [`status`] is the
//! only place that picks a status for a code.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use inkstone_core::access::Scope;
use inkstone_core::{Code, Error, Fault, FaultCode};
use serde::Serialize;

use crate::representation::header_value;
use crate::settings::Settings;

/// The media type of every error.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The most faults that one answer lists.
pub const MAX_FAULTS: usize = 100;

/// When to come back after a 503 that does not know better.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// An error on its way out.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    faults: Vec<Fault>,
    retry_after: Option<Duration>,
    headers: HeaderMap,
    invalid_token: bool,
    lacks_scope: Option<Scope>,
    members: Vec<(&'static str, serde_json::Value)>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What `fn(…) -> Result<T>` gives at the edge.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    /// A problem with a sentence for people.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            faults: Vec::new(),
            retry_after: None,
            headers: HeaderMap::new(),
            invalid_token: false,
            lacks_scope: None,
            members: Vec::new(),
            source: None,
        }))
    }

    /// A problem with a list of faults, cut at [`MAX_FAULTS`].
    pub fn with_faults(code: Code, mut faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [one] => one.detail.clone(),
            many => Cow::Owned(format!("{} faults, listed under errors.", many.len())),
        };
        faults.truncate(MAX_FAULTS);
        let mut problem = Self::new(code, detail);
        problem.0.faults = faults;
        problem
    }

    /// One fault.
    pub fn with_fault(
        code: Code,
        pointer: impl Into<String>,
        fault: FaultCode,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::with_faults(code, vec![Fault::at(pointer, fault, detail)])
    }

    /// A bug or a broken dependency: logged with its source, answered without it.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut problem = Self::new(Code::Internal, INTERNAL_DETAIL);
        problem.0.source = Some(Arc::from(source.into()));
        problem
    }

    /// The token was made for less than this needs (RFC 6750 §3.1 `insufficient_scope`).
    pub fn lacks_scope(scope: Scope) -> Self {
        let detail = format!("This needs a token with the scope {}.", scope.as_str());
        let mut problem = Self::new(Code::InsufficientScope, detail);
        problem.0.lacks_scope = Some(scope);
        problem
    }

    /// There is no such `what`.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Adds a header, such as `Allow`.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// Says that the token that came along is the reason (RFC 6750 §3.1 `invalid_token`).
    #[must_use]
    pub fn because_of_the_token(mut self) -> Self {
        self.0.invalid_token = true;
        self
    }

    /// Adds a member of its own (RFC 9457 §3.2).
    #[must_use]
    pub fn member(mut self, name: &'static str, value: serde_json::Value) -> Self {
        self.0.members.push((name, value));
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        status(self.0.code)
    }

    /// What exactly, in words.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The faults.
    pub fn faults(&self) -> &[Fault] {
        &self.0.faults
    }

    /// What is behind an internal error. For the log only.
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    /// Makes the answer. Logs internal errors; so call it once, where the request ends.
    pub fn render(&self, settings: &Settings, request_id: &str) -> Response {
        if self.0.code == Code::Internal {
            let error = self.0.source.as_deref().map_or_else(|| self.0.detail.to_string(), chain);
            tracing::error!(request.id = request_id, error, "request failed");
        }
        let wire = Wire {
            r#type: settings.link(&format!("/problems/{}", self.0.code.as_str())),
            title: self.0.code.title(),
            status: self.status().as_u16(),
            detail: &self.0.detail,
            instance: Some(instance(request_id)),
            errors: self.0.faults.iter().map(WireFault::of).collect(),
            members: self.0.members.iter().map(|(name, value)| (*name, value)).collect(),
        };
        self.respond(&wire)
    }

    fn respond(&self, wire: &Wire<'_>) -> Response {
        // The wire form holds only strings and numbers, which always serialise.
        let body = serde_json::to_vec(wire).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.extend(self.0.headers.clone());
        headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(after) = self.retry_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        response.extensions_mut().insert(RenderedProblem);
        response
    }

    /// `WWW-Authenticate` (RFC 6750 §3): which scheme, and what was wrong with the token.
    fn challenge(&self) -> Option<HeaderValue> {
        match self.0.code {
            Code::Unauthenticated if self.0.invalid_token => Some(HeaderValue::from_static(
                r#"Bearer realm="inkstone", error="invalid_token", error_description="The access token is malformed, unknown, expired or revoked""#,
            )),
            Code::InsufficientScope => {
                let scope = self.0.lacks_scope.map(|scope| format!(", scope=\"{}\"", scope.as_str()));
                let scope = scope.unwrap_or_default();
                Some(header_value(&format!(r#"Bearer realm="inkstone", error="insufficient_scope"{scope}"#)))
            }
            Code::Unauthenticated | Code::BadCredentials => {
                Some(HeaderValue::from_static(r#"Bearer realm="inkstone""#))
            }
            _ => None,
        }
    }

    /// Whole seconds, rounded up; 429 and 503 always have them.
    fn retry_seconds(&self) -> Option<u64> {
        let expected = matches!(self.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let after = self.0.retry_after.or(expected.then_some(DEFAULT_RETRY))?;
        Some(after.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX))
    }
}

const INTERNAL_DETAIL: &str = "Something went wrong on our side. The log has the details under the id of this request.";

/// The status of a code: the one place that decides.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::Malformed | Code::BadQuery | Code::BadCursor | Code::BadHeader | Code::BadRequest => {
            StatusCode::BAD_REQUEST
        }
        Code::Invalid | Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Unauthenticated | Code::BadCredentials => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::InsufficientScope | Code::InsecureTransport => StatusCode::FORBIDDEN,
        Code::NotFound | Code::UnknownVersion => StatusCode::NOT_FOUND,
        Code::Gone => StatusCode::GONE,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Code::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UriTooLong => StatusCode::URI_TOO_LONG,
        Code::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Code::Taken | Code::Conflict | Code::IdempotencyInProgress => StatusCode::CONFLICT,
        Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Code::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Overloaded | Code::Unavailable | Code::StorageFull | Code::StorageDamaged => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(faults) => Self::with_faults(Code::Invalid, faults),
            Error::Refused { code, detail } => Self::new(code, detail),
            Error::LacksScope(scope) => Self::lacks_scope(scope),
            Error::TryLater { code, detail, retry_after } => Self::new(code, detail).retry_after(retry_after),
            Error::Internal(source) => Self::internal(source),
        }
    }
}

/// What a handler's error becomes until the request's end renders it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

/// Marks an answer that is problem details already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RenderedProblem;

/// The problem behind a bare status, as libraries below us answer it.
pub fn of_status(status: StatusCode) -> Problem {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (Code::NotFound, "There is nothing at this address."),
        StatusCode::METHOD_NOT_ALLOWED => (Code::MethodNotAllowed, "This resource does not support the method."),
        StatusCode::NOT_ACCEPTABLE => (Code::NotAcceptable, "None of the media types in Accept can be produced."),
        StatusCode::REQUEST_TIMEOUT => (Code::RequestTimeout, "The request took too long to arrive."),
        StatusCode::PAYLOAD_TOO_LARGE => (Code::TooLarge, "The body is larger than the limit."),
        StatusCode::URI_TOO_LONG => (Code::UriTooLong, "The address is longer than the limit."),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (Code::UnsupportedMediaType, "The media type is not supported."),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            (Code::HeadersTooLarge, "The headers are larger than the limit.")
        }
        StatusCode::UNPROCESSABLE_ENTITY => (Code::Invalid, "The request is not valid."),
        StatusCode::SERVICE_UNAVAILABLE => (Code::Unavailable, "Try again later."),
        StatusCode::GATEWAY_TIMEOUT => (Code::DeadlineExceeded, "The deadline passed."),
        status if status.is_client_error() => (Code::BadRequest, "The request is not valid."),
        _ => (Code::Internal, INTERNAL_DETAIL),
    };
    Problem::new(code, detail)
}

/// Request ids of ours are UUIDs; those of a proxy may be anything printable.
fn instance(request_id: &str) -> String {
    match uuid::Uuid::try_parse(request_id) {
        Ok(_) => format!("urn:uuid:{request_id}"),
        Err(_) => format!("urn:inkstone:request:{request_id}"),
    }
}

/// An error with all that caused it, in one line.
fn chain(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<WireFault<'a>>,
    #[serde(flatten)]
    members: BTreeMap<&'static str, &'a serde_json::Value>,
}

#[derive(Serialize)]
struct WireFault<'a> {
    pointer: &'a str,
    code: &'static str,
    detail: &'a str,
}

impl<'a> WireFault<'a> {
    fn of(fault: &'a Fault) -> Self {
        let Fault { pointer, code, detail } = fault;
        Self { pointer, code: code.as_str(), detail }
    }
}
