//! `?q=`: finding posts by what they say, as clients see it.

use inkstone_core::search::Search;
use inkstone_testkit::{Answer, Client};
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use crate::posts::{link, post};
use crate::start;

fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

async fn search(client: &Client, version: &str, text: &str) -> Answer {
    client.get(&format!("/api/{version}/posts?q={}", encode(text))).await
}

fn titles(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect()
}

/// The titles that both versions find, which are the same.
async fn found(client: &Client, text: &str) -> Vec<String> {
    let [one, two] = [search(client, "v1", text).await, search(client, "v2", text).await].map(|page| {
        let page = page.expect(200).json();
        titles(&page)
    });
    assert_eq!(one, two, "{text}");
    two
}

#[tokio::test]
async fn posts_are_found_by_their_words() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let anonymous = server.client();
    for (title, markdown, tag) in [
        ("Ink on stone", "Words that *last*.", "Stone"),
        ("Crème brûlée", "Ink, re**writ**ten for [C++](https://example.org/unseen).", "Food"),
        ("東京の天気", "今日は晴れ。", "Food"),
    ] {
        let body = json!({"title": title, "content": {"markdown": markdown}, "status": "published", "tags": [tag],
            "excerpt": format!("Summed up as {tag}")});
        author.post("/api/v2/posts", &body).await.expect(201);
    }
    for (text, expected) in [
        ("ink", vec!["Crème brûlée", "Ink on stone"]),
        ("INK last", vec!["Ink on stone"]),
        ("\"on stone\"", vec!["Ink on stone"]),
        ("\"stone on\"", vec![]),
        ("rewrit*", vec!["Crème brûlée"]),
        ("creme c++", vec!["Crème brûlée"]),
        ("unseen", vec![]),
        ("summed food", vec!["東京の天気", "Crème brûlée"]),
        ("東京", vec!["東京の天気"]),
        ("晴れ", vec!["東京の天気"]),
        ("?!", vec![]),
    ] {
        assert_eq!(found(&anonymous, text).await, expected, "{text}");
    }
    let narrowed = anonymous.get("/api/v2/posts?q=ink&tag=food&author=1&sort=title&count=exact").await.expect(200);
    assert_eq!((titles(&narrowed.json()), &narrowed.json()["total"]), (vec!["Crème brûlée".to_owned()], &json!(1)));
    let page = anonymous.get("/api/v1/posts?q=ink&per_page=1&page=2").await.expect(200);
    assert_eq!((titles(&page.json()), &page.json()["total"]), (vec!["Ink on stone".to_owned()], &json!(2)));
    assert_eq!(link(page.header("link").unwrap(), "prev").unwrap(), "/api/v1/posts?per_page=1&q=ink");
    for (query, code) in [("q=", "q too-short"), ("q=a&q=b", "q duplicate")] {
        for version in ["v1", "v2"] {
            let refused = anonymous.get(&format!("/api/{version}/posts?{query}")).await.expect(400);
            assert_eq!((refused.problem(), refused.faults()), ("bad-query".to_owned(), vec![code.to_owned()]));
        }
    }
}

#[tokio::test]
async fn pages_of_a_search_show_every_post_once_while_others_write() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let anonymous = server.client();
    for number in 0..12 {
        author.post("/api/v2/posts", &post(&format!("Granite {number}"))).await.expect(201);
        author.post("/api/v2/posts", &post(&format!("Chalk {number}"))).await.expect(201);
    }
    for sort in ["published_at", "-title", "created_at", "-updated_at"] {
        let (mut seen, mut path) = (Vec::new(), format!("/api/v2/posts?q=granit*&limit=5&sort={sort}"));
        loop {
            let page = anonymous.get(&path).await.expect(200);
            seen.extend(titles(&page.json()));
            let Some(next) = link(page.header("link").unwrap(), "next") else { break };
            author.post("/api/v2/posts", &post("Chalk again")).await.expect(201);
            path = next;
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 12, "{sort}: {seen:?}");
    }
    let cursor = anonymous.get("/api/v2/posts?q=granite&limit=3").await.json()["next"].as_str().unwrap().to_owned();
    anonymous.get(&format!("/api/v2/posts?q=GRANITE+granite&limit=3&cursor={cursor}")).await.expect(200);
    for query in ["q=chalk&", "q=granite*&", ""] {
        let refused = anonymous.get(&format!("/api/v2/posts?{query}limit=3&cursor={cursor}")).await.expect(400);
        assert_eq!(refused.problem(), "bad-cursor", "{query}");
    }
}

