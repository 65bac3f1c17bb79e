//! After a write is acknowledged, the node that took it never shows the old version, and the others no
//! longer than the bound: with messages, without them, without a Redis, and cut off from the database.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use inkstone_core::clock::{Clock as _, SystemClock};
use inkstone_testkit::services::{Memcached, Postgres, Redis, RedisOptions};
use inkstone_testkit::{Answer, Client, Dice, Fault, Inkstone, Proxy, Toward};
use serde_json::json;

use super::{MAX_LAG, Site, until};
use crate::posts::post;

/// How often a node looks for changes by itself (`worker.poll`), in milliseconds.
const POLL: u64 = 500;
/// How often it is written.
const ROUNDS: usize = 40;
/// How often it is written by `./battery --long`.
const MANY_ROUNDS: usize = 500;

fn now() -> Instant {
    SystemClock.instant()
}

fn title(answer: &Answer) -> String {
    answer.json()["title"].as_str().unwrap().to_owned()
}

/// Whether an answer was given because the database could not be asked, and says so.
fn is_emergency(answer: &Answer) -> bool {
    answer.header("cache-status").is_some_and(|status| status.ends_with("detail=stale-if-error"))
}

/// A published post on two nodes.
struct Pair {
    nodes: [Inkstone; 2],
    author: Client,
    path: String,
    tag: String,
}

impl Pair {
    async fn start(site: &Site) -> Self {
        Self::of([site.node(), site.node()]).await
    }

    async fn of(nodes: [Inkstone; 2]) -> Self {
        let author = nodes[0].sign_up("ada", "author").await;
        let made = author.post("/api/v2/posts", &post("Round")).await.expect(201);
        let (path, tag) = (made.header("location").unwrap().to_owned(), made.etag().to_owned());
        Self { nodes, author, path, tag }
    }

    async fn write(&mut self, title: &str) {
        let written = self.author.patch(&self.path, &self.tag, &json!({"title": title})).await.expect(200);
        written.etag().clone_into(&mut self.tag);
    }

    /// Has both nodes keep what there is now.
    async fn warm(&self) {
        for node in &self.nodes {
            until("it is kept", async || {
                let answer = node.client().get(&self.path).await.expect(200);
                answer.header("cache-status").unwrap().starts_with("inkstone; hit; ttl=")
            })
            .await;
        }
    }
}

/// Writes on one node and reads on both, again and again. Gives how long after the acknowledgement the
/// other one still gave the old answer; every read that began later than the bound must be right.
async fn watch(pair: &mut Pair, name: &str, rounds: usize) {
    let [writer, other] = pair.nodes.each_ref().map(Inkstone::client);
    let (mut lags, mut dice) = (Vec::new(), Dice::new(7));
    for round in 0..rounds {
        pair.warm().await;
        // At any time between two looks of the other one. Without this, each change came just after a look, which
        // the one before had waited for.
        tokio::time::sleep(Duration::from_millis(dice.roll() % POLL)).await;
        let wanted = format!("Round {round}");
        pair.write(&wanted).await;
        let acknowledged = now();
        assert_eq!(title(&writer.get(&pair.path).await.expect(200)), wanted, "the writer itself");
        loop {
            let asked = now();
            let answer = other.get(&pair.path).await.expect(200);
            if title(&answer) == wanted {
                lags.push(now() - acknowledged);
                break;
            }
            let lag = asked - acknowledged;
            assert!(lag < MAX_LAG, "{name}: {lag:?} after the acknowledgement: {answer:?}");
        }
    }
    lags.sort();
    let at = |percent: usize| lags[(lags.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("FIGURES invalidation, {name}: p50 {:.1} ms, p99 {:.1} ms of {rounds}", at(50), at(99));
}

async fn with_redis(rounds: usize) {
    let mut pair = Pair::start(&Site::fresh().with_redis()).await;
    watch(&mut pair, "with Redis", rounds).await;
    assert!(super::metric(&pair.nodes[1], "inkstone_shared_cache_heard_total").await >= 1.0, "by messages");
}

#[tokio::test]
async fn with_messages_the_other_nodes_learn_of_a_write_at_once() {
    with_redis(ROUNDS).await;
}

#[tokio::test]
async fn with_every_message_lost_the_bound_holds() {
    // Answers are shared, but nobody may announce anything.
    let user = "mute on >hush ~* &* +@all -publish".to_owned();
    let redis = Redis::start_with(RedisOptions { users: vec![user], ..RedisOptions::default() });
    let url = format!("redis://mute:hush@127.0.0.1:{}", redis.port());
    let mut pair = Pair::start(&Site::fresh().set("CACHE__SHARED__URL", &url)).await;
    watch(&mut pair, "with Redis, messages lost", ROUNDS).await;
    let heard = super::metric(&pair.nodes[1], "inkstone_shared_cache_heard_total").await;
    assert!(heard < 1.0, "nothing was announced, and yet {heard} were heard");
}

#[tokio::test]
async fn with_the_redis_hung_the_bound_holds() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port());
    let site = Site::fresh().set("CACHE__SHARED__URL", &redis.url_through(&proxy.address().to_string()));
    let mut pair = Pair::start(&site.set("CACHE__SHARED__TIMEOUT", "50ms")).await;
    proxy.set(Fault::Swallow(Toward::Client));
    watch(&mut pair, "with Redis, hung", ROUNDS).await;
}

