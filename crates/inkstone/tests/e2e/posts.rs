//! Writing, reading, listing and deleting posts, as clients see it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inkstone_testkit::{Inkstone, Options};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{BINARY, start};

/// A post of v2 as tests make it.
pub(crate) fn post(title: &str) -> Value {
    json!({"title": title, "content": {"markdown": format!("Some *words* on {title}.")}, "status": "published"})
}

#[tokio::test]
async fn a_post_is_written_read_changed_and_deleted() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let anonymous = server.client();

    let made = author.post("/api/v2/posts", &post("Ink on stone")).await.expect(201);
    let id = made.json()["id"].as_i64().unwrap();
    let path = format!("/api/v2/posts/{id}");
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(made.json()["content"]["html"], "<p>Some <em>words</em> on Ink on stone.</p>\n");
    assert_eq!(made.json()["slug"], "ink-on-stone");
    assert_eq!(made.json()["author"]["handle"], "ada");

    let read = anonymous.get(&path).await.expect(200);
    assert_eq!(read.json(), made.json(), "the answer to the write is the representation");
    assert_eq!(read.etag(), made.etag());
    let unchanged = anonymous.request(Method::GET, &path).header("if-none-match", read.etag()).send().await.expect(304);
    assert_eq!(unchanged.etag(), read.etag());
    let head = anonymous.request(Method::HEAD, &path).send().await.expect(200);
    assert_eq!(head.header("content-length"), Some(read.body.len().to_string().as_str()));

    let refused = author.request(Method::PATCH, &path).json(&json!({"title": "No"})).send().await.expect(428);
    assert_eq!(refused.problem(), "precondition-required");
    let changed =
        author.patch(&path, made.etag(), &json!({"title": "Ink, revised", "slug": "ink-revised"})).await.expect(200);
    assert_eq!(changed.json()["revision"], 2);
    assert_ne!(changed.etag(), made.etag());
    let stale = author.patch(&path, made.etag(), &json!({"title": "Lost"})).await.expect(412);
    assert_eq!(stale.problem(), "precondition-failed");
    assert_eq!(anonymous.get(&path).await.expect(200).json()["title"], "Ink, revised");

    let old = anonymous.get("/api/v2/posts/by-slug/ink-on-stone").await.expect(308);
    assert_eq!(old.header("location"), Some("/api/v2/posts/by-slug/ink-revised"));
    anonymous.get("/api/v2/posts/by-slug/ink-revised").await.expect(200);

    author.delete(&path, changed.etag()).await.expect(204);
    assert_eq!(anonymous.get(&path).await.expect(410).problem(), "gone");
    anonymous.get("/api/v2/posts/by-slug/ink-revised").await.expect(410);
    let recent = anonymous.get("/api/v2/posts").await.expect(200);
    assert_eq!(recent.json()["data"], json!([]));
}

#[tokio::test]
async fn every_fault_is_named_at_once() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let body = json!({
        "title": "x".repeat(256),
        "content": {"markdown": "a\u{0}b", "html": "<p>"},
        "slug": "Not A Slug",
        "status": "hidden",
        "tags": ["fine", "", 7],
        "authors": [0],
        "published_at": "yesterday",
        "colour": "red",
    });
    let refused = author.post("/api/v2/posts", &body).await.expect(422);
    let mut faults = refused.faults();
    faults.sort();
    assert_eq!(
        faults,
        [
            "/authors/0 out-of-range",
            "/colour unknown-field",
            "/content/html unknown-field",
            "/content/markdown bad-character",
            "/published_at bad-format",
            "/slug bad-format",
            "/status not-allowed",
            "/tags/1 too-short",
            "/tags/2 wrong-type",
            "/title too-long",
        ]
    );
    let refused = author.post("/api/v2/posts", &json!({})).await.expect(422);
    assert_eq!(refused.faults(), ["/title required", "/content required"]);
}

#[tokio::test]
async fn drafts_are_nobody_elses_business() {
    let server = start();
    let (ada, eve, editor) = (
        server.sign_up("ada", "author").await,
        server.sign_up("eve", "author").await,
        server.sign_up("ed", "editor").await,
    );
    let mut draft = post("Secret plans");
    draft["status"] = json!("draft");
    let path = ada.post("/api/v2/posts", &draft).await.expect(201).header("location").unwrap().to_owned();

    ada.get(&path).await.expect(200);
    editor.get(&path).await.expect(200);
    eve.get(&path).await.expect(404);
    server.client().get(&path).await.expect(404);
    server.client().get("/api/v2/posts/by-slug/secret-plans").await.expect(404);
    assert_eq!(server.client().get("/api/v2/posts").await.json()["data"], json!([]));
    server.client().get("/api/v2/posts?status=draft").await.expect(401);
    assert_eq!(eve.get("/api/v2/posts?status=draft").await.expect(200).json()["data"], json!([]));
    assert_eq!(ada.get("/api/v2/posts?status=draft").await.expect(200).json()["data"][0]["title"], "Secret plans");
    assert_eq!(editor.get("/api/v2/posts?status=draft").await.expect(200).json()["data"][0]["title"], "Secret plans");

    let tag = ada.get(&path).await.etag().to_owned();
    let published = ada.patch(&path, &tag, &json!({"status": "published"})).await.expect(200);
    server.client().get(&path).await.expect(200);
    ada.patch(&path, published.etag(), &json!({"status": "draft"})).await.expect(200);
    server.client().get(&path).await.expect(404);
    assert_eq!(server.client().get("/api/v2/posts").await.json()["data"], json!([]));
}

