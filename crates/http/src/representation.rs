//! A finished answer: bytes, headers, entity tag, and what it was made from.
//!
//! Built once, kept by the cache, answered from many times. [`Representation::respond`] turns it
//! into the response to one request: 304, 412, HEAD, the coding that the client likes best, `Age`,
//! `Cache-Status` (RFC 9211) and `Server-Timing`.

mod builder;
mod portable;
mod verdict;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use inkstone_core::cache::{Cacheable, Lifetime};
use inkstone_core::events::Entity;
use inkstone_core::{Code, FaultCode};
use jiff::Timestamp;

use crate::compress;
use crate::extract::accept::{self, Coding};
use crate::extract::conditional::{Conditions, Outcome};
use crate::front::Prepared;
use crate::problem::{Problem, Result};
use crate::settings::Settings;

pub use self::builder::{Builder, digest, entity_tag};
pub use self::verdict::Verdict;

/// `Cache-Tag`: what a CDN purges by.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// `Server-Timing` (W3C).
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Asks for `Server-Timing`.
pub const X_SERVER_TIMING: HeaderName = HeaderName::from_static("x-server-timing");

/// Smaller bodies are not worth compressing.
const MIN_COMPRESSED_BYTES: usize = 1024;
/// Larger bodies are compressed off the runtime, and go out as they are in the meantime.
const MAX_INLINE_COMPRESSED_BYTES: usize = 64 * 1024;

/// A finished answer.
#[derive(Debug)]
pub struct Representation {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    gzip: OnceLock<Option<Bytes>>,
    brotli: OnceLock<Option<Bytes>>,
    opaque: String,
    etags: [HeaderValue; 3],
    last_modified: Option<Timestamp>,
    entities: Vec<Entity>,
    lifetime: Option<Lifetime>,
    route: Cow<'static, str>,
    prepared: OnceLock<Prepared>,
}

/// `Cache-Control` of whatever is personal.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("private, no-store");

/// What [`Representation::respond`] needs to know of a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Whether `Server-Timing` was asked for: see [`Asked::wants_timing`].
    pub wants_timing: bool,
    /// The SQL statements that the request cost.
    pub statements: u32,
}

impl Asked<'_> {
    /// Whether the settings or the request ask for `Server-Timing`.
    pub fn wants_timing(settings: &Settings, headers: &HeaderMap) -> bool {
        settings.server_timing || headers.get(X_SERVER_TIMING).is_some_and(|value| value == "1")
    }
}

