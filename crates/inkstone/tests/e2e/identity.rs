//! Signing in and out, tokens and their limits, as clients see them.

use inkstone_testkit::{Inkstone, Options, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::posts::post;
use crate::{BINARY, start};

const PASSWORD: &str = "a long phrase only for these tests";

/// The one-time secret that the server has shown at its start.
pub(crate) async fn setup_secret(server: &Inkstone) -> String {
    // What it says and what it logs come by two pipes; only the second has been waited for.
    until("the secret is shown", async || server.said().contains("inkstone user add")).await;
    let said = server.said();
    let secret = said
        .split("ink_setup_")
        .nth(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>());
    format!("ink_setup_{}", secret.unwrap_or_else(|| panic!("the set-up secret is shown at start:\n{said}")))
}

#[tokio::test]
async fn the_first_administrator_sets_themselves_up_once() {
    let server = start();
    let secret = setup_secret(&server).await;
    let anonymous = server.client();
    let first = json!({"secret": secret, "handle": "root-admin", "email": "root@example.org", "display_name": "Root", "password": "a phrase that nobody guesses"});
    let mut wrong = first.clone();
    wrong["secret"] = json!("ink_setup_wrong");
    anonymous.post("/api/v2/setup", &wrong).await.expect(401);
    let mut weak = first.clone();
    weak["password"] = json!("password");
    assert!(
        anonymous
            .post("/api/v2/setup", &weak)
            .await
            .expect(422)
            .faults()
            .iter()
            .any(|fault| fault.starts_with("/password"))
    );
    anonymous.post("/api/v2/setup", &first).await.expect(201);
    let again = anonymous.post("/api/v2/setup", &first).await;
    assert!(matches!(again.status.as_u16(), 401 | 409), "{}", again.text());
    let tokens = anonymous
        .post("/api/v2/auth/login", &json!({"login": "root@example.org", "password": "a phrase that nobody guesses"}))
        .await
        .expect(200);
    let me = anonymous.with_token(tokens.json()["access_token"].as_str().unwrap()).get("/api/v2/me").await.expect(200);
    assert_eq!(me.json()["role"], "administrator");
    assert!(anonymous.get("/setup").await.expect(200).text().contains("<form"));
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_copy_ends_the_family() {
    let server = start();
    server.add_user("ada", "author");
    let anonymous = server.client();
    let login =
        anonymous.post("/api/v1/auth/login", &json!({"login": "ada", "password": PASSWORD})).await.expect(200).json();
    assert_eq!((&login["token_type"], &login["expires_in"]), (&json!("Bearer"), &json!(900)));
    let refresh = |token: &Value| json!({"refresh_token": token});
    let second = anonymous.post("/api/v2/auth/refresh", &refresh(&login["refresh_token"])).await.expect(200).json();
    anonymous.with_token(second["access_token"].as_str().unwrap()).get("/api/v2/me").await.expect(200);
    anonymous.post("/api/v2/auth/refresh", &refresh(&login["refresh_token"])).await.expect(401);
    anonymous.post("/api/v2/auth/refresh", &refresh(&second["refresh_token"])).await.expect(401);
    anonymous.with_token(second["access_token"].as_str().unwrap()).get("/api/v2/me").await.expect(401);

    let third = anonymous
        .post("/api/v2/auth/login", &json!({"login": "ada@example.org", "password": PASSWORD}))
        .await
        .expect(200)
        .json();
    let ada = anonymous.with_token(third["access_token"].as_str().unwrap());
    ada.get("/api/v2/me").await.expect(200);
    let left = anonymous.post("/api/v2/auth/logout", &refresh(&third["refresh_token"])).await.expect(204);
    assert_eq!(left.header("clear-site-data"), Some(r#""cache", "storage""#));
    ada.get("/api/v2/me").await.expect(401);
    anonymous.post("/api/v2/auth/logout", &refresh(&third["refresh_token"])).await.expect(204);
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_look_the_same_and_are_throttled() {
    let server = start();
    server.add_user("ada", "author");
    let anonymous = server.client();
    let attempt = |login: &str| json!({"login": login, "password": "not the password at all"});
    let known = anonymous.post("/api/v2/auth/login", &attempt("ada")).await.expect(401).json();
    let unknown = anonymous.post("/api/v2/auth/login", &attempt("nobody-at-all")).await.expect(401).json();
    for member in ["type", "title", "status", "detail"] {
        assert_eq!(known[member], unknown[member]);
    }
    let mut last = 0;
    for _ in 0..100 {
        last = anonymous.post("/api/v2/auth/login", &attempt("ada")).await.status.as_u16();
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429, "guessing ends within 100 tries");
}

#[tokio::test]
async fn tokens_narrow_what_their_owner_may() {
    let server = start();
    server.add_user("ed", "editor");
    let anonymous = server.client();
    let reader = anonymous.with_token(&server.token("ed", "read"));
    reader.get("/api/v2/posts?status=draft").await.expect(200);
    assert_eq!(
        reader.post("/api/v2/posts", &post("No")).await.expect(403).header("www-authenticate"),
        Some(r#"Bearer realm="inkstone", error="insufficient_scope", scope="posts:write""#)
    );
    let writer = anonymous.with_token(&server.token("ed", "read posts:write"));
    writer.post("/api/v2/posts", &post("Yes")).await.expect(201);
    writer.post("/api/v2/tags", &json!({"name": "No"})).await.expect(403);
    writer.get("/api/v2/me/tokens").await.expect(403);
    let output = server.cli(&["token", "create", "--user", "ed", "--name", "x", "--scopes", "everything"]);
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn personal_tokens_are_shown_once_listed_and_ended() {
    let server = start();
    let ada = server.sign_up("ada", "author").await;
    let made = ada
        .post("/api/v2/me/tokens", &json!({"name": "deploy", "scopes": ["read"], "expires_in_days": 7}))
        .await
        .expect(201)
        .json();
    let secret = made["token"].as_str().unwrap();
    assert!(secret.starts_with("ink_pat_"));
    server.client().with_token(secret).get("/api/v2/posts").await.expect(200);
    let listed = ada.get("/api/v2/me/tokens").await.expect(200).json();
    assert!(listed["data"][0].get("token").is_none() && listed["data"][0]["name"] == "deploy");
    let id = made["id"].as_i64().unwrap();
    let eve = server.sign_up("eve", "author").await;
    eve.request(reqwest::Method::DELETE, &format!("/api/v2/me/tokens/{id}")).send().await.expect(404);
    ada.request(reqwest::Method::DELETE, &format!("/api/v2/me/tokens/{id}")).send().await.expect(204);
    server.client().with_token(secret).get("/api/v2/posts").await.expect(401);
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_keeps_secrets_out_of_the_log() {
    let server = start();
    let ada = server.sign_up("ada", "author").await;
    let new = "an entirely different long phrase";
    ada.post("/api/v2/me/password", &json!({"current_password": "wrong", "password": new})).await;
    ada.post("/api/v2/me/password", &json!({"current_password": PASSWORD, "password": new})).await.expect(204);
    ada.get("/api/v2/me").await.expect(401);
    let anonymous = server.client();
    anonymous.post("/api/v2/auth/login", &json!({"login": "ada", "password": PASSWORD})).await.expect(401);
    anonymous.post("/api/v2/auth/login", &json!({"login": "ada", "password": new})).await.expect(200);
    let log = server.log_text();
    for secret in [PASSWORD, new, "ada@example.org", "ink_rt_", "ink_pat_", "eyJ"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[tokio::test]
async fn writing_too_fast_is_limited_and_says_when_to_come_back() {
    let env = vec![("INKSTONE__HTTP__RATE_LIMITS__WRITES__REQUESTS".to_owned(), "5".to_owned())];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let ada = server.with_token("ada", "author");
    let mut limited = None;
    for number in 0..10 {
        let answer = ada.post("/api/v2/posts", &post(&format!("Fast {number}"))).await;
        assert!(answer.header("ratelimit").is_some() && answer.header("ratelimit-policy").is_some());
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("the limit is felt");
    assert_eq!(limited.problem(), "rate-limited");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn a_site_reached_by_https_takes_no_secrets_in_the_open() {
    let set = |name: &str, value: &str| (format!("INKSTONE__{name}"), value.to_owned());
    let env = vec![
        set("SERVER__PUBLIC_URL", "https://blog.example"),
        set("HTTP__TRUSTED_PROXIES", "127.0.0.1"),
        set("HTTP__RATE_LIMITS__AUTH__REQUESTS", "0"),
    ];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let ada = server.sign_up("ada", "author").await;
    ada.get("/api/v2/me").await.expect(200);
    let me = |scheme: &'static str| ada.request(Method::GET, "/api/v2/me").header("x-forwarded-proto", scheme).send();
    me("https").await.expect(200);
    assert_eq!(me("http").await.expect(403).problem(), "insecure-transport");
    for path in ["/api/v2/posts", "/livez", "/readyz"] {
        server.client().request(Method::GET, path).header("x-forwarded-proto", "http").send().await.expect(200);
    }
}

#[tokio::test]
async fn signing_keys_are_public() {
    let server = start();
    server.add_user("ada", "author");
    let keys = server.client().get("/.well-known/jwks.json").await.expect(200).json();
    let key = &keys["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["use"], &key["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("sig"), &json!("EdDSA"))
    );
    assert!(key.get("d").is_none(), "the private part stays here");
}