#[tokio::test]
async fn pages_by_cursor_show_every_post_once_in_both_directions() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    for number in 0..25 {
        let mut post = post(&format!("Number {number}"));
        // Times that repeat: the id breaks the tie.
        post["published_at"] = json!(format!("2020-01-0{}T00:00:00Z", 1 + number % 5));
        post["tags"] = json!([if number % 2 == 0 { "Even" } else { "Odd" }, "All"]);
        author.post("/api/v2/posts", &post).await.expect(201);
    }
    let anonymous = server.client();
    let titles = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect()
    };
    for query in ["", "&sort=title", "&sort=-created_at", "&tag=all", "&sort=published_at"] {
        let whole = titles(&anonymous.get(&format!("/api/v2/posts?limit=100{query}")).await.expect(200).json());
        assert_eq!(whole.len(), 25, "{query}");
        let (mut seen, mut path, mut pages) = (Vec::new(), format!("/api/v2/posts?limit=7{query}"), 0);
        let last = loop {
            let page = anonymous.get(&path).await.expect(200);
            seen.extend(titles(&page.json()));
            pages += 1;
            match link(page.header("link").unwrap(), "next") {
                Some(next) => path = next,
                None => break page,
            }
        };
        assert_eq!((seen, pages), (whole.clone(), 4), "{query}");
        assert!(last.json()["next"].is_null());
        let mut back = titles(&last.json());
        let mut path = link(last.header("link").unwrap(), "prev");
        while let Some(at) = path {
            let page = anonymous.get(&at).await.expect(200);
            back.splice(0..0, titles(&page.json()));
            path = link(page.header("link").unwrap(), "prev");
        }
        assert_eq!(back, whole, "backwards {query}");
    }
    let both = anonymous.get("/api/v2/posts?tag=even&tag=all&limit=100&count=exact").await.expect(200).json();
    assert_eq!((both["data"].as_array().unwrap().len(), &both["total"]), (13, &json!(13)));
    assert_eq!(anonymous.get("/api/v2/posts?tag=even&tag=odd").await.json()["data"], json!([]));

    let cursor = anonymous.get("/api/v2/posts?limit=3").await.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(
        anonymous.get(&format!("/api/v2/posts?limit=3&sort=title&cursor={cursor}")).await.expect(400).problem(),
        "bad-cursor"
    );
    // The same place in all but its last digit, which would be as good a cursor if it were not sealed.
    let mut bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
    let sealed = bytes.len() - 16;
    let digit = bytes[..sealed].iter().rposition(|byte| *byte == b']').unwrap() - 1;
    assert!(bytes[digit].is_ascii_digit());
    bytes[digit] ^= 1;
    let other = URL_SAFE_NO_PAD.encode(&bytes);
    assert_eq!(
        anonymous.get(&format!("/api/v2/posts?limit=3&cursor={other}")).await.expect(400).problem(),
        "bad-cursor"
    );
}

/// The target of a relation in a `Link` header.
pub(crate) fn link(header: &str, rel: &str) -> Option<String> {
    header
        .split(", ")
        .find(|link| link.ends_with(&format!("rel=\"{rel}\"")))
        .map(|link| link.trim_start_matches('<').split('>').next().unwrap().to_owned())
}

#[tokio::test]
async fn fields_and_include_narrow_and_embed() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let id = author.post("/api/v2/posts", &post("Narrow")).await.expect(201).json()["id"].as_i64().unwrap();
    let anonymous = server.client();
    let narrow = anonymous.get(&format!("/api/v2/posts/{id}?fields=title,id")).await.expect(200).json();
    assert_eq!(narrow, json!({"id": id, "title": "Narrow"}));
    let listed = anonymous.get("/api/v2/posts").await.json()["data"][0].clone();
    assert!(listed.get("content").is_none() && listed.get("author").is_some());
    let listed = anonymous.get("/api/v2/posts?include=content").await.json()["data"][0].clone();
    assert!(listed.get("content").is_some() && listed.get("author").is_none() && listed.get("tags").is_none());
    for bad in [
        "fields=nothing",
        "include=everything",
        "limit=0",
        "limit=101",
        "limit=ten",
        "limit=1&limit=2",
        "page=1",
        "sort=words",
        "tag=No%20Slug",
        "published_after=now",
        "count=about",
    ] {
        assert_eq!(anonymous.get(&format!("/api/v2/posts?{bad}")).await.expect(400).problem(), "bad-query", "{bad}");
    }
    for bad in ["page=0", "per_page=101", "cursor=x", "page=1000000&per_page=100"] {
        assert_eq!(anonymous.get(&format!("/api/v1/posts?{bad}")).await.expect(400).problem(), "bad-query", "{bad}");
    }
}

