//! Dates, as people and programs write them in front matter, file names and addresses.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A time with its zone.
const ZONED: &[&str] = &[
    "%Y-%m-%d %H:%M:%S%.f %z",
    "%Y-%m-%d %H:%M:%S%.f %:z",
    "%Y-%m-%d %H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M %z",
    "%Y-%m-%d %H:%M %:z",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%dT%H:%M%:z",
];
/// A time without a zone.
const LOCAL: &[&str] =
    &["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y/%m/%d %H:%M:%S"];
/// A day alone.
const DAYS: &[&str] = &["%Y-%m-%d", "%Y/%m/%d", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y"];

/// Reads a date, with or without a time and a zone. Without a zone it is in UTC.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Some(at) = ZONED.iter().find_map(|format| Timestamp::strptime(format, text).ok()) {
        return Some(at);
    }
    let text = text.strip_suffix("UTC").or_else(|| text.strip_suffix('Z')).unwrap_or(text).trim_end();
    if let Some(at) = LOCAL.iter().find_map(|format| DateTime::strptime(format, text).ok()) {
        return in_utc(at);
    }
    let day = DAYS.iter().find_map(|format| Date::strptime(format, text).ok())?;
    in_utc(day.at(0, 0, 0, 0))
}

/// A date at the beginning of a file name, `2014-12-12-title`, and what follows it.
pub(super) fn of_file_name(stem: &str) -> Option<(Timestamp, &str)> {
    let day = stem.get(..10)?;
    let rest = stem[10..].strip_prefix(['-', '_', ' '])?;
    Some((day_of(day.split('-'))?, rest)).filter(|(_, rest)| !rest.is_empty())
}

/// A date among the segments of an address, `2014/12/12/title`.
pub(super) fn of_path(path: &str) -> Option<Timestamp> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    segments.windows(3).find_map(|day| day_of(day.iter().copied()))
}

fn day_of<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Timestamp> {
    let parts: Vec<&str> = parts.collect();
    let [year, month, day] = parts[..] else { return None };
    let is_number =
        |text: &str, lengths: &[usize]| lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !(is_number(year, &[4]) && is_number(month, &[1, 2]) && is_number(day, &[1, 2])) {
        return None;
    }
    in_utc(Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?.at(0, 0, 0, 0))
}

fn in_utc(at: DateTime) -> Option<Timestamp> {
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, expected) in [
            ("2014-12-12", "2014-12-12T00:00:00Z"),
            ("2014/12/12", "2014-12-12T00:00:00Z"),
            (" 2014-12-12 10:20:30 ", "2014-12-12T10:20:30Z"),
            ("2014-12-12T10:20:30", "2014-12-12T10:20:30Z"),
            ("2014-12-12T10:20", "2014-12-12T10:20:00Z"),
            ("2014-12-12T10:20:30Z", "2014-12-12T10:20:30Z"),
            ("2014-12-12T10:20:30.5+02:00", "2014-12-12T08:20:30.5Z"),
            ("2014-12-12T10:20:30+0200", "2014-12-12T08:20:30Z"),
            ("2014-12-12 10:20:30 +0200", "2014-12-12T08:20:30Z"),
            ("2014-12-12 10:20:30 -08:00", "2014-12-12T18:20:30Z"),
            ("2014-12-12 10:20:30+02:00", "2014-12-12T08:20:30Z"),
            ("2014-12-12 10:20 +0200", "2014-12-12T08:20:00Z"),
            ("2014-12-12 10:20:30 UTC", "2014-12-12T10:20:30Z"),
            ("December 12, 2014", "2014-12-12T00:00:00Z"),
            ("12 Dec 2014", "2014-12-12T00:00:00Z"),
        ] {
            assert_eq!(parse(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "2014", "2014-13-01", "2014-02-30", "12/12/2014"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn finds_days_in_file_names_and_addresses() {
        let day: Timestamp = "2014-12-12T00:00:00Z".parse().unwrap();
        assert_eq!(of_file_name("2014-12-12-a-title"), Some((day, "a-title")));
        for stem in ["2014-12-12", "2014-12-12-", "2014-13-12-x", "1.94.1-release", "日本語日本語-x", ""] {
            assert_eq!(of_file_name(stem), None, "{stem}");
        }
        assert_eq!(of_path("inside-rust/2014/12/12/title.html"), Some(day));
        for path in ["2014/12/title", "a/b/c", "", "20145/12/12"] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }
}
