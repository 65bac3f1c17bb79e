//! One finished answer under every request that may ask for it.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use inkstone_core::Code;
use inkstone_core::cache::{Cacheable, Lifetime};
use inkstone_core::events::Entity;
use inkstone_core::posts::PostId;
use inkstone_core::tags::TagId;
use inkstone_http::problem::Result;
use inkstone_http::representation::{Asked, Representation, Verdict};

const LIFETIME: Lifetime = Lifetime {
    fresh: Duration::from_mins(5),
    stale_while_revalidate: Duration::from_mins(1),
    stale_if_error: Duration::from_hours(24),
};
const HIT: Verdict = Verdict::Hit { age: Duration::from_millis(23_900), ttl: Duration::from_millis(276_100) };

fn text(bytes: usize) -> Vec<u8> {
    "{\"a\": \"some text that compresses\"}".bytes().cycle().take(bytes).collect()
}

fn public(body: Vec<u8>) -> Arc<Representation> {
    let at = "2026-11-22T08:30:00.5Z".parse().unwrap();
    let entities = vec![Entity::Post(PostId(42)), Entity::Posts];
    Arc::new(Representation::builder(body).version(7).last_modified(at).public(LIFETIME, entities).build())
}

fn ask(representation: &Arc<Representation>, headers: &[(HeaderName, &str)], verdict: Verdict) -> Result<Response> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
    let asked = Asked { method: &Method::GET, headers: &headers, wants_timing: false, statements: 0 };
    representation.respond(asked, verdict)
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn body(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

#[tokio::test]
async fn a_hit_says_what_it_is() {
    let representation = public(text(100));
    let response = ask(&representation, &[], HIT).unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let expected = [
        ("content-type", "application/json"),
        ("last-modified", "Sun, 22 Nov 2026 08:30:00 GMT"),
        ("cache-control", "public, max-age=60, s-maxage=300, stale-while-revalidate=60, stale-if-error=86400"),
        ("vary", "accept-encoding"),
        ("cache-tag", "post:42,posts"),
        ("age", "23"),
        ("cache-status", "inkstone; hit; ttl=276"),
        ("content-length", "100"),
        ("x-content-type-options", "nosniff"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&response, name), Some(value), "{name}");
    }
    assert!(header(&response, "etag").unwrap().starts_with("\"v7."));
    assert_eq!(header(&response, "server-timing"), None);
    assert_eq!(body(response).await, text(100));
}

#[test]
fn every_verdict_has_its_cache_status() {
    let overdue = Duration::from_secs(12);
    let age = Duration::from_secs(312);
    for (verdict, status, has_age) in [
        (Verdict::Stale { age, overdue }, "inkstone; hit; ttl=-12", true),
        (Verdict::StaleIfError { age, overdue }, "inkstone; hit; ttl=-12; detail=stale-if-error", true),
        (Verdict::Miss { stored: true }, "inkstone; fwd=uri-miss; stored", false),
        (Verdict::Miss { stored: false }, "inkstone; fwd=uri-miss", false),
        (Verdict::Behind { age }, "inkstone; fwd=uri-miss; detail=replica", true),
        (Verdict::Collapsed, "inkstone; fwd=uri-miss; collapsed", false),
        (Verdict::Bypass, "inkstone; fwd=bypass", false),
    ] {
        let response = ask(&public(text(10)), &[], verdict).unwrap();
        assert_eq!(header(&response, "cache-status"), Some(status));
        assert_eq!(header(&response, "age").is_some(), has_age, "{verdict:?}");
    }
}

#[test]
fn timing_is_told_to_those_who_ask() {
    let representation = public(text(10));
    let headers = HeaderMap::new();
    let asked = Asked { method: &Method::GET, headers: &headers, wants_timing: true, statements: 3 };
    let response = representation.respond(asked, Verdict::Miss { stored: true }).unwrap();
    assert_eq!(header(&response, "server-timing"), Some("cache;desc=miss, db;desc=\"3 statements\""));
}

#[tokio::test]
async fn codings_are_other_bytes_under_other_tags() {
    let representation = public(text(5000));
    let mut tags = Vec::new();
    for (accept, coding) in [("", None), ("gzip", Some("gzip")), ("gzip, br", Some("br"))] {
        let response = ask(&representation, &[(ACCEPT_ENCODING, accept)], HIT).unwrap();
        assert_eq!(header(&response, "content-encoding"), coding);
        assert_eq!(header(&response, "vary"), Some("accept-encoding"));
        let length: usize = header(&response, "content-length").unwrap().parse().unwrap();
        tags.push(header(&response, "etag").unwrap().to_owned());
        let bytes = body(response).await;
        assert_eq!(bytes.len(), length);
        let mut plain = Vec::new();
        match coding {
            None => plain = bytes,
            Some("gzip") => drop(flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut plain).unwrap()),
            Some(_) => drop(brotli::Decompressor::new(&*bytes, 4096).read_to_end(&mut plain).unwrap()),
        }
        assert_eq!(plain, text(5000), "{accept}");
    }
    tags.dedup();
    assert_eq!(tags.len(), 3);
    for (tag, accept) in tags.iter().zip(["", "gzip", "gzip, br"]) {
        let response = ask(&representation, &[(ACCEPT_ENCODING, accept), (IF_NONE_MATCH, tag)], HIT).unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tag}");
        assert_eq!(header(&response, "etag"), Some(tag.as_str()));
    }
    let other = ask(&representation, &[(ACCEPT_ENCODING, "gzip"), (IF_NONE_MATCH, &tags[0])], HIT).unwrap();
    assert_eq!(other.status(), StatusCode::OK);
}

