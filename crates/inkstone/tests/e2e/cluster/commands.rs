//! The commands of `deploy/cluster`, as `docs/operations/cluster.md` tells to use them: under load nobody
//! notices a rolling restart, a node that joins and one that leaves, and no reader one that is killed.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use inkstone_testkit::services::free_ports;
use inkstone_testkit::{Client, Keeper, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::BINARY;
use crate::posts::post;

const COMMANDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/cluster");
/// How the file of the other program ends: it does what this one does, and this is all that tells them apart.
const OTHER: &str = "the release after this one";

/// A cluster that the commands have started. It ends with this value, or with the test process.
struct Cluster {
    dir: PathBuf,
    port: u16,
    _keeper: Keeper,
}

impl Cluster {
    fn up() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        // Whose servers run as nobody must be able to get there.
        let open = std::fs::Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new().prefix("inkstone cluster ").permissions(open).tempdir().unwrap().keep();
        let mut cluster = Self { _keeper: Keeper::new(&dir, &dir), dir, port: 0 };
        for _ in 0..10 {
            cluster.port = free_ports(1)[0];
            let output = cluster.command("up", &[]);
            if output.status.success() {
                return cluster;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("somebody listens on port"), "{said}");
        }
        panic!("no free ports");
    }

    fn prepare(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(format!("{COMMANDS}/{name}"));
        command.args(arguments).env("CLUSTER_DIR", &self.dir).env("CLUSTER_PORT", self.port.to_string());
        // What is tested is not how much one account may write.
        command.env("INKSTONE", BINARY).env("INKSTONE__HTTP__RATE_LIMITS__WRITES__REQUESTS", "1000000");
        command
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Output {
        self.prepare(name, arguments).output().unwrap()
    }

    /// Runs a command that waits for a server that hangs, but not for a minute; who is killed is this one, and nobody else.
    fn run_past(&self, hangs: &str, name: &str) {
        let output = self.prepare(name, &[]).env("CLUSTER_PATIENCE", "15").output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("{name}: {hangs} does not stop: it is killed\n"));
    }

    /// Runs a command beside the test, which goes on asking.
    fn run(&self, name: &'static str, arguments: &[&str]) -> String {
        let output = tokio::task::block_in_place(|| self.command(name, arguments));
        assert!(output.status.success(), "{name}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.port))
    }

    /// One node, without the balancer.
    fn node(&self, number: u16) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.port + 10 + number))
    }

    fn kill(&self, server: &str) {
        self.signal(server, "-KILL");
    }

    fn signal(&self, server: &str, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid(server)]).status().unwrap().success());
    }

    fn pid(&self, server: &str) -> String {
        let said = std::fs::read_to_string(self.dir.join(format!("run/{server}.pid"))).unwrap();
        said.split_whitespace().next().unwrap().to_owned()
    }

    /// Whether the three nodes run the [other program](OTHER).
    fn run_other(&self) -> [bool; 3] {
        [1, 2, 3].map(|node| {
            let program = File::open(format!("/proc/{}/exe", self.pid(&format!("node-{node}")))).unwrap();
            let length = program.metadata().unwrap().len();
            let mut end = [0; OTHER.len()];
            program.read_exact_at(&mut end, length - OTHER.len() as u64).unwrap();
            end == OTHER.as_bytes()
        })
    }

    /// Somebody who may write, and a public post.
    async fn author_and_post(&self) -> (Client, String) {
        let password = "a long phrase only for these tests";
        let made = Command::new("sh")
            .args([
                "-c",
                "printf '%s' \"$2\" | \"$1\"/ink user add ada --role author --password-stdin",
                "sh",
                COMMANDS,
                password,
            ])
            .env("CLUSTER_DIR", &self.dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let token = self.run(
            "ink",
            &["token", "create", "--user", "ada", "--name", "test", "--scopes", "read posts:write", "--json"],
        );
        let token: serde_json::Value = serde_json::from_str(&token).unwrap();
        let author = self.client().with_token(token["token"].as_str().unwrap());
        let path =
            author.post("/api/v2/posts", &post("First")).await.expect(201).header("location").unwrap().to_owned();
        (author, path)
    }
}

/// Clients that ask one question after the other until they are told to stop. Any answer but the
/// expected one, and none, is a failure.
struct Load {
    stopping: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn new() -> Self {
        Self { stopping: Arc::default(), done: Arc::default(), workers: Vec::new() }
    }

