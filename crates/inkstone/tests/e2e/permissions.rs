//! The permission matrix: operation × ownership × state × caller, every cell asserted.
//!
//! The table in `permissions.csv` is the specification: one row for an operation on a thing, one
//! column for each caller, the expected status in the cell. A route without a row fails. After an
//! intended change: `UPDATE=1 cargo test -p inkstone --test e2e permissions`, and read the diff.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use inkstone_testkit::{Answer, Client, Inkstone};
use reqwest::Method;
use serde_json::{Value, json};

use crate::start;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/permissions.csv");
const CALLERS: [&str; 8] = [
    "anonymous",
    "reader",
    "contributor",
    "author",
    "editor",
    "administrator",
    "author, read-only",
    "author, personal token",
];
const PASSWORD: &str = "a long phrase only for these tests";

/// What the operation is done to.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Nothing,
    Post(Whose, &'static str),
    Tag,
    User,
    Session(Whose),
    Token(Whose),
}

#[derive(Clone, Copy, PartialEq)]
enum Whose {
    Own,
    Other,
}

impl On {
    fn name(self) -> String {
        let whose = |whose| if whose == Whose::Own { "own" } else { "other's" };
        match self {
            Self::Nothing => "-".into(),
            Self::Post(owner, state) => format!("{} {state} post", whose(owner)),
            Self::Tag => "tag".into(),
            Self::User => "writer".into(),
            Self::Session(owner) => format!("{} session", whose(owner)),
            Self::Token(owner) => format!("{} token", whose(owner)),
        }
    }
}

/// Everything that is asked, and of what.
fn cases() -> Vec<(&'static str, &'static str, On)> {
    let mut cases = Vec::new();
    let posts = || {
        [Whose::Own, Whose::Other]
            .into_iter()
            .flat_map(|whose| ["draft", "published", "deleted"].map(|state| On::Post(whose, state)))
    };
    for (method, path) in [
        ("get", "/api/v1/posts/{id}"),
        ("put", "/api/v1/posts/{id}"),
        ("delete", "/api/v1/posts/{id}"),
        ("get", "/api/v2/posts/{id}"),
        ("get", "/api/v2/posts/by-slug/{slug}"),
        ("put", "/api/v2/posts/{id}"),
        ("patch", "/api/v2/posts/{id}"),
        ("delete", "/api/v2/posts/{id}"),
    ] {
        cases.extend(posts().map(|on| (method, path, on)));
    }
    for (method, path) in [
        ("get", "/api/v2/tags/{id}"),
        ("get", "/api/v2/tags/by-slug/{slug}"),
        ("patch", "/api/v2/tags/{id}"),
        ("delete", "/api/v2/tags/{id}"),
    ] {
        cases.push((method, path, On::Tag));
    }
    for path in ["/api/v1/users/{id}", "/api/v2/users/{id}", "/api/v2/users/by-handle/{slug}"] {
        cases.push(("get", path, On::User));
    }
    for whose in [Whose::Own, Whose::Other] {
        cases.push(("delete", "/api/v2/me/sessions/{id}", On::Session(whose)));
        cases.push(("delete", "/api/v2/me/tokens/{id}", On::Token(whose)));
    }
    for (method, path) in [
        ("get", "/api/v1/posts"),
        ("get", "/api/v1/posts?status=draft"),
        ("post", "/api/v1/posts"),
        ("post", "/api/v1/posts published"),
        ("get", "/api/v1/users"),
        ("get", "/api/v1/tags"),
        ("get", "/api/v2/posts"),
        ("get", "/api/v2/posts?status=draft"),
        ("post", "/api/v2/posts"),
        ("post", "/api/v2/posts published"),
        ("post", "/api/v2/posts for another"),
        ("post", "/api/v2/posts new tag"),
        ("get", "/api/v2/posts/by-path"),
        ("get", "/api/v2/tags"),
        ("post", "/api/v2/tags"),
        ("get", "/api/v2/users"),
        ("get", "/api/v2/me"),
        ("patch", "/api/v2/me"),
        ("post", "/api/v2/me/password"),
        ("get", "/api/v2/me/sessions"),
        ("get", "/api/v2/me/tokens"),
        ("post", "/api/v2/me/tokens"),
        ("post", "/api/v2/setup"),
        ("post", "/api/v1/auth/login"),
        ("post", "/api/v1/auth/refresh"),
        ("post", "/api/v1/auth/logout"),
        ("post", "/api/v2/auth/login"),
        ("post", "/api/v2/auth/refresh"),
        ("post", "/api/v2/auth/logout"),
    ] {
        cases.push((method, path, On::Nothing));
    }
    cases
}