#[tokio::test]
async fn page_numbers_of_v1_end_at_the_millionth_post() {
    let server = start();
    let anonymous = server.client();
    let last = anonymous.get("/api/v1/posts?page=10000&per_page=100").await.expect(200).json();
    assert_eq!((&last["data"], &last["page"]), (&json!([]), &json!(10_000)));
    let beyond = anonymous.get("/api/v1/posts?page=10001&per_page=100").await.expect(400);
    assert_eq!((beyond.problem().as_str(), beyond.faults()), ("bad-query", vec!["page out-of-range".to_owned()]));
    anonymous.get("/api/v1/posts?page=10001&per_page=1").await.expect(400);
}

#[tokio::test]
async fn old_addresses_lead_where_the_operator_says() {
    let env = vec![("INKSTONE__HTTP__POST_URL".to_owned(), "https://blog.example/{id}/{slug}".to_owned())];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let folder = tempfile::tempdir().unwrap();
    let text = "---\ntitle: Ink on stone\ndate: 2014-12-12\naliases: [/2014/12/12/ink.html]\n---\nText\n";
    std::fs::write(folder.path().join("ink-on-stone.md"), text).unwrap();
    let imported = server.cli(&["import", "markdown", folder.path().to_str().unwrap()]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let moved = server.client().get("/2014/12/12/ink.html").await.expect(308);
    assert_eq!(moved.header("location"), Some("https://blog.example/1/ink-on-stone"));
}

#[tokio::test]
async fn both_versions_show_the_same_posts() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let flat = json!({"title": "Flat", "content": "Some *words*.", "status": "published", "tags": ["Writing"]});
    let made = author.post("/api/v1/posts", &flat).await.expect(201);
    let id = made.json()["id"].as_i64().unwrap();
    let rich = server.client().get(&format!("/api/v2/posts/{id}")).await.expect(200).json();
    assert_eq!(
        (&rich["title"], &rich["content"]["markdown"], &rich["tags"][0]["slug"]),
        (&json!("Flat"), &json!("Some *words*."), &json!("writing"))
    );
    // v1 honours If-Match when it is sent, with a tag from either version.
    let path = format!("/api/v1/posts/{id}");
    let put = |title: &str| json!({"title": title, "content": "New.", "status": "published"});
    author.request(Method::PUT, &path).json(&put("Without")).send().await.expect(200);
    author.request(Method::PUT, &path).header("if-match", made.etag()).json(&put("Stale")).send().await.expect(412);
    let tag = server.client().get(&format!("/api/v2/posts/{id}")).await.etag().to_owned();
    author.request(Method::PUT, &path).header("if-match", &tag).json(&put("With")).send().await.expect(200);
    let page = server.client().get("/api/v1/posts?per_page=5").await.expect(200).json();
    assert_eq!(
        (&page["total"], &page["page"], &page["per_page"], &page["data"][0]["title"]),
        (&json!(1), &json!(1), &json!(5), &json!("With"))
    );
}

#[tokio::test]
async fn tags_are_made_renamed_and_deleted() {
    let server = start();
    let editor = server.sign_up("ed", "editor").await;
    let mut tagged = post("Tagged");
    tagged["tags"] = json!(["First", "Second"]);
    let path = editor.post("/api/v2/posts", &tagged).await.expect(201).header("location").unwrap().to_owned();
    let anonymous = server.client();
    assert_eq!(anonymous.get(&path).await.json()["tags"][0]["name"], "First");
    let tag = anonymous.get("/api/v2/tags/by-slug/first").await.expect(200);
    let tag_path = tag.json()["links"]["self"].as_str().unwrap().to_owned();
    let renamed = editor.patch(&tag_path, tag.etag(), &json!({"name": "Premier", "slug": "premier"})).await.expect(200);
    assert_eq!(anonymous.get(&path).await.json()["tags"][0]["name"], "Premier", "a rename shows at once");
    editor.patch(&tag_path, renamed.etag(), &json!({"slug": "second"})).await.expect(422);
    editor.delete(&tag_path, renamed.etag()).await.expect(204);
    assert_eq!(anonymous.get(&path).await.json()["tags"].as_array().unwrap().len(), 1);
    anonymous.get(&tag_path).await.expect(404);
    let slugs =
        |page: Value| page["data"].as_array().unwrap().iter().map(|tag| tag["slug"].clone()).collect::<Vec<_>>();
    assert_eq!(slugs(anonymous.get("/api/v1/tags").await.expect(200).json()), [json!("second")]);
}
