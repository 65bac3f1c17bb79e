//! Puts a representation together: its entity tag, and what it says to caches.

use std::fmt::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use inkstone_core::cache::Lifetime;
use inkstone_core::events::Entity;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{CACHE_TAG, NO_STORE, Representation, header_value, http_date};
use crate::middleware::security;

const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The largest `Cache-Tag`, in bytes; beyond it, single posts are left out, then all tags but the lists.
const MAX_CACHE_TAG_BYTES: usize = 4096;

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
    /// With this body.
    pub(super) fn new(body: Bytes) -> Self {
        Self {
            body,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            version: None,
            last_modified: None,
            shared: None,
            varies_by_caller: false,
            route: "",
        }
    }

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
        let etags = etags(&opaque);
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
            route: route.into(),
            prepared: OnceLock::new(),
        }
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

/// The entity tags in each coding, in the order of [`Coding`](crate::extract::accept::Coding), with their quotes.
pub(super) fn etags(opaque: &str) -> [HeaderValue; 3] {
    ["", "-gzip", "-br"].map(|coding| header_value(&format!("\"{opaque}{coding}\"")))
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
