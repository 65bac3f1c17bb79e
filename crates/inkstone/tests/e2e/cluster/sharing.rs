//! What must hold on all nodes at once: who is who, what was asked before, who guesses, who asks too much.

use std::collections::BTreeSet;

use inkstone_testkit::{Answer, Client, Inkstone};
use reqwest::Method;
use serde_json::{Value, json};

use super::Site;
use crate::posts::post;

const PASSWORD: &str = "a long phrase only for these tests";

async fn sign_in(client: &Client, handle: &str, password: &str) -> Answer {
    client.post("/api/v2/auth/login", &json!({"login": handle, "password": password})).await
}

#[tokio::test]
async fn sessions_and_tokens_hold_on_all_nodes_and_end_on_all_at_once() {
    let site = Site::fresh().with_redis();
    let nodes = [site.node(), site.node()];
    nodes[0].add_user("ada", "author");
    let [one, other] = nodes.each_ref().map(Inkstone::client);
    let pair = sign_in(&one, "ada", PASSWORD).await.expect(200).json();
    let access = pair["access_token"].as_str().unwrap();
    let [here, there] = [one.with_token(access), other.with_token(access)];
    there.get("/api/v2/me").await.expect(200);
    assert_eq!(one.get("/.well-known/jwks.json").await.json(), other.get("/.well-known/jwks.json").await.json());

    // A refresh token that was used on one node is a stolen one on the other.
    let refresh = json!({"refresh_token": pair["refresh_token"]});
    let next = other.post("/api/v2/auth/refresh", &refresh).await.expect(200).json();
    assert_eq!(one.post("/api/v2/auth/refresh", &refresh).await.expect(401).status, 401);
    let ended = json!({"refresh_token": next["refresh_token"]});
    other.post("/api/v2/auth/refresh", &ended).await.expect(401);
    for client in [&here, &there] {
        client.get("/api/v2/me").await.expect(401);
    }

    let token = nodes[0].token("ada", "read");
    let there = other.with_token(&token);
    there.get("/api/v2/me").await.expect(200);
    let listed = nodes[0].cli(&["token", "list", "--user", "ada", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = listed[0]["id"].to_string();
    assert!(nodes[0].cli(&["token", "revoke", &id]).status.success());
    there.get("/api/v2/me").await.expect(401);
}

#[tokio::test]
async fn an_idempotency_key_counts_on_all_nodes() {
    let site = Site::fresh();
    let nodes = [site.node(), site.node()];
    nodes[0].add_user("ada", "author");
    let token = nodes[0].token("ada", "read posts:write");
    let clients = nodes.each_ref().map(|node| node.client().with_token(&token));
    let body = post("Once");
    let ask = |client: &Client| {
        let client = client.clone();
        let body = body.clone();
        async move {
            client.request(Method::POST, "/api/v2/posts").header("idempotency-key", "\"one\"").json(&body).send().await
        }
    };
    let asked: Vec<_> = (0..20).map(|turn| tokio::spawn(ask(&clients[turn % 2]))).collect();
    let mut made = BTreeSet::new();
    for answer in asked {
        let answer = answer.await.unwrap();
        match answer.status.as_u16() {
            201 => drop(made.insert(answer.json()["id"].as_i64().unwrap())),
            409 => assert_eq!(answer.problem(), "idempotency-in-progress"),
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(made.len(), 1, "one post, whichever node was asked");
    for client in &clients {
        let again = ask(client).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(client.get("/api/v2/posts").await.json()["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn failed_sign_ins_are_counted_on_all_nodes_together() {
    let site = Site::fresh();
    let nodes = [site.node(), site.node()];
    nodes[0].add_user("ada", "author");
    let clients = nodes.each_ref().map(Inkstone::client);
    // Five cost nothing; the sixth blocks.
    for turn in 0..6 {
        sign_in(&clients[turn % 2], "ada", "not the right phrase").await;
    }
    for client in &clients {
        let blocked = sign_in(client, "ada", PASSWORD).await.expect(429);
        assert!(blocked.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn with_a_redis_a_quota_is_one_for_all_nodes() {
    a_quota_is_one_for_all_nodes(Site::fresh().with_redis()).await;
}

#[tokio::test]
async fn with_a_memcached_a_quota_is_one_for_all_nodes() {
    a_quota_is_one_for_all_nodes(Site::fresh().with_memcached()).await;
}

async fn a_quota_is_one_for_all_nodes(site: Site) {
    let site = site.set("HTTP__RATE_LIMITS__WRITES__REQUESTS", "6").set("HTTP__RATE_LIMITS__WRITES__WINDOW", "1h");
    let nodes = [site.node(), site.node()];
    nodes[0].add_user("ada", "author");
    nodes[0].add_user("bob", "author");
    super::until("both nodes have their cache", async || {
        let mut ready = 0;
        for node in &nodes {
            let answer = node.operations().get("/readyz").await.json();
            ready += usize::from(!answer["checks"].to_string().contains("degraded"));
        }
        ready == nodes.len()
    })
    .await;
    let clients = |handle: &str| {
        let token = nodes[0].token(handle, "read posts:write");
        nodes.each_ref().map(|node| node.client().with_token(&token))
    };
    // One after the other: each is told what is left on both.
    let ada = clients("ada");
    for turn in 0..6 {
        let made = ada[turn % 2].post("/api/v2/posts", &post(&format!("Post {turn}"))).await.expect(201);
        assert_eq!(made.header("ratelimit-policy"), Some("\"writes\";q=6;w=3600"));
        let standing = format!("\"writes\";r={};t={}", 5 - turn, 600 * (turn + 1));
        assert_eq!(made.header("ratelimit"), Some(standing.as_str()));
    }
    for client in &ada {
        let refused = client.post("/api/v2/posts", &post("One too many")).await.expect(429);
        assert_eq!(refused.header("ratelimit"), Some("\"writes\";r=0;t=3600"));
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        // A sixth of an hour, less what the test takes.
        assert!(wait <= 600 && wait > 300, "{wait}");
    }
    // At once.
    let bob = clients("bob");
    let ask = |turn: usize| {
        let client = bob[turn % 2].clone();
        async move { client.post("/api/v2/posts", &post(&format!("Bob {turn}"))).await }
    };
    let asked: Vec<_> = (0..40).map(|turn| tokio::spawn(ask(turn))).collect();
    let mut made = 0;
    for answer in asked {
        let answer = answer.await.unwrap();
        match answer.status.as_u16() {
            201 => made += 1,
            429 => assert_eq!(answer.problem(), "rate-limited"),
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(made, 6, "whichever node was asked");
}
