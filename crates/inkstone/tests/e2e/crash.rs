//! Battery row F1: `kill -9`, again and again. Whatever was acknowledged is there afterwards, in
//! one copy, with one event; whatever was not known to be acknowledged is there once or not at
//! all, and asking again with the same key settles it. Row F2: if it is there, the answer is the one
//! that was stored with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inkstone_core::events::ChangeFeed as _;
use inkstone_testkit::{Answer, Client, Fault, Proxy, Toward, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::start;

/// After how many acknowledgements a round ends with a kill: from one to so many, in turn.
const MOMENTS: usize = 23;
const WRITERS: usize = 8;

fn title(number: usize) -> String {
    format!("Written {number}")
}

/// Posts number `number` under its own key; `None` when no answer came.
async fn write(author: &Client, number: usize) -> Option<Answer> {
    let body = json!({"title": title(number), "content": {"markdown": "Must not be lost."}, "status": "published"});
    let sent = author
        .request(Method::POST, "/api/v2/posts")
        .header("idempotency-key", &format!("write-{number}"))
        .json(&body)
        .try_send()
        .await;
    let answer = sent.ok()?;
    match answer.status.as_u16() {
        201 => Some(answer),
        409 | 503 => None,
        other => panic!("{other}: {}", answer.text()),
    }
}

fn id_in(answer: &Answer) -> i64 {
    answer.json()["id"].as_i64().unwrap()
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

/// The ids of all posts that there are, by title: none is there twice.
async fn posts_there(client: &Client) -> HashMap<String, i64> {
    let mut found: HashMap<String, i64> = HashMap::new();
    let mut path = "/api/v2/posts?limit=100".to_owned();
    loop {
        let page: Value = client.get(&path).await.expect(200).json();
        for row in page["data"].as_array().unwrap() {
            let twice = found.insert(row["title"].as_str().unwrap().to_owned(), row["id"].as_i64().unwrap());
            assert!(twice.is_none(), "nothing is there twice: {row}");
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v2/posts?limit=100&cursor={next}"),
            None => return found,
        }
    }
}

/// Asks again for what nobody knows about; the id of each, and how many of them had been written before.
async fn settle(author: &Client, unknown: Vec<usize>) -> (HashMap<usize, i64>, usize) {
    let there = posts_there(author).await;
    let (mut settled, mut stored) = (HashMap::new(), 0);
    for number in unknown {
        let answer = write(author, number).await.expect("asking again settles it");
        settled.insert(number, id_in(&answer));
        let Some(id) = there.get(&title(number)) else { continue };
        let post = author.get(&format!("/api/v2/posts/{id}")).await.expect(200);
        assert!(is_replayed(&answer), "write {number} was done before: its answer was stored with it");
        assert_eq!((id_in(&answer), answer.etag()), (*id, post.etag()), "the answer to write {number}");
        stored += 1;
    }
    (settled, stored)
}

/// How many of the writes whose answers the kills kept back had been done.
async fn kill_again_and_again(kills: usize) -> usize {
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
                        let outcome = write(&author, number).await.as_ref().map(id_in);
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
    let (settled, stored) = settle(&author, unknown).await;
    for (number, id) in settled {
        assert!(acknowledged.insert(number, id).is_none());
    }
    println!(
        "FIGURES {kills} kills of a server, {} writes acknowledged, {stored} of them by an answer that was stored",
        acknowledged.len()
    );

    let found = posts_there(&server.client()).await;
    let counted = server.client().get("/api/v2/posts?limit=1&count=exact").await.expect(200).json();
    assert_eq!(counted["total"].as_u64(), Some(acknowledged.len() as u64), "as many are there as were acknowledged");
    assert_eq!(found.len(), acknowledged.len());
    for (number, id) in &acknowledged {
        assert_eq!(found.get(&title(*number)), Some(id), "write {number} was acknowledged");
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
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    kill_again_and_again(2 * MOMENTS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: ./battery --long runs it"]
async fn long_a_thousand_kills_lose_nothing() {
    let stored = kill_again_and_again(1000).await;
    assert!(stored > 0, "of a thousand kills some came between a commit and its answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_before_a_kill_but_not_answered_is_answered_as_it_was_written() {
    let mut server = start();
    server.add_user("ada", "author");
    let token = server.token("ada", "read posts:write");
    let proxy = Proxy::start(server.base().trim_start_matches("http://").parse().unwrap());
    proxy.set(Fault::Swallow(Toward::Client));
    let author = Client::new(&format!("http://{}", proxy.address())).with_token(&token);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let author = author.clone();
            tokio::spawn(async move { write(&author, number).await })
        })
        .collect();
    let reader = server.client();
    until("all of them are written", async || posts_there(&reader).await.len() == WRITERS).await;
    server.kill();
    drop(proxy);
    for writer in writers {
        assert!(writer.await.unwrap().is_none(), "no answer has arrived");
    }
    server.restart();

    let author = server.client().with_token(&token);
    let there = posts_there(&author).await;
    for number in 0..WRITERS {
        let path = format!("/api/v2/posts/{}", there[&title(number)]);
        let written = author.get(&path).await.expect(200);
        let change = json!({"title": format!("Changed {number}")});
        let changed = author.patch(&path, written.etag(), &change).await.expect(200);
        for _ in 0..2 {
            let answer = write(&author, number).await.expect("asking again settles it");
            assert!(is_replayed(&answer));
            assert_eq!((answer.etag(), answer.json()), (written.etag(), written.json()), "not as it is by now");
        }
        assert_eq!(author.get(&path).await.expect(200).etag(), changed.etag(), "asking again changes nothing");
    }
    assert_eq!(posts_there(&author).await.len(), WRITERS);
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
