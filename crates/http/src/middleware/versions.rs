//! The life of each version of the API: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), the links
//! that go with them, 410 after the last day, and 404 for a version that never was.

use http::header::{HeaderMap, HeaderName, HeaderValue, LINK};
use inkstone_core::Code;
use jiff::Timestamp;

use crate::problem::{Problem, Result};
use crate::representation::{header_value, http_date};
use crate::settings::{Settings, VersionLife};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The versions that there are, oldest first.
pub const LIVE: [&str; 2] = ["v1", "v2"];

/// Which version a path belongs to: the word after `/api/`.
fn of_path(path: &str) -> Option<&str> {
    path.strip_prefix("/api/")?.split('/').next().filter(|version| !version.is_empty())
}

fn life<'a>(settings: &'a Settings, version: &str) -> Option<&'a VersionLife> {
    match version {
        "v1" => Some(&settings.v1),
        "v2" => Some(&settings.v2),
        _ => None,
    }
}

/// Lets a request to a live version pass.
///
/// # Errors
/// [`Code::UnknownVersion`], and [`Code::Gone`] after the last day.
pub fn check(settings: &Settings, path: &str, now: Timestamp) -> Result<()> {
    let Some(version) = of_path(path) else { return Ok(()) };
    let Some(life) = life(settings, version) else {
        let detail = format!("There is no such version of the API. There are: {}.", LIVE.join(", "));
        return Err(Problem::new(Code::UnknownVersion, detail));
    };
    if life.sunset_at.is_some_and(|sunset| sunset <= now) {
        let detail = format!("This version of the API has ended. There are: {}.", LIVE.join(", "));
        return Err(Problem::new(Code::Gone, detail));
    }
    Ok(())
}

/// Says on every answer of a version when it ends, and what comes after it.
pub fn announce(settings: &Settings, path: &str, headers: &mut HeaderMap) {
    let Some(version) = of_path(path) else { return };
    let Some(VersionLife { deprecated_at, sunset_at, deprecation_link }) = life(settings, version) else { return };
    if let Some(at) = deprecated_at {
        headers.insert(DEPRECATION, header_value(&format!("@{}", at.as_second())));
        let successor = LIVE.iter().skip_while(|live| **live != version).nth(1);
        if let Some(successor) = successor {
            let target = settings.link(&format!("/api/{successor}/openapi.json"));
            headers.append(LINK, header_value(&format!("<{target}>; rel=\"successor-version\"")));
        }
    }
    if let Some(page) = deprecation_link {
        let page: &str = page;
        if let Ok(link) = HeaderValue::from_str(&format!("<{page}>; rel=\"deprecation\"; type=\"text/html\"")) {
            headers.append(LINK, link);
        }
    }
    if let Some(at) = sunset_at {
        headers.insert(SUNSET, http_date(*at));
    }
}
