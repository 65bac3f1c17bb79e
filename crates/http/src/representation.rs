//! A finished answer: bytes, headers, entity tag, and what it was made from.
//!
//! Built once, kept by the cache, answered from many times. [`Representation::respond`] turns it
//! into the response to one request: 304, 412, HEAD, the coding that the client likes best, `Age`,
//! `Cache-Status` (RFC 9211) and `Server-Timing`.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use inkstone_core::cache::{Cacheable, Lifetime};
use inkstone_core::events::Entity;
use inkstone_core::{Code, FaultCode};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::compress;
use crate::extract::accept::{self, Coding};
use crate::extract::conditional::{Conditions, Outcome};
use crate::middleware::security;
use crate::problem::{Problem, Result};
use crate::settings::Settings;

/// `Cache-Tag`: what a CDN purges by.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// `Server-Timing` (W3C).
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Asks for `Server-Timing`.
pub const X_SERVER_TIMING: HeaderName = HeaderName::from_static("x-server-timing");

const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The largest `Cache-Tag`, in bytes; beyond it, single posts are left out, then all tags but the lists.
const MAX_CACHE_TAG_BYTES: usize = 4096;
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
    route: &'static str,
}

/// An answer in the making. Private and not to be stored unless [`Builder::public`] says otherwise.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    body: Bytes,
    status: StatusCode,
    headers: HeaderMap,
    version: Option<i64>,
    last_modified: Option<Timestamp>,
    shared: Option<(Lifetime, Vec<Entity>)>,
    varies_by_caller: bool,
    route: &'static str,
}

impl Builder {
    /// Another status than 200.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The route's template, for metrics and logs of answers that come straight out of the cache.
    pub fn route(mut self, template: &'static str) -> Self {
        self.route = template;
        self
    }

    /// The version of the resource, if it can be written: it goes in front of the entity tag.
    pub fn version(mut self, version: i64) -> Self {
        self.version = Some(version);
        self
    }

    /// When the resource changed last, where that means something.
    pub fn last_modified(mut self, at: Timestamp) -> Self {
        self.last_modified = Some(at);
        self
    }

    /// The same for everybody: may be kept for `lifetime`, and dies when any of `entities` changes.
    pub fn public(mut self, lifetime: Lifetime, entities: Vec<Entity>) -> Self {
        self.shared = Some((lifetime, entities));
        self
    }

    /// Public, but another caller gets something else at the same address.
    pub fn varies_by_caller(mut self) -> Self {
        self.varies_by_caller = true;
        self
    }

    /// Another media type than JSON.
    pub fn content_type(self, media_type: HeaderValue) -> Self {
        self.header(header::CONTENT_TYPE, media_type)
    }

    /// One more header, such as `Link` or `Location`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Finishes it.
    pub fn build(self) -> Representation {
        let Self { body, status, mut headers, version, last_modified, shared, varies_by_caller, route } = self;
        headers.entry(header::CONTENT_TYPE).or_insert(APPLICATION_JSON);
        let opaque = entity_tag(&body, version);
        let etags = [("", Coding::Identity), ("-gzip", Coding::Gzip), ("-br", Coding::Brotli)]
            .map(|(suffix, _)| header_value(&format!("\"{opaque}{suffix}\"")));
        headers.insert(header::ETAG, etags[0].clone());
        if let Some(at) = last_modified {
            headers.insert(header::LAST_MODIFIED, http_date(at));
        }
        let (lifetime, entities) = shared.unzip();
        let entities = entities.unwrap_or_default();
        headers.insert(header::CACHE_CONTROL, lifetime.map_or(NO_STORE, |lifetime| cache_control(&lifetime)));
        headers.insert(
            header::VARY,
            match (lifetime.is_some(), varies_by_caller) {
                (true, false) => HeaderValue::from_static("accept-encoding"),
                _ => HeaderValue::from_static("accept-encoding, authorization"),
            },
        );
        if let Some(tag) = cache_tag(&entities) {
            headers.insert(CACHE_TAG, tag);
        }
        security::add(&mut headers);
        Representation {
            status,
            headers,
            body,
            gzip: OnceLock::new(),
            brotli: OnceLock::new(),
            opaque,
            etags,
            last_modified,
            entities,
            lifetime,
            route,
        }
    }
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

/// How the cache came by the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Fresh, from the cache.
    Hit {
        /// Since it was made.
        age: Duration,
        /// What is left of its lifetime.
        ttl: Duration,
    },
    /// From the cache past its lifetime, while somebody refreshes it.
    Stale {
        /// Since it was made.
        age: Duration,
        /// Since its lifetime ended.
        overdue: Duration,
    },
    /// From the cache past its lifetime, because the store cannot answer.
    StaleIfError {
        /// Since it was made.
        age: Duration,
        /// Since its lifetime ended.
        overdue: Duration,
    },
    /// Made now.
    Miss {
        /// Whether the cache kept it.
        stored: bool,
    },
    /// Made now by another request that this one waited for.
    Collapsed,
    /// Not a matter for the cache.
    Bypass,
}

