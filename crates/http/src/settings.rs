//! Every limit and choice of the edge, as plain values. The binary reads them from its
//! configuration; the defaults here are those of the documentation's table.

use std::num::NonZeroU32;
use std::time::Duration;

use inkstone_core::cache::Lifetime;
use inkstone_core::guard::load::LoadSettings;
use jiff::Timestamp;

pub use crate::server::Network;

/// The settings of the edge.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the site is reached from outside, if that is known: makes absolute links, and HTTPS
    /// in it means that HSTS is sent.
    pub public_url: Option<url::Url>,
    /// The largest request body, in bytes, on the wire.
    pub max_body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_deadline: Duration,
    /// How long a request may take altogether.
    pub request_deadline: Duration,
    /// The longest request target, in bytes.
    pub max_uri_bytes: usize,
    /// How many requests may be in work at once; more are turned away with 503.
    pub load: LoadSettings,
    /// Whose word about the client's address ([`Settings::client_address_header`]) and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<Network>,
    /// Where those proxies say who the client is.
    pub client_address_header: ClientAddressHeader,
    /// Which other sites' pages may read our answers.
    pub cors: CorsSettings,
    /// How often anybody may do what costs.
    pub rate_limits: RateLimits,
    /// The last days of v1.
    pub v1: VersionLife,
    /// The last days of v2.
    pub v2: VersionLife,
    /// How long each kind of resource may be kept.
    pub lifetimes: Lifetimes,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// A request that takes this long is notable.
    pub slow_request: Duration,
    /// Whether `Strict-Transport-Security` speaks for the subdomains too (RFC 6797 §6.1.2).
    pub hsts_subdomains: bool,
    /// Whether every answer carries `Server-Timing`; otherwise only those to requests with `X-Server-Timing: 1`.
    pub server_timing: bool,
    /// How long the first answer to an idempotency key is kept.
    pub idempotency_ttl: Duration,
    /// Where old addresses of imported posts lead: a path or URL with `{slug}` or `{id}` in it.
    pub post_url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            max_body_bytes: 1024 * 1024,
            body_deadline: Duration::from_secs(15),
            request_deadline: Duration::from_secs(30),
            max_uri_bytes: 8 * 1024,
            load: LoadSettings { least: 64, most: 1024, target: Duration::from_millis(250) },
            trusted_proxies: Vec::new(),
            client_address_header: ClientAddressHeader::XForwardedFor,
            cors: CorsSettings::default(),
            rate_limits: RateLimits::default(),
            v1: VersionLife::default(),
            v2: VersionLife::default(),
            lifetimes: Lifetimes::default(),
            access_log: AccessLog::Notable,
            slow_request: Duration::from_secs(1),
            hsts_subdomains: false,
            server_timing: false,
            idempotency_ttl: Duration::from_hours(24),
            post_url: "/api/v2/posts/by-slug/{slug}".to_owned(),
        }
    }
}

impl Settings {
    /// Whether clients reach us over HTTPS whatever the connection at hand is (TLS ends at a proxy).
    pub fn is_public_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// The absolute address of `path` where the public URL is known, else `path` itself.
    pub fn link(&self, path: &str) -> String {
        match &self.public_url {
            Some(url) => format!("{}{path}", url.as_str().trim_end_matches('/')),
            None => path.to_owned(),
        }
    }
}

/// Cross-origin access; closed when `origins` is empty.
#[derive(Debug, Clone)]
pub struct CorsSettings {
    /// The allowed origins, each exactly as browsers send it: `https://example.org`. `*` allows all.
    pub origins: Vec<String>,
    /// Whether browsers may send cookies along. Never together with `*`.
    pub credentials: bool,
    /// How long a browser may remember a preflight.
    pub max_age: Duration,
}

impl Default for CorsSettings {
    fn default() -> Self {
        Self { origins: Vec::new(), credentials: false, max_age: Duration::from_mins(10) }
    }
}

/// A quota of requests in a window, refilled continuously (GCRA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests at once, and per window in the long run.
    pub quota: NonZeroU32,
    /// The window, in whole seconds.
    pub window_secs: NonZeroU32,
}

/// The rate limits; `None` switches one off.
#[derive(Debug, Clone)]
pub struct RateLimits {
    /// Everything but GET, HEAD and OPTIONS, by account, or by address for the anonymous.
    pub writes: Option<RateLimit>,
    /// Sign-in, refresh and sign-out, by address.
    pub auth: Option<RateLimit>,
    /// How many accounts and addresses are remembered at most.
    pub max_keys: usize,
}

impl Default for RateLimits {
    fn default() -> Self {
        const MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);
        Self {
            writes: Some(RateLimit { quota: NonZeroU32::MIN.saturating_add(299), window_secs: MINUTE }),
            auth: Some(RateLimit { quota: NonZeroU32::MIN.saturating_add(29), window_secs: MINUTE }),
            max_keys: 100_000,
        }
    }
}

/// When a version of the API ends.
#[derive(Debug, Clone, Default)]
pub struct VersionLife {
    /// Since or from when it is deprecated (RFC 9745).
    pub deprecated_at: Option<Timestamp>,
    /// From when it is gone: 410 (RFC 8594).
    pub sunset_at: Option<Timestamp>,
    /// A page for people that says what to do.
    pub deprecation_link: Option<String>,
}

/// The table of lifetimes: one line per kind of resource.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// One post.
    pub post: Lifetime,
    /// Lists of posts.
    pub posts: Lifetime,
    /// One tag.
    pub tag: Lifetime,
    /// Lists of tags.
    pub tags: Lifetime,
    /// One public profile.
    pub user: Lifetime,
    /// Lists of public profiles.
    pub users: Lifetime,
    /// The public signing keys.
    pub keys: Lifetime,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let minutes = |fresh: u64| Lifetime {
            fresh: Duration::from_mins(fresh),
            stale_while_revalidate: Duration::from_mins(1),
            stale_if_error: Duration::from_hours(24),
        };
        Self {
            post: minutes(5),
            posts: minutes(5),
            tag: minutes(5),
            tags: minutes(5),
            user: minutes(5),
            users: minutes(5),
            keys: minutes(5),
        }
    }
}

/// The header in which trusted proxies name the client. One alone is read: a proxy that writes one
/// hands on the other as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddressHeader {
    /// `X-Forwarded-For`, as most proxies have it.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Which requests leave a line in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// Every request.
    All,
    /// Writes, errors and slow requests.
    Notable,
    /// None.
    None,
}