#[test]
fn what_is_small_or_does_not_shrink_goes_as_it_is() {
    let noise: Vec<u8> = {
        use sha2::Digest as _;
        (0_u32..100).flat_map(|n| sha2::Sha256::digest(n.to_be_bytes())).collect()
    };
    for body in [text(1023), noise] {
        let length = body.len().to_string();
        let response = ask(&public(body), &[(ACCEPT_ENCODING, "gzip, br")], HIT).unwrap();
        assert_eq!(header(&response, "content-encoding"), None);
        assert_eq!(header(&response, "content-length"), Some(length.as_str()));
        assert!(!header(&response, "etag").unwrap().contains("-br"));
    }
    let problem = ask(&public(text(100)), &[(ACCEPT_ENCODING, "identity;q=0")], HIT).unwrap_err();
    assert_eq!(problem.code(), Code::NotAcceptable);
}

#[tokio::test]
async fn large_bodies_are_compressed_off_the_runtime() {
    let representation = public(text(200_000));
    let first = ask(&representation, &[(ACCEPT_ENCODING, "gzip")], HIT).unwrap();
    assert_eq!(header(&first, "content-encoding"), None);
    loop {
        let later = ask(&representation, &[(ACCEPT_ENCODING, "gzip")], HIT).unwrap();
        if header(&later, "content-encoding") == Some("gzip") {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn not_modified_has_the_headers_that_caches_need_and_no_body() {
    let representation = public(text(100));
    let tag = representation.etag().to_str().unwrap().to_owned();
    let response = ask(&representation, &[(IF_NONE_MATCH, &tag)], HIT).unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    for name in ["cache-control", "etag", "vary", "last-modified", "cache-tag", "cache-status", "age"] {
        assert!(response.headers().contains_key(name), "{name}");
    }
    assert_eq!(header(&response, "content-type"), None);
    assert!(!response.headers().contains_key(CONTENT_LENGTH));
    assert!(body(response).await.is_empty());
    let failed = ask(&representation, &[(http::header::IF_MATCH, "\"v6.x\"")], HIT).unwrap_err();
    assert_eq!(failed.code(), Code::PreconditionFailed);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let representation = public(text(5000));
    let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("br"))]);
    let asked = |method| Asked { method, headers: &headers, wants_timing: false, statements: 0 };
    let get = representation.respond(asked(&Method::GET), HIT).unwrap();
    let head = representation.respond(asked(&Method::HEAD), HIT).unwrap();
    assert_eq!((get.status(), get.headers()), (head.status(), head.headers()));
    assert!(body(head).await.is_empty());
}

#[test]
fn what_is_personal_is_kept_nowhere_and_never_compressed() {
    let representation = Arc::new(Representation::builder(text(5000)).version(3).build());
    let response = ask(&representation, &[(ACCEPT_ENCODING, "gzip, br")], Verdict::Bypass).unwrap();
    assert_eq!(header(&response, "cache-control"), Some("private, no-store"));
    assert_eq!(header(&response, "content-encoding"), None);
    assert_eq!(header(&response, "cache-status"), None);
    assert_eq!(header(&response, "cache-tag"), None);
    assert!(representation.lifetime().is_none());
}

#[test]
fn cache_tags_grow_coarser_rather_than_long() {
    let tag = |entities: Vec<Entity>| {
        let representation = Representation::builder("{}").public(LIFETIME, entities).build();
        representation.headers().get("cache-tag").map(|tag| tag.to_str().unwrap().to_owned())
    };
    let posts = |count: i64| (1..=count).map(|id| Entity::Post(PostId(id)));
    let lists = |count: i64| (1..=count).map(|id| Entity::PostsTagged(TagId(id)));
    assert_eq!(tag(Vec::new()), None);
    assert_eq!(tag(posts(2).collect()).as_deref(), Some("post:1,post:2"));
    let fine = tag(posts(1000).chain([Entity::Posts]).chain(lists(2)).collect());
    assert_eq!(fine.as_deref(), Some("posts,posts-tag:1,posts-tag:2"));
    let coarse = tag(posts(1000).chain([Entity::Posts]).chain(lists(1000)).collect());
    assert_eq!(coarse.as_deref(), Some("posts"));
}

#[test]
fn weight_counts_everything() {
    let light = public(text(100)).weight();
    let heavy = public(text(100_000)).weight();
    assert!(light > 100 && heavy >= 200_000, "{light} {heavy}");
}