impl Verdict {
    /// One word for logs, metrics and `Server-Timing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Stale { .. } => "stale",
            Self::StaleIfError { .. } => "stale-if-error",
            Self::Miss { .. } => "miss",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
        }
    }

    /// `Cache-Status` (RFC 9211 §2).
    fn cache_status(self) -> HeaderValue {
        match self {
            Self::Hit { ttl, .. } => header_value(&format!("inkstone; hit; ttl={}", ttl.as_secs())),
            Self::Stale { overdue, .. } => header_value(&format!("inkstone; hit; ttl=-{}", overdue.as_secs())),
            Self::StaleIfError { overdue, .. } => {
                header_value(&format!("inkstone; hit; ttl=-{}; detail=stale-if-error", overdue.as_secs()))
            }
            Self::Miss { stored: true } => HeaderValue::from_static("inkstone; fwd=uri-miss; stored"),
            Self::Miss { stored: false } => HeaderValue::from_static("inkstone; fwd=uri-miss"),
            Self::Collapsed => HeaderValue::from_static("inkstone; fwd=uri-miss; collapsed"),
            Self::Bypass => HeaderValue::from_static("inkstone; fwd=bypass"),
        }
    }

    fn age(self) -> Option<Duration> {
        match self {
            Self::Hit { age, .. } | Self::Stale { age, .. } | Self::StaleIfError { age, .. } => Some(age),
            Self::Miss { .. } | Self::Collapsed | Self::Bypass => None,
        }
    }
}

impl Representation {
    /// An answer with this body.
    pub fn builder(body: impl Into<Bytes>) -> Builder {
        Builder {
            body: body.into(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            version: None,
            last_modified: None,
            shared: None,
            varies_by_caller: false,
            route: "",
        }
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

    /// The route's template.
    pub fn route(&self) -> &'static str {
        self.route
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
    /// Counts the compressed forms as half the body each, whether or not they are made yet: the
    /// cache weighs a value once.
    fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        let compressed =
            if self.lifetime.is_some() && self.body.len() >= MIN_COMPRESSED_BYTES { self.body.len() } else { 0 };
        self.body.len() + compressed + headers + self.entities.len() * size_of::<Entity>() + 256
    }

    fn entities(&self) -> &[Entity] {
        &self.entities
    }
}

/// 96 bits of SHA-256 in base64url: names bytes in entity tags.
pub fn digest(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..12])
}

/// The entity tag of these bytes without its quotes; with the version of what can be written.
pub fn entity_tag(body: &[u8], version: Option<i64>) -> String {
    match version {
        Some(version) => format!("v{version}.{}", digest(body)),
        None => digest(body),
    }
}

/// How long anybody may keep a public answer. Browsers ask again sooner than shared caches, which
/// can be purged.
fn cache_control(lifetime: &Lifetime) -> HeaderValue {
    let Lifetime { fresh, stale_while_revalidate, stale_if_error } = lifetime;
    let shared = fresh.as_secs();
    header_value(&format!(
        "public, max-age={}, s-maxage={shared}, stale-while-revalidate={}, stale-if-error={}",
        shared.min(MAX_BROWSER_AGE_SECS),
        stale_while_revalidate.as_secs(),
        stale_if_error.as_secs(),
    ))
}

/// Nobody can purge a browser.
const MAX_BROWSER_AGE_SECS: u64 = 60;

/// The entities, comma-separated. Too many become coarser: first the single posts, people and tags
/// go (every list of them is named anyway), then all but the lists that have no id.
fn cache_tag(entities: &[Entity]) -> Option<HeaderValue> {
    let is_list = |entity: &Entity| !matches!(entity, Entity::Post(_) | Entity::User(_) | Entity::Tag(_));
    let is_whole = |entity: &Entity| is_list(entity) && !matches!(entity, Entity::PostsTagged(_) | Entity::PostsBy(_));
    let levels: [&dyn Fn(&Entity) -> bool; 3] = [&|_| true, &is_list, &is_whole];
    levels.into_iter().find_map(|level| {
        let mut text = String::new();
        for entity in entities.iter().filter(|entity| level(entity)) {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing into a string does not fail.
            let _ = write!(text, "{comma}{entity}");
        }
        (!text.is_empty() && text.len() <= MAX_CACHE_TAG_BYTES).then(|| header_value(&text))
    })
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
