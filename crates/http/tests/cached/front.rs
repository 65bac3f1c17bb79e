//! The front answers as the router would, and passes on what it should not answer.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, StatusCode};
use inkstone_core::cache::Cache as _;
use inkstone_core::clock::Clock as _;
use inkstone_core::events::Mark;
use inkstone_core::progress::Progress;
use inkstone_http::Settings;
use inkstone_http::changes::Follow;
use inkstone_http::extract::client::{ClientAddr, OverTls};
use inkstone_http::settings::{AccessLog, CorsSettings};

use crate::support::{Answer, Mood, Site, request, site, site_with};

/// A site that has post 1 in its cache, 42 seconds old.
async fn warm_with(settings: Settings) -> Site {
    let site = site_with(settings);
    assert_eq!(site.get("/posts/1", &[]).await.status, StatusCode::OK);
    site.clock.pass_secs(42);
    site
}

async fn warm() -> Site {
    warm_with(Settings::default()).await
}

/// All but what differs from one request to the next.
fn comparable(mut answer: Answer) -> Answer {
    answer.headers.remove("x-request-id");
    answer
}

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Asks both and compares; whether the front answered by itself.
async fn same(site: &Site, method: &str, path: &str, headers: Headers<'_>) -> bool {
    let before = site.passed_on();
    let by_front = site.ask_front(request(method, path, headers)).await;
    let passed_on = site.passed_on() > before;
    let by_router = site.ask_router(request(method, path, headers)).await;
    assert_eq!(comparable(by_front), comparable(by_router), "{method} {path} {headers:?}");
    !passed_on
}

async fn etag(site: &Site, coding: &str) -> String {
    let answer = site.get("/posts/1", &[("accept-encoding", coding)]).await;
    answer.header("etag").to_owned()
}

#[tokio::test]
async fn the_front_gives_the_router_s_answer() {
    let site = warm().await;
    let (plain, gzip) = (etag(&site, "identity").await, etag(&site, "gzip").await);
    assert_ne!(plain, gzip);
    let weak = format!("W/{plain}");
    let many = format!("\"other\", {gzip}");
    let cases: &[Headers<'_>] = &[
        &[],
        &[("host", "blog.example"), ("user-agent", "a browser"), ("cookie", "a=b")],
        &[("accept", "*/*")],
        &[("accept", "application/json")],
        &[("accept", "text/html, application/*;q=0.5")],
        &[("accept-encoding", "gzip")],
        &[("accept-encoding", "gzip, br")],
        &[("accept-encoding", "identity")],
        &[("accept-encoding", "zstd")],
        &[("if-none-match", &plain)],
        &[("if-none-match", &weak)],
        &[("if-none-match", "*")],
        &[("if-none-match", &gzip)],
        &[("if-none-match", &many), ("accept-encoding", "gzip")],
        &[("if-none-match", "\"other\"")],
        &[("if-match", &plain)],
        &[("if-modified-since", "Sun, 22 Nov 2026 08:00:00 GMT")],
        &[("if-modified-since", "Sun, 22 Nov 2026 07:59:59 GMT")],
        &[("if-unmodified-since", "Sun, 22 Nov 2026 08:00:00 GMT")],
        &[("x-server-timing", "1")],
        &[("origin", "https://elsewhere.example")],
        &[("range", "bytes=0-9")],
        &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
    ];
    for headers in cases {
        for method in ["GET", "HEAD"] {
            assert!(same(&site, method, "/posts/1", headers).await, "not by the front: {method} {headers:?}");
        }
    }
    assert_eq!(site.store.loads(), 1);
}

#[tokio::test]
async fn a_hit_says_so() {
    let site = warm().await;
    let answer = site.ask_front(request("GET", "/posts/1", &[])).await;
    assert_eq!((answer.status, answer.version()), (StatusCode::OK, 1));
    assert_eq!((answer.verdict().as_str(), answer.header("age")), ("hit; ttl=", "42"));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());

    let head = site.ask_front(request("HEAD", "/posts/1", &[])).await;
    assert_eq!((head.header("content-length"), head.body.len()), (answer.header("content-length"), 0));

    let unchanged = [("if-none-match", answer.header("etag"))];
    let unchanged = site.ask_front(request("GET", "/posts/1", &unchanged)).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!((unchanged.header("etag"), unchanged.header("age")), (answer.header("etag"), "42"));
    assert_eq!(site.passed_on(), 0);
}

