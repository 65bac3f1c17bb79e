//! What happens around the handlers: ids, deadlines, load, versions, other origins.

use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use inkstone_core::guard::load::LoadSettings;
use inkstone_http::Settings;
use inkstone_http::extract::Call;
use inkstone_http::extract::client::OverTls;
use inkstone_http::settings::{CorsSettings, VersionLife};

use crate::support::{Answer, request, request_from, site, site_with};

fn hello() -> Router<inkstone_http::Edge> {
    Router::new()
        .route("/api/v1/hello", get(|| async { "hello" }))
        .route("/api/v2/hello", get(|| async { "hello" }).post(|| async { "hello" }))
}

#[tokio::test]
async fn request_ids_come_back_and_only_proxies_choose_them() {
    let settings = Settings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let site = site_with(settings, Router::new().route("/id", get(|call: Call| async move { call.ctx.request_id })));
    let own = site.get("/id", &[]).await;
    let id = own.header("x-request-id").unwrap().to_owned();
    assert_eq!(own.body, id.as_bytes());
    assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7);
    assert_ne!(site.get("/id", &[]).await.header("x-request-id").unwrap(), id);

    let stranger = site.get("/id", &[("x-request-id", "chosen")]).await;
    assert_ne!(stranger.header("x-request-id"), Some("chosen"));
    for (given, taken) in [
        ("chosen_1.A-b", true),
        (&"a".repeat(64), true),
        (&"a".repeat(65), false),
        ("", false),
        ("a b", false),
        ("a\u{1b}[31m", false),
    ] {
        let Ok(value) = http::HeaderValue::from_bytes(given.as_bytes()) else { continue };
        let mut proxied = request_from("10.1.2.3", "GET", "/id", &[], "");
        proxied.headers_mut().insert("x-request-id", value);
        let answer = site.send(proxied).await;
        assert_eq!(answer.header("x-request-id") == Some(given), taken, "{given:?}");
    }
    let mut doubled = request_from("10.1.2.3", "GET", "/id", &[("x-request-id", "a"), ("x-request-id", "b")], "");
    doubled.headers_mut().append("x-request-id", "c".parse().unwrap());
    assert!(site.send(doubled).await.header("x-request-id").unwrap().len() == 36);
}

#[tokio::test]
async fn a_proxys_id_stands_in_the_problem_too() {
    let settings = Settings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let site = site_with(settings, Router::new());
    let answer = site.send(request_from("10.1.2.3", "GET", "/no", &[("x-request-id", "lb-77")], "")).await;
    assert_eq!(answer.json()["instance"], "urn:inkstone:request:lb-77");
}

#[tokio::test]
async fn broken_trace_headers_are_never_an_error() {
    let site =
        site(Router::new().route("/trace", get(|call: Call| async move { format!("{}", call.info.trace.is_some()) })));
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (value, taken) in [(good, "true"), ("00-0-0-0", "false"), ("\u{e4}", "false"), ("", "false")] {
        let answer = site.get("/trace", &[("traceparent", value)]).await;
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, taken.as_bytes()), "{value}");
    }
    let twice = site.get("/trace", &[("traceparent", good), ("traceparent", good)]).await;
    assert_eq!(twice.body, b"false");
}

#[tokio::test]
async fn nothing_is_kept_unless_it_says_so() {
    let site = site(hello());
    assert_eq!(site.get("/api/v1/hello", &[]).await.header("cache-control"), Some("private, no-store"));
}

#[tokio::test]
async fn strict_transport_is_asked_for_over_https_only() {
    let site = site(hello());
    assert_eq!(site.get("/api/v1/hello", &[]).await.header("strict-transport-security"), None);
    for path in ["/api/v1/hello", "/nothing"] {
        let mut secure = request("GET", path, &[], "");
        secure.extensions_mut().insert(OverTls);
        let answer = site.send(secure).await;
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    }
    // Only where the operator says so: those who serve the subdomains may be others.
    let site = site_with(Settings { hsts_subdomains: true, ..Settings::default() }, hello());
    let mut secure = request("GET", "/api/v1/hello", &[], "");
    secure.extensions_mut().insert(OverTls);
    let answer = site.send(secure).await;
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000; includeSubDomains"));
}

fn at_most(most: u32) -> LoadSettings {
    LoadSettings { most, ..Settings::default().load }
}

