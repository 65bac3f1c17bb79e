//! Many at once: nothing is lost, doubled or overwritten unseen.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::posts::post;
use crate::start;

#[tokio::test(flavor = "multi_thread")]
async fn of_64_writers_each_success_is_one_version() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let made = author.post("/api/v2/posts", &post("Contended")).await.expect(201);
    let path = made.header("location").unwrap().to_owned();
    let revision = made.json()["revision"].as_i64().unwrap();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let (author, path, mut tag) = (author.clone(), path.clone(), made.etag().to_owned());
            tokio::spawn(async move {
                let mut won = Vec::new();
                for round in 0..5 {
                    let answer =
                        author.patch(&path, &tag, &json!({"title": format!("Writer {writer} round {round}")})).await;
                    match answer.status.as_u16() {
                        200 => won.push(tag),
                        412 => {}
                        other => panic!("{other}: {}", answer.text()),
                    }
                    tag = author.get(&path).await.expect(200).etag().to_owned();
                }
                won
            })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        won.extend(writer.await.unwrap());
    }
    let last = author.get(&path).await.json()["revision"].as_i64().unwrap();
    assert_eq!(
        last - revision,
        i64::try_from(won.len()).unwrap(),
        "every 200 is one revision, every other answer none"
    );
    let based_on: HashSet<_> = won.iter().collect();
    assert_eq!(based_on.len(), won.len(), "nobody wrote over a version that they had not seen");
    assert!(based_on.contains(&made.etag().to_owned()), "of all who began with the first version, one won");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_makes_one_post() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let senders: Vec<_> = (0..100)
        .map(|_| {
            let author = author.clone();
            tokio::spawn(async move {
                loop {
                    let answer = author
                        .request(Method::POST, "/api/v2/posts")
                        .header("idempotency-key", "\"the-one\"")
                        .json(&post("Only once"))
                        .send()
                        .await;
                    match answer.status.as_u16() {
                        201 => return (answer.header("idempotency-replayed").is_some(), answer.json()),
                        409 => assert_eq!(answer.problem(), "idempotency-in-progress"),
                        other => panic!("{other}: {}", answer.text()),
                    }
                }
            })
        })
        .collect();
    let mut answers: Vec<(bool, Value)> = Vec::new();
    for sender in senders {
        answers.push(sender.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|(replayed, _)| !replayed).count(), 1, "one was first, the rest are repetitions");
    assert!(answers.iter().all(|(_, body)| *body == answers[0].1));
    assert_eq!(server.client().get("/api/v2/posts?count=exact").await.json()["total"], 1);

    let other = author
        .request(Method::POST, "/api/v2/posts")
        .header("idempotency-key", "\"the-one\"")
        .json(&post("Another"))
        .send()
        .await
        .expect(422);
    assert_eq!(other.problem(), "idempotency-key-reused");
    let eve = server.sign_up("eve", "author").await;
    let same_key = eve
        .request(Method::POST, "/api/v2/posts")
        .header("idempotency-key", "\"the-one\"")
        .json(&post("Only once"))
        .send()
        .await
        .expect(201);
    assert_eq!(same_key.header("idempotency-replayed"), None, "a key is its owner's alone");
    assert_eq!(same_key.json()["author"]["handle"], "eve");
    author
        .request(Method::POST, "/api/v2/posts")
        .header("idempotency-key", "\"unclosed")
        .json(&post("Bad"))
        .send()
        .await
        .expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slug_has_one_owner() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let mut wanted = post("Wanted");
    wanted["slug"] = json!("wanted");
    let senders: Vec<_> = (0..64)
        .map(|_| {
            let (author, wanted) = (author.clone(), wanted.clone());
            tokio::spawn(async move { author.post("/api/v2/posts", &wanted).await })
        })
        .collect();
    let mut made = 0;
    for sender in senders {
        let answer = sender.await.unwrap();
        match answer.status.as_u16() {
            201 => made += 1,
            422 => assert_eq!(answer.faults(), ["/slug taken"]),
            other => panic!("{other}"),
        }
    }
    assert_eq!(made, 1);
    // Without a slug asked for, everybody gets one.
    let senders: Vec<_> = (0..32)
        .map(|_| {
            let author = author.clone();
            tokio::spawn(async move {
                author.post("/api/v2/posts", &post("Wanted")).await.expect(201).json()["slug"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
        })
        .collect();
    let mut slugs = HashSet::new();
    for sender in senders {
        assert!(slugs.insert(sender.await.unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_between_pages_neither_hide_nor_repeat_a_post() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    for number in 0..60 {
        author.post("/api/v2/posts", &post(&format!("Early {number}"))).await.expect(201);
    }
    let early: Vec<i64> = ids(&author.get("/api/v2/posts?limit=100").await.json());
    let writer = {
        let author = author.clone();
        tokio::spawn(async move {
            for number in 0..60 {
                author.post("/api/v2/posts", &post(&format!("Late {number}"))).await.expect(201);
            }
        })
    };
    let (mut seen, mut path) = (Vec::new(), "/api/v2/posts?limit=4".to_owned());
    loop {
        let page = server.client().get(&path).await.expect(200);
        // One is sure to come in between, however slow the others are.
        author.post("/api/v2/posts", &post(&format!("Between {}", seen.len()))).await.expect(201);
        seen.extend(ids(&page.json()));
        match page.json()["next"].as_str() {
            Some(next) => path = format!("/api/v2/posts?limit=4&cursor={next}"),
            None => break,
        }
    }
    writer.await.unwrap();
    let unique: HashSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing twice");
    assert!(early.iter().all(|id| unique.contains(id)), "nothing that was there is missing");
}

fn ids(page: &Value) -> Vec<i64> {
    page["data"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}
