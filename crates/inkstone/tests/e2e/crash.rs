//! Battery row F1: `kill -9`, again and again. Whatever was acknowledged is there afterwards, in
//! one copy, with one event; whatever was not known to be acknowledged is there once or not at
//! all, and asking again with the same key settles it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inkstone_core::events::ChangeFeed as _;
use inkstone_testkit::Client;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::start;

/// After how many acknowledgements a round ends with a kill: from one to so many, in turn.
const MOMENTS: usize = 23;
const WRITERS: usize = 8;

/// Posts number `number` under its own key; `None` when no answer came.
async fn write(author: &Client, number: usize) -> Option<i64> {
    let title = format!("Written {number}");
    let body = json!({"title": title, "content": {"markdown": "Must not be lost."}, "status": "published"});
    let sent = author
        .request(Method::POST, "/api/v2/posts")
        .header("idempotency-key", &format!("write-{number}"))
        .json(&body)
        .try_send()
        .await;
    let answer = sent.ok()?;
    match answer.status.as_u16() {
        201 => Some(answer.json()["id"].as_i64()?),
        409 | 503 => None,
        other => panic!("{other}: {}", answer.text()),
    }
}

async fn kill_again_and_again(kills: usize) {
    let mut server = start();
    server.add_user("ada", "author");
    let token = server.token("ada", "read posts:write");
    let next = Arc::new(AtomicUsize::new(0));
    let mut acknowledged: HashMap<usize, i64> = HashMap::new();
    let mut unknown: Vec<usize> = Vec::new();

    for kill in 0..kills {
        let author = server.client().with_token(&token);
        let enough = 1 + (kill * 7) % MOMENTS;
        let (acks, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (author, next, acks, reached) = (author.clone(), next.clone(), acks.clone(), reached.clone());
                tokio::spawn(async move {
                    let mut outcomes = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let outcome = write(&author, number).await;
                        outcomes.push((number, outcome));
                        if outcome.is_none() {
                            return outcomes;
                        }
                        if acks.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                            reached.notify_one();
                        }
                    }
                })
            })
            .collect();
        reached.notified().await;
        server.kill();
        for writer in writers {
            for (number, outcome) in writer.await.unwrap() {
                match outcome {
                    Some(id) => assert!(acknowledged.insert(number, id).is_none()),
                    None => unknown.push(number),
                }
            }
        }
        server.restart();
    }

    let author = server.client().with_token(&token);
    for number in unknown {
        let id = write(&author, number).await.expect("asking again settles it");
        assert!(acknowledged.insert(number, id).is_none());
    }
    println!("FIGURES {kills} kills of a server, {} writes acknowledged", acknowledged.len());

    let mut found: HashMap<String, i64> = HashMap::new();
    let mut path = "/api/v2/posts?limit=100&count=exact".to_owned();
    loop {
        let page: Value = server.client().get(&path).await.expect(200).json();
        assert_eq!(page["total"].as_u64(), Some(acknowledged.len() as u64), "as many are there as were acknowledged");
        for row in page["data"].as_array().unwrap() {
            let twice = found.insert(row["title"].as_str().unwrap().to_owned(), row["id"].as_i64().unwrap());
            assert!(twice.is_none(), "nothing is there twice: {row}");
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v2/posts?limit=100&count=exact&cursor={next}"),
            None => break,
        }
    }
    for (number, id) in &acknowledged {
        assert_eq!(found.get(&format!("Written {number}")), Some(id), "write {number} was acknowledged");
    }
    assert_eq!(server.terminate(), Some(0));
    let doctor = server.cli(&["doctor"]);
    assert!(
        doctor.status.success(),
        "{}{}",
        String::from_utf8_lossy(&doctor.stdout),
        String::from_utf8_lossy(&doctor.stderr)
    );
    let events = published_events(&server).await;
    for id in acknowledged.values() {
        assert_eq!(events.get(id), Some(&1), "post {id} has exactly one event");
    }
    assert_eq!(events.len(), acknowledged.len(), "nothing else has an event");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    kill_again_and_again(2 * MOMENTS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: ./battery --long runs it"]
async fn long_a_thousand_kills_lose_nothing() {
    kill_again_and_again(1000).await;
}

/// How many `post.published` events each post has in the outbox.
pub(crate) async fn published_events(server: &inkstone_testkit::Inkstone) -> HashMap<i64, usize> {
    let store = crate::open_store(server);
    let ctx = crate::context();
    let mut events = HashMap::new();
    let mut after = 0;
    loop {
        let batch = store.changes_after(&ctx, after, 500).await.unwrap();
        let Some(last) = batch.last() else { return events };
        after = last.change_seq;
        for event in batch.iter().filter(|event| event.kind == "post.published") {
            for entity in &event.entities {
                if let inkstone_core::events::Entity::Post(id) = entity {
                    *events.entry(id.0).or_insert(0) += 1;
                }
            }
        }
    }
}
