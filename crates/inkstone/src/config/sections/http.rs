//! `[http]`, `[cache.lifetimes]` and `server.public_url`: the settings of the edge.

use std::num::NonZeroU32;
use std::time::Duration;

use inkstone_core::cache::Lifetime;
use inkstone_core::guard::load::LoadSettings;
use inkstone_http::settings::{
    AccessLog, ClientAddressHeader, CorsSettings, Lifetimes, RateLimit, RateLimits, Settings, VersionLife,
};

use super::{DAY, HOUR, KIB, MIB, MINUTE, SECOND, YEAR};
use crate::config::read::Reader;

pub(super) fn read(reader: &mut Reader, max_uri_bytes: usize) -> Settings {
    Settings {
        public_url: public_url(reader),
        max_body_bytes: reader.size("http.body_bytes", KIB..=64 * MIB),
        body_deadline: reader.duration("http.body_deadline", SECOND..=HOUR),
        request_deadline: reader.duration("http.request_deadline", SECOND..=HOUR),
        max_uri_bytes,
        load: load(reader),
        trusted_proxies: reader.parsed_list("http.trusted_proxies"),
        client_address_header: reader.choice(
            "http.client_address_header",
            &[("x-forwarded-for", ClientAddressHeader::XForwardedFor), ("forwarded", ClientAddressHeader::Forwarded)],
        ),
        cors: cors(reader),
        rate_limits: RateLimits {
            writes: rate(reader, "http.rate_limits.writes"),
            auth: rate(reader, "http.rate_limits.auth"),
            max_keys: reader.integer("http.rate_limits.max_clients", 100..=100_000_000),
        },
        v1: version(reader, "http.v1"),
        v2: version(reader, "http.v2"),
        lifetimes: Lifetimes {
            post: lifetime(reader, "post"),
            posts: lifetime(reader, "posts"),
            tag: lifetime(reader, "tag"),
            tags: lifetime(reader, "tags"),
            user: lifetime(reader, "user"),
            users: lifetime(reader, "users"),
            keys: lifetime(reader, "keys"),
        },
        access_log: reader.choice(
            "http.access_log",
            &[("all", AccessLog::All), ("notable", AccessLog::Notable), ("none", AccessLog::None)],
        ),
        slow_request: reader.duration("http.slow_request", Duration::from_millis(1)..=HOUR),
        hsts_subdomains: reader.flag("http.hsts_subdomains"),
        server_timing: reader.flag("http.server_timing"),
        idempotency_ttl: reader.duration("http.idempotency", MINUTE..=30 * DAY),
        post_url: post_url(reader),
    }
}

fn load(reader: &mut Reader) -> LoadSettings {
    LoadSettings {
        least: reader.integer("http.load.least", 1..=1_000_000),
        most: reader.integer("http.concurrency", 1..=1_000_000),
        target: reader.duration("http.load.target", Duration::from_millis(1)..=HOUR),
    }
}

fn public_url(reader: &mut Reader) -> Option<url::Url> {
    let url: url::Url = reader.parsed("server.public_url")?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        reader.fault(
            "server.public_url",
            "must be an address such as \"https://blog.example\": http or https, without name, password, ? or #",
        );
    }
    Some(url)
}

fn post_url(reader: &mut Reader) -> String {
    let template = reader.required_text("http.post_url");
    let has_place = template.contains("{slug}") || template.contains("{id}");
    let has_start = template.starts_with('/') || template.starts_with("https://") || template.starts_with("http://");
    if !has_place || !has_start || template.chars().any(|c| c.is_control() || c.is_whitespace()) {
        reader.fault("http.post_url", "must be a path or a URL with {slug} or {id} in it, such as \"/posts/{slug}\"");
    }
    template
}

fn cors(reader: &mut Reader) -> CorsSettings {
    let origins = reader.list("http.cors.origins");
    for origin in &origins {
        if !is_origin(origin) {
            let message =
                format!("{origin:?} is not an origin as browsers send it, such as \"https://app.example\", nor \"*\"");
            reader.fault("http.cors.origins", message);
        }
    }
    let credentials = reader.flag("http.cors.credentials");
    if credentials && origins.iter().any(|origin| origin == "*") {
        reader.fault(
            "http.cors.credentials",
            "must be false while http.cors.origins has \"*\": that would let any site act for its visitors",
        );
    }
    CorsSettings { origins, credentials, max_age: reader.duration("http.cors.max_age", Duration::ZERO..=DAY) }
}

fn is_origin(text: &str) -> bool {
    text == "*"
        || url::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text)
}

fn rate(reader: &mut Reader, setting: &str) -> Option<RateLimit> {
    let quota = NonZeroU32::new(reader.integer(&format!("{setting}.requests"), 0..=1_000_000_000));
    let window = reader.duration(&format!("{setting}.window"), SECOND..=DAY);
    let window_secs = u32::try_from(window.as_secs()).ok().and_then(NonZeroU32::new);
    Some(RateLimit { quota: quota?, window_secs: window_secs? })
}

fn version(reader: &mut Reader, section: &str) -> VersionLife {
    let deprecated_at = reader.time(&format!("{section}.deprecated"));
    let sunset_at = reader.time(&format!("{section}.sunset"));
    if let Some(sunset) = sunset_at {
        let name = format!("{section}.sunset");
        match deprecated_at {
            None => reader.fault(&name, format!("needs {section}.deprecated as well: what ends is deprecated before")),
            Some(deprecated) if sunset < deprecated => {
                reader.fault(&name, format!("must not be before {section}.deprecated (RFC 8594)"));
            }
            Some(_) => {}
        }
    }
    let link: Option<url::Url> = reader.parsed(&format!("{section}.link"));
    VersionLife { deprecated_at, sunset_at, deprecation_link: link.map(Into::into) }
}

fn lifetime(reader: &mut Reader, resource: &str) -> Lifetime {
    let mut part = |name: &str| reader.duration(&format!("cache.lifetimes.{resource}.{name}"), Duration::ZERO..=YEAR);
    Lifetime {
        fresh: part("fresh"),
        stale_while_revalidate: part("stale_while_revalidate"),
        stale_if_error: part("stale_if_error"),
    }
}