#[tokio::test]
async fn what_is_not_a_plain_hit_goes_to_the_router() {
    let site = warm().await;
    let cases: &[(&str, &str, Headers<'_>)] = &[
        ("POST", "/posts/1", &[]),
        ("DELETE", "/posts/1", &[]),
        ("OPTIONS", "/posts/1", &[]),
        ("GET", "/posts/2", &[]),
        ("GET", "/posts/01", &[]),
        ("GET", "/posts/1/", &[]),
        ("GET", "/posts/1", &[("authorization", "Bearer abc")]),
        ("GET", "/posts/1", &[("authorization", "Basic abc")]),
        ("GET", "/posts/1", &[("accept", "text/html")]),
        ("GET", "/posts/1", &[("accept-encoding", "identity;q=0, *;q=0")]),
        ("GET", "/posts/1", &[("if-none-match", "no tag")]),
        ("GET", "/posts/1", &[("if-match", "\"other\"")]),
        ("GET", "/posts/1", &[("if-unmodified-since", "Sun, 22 Nov 2026 07:59:59 GMT")]),
    ];
    for (passed_on, (method, path, headers)) in cases.iter().enumerate() {
        assert_eq!(site.passed_on(), passed_on);
        site.ask_front(request(method, path, headers)).await;
        assert_eq!(site.passed_on(), passed_on + 1, "{method} {path} {headers:?}");
    }
}

#[tokio::test]
async fn a_write_ends_the_answer_at_once() {
    let site = warm().await;
    site.write(1);
    let answer = site.ask_front(request("GET", "/posts/1", &[])).await;
    assert_eq!((answer.version(), answer.verdict().as_str()), (2, "fwd=uri-miss; stored"));
    assert!(same(&site, "GET", "/posts/1", &[]).await, "and the new one is at the front");
}

#[tokio::test]
async fn a_stale_answer_is_the_router_s_and_is_refreshed() {
    let site = warm().await;
    site.clock.pass_secs(80);
    let stale = site.ask_front(request("GET", "/posts/1", &[])).await;
    assert_eq!((stale.verdict().as_str(), site.passed_on()), ("hit; ttl=-", 1));
    site.store.until_loads(2).await;
    site.clock.pass_secs(200);
    site.store.set_mood(Mood::Broken);
    let emergency = site.ask_front(request("GET", "/posts/1", &[])).await;
    assert!(emergency.header("cache-status").ends_with("stale-if-error"));
}

#[tokio::test]
async fn every_answer_has_a_name_of_its_own() {
    let site = warm().await;
    let mut names = std::collections::HashSet::new();
    for _ in 0..1000 {
        let answer = site.ask_front(request("GET", "/posts/1", &[("x-request-id", "mine")])).await;
        let name = answer.header("x-request-id").to_owned();
        assert_eq!(name.len(), 36);
        assert!(names.insert(name));
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_request() {
    let settings = Settings { trusted_proxies: vec!["203.0.113.0/24".parse().unwrap()], ..Settings::default() };
    let site = warm_with(settings).await;
    let name = |answer: Answer| answer.header("x-request-id").to_owned();
    let named = || request("GET", "/posts/1", &[("x-request-id", "from-the-proxy")]);
    assert_eq!(name(site.ask_front(named()).await), "from-the-proxy");
    let harmful = request("GET", "/posts/1", &[("x-request-id", "two words")]);
    assert_eq!(name(site.ask_front(harmful).await).len(), 36);
    let mut stranger = named();
    stranger.extensions_mut().insert(ClientAddr([198, 51, 100, 7].into()));
    assert_eq!(name(site.ask_front(stranger).await).len(), 36);
    assert_eq!(site.passed_on(), 3, "who may name requests is for the router to know");
    assert!(same(&site, "GET", "/posts/1", &[]).await);
}

#[tokio::test]
async fn cors_is_as_the_router_has_it() {
    for origins in [vec!["https://blog.example".to_owned()], vec!["*".to_owned()]] {
        let cors = CorsSettings { origins, credentials: true, ..CorsSettings::default() };
        let site = warm_with(Settings { cors, ..Settings::default() }).await;
        for headers in [&[][..], &[("origin", "https://blog.example")], &[("origin", "https://evil.example")]] {
            assert!(same(&site, "GET", "/posts/1", headers).await);
        }
        let answer = site.ask_front(request("GET", "/posts/1", &[("origin", "https://blog.example")])).await;
        assert!(answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn https_is_announced_where_it_is_spoken() {
    let site = warm().await;
    let over_tls = || -> Request<axum::body::Body> {
        let mut request = request("GET", "/posts/1", &[]);
        request.extensions_mut().insert(OverTls);
        request
    };
    let by_front = site.ask_front(over_tls()).await;
    assert!(by_front.header("strict-transport-security").starts_with("max-age="));
    assert_eq!(comparable(by_front), comparable(site.ask_router(over_tls()).await));

    let public_url = Some("https://blog.example".parse().unwrap());
    let site = warm_with(Settings { public_url, hsts_subdomains: true, ..Settings::default() }).await;
    assert!(same(&site, "GET", "/posts/1", &[]).await);
    let answer = site.ask_front(request("GET", "/posts/1", &[])).await;
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000; includeSubDomains");
}

#[tokio::test]
async fn a_version_tells_of_its_end_and_ends() {
    let mut settings = Settings::default();
    settings.v1.deprecated_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
    settings.v1.sunset_at = Some("2026-11-22T08:35:00Z".parse().unwrap());
    let site = site_with(settings);
    // Kept under the address that the version has.
    let kept = site.get("/posts/1", &[]).await;
    assert_eq!(kept.status, StatusCode::OK);
    let representation = site.cache.get_fresh("/posts/1").unwrap().value;
    let reading = site.cache.reading();
    site.cache.put(reading, "/api/v1/posts/1", representation, crate::support::LIFETIME, None);

    let answer = site.ask_front(request("GET", "/api/v1/posts/1", &[])).await;
    assert_eq!((answer.status, site.passed_on()), (StatusCode::OK, 0));
    assert!(answer.headers.contains_key("deprecation") && answer.headers.contains_key("sunset"));
    let outside = site.ask_front(request("GET", "/posts/1", &[])).await;
    assert!(!outside.headers.contains_key("deprecation"));
}

#[tokio::test]
async fn after_its_last_day_a_version_is_gone_even_if_the_cache_has_it() {
    let mut settings = Settings::default();
    settings.v1.sunset_at = Some("2026-11-22T08:29:00Z".parse().unwrap());
    let site = site_with(settings);
    site.get("/posts/1", &[]).await;
    let representation = site.cache.get_fresh("/posts/1").unwrap().value;
    let reading = site.cache.reading();
    site.cache.put(reading, "/api/v1/posts/1", representation, crate::support::LIFETIME, None);
    let answer = site.ask_front(request("GET", "/api/v1/posts/1", &[])).await;
    assert_eq!(answer.status, StatusCode::GONE);
}

#[tokio::test]
async fn every_setting_that_needs_the_router_gets_it() {
    let site = warm_with(Settings { access_log: AccessLog::All, ..Settings::default() }).await;
    assert!(!same(&site, "GET", "/posts/1", &[]).await, "every request leaves a line");

    let site = warm().await;
    site.edge.readiness().drain();
    assert!(!same(&site, "GET", "/posts/1", &[]).await, "connections are to be closed");

    let site = warm_with(Settings { server_timing: true, ..Settings::default() }).await;
    assert!(same(&site, "GET", "/posts/1", &[]).await);
}

#[tokio::test]
async fn answers_of_the_front_are_counted() {
    let site = warm().await;
    for _ in 0..3 {
        site.ask_front(request("GET", "/posts/1", &[])).await;
    }
    site.ask_front(request("HEAD", "/posts/1", &[("if-none-match", "*")])).await;
    let text = site.edge.metrics().encode().unwrap();
    let count = |line: &str| text.lines().find_map(|found| found.strip_prefix(line).map(str::to_owned));
    let requests = r#"inkstone_http_requests_total{method="GET",route="/posts/{id}",status="2xx"} "#;
    assert_eq!(count(requests).as_deref(), Some("4"), "one by the router, three by the front: {text}");
    let unchanged = r#"inkstone_http_requests_total{method="HEAD",route="/posts/{id}",status="3xx"} "#;
    assert_eq!(count(unchanged).as_deref(), Some("1"));
    assert_eq!(site.stats().hits, 4);
}

#[tokio::test]
async fn the_front_leaves_no_trace_of_what_it_passes_on() {
    let site = site();
    site.ask_front(request("GET", "/posts/1", &[])).await;
    let stats = site.stats();
    assert_eq!((stats.hits, stats.misses), (0, 1), "the router's miss, once");
}

/// Nobody to ask.
struct Alone;

#[async_trait]
impl Follow for Alone {
    async fn catch_up(&self) -> inkstone_core::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn whoever_knows_of_a_change_is_answered_here_once_it_has_been_followed() {
    let site = warm().await;
    let change = [("inkstone-change", "5")];
    assert!(!same(&site, "GET", "/posts/1", &change).await, "nobody follows anything");
    let progress = Arc::new(Progress::new(site.clock.instant()));
    site.edge.follow_changes(progress.clone(), Arc::new(Alone));
    progress.follow(Mark { change_seq: 4, at: None });
    progress.know(Mark { change_seq: 5, at: None });
    assert!(!same(&site, "GET", "/posts/1", &change).await, "known is not yet dropped");
    progress.follow(Mark { change_seq: 5, at: None });
    assert!(same(&site, "GET", "/posts/1", &change).await);
    // The router explains what is wrong.
    let bad = [&[("inkstone-change", "five")][..], &[("inkstone-change", "")], &[change[0], change[0]]];
    for headers in bad {
        let before = site.passed_on();
        let refused = site.ask_front(request("GET", "/posts/1", headers)).await;
        assert_eq!((refused.status, site.passed_on()), (StatusCode::BAD_REQUEST, before + 1), "{headers:?}");
    }
}
