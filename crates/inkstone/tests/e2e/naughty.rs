//! Battery row S6: naughty strings in every text field come back byte for byte, or are refused by
//! name; and nothing of them is executed (which [`crate::browser`] asks a real browser).

use serde_json::{Value, json};

use crate::start;

pub(crate) fn strings() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/naughty-strings/blns.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        panic!("the naughty strings are read from ../shared/data/naughty-strings/blns.json beside the project: {error}")
    });
    let strings: Vec<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(strings.len(), 485);
    strings
}

/// Elements and attributes that run something.
fn is_harmless(html: &str) -> bool {
    let lower = html.to_lowercase();
    !["<script", "<iframe", "<object", "<embed", "<style", "<svg", "<math", "<form", "<base", "<meta", "<link"]
        .iter()
        .any(|tag| lower.contains(tag))
        && !runs_something(&lower)
}

/// ` on…=` inside a tag but outside of its values, or a value that is an address which runs.
fn runs_something(html: &str) -> bool {
    html.split('<').skip(1).any(|rest| {
        let tag = rest.split('>').next().unwrap_or_default();
        // Every second piece is a value: the sanitiser quotes all of them.
        let names = tag.split('"').step_by(2).flat_map(str::split_ascii_whitespace);
        let mut values = tag.split('"').skip(1).step_by(2);
        names.skip(1).any(|name| name.starts_with("on"))
            || values.any(|value| {
                ["javascript:", "data:", "vbscript:"].iter().any(|scheme| value.trim().starts_with(scheme))
            })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn naughty_strings_come_back_byte_for_byte() {
    let server = start();
    let editor = server.sign_up("ed", "editor").await;
    let anonymous = server.client();
    let (mut kept, mut refused) = (0, 0);
    for text in strings() {
        for field in ["title", "content", "excerpt", "tag"] {
            let mut body = json!({"title": "Naughty", "content": {"markdown": "fine"}, "status": "published"});
            match field {
                "title" => body["title"] = json!(text),
                "content" => body["content"]["markdown"] = json!(text),
                "excerpt" => body["excerpt"] = json!(text),
                _ => body["tags"] = json!([text]),
            }
            let made = editor.post("/api/v2/posts", &body).await;
            if made.status == 422 {
                let pointer = match field {
                    "content" => "/content/markdown",
                    "tag" => "/tags/0",
                    "title" => "/title",
                    _ => "/excerpt",
                };
                assert!(
                    made.faults().iter().all(|fault| fault.starts_with(pointer)),
                    "{field} {text:?}: {:?}",
                    made.faults()
                );
                refused += 1;
                continue;
            }
            let path = made.expect(201).header("location").unwrap().to_owned();
            let read = anonymous.get(&path).await.expect(200).json();
            let back = match field {
                "title" => &read["title"],
                "content" => &read["content"]["markdown"],
                "excerpt" => &read["excerpt"],
                _ => &read["tags"][0]["name"],
            };
            // Two names with one slug are one tag, and the first name stands.
            if field != "tag" || read["tags"][0]["name"] == json!(text) {
                assert_eq!(back, &json!(text), "{field}");
            }
            assert!(is_harmless(read["content"]["html"].as_str().unwrap()), "{text:?} -> {}", read["content"]["html"]);
            kept += 1;
        }
    }
    println!("{kept} kept, {refused} refused");
    assert!(kept > 485 * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn naughty_profiles_and_tags_come_back_byte_for_byte() {
    let server = start();
    let editor = server.sign_up("ed", "editor").await;
    for text in strings() {
        for field in ["display_name", "bio"] {
            let tag = editor.get("/api/v2/me").await.expect(200).etag().to_owned();
            let answer = editor.patch("/api/v2/me", &tag, &json!({field: text})).await;
            if answer.status == 422 {
                assert!(answer.faults().iter().all(|fault| fault.starts_with(&format!("/{field}"))));
                continue;
            }
            assert_eq!(answer.expect(200).json()[field], json!(text));
            assert_eq!(server.client().get("/api/v2/users/by-handle/ed").await.json()[field], json!(text));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn naughty_queries_paths_and_headers_are_answered_calmly() {
    let server = start();
    let anonymous = server.client();
    for text in strings() {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        if encoded.len() > 6000 {
            continue;
        }
        for path in [
            format!("/api/v2/posts?tag={encoded}"),
            format!("/api/v2/posts?cursor={encoded}"),
            format!("/api/v2/posts/{encoded}"),
            format!("/{encoded}"),
        ] {
            let answer = anonymous.get(&path).await;
            assert!(matches!(answer.status.as_u16(), 200 | 400 | 404 | 414), "{path}: {}", answer.status);
        }
        let login: Value = json!({"login": text, "password": text});
        let answer = anonymous.post("/api/v2/auth/login", &login).await;
        assert!(matches!(answer.status.as_u16(), 400 | 401 | 422 | 429), "{text:?}: {}", answer.text());
    }
}
