//! Bodies: strict JSON, every fault at once, limits on size and time.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, patch, post};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use inkstone_core::guard::load::LoadSettings;
use inkstone_core::posts::{Excerpt, Markdown, Status, Title};
use inkstone_core::tags::TagName;
use inkstone_core::users::UserId;
use inkstone_http::Settings;
use inkstone_http::extract::ObjectReader;
use inkstone_http::problem::Result;
use tokio::sync::oneshot;

use crate::support::{Site, request, site, site_with};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn create(mut body: ObjectReader) -> Result<String> {
    let title = body.required::<Title>("title");
    let markdown = body.required_object("content", |content| content.required::<Markdown>("markdown"));
    let tags = body.optional::<Vec<TagName>>("tags");
    let status = body.optional::<Status>("status");
    let author = body.optional::<UserId>("author");
    let at = body.optional::<jiff::Timestamp>("at");
    let excerpt = body.nullable::<Excerpt>("excerpt");
    body.build(|| {
        let (title, markdown) = (title?, markdown?);
        let excerpt = excerpt.map(|excerpt| excerpt.map(|text| text.as_str().to_owned()));
        let tags = tags.map(|tags| tags.iter().map(|tag| tag.as_str().to_owned()).collect::<Vec<_>>());
        Some(format!(
            "{} | {} | {tags:?} | {status:?} | {author:?} | {at:?} | {excerpt:?}",
            title.as_str(),
            markdown.as_str()
        ))
    })
}

async fn change(mut body: ObjectReader) -> Result<String> {
    let title = body.optional::<Title>("title");
    body.finish()?;
    Ok(format!("{title:?}"))
}

fn posts() -> Site {
    site(Router::new().route("/posts", post(create)).route("/patch", patch(change)))
}

