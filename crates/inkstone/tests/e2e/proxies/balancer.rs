//! The balancer as `deploy/cluster` configures it, before nodes that are no good: what it says itself has the form
//! of the nodes' own errors, and of a client it says to the nodes what it knows, not what the client claims.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inkstone_core::Code;
use inkstone_testkit::services::HaProxy;
use inkstone_testkit::until;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/cluster/haproxy.cfg");

/// A node that does with a request what its path says, and is in health for as long as it is told so.
#[derive(Clone)]
struct Node {
    address: SocketAddr,
    is_up: Arc<AtomicBool>,
}

impl Node {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Self { address: listener.local_addr().unwrap(), is_up: Arc::new(AtomicBool::new(true)) };
        let at_work = node.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let node = at_work.clone();
                // A balancer that is gone is no fault of the node's.
                tokio::spawn(async move { node.answer(client).await.unwrap_or_default() });
            }
        });
        node
    }

    async fn answer(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if client.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(bytes).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let (status, body) = match path {
            "/dies" => return Ok(()),
            "/silent" => return client.read_to_end(&mut Vec::new()).await.map(drop),
            "/readyz" | "/livez" if !self.is_up.load(Ordering::Relaxed) => ("503 Service Unavailable", ""),
            _ => ("200 OK", head.as_str()),
        };
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.write_all(answer.as_bytes()).await
    }
}

/// The balancer before this node. Its own patience with it is shortened, since that is not what is tested.
fn balancer(node: SocketAddr) -> HaProxy {
    let text = std::fs::read_to_string(CONFIGURATION).unwrap();
    let replaced = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {CONFIGURATION}");
        text.replace(from, to)
    };
    let text = replaced(&text, "timeout server 40s", "timeout server 1s");
    // Nothing that a client can send makes this happen.
    let rule = "http-request del-header X-Request-Id";
    let text = replaced(&text, rule, &format!("{rule}\n    http-request deny deny_status 500 if {{ path /fails }}"));
    let lines = format!("    server node-1 {node} check port {}\n", node.port());
    let text = replaced(&text, "@NODES@", &lines);
    HaProxy::start_in_home(2, move |home, ports| {
        let text = replaced(&text, "@DIR@/sockets", &home.display().to_string());
        let text = replaced(&text, "@BALANCER@", &ports[0].to_string());
        replaced(&text, "@STATISTICS@", &ports[1].to_string())
    })
}

/// What the balancer, or the node behind it, answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn ask(balancer: &HaProxy, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", balancer.ports()[0])).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: blog\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {said:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// The answer is a problem as the nodes themselves would put it.
fn is_problem(answer: &Answer, status: u16, code: Code, comes_back: bool) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    assert_eq!(answer.head.contains("retry-after: 1"), comes_back, "{answer:?}");
    let problem: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"));
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["type"], format!("/problems/{}", code.as_str()), "{problem}");
    assert_eq!(problem["title"], code.title(), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_balancer_says_of_nodes_has_the_form_of_their_own_errors() {
    let node = Node::start().await;
    let balancer = balancer(node.address);
    until("the node is asked", async || ask(&balancer, "GET", "/", "").await.status == 200).await;
    is_problem(&ask(&balancer, "GET", "/fails", "").await, 500, Code::Internal, false);
    for method in ["GET", "POST"] {
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        is_problem(&ask(&balancer, method, "/dies", length).await, 502, Code::Unavailable, true);
        is_problem(&ask(&balancer, method, "/silent", length).await, 504, Code::DeadlineExceeded, true);
    }
    node.is_up.store(false, Ordering::Relaxed);
    until("no node is asked", async || ask(&balancer, "GET", "/", "").await.status != 200).await;
    is_problem(&ask(&balancer, "GET", "/", "").await, 503, Code::Unavailable, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_passes_on_nothing_that_a_client_says_of_itself() {
    let node = Node::start().await;
    let balancer = balancer(node.address);
    let claims = "X-Forwarded-For: 192.0.2.7\r\nx-forwarded-for: 192.0.2.8, 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\
                  X-Request-Id: of-the-client\r\nx-request-id: another\r\n";
    let seen = ask(&balancer, "GET", "/", claims).await;
    let seen = Answer { body: seen.body.to_ascii_lowercase(), ..seen };
    assert_eq!(seen.status, 200, "{seen:?}");
    let values = |name: &str| -> Vec<String> {
        let lines = seen.body.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(said, _)| *said == name).map(|(_, value)| value.to_owned()).collect()
    };
    assert_eq!(values("x-forwarded-for"), ["127.0.0.1"], "{}", seen.body);
    assert_eq!(values("x-forwarded-proto"), ["http"], "{}", seen.body);
    assert_eq!(values("x-request-id"), [""; 0], "{}", seen.body);
}
