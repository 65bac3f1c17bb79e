//! Secrets that came in the open, to a site that is reached by HTTPS.

use axum::Router;
use axum::routing::get;
use http::{Request, StatusCode};
use inkstone_http::Settings;
use inkstone_http::extract::Call;
use inkstone_http::extract::client::OverTls;

use crate::support::{Answer, Site, request_from, site_with};

const TOKEN: (&str, &str) = ("authorization", "Bearer user-7");
const PLAIN: (&str, &str) = ("x-forwarded-proto", "http");
const ENCRYPTED: (&str, &str) = ("x-forwarded-proto", "https");

fn reached_at(public_url: &str) -> Site {
    let hello = || get(|_: Call| async { "{}" }).post(|_: Call| async { "{}" });
    let routes = Router::new()
        .route("/api/v2/hello", hello())
        .route("/api/v2/auth/login", hello())
        .merge(inkstone_http::health::routes());
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    site_with(
        Settings { public_url: Some(public_url.parse().unwrap()), trusted_proxies, ..Settings::default() },
        routes,
    )
}

#[tokio::test]
async fn secrets_that_came_in_the_open_are_refused_where_https_is_spoken() {
    let site = reached_at("https://blog.example");
    let hello = "/api/v2/hello";
    for (from, method, path, headers, is_refused) in [
        ("203.0.113.7", "GET", hello, &[TOKEN][..], true),
        ("203.0.113.7", "GET", hello, &[("authorization", "Basic dXNlcjpwYXNz")], true),
        // A client cannot say that it came otherwise than it did.
        ("203.0.113.7", "GET", hello, &[TOKEN, ENCRYPTED], true),
        ("203.0.113.7", "POST", "/api/v2/auth/login", &[], true),
        ("203.0.113.7", "GET", hello, &[], false),
        ("203.0.113.7", "GET", "/livez", &[TOKEN], false),
        ("203.0.113.7", "GET", "/readyz", &[TOKEN], false),
        ("10.0.0.1", "GET", hello, &[TOKEN, PLAIN], true),
        ("10.0.0.1", "POST", "/api/v2/auth/login", &[PLAIN], true),
        ("10.0.0.1", "GET", hello, &[PLAIN], false),
        ("10.0.0.1", "GET", hello, &[TOKEN, ENCRYPTED], false),
        // A proxy that does not say is taken to be set up as `public_url` has it.
        ("10.0.0.1", "GET", hello, &[TOKEN], false),
        ("127.0.0.1", "GET", hello, &[TOKEN], false),
        ("::1", "POST", "/api/v2/auth/login", &[], false),
    ] {
        let answer = site.send(request_from(from, method, path, headers, "")).await;
        let said = (answer.status == StatusCode::FORBIDDEN).then(|| answer.code());
        assert_eq!(said.as_deref(), is_refused.then_some("insecure-transport"), "{from} {method} {path} {headers:?}");
    }
}

#[tokio::test]
async fn secrets_pass_over_tls_and_where_no_https_is_promised() {
    async fn ask(site: &Site, prepare: impl FnOnce(&mut Request<axum::body::Body>)) -> Answer {
        let mut request = request_from("203.0.113.7", "GET", "/api/v2/hello", &[TOKEN], "");
        prepare(&mut request);
        site.send(request).await
    }
    let https = reached_at("https://blog.example");
    assert_eq!(ask(&https, |_| ()).await.status, StatusCode::FORBIDDEN);
    let over_tls = ask(&https, |request| {
        request.extensions_mut().insert(OverTls);
    });
    assert_eq!(over_tls.await.status, StatusCode::OK);
    assert_eq!(ask(&reached_at("http://blog.lan:8080"), |_| ()).await.status, StatusCode::OK);
}