impl Representation {
    /// An answer with this body.
    pub fn builder(body: impl Into<Bytes>) -> Builder {
        Builder::new(body.into())
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Every header of the uncompressed answer but those that change from request to request.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body as it is.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The strong entity tag of the uncompressed answer, with its quotes.
    pub fn etag(&self) -> &HeaderValue {
        &self.etags[0]
    }

    /// How long it may be kept; `None` for what is personal and not to be kept at all.
    pub fn lifetime(&self) -> Option<Lifetime> {
        self.lifetime
    }

    /// Where [`crate::front`] keeps what all hits on this answer have in common.
    pub(crate) fn prepared(&self) -> &OnceLock<Prepared> {
        &self.prepared
    }

    /// The route's template.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The response to one request.
    ///
    /// # Errors
    /// [`Code::BadHeader`] for conditions that cannot be read, [`Code::PreconditionFailed`], and
    /// [`Code::NotAcceptable`] if the client takes no coding that there is.
    pub fn respond(self: &Arc<Self>, asked: Asked<'_>, verdict: Verdict) -> Result<Response> {
        let coding = self.choose(asked.headers)?;
        let is_read = matches!(*asked.method, Method::GET | Method::HEAD);
        let outcome = if is_read && self.status == StatusCode::OK {
            self.evaluate(asked.headers, coding)?
        } else {
            Outcome::Proceed
        };
        if outcome == Outcome::Failed {
            return Err(Problem::new(
                Code::PreconditionFailed,
                "The resource is not in the state that the condition names.",
            ));
        }
        let is_unchanged = outcome == Outcome::NotModified;
        let content = if is_unchanged { None } else { self.content(coding) };
        // What could not be made smaller goes out as it is.
        let coding = if is_unchanged || content.is_some() { coding } else { Coding::Identity };
        let content = content.unwrap_or(&self.body);
        let mut headers = self.headers.clone();
        if coding != Coding::Identity {
            headers.insert(header::ETAG, self.etags[coding as usize].clone());
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        }
        let mut response = Response::new(Body::empty());
        if is_unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_ENCODING);
        } else {
            *response.status_mut() = self.status;
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
            if *asked.method != Method::HEAD {
                *response.body_mut() = Body::from(content.clone());
            }
        }
        if self.lifetime.is_some() {
            headers.insert(CACHE_STATUS, verdict.cache_status());
            if let Some(age) = verdict.age() {
                headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
            }
        }
        if asked.wants_timing {
            let timing = format!("cache;desc={}, db;desc=\"{} statements\"", verdict.as_str(), asked.statements);
            headers.insert(SERVER_TIMING, header_value(&timing));
        }
        *response.headers_mut() = headers;
        response.extensions_mut().insert(verdict);
        Ok(response)
    }

    /// The coding that the client likes best of those that may be.
    fn choose(&self, headers: &HeaderMap) -> Result<Coding> {
        // What is personal may mix secrets with reflected input: never compressed (BREACH).
        let compressible = self.lifetime.is_some() && self.body.len() >= MIN_COMPRESSED_BYTES;
        accept::coding(headers, compressible, compressible).ok_or_else(|| {
            Problem::with_fault(
                Code::NotAcceptable,
                "accept-encoding",
                FaultCode::NotAllowed,
                "None of the codings in Accept-Encoding can be produced.",
            )
        })
    }

    fn evaluate(&self, headers: &HeaderMap, coding: Coding) -> Result<Outcome> {
        let conditions = Conditions::from_headers(headers)?;
        if conditions.is_empty() {
            return Ok(Outcome::Proceed);
        }
        let opaque = match coding {
            Coding::Identity => self.opaque.clone(),
            coding => format!("{}-{}", self.opaque, coding.as_str()),
        };
        Ok(conditions.evaluate(&opaque, self.last_modified))
    }

    /// The body in this coding, made when it is first asked for.
    fn content(self: &Arc<Self>, coding: Coding) -> Option<&Bytes> {
        let slot = match coding {
            Coding::Identity => return Some(&self.body),
            Coding::Gzip => &self.gzip,
            Coding::Brotli => &self.brotli,
        };
        if slot.get().is_none() && self.body.len() > MAX_INLINE_COMPRESSED_BYTES {
            let this = Arc::clone(self);
            tokio::task::spawn_blocking(move || this.compress(coding));
            return None;
        }
        self.compress(coding);
        slot.get()?.as_ref()
    }

    fn compress(&self, coding: Coding) {
        match coding {
            Coding::Identity => {}
            Coding::Gzip => {
                self.gzip.get_or_init(|| compress::gzip(&self.body).map(Bytes::from));
            }
            Coding::Brotli => {
                self.brotli.get_or_init(|| compress::brotli(&self.body).map(Bytes::from));
            }
        }
    }
}

impl Cacheable for Representation {
    /// Counts the compressed forms as half the body each, and what the front keeps, whether or not
    /// they are made yet: the cache weighs a value once.
    fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        let compressed =
            if self.lifetime.is_some() && self.body.len() >= MIN_COMPRESSED_BYTES { self.body.len() } else { 0 };
        let prepared = if self.lifetime.is_some() { Prepared::WEIGHT } else { 0 };
        self.body.len() + compressed + prepared + headers + self.entities.len() * size_of::<Entity>() + 256
    }

    fn entities(&self) -> &[Entity] {
        &self.entities
    }
}

/// A time as HTTP writes it; whole seconds.
pub fn http_date(at: Timestamp) -> HeaderValue {
    let time = std::time::SystemTime::from(at);
    header_value(&httpdate::fmt_http_date(time.max(std::time::UNIX_EPOCH)))
}

/// Text of our own making, which is always visible ASCII.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
