//! Idempotency keys at the edge: reading, fingerprints, one at a time, and the replay.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use inkstone_core::idempotency::{Idempotency, StoredAnswer, Written};
use inkstone_http::Edge;
use inkstone_http::extract::{Call, ObjectReader};
use inkstone_http::problem::Result;
use tokio::sync::Semaphore;

use crate::support::{Site, request_from, site};

const JSON: (&str, &str) = ("content-type", "application/json");

#[expect(clippy::unnecessary_wraps, reason = "this is the form of a render function")]
fn render(thing: &String) -> inkstone_core::Result<StoredAnswer> {
    let headers =
        vec![("content-type".to_owned(), "application/json".to_owned()), ("location".to_owned(), "/1".to_owned())];
    Ok(StoredAnswer { status: 201, headers, body: format!("\"{thing}\"").into_bytes() })
}

fn shown(idempotency: Option<Idempotency<String>>) -> String {
    idempotency.map_or("none".to_owned(), |it| {
        let print = u128::from_be_bytes(it.fingerprint[..16].try_into().unwrap());
        format!("{} {} {print} {}", it.scope, it.key, it.expires_at)
    })
}

async fn create(State(edge): State<Edge>, call: Call, body: ObjectReader) -> Result<Response> {
    let once = call.once(&edge, body.fingerprint(), Arc::new(render))?;
    let thing = shown(once.idempotency());
    once.answer(Written::Done(thing))
}

async fn again(State(edge): State<Edge>, call: Call, body: ObjectReader) -> Result<Response> {
    let once = call.once::<String>(&edge, body.fingerprint(), Arc::new(render))?;
    once.answer(Written::Replayed(render(&"the first".to_owned())?))
}

fn things() -> Site {
    site(Router::new().route("/things", post(create)).route("/others", post(create)).route("/again", post(again)))
}

async fn shown_for(site: &Site, from: &str, path: &str, token: &str, key: &str, body: &str) -> String {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![JSON, ("idempotency-key", key)];
    if !token.is_empty() {
        headers.push(("authorization", &bearer));
    }
    let answer = site.send(request_from(from, "POST", path, &headers, body.to_owned())).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("location"), Some("/1"));
    assert_eq!(answer.header("idempotency-replayed"), None);
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn the_same_request_has_the_same_fingerprint_and_no_other_has() {
    let site = things();
    let first = shown_for(&site, "203.0.113.7", "/things", "user-1", "\"k\"", r#"{"a": 1, "b": [2]}"#).await;
    assert!(first.starts_with("\"user:1 k "), "{first}");
    assert!(first.contains("2026-11-23T08:30:00Z"), "{first}");
    let same = shown_for(&site, "198.51.100.9", "/things", "user-1", "k", "{\"b\":[2],\n\"a\":1}").await;
    assert_eq!(first, same);
    for (path, body) in [("/things", r#"{"a": 1, "b": [3]}"#), ("/others", r#"{"a": 1, "b": [2]}"#)] {
        let other = shown_for(&site, "203.0.113.7", path, "user-1", "k", body).await;
        assert_ne!(first, other, "{path} {body}");
    }
    let other_caller = shown_for(&site, "203.0.113.7", "/things", "user-2", "k", "{}").await;
    assert!(other_caller.starts_with("\"user:2 k "));
    let nobody = shown_for(&site, "203.0.113.7", "/things", "", "k", "{}").await;
    assert!(nobody.starts_with("\"address:203.0.113.7 k "));
    let without = site.post("/things", &[JSON], "{}").await;
    assert_eq!(without.body, b"\"none\"");
}

#[tokio::test]
async fn a_replay_says_that_it_is_one() {
    let answer = things().post("/again", &[JSON, ("idempotency-key", "k")], "{}").await;
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (StatusCode::CREATED, Some("true")));
    assert_eq!((answer.header("location"), answer.body.as_slice()), (Some("/1"), &b"\"the first\""[..]));
}

#[tokio::test]
async fn bad_keys_are_refused() {
    let site = things();
    for key in ["", "\"\"", "\"a", "a b", "\"a\";q=1", "\u{e4}", &"k".repeat(256)] {
        let answer = site.post("/things", &[JSON, ("idempotency-key", key)], "{}").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "bad-header"), "{key}");
    }
    let twice = site.post("/things", &[JSON, ("idempotency-key", "a"), ("idempotency-key", "a")], "{}").await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn while_the_first_is_in_work_the_second_waits_its_turn() {
    let entered = Arc::new(Semaphore::new(0));
    let leave = Arc::new(Semaphore::new(0));
    let (enter, left) = (entered.clone(), leave.clone());
    let slow = move |State(edge): State<Edge>, call: Call, body: ObjectReader| {
        let (enter, left) = (enter.clone(), left.clone());
        async move {
            let once = call.once(&edge, body.fingerprint(), Arc::new(render))?;
            enter.add_permits(1);
            left.acquire().await.unwrap().forget();
            once.answer(Written::Done("done".to_owned()))
        }
    };
    let site = site(Router::new().route("/slow", post(slow)).route("/things", post(create)));
    let key = ("idempotency-key", "k");
    let headers = [JSON, key];
    let first = site.post("/slow", &headers, "{}");
    let meanwhile = async {
        entered.acquire().await.unwrap().forget();
        let second = site.post("/slow", &[JSON, key], "{}").await;
        assert_eq!((second.status, second.code().as_str()), (StatusCode::CONFLICT, "idempotency-in-progress"));
        assert_eq!(second.header("retry-after"), Some("1"));
        let other_caller = site.post("/things", &[JSON, key, ("authorization", "Bearer user-1")], "{}").await;
        assert_eq!(other_caller.status, StatusCode::CREATED);
        leave.add_permits(1);
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(site.post("/things", &[JSON, key], "{}").await.status, StatusCode::CREATED);
}
