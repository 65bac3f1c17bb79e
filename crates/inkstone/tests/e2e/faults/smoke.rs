//! The cells of the permission matrix that say no, asked at any moment, during a fault above all:
//! whatever is broken, nobody is let in by it.

use futures_util::future::join_all;
use inkstone_testkit::{Client, Inkstone};
use reqwest::Method;
use serde_json::{Value, json};

/// The committed matrix.
const TABLE: &str = include_str!("../permissions.csv");
/// The callers who are refused most, by their columns.
const CALLERS: [&str; 4] = ["anonymous", "reader", "contributor", "author, read-only"];

/// Requests that are asked at once.
const AT_ONCE: usize = 8;

/// The title of the posts that are asked for.
pub(crate) const TITLE: &str = "Kept";

/// One request that must be refused.
struct Cell {
    what: String,
    client: Client,
    method: Method,
    path: String,
    body: Option<Value>,
    /// What it is refused with when nothing is broken.
    status: u16,
}

/// Requests that must be refused, whatever happens.
pub(crate) struct Smoke {
    cells: Vec<Cell>,
    draft: String,
}

impl Smoke {
    /// Makes the people and the things. `through` is where the requests go to.
    pub(crate) async fn prepare(server: &Inkstone, through: &Client) -> Self {
        let owner = server.with_token("smoke-owner", "administrator");
        let post = |slug: &str, status: &str| json!({"title": TITLE, "content": {"markdown": "x"}, "slug": slug, "status": status});
        let public = owner.post("/api/v2/posts", &post("smoke-public", "published")).await.expect(201);
        let draft = owner.post("/api/v2/posts", &post("smoke-draft", "draft")).await.expect(201);
        let tag = owner.post("/api/v2/tags", &json!({"name": "Smoke"})).await.expect(201);
        let id = |made: &inkstone_testkit::Answer| made.json()["id"].to_string();
        let things = [
            ("other's published post", id(&public), "smoke-public"),
            ("other's draft post", id(&draft), "smoke-draft"),
            ("tag", id(&tag), "smoke"),
            ("-", String::new(), ""),
        ];
        let clients = callers(server, through);
        let mut cells = Vec::new();
        let mut lines = TABLE.lines().map(|line| line.split(';').collect::<Vec<_>>());
        let head = lines.next().unwrap_or_default();
        for row in lines {
            let Some((_, id, slug)) = things.iter().find(|(on, ..)| *on == row[1]) else { continue };
            let Some((method, path)) = asked(row[0]) else { continue };
            let path = path.replace("{id}", id).replace("{slug}", slug);
            for (caller, client) in &clients {
                let column = head.iter().position(|name| name == caller).unwrap();
                let status: u16 = row[column].parse().unwrap_or_default();
                if matches!(status, 401 | 403 | 404) {
                    let what = format!("{} of {} by {caller}", row[0], row[1]);
                    let (client, method, path) = (client.clone(), method.clone(), path.clone());
                    let body = body(&method, &path);
                    cells.push(Cell { what, client, method, path, body, status });
                }
            }
        }
        cells.extend(nobodies(server, through, &id(&draft)));
        let smoke = Self { cells, draft: id(&draft) };
        assert!(smoke.cells.len() >= 50, "{} cells", smoke.cells.len());
        smoke.refused_as_ever().await;
        smoke
    }

    /// Asks everything, some at a time: it is no storm.
    async fn ask(&self) -> Vec<Option<u16>> {
        let mut outcomes = Vec::new();
        for cells in self.cells.chunks(AT_ONCE) {
            outcomes.extend(join_all(cells.iter().map(Cell::ask)).await);
        }
        outcomes
    }

    /// Whether a thing, as histories name it, is one that was made here.
    pub(crate) fn made(&self, thing: &str) -> bool {
        thing == TITLE || thing.strip_prefix("post:") == Some(&self.draft)
    }