#[tokio::test]
async fn deadlines_end_a_request_and_give_its_place_back() {
    let settings = Settings { request_deadline: Duration::from_millis(20), load: at_most(1), ..Settings::default() };
    let site = site_with(settings, hello().route("/never", get(std::future::pending::<()>)));
    let answer = site.get("/never", &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GATEWAY_TIMEOUT, "deadline-exceeded"));
    assert_eq!(site.get("/api/v1/hello", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn too_much_load_is_shed_and_health_is_not() {
    let settings = Settings { load: at_most(2), ..Settings::default() };
    let entered = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let leave = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let (enter, left) = (entered.clone(), leave.clone());
    let wait = move || {
        let (enter, left) = (enter.clone(), left.clone());
        async move {
            enter.add_permits(1);
            left.acquire().await.unwrap().forget();
        }
    };
    let site = site_with(settings, hello().route("/wait", get(wait)).merge(inkstone_http::health::routes()));
    let busy = async { tokio::join!(site.get("/wait", &[]), site.get("/wait", &[])) };
    let meanwhile = async {
        entered.acquire_many(2).await.unwrap().forget();
        let shed = site.get("/api/v1/hello", &[]).await;
        assert_eq!((shed.status, shed.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
        assert_eq!(site.get("/livez", &[]).await.status, StatusCode::OK);
        assert_eq!(site.get("/readyz", &[]).await.status, StatusCode::OK);
        leave.add_permits(2);
    };
    let ((first, second), ()) = tokio::join!(busy, meanwhile);
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(site.get("/api/v1/hello", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn long_addresses_are_refused() {
    let site = site(hello());
    let fits = format!("/api/v1/hello?{}", "a".repeat(8 * 1024 - "/api/v1/hello?".len()));
    assert_eq!(site.get(&fits, &[]).await.status, StatusCode::OK);
    let answer = site.get(&format!("{fits}a"), &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::URI_TOO_LONG, "uri-too-long"));
}

#[tokio::test]
async fn unknown_versions_are_told_the_live_ones() {
    let site = site(hello());
    for path in ["/api/v9/posts", "/api/v3", "/api/V1/hello", "/api/v1x/hello"] {
        let answer = site.get(path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "unknown-version"), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("v1, v2"));
    }
    for path in ["/api/v1/no", "/api", "/api/", "/apiv1"] {
        assert_eq!(site.get(path, &[]).await.code(), "not-found", "{path}");
    }
}

#[tokio::test]
async fn a_version_says_when_it_ends_and_then_ends() {
    let v1 = VersionLife {
        deprecated_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        sunset_at: Some("2026-11-22T09:30:00Z".parse().unwrap()),
        deprecation_link: Some("https://blog.example/news/v1-ends".to_owned()),
    };
    let site = site_with(Settings { v1, ..Settings::default() }, hello());
    let check = |answer: &Answer| {
        assert_eq!(answer.header("deprecation"), Some("@1767225600"));
        assert_eq!(answer.header("sunset"), Some("Sun, 22 Nov 2026 09:30:00 GMT"));
        let links: Vec<_> = answer.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
        assert!(links.contains(&"</api/v2/openapi.json>; rel=\"successor-version\""), "{links:?}");
        assert!(links.iter().any(|link| link.starts_with("<https://blog.example/news/v1-ends>; rel=\"deprecation\"")));
    };
    let before = site.get("/api/v1/hello", &[]).await;
    assert_eq!(before.status, StatusCode::OK);
    check(&before);
    check(&site.get("/api/v1/nothing", &[]).await);
    site.clock.pass(Duration::from_hours(1));
    let after = site.get("/api/v1/hello", &[]).await;
    assert_eq!((after.status, after.code().as_str()), (StatusCode::GONE, "gone"));
    check(&after);
    let v2 = site.get("/api/v2/hello", &[]).await;
    assert_eq!((v2.status, v2.header("deprecation"), v2.header("sunset")), (StatusCode::OK, None, None));
}

fn cors(origins: &[&str], credentials: bool) -> crate::support::Site {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let cors = CorsSettings { origins, credentials, ..CorsSettings::default() };
    site_with(Settings { cors, ..Settings::default() }, hello())
}

const PREFLIGHT: (&str, &str) = ("access-control-request-method", "POST");

#[tokio::test]
async fn cross_origin_access_is_closed_until_configured() {
    let site = cors(&[], true);
    let answer = site.get("/api/v2/hello", &[("origin", "https://a.example")]).await;
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
    assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
    let preflight =
        site.send(request("OPTIONS", "/api/v2/hello", &[("origin", "https://a.example"), PREFLIGHT], "")).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert!(!preflight.headers.keys().any(|name| name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn only_origins_on_the_list_may_read() {
    let site = cors(&["https://a.example", "null"], true);
    for (origin, allowed) in [
        ("https://a.example", true),
        ("https://a.example.evil.com", false),
        ("https://evil-a.example", false),
        ("https://sub.a.example", false),
        ("http://a.example", false),
        ("https://a.example:8443", false),
        ("https://A.EXAMPLE", false),
        ("null", false),
        ("*", false),
    ] {
        let answer = site.get("/api/v2/hello", &[("origin", origin)]).await;
        let preflight = site.send(request("OPTIONS", "/api/v2/hello", &[("origin", origin), PREFLIGHT], "")).await;
        for answer in [&answer, &preflight] {
            let expected = allowed.then_some(origin);
            assert_eq!(answer.header("access-control-allow-origin"), expected, "{origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), allowed.then_some("true"));
            let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
            assert!(vary.iter().any(|value| *value == "origin"), "{vary:?}");
        }
        assert_eq!(preflight.headers.contains_key("access-control-allow-methods"), allowed);
    }
    let plain = site.get("/api/v2/hello", &[]).await;
    assert_eq!(plain.header("vary"), Some("origin"));
    let missing = site.get("/nothing", &[("origin", "https://a.example")]).await;
    assert_eq!(missing.header("access-control-allow-origin"), Some("https://a.example"));
}

#[tokio::test]
async fn everybody_may_read_without_credentials_only() {
    let site = cors(&["*"], true);
    let answer = site.get("/api/v2/hello", &[("origin", "https://any.example")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    // A cache on the way may give what it was given for somebody who named no origin.
    let answer = site.get("/api/v2/hello", &[]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(!answer.header("vary").is_some_and(|vary| vary.contains("origin")));
}

#[tokio::test]
async fn draining_closes_connections_and_readiness() {
    let site = site(hello().merge(inkstone_http::health::routes()));
    assert_eq!(site.get("/api/v1/hello", &[]).await.header("connection"), None);
    site.edge.readiness().drain();
    let answer = site.get("/api/v1/hello", &[]).await;
    assert_eq!((answer.status, answer.header("connection")), (StatusCode::OK, Some("close")));
    let mut second = request("GET", "/api/v1/hello", &[], "");
    *second.version_mut() = http::Version::HTTP_2;
    assert_eq!(site.send(second).await.header("connection"), None);
    let ready = site.get("/readyz", &[]).await;
    assert_eq!((ready.status, ready.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert_eq!(site.get("/livez", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_keep_their_own_policy() {
    let page = || async {
        let headers = [
            ("content-security-policy", "default-src 'none'; script-src 'self'; frame-ancestors 'none'"),
            ("cache-control", "public, max-age=60"),
        ];
        (headers, "<html>").into_response()
    };
    let site = site(Router::new().route("/docs", get(page)));
    let answer = site.get("/docs", &[]).await;
    assert!(answer.header("content-security-policy").unwrap().contains("script-src 'self'"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn the_clients_address_is_that_of_the_first_hop_that_is_not_ours() {
    let settings = Settings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let site =
        site_with(settings, Router::new().route("/ip", get(|call: Call| async move { call.info.client.to_string() })));
    let forwarded = [("x-forwarded-for", "198.51.100.7")];
    assert_eq!(site.get("/ip", &forwarded).await.body, b"203.0.113.7");
    assert_eq!(site.send(request_from("10.0.0.1", "GET", "/ip", &forwarded, "")).await.body, b"198.51.100.7");
}

#[tokio::test]
async fn what_a_handler_said_beside_its_error_stays() {
    let refuse = || async {
        let headers = HeaderMap::from_iter([(http::header::LOCATION, "/elsewhere".parse().unwrap())]);
        (headers, inkstone_http::problem::Problem::new(inkstone_core::Code::Conflict, "No."))
    };
    let site = site(Router::new().route("/refuse", post(refuse)));
    let answer = site.post("/refuse", &[], "").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::CONFLICT, Some("/elsewhere")));
}

#[tokio::test]
async fn answers_without_a_body_do_not_say_how_long_it_is() {
    let routes = Router::new()
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/same", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/empty", get(|| async {}));
    let site = site(routes);
    for (path, length) in [("/none", None), ("/same", None), ("/empty", Some("0"))] {
        assert_eq!(site.get(path, &[]).await.header("content-length"), length, "{path}");
    }
}
