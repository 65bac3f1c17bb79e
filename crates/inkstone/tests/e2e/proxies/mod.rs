//! Battery row B7: requests that two servers in a row might cut in two ways, sent through haproxy and nginx to the
//! real server. Whatever a proxy passes on, the server must answer each request of it, and nothing else.

mod balancer;
mod corpus;
mod front;
mod tap;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use inkstone_testkit::{Inkstone, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use self::corpus::Case;
use self::front::{Door, Front, SECRET};
use self::tap::{Heard, Tap};
use crate::BINARY;

/// An answer as a client of the proxy has it.
#[derive(Debug)]
struct Answer {
    /// From behind `HTTP/1.` on.
    head: String,
    /// The marker of the request that it belongs to, as far as the server knows. `None` for the proxy's own answers,
    /// and for what the server refused before it read who asked.
    marker: Option<String>,
}

impl Answer {
    fn is_ok(&self) -> bool {
        self.head[1..].starts_with(" 200 ")
    }
}

/// A good request with a marker, which is the last of its connection.
fn marked(marker: &str) -> String {
    format!("GET /api/v2/tags HTTP/1.1\r\nHost: blog\r\nX-Marker: {marker}\r\nConnection: close\r\n\r\n")
}

/// Sends bytes on a connection of their own and reads until the proxy closes it.
async fn exchange(front: &Front, door: Door, bytes: &[u8]) -> Vec<Answer> {
    let mut client = front.connect(door).await.unwrap();
    let mut said = Vec::new();
    // The proxy may close before it has everything.
    let talk = async {
        let (mut reader, mut writer) = client.split();
        let (_, _) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut said));
    };
    tokio::time::timeout(Duration::from_mins(1), talk).await.expect("the proxy closes");
    let text = String::from_utf8_lossy(&said);
    let answers = text.split("HTTP/1.").skip(1).filter(|answer| !answer[2..].starts_with("100"));
    let answer = |answer: &str| {
        let head = answer.split("\r\n\r\n").next().unwrap();
        let ids = head.lines().filter_map(|line| line.split_once(": "));
        let mut ids = ids.filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
        let id = ids.next().and_then(|(_, id)| id.strip_prefix(SECRET));
        let marker = id.map(|id| id.split_once('.').unwrap().1.to_owned());
        Answer { head: head.to_owned(), marker }
    };
    answers.map(answer).collect()
}

/// Sends a case with a good request right behind it, and then one on a connection that has nothing to do with it.
/// Says whether the one behind it was answered.
async fn attack(front: &Front, number: usize, case: &Case) -> bool {
    let behind = format!("m{number}");
    let answers = exchange(front, Door::Attackers, &[&case.bytes, marked(&behind).as_bytes()].concat()).await;
    let is_own = |marker: &str| {
        marker.is_empty()
            || marker == behind
            || tap::find(&case.bytes, format!("X-Marker: {marker}\r\n").as_bytes()).is_some()
    };
    for answer in &answers {
        assert!(answer.marker.as_deref().is_none_or(is_own), "{}: the answer of another in {answers:?}", case.name);
    }
    let is_behind = |answer: &&Answer| answer.marker.as_deref() == Some(behind.as_str());
    let of_behind: Vec<_> = answers.iter().filter(is_behind).collect();
    assert!(of_behind.len() < 2 && of_behind.iter().all(|answer| answer.is_ok()), "{}: {answers:?}", case.name);

    let victim = format!("v{number}");
    let answers = exchange(front, Door::Others, marked(&victim).as_bytes()).await;
    let [answer] = &answers[..] else { panic!("{}: somebody else got {answers:?}", case.name) };
    let is_good = answer.is_ok() && answer.marker.as_ref() == Some(&victim);
    assert!(is_good, "somebody else got {answer:?} after {}", case.name);
    !of_behind.is_empty()
}

/// What the server did with what the proxy passed on.
#[derive(Debug, Default)]
struct Outcome {
    requests: usize,
    /// Good requests right behind a case that were answered.
    behind: usize,
    desyncs: Vec<String>,
}

async fn attack_all(front: &Front, tap: &Tap) -> Outcome {
    let cases = corpus::all();
    assert!(cases.len() >= 200);
    let attacks = futures_util::stream::iter(cases.iter().enumerate());
    let attacks = attacks.map(|(number, case)| attack(front, number, case)).buffer_unordered(32);
    let behind = attacks.filter(|is_answered| std::future::ready(*is_answered)).count().await;
    let requests = tap.heard(Heard::requests).into_iter().sum();
    Outcome { requests, behind, desyncs: tap.heard(Heard::desync).into_iter().flatten().collect() }
}

/// The server, which believes the proxies in front of it what they call a request.
fn start() -> (Inkstone, SocketAddr) {
    let env = [("TRUSTED_PROXIES", "127.0.0.1"), ("ACCESS_LOG", "none")];
    let env = env.map(|(name, value)| (format!("INKSTONE__HTTP__{name}"), value.to_owned())).to_vec();
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    let address = server.base().strip_prefix("http://").unwrap().parse().unwrap();
    (server, address)
}

fn assert_in_step(outcome: &Outcome) {
    assert!(outcome.desyncs.is_empty(), "{} desyncs, such as {}", outcome.desyncs.len(), outcome.desyncs[0]);
    // One for each good request that belongs to no case, and many besides.
    assert!(outcome.requests > corpus::all().len() * 3 / 2, "{} requests", outcome.requests);
    assert!(outcome.behind > 50, "{} requests behind a case were answered", outcome.behind);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_and_the_server_cut_every_request_alike() {
    let (_server, address) = start();
    // The second passes on what it takes for harmless although it is wrong.
    for extra in ["", "option accept-invalid-http-request"] {
        let tap = Tap::start(address, SECRET).await;
        let front = Front::haproxy(tap.address, extra);
        assert_in_step(&attack_all(&front, &tap).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_and_the_server_cut_every_request_alike() {
    let (_server, address) = start();
    let lenient = "proxy_request_buffering off;\nignore_invalid_headers off;\nunderscores_in_headers on;";
    for extra in ["", lenient] {
        let tap = Tap::start(address, SECRET).await;
        let front = Front::nginx(tap.address, extra);
        assert_in_step(&attack_all(&front, &tap).await);
    }
}

/// A server that knows nothing of bodies, and so takes each for another request.
async fn naive_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while client.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                    while let Some(end) = tap::find(&bytes, b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                        bytes.drain(..end + 4);
                        let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap_or("none");
                        let answer = format!("HTTP/1.1 200 OK\r\nx-request-id: {id}\r\ncontent-length: 0\r\n\r\n");
                        if client.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cuts_otherwise_would_be_caught() {
    let tap = Tap::start(naive_server().await, SECRET).await;
    let front = Front::haproxy(tap.address, "");
    let hidden = "GET / HTTP/1.1\r\nHost: blog\r\nX-Marker: hidden\r\n\r\n";
    let head = format!("POST / HTTP/1.1\r\nHost: blog\r\nX-Marker: open\r\nContent-Length: {}\r\n\r\n", hidden.len());
    exchange(&front, Door::Others, format!("{head}{hidden}{}", marked("behind")).as_bytes()).await;
    let desyncs: Vec<_> = tap.heard(Heard::desync).into_iter().flatten().collect();
    assert_eq!(desyncs.len(), 1, "{desyncs:?}");
}