/// Which brings no messages.
async fn with_memcached(rounds: usize) {
    let url = format!("memcached://{}", Memcached::shared().address());
    let mut pair = Pair::start(&Site::fresh().set("CACHE__SHARED__URL", &url)).await;
    watch(&mut pair, "with Memcached", rounds).await;
    let found = "inkstone_shared_cache_lookups_total{outcome=\"hit\"}";
    let found = super::metric(&pair.nodes[0], found).await + super::metric(&pair.nodes[1], found).await;
    assert!(found >= 1.0, "what one of them made is shown by the other");
}

#[tokio::test]
async fn with_a_memcached_the_bound_holds() {
    with_memcached(ROUNDS).await;
}

async fn alone(rounds: usize) {
    let mut pair = Pair::start(&Site::fresh()).await;
    watch(&mut pair, "without a shared cache", rounds).await;
}

#[tokio::test]
async fn without_a_redis_the_bound_holds() {
    alone(ROUNDS).await;
}

#[tokio::test]
#[ignore = "minutes: ./battery --long runs it"]
async fn long_the_bound_holds_again_and_again() {
    with_redis(MANY_ROUNDS).await;
    with_memcached(MANY_ROUNDS).await;
    alone(MANY_ROUNDS).await;
}

#[tokio::test]
async fn without_a_redis_a_node_that_is_cut_off_from_the_database_does_not_trust_what_it_has() {
    let (postgres, database) = (Postgres::shared(), Postgres::shared().database());
    let proxy = Proxy::before(postgres.port());
    let through = Site::over(&postgres.url_through(&proxy.address().to_string(), &database));
    let mut pair = Pair::of([Site::over(&postgres.url(&database)).node(), through.node()]).await;
    pair.warm().await;
    proxy.set(Fault::Hang(Toward::Both));
    pair.write("Changed").await;
    let acknowledged = now();
    let other = pair.nodes[1].client();
    let mut emergencies = 0;
    while emergencies < 3 {
        let asked = now();
        let answer = other.get(&pair.path).await;
        if is_emergency(&answer) {
            emergencies += 1;
        } else if answer.status == 200 {
            let lag = asked - acknowledged;
            assert!(lag < MAX_LAG, "{lag:?} after the acknowledgement, as if it were fresh: {answer:?}");
        }
    }
    proxy.set(Fault::None);
    until("it knows again", async || {
        let answer = other.get(&pair.path).await;
        answer.status == 200 && !is_emergency(&answer) && title(&answer) == "Changed"
    })
    .await;
}

/// A connection on which requests can be sent that a stopped node finds when it goes on.
struct Raw(TcpStream);

impl Raw {
    fn connect(node: &Inkstone) -> Self {
        let stream = TcpStream::connect(node.base().trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self(stream)
    }

    fn ask(&mut self, path: &str) {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: blog.example\r\n\r\n").unwrap();
    }

    /// Head and body of the next answer.
    fn answer(&mut self) -> String {
        let (mut read, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() >= length.parse().unwrap() {
                    return text;
                }
            }
            let count = self.0.read(&mut piece).unwrap();
            assert!(count > 0, "the connection ended: {text}");
            read.extend(&piece[..count]);
        }
    }
}

#[tokio::test]
async fn a_node_that_was_stopped_shows_nothing_older_than_the_bound_when_it_goes_on() {
    let (postgres, database) = (Postgres::shared(), Postgres::shared().database());
    let proxy = Proxy::before(postgres.port());
    let through = Site::over(&postgres.url_through(&proxy.address().to_string(), &database));
    let mut pair = Pair::of([Site::over(&postgres.url(&database)).node(), through.node()]).await;
    pair.warm().await;
    let mut connections: Vec<Raw> = (0..10).map(|_| Raw::connect(&pair.nodes[1])).collect();
    for connection in &mut connections {
        connection.ask(&pair.path);
        assert!(connection.answer().contains("\"title\":\"Round\""));
    }
    pair.nodes[1].pause();
    pair.write("Changed").await;
    // What it may show it may show for the bound after the write, so that must be over.
    tokio::time::sleep(MAX_LAG).await;
    // Longer than it takes to answer from memory, shorter than anybody's patience with the database.
    proxy.set(Fault::Delay(Duration::from_millis(200)));
    for connection in &mut connections {
        connection.ask(&pair.path);
    }
    pair.nodes[1].resume();
    for connection in &mut connections {
        let answer = connection.answer();
        // The new version, or that it cannot be had in time, or the old one that says that it is old.
        let is_old = answer.contains("\"title\":\"Round\"") && !answer.contains("stale-if-error");
        assert!(!is_old, "{answer}");
    }
}
