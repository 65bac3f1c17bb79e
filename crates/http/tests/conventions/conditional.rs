//! Conditional requests, against an oracle that spells RFC 9110 §13.2.2 out step by step.

use http::{HeaderMap, HeaderValue};
use inkstone_core::Code;
use inkstone_core::precondition::Precondition;
use inkstone_http::extract::conditional::IfMatch::{Optional, Required};
use inkstone_http::extract::conditional::{Conditions, EntityTags, MAX_TAGS, Outcome, Versioned};
use jiff::Timestamp;

const MODIFIED: &str = "2026-11-22T08:30:00.7Z";
const BEFORE: &str = "Sun, 22 Nov 2026 08:29:59 GMT";
const SAME: &str = "Sun, 22 Nov 2026 08:30:00 GMT";

fn conditions(headers: &[(&'static str, &'static str)]) -> Conditions {
    let map: HeaderMap = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    Conditions::from_headers(&map).unwrap()
}

/// Each condition: absent, or given so that it holds, or so that it does not.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Given {
    Absent,
    Holds,
    Fails,
}

/// The steps of RFC 9110 §13.2.2 for a GET, in its order.
fn oracle(if_match: Given, unmodified_since: Given, none_match: Given, modified_since: Given) -> Outcome {
    // 1. When If-Match is present: true, go on to 3; false, 412.
    if if_match == Given::Fails {
        return Outcome::Failed;
    }
    // 2. When If-Match is not present and If-Unmodified-Since is: true, go on; false, 412.
    if if_match == Given::Absent && unmodified_since == Given::Fails {
        return Outcome::Failed;
    }
    // 3. When If-None-Match is present: true, go on to 5; false for GET or HEAD, 304.
    if none_match == Given::Fails {
        return Outcome::NotModified;
    }
    // 4. When If-None-Match is not present and If-Modified-Since is: true, go on; false, 304.
    if none_match == Given::Absent && modified_since == Given::Fails {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

#[test]
fn every_combination_comes_to_what_the_standard_says() {
    use Given::{Absent, Fails, Holds};
    let all = [Absent, Holds, Fails];
    let mut seen = 0;
    for if_match in all {
        for unmodified_since in all {
            for none_match in all {
                for modified_since in all {
                    let mut headers = Vec::new();
                    match if_match {
                        Absent => {}
                        Holds => headers.push(("if-match", "\"other\", \"v7.abc\"")),
                        Fails => headers.push(("if-match", "\"other\"")),
                    }
                    match unmodified_since {
                        Absent => {}
                        Holds => headers.push(("if-unmodified-since", SAME)),
                        Fails => headers.push(("if-unmodified-since", BEFORE)),
                    }
                    match none_match {
                        Absent => {}
                        Holds => headers.push(("if-none-match", "\"other\"")),
                        Fails => headers.push(("if-none-match", "W/\"v7.abc\"")),
                    }
                    match modified_since {
                        Absent => {}
                        Holds => headers.push(("if-modified-since", BEFORE)),
                        Fails => headers.push(("if-modified-since", SAME)),
                    }
                    let at: Timestamp = MODIFIED.parse().unwrap();
                    let outcome = conditions(&headers).evaluate("v7.abc", Some(at));
                    let expected = oracle(if_match, unmodified_since, none_match, modified_since);
                    assert_eq!(outcome, expected, "{headers:?}");
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 81);
}

#[test]
fn strong_comparison_refuses_weak_tags_and_weak_comparison_does_not_care() {
    let evaluate = |name, value| conditions(&[(name, value)]).evaluate("abc", None);
    assert_eq!(evaluate("if-match", "W/\"abc\""), Outcome::Failed);
    assert_eq!(evaluate("if-match", "*"), Outcome::Proceed);
    assert_eq!(evaluate("if-none-match", "W/\"abc\""), Outcome::NotModified);
    assert_eq!(evaluate("if-none-match", "*"), Outcome::NotModified);
    assert_eq!(evaluate("if-none-match", "\"a,b\", , \"abc\""), Outcome::NotModified);
    // Without a date of ours, dates are no conditions.
    assert_eq!(evaluate("if-modified-since", SAME), Outcome::Proceed);
    assert_eq!(evaluate("if-unmodified-since", BEFORE), Outcome::Proceed);
}

#[test]
fn what_cannot_be_read_is_refused_but_dates_are_ignored() {
    for value in [
        "",
        "abc",
        "\"abc",
        "abc\"",
        "\"a\" \"b\"",
        "w/\"a\"",
        "W/ \"a\"",
        "*, \"a\"",
        "\"a\", *",
        "\"a\";q=1",
        "\"a b\"",
    ] {
        let map = HeaderMap::from_iter([(http::header::IF_MATCH, HeaderValue::from_static(value))]);
        let problem = Conditions::from_headers(&map).unwrap_err();
        assert_eq!(problem.code(), Code::BadHeader, "{value}");
    }
    let map = HeaderMap::from_iter([(http::header::IF_NONE_MATCH, HeaderValue::from_bytes(b"\"\xe4\"").unwrap())]);
    assert!(Conditions::from_headers(&map).is_err());
    for value in ["yesterday", "2026-11-22T08:30:00Z", "", "0"] {
        assert!(conditions(&[("if-modified-since", value)]).is_empty(), "{value}");
    }
    // The three forms of a date (RFC 9110 §5.6.7).
    for value in [SAME, "Sunday, 22-Nov-26 08:30:00 GMT", "Sun Nov 22 08:30:00 2026"] {
        let at = conditions(&[("if-modified-since", value)]).if_modified_since;
        assert_eq!(at, Some("2026-11-22T08:30:00Z".parse().unwrap()), "{value}");
    }
    let several: EntityTags = conditions(&[("if-match", "\"a\"\t,\"b\",")]).if_match.unwrap();
    assert!(matches!(several, EntityTags::List(tags) if tags.len() == 2));
}

#[test]
fn a_header_names_so_many_tags_and_no_more() {
    for name in [http::header::IF_MATCH, http::header::IF_NONE_MATCH] {
        // Over several lines, as a header may be.
        let named = |tags: usize| {
            let lines = (0..tags).map(|n| (name.clone(), HeaderValue::from_str(&format!("\"v{n}.x\"")).unwrap()));
            Conditions::from_headers(&lines.collect())
        };
        let conditions = named(MAX_TAGS).unwrap();
        let tags = conditions.if_match.or(conditions.if_none_match).unwrap();
        assert!(matches!(tags, EntityTags::List(tags) if tags.len() == MAX_TAGS));
        assert_eq!(named(MAX_TAGS + 1).unwrap_err().code(), Code::BadHeader);
    }
    let list = |tags: usize| vec!["\"a\""; tags].join(",");
    let one_line = |tags| HeaderMap::from_iter([(http::header::IF_MATCH, HeaderValue::from_str(&list(tags)).unwrap())]);
    assert!(Conditions::from_headers(&one_line(MAX_TAGS)).is_ok());
    assert!(Conditions::from_headers(&one_line(MAX_TAGS + 1)).is_err());
}

struct Thing(i64);

impl Versioned for Thing {
    fn version(&self) -> i64 {
        self.0
    }
}

#[test]
fn writes_compare_the_version_whatever_representation_it_was_seen_in() {
    let check = |headers: &[(&'static str, &'static str)], if_match| {
        let precondition: Precondition<Thing> = conditions(headers).for_write(if_match);
        precondition.check(&Thing(7)).map_err(|error| error.code())
    };
    assert_eq!(check(&[], Optional), Ok(()));
    assert_eq!(check(&[], Required), Err(Code::PreconditionRequired));
    assert_eq!(check(&[("if-none-match", "\"v6.x\"")], Required), Err(Code::PreconditionRequired));
    for if_match in [Optional, Required] {
        for good in ["\"v7.abc\"", "\"v7.other\"", "\"v7.abc-gzip\"", "\"v6.abc\", \"v7.abc\"", "*"] {
            assert_eq!(check(&[("if-match", good)], if_match), Ok(()), "{good}");
        }
        for stale in [
            "\"v6.abc\"",
            "\"v8.abc\"",
            "W/\"v7.abc\"",
            "\"abc\"",
            "\"v7\"",
            "\"7.abc\"",
            "\"vx.abc\"",
            "\"\"",
            "\"v77.abc\"",
        ] {
            assert_eq!(check(&[("if-match", stale)], if_match), Err(Code::PreconditionFailed), "{stale}");
        }
    }
    assert_eq!(check(&[("if-none-match", "*")], Optional), Err(Code::PreconditionFailed));
    assert_eq!(check(&[("if-none-match", "W/\"v7.abc\"")], Optional), Err(Code::PreconditionFailed));
    assert_eq!(check(&[("if-none-match", "\"v6.abc\"")], Optional), Ok(()));
    assert_eq!(check(&[("if-match", "*"), ("if-none-match", "*")], Optional), Err(Code::PreconditionFailed));
}
