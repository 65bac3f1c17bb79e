//! Every text and every list ends where `docs/limits.md` says: what is exactly as long as it may
//! be comes back as it was given, and what is longer by one is refused by name.

use inkstone_core::posts::{Excerpt, MAX_AUTHORS, MAX_TAGS, Markdown, Title};
use inkstone_core::tags::{TagDescription, TagName};
use inkstone_core::users::{Bio, DisplayName, Email, Handle, WebUrl};
use inkstone_testkit::{Answer, Client, Inkstone, Options};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{BINARY, start};

/// One character, two of UTF-16, four bytes.
const CRAB: &str = "🦀";

/// What may be written where, and what not.
struct Field {
    /// Where it stands, in what is sent and in what is shown.
    pointer: &'static str,
    /// What is refused is refused there.
    refused_at: &'static str,
    code: &'static str,
    /// The longest, however it is counted wrongly.
    longest: Vec<Value>,
    too_long: Vec<Value>,
}

/// A text of so many characters, however many bytes they take.
fn text(pointer: &'static str, chars: usize) -> Field {
    Field {
        pointer,
        refused_at: pointer,
        code: "too-long",
        longest: vec![json!("x".repeat(chars)), json!(CRAB.repeat(chars)), json!("e\u{301}".repeat(chars / 2))],
        too_long: vec![json!("x".repeat(chars + 1)), json!(CRAB.repeat(chars + 1))],
    }
}

/// A text of so many bytes, however few characters they are.
fn bytes(pointer: &'static str, bytes: usize) -> Field {
    let crabs = CRAB.repeat(bytes / CRAB.len());
    Field {
        pointer,
        refused_at: pointer,
        code: "too-long",
        longest: vec![json!("x".repeat(bytes)), json!(crabs)],
        too_long: vec![json!("x".repeat(bytes + 1)), json!(crabs + "x")],
    }
}

/// Names of tags that differ in their slugs and are as long as names may be.
fn tag_names(count: usize) -> Value {
    (0..count).map(|number| format!("{number:02}{}", CRAB.repeat(TagName::MAX_CHARS - 2))).collect()
}

/// What is shown in place of what was given: names for tags, numbers for people.
fn shown(answer: &Answer, pointer: &str) -> Value {
    let body = answer.json();
    let value = &body.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {}", answer.text()));
    let part = match pointer {
        "/tags" => "name",
        "/authors" => "id",
        _ => return (*value).clone(),
    };
    value.as_array().unwrap().iter().map(|item| item[part].clone()).collect()
}

fn put(mut body: Value, pointer: &str, value: &Value) -> Value {
    *body.pointer_mut(pointer).unwrap() = value.clone();
    body
}

#[track_caller]
fn assert_refused(answer: Answer, field: &Field) {
    let answer = answer.expect(422);
    assert_eq!(answer.faults(), [format!("{} {}", field.refused_at, field.code)]);
}

