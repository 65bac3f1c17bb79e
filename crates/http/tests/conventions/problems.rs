//! Every error, wherever it comes from, leaves as problem details.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use http::StatusCode;
use inkstone_core::access::Scope;
use inkstone_core::{Code, Error, Fault, FaultCode};
use inkstone_http::Settings;
use inkstone_http::extract::call::MAX_TOKEN_BYTES;
use inkstone_http::extract::{Call, PathId};
use inkstone_http::problem::{self, MAX_FAULTS, Problem};

use crate::support::{request, site, site_with};

async fn fail(Path(code): Path<String>) -> Result<(), Problem> {
    let code = Code::ALL.iter().copied().find(|known| known.as_str() == code).unwrap();
    Err(Problem::new(code, "What exactly."))
}

#[tokio::test]
async fn every_code_is_a_problem_with_its_status() {
    let site = site(Router::new().route("/api/v1/fail/{code}", get(fail)));
    for code in Code::ALL {
        let answer = site.get(&format!("/api/v1/fail/{}", code.as_str()), &[]).await;
        let json = answer.json();
        assert_eq!(answer.status, problem::status(*code), "{code:?}");
        assert_eq!(json["type"], format!("/problems/{}", code.as_str()));
        assert_eq!(json["title"], code.title());
        assert_eq!(json["status"], answer.status.as_u16());
        assert_eq!(json["detail"], "What exactly.");
        assert_eq!(json["instance"], format!("urn:uuid:{}", answer.header("x-request-id").unwrap()));
        assert_eq!(json.get("errors"), None);
    }
}

#[tokio::test]
async fn types_are_absolute_where_the_public_url_is_known() {
    let public_url = Some("https://blog.example/".parse().unwrap());
    let site = site_with(Settings { public_url, ..Settings::default() }, Router::new());
    let answer = site.get("/nothing", &[]).await;
    assert_eq!(answer.json()["type"], "https://blog.example/problems/not-found");
    assert!(answer.header("strict-transport-security").unwrap().contains("max-age=31536000"));
}