    /// Nobody is let in, be it that nothing can be asked at all. Gives how many were told no and
    /// how many that it is to be asked later.
    pub(crate) async fn nobody_is_let_in(&self) -> (usize, usize) {
        let outcomes = self.ask().await;
        let mut refused = 0;
        for (cell, status) in self.cells.iter().zip(&outcomes) {
            // No answer is no entry.
            let Some(status) = *status else { continue };
            assert!(status == cell.status || status >= 500, "{} was answered with {status}", cell.what);
            refused += usize::from(status == cell.status);
        }
        (refused, outcomes.len() - refused)
    }

    /// Everybody is refused with the very status that the matrix names.
    pub(crate) async fn refused_as_ever(&self) {
        for (cell, status) in self.cells.iter().zip(self.ask().await) {
            assert_eq!(status, Some(cell.status), "{}", cell.what);
        }
    }
}

impl Cell {
    async fn ask(&self) -> Option<u16> {
        let mut request = self.client.request(self.method.clone(), &self.path);
        if matches!(self.method, Method::PUT | Method::PATCH | Method::DELETE) {
            request = request.header("if-match", "*");
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        Some(request.try_send().await.ok()?.status.as_u16())
    }
}

/// The callers of the table, with personal tokens.
fn callers(server: &Inkstone, through: &Client) -> Vec<(&'static str, Client)> {
    let client = |caller: &'static str| {
        if caller == "anonymous" {
            return (caller, through.anonymous());
        }
        let (role, scopes) = match caller.split_once(", ") {
            Some((role, _)) => (role, "read"),
            None => (caller, "read posts:write tags:write account users:write"),
        };
        let handle = format!("smoke-{role}");
        server.add_user(&handle, role);
        (caller, through.with_token(&server.token(&handle, scopes)))
    };
    CALLERS.map(client).into()
}

/// Those who have a token that is not good (any more).
fn nobodies(server: &Inkstone, through: &Client, draft: &str) -> Vec<Cell> {
    let run = |arguments: &[&str]| {
        let output = server.cli(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    server.add_user("smoke-revoked", "administrator");
    let revoked = run(&["token", "create", "--user", "smoke-revoked", "--name", "x", "--scopes", "read", "--json"]);
    run(&["token", "revoke", &revoked["id"].to_string()]);
    server.add_user("smoke-disabled", "administrator");
    let disabled = server.token("smoke-disabled", "read posts:write");
    run(&["user", "disable", "smoke-disabled"]);
    let tokens = [("revoked", revoked["token"].as_str().unwrap()), ("disabled", &disabled), ("made up", "ink_pat_x")];
    let mut cells = Vec::new();
    for (name, token) in tokens {
        let asked = [
            (Method::GET, "/api/v2/me".to_owned()),
            (Method::GET, format!("/api/v2/posts/{draft}")),
            (Method::GET, "/api/v2/posts".to_owned()),
            (Method::POST, "/api/v2/posts".to_owned()),
        ];
        for (method, path) in asked {
            let (what, body) = (format!("{method} {path} with a {name} token"), body(&method, &path));
            cells.push(Cell { what, client: through.with_token(token), method, path, body, status: 401 });
        }
    }
    cells
}

/// Method and path of a row, if it can be asked without further ado.
fn asked(operation: &str) -> Option<(Method, &str)> {
    let (method, path) = operation.split_once(' ')?;
    let is_plain = !["/auth/", "/setup", "/me/password", "by-path", " "].iter().any(|special| path.contains(special));
    Some((Method::from_bytes(method.to_uppercase().as_bytes()).ok()?, path)).filter(|_| is_plain)
}

/// What would do it, if it were allowed.
fn body(method: &Method, path: &str) -> Option<Value> {
    let content = if path.starts_with("/api/v1/") { json!("x") } else { json!({"markdown": "x"}) };
    match method.as_str() {
        "POST" | "PUT" if path.contains("/posts") => {
            Some(json!({"title": "Let in", "content": content, "status": "draft"}))
        }
        "POST" if path.contains("/tags") => Some(json!({"name": "Let in"})),
        "POST" => Some(json!({"name": "Let in", "scopes": ["read"]})),
        "PATCH" if path.contains("/posts") => Some(json!({"title": "Let in"})),
        "PATCH" if path.contains("/tags") => Some(json!({"description": "Let in"})),
        "PATCH" => Some(json!({"bio": "Let in"})),
        _ => None,
    }
}