    fn add(&mut self, client: &Client, path: Option<&str>) {
        let (stopping, done) = (self.stopping.clone(), self.done.clone());
        // A connection pool of its own, as other people have.
        let client = client.another();
        let path = path.map(str::to_owned);
        self.workers.push(tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                let (asked, expected) = match &path {
                    Some(path) => (client.request(reqwest::Method::GET, path), 200),
                    None => (client.request(reqwest::Method::POST, "/api/v2/posts").json(&post("Under load")), 201),
                };
                match asked.try_send().await {
                    Ok(answer) if answer.status == expected => {}
                    Ok(answer) => failures.push(format!("{} {}", answer.status, answer.text())),
                    Err(error) => failures.push(format!("{error:?}")),
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            failures
        }));
    }

    /// Waits for so many more answers.
    async fn answers(&self, more: usize) {
        let enough = self.done.load(Ordering::Relaxed) + more;
        until("the clients get answers", async || self.done.load(Ordering::Relaxed) >= enough).await;
    }

    /// How many requests were made; none of them failed.
    async fn stop(self, what: &str) {
        self.stopping.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for worker in self.workers {
            failures.extend(worker.await.unwrap());
        }
        let done = self.done.load(Ordering::Relaxed);
        println!("FIGURES {what}: {} of {done} requests failed", failures.len());
        assert!(
            failures.is_empty(),
            "{what}: {} of {done} failed: {:?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
    }
}

/// Makes the [other program](OTHER). By a shell: a file that this process has open to write, its other children hold
/// for a moment, and nobody can run it then.
fn make_other(path: &Path) {
    let copy = "cp \"$1\" \"$2\" && printf %s \"$3\" >>\"$2\"";
    assert!(Command::new("sh").args(["-c", copy, "sh", BINARY]).arg(path).arg(OTHER).status().unwrap().success());
}

/// There is no second release yet, so the one that is deployed here, and taken back, is a copy of this one.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_what_the_commands_do_under_load() {
    let cluster = Cluster::up();
    let (author, path) = cluster.author_and_post().await;
    let secrets = std::fs::read_to_string(cluster.dir.join("log/node-1.log")).unwrap();
    assert!(!secrets.contains("ink_setup_"), "the one-time secret is in a log");

    let releases = tempfile::tempdir().unwrap();
    let other = releases.path().join("the other inkstone");
    make_other(&other);

    let anonymous = cluster.client();
    let mut load = Load::new();
    for path in [path.as_str(), path.as_str(), "/api/v2/posts", "/api/v1/posts"] {
        load.add(&anonymous, Some(path));
    }
    load.add(&author, None);
    load.add(&author, None);
    load.answers(200).await;
    assert_eq!(cluster.run_other(), [false; 3]);
    for (program, is_other) in [(other.to_str().unwrap(), true), (BINARY, false)] {
        cluster.run("restart", &[program]);
        assert_eq!(cluster.run_other(), [is_other; 3], "{program}");
        load.answers(200).await;
    }
    cluster.run("add", &[]);
    load.answers(200).await;
    cluster.run("remove", &["2"]);
    load.answers(200).await;
    load.stop("rolling restart, one node joins, one leaves").await;

    let mut load = Load::new();
    for path in [path.as_str(), "/api/v2/posts", "/api/v1/posts", path.as_str()] {
        load.add(&anonymous, Some(path));
    }
    for node in [1, 3] {
        load.answers(200).await;
        cluster.kill(&format!("node-{node}"));
        load.answers(200).await;
        assert!(cluster.run("status", &[]).contains(&format!("node {node} does not run")));
        cluster.run("restart", &[]);
    }
    load.answers(200).await;
    load.stop("two nodes killed, one after the other, as readers see it").await;

    // With the database gone no node is ready, and what they have kept is given all the same.
    for node in [1, 3, 4] {
        cluster.node(node).get(&path).await.expect(200);
    }
    cluster.kill("postgres");
    until("no node is ready", async || !cluster.run("status", &[]).contains("takes requests")).await;
    for _ in 0..6 {
        anonymous.get(&path).await.expect(200);
    }
    let refused = author.post("/api/v2/posts", &post("Too late")).await.expect(503);
    assert_eq!(refused.problem(), "unavailable", "a node has answered: {refused:?}");
    cluster.run("down", &["--remove"]);
    assert!(!cluster.dir.exists());
}

