//! A real blog moves from a laptop to a cluster and back: nobody who reads or writes it notices.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use inkstone_testkit::services::{MariaDb, Postgres};
use inkstone_testkit::{Client, Fault, Inkstone, Options, Proxy, wait_until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::posts::post;
use crate::{BINARY, open_file};

/// What readers ask for. Pages, and what the pages name, come on top.
const PATHS: &[&str] = &[
    "/api/v1/posts?per_page=100",
    "/api/v1/posts?per_page=100&page=4",
    "/api/v1/users",
    "/api/v1/tags",
    "/api/v2/posts?limit=100&include=content,author,tags",
    "/api/v2/posts?limit=20&sort=title",
    "/api/v2/posts?q=%22rust+1.0%22&count=exact",
    "/api/v2/tags?limit=100",
    "/api/v2/users?limit=100",
    "/api/v2/posts/by-slug/first-name",
    "/api/v2/posts/by-slug/second-name",
    "/api/v2/posts/by-path?path=/2014/09/15/Rust-1.0.html",
];

/// An answer as a reader and a cache in between see it.
type Seen = (String, u16, Option<String>, Option<String>, Vec<u8>);

async fn see(client: &Client, path: &str) -> Seen {
    let answer = client.get(path).await;
    let header = |name: &str| answer.header(name).map(str::to_owned);
    let mut body = answer.body.clone();
    if answer.status.as_u16() >= 400 {
        // Each problem names its own request.
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("instance");
        body = problem.to_string().into_bytes();
    }
    (path.to_owned(), answer.status.as_u16(), header("etag"), header("location"), body)
}

/// Everything above, the next page after each, and posts from all over the blog.
async fn all(server: &Inkstone, gone: i64) -> Vec<Seen> {
    let client = server.client();
    let mut seen = Vec::new();
    for path in PATHS {
        let answer = see(&client, path).await;
        let next =
            serde_json::from_slice::<Value>(&answer.4).ok().and_then(|body| body["next"].as_str().map(str::to_owned));
        seen.push(answer);
        if let Some(next) = next {
            // The secret that cursors are signed with has come along.
            seen.push(see(&client, &format!("{path}&cursor={next}")).await);
        }
    }
    for id in (1..=754).step_by(13).chain([gone, 100_000]) {
        seen.push(see(&client, &format!("/api/v1/posts/{id}")).await);
        seen.push(see(&client, &format!("/api/v2/posts/{id}")).await);
    }
    seen
}

#[track_caller]
fn assert_same(ours: &[Seen], theirs: &[Seen]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!((&ours.0, ours.1, &ours.2, &ours.3), (&theirs.0, theirs.1, &theirs.2, &theirs.3));
        assert!(
            ours.4 == theirs.4,
            "{}: {}\n{}",
            ours.0,
            String::from_utf8_lossy(&ours.4),
            String::from_utf8_lossy(&theirs.4)
        );
    }
}

