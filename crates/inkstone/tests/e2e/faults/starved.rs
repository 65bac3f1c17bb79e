//! Battery row F17: little memory, little processor time, and the end that the kernel makes of who takes too much.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

use futures_util::future::join_all;
use inkstone_testkit::history::{Ending, Promise, assert_kept};
use inkstone_testkit::{Cgroup, Client, Fleet, FleetOptions, Inkstone, Options, wait_until};
use serde_json::json;

use super::trial::events;
use crate::{BINARY, open_store};

const MIB: u64 = 1 << 20;
/// What the documents say that a small blog needs.
const LITTLE: u64 = 256 * MIB;
/// Clients that ask for much and read nothing of it.
const SLOW: usize = 200;

fn within(group: Option<&Cgroup>, options: Options) -> Options {
    Options { wrapper: group.map(Cgroup::wrapper).unwrap_or_default(), ..options }
}

/// The most that a process has held in memory, in bytes.
fn most_resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Asks for many different things, each of which is worth keeping.
async fn fill_the_cache(client: Client, from: usize) -> Vec<u16> {
    let mut told = Vec::new();
    for number in 0..25 {
        told.push(client.get(&format!("/api/v2/posts?limit={}", from + number + 1)).await.status.as_u16());
    }
    told
}

async fn guess_passwords(client: Client) -> Vec<u16> {
    let guess = json!({"login": "ada", "password": "a wrong phrase, only for these tests"});
    vec![client.post("/api/v2/auth/login", &guess).await.status.as_u16()]
}

async fn write_much(author: Client) -> Vec<u16> {
    let mut told = Vec::new();
    for number in 0..6 {
        let post = json!({"title": format!("Long {number}"), "content": {"markdown": "much to say ".repeat(15_000)}});
        told.push(author.post("/api/v2/posts", &post).await.status.as_u16());
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn with_256_mib_a_server_under_load_refuses_and_does_not_die() {
    let group = Cgroup::make();
    if let Some(group) = &group {
        assert!(group.limit_memory(LITTLE));
    }
    let env = vec![("INKSTONE__SERVER__LIMITS__UNCAPPED_NETWORKS".to_owned(), "127.0.0.0/8".to_owned())];
    let server = Inkstone::start_with(BINARY, within(group.as_ref(), Options { env, ..Options::default() }));
    let author = server.with_token("ada", "author");
    let text = "a text as long as posts are ".repeat(150);
    for number in 0..100 {
        let post = json!({"title": format!("Post {number}"), "content": {"markdown": text}, "status": "published"});
        author.post("/api/v2/posts", &post).await.expect(201);
    }
    let address = server.base().trim_start_matches("http://").to_owned();
    let slow: Vec<TcpStream> = (0..SLOW)
        .map(|number| {
            let mut stream = TcpStream::connect(&address).unwrap();
            let path = format!("/api/v2/posts?limit={}&include=content", number % 100 + 1);
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut work = Vec::new();
    for number in 0..16 {
        work.push(tokio::spawn(fill_the_cache(server.client(), (number % 4) * 25)));
        work.push(tokio::spawn(guess_passwords(server.client())));
        work.push(tokio::spawn(write_much(author.clone())));
    }
    let mut told: BTreeMap<u16, usize> = BTreeMap::new();
    for status in join_all(work).await.into_iter().flat_map(Result::unwrap) {
        *told.entry(status).or_default() += 1;
    }
    assert!(told.keys().all(|status| [200, 201, 401, 429, 503].contains(status)), "{told:?}");
    server.client().get("/livez").await.expect(200);
    server.client().get("/api/v2/posts").await.expect(200);
    let most = most_resident(server.pid());
    let (grouped, kills) = group.as_ref().map_or((0, 0), |group| (group.most_memory(), group.kills()));
    println!("FIGURES of 256 MiB at most {} were resident, {} with files; {told:?}", most / MIB, grouped / MIB);
    assert!(most <= LITTLE && kills == 0, "{most} bytes, {kills} kills");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_kills_for_want_of_memory_has_lost_nothing() {
    let group = Cgroup::make();
    let mut server = Inkstone::start_with(BINARY, within(group.as_ref(), Options::default()));
    server.add_user("ada", "editor");
    let client = server.client().with_token(&server.token("ada", "read posts:write"));
    let fleet = Fleet::start(vec![client; 8], FleetOptions { seed: 5, ..FleetOptions::default() });
    fleet.acknowledged(300).await;
    if let Some(group) = &group {
        // Less and less, until what it holds is all that it gets, and what it needs next is too much.
        let mut limit = group.memory();
        wait_until("the kernel kills it", || {
            limit = limit.saturating_sub(if group.limit_memory(limit) { MIB } else { 0 });
            group.kills() > 0
        });
    }
    server.kill();
    let mut log = fleet.stop().await;
    if let Some(group) = &group {
        assert!(group.limit_memory(LITTLE));
    }
    server.restart();
    let rows = log.rows(&server.client()).await;
    assert_eq!(server.terminate(), Some(0));
    let events = events(&open_store(&server), &log).await;
    println!("{:?} acknowledged, refused, unknown; {} posts", log.outcomes(), rows.len());
    assert_kept(&log.records, &Ending { rows, events: Some(events) }, Promise::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_fifth_of_a_processor_a_server_is_slow_and_loses_nothing() {
    let group = Cgroup::make();
    let mut server = Inkstone::start_with(BINARY, within(group.as_ref(), Options::default()));
    server.add_user("ada", "editor");
    let client = server.client().with_token(&server.token("ada", "read posts:write"));
    if let Some(group) = &group {
        group.limit_cpu(20);
    }
    let fleet = Fleet::start(vec![client; 16], FleetOptions { seed: 6, ..FleetOptions::default() });
    fleet.acknowledged(100).await;
    server.client().get("/livez").await.expect(200);
    // Killed at its slowest, it has as much time as it likes to come back.
    server.kill();
    let mut log = fleet.stop().await;
    if let Some(group) = &group {
        group.limit_cpu(100);
    }
    server.restart();
    let rows = log.rows(&server.client()).await;
    assert_eq!(server.terminate(), Some(0));
    let events = events(&open_store(&server), &log).await;
    println!("FIGURES a fifth of a processor: {:?} acknowledged, refused, unknown", log.outcomes());
    assert_kept(&log.records, &Ending { rows, events: Some(events) }, Promise::default());
}

/// How many threads a server runs requests on.
fn workers(wrapper: Vec<String>) -> u64 {
    let server = Inkstone::start_with(BINARY, Options { wrapper, ..Options::default() });
    let log = server.logged("\"listening\"");
    let line = log.lines().find(|line| line.contains("\"listening\"")).unwrap();
    let said: serde_json::Value = serde_json::from_str(line).unwrap();
    said["server.workers"].as_u64().unwrap()
}

#[test]
fn there_are_as_many_workers_as_processors_that_may_be_used() {
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    assert_eq!(workers(Vec::new()), cores);
    assert_eq!(workers(["taskset", "--cpu-list", "0"].map(str::to_owned).into()), 1);
    let Some(group) = Cgroup::make() else { return };
    // A part of one processor, on however many: a server so slow starts all the same.
    group.limit_cpu(50);
    assert_eq!(workers(group.wrapper()), 1);
}