/// What a command says that refuses.
#[track_caller]
fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_port_that_is_none_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cluster");
    for port in ["http", "0", "65497", "65530", "8080x", "-1"] {
        let mut up = Command::new(format!("{COMMANDS}/up"));
        let said = refused(&up.env("CLUSTER_DIR", &place).env("CLUSTER_PORT", port).output().unwrap());
        assert!(said.contains("CLUSTER_PORT is a number from 1 to 65496, not ") && said.contains(port), "{said}");
    }
    assert!(!place.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_would_end_in_the_middle_does_not_begin() {
    let cluster = Cluster::up();
    let pid = || std::fs::read_to_string(cluster.dir.join("run/node-1.pid")).unwrap();
    let before = pid();
    // Where it is may be said from anywhere.
    let (parent, name) = (cluster.dir.parent().unwrap(), cluster.dir.file_name().unwrap());
    let mut status = Command::new(format!("{COMMANDS}/status"));
    let status = status.current_dir(parent).env("CLUSTER_DIR", name).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("node 3 takes requests"), "{status:?}");

    let said = refused(&cluster.command("restart", &["/bin/true"]));
    assert!(said.contains("/bin/true is no inkstone"), "{said}");
    cluster.kill("postgres");
    until("no node is ready", async || !cluster.run("status", &[]).contains("takes requests")).await;
    let said = refused(&cluster.command("restart", &[]));
    assert!(said.contains("no node is ready"), "{said}");
    assert_eq!(pid(), before, "node 1 runs as it did");
    assert!(cluster.run("status", &[]).contains("node 1 takes no requests"));

    // So a server that died comes back: everything is where it was.
    cluster.run("down", &[]);
    cluster.run("up", &[]);
    assert!(cluster.run("status", &[]).contains("node 3 takes requests"));
    cluster.run("down", &["--remove"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn down_waits_for_requests() {
    let cluster = Arc::new(Cluster::up());
    let (author, _) = cluster.author_and_post().await;
    let body = post("Slowly uploaded").to_string();
    let head = format!(
        "POST /api/v2/posts HTTP/1.1\r\nhost: blog\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        author.token().unwrap(),
        body.len()
    );
    let (first, rest) = body.split_at(body.len() / 2);
    let mut upload = tokio::net::TcpStream::connect(("127.0.0.1", cluster.port)).await.unwrap();
    upload.write_all(head.as_bytes()).await.unwrap();
    let mut word = [0; 25];
    upload.read_exact(&mut word).await.unwrap();
    assert_eq!(word.as_slice(), b"HTTP/1.1 100 Continue\r\n\r\n", "a node has the request");
    upload.write_all(first.as_bytes()).await.unwrap();

    let down = tokio::task::spawn_blocking({
        let cluster = cluster.clone();
        move || cluster.command("down", &[])
    });
    // Those with nothing to do have ended by then, and the one with the upload takes nothing else.
    let is_gone = |node| TcpStream::connect(("127.0.0.1", cluster.port + 10 + node)).is_err();
    until("no node takes requests", async || (1..=3).all(is_gone)).await;
    upload.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let down = down.await.unwrap();
    assert!(down.status.success() && down.stderr.is_empty(), "nobody had to be killed: {down:?}");
    cluster.run("down", &["--remove"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_holds_no_command_up() {
    let cluster = Cluster::up();
    let (_, path) = cluster.author_and_post().await;
    cluster.signal("node-2", "-STOP");
    until("the balancer has noticed", async || {
        let status = cluster.run("status", &[]);
        status.contains("node 2 takes no requests") && status.contains("it does not answer")
    })
    .await;
    cluster.run_past("node-2", "restart");
    until("all take requests", async || cluster.run("status", &[]).matches(" takes requests").count() == 3).await;

    cluster.signal("node-1", "-STOP");
    cluster.run_past("node-1", "down");
    assert!(!cluster.run("status", &[]).contains(" runs"), "all of it is down");
    cluster.run("up", &[]);
    cluster.client().get(&path).await.expect(200);
    cluster.run("down", &["--remove"]);
}

/// Requests through rolling restarts, all of which are answered.
async fn restart_under(requests: usize) {
    let cluster = Cluster::up();
    let (author, path) = cluster.author_and_post().await;
    let anonymous = cluster.client();
    let mut load = Load::new();
    for path in [path.as_str(), path.as_str(), path.as_str(), "/api/v2/posts", "/api/v2/posts", "/api/v1/posts"] {
        load.add(&anonymous, Some(path));
    }
    load.add(&author, None);
    let mut restarts = 0;
    while load.done.load(Ordering::Relaxed) < requests {
        cluster.run("restart", &[]);
        restarts += 1;
    }
    load.stop(&format!("{restarts} rolling restarts of three nodes")).await;
    cluster.run("down", &["--remove"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: ./battery --long runs it"]
async fn long_a_hundred_thousand_requests_pass_through_rolling_restarts() {
    restart_under(100_000).await;
}