fn command(from: &str, to: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["store", "copy", "--json", "--from", from, "--to", to]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn copy(from: &str, to: &str, more: &[&str]) -> Value {
    let output = command(from, to).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts a copy over a slow line and kills it (SIGKILL) when so many bytes have gone that way.
fn kill_after(bytes: u64, proxy: &Proxy, from: &str, to: &str, forwarded: impl Fn(&Proxy) -> u64) {
    let before = forwarded(proxy);
    proxy.set(Fault::Throttle { bytes_per_second: 2_000_000 });
    let mut copying: Child = command(from, to).spawn().unwrap();
    wait_until("so much has been copied", || forwarded(proxy) - before >= bytes);
    assert_eq!(copying.try_wait().unwrap(), None, "it is in the middle");
    copying.kill().unwrap();
    copying.wait().unwrap();
    proxy.set(Fault::None);
}

/// Starts a copy and kills it (SIGKILL) when it has made the tables in a MariaDB, and is still reading the source for
/// the first time, over a line that is too slow for more.
fn kill_before_the_first_row(proxy: &Proxy, from: &str, to: &str, database: &str) {
    proxy.set(Fault::Throttle { bytes_per_second: 100_000 });
    let mut copying: Child = command(from, to).spawn().unwrap();
    let all = MariaDb::shared();
    let migrations = "select count(*) from schema_migrations where name = 'leases'";
    wait_until("the tables are made", || all.try_sql(database, migrations).is_ok_and(|count| count.trim() == "1"));
    assert_eq!(copying.try_wait().unwrap(), None, "it is in the middle");
    copying.kill().unwrap();
    copying.wait().unwrap();
    proxy.set(Fault::None);
    assert_eq!(all.sql(database, "select count(*) from users"), "0");
}

/// No command opens what is not copied to its end.
fn assert_unfinished(database: &str) {
    let refused = Command::new(BINARY).args(["user", "list", "--database", database]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("unfinished copy"), "{said}");
}

fn on(url: &str) -> Options {
    Options { env: vec![("INKSTONE__STORE__URL".to_owned(), url.to_owned())], ..Options::default() }
}

fn digests(report: &Value) -> Value {
    report["tables"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_blog_moves_to_postgresql_to_mariadb_and_back() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/rust-blog/content");
    assert!(Path::new(folder).is_dir(), "this test needs ../shared/data/rust-blog beside the project");
    let mut laptop = Inkstone::start_with(BINARY, Options::default().on_sqlite());
    let imported = laptop.cli(&["import", "markdown", folder, "--json"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    laptop.add_user("ada", "editor");
    let token = laptop.token("ada", "read posts:write tags:write account");
    let ada = laptop.client().with_token(&token);
    // An old address, a tombstone, and an answer under a key.
    let made = ada.post("/api/v2/posts", &post("First name")).await.expect(201);
    let path = format!("/api/v2/posts/{}", made.json()["id"]);
    ada.patch(&path, made.etag(), &json!({"slug": "second-name", "title": "Caf\u{e9} \u{1f58b}\u{fe0f} \u{202e}"}))
        .await
        .expect(200);
    let lost = ada.post("/api/v2/posts", &post("Lost")).await.expect(201);
    let gone = lost.json()["id"].as_i64().unwrap();
    ada.delete(&format!("/api/v2/posts/{gone}"), lost.etag()).await.expect(204);
    let keyed = |client: Client| async move {
        let request = client.request(Method::POST, "/api/v2/posts").header("idempotency-key", "once-only");
        request.json(&post("Only once")).send().await.expect(201)
    };
    let first = keyed(ada).await;

    let here = all(&laptop, gone).await;
    assert!(here.iter().filter(|seen| seen.1 == 200 && seen.2.is_some()).count() > 100, "pages and posts");
    assert_eq!(here.iter().filter(|seen| seen.1 == 410).count(), 2, "the tombstone, in both versions");
    assert!(here.iter().filter(|seen| seen.1 == 308).count() >= 2, "old addresses");
    assert_eq!(laptop.terminate(), Some(0));

    // There, over a slow line, killed again and again.
    let postgres = Postgres::shared();
    let database = postgres.database();
    let proxy = Proxy::before(postgres.port());
    let (from, slow) =
        (laptop.data_dir().display().to_string(), postgres.url_through(&proxy.address().to_string(), &database));
    for bytes in [20_000, 400_000, 1_500_000, 3_000_000] {
        kill_after(bytes, &proxy, &from, &slow, |proxy| proxy.counts().to_server);
    }
    assert_unfinished(&slow);
    let there = copy(&from, &slow, &[]);
    assert_eq!(
        (&there["outcome"], postgres.sql(&database, "select count(*) from posts").as_str()),
        (&json!("resumed"), "757")
    );
    let url = postgres.url(&database);
    assert_eq!(copy(&from, &url, &[])["outcome"], "unchanged");
    assert_eq!(copy(&from, &url, &["--verify"])["outcome"], "same");

    let mut cluster = Inkstone::start_with(BINARY, on(&url));
    assert_same(&here, &all(&cluster, gone).await);
    let ada = cluster.client().with_token(&token);
    assert_eq!(keyed(ada.clone()).await.json(), first.json(), "the same answer, not another post");
    let later = ada.post("/api/v2/posts", &post("Written there")).await.expect(201);
    assert_eq!(later.json()["id"].as_i64(), first.json()["id"].as_i64().map(|id| id + 1));
    let here = all(&cluster, gone).await;
    assert_eq!(cluster.terminate(), Some(0));

    // On to MariaDB, over another slow line.
    let maria = MariaDb::shared();
    let database = maria.database();
    kill_before_the_first_row(&proxy, &slow, &maria.url(&database), &database);
    assert_unfinished(&maria.url(&database));
    let proxy = Proxy::before(maria.port());
    let (from, slow, second) = (url, maria.url_through(&proxy.address().to_string(), &database), maria.url(&database));
    for bytes in [400_000, 3_000_000] {
        kill_after(bytes, &proxy, &from, &slow, |proxy| proxy.counts().to_server);
    }
    assert_eq!(copy(&from, &second, &[])["outcome"], "resumed");
    assert_eq!(copy(&from, &second, &["--verify"])["outcome"], "same");
    let mut cluster = Inkstone::start_with(BINARY, on(&second));
    assert_same(&here, &all(&cluster, gone).await);
    let ada = cluster.client().with_token(&token);
    assert_eq!(keyed(ada.clone()).await.json(), first.json(), "the same answer, not another post");
    let before = later;
    let later = ada.post("/api/v2/posts", &post("Written there too")).await.expect(201);
    assert_eq!(later.json()["id"].as_i64(), before.json()["id"].as_i64().map(|id| id + 1));
    let here = all(&cluster, gone).await;
    assert_eq!(cluster.terminate(), Some(0));

    // And back.
    let home = Arc::new(tempfile::tempdir().unwrap());
    let back = home.path().join("back");
    let to = format!("sqlite:{}", back.display());
    for bytes in [300_000, 3_000_000, 30_000_000] {
        kill_after(bytes, &proxy, &slow, &to, |proxy| proxy.counts().to_client);
    }
    let report = copy(&slow, &to, &[]);
    assert_eq!(report["outcome"], "resumed");
    assert_eq!(digests(&copy(&second, &to, &["--verify"])).as_array().unwrap().len(), 24);
    assert!(open_file(&back.join("inkstone.db")).db().integrity_check().await.unwrap().is_empty());
    let laptop = Inkstone::start_in(BINARY, Options::default().on_sqlite(), home, back);
    assert_same(&here, &all(&laptop, gone).await);
    let ada = laptop.client().with_token(&token);
    let latest = ada.post("/api/v2/posts", &post("Written at home")).await.expect(201);
    assert_eq!(latest.json()["id"].as_i64(), later.json()["id"].as_i64().map(|id| id + 1));
}