#[tokio::test]
async fn absent_null_and_given_are_three_things() {
    let site = posts();
    for (excerpt, read) in
        [("", "None"), (r#", "excerpt": null"#, "Some(None)"), (r#", "excerpt": "x""#, r#"Some(Some("x"))"#)]
    {
        let body = format!(r#"{{"title": "T", "content": {{"markdown": "M"}}{excerpt}}}"#);
        let answer = site.post("/posts", &[JSON], body).await;
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.ends_with(&format!("| {read}")), "{text}");
    }
}

#[tokio::test]
async fn every_fault_comes_at_once() {
    let body = r#"{
        "title": "", "content": {"markdown": 7, "html": "x"}, "tags": ["ok", "", 3, "a\u0000b"],
        "status": "secret", "author": -4, "at": "yesterday", "excerpt": [], "id~/": 1
    }"#;
    let answer = posts().post("/posts", &[JSON], body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid"));
    let expected = [
        ("/title", "too-short"),
        ("/content/markdown", "wrong-type"),
        ("/content/html", "unknown-field"),
        ("/tags/1", "too-short"),
        ("/tags/2", "wrong-type"),
        ("/tags/3", "bad-character"),
        ("/status", "not-allowed"),
        ("/author", "out-of-range"),
        ("/at", "bad-format"),
        ("/excerpt", "wrong-type"),
        ("/id~0~1", "unknown-field"),
    ];
    assert_eq!(answer.faults(), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));

    let empty = posts().post("/posts", &[JSON], "{}").await;
    let expected = [("/title", "required"), ("/content", "required")];
    assert_eq!(empty.faults(), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
}

#[tokio::test]
async fn what_is_no_object_is_invalid_and_what_is_no_json_malformed() {
    let site = posts();
    for body in ["[]", "null", "7", "\"x\""] {
        let answer = site.post("/posts", &[JSON], body).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid"), "{body}");
    }
    let deep = format!(r#"{{"title":{}1{}}}"#, "[".repeat(500_000 / 2), "]".repeat(500_000 / 2));
    let malformed: [&[u8]; 9] = [
        b"",
        b"{",
        b"{\"title\": \"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"{\"title\": \"\\ud800\"}",
        b"{\"title\": \"a\", \"title\": \"b\"}",
        b"{} {}",
        b"{\"title\": \"a\0b\"}",
        deep.as_bytes(),
    ];
    for body in malformed {
        let answer = site.post("/posts", &[JSON], body.to_vec()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "malformed"), "{shown}");
    }
    let duplicate = site.post("/posts", &[JSON], r#"{"content": {"a": 1, "a": 2}}"#).await;
    assert_eq!(duplicate.faults(), [("/content/a".to_owned(), "duplicate-key".to_owned())]);
}

#[tokio::test]
async fn only_json_in_utf_8_is_taken() {
    let site = posts();
    let body = r#"{"title": "T", "content": {"markdown": "M"}}"#;
    for media_type in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json;",
    ] {
        assert_eq!(
            site.post("/posts", &[("content-type", media_type)], body).await.status,
            StatusCode::OK,
            "{media_type}"
        );
    }
    for headers in [
        &[][..],
        &[("content-type", "")],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/jsonp")],
        &[("content-type", "application/merge-patch+json")],
        &[("content-type", "application/json; charset=iso-8859-1")],
        &[JSON, JSON],
        &[JSON, ("content-encoding", "gzip")],
        &[JSON, ("content-encoding", "identity, br")],
    ] {
        let answer = site.post("/posts", headers, body).await;
        let found = (answer.status, answer.code());
        assert_eq!(found, (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type".to_owned()), "{headers:?}");
    }
    for media_type in ["application/merge-patch+json", "application/json"] {
        let answer = site.send(request("PATCH", "/patch", &[("content-type", media_type)], "{}")).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn size_is_limited_whether_declared_or_not() {
    let settings = Settings { max_body_bytes: 1000, ..Settings::default() };
    let site = site_with(settings, Router::new().route("/patch", patch(change)));
    let padded = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    let send = |body: Body| site.send(request("PATCH", "/patch", &[JSON], body));
    assert_eq!(send(padded(1000).into()).await.status, StatusCode::OK);
    let declared = send(padded(1001).into()).await;
    assert_eq!((declared.status, declared.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too-large"));
    let chunks = stream::repeat(Ok::<_, Infallible>(Bytes::from(vec![b' '; 100]))).take(11);
    assert_eq!(send(Body::from_stream(chunks)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let endless = stream::repeat(Ok::<_, Infallible>(Bytes::from_static(b"          ")));
    assert_eq!(send(Body::from_stream(endless)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn slow_and_broken_bodies_are_given_up() {
    let settings = Settings { body_deadline: Duration::from_millis(20), ..Settings::default() };
    let site = site_with(settings, Router::new().route("/patch", patch(change)));
    let send = |body: Body| site.send(request("PATCH", "/patch", &[JSON], body));
    let silent = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]).chain(stream::pending());
    let slow = send(Body::from_stream(silent)).await;
    assert_eq!((slow.status, slow.code().as_str()), (StatusCode::REQUEST_TIMEOUT, "request-timeout"));
    let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
    let broken = send(Body::from_stream(broken)).await;
    assert_eq!((broken.status, broken.code().as_str()), (StatusCode::BAD_REQUEST, "bad-request"));
}

/// A body whose end comes when the sender is told, or dropped.
fn unfinished() -> (oneshot::Sender<()>, Body) {
    let (end, ended) = oneshot::channel();
    let rest = stream::once(async move {
        let _gone = ended.await;
        Ok(Bytes::from_static(b"}"))
    });
    (end, Body::from_stream(stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]).chain(rest)))
}

fn with_one_place() -> Site {
    let load = LoadSettings { least: 1, most: 1, ..Settings::default().load };
    let routes = Router::new().route("/patch", patch(change)).route("/never", get(std::future::pending::<()>));
    site_with(Settings { load, ..Settings::default() }, routes)
}

#[tokio::test]
async fn whoever_sends_slowly_keeps_nobody_out() {
    let site = with_one_place();
    let (end, body) = unfinished();
    let (_never, other) = unfinished();
    let meanwhile = async {
        let whole = site.send(request("PATCH", "/patch", &[JSON], "{}")).await;
        assert_eq!(whole.status, StatusCode::OK, "the place is free");
        let too_many = site.send(request("PATCH", "/patch", &[JSON], other)).await;
        assert_eq!(too_many.code(), "overloaded", "but no more of them are waited for than there could be places");
        end.send(()).unwrap();
    };
    let (slow, ()) = tokio::join!(site.send(request("PATCH", "/patch", &[JSON], body)), meanwhile);
    assert_eq!(slow.status, StatusCode::OK);
    let (_never, body) = unfinished();
    let given_up = tokio::time::timeout(Duration::ZERO, site.send(request("PATCH", "/patch", &[JSON], body))).await;
    assert!(given_up.is_err());
    assert_eq!(site.send(request("PATCH", "/patch", &[JSON], "{}")).await.status, StatusCode::OK);
    let metrics = site.edge.metrics().encode().unwrap();
    assert!(metrics.contains("inkstone_http_load_in_work 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_body_that_comes_when_all_places_are_taken_is_not_worked_on() {
    let site = with_one_place();
    let (end, body) = unfinished();
    let upload = async {
        let late = site.send(request("PATCH", "/patch", &[JSON], body)).await;
        assert_eq!((late.status, late.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    };
    let finish = async {
        // By now the third has taken the place.
        end.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = upload => {}
        _ = site.get("/never", &[]) => unreachable!(),
        () = finish => {}
    }
}

#[tokio::test]
async fn the_time_of_a_slow_client_is_no_sign_of_overload() {
    let site = posts();
    let limit =
        |metrics: String| metrics.lines().find(|line| line.starts_with("inkstone_http_load_limit ")).map(str::to_owned);
    let before = limit(site.edge.metrics().encode().unwrap());
    for _ in 0..20 {
        let (end, body) = unfinished();
        let later = async {
            site.clock.pass(Duration::from_secs(5));
            end.send(()).unwrap();
        };
        let (slow, ()) = tokio::join!(site.send(request("PATCH", "/patch", &[JSON], body)), later);
        assert_eq!(slow.status, StatusCode::OK);
    }
    assert!(before.is_some());
    assert_eq!(limit(site.edge.metrics().encode().unwrap()), before);
}

#[tokio::test]
async fn a_million_faults_are_not_a_million_lines() {
    let tags = "1,".repeat(200_000);
    let body = format!(r#"{{"title": "T", "content": {{"markdown": "M"}}, "tags": [{tags}1]}}"#);
    let answer = posts().post("/posts", &[JSON], body).await;
    assert_eq!(answer.faults().len(), inkstone_http::problem::MAX_FAULTS);
    let many: Vec<String> = (0..50_000).map(|n| format!(r#""k{n}":1"#)).collect();
    let answer = posts().post("/posts", &[JSON], format!("{{{}}}", many.join(","))).await;
    assert_eq!(answer.faults().len(), inkstone_http::problem::MAX_FAULTS);
}