/// Writes every field of the resources at `list` in every way there is, and reads it as anybody.
async fn assert_ends_where_it_says(writer: &Client, list: &str, whole: &Value, fields: &[Field]) {
    for field in fields {
        for value in &field.too_long {
            assert_refused(writer.post(list, &put(whole.clone(), field.pointer, value)).await, field);
        }
        for value in &field.longest {
            let made = writer.post(list, &put(whole.clone(), field.pointer, value)).await.expect(201);
            assert!(shown(&made, field.pointer) == *value, "{} is not what was given", field.pointer);
            let path = made.header("location").unwrap().to_owned();
            let read = writer.anonymous().get(&path).await.expect(200);
            assert!(shown(&read, field.pointer) == *value, "{} is not what was given", field.pointer);
            writer.delete(&path, made.etag()).await.expect(204);
        }
        let made = writer.post(list, whole).await.expect(201);
        let (path, mut etag) = (made.header("location").unwrap().to_owned(), made.etag().to_owned());
        let only = |value: &Value| match field.pointer {
            "/content/markdown" => json!({"content": {"markdown": value}}),
            pointer => json!({pointer[1..].to_owned(): value}),
        };
        for value in &field.too_long {
            assert_refused(writer.patch(&path, &etag, &only(value)).await, field);
        }
        for value in &field.longest {
            let changed = writer.patch(&path, &etag, &only(value)).await.expect(200);
            changed.etag().clone_into(&mut etag);
            let read = writer.anonymous().get(&path).await.expect(200);
            assert!(shown(&read, field.pointer) == *value, "{} is not what was given", field.pointer);
        }
        writer.delete(&path, &etag).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_posts_end_where_the_table_says() {
    // The largest text is larger than the largest body that is taken by default.
    let env = vec![("INKSTONE__HTTP__BODY_BYTES".to_owned(), "4 MiB".to_owned())];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let editor = server.sign_up("ed", "editor").await;
    let mut authors = vec![editor.get("/api/v2/me").await.expect(200).json()["id"].clone()];
    for number in 0..MAX_AUTHORS {
        let handle = format!("author-{number}");
        let made = server.cli(&["user", "add", &handle, "--role", "author", "--no-password", "--json"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        authors.push(serde_json::from_slice::<Value>(&made.stdout).unwrap()["id"].clone());
    }
    let whole = json!({
        "title": "Long", "content": {"markdown": "x"}, "excerpt": "x", "tags": [], "authors": [authors[0]],
        "status": "published"
    });
    let fields = [
        text("/title", Title::MAX_CHARS),
        text("/excerpt", Excerpt::MAX_CHARS),
        bytes("/content/markdown", Markdown::MAX_BYTES),
        Field {
            pointer: "/tags",
            refused_at: "/tags",
            code: "too-many",
            longest: vec![tag_names(MAX_TAGS)],
            too_long: vec![tag_names(MAX_TAGS + 1)],
        },
        Field {
            pointer: "/tags",
            refused_at: "/tags/0",
            code: "too-long",
            longest: Vec::new(),
            too_long: vec![json!(["x".repeat(TagName::MAX_CHARS + 1)])],
        },
        Field {
            pointer: "/authors",
            refused_at: "/authors",
            code: "too-many",
            longest: vec![json!(authors[1..])],
            too_long: vec![json!(authors)],
        },
    ];
    assert_ends_where_it_says(&editor, "/api/v2/posts", &whole, &fields).await;

    let flat = json!({"title": "Long", "content": "x", "tags": [], "status": "published"});
    for field in [
        text("/title", Title::MAX_CHARS),
        bytes("/content", Markdown::MAX_BYTES),
        Field {
            pointer: "/tags",
            refused_at: "/tags",
            code: "too-many",
            longest: Vec::new(),
            too_long: vec![tag_names(MAX_TAGS + 1)],
        },
    ] {
        for value in &field.too_long {
            assert_refused(editor.post("/api/v1/posts", &put(flat.clone(), field.pointer, value)).await, &field);
        }
        for value in &field.longest {
            let made = editor.post("/api/v1/posts", &put(flat.clone(), field.pointer, value)).await.expect(201);
            assert!(made.json().pointer(field.pointer) == Some(value), "{} is not what was given", field.pointer);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_tags_end_where_the_table_says() {
    let server = start();
    let editor = server.sign_up("ed", "editor").await;
    let whole = json!({"name": "Long", "description": "x"});
    let fields = [text("/name", TagName::MAX_CHARS), text("/description", TagDescription::MAX_CHARS)];
    assert_ends_where_it_says(&editor, "/api/v2/tags", &whole, &fields).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_profiles_end_where_the_table_says() {
    let server = start();
    let ada = server.sign_up("ada", "author").await;
    let host = "https://example.org/";
    let address = |bytes: usize| json!(host.to_owned() + &"x".repeat(bytes - host.len()));
    let fields = [
        text("/display_name", DisplayName::MAX_CHARS),
        text("/bio", Bio::MAX_CHARS),
        Field {
            pointer: "/avatar_url",
            refused_at: "/avatar_url",
            code: "too-long",
            longest: vec![address(WebUrl::MAX_BYTES)],
            too_long: vec![address(WebUrl::MAX_BYTES + 1)],
        },
    ];
    for field in fields {
        let only = |value: &Value| json!({field.pointer[1..].to_owned(): value});
        let mut etag = ada.get("/api/v2/me").await.expect(200).etag().to_owned();
        for value in &field.too_long {
            assert_refused(ada.patch("/api/v2/me", &etag, &only(value)).await, &field);
        }
        for value in &field.longest {
            let changed = ada.patch("/api/v2/me", &etag, &only(value)).await.expect(200);
            changed.etag().clone_into(&mut etag);
            let profile = ada.anonymous().get("/api/v2/users/by-handle/ada").await.expect(200);
            assert!(shown(&profile, field.pointer) == *value, "{} is not what was given", field.pointer);
        }
    }
}

#[tokio::test]
async fn handles_and_addresses_end_where_the_table_says() {
    let server = start();
    let secret = crate::identity::setup_secret(&server).await;
    // Counted in bytes: each of these letters takes two.
    let email = |bytes: usize| {
        let domain = format!("{0}.{0}.{1}", "d".repeat(63), "d".repeat(bytes - 64 - 1 - 2 * 64));
        format!("{}@{domain}", "é".repeat(32))
    };
    let set_up = |handle: usize, email: String| {
        json!({
            "secret": secret, "handle": "h".repeat(handle), "email": email, "display_name": "Root",
            "password": "a phrase that nobody guesses"
        })
    };
    let (longest_handle, longest_email) = (Handle::MAX_CHARS, email(Email::MAX_BYTES));
    assert_eq!(longest_email.len(), Email::MAX_BYTES);
    let anonymous = server.client();
    let refused = anonymous.post("/api/v2/setup", &set_up(longest_handle + 1, email(Email::MAX_BYTES + 1))).await;
    assert_eq!(refused.expect(422).faults(), ["/handle too-long", "/email too-long"]);
    anonymous.post("/api/v2/setup", &set_up(longest_handle, longest_email.clone())).await.expect(201);
    let login = json!({"login": longest_email, "password": "a phrase that nobody guesses"});
    let tokens = anonymous.post("/api/v2/auth/login", &login).await.expect(200).json();
    let root = anonymous.with_token(tokens["access_token"].as_str().unwrap());
    let me = root.get("/api/v2/me").await.expect(200).json();
    assert_eq!((&me["handle"], &me["email"]), (&json!("h".repeat(longest_handle)), &json!(longest_email)));
    let longest = format!("/api/v2/users/by-handle/{}", "h".repeat(longest_handle));
    assert_eq!(anonymous.get(&longest).await.expect(200).json()["handle"], me["handle"]);

    // The name of a token is the one text without a type of its own.
    let token = |name: String| json!({"name": name, "scopes": ["read"]});
    let refused = root.post("/api/v2/me/tokens", &token(CRAB.repeat(101))).await.expect(422);
    assert_eq!(refused.faults(), ["/name too-long"]);
    let made = root.post("/api/v2/me/tokens", &token(CRAB.repeat(100))).await.expect(201);
    assert_eq!(made.json()["name"], json!(CRAB.repeat(100)));
    root.request(Method::GET, "/api/v2/me/tokens").send().await.expect(200);
}

#[tokio::test]
async fn a_database_that_somebody_else_writes_to_is_waited_for_and_then_503() {
    let env = vec![("INKSTONE__STORE__BUSY_TIMEOUT".to_owned(), "50ms".to_owned())];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let ada = server.sign_up("ada", "author").await;
    let store = crate::open_store(&server.data_dir().join("inkstone.db"));
    let (entered, has_entered) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let holder = tokio::spawn({
        let db = store.db().clone();
        async move {
            let ctx = crate::context();
            let work = db.write(&ctx, "test.hold", move |_| {
                Box::pin(async move {
                    let _ = entered.send(());
                    let _ = released.recv();
                    Ok(())
                })
            });
            work.await
        }
    });
    has_entered.await.unwrap();
    let post = crate::posts::post("Locked out");
    let refused = ada.post("/api/v2/posts", &post).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    server.client().get("/api/v2/posts").await.expect(200);
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    ada.post("/api/v2/posts", &post).await.expect(201);
}