/// The people of the table, and an administrator behind the scenes who prepares the things.
struct Stage {
    server: Inkstone,
    admin: Client,
    callers: Vec<Client>,
    ids: Vec<Option<i64>>,
    other: i64,
    count: usize,
}

impl Stage {
    async fn set() -> Self {
        let server = start();
        let admin = server.with_token("stage-admin", "administrator");
        server.add_user("other-author", "author");
        let other = id_of(&server, "other-author").await;
        let (mut callers, mut ids) = (vec![server.client()], vec![None]);
        for role in &CALLERS[1..6] {
            let handle = format!("the-{role}");
            callers.push(server.sign_up(&handle, role).await);
            ids.push(Some(me(callers.last().unwrap()).await));
        }
        for scopes in ["read", "read posts:write tags:write account users:write"] {
            callers.push(server.client().with_token(&server.token("the-author", scopes)));
            ids.push(ids[3]);
        }
        Self { server, admin, callers, ids, other, count: 0 }
    }

    /// Does `method path` on a new thing, as the caller in this column. `None`: makes no sense.
    async fn ask(&mut self, column: usize, method: &str, path: &str, on: On) -> Option<u16> {
        self.count += 1;
        let number = self.count;
        let owner = |whose| if whose == Whose::Own { self.ids[column] } else { Some(self.other) };
        let (mut path, variant) = match path.split_once(' ') {
            Some((path, variant)) => (path.to_owned(), variant),
            None => (path.to_owned(), ""),
        };
        let mut etag = "*".to_owned();
        match on {
            On::Nothing => {}
            On::Post(whose, state) => {
                let body = json!({"title": format!("Thing {number}"), "content": {"markdown": "x"}, "slug": format!("thing-{number}"), "status": if state == "draft" { "draft" } else { "published" }, "authors": [owner(whose)?]});
                let made = self.admin.post("/api/v2/posts", &body).await.expect(201);
                path =
                    path.replace("{id}", &made.json()["id"].to_string()).replace("{slug}", &format!("thing-{number}"));
                made.etag().clone_into(&mut etag);
                if state == "deleted" {
                    self.admin.delete(made.header("location").unwrap(), &etag).await.expect(204);
                }
            }
            On::Tag => {
                let made = self.admin.post("/api/v2/tags", &json!({"name": format!("Tag {number}")})).await.expect(201);
                path = path.replace("{id}", &made.json()["id"].to_string()).replace("{slug}", &format!("tag-{number}"));
                made.etag().clone_into(&mut etag);
            }
            On::User => path = path.replace("{id}", &self.other.to_string()).replace("{slug}", "other-author"),
            On::Session(whose) => {
                let handle = self.handle(column, whose)?;
                let login = self.login(&handle).await;
                let sessions = self
                    .server
                    .client()
                    .with_token(login["access_token"].as_str()?)
                    .get("/api/v2/me/sessions")
                    .await
                    .expect(200)
                    .json();
                path = path.replace("{id}", &sessions["data"][0]["id"].to_string());
            }
            On::Token(whose) => {
                let handle = self.handle(column, whose)?;
                let made = self
                    .server
                    .cli(&["token", "create", "--user", &handle, "--name", "row", "--scopes", "read", "--json"]);
                let made: Value = serde_json::from_slice(&made.stdout).unwrap();
                path = path.replace("{id}", &made["id"].to_string());
            }
        }
        if path == "/api/v2/me" && method == "patch" {
            let known = self.callers[column].get("/api/v2/me").await;
            known.header("etag").unwrap_or("*").clone_into(&mut etag);
        }
        let body = self.body(method, &path, variant, number).await;
        let answer = self.send(column, method, &path, &etag, body).await;
        // A password that was changed, or a session that was ended, is given back.
        if path.ends_with("/me/password") && answer.status == 204 {
            self.server.cli_with_input(
                &["user", "set-password", &format!("the-{}", CALLERS[column]), "--password-stdin"],
                PASSWORD,
            );
            let login = self.login(&format!("the-{}", CALLERS[column])).await;
            self.callers[column] = self.server.client().with_token(login["access_token"].as_str()?);
        }
        Some(answer.status.as_u16())
    }

    fn handle(&self, column: usize, whose: Whose) -> Option<String> {
        match whose {
            Whose::Other => Some("other-author".into()),
            Whose::Own => self.ids[column].map(|_| format!("the-{}", CALLERS[column].split(',').next().unwrap())),
        }
    }

