//! Content negotiation (RFC 9110 §12.5): media types and content codings.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use inkstone_core::Code;

use crate::problem::{Problem, Result};

/// How the body goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// Compressed by gzip (RFC 1952).
    Gzip,
    /// Compressed by Brotli (RFC 7932).
    Brotli,
}

impl Coding {
    /// The name in `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }
}

/// Whether the client takes `media_type`, such as `application/json`.
///
/// # Errors
/// [`Code::NotAcceptable`].
pub fn check_media_type(headers: &HeaderMap, media_type: &str) -> Result<()> {
    if accepts(headers, media_type) {
        return Ok(());
    }
    Err(Problem::new(Code::NotAcceptable, format!("The answer is {media_type}, which Accept rules out.")))
}

/// Whether `Accept` allows `media_type`. The most specific range that matches decides.
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    if !headers.contains_key(ACCEPT) {
        return true;
    }
    let (main, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let mut best: Option<(u8, u16)> = None;
    for (range, quality) in weighted(headers, &ACCEPT) {
        let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let precision = match range.as_str() {
            exact if exact == media_type => 3,
            "*/*" => 1,
            range if range.strip_suffix("/*") == Some(main) => 2,
            _ => continue,
        };
        if best.is_none_or(|(known, known_quality)| (precision, quality) > (known, known_quality)) {
            best = Some((precision, quality));
        }
    }
    // A header without one readable range says nothing.
    best.map_or_else(|| weighted(headers, &ACCEPT).next().is_none(), |(_, quality)| quality > 0)
}

/// The coding to answer with, out of those that there are; Brotli before gzip before none where
/// the client likes them equally. `None` if it takes none of them (`identity;q=0`).
pub fn coding(headers: &HeaderMap, has_gzip: bool, has_brotli: bool) -> Option<Coding> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return Some(Coding::Identity);
    }
    let (mut gzip, mut brotli, mut identity, mut any) = (None, None, None, None);
    for (name, quality) in weighted(headers, &ACCEPT_ENCODING) {
        let slot = match name {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case("br") => &mut brotli,
            name if name.eq_ignore_ascii_case("identity") => &mut identity,
            "*" => &mut any,
            _ => continue,
        };
        *slot = Some(quality);
    }
    let candidates = [
        (Coding::Brotli, if has_brotli { brotli.or(any).unwrap_or(0) } else { 0 }),
        (Coding::Gzip, if has_gzip { gzip.or(any).unwrap_or(0) } else { 0 }),
        // Unless ruled out, identity is acceptable, but less than whatever is named.
        (Coding::Identity, identity.or(any.filter(|quality| *quality == 0)).unwrap_or(1)),
    ];
    let mut best = None;
    for (coding, quality) in candidates {
        if quality > best.map_or(0, |(_, known)| known) {
            best = Some((coding, quality));
        }
    }
    best.map(|(coding, _)| coding)
}

/// The members of a weighted list with their quality in thousandths. Unreadable weights count as 1,
/// as most servers have it.
fn weighted<'a>(headers: &'a HeaderMap, name: &'a http::HeaderName) -> impl Iterator<Item = (&'a str, u16)> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|member| !member.is_empty()).map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let value = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        (value, quality.map_or(1000, thousandths))
    })
}

/// `0`, `1`, `0.5`, `1.000`: at most three digits (RFC 9110 §12.4.2).
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{fraction:0<3}");
    match (whole, digits.get(..3).and_then(|digits| digits.parse::<u16>().ok())) {
        ("0", Some(thousandths)) if fraction.len() <= 3 => thousandths,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn accept_is_weighed_by_the_most_specific_range() {
        assert!(accepts(&HeaderMap::new(), "application/json"));
        for (accept, taken) in [
            ("application/json", true),
            ("Application/JSON", true),
            ("application/*", true),
            ("*/*", true),
            ("text/html, */*;q=0.1", true),
            ("application/json; charset=utf-8", true),
            ("application/json;q=0.001", true),
            ("", true),
            ("text/html", false),
            ("application/xml, text/*", false),
            ("application/json;q=0", false),
            ("application/json;q=0.000, */*", false),
            ("application/*;q=0, */*", false),
            ("application/*;q=0, application/json", true),
            ("*/*;q=0", false),
            ("application/problem+json", false),
        ] {
            assert_eq!(accepts(&with(ACCEPT, accept), "application/json"), taken, "{accept}");
        }
    }

    #[test]
    fn codings_are_chosen_by_quality_then_by_size() {
        use Coding::*;
        assert_eq!(coding(&HeaderMap::new(), true, true), Some(Identity));
        for (accept, expected) in [
            ("gzip", Some(Gzip)),
            ("gzip, br", Some(Brotli)),
            ("gzip, deflate, br, zstd", Some(Brotli)),
            ("br;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("br;q=0, gzip", Some(Gzip)),
            ("identity", Some(Identity)),
            ("identity, gzip;q=0.5", Some(Identity)),
            ("*", Some(Brotli)),
            ("*;q=0, gzip", Some(Gzip)),
            ("*;q=0", None),
            ("identity;q=0", None),
            ("identity;q=0, br", Some(Brotli)),
            ("deflate", Some(Identity)),
            ("", Some(Identity)),
            ("GZIP", Some(Gzip)),
        ] {
            assert_eq!(coding(&with(ACCEPT_ENCODING, accept), true, true), expected, "{accept}");
        }
        assert_eq!(coding(&with(ACCEPT_ENCODING, "br, gzip"), false, false), Some(Identity));
        assert_eq!(coding(&with(ACCEPT_ENCODING, "br, gzip, identity;q=0"), false, false), None);
        assert_eq!(coding(&with(ACCEPT_ENCODING, "br, gzip"), true, false), Some(Gzip));
    }
}