#[tokio::test]
async fn domain_errors_keep_what_they_say() {
    let faults = || vec![Fault::at("/title", FaultCode::TooLong, "a"), Fault::at("/slug", FaultCode::Taken, "b")];
    let routes = Router::new()
        .route("/invalid", get(move || async move { Err::<(), Problem>(Error::Invalid(faults()).into()) }))
        .route(
            "/later",
            get(|| async {
                let after = Duration::from_millis(2500);
                Err::<(), Problem>(Error::try_later(Code::Unavailable, "The store is away.", after).into())
            }),
        )
        .route(
            "/many",
            get(|| async {
                let faults = (0..1000).map(|n| Fault::at(format!("/{n}"), FaultCode::Required, "x")).collect();
                Err::<(), Problem>(Error::Invalid(faults).into())
            }),
        );
    let site = site(routes);
    let invalid = site.get("/invalid", &[]).await;
    assert_eq!(invalid.status, StatusCode::UNPROCESSABLE_ENTITY);
    let expected = [("/title", "too-long"), ("/slug", "taken")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(invalid.faults(), expected);
    let later = site.get("/later", &[]).await;
    assert_eq!(later.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(later.header("retry-after"), Some("3"));
    let many = site.get("/many", &[]).await;
    assert_eq!(many.faults().len(), MAX_FAULTS);
    assert!(many.json()["detail"].as_str().unwrap().starts_with("1000 "));
}

async fn break_down() -> String {
    panic!("secret: index out of bounds")
}

#[tokio::test]
async fn what_is_internal_stays_inside() {
    let routes = Router::new()
        .route("/internal", get(|| async { Err::<(), Problem>(Error::internal("secret: select * from users").into()) }))
        .route("/panic", get(break_down))
        .route("/bare", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/library", get(|| async { (StatusCode::BAD_GATEWAY, "secret: connect to 10.0.0.3") }))
        .route("/broken-token", get(|_: Call| async {}));
    let site = site(routes);
    for path in ["/internal", "/panic", "/bare", "/library", "/broken-token"] {
        let answer = site.get(path, &[("authorization", "Bearer broken")]).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(answer.code(), "internal");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn the_routers_own_errors_are_problems_too() {
    async fn nothing() {}
    let site = site(Router::new().route("/thing", get(nothing).delete(nothing)).route("/write", post(nothing)));
    let missing = site.get("/no/such/thing", &[]).await;
    assert_eq!((missing.status, missing.code().as_str()), (StatusCode::NOT_FOUND, "not-found"));

    let wrong = site.send(request("PATCH", "/thing", &[], "")).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"));
    let mut allowed: Vec<&str> = wrong.header("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "OPTIONS"]);
    assert_eq!(site.send(request("TRACE", "/thing", &[], "")).await.status, StatusCode::METHOD_NOT_ALLOWED);

    let options = site.send(request("OPTIONS", "/write", &[], "")).await;
    assert_eq!((options.status, options.header("allow")), (StatusCode::NO_CONTENT, Some("POST, OPTIONS")));
    assert!(options.body.is_empty());
    assert_eq!(site.send(request("OPTIONS", "/nothing", &[], "")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.send(request("OPTIONS", "*", &[], "")).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn head_has_the_headers_of_the_error_and_no_body() {
    let site = site(Router::new().route("/fail/{code}", get(fail)));
    let full = site.get("/fail/gone", &[]).await;
    let head = site.send(request("HEAD", "/fail/gone", &[], "")).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::GONE, 0));
    assert_eq!(head.header("content-length"), Some(full.body.len().to_string().as_str()));
}

#[tokio::test]
async fn ids_that_cannot_be_are_not_found() {
    let routes = Router::new()
        .route("/posts/{id}", get(|PathId(id): PathId<inkstone_core::posts::PostId>| async move { id.to_string() }));
    let site = site(routes);
    assert_eq!(site.get("/posts/42", &[]).await.body, b"42");
    assert_eq!(site.get("/posts/9223372036854775807", &[]).await.status, StatusCode::OK);
    for id in ["0", "-1", "+1", "042", "1.0", "abc", "9223372036854775808", "%31%00", "%ff", "1%20", "٤٢"] {
        let id = percent_encoding::utf8_percent_encode(id, percent_encoding::CONTROLS).to_string();
        let answer = site.get(&format!("/posts/{id}"), &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not-found"), "{id}");
    }
}

#[tokio::test]
async fn credentials_are_taken_in_one_form_only() {
    let routes = Router::new()
        .route("/who", get(|call: Call| async move { format!("{:?}", call.ctx.caller.user_id()) }))
        .route(
            "/needs",
            get(|call: Call| async move {
                let needed = call.ctx.caller.require(inkstone_core::access::Permission::UserManage);
                needed.map_err(Problem::from)
            }),
        )
        .route("/scope", get(|| async { Err::<(), _>(Problem::from(Error::LacksScope(Scope::Posts))) }));
    let site = site(routes);
    assert_eq!(site.get("/who", &[]).await.body, b"None");
    assert_eq!(site.get("/who", &[("authorization", "Bearer user-7")]).await.body, b"Some(UserId(7))");
    assert_eq!(site.get("/who", &[("authorization", "bearer user-7")]).await.body, b"Some(UserId(7))");
    for (header, named) in [
        ("Bearer nobody", true),
        ("Bearer", false),
        ("Bearer ", true),
        ("Bearer a b", true),
        ("Bearer user-7\u{e4}", false),
        ("Bearer user-7,user-8", true),
        ("Basic dXNlcjpwYXNz", false),
        ("", false),
    ] {
        let answer = site.get("/who", &[("authorization", header)]).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "unauthenticated"), "{header}");
        let says_so = answer.header("www-authenticate").unwrap().contains("error=\"invalid_token\"");
        assert_eq!(says_so, named, "{header}");
    }
    let twice = [("authorization", "Bearer user-7"), ("authorization", "Bearer user-8")];
    assert_eq!(site.get("/who", &twice).await.status, StatusCode::UNAUTHORIZED);

    let nobody = site.get("/needs", &[]).await;
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"inkstone\""));
    let author = site.get("/needs", &[("authorization", "Bearer user-7")]).await;
    assert_eq!((author.status, author.header("www-authenticate")), (StatusCode::FORBIDDEN, None));
    let narrow = site.get("/scope", &[]).await;
    assert_eq!(narrow.status, StatusCode::FORBIDDEN);
    assert_eq!(narrow.code(), "insufficient-scope");
    let challenge = r#"Bearer realm="inkstone", error="insufficient_scope", scope="posts:write""#;
    assert_eq!(narrow.header("www-authenticate"), Some(challenge));
}

#[tokio::test]
async fn tokens_are_looked_at_up_to_their_longest() {
    let site =
        site(Router::new().route("/who", get(|call: Call| async move { format!("{:?}", call.ctx.caller.user_id()) })));
    // As many zeros before the number as the token has room for.
    let token = |bytes: usize| format!("Bearer user-{:0>1$}", 7, bytes - "user-".len());
    let longest = site.get("/who", &[("authorization", &token(MAX_TOKEN_BYTES))]).await;
    assert_eq!((longest.status, longest.body.as_slice()), (StatusCode::OK, &b"Some(UserId(7))"[..]));
    let longer = site.get("/who", &[("authorization", &token(MAX_TOKEN_BYTES + 1))]).await;
    assert_eq!((longer.status, longer.code().as_str()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    assert!(longer.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn whoever_takes_no_json_is_told() {
    let site = site(Router::new().route("/who", get(|_: Call| async { "{}" })));
    for accept in ["application/json", "*/*", "application/*;q=0.1", "text/html, */*;q=0.01"] {
        assert_eq!(site.get("/who", &[("accept", accept)]).await.status, StatusCode::OK, "{accept}");
    }
    for accept in ["text/html", "application/json;q=0", "application/xml"] {
        let answer = site.get("/who", &[("accept", accept)]).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_ACCEPTABLE, "not-acceptable"), "{accept}");
    }
}
