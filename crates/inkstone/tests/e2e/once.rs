//! Repeating what holds secrets: the effect comes once, and no secret is stored for the repetition.

use inkstone_testkit::{Answer, Client, Inkstone, Options};
use reqwest::Method;
use serde_json::{Value, json};

use crate::identity::setup_secret;
use crate::{BINARY, start};

const PASSWORD: &str = "a long phrase only for these tests";

async fn post_once(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    client.request(Method::POST, path).header("idempotency-key", key).json(body).send().await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

#[tokio::test]
async fn a_token_is_made_once_and_shown_once() {
    // At the end, the database is read byte by byte.
    let mut server = Inkstone::start_with(BINARY, Options::default().on_sqlite());
    let ada = server.sign_up("ada", "author").await;
    let wish = json!({"name": "deploy", "scopes": ["read"], "expires_in_days": 7});
    let first = post_once(&ada, "/api/v2/me/tokens", "one", &wish).await.expect(201);
    let again = post_once(&ada, "/api/v2/me/tokens", "one", &wish).await.expect(201);
    assert!(!is_replayed(&first) && is_replayed(&again));
    let mut shown = first.json();
    let secret = shown.as_object_mut().unwrap().remove("token").unwrap();
    assert_eq!(again.json(), shown, "the same token, without its secret");
    for name in ["location", "cache-control", "content-type", "etag"] {
        assert_eq!((name, again.header(name).is_some()), (name, first.header(name).is_some()));
    }
    assert_eq!(ada.get("/api/v2/me/tokens").await.json()["data"].as_array().unwrap().len(), 1);

    let other = json!({"name": "another", "scopes": ["read"]});
    let refused = post_once(&ada, "/api/v2/me/tokens", "one", &other).await.expect(422);
    assert_eq!(refused.problem(), "idempotency-key-reused");
    post_once(&ada, "/api/v2/me/tokens", "two", &other).await.expect(201);

    assert_eq!(server.terminate(), Some(0));
    let secret = secret.as_str().unwrap().as_bytes();
    for entry in std::fs::read_dir(server.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{} holds the token", path.display());
    }
}

#[tokio::test]
async fn a_changed_password_is_confirmed_to_whoever_asks_again() {
    let server = start();
    let ada = server.sign_up("ada", "author").await;
    let new = "an entirely different long phrase";
    let change = json!({"current_password": PASSWORD, "password": new});
    let first = post_once(&ada, "/api/v2/me/password", "one", &change).await.expect(204);
    assert!(!is_replayed(&first));
    post_once(&ada, "/api/v2/me/password", "one", &change).await.expect(401);
    let login = json!({"login": "ada", "password": new});
    let pair = server.client().post("/api/v2/auth/login", &login).await.expect(200).json();
    let ada = server.client().with_token(pair["access_token"].as_str().unwrap());
    assert!(is_replayed(&post_once(&ada, "/api/v2/me/password", "one", &change).await.expect(204)));
    ada.get("/api/v2/me").await.expect(200);
    let other = json!({"current_password": new, "password": "one more phrase that is long enough"});
    let refused = post_once(&ada, "/api/v2/me/password", "one", &other).await.expect(422);
    assert_eq!(refused.problem(), "idempotency-key-reused");
    post_once(&ada, "/api/v2/me/password", "two", &other).await.expect(204);
}

#[tokio::test]
async fn the_set_up_is_done_once_and_says_so_again() {
    let server = start();
    let secret = setup_secret(&server).await;
    let first = json!({"secret": secret, "handle": "root-of-all", "password": PASSWORD});
    let anonymous = server.client();
    let made = post_once(&anonymous, "/api/v2/setup", "one", &first).await.expect(201);
    let again = post_once(&anonymous, "/api/v2/setup", "one", &first).await.expect(201);
    assert!(!is_replayed(&made) && is_replayed(&again));
    assert_eq!(again.body, made.body);
    anonymous.post("/api/v2/setup", &first).await.expect(401);
}

#[tokio::test]
async fn where_a_key_could_promise_nothing_it_is_refused() {
    let server = start();
    server.add_user("ada", "author");
    let anonymous = server.client();
    let login = json!({"login": "ada", "password": PASSWORD});
    for version in ["v1", "v2"] {
        let path = |deed: &str| format!("/api/{version}/auth/{deed}");
        let refused = post_once(&anonymous, &path("login"), "one", &login).await.expect(400);
        assert_eq!(
            (refused.problem(), refused.faults()),
            ("bad-header".into(), vec!["idempotency-key not-allowed".into()])
        );
        let pair = anonymous.post(&path("login"), &login).await.expect(200).json();
        let refresh = json!({"refresh_token": pair["refresh_token"]});
        post_once(&anonymous, &path("refresh"), "one", &refresh).await.expect(400);
        let pair = anonymous.post(&path("refresh"), &refresh).await.expect(200).json();
        let logout = json!({"refresh_token": pair["refresh_token"]});
        for _ in 0..2 {
            post_once(&anonymous, &path("logout"), "one", &logout).await.expect(204);
        }
    }
}

#[tokio::test]
async fn a_personal_token_leaves_nothing_behind_that_outlives_it() {
    let server = start();
    let ada = server.with_token("ada", "administrator");
    for (path, body) in [
        ("/api/v2/me/tokens", json!({"name": "child", "scopes": ["read"]})),
        ("/api/v2/me/password", json!({"current_password": PASSWORD, "password": "an entirely different long phrase"})),
    ] {
        let refused = ada.post(path, &body).await.expect(403);
        assert_eq!(refused.problem(), "forbidden");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("a personal token is not enough"), "{detail}");
    }
    assert_eq!(ada.get("/api/v2/me/tokens").await.json()["data"].as_array().unwrap().len(), 1);
}