    async fn login(&self, handle: &str) -> Value {
        self.server
            .client()
            .post("/api/v2/auth/login", &json!({"login": handle, "password": PASSWORD}))
            .await
            .expect(200)
            .json()
    }

    async fn body(&self, method: &str, path: &str, variant: &str, number: usize) -> Option<Value> {
        let status = if variant == "published" { "published" } else { "draft" };
        let (kind, last) = (path.trim_start_matches("/api/v1").trim_start_matches("/api/v2"), path.rsplit('/').next()?);
        Some(match (method, kind) {
            ("put", _) if path.starts_with("/api/v1") => {
                json!({"title": "Replaced", "content": "x", "status": "published"})
            }
            ("put", _) => json!({"title": "Replaced", "content": {"markdown": "x"}, "status": "published"}),
            ("patch", "/me") => json!({"bio": format!("Round {number}")}),
            ("patch", kind) if kind.starts_with("/tags") => json!({"description": "Changed"}),
            ("patch", _) => json!({"title": "Changed"}),
            ("post", "/posts") if path.starts_with("/api/v1") => {
                json!({"title": "New", "content": "x", "status": status})
            }
            ("post", "/posts") if variant == "for another" => {
                json!({"title": "New", "content": {"markdown": "x"}, "authors": [self.other]})
            }
            ("post", "/posts") if variant == "new tag" => {
                json!({"title": "New", "content": {"markdown": "x"}, "tags": [format!("New tag {number}")]})
            }
            ("post", "/posts") => json!({"title": "New", "content": {"markdown": "x"}, "status": status}),
            ("post", "/tags") => json!({"name": format!("Made {number}")}),
            ("post", "/me/password") => {
                json!({"current_password": PASSWORD, "password": "quite another long phrase here"})
            }
            ("post", "/me/tokens") => json!({"name": "row", "scopes": ["read"]}),
            ("post", "/setup") => {
                json!({"secret": "ink_setup_wrong", "handle": "x-y", "password": "a phrase that nobody guesses"})
            }
            ("post", _) if last == "login" => json!({"login": "other-author", "password": PASSWORD}),
            ("post", _) if last == "refresh" || last == "logout" => {
                let token = self.login("other-author").await["refresh_token"].clone();
                json!({"refresh_token": token})
            }
            _ => return None,
        })
    }

    async fn send(&self, column: usize, method: &str, path: &str, etag: &str, body: Option<Value>) -> Answer {
        let path = if path.ends_with("/by-path") { format!("{path}?path=/nothing") } else { path.to_owned() };
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let mut request = self.callers[column].request(method.clone(), &path);
        if matches!(method, Method::PUT | Method::PATCH | Method::DELETE) {
            request = request.header("if-match", etag);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await
    }
}

async fn me(client: &Client) -> i64 {
    client.get("/api/v2/me").await.expect(200).json()["id"].as_i64().unwrap()
}

async fn id_of(server: &Inkstone, handle: &str) -> i64 {
    server.client().get(&format!("/api/v2/users/by-handle/{handle}")).await.expect(200).json()["id"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_matrix_is_as_the_table_says() {
    let cases = cases();
    let mut operations: BTreeSet<String> =
        cases.iter().map(|(method, path, _)| format!("{method} {}", path.split([' ', '?']).next().unwrap())).collect();
    for version in ["v1", "v2"] {
        for operation in crate::contract::operations(version) {
            assert!(operations.remove(&operation), "{operation} has no row in the permission matrix");
        }
    }
    assert!(operations.is_empty(), "rows of operations that do not exist: {operations:?}");

    let mut stage = Stage::set().await;
    let mut table = format!("operation;on;{}\n", CALLERS.join(";"));
    let mut cells = 0;
    for (method, path, on) in cases {
        let mut row = format!("{method} {path};{}", on.name());
        for column in 0..CALLERS.len() {
            let status = stage.ask(column, method, path, on).await.map_or("-".to_owned(), |status| status.to_string());
            let _ = write!(row, ";{status}");
            cells += 1;
        }
        table.push_str(&row);
        table.push('\n');
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let expected = std::fs::read_to_string(TABLE).unwrap_or_default();
    let different: Vec<_> = table.lines().zip(expected.lines()).filter(|(now, then)| now != then).collect();
    assert!(different.is_empty() && table.lines().count() == expected.lines().count(), "(now, table): {different:#?}");
    println!("{cells} cells");
}
