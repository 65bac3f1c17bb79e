//! PostgreSQL with replicas: the primary fails over, is cut off, or is ahead of those who follow it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use inkstone_testkit::history::{Ending, Operation, Outcome, Promise, assert_kept};
use inkstone_testkit::services::{Postgres, ReplicaOptions};
use inkstone_testkit::{Answer, Client, Fault, Fleet, FleetOptions, Inkstone, Options, Proxy, Toward, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::faults::trial::{Trial, tell};
use crate::posts::post;
use crate::{BINARY, open_store};

const CHANGE: &str = "inkstone-change";
/// How old an answer may be where another node has written: `cache.max_lag`.
const MAX_LAG: Duration = Duration::from_secs(2);
const MAY_BE_OLD: &str = "inkstone; fwd=uri-miss; detail=replica";

/// A primary, a replica of it, and the name of a database.
struct Pair {
    primary: Postgres,
    replica: Postgres,
    database: String,
}

impl Pair {
    fn start(synchronous: bool) -> Self {
        let primary = Postgres::start();
        let database = primary.database();
        let replica = primary.replica(ReplicaOptions { synchronous, ..ReplicaOptions::default() });
        Self { primary, replica, database }
    }

    /// An asynchronous pair, and what the replica receives its changes through.
    fn linked() -> (Self, Proxy) {
        let primary = Postgres::start();
        let database = primary.database();
        let link = Proxy::before(primary.port());
        let replica = primary.replica(ReplicaOptions { upstream: Some(link.address()), ..ReplicaOptions::default() });
        (Self { primary, replica, database }, link)
    }

    /// A server that reaches the primary at `hosts` and reads from the replica.
    fn serve(&self, hosts: &str, settings: &[(&str, &str)]) -> Inkstone {
        let replica = self.replica.url(&self.database);
        self.serve_alone(hosts, &[&[("STORE__REPLICAS", replica.as_str())], settings].concat())
    }

    /// A server that reaches the primary at `hosts` and reads from nowhere else.
    fn serve_alone(&self, hosts: &str, settings: &[(&str, &str)]) -> Inkstone {
        let url = self.primary.url_through(hosts, &self.database);
        // Whatever the other tests run on: a shared cache would tell the nodes of each other's changes.
        let settings = [&[("STORE__URL", url.as_str()), ("CACHE__SHARED__URL", "")], settings].concat();
        let set = |(name, value): &(&str, &str)| (format!("INKSTONE__{name}"), (*value).to_owned());
        let env = settings.iter().map(set).collect();
        Inkstone::start_with(BINARY, Options { env, ..Options::default() })
    }

    fn hosts(&self) -> String {
        format!("127.0.0.1:{}", self.primary.port())
    }

    fn both_hosts(&self) -> String {
        format!("{},127.0.0.1:{}", self.hosts(), self.replica.port())
    }
}

/// What `/readyz` says, and its status.
async fn readiness(server: &Inkstone, name: &str) -> (u16, String, String) {
    let answer = server.operations().get("/readyz").await;
    let checks = answer.json()["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    let word = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), word("status"), word("reason"))
}

async fn metric(server: &Inkstone, line: &str) -> f64 {
    let text = server.operations().get("/metrics").await.text();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{line} is not among\n{text}"))
}

/// A page that nobody has asked for before.
fn unheard_of() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/api/v2/posts?q=w{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Reads something that nobody has asked for before.
async fn read_anew(server: &Inkstone) -> Answer {
    server.client().get(&unheard_of()).await.expect(200)
}

/// Waits until the server reads from the replica.
async fn until_replica_is_read(server: &Inkstone) {
    let before = reads_from_replica(server).await;
    until("the replica is read", async || {
        read_anew(server).await;
        reads_from_replica(server).await > before
    })
    .await;
}

async fn reads_from_replica(server: &Inkstone) -> f64 {
    metric(server, "inkstone_database_public_reads_total{target=\"replica\"} ").await
}

/// Reads what a client who knows of `change` is shown.
async fn read(client: &Client, path: &str, change: &str) -> Answer {
    client.request(Method::GET, path).header(CHANGE, change).send().await
}

fn change_of(answer: &Answer) -> String {
    answer.header(CHANGE).expect("a write says which change it was").to_owned()
}

fn path_of(answer: &Answer) -> String {
    answer.header("location").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_on_every_node_whatever_the_replica_lacks() {
    let pair = Pair::start(false);
    let one = pair.serve(&pair.hosts(), &[("STORE__MAX_LAG", "1s")]);
    // The other one learns of nothing by itself while this runs, and trusts what it has.
    let slow = [("WORKER__POLL", "1m"), ("CACHE__MAX_LAG", "1h"), ("STORE__MAX_LAG", "1h")];
    let other = pair.serve(&pair.hosts(), &slow);
    let author = one.sign_up("ada", "author").await;
    pair.replica.catch_up_with(&pair.primary);
    until_replica_is_read(&one).await;
    until_replica_is_read(&other).await;

    pair.replica.sql("postgres", "select pg_wal_replay_pause()");
    let made = author.post("/api/v2/posts", &post("First")).await.expect(201);
    let (path, mut change, mut tag) = (path_of(&made), change_of(&made), made.etag().to_owned());
    assert_eq!(one.client().get(&path).await.expect(200).json()["title"], "First", "it wrote it");
    let shown = read(&other.client(), &path, &change).await.expect(200);
    assert_eq!(shown.json()["title"], "First");
    for round in 0..10 {
        let title = format!("Round {round}");
        // Kept by the other node, which has no reason to drop it.
        let kept = other.client().get(&path).await.expect(200).json()["title"].clone();
        let written = author.patch(&path, &tag, &json!({"title": title})).await.expect(200);
        (change, tag) = (change_of(&written), written.etag().to_owned());
        assert_eq!(
            other.client().get(&path).await.expect(200).json()["title"],
            kept,
            "the header makes the difference"
        );
        assert_eq!(read(&other.client(), &path, &change).await.expect(200).json()["title"], title);
        let listed = read(&other.client(), "/api/v1/posts", &change).await.expect(200);
        assert_eq!(listed.json()["data"][0]["title"], title);
        assert_eq!(one.client().get(&path).await.expect(200).json()["title"], title);
    }

    // Nothing is decided by what the replica shows: it knows of none of these.
    let tags = author.post("/api/v2/tags", &json!({"name": "Stone", "slug": "stone"})).await;
    assert!([201, 403].contains(&tags.status.as_u16()), "{tags:?}");
    let key = "\"once\"";
    let twice = || author.request(Method::POST, "/api/v2/posts").header("idempotency-key", key).json(&post("Once"));
    let first = twice().send().await.expect(201);
    let again = twice().send().await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), again.body.clone()), (Some("true"), first.body.clone()));
    assert!(change_of(&again).parse::<i64>().unwrap() >= change_of(&first).parse::<i64>().unwrap());
    assert_eq!(author.patch(&path, "\"v1.old\"", &json!({"title": "Lost"})).await.status, 412);
    one.add_user("eve", "editor");
    let token = one.token("eve", "read posts:write");
    let editor = other.client().with_token(&token);
    assert_eq!(editor.get(&path).await.expect(200).json()["title"], "Round 9", "who is somebody reads the primary");
    editor.patch(&path, &tag, &json!({"title": "By an editor"})).await.expect(200);

    // Bogus numbers cost nothing and lead nowhere.
    let bogus = read(&one.client(), &path, "999999999999999").await.expect(200);
    assert_eq!(bogus.json()["title"], "By an editor");
    assert_eq!(read(&one.client(), &path, "tomorrow").await.expect(400).problem(), "bad-header");

    until("the lag is reported", async || readiness(&one, "replicas").await.1 == "degraded").await;
    let (status, _, reason) = readiness(&one, "replicas").await;
    assert!(
        status == 200 && reason.contains(&format!(":{}", pair.replica.port())) && reason.contains("lags"),
        "{reason}"
    );
    assert!(!reason.contains("inkstone:"), "no password: {reason}");
    let lag = format!("inkstone_database_replica_lag_seconds{{replica=\"{}\"}} ", name_of(&pair));
    assert!(metric(&one, &lag).await >= 1.0);
    let doctor = one.cli(&["doctor", "--set", &format!("store.replicas={}", pair.replica.url(&pair.database))]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("warn  replica: ") && said.contains(" is at change "), "{said}");

    pair.replica.sql("postgres", "select pg_wal_replay_resume()");
    until("it is read again", async || readiness(&one, "replicas").await.1 == "ok").await;
    until_replica_is_read(&one).await;
    assert_eq!(one.client().get(&format!("{path}?fields=title")).await.expect(200).json()["title"], "By an editor");
}

fn name_of(pair: &Pair) -> String {
    let url = pair.replica.url(&pair.database);
    let (user, rest) = url.trim_start_matches("postgres://").split_once('@').unwrap();
    format!("postgres://{}@{rest}", user.split(':').next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_from_the_primary_a_node_shows_what_the_replica_has_and_how_old_it_may_be() {
    let pair = Pair::start(false);
    let proxy = Proxy::before(pair.primary.port());
    let settings = [("STORE__MAX_LAG", "200ms"), ("HTTP__REQUEST_DEADLINE", "5s")];
    let server = pair.serve(&proxy.address().to_string(), &settings);
    let beside = pair.serve(&pair.hosts(), &[]);
    let author = server.with_token("ada", "author");
    let made = author.post("/api/v2/posts", &post("Before")).await.expect(201);
    let (path, change) = (path_of(&made), change_of(&made));
    pair.replica.catch_up_with(&pair.primary);
    until_replica_is_read(&server).await;
    let anonymous = server.client();
    for fault in [Fault::Refuse, Fault::Hang(Toward::Both)] {
        proxy.set(fault);
        until("the answers say that they may be old", async || {
            let shown = read_anew(&server).await;
            shown.header("cache-status") == Some(MAY_BE_OLD) && shown.header("age").is_some()
        })
        .await;
        read(&anonymous, &format!("{path}?fields=id"), &change).await.expect(200);
        // Somebody else goes on writing, and the replica goes on following.
        let elsewhere = beside.client().with_token(&server_token(&beside));
        let tag = elsewhere.get(&path).await.expect(200).etag().to_owned();
        let title = format!("During {fault:?}");
        let written = elsewhere.patch(&path, &tag, &json!({"title": title})).await.expect(200);
        pair.replica.catch_up_with(&pair.primary);
        let shown = read(&anonymous, &path, &change_of(&written)).await.expect(200);
        assert_eq!(shown.json()["title"], title, "the replica has what the client knows of");
        // Nobody is let in on the word of a replica, and nothing is taken that cannot be kept.
        let refused = author.post("/api/v2/posts", &post("Lost")).await;
        assert!([503, 504].contains(&refused.status.as_u16()), "{refused:?}");
        assert!(refused.status != 503 || refused.header("retry-after").is_some(), "{refused:?}");
        let stranger = server.client().with_token("ink_pat_guessed").post("/api/v2/posts", &post("Lost")).await;
        assert!(stranger.status.as_u16() >= 400, "{stranger:?}");
        until("the database is missed, and the node gets what it can answer", async || {
            let (status, database, _) = readiness(&server, "database").await;
            (status, database.as_str()) == (200, "degraded")
        })
        .await;
        let (_, writes, why) = readiness(&server, "database_writes").await;
        assert!(writes == "degraded" && !why.is_empty(), "none gets through: {writes} {why}");
        proxy.set(Fault::None);
        until("the node follows again", async || {
            let shown = anonymous.get(&path).await.expect(200);
            shown.json()["title"] == title && read_anew(&server).await.header("cache-status") != Some(MAY_BE_OLD)
        })
        .await;
        until("the database is there", async || readiness(&server, "database").await.1 == "ok").await;
        author.post("/api/v2/posts", &post(&format!("After {fault:?}"))).await.expect(201);
        // What it lacks when the next fault comes would be asked of the primary, which says nothing then.
        pair.replica.catch_up_with(&pair.primary);
        until_replica_is_read(&server).await;
    }
    let titles = titles(&server.client().get("/api/v2/posts").await.expect(200).json());
    assert_eq!(titles.iter().filter(|title| *title == "Lost").count(), 0, "refused is not done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_way_to_the_primary_swallows_everything_loses_nothing_and_lets_nobody_in() {
    let pair = Pair::start(false);
    let way = Proxy::before(pair.primary.port());
    // So that what it has locked when it is cut off does not hold up the other one for long.
    let settings = [("STORE__MAX_LAG", "200ms"), ("STORE__TIMEOUT", "4s"), ("STORE__WRITE_TIMEOUT", "2s")];
    let cut_off = pair.serve(&way.address().to_string(), &settings);
    let beside = pair.serve(&pair.hosts(), &[]);
    pair.replica.catch_up_with(&pair.primary);
    until_replica_is_read(&cut_off).await;
    // Who is somebody is shown what the primary has.
    let reader = beside.with_token("ada", "reader");
    let promise = Promise { staleness: MAX_LAG, moving: false };
    let doors = [cut_off.base(), beside.base()];
    let name = "a node cut off from the primary (packets lost), a replica there";
    let mut trial = Trial::begin(name, &beside, &doors, promise).await;
    trial.strikes();
    way.set(Fault::Swallow(Toward::Both));
    until("the answers say that they may be old", async || {
        let shown = cut_off.client().get(&unheard_of()).await;
        shown.status == 200 && shown.header("cache-status") == Some(MAY_BE_OLD) && shown.header("age").is_some()
    })
    .await;
    trial.nobody_is_let_in().await;
    // By then the other node has written what this one was not told of.
    trial.work(100).await;
    let (status, database, _) = readiness(&cut_off, "database").await;
    assert_eq!((status, database.as_str()), (200, "degraded"), "it gets what it can answer");
    trial.holds(MAX_LAG.mul_f64(1.5)).await;
    // What was swallowed is gone for good: these connections never answer again.
    way.set_new(Fault::None);
    trial.heals();
    until("the database is there", async || readiness(&cut_off, "database").await.1 == "ok").await;
    let figures = trial.end(&reader, &open_store(&beside)).await;
    assert!(figures.writes.errors > 0, "it was felt: {figures}");
    assert!(figures.errors.keys().all(|status| [0, 503, 504].contains(status)), "{figures}");
}

/// A personal token of Ada's.
fn server_token(server: &Inkstone) -> String {
    server.token("ada", "read posts:write")
}

fn titles(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|post| post["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_of_the_database_loses_nothing_that_was_acknowledged() {
    let pair = Pair::start(true);
    let hosts = pair.both_hosts();
    // Without a cache: every read shows what the database says at that moment.
    let server = pair.serve_alone(&hosts, &[("CACHE__MAX_BYTES", "0")]);
    server.add_user("ada", "editor");
    let client = server.client().with_token(&server.token("ada", "read posts:write"));
    let fleet = Fleet::start(vec![client; 8], FleetOptions { seed: 5, ..FleetOptions::default() });
    fleet.acknowledged(300).await;
    let struck = fleet.elapsed();
    pair.primary.process().kill();
    pair.replica.promote();
    let healed = fleet.elapsed();
    fleet.acknowledged(300).await;
    let mut log = fleet.stop().await;
    tell("PostgreSQL failed over to its synchronous replica, no cache", &log.heard, struck, healed);
    let rows = log.rows(&server.client()).await;
    let is_write = |operation: &Operation| !matches!(operation, Operation::Read);
    let mut acked: Vec<Duration> = log
        .records
        .iter()
        .filter(|record| is_write(&record.operation) && matches!(record.outcome, Outcome::Acked(_)))
        .map(|record| record.end)
        .collect();
    acked.sort_unstable();
    let gap = acked.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap();
    let (told, refused, unknown) = log.outcomes();
    println!(
        "{told} acknowledged, {refused} refused, {unknown} unknown; no write for {gap:?} at most; {} posts",
        rows.len()
    );
    assert!(unknown > 0, "the failover was felt");
    assert_kept(&log.records, &Ending { rows, events: None }, Promise::default());
}

/// Waits until the database takes a write of this client's.
async fn until_written(client: &Client, path: &str, body: &Value) {
    let write = async || client.patch(path, "*", body).await.status == 200;
    until("the database takes writes", write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_that_lost_changes_no_node_shows_what_was_made_of_them() {
    let (pair, link) = Pair::linked();
    let hosts = pair.both_hosts();
    // Each of them has what it keeps for longer than this test is patient.
    let (one, other) = (pair.serve_alone(&hosts, &[]), pair.serve_alone(&hosts, &[]));
    let author = one.sign_up("ada", "author").await;
    let path = path_of(&author.post("/api/v2/posts", &post("Kept")).await.expect(201));
    pair.replica.catch_up_with(&pair.primary);

    // From here on nothing reaches the replica: neither of these changes will have happened.
    link.set(Fault::Refuse);
    let lost = path_of(&author.post("/api/v2/posts", &post("Lost")).await.expect(201));
    let last = change_of(&author.patch(&lost, "*", &json!({"title": "Lost twice"})).await.expect(200));
    for node in [&one, &other] {
        // By then it has looked at the change, and not only read the post.
        let shown = read(&node.client(), &lost, &last).await.expect(200);
        assert_eq!(shown.json()["title"], "Lost twice");
        node.client().get(&path).await.expect(200);
    }
    pair.primary.process().kill();
    pair.replica.promote();

    // A new change has the number of one that was lost.
    until_written(&author, &path, &json!({"status": "draft"})).await;
    let shown = [one.client().get(&path).await.status, one.client().get(&lost).await.status];
    assert_eq!(shown.map(|status| status.as_u16()), [404, 404], "who wrote it shows neither");
    for path in [&path, &lost] {
        until("the other node notices", async || other.client().get(path).await.status == 404).await;
    }
    // Whoever follows a change by its number is told no lies: it counts from the new history.
    let again = author.patch(&path, "*", &json!({"status": "published"})).await.expect(200);
    assert_eq!(read(&other.client(), &path, &change_of(&again)).await.expect(200).json()["title"], "Kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_had_read_and_not_looked_at_is_not_shown_after_a_failover_that_lost_it() {
    let (pair, link) = Pair::linked();
    let hosts = pair.both_hosts();
    let one = pair.serve_alone(&hosts, &[]);
    let author = one.sign_up("ada", "author").await;
    let path = path_of(&author.post("/api/v2/posts", &post("Kept")).await.expect(201));
    // This one looks for changes when it begins and when it writes, and trusts what it has.
    let slow = pair.serve_alone(&hosts, &[("WORKER__POLL", "1m"), ("CACHE__MAX_LAG", "1h")]);
    let writer = slow.client().with_token(author.token().unwrap());
    writer.patch(&path, "*", &json!({"title": "Kept and changed"})).await.expect(200);
    pair.replica.catch_up_with(&pair.primary);

    link.set(Fault::Refuse);
    let lost = path_of(&author.post("/api/v2/posts", &post("Lost")).await.expect(201));
    slow.client().get(&lost).await.expect(200);
    let kept = slow.client().get(&lost).await.expect(200);
    assert!(kept.header("cache-status").unwrap().starts_with("inkstone; hit"), "{kept:?}");
    pair.primary.process().kill();
    pair.replica.promote();

    // The last change that it had looked at is still there, and a new one has the number of the one that is lost.
    until_written(&writer, &path, &json!({"title": "Kept and changed again"})).await;
    slow.client().get(&lost).await.expect(404);
}

/// What `doctor` says where these are the hosts of the database. It is not content.
#[track_caller]
fn doctor_on(server: &Inkstone, pair: &Pair, hosts: &[&Postgres], replicas: &str) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("127.0.0.1:{}", host.port())).collect();
    let url = pair.primary.url_through(&hosts.join(","), &pair.database);
    let settings = [format!("store.url={url}"), format!("store.replicas={replicas}")];
    let doctor = server.cli(&["doctor", "--set", &settings[0], "--set", &settings[1]]);
    assert!(!doctor.status.success());
    String::from_utf8_lossy(&doctor.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_lost_is_read_from_no_replica_that_still_has_it() {
    let (pair, link) = Pair::linked();
    let third = pair.primary.replica(ReplicaOptions::default());
    let hosts = pair.both_hosts();
    let replicas = [&pair.replica, &third].map(|server| server.url(&pair.database)).join(",");
    // Without a cache: every read shows what is read at that moment.
    let server = pair.serve_alone(&hosts, &[("STORE__REPLICAS", replicas.as_str()), ("CACHE__MAX_BYTES", "0")]);
    let author = server.sign_up("ada", "author").await;
    let path = path_of(&author.post("/api/v2/posts", &post("Kept")).await.expect(201));
    pair.replica.catch_up_with(&pair.primary);
    until_replica_is_read(&server).await;

    // From here on only the third one receives what is written. Its primary goes, and the other takes over.
    link.set(Fault::Refuse);
    for number in 0..6 {
        author.post("/api/v2/posts", &post(&format!("Lost {number}"))).await.expect(201);
    }
    third.catch_up_with(&pair.primary);
    pair.primary.process().kill();
    pair.replica.promote();
    until_written(&author, &path, &json!({"title": "Kept and changed"})).await;
    let mut change = change_of(&author.post("/api/v2/posts", &post("New 0")).await.expect(201));
    for number in 1..10 {
        for _ in 0..4 {
            let shown = titles(&server.client().get("/api/v2/posts").await.expect(200).json());
            let told = titles(&read(&server.client(), "/api/v2/posts", &change).await.expect(200).json());
            for shown in [shown, told] {
                assert!(!shown.iter().any(|title| title.starts_with("Lost")), "{shown:?}");
                assert!(shown.contains(&format!("New {}", number - 1)), "{shown:?}");
            }
        }
        if number < 4 {
            until("it is said that one follows another history", async || {
                let (status, word, reason) = readiness(&server, "replicas").await;
                let named = reason.contains(&format!(":{}/", third.port())) && reason.contains("another history");
                (status, word.as_str()) == (200, "degraded") && named
            })
            .await;
        }
        change = change_of(&author.post("/api/v2/posts", &post(&format!("New {number}"))).await.expect(201));
    }
    // It has fewer changes than the primary by now; they are others all the same.
    let url = third.url(&pair.database);
    let doctor = server.cli(&["doctor", "--set", &format!("store.replicas={url}")]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("FAIL  replica: ") && said.contains("another history"), "{said}");
    assert!(!doctor.status.success());

    // One that is gone is not passed over in silence.
    let said = doctor_on(&server, &pair, &[&pair.replica, &pair.primary], &replicas);
    let silent = format!(":{}/{} cannot take over", pair.primary.port(), pair.database);
    assert!(said.contains("warn  hosts: of 2, ") && said.contains(&silent), "{said}");

    // Two that take writes are one too many, whichever of them the nodes have found. Which of them has what was
    // acknowledged last nobody can say, so that neither is to be thrown away.
    third.promote();
    for both in [[&pair.replica, &third], [&third, &pair.replica]] {
        let said = doctor_on(&server, &pair, &both, &replicas);
        assert!(said.contains("FAIL  hosts: ") && said.contains("all take writes"), "{said}");
        let of_replicas = said.split_once("  replica: ").expect("the other one is looked at").1;
        assert!(of_replicas.contains("build nothing anew yet") && !of_replicas.contains("pg_rewind"), "{said}");
    }
}