#[tokio::test]
async fn nobody_finds_what_they_may_not_see() {
    let server = start();
    let (ada, eve, editor) = (
        server.sign_up("ada", "author").await,
        server.sign_up("eve", "author").await,
        server.sign_up("ed", "editor").await,
    );
    let anonymous = server.client();
    let mut draft = post("Basalt");
    draft["status"] = json!("draft");
    let path = ada.post("/api/v2/posts", &draft).await.expect(201).header("location").unwrap().to_owned();
    for client in [&ada, &eve, &editor, &anonymous] {
        assert!(found(client, "basalt").await.is_empty(), "drafts are in no public list, whoever asks");
    }
    anonymous.get("/api/v2/posts?q=basalt&status=draft").await.expect(401);
    for (client, expected) in [(&ada, 1), (&editor, 1), (&eve, 0)] {
        let page = client.get("/api/v2/posts?q=basalt&status=draft&count=exact").await.expect(200);
        assert_eq!(page.json()["total"], expected);
    }
    let published = ada.patch(&path, "*", &json!({"status": "published"})).await.expect(200);
    assert_eq!(found(&anonymous, "basalt").await, ["Basalt"]);
    // Neither what it said before, nor, once it is deleted, anything.
    let changed = ada.patch(&path, published.etag(), &json!({"title": "Gneiss"})).await.expect(200);
    assert_eq!(found(&anonymous, "gneiss").await, ["Gneiss"]);
    let only_text = ada.patch(&path, changed.etag(), &json!({"content": {"markdown": "Schist"}})).await.expect(200);
    for client in [&anonymous, &ada] {
        assert!(found(client, "basalt").await.is_empty());
        assert_eq!(found(client, "schist").await, ["Gneiss"]);
    }
    ada.delete(&path, only_text.etag()).await.expect(204);
    for client in [&anonymous, &ada, &editor] {
        assert!(found(client, "schist").await.is_empty());
    }
}

#[tokio::test]
async fn a_search_is_cached_under_one_address_and_ends_with_any_edit() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    let anonymous = server.client();
    let path = author.post("/api/v2/posts", &post("Slate")).await.expect(201).header("location").unwrap().to_owned();
    let first = anonymous.get("/api/v2/posts?q=slate+roof").await.expect(200);
    assert!(titles(&first.json()).is_empty());
    for same in ["q=slate+roof", "q=ROOF++Sl%C3%A1te", "q=roof+slate+%21"] {
        let hit = anonymous.get(&format!("/api/v2/posts?{same}")).await.expect(200);
        assert!(hit.header("cache-status").unwrap().starts_with("inkstone; hit"), "{same}: {hit:?}");
        assert_eq!(hit.etag(), first.etag());
    }
    // No list that others read changes by this edit but by its words.
    author.patch(&path, "*", &json!({"content": {"markdown": "On a roof."}})).await.expect(200);
    assert_eq!(titles(&anonymous.get("/api/v2/posts?q=roof+slate").await.json()), ["Slate"]);
}

/// Whatever somebody types is answered, and never by a fault of ours: the client holds each answer
/// against the laws, and 500 breaks one.
async fn is_answered(client: &Client, text: &str) {
    for version in ["v1", "v2"] {
        let answer = search(client, version, text).await;
        let expected = if Search::try_from(text.to_owned()).is_ok() { 200 } else { 400 };
        let is_too_long = encode(text).len() > 8000 && answer.status == 414;
        assert!(answer.status == expected || is_too_long, "{text:?}: {} {}", answer.status, answer.text());
    }
}

