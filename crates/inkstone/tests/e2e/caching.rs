//! The cache tells the truth, and never a moment longer than the next write.

use reqwest::Method;
use serde_json::json;

use crate::posts::post;
use crate::start;

#[tokio::test]
async fn hits_say_so_and_a_write_ends_them_at_once() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let anonymous = server.client();
    let made = author.post("/api/v2/posts", &post("Fresh")).await.expect(201);
    let path = made.header("location").unwrap().to_owned();

    let miss = anonymous.get(&path).await.expect(200);
    assert_eq!(miss.header("cache-status"), Some("inkstone; fwd=uri-miss; stored"));
    let hit = anonymous.get(&path).await.expect(200);
    assert!(hit.header("cache-status").unwrap().starts_with("inkstone; hit; ttl="), "{hit:?}");
    assert_eq!(hit.body, miss.body);
    assert!(hit.header("age").is_some());
    assert!(hit.header("cache-control").unwrap().contains("s-maxage=300"));
    assert!(hit.header("cache-tag").unwrap().contains(&format!("post:{}", made.json()["id"])));

    let listed = anonymous.get("/api/v2/posts").await.expect(200);
    assert_eq!(listed.json()["data"][0]["title"], "Fresh");
    let mut tag = made.etag().to_owned();
    for round in 0..20 {
        let title = format!("Round {round}");
        tag = author.patch(&path, &tag, &json!({"title": title})).await.expect(200).etag().to_owned();
        assert_eq!(anonymous.get(&path).await.json()["title"], title, "no stale read after an acknowledged write");
        assert_eq!(anonymous.get("/api/v2/posts").await.json()["data"][0]["title"], title);
        assert_eq!(anonymous.get("/api/v1/posts").await.json()["data"][0]["title"], title);
    }
}

#[tokio::test]
async fn answers_to_somebody_are_not_shared() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let path = author.post("/api/v2/posts", &post("Mine")).await.expect(201).header("location").unwrap().to_owned();
    let own = author.get(&path).await.expect(200);
    assert_eq!(own.header("cache-control"), Some("private, no-store"));
    assert_eq!(
        server.client().get(&path).await.header("cache-status"),
        Some("inkstone; fwd=uri-miss; stored"),
        "reading it privately stored nothing"
    );
}

#[tokio::test]
async fn the_same_question_in_other_words_is_the_same_entry() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    author.post("/api/v2/posts", &post("One")).await.expect(201);
    let anonymous = server.client();
    anonymous.get("/api/v2/posts?limit=5&sort=-published_at").await.expect(200);
    let again = anonymous.get("/api/v2/posts?sort=-published_at&limit=5").await.expect(200);
    assert!(again.header("cache-status").unwrap().starts_with("inkstone; hit"), "{again:?}");
}

#[tokio::test]
async fn a_change_by_another_process_reaches_the_cache() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    author.post("/api/v2/posts", &post("By Ada")).await.expect(201);
    let anonymous = server.client();
    let profile = "/api/v2/users/by-handle/ada";
    anonymous.get(profile).await.expect(200);
    let output = server.cli(&["user", "disable", "ada"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The relay follows the outbox; wait for what it does, with a generous bound.
    for _ in 0..200 {
        if anonymous.get(profile).await.status == 404 {
            author.get("/api/v2/me").await.expect(401);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the profile of a disabled person is still served from the cache");
}

#[tokio::test]
async fn compressed_answers_hold_the_same_and_have_tags_of_their_own() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let mut long = post("Long");
    long["content"]["markdown"] = json!("Words that last. ".repeat(500));
    let path = author.post("/api/v2/posts", &long).await.expect(201).header("location").unwrap().to_owned();
    let plain = server.client().get(&path).await.expect(200);
    for coding in ["gzip", "br"] {
        let packed =
            server.client().request(Method::GET, &path).header("accept-encoding", coding).send().await.expect(200);
        assert_eq!(packed.header("content-encoding"), Some(coding));
        assert!(packed.body.len() < plain.body.len() / 2);
        assert_ne!(packed.etag(), plain.etag(), "a strong tag names the very bytes");
        let tag = packed.etag().to_owned();
        server
            .client()
            .request(Method::GET, &path)
            .header("accept-encoding", coding)
            .header("if-none-match", &tag)
            .send()
            .await
            .expect(304);
        author.patch(&path, &tag, &json!({"title": format!("Long {coding}")})).await.expect(200);
    }
}
