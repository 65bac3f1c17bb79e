//! v1 is frozen: what it answers stands in `golden/`, word by word. Optional members may be
//! added; whatever else changes is v3. `UPDATE=1` writes the files anew.

use reqwest::Method;
use serde_json::{Value, json};

use crate::start;

/// Times that depend on when the test runs become a word.
fn settle(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "created_at" | "updated_at" if member.is_string() => *member = json!("TIME"),
                    "instance" => *member = json!("INSTANCE"),
                    "access_token" | "refresh_token" => *member = json!("TOKEN"),
                    _ => settle(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(settle),
        _ => {}
    }
}

#[tokio::test]
async fn v1_answers_as_it_always_did() {
    let server = start();
    let ada = server.sign_up("ada", "author").await;
    let anonymous = server.client();
    let body = json!({"title": "Ink on stone", "content": "Words that *last*.", "status": "published", "tags": ["Writing", "Stone"], "published_at": "2024-05-06T07:08:09.123456Z"});
    let mut said = Vec::new();
    let mut note = |name: &str, answer: &inkstone_testkit::Answer| {
        let mut body = if answer.body.is_empty() { Value::Null } else { answer.json() };
        settle(&mut body);
        let kept = ["content-type", "cache-control", "vary", "location", "link", "allow", "www-authenticate"];
        let headers: serde_json::Map<String, Value> =
            kept.iter().filter_map(|name| Some(((*name).to_owned(), json!(answer.header(name)?)))).collect();
        said.push(json!({"what": name, "status": answer.status.as_u16(), "headers": headers, "body": body}));
    };
    note("create", &ada.post("/api/v1/posts", &body).await);
    note("create a draft", &ada.post("/api/v1/posts", &json!({"title": "A draft", "content": ""})).await);
    note("create nothing", &ada.post("/api/v1/posts", &json!({"title": ""})).await);
    note("get", &anonymous.get("/api/v1/posts/1").await);
    note("get a part", &anonymous.get("/api/v1/posts/1?fields=id,title").await);
    note("get a draft", &anonymous.get("/api/v1/posts/2").await);
    note("list", &anonymous.get("/api/v1/posts?per_page=1").await);
    note("list drafts", &ada.get("/api/v1/posts?status=draft").await);
    note("list nothing", &anonymous.get("/api/v1/posts?tag=nothing").await);
    note("search", &anonymous.get("/api/v1/posts?q=%22ink+on%22+LAST").await);
    note("search for nothing", &anonymous.get("/api/v1/posts?q=nowhere").await);
    note("search badly", &anonymous.get("/api/v1/posts?q=").await);
    note("list badly", &anonymous.get("/api/v1/posts?per_page=1000&colour=red").await);
    note(
        "replace",
        &ada.request(Method::PUT, "/api/v1/posts/1")
            .json(&json!({"title": "Replaced", "content": "New.", "status": "published"}))
            .send()
            .await,
    );
    note("replace anonymously", &anonymous.request(Method::PUT, "/api/v1/posts/1").json(&body).send().await);
    note("users", &anonymous.get("/api/v1/users").await);
    note("user", &anonymous.get("/api/v1/users/1").await);
    note("tags", &anonymous.get("/api/v1/tags").await);
    note(
        "login",
        &anonymous
            .post("/api/v1/auth/login", &json!({"login": "ada", "password": "a long phrase only for these tests"}))
            .await,
    );
    note("login badly", &anonymous.post("/api/v1/auth/login", &json!({"login": "ada", "password": "wrong"})).await);
    note("delete", &ada.request(Method::DELETE, "/api/v1/posts/1").send().await);
    note("get what is gone", &anonymous.get("/api/v1/posts/1").await);
    note("wrong method", &anonymous.request(Method::PATCH, "/api/v1/posts/1").send().await);

    let path = format!("{}/tests/e2e/golden/v1.json", env!("CARGO_MANIFEST_DIR"));
    let text = serde_json::to_string_pretty(&said).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(golden.len(), said.len());
    for (then, now) in golden.iter().zip(&said) {
        assert_eq!(then, now);
    }
}