#[tokio::test]
async fn whatever_is_searched_for_is_answered() {
    let server = start();
    let author = server.sign_up("ada", "author").await;
    author.post("/api/v2/posts", &post("near and or not a b c title")).await.expect(201);
    let anonymous = server.client();
    for text in [
        "\"",
        "\"\"\"",
        "'",
        "''",
        "*",
        "**",
        "a*",
        "*a",
        "^a",
        "+a",
        "-a",
        "a-",
        "(",
        "((",
        "a)",
        "NEAR(a b)",
        "NEAR(",
        "NEAR(a b, 5)",
        "AND",
        "a AND",
        "OR a",
        "NOT",
        "a NOT b",
        "title:a",
        "title : a",
        "{title body}: a",
        "a + b",
        "\"a\" * b",
        "a\\",
        "\\\"",
        "%",
        "_",
        ";",
        "--",
        "/*",
        "'; drop table posts; --",
        "' or 1=1",
        "\u{1}",
        "\u{7f}",
        "\u{202e}abc",
        "\u{2066}\u{2069}",
        "🦀",
        "🦀🦀 a*",
        "\u{10ffff}",
        "\u{fffe}",
        "𝔸",
        "𐐀",
        "שלום abc",
        "مرحبا*",
        "a\u{300}\u{301}",
        "\u{301}",
        "“a”",
        "null",
        "1e999",
        "\r\n",
        "\t",
        " ",
        "\u{3000}",
        "a\0b",
        "",
    ] {
        is_answered(&anonymous, text).await;
    }
    is_answered(&anonymous, &"a ".repeat(10_000)).await;
    is_answered(&anonymous, &"é".repeat(200)).await;
    is_answered(&anonymous, &"東".repeat(200)).await;
    is_answered(&anonymous, &"é".repeat(201)).await;
    is_answered(&anonymous, &"\"a\"*".repeat(50)).await;
    for query in ["q=%ff", "q=%", "q=%zz", "q=%00", "q=%ed%a0%80", "q[]=a", "Q=a"] {
        anonymous.get(&format!("/api/v2/posts?{query}")).await.expect(400);
    }
    assert_eq!(found(&anonymous, "ab* title:a").await, [""; 0], "what looks like a column is a phrase");
    assert_eq!(found(&anonymous, "\"not a\" AND OR title").await, ["near and or not a b c title"]);
}

#[test]
fn any_text_at_all_can_be_searched_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let server = start();
    let anonymous = server.client();
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let texts = "[a-c\"*(){}:^+\\-'\\\\ NEARDOT]{0,40}|\\PC{0,210}|(?s).{0,60}";
    runner
        .run(&texts, |text| {
            runtime.block_on(is_answered(&anonymous, &text));
            Ok(())
        })
        .unwrap();
}

/// The Rust blog: every tenth post is found by its title as a phrase, and by its words in any order.
#[tokio::test]
async fn a_real_blog_is_found_by_its_titles() {
    let server = start();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/rust-blog/content");
    assert!(std::path::Path::new(folder).is_dir(), "this test needs ../shared/data/rust-blog beside the project");
    let imported = server.cli(&["import", "markdown", folder, "--json"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let anonymous = server.client();
    let mut looked_for = 0;
    for page in (1..=8).step_by(2) {
        let path = format!("/api/v1/posts?per_page=100&fields=id,title&page={page}");
        for row in anonymous.get(&path).await.expect(200).json()["data"].as_array().unwrap().iter().step_by(10) {
            let title: String = row["title"].as_str().unwrap().replace('"', " ");
            let mut words: Vec<&str> = title.split_whitespace().collect();
            words.sort_unstable();
            for text in [format!("\"{title}\""), words.join(" ")] {
                let address = format!("/api/v2/posts?limit=100&fields=id&q={}", encode(&text));
                let found = anonymous.get(&address).await.expect(200).json();
                let ids: Vec<&Value> = found["data"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
                assert!(ids.contains(&&row["id"]), "{text}: {ids:?}");
            }
            looked_for += 1;
        }
    }
    assert!(looked_for >= 30, "{looked_for}");
    let common = anonymous.get("/api/v2/posts?q=the+rust&count=exact&limit=1").await.expect(200).json();
    assert!(common["total"].as_u64().unwrap() > 500, "{common}");
    let head = anonymous.request(Method::HEAD, "/api/v2/posts?q=async+await").send().await.expect(200);
    assert!(head.etag().starts_with('"'));
}
