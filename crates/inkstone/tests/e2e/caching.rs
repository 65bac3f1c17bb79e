//! The cache tells the truth, and never a moment longer than the next write.

use inkstone_testkit::until;
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
    let again = author.get(&path).await.expect(200);
    assert_eq!(again.header("cache-control"), Some("private, no-store"), "what is stored is for nobody in particular");
    assert_eq!(again.header("cache-status"), own.header("cache-status"), "and is not asked for by somebody");
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
    // The relay follows the outbox.
    until("the profile has left the cache", async || anonymous.get(profile).await.status == 404).await;
    author.get("/api/v2/me").await.expect(401);
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

/// Everything that anybody may ask for of the blog of the next test, in the words of both versions.
fn questions() -> Vec<String> {
    let mut questions = Vec::new();
    for version in ["v1", "v2"] {
        let narrowed = [
            "",
            "tag=rust",
            "tag=go",
            "tag=rust&tag=go",
            "tag=nothing",
            "author=1",
            "author=2",
            "tag=rust&author=2",
            "tag=go&author=1",
            "sort=title",
            "sort=-updated_at",
            "tag=go&sort=created_at",
            "q=new",
            "q=words+three",
            "q=third&sort=title",
            "q=words&tag=go",
            "q=words&author=2",
        ];
        questions.extend(narrowed.map(|query| format!("/api/{version}/posts?{query}")));
        questions.extend((1..=4).map(|id| format!("/api/{version}/posts/{id}")));
        questions.extend(["tags", "users", "users/1", "users/2"].map(|path| format!("/api/{version}/{path}")));
    }
    questions.extend(["per_page=1&page=2", "tag=go&per_page=1&page=2"].map(|query| format!("/api/v1/posts?{query}")));
    questions.extend(["limit=1", "count=exact&tag=go"].map(|query| format!("/api/v2/posts?{query}")));
    questions.extend(["one", "two", "first", "three", "four"].map(|slug| format!("/api/v2/posts/by-slug/{slug}")));
    questions.extend(["rust", "go", "golang"].map(|slug| format!("/api/v2/tags/by-slug/{slug}")));
    questions.extend(["tags/1", "tags/2", "users/by-handle/ada"].map(|path| format!("/api/v2/{path}")));
    questions
}

/// A reader sees what everybody sees, and past the cache.
#[tokio::test]
async fn whatever_changes_the_cache_answers_as_the_store_would() {
    let server = start();
    let editor = server.sign_up("ada", "editor").await;
    server.sign_up("bob", "author").await;
    let reader = server.sign_up("cyd", "reader").await;
    let anonymous = server.client();
    let tagged = |title: &str, tags: &[&str]| {
        let mut post = post(title);
        post["tags"] = json!(tags);
        post
    };
    let post_of = |id: u32| format!("/api/v2/posts/{id}");
    let tag_of = |id: u32| format!("/api/v2/tags/{id}");
    editor.post("/api/v2/posts", &tagged("One", &["Rust"])).await.expect(201);
    editor.post("/api/v2/posts", &tagged("Two", &["Rust"])).await.expect(201);
    editor.post("/api/v2/tags", &json!({"name": "Go"})).await.expect(201);

    let changes = [
        ("a tag that nothing had", Method::PATCH, post_of(2), json!({"tags": ["Rust", "Go"]})),
        ("a second post for it", Method::PATCH, post_of(1), json!({"tags": ["Go"]})),
        ("a second author", Method::PATCH, post_of(2), json!({"authors": [1, 2]})),
        ("the tag of another list", Method::PATCH, post_of(1), json!({"tags": ["Rust"]})),
        ("another address", Method::PATCH, post_of(1), json!({"slug": "first"})),
        ("a draft", Method::POST, "/api/v2/posts".to_owned(), json!({"title": "Three", "content": {"markdown": "3"}})),
        ("a draft's title", Method::PATCH, post_of(3), json!({"title": "The third"})),
        ("a draft becomes public", Method::PATCH, post_of(3), json!({"status": "published", "tags": ["Go"]})),
        (
            "an address that redirected",
            Method::POST,
            "/api/v2/posts".to_owned(),
            json!({
                "title": "Again", "slug": "one", "content": {"markdown": "1"}, "status": "published"
            }),
        ),
        ("the heir moves on", Method::PATCH, post_of(4), json!({"slug": "four"})),
        ("its address goes to another by a change", Method::PATCH, post_of(1), json!({"slug": "one"})),
        (
            "a draft that would like one that redirects",
            Method::POST,
            "/api/v2/posts".to_owned(),
            json!({"title": "Four", "slug": "four-not", "content": {"markdown": "4"}}),
        ),
        ("and one that is free", Method::PATCH, post_of(5), json!({"slug": "five"})),
        ("a text", Method::PATCH, post_of(2), json!({"title": "A new title", "content": {"markdown": "New."}})),
        ("another date", Method::PATCH, post_of(4), json!({"published_at": "2001-02-03T04:05:06Z"})),
        ("a profile", Method::PATCH, "/api/v2/me".to_owned(), json!({"display_name": "Ada L.", "bio": "Engines."})),
        ("a tag's name", Method::PATCH, tag_of(2), json!({"name": "Golang"})),
        ("a tag's description", Method::PATCH, tag_of(1), json!({"description": "Iron oxide."})),
        ("no longer public", Method::PATCH, post_of(2), json!({"status": "draft"})),
        ("public again", Method::PATCH, post_of(2), json!({"status": "published"})),
        ("a tag goes", Method::DELETE, tag_of(2), json!(null)),
        ("a post goes", Method::DELETE, post_of(2), json!(null)),
    ];
    for (what, method, path, body) in changes {
        for question in questions() {
            anonymous.get(&question).await;
        }
        let request = editor.request(method.clone(), &path);
        let request = match method {
            Method::POST => request,
            _ => request.header("if-match", "*"),
        };
        let request = if body.is_null() { request } else { request.json(&body) };
        let written = request.send().await;
        assert!(written.status.is_success(), "{what}: {written:?}");
        for question in questions() {
            let (cached, true_now) = (anonymous.get(&question).await, reader.get(&question).await);
            let seen = |answer: &inkstone_testkit::Answer| {
                (answer.status, answer.header("location").map(str::to_owned), answer.header("link").map(str::to_owned))
            };
            assert_eq!(seen(&cached), seen(&true_now), "{question} after {what}");
            if true_now.status.is_success() {
                assert_eq!(cached.text(), true_now.text(), "{question} after {what}");
            }
        }
    }
}

#[tokio::test]
async fn a_renamed_tag_is_never_hidden_by_a_date() {
    let server = start();
    let editor = server.sign_up("ed", "editor").await;
    let mut tagged = post("Dated");
    tagged["tags"] = json!(["Before"]);
    let path = editor.post("/api/v2/posts", &tagged).await.expect(201).header("location").unwrap().to_owned();
    let tag = server.client().get("/api/v2/tags/by-slug/before").await.expect(200);
    let tag_path = tag.json()["links"]["self"].as_str().unwrap().to_owned();
    editor.patch(&tag_path, tag.etag(), &json!({"name": "After"})).await.expect(200);
    let later = "Fri, 01 Jan 2100 00:00:00 GMT";
    let again = server.client().request(Method::GET, &path).header("if-modified-since", later).send().await.expect(200);
    assert_eq!(again.json()["tags"][0]["name"], "After");
}
