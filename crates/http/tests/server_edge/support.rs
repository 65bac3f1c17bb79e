//! A server on a free port, and clients that misbehave.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use inkstone_core::clock::SystemClock;
use inkstone_http::server::{BodyError, Drained, Limits, Listener, RequestBody, Server, ServerOptions, StatsHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// How long a test waits for what must come, on however slow a machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The size of the answer to `/big`.
pub(crate) const BIG: usize = 9 * 1024 * 1024;

/// The size of the answer to `/medium`.
pub(crate) const MEDIUM: usize = 60 * 1024;

/// The size of the answer to `/endless`, which is made while it is sent.
pub(crate) const ENDLESS: usize = 128 * 1024 * 1024;

/// Limits so short that a test sees them at work, and caps so high that they don't get in its way.
pub(crate) fn short() -> Limits {
    Limits {
        max_connections: 2000,
        max_connections_per_address: 2000,
        first_byte_timeout: Duration::from_millis(400),
        tls_handshake_timeout: Duration::from_millis(400),
        header_read_timeout: Duration::from_millis(400),
        body_idle_timeout: Duration::from_millis(400),
        body_total_timeout: Duration::from_millis(800),
        write_progress_timeout: Duration::from_millis(400),
        linger_timeout: Duration::from_millis(400),
        ..Limits::default()
    }
}

/// What the application waits for at `/gate`.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) opened: Notify,
    made: AtomicUsize,
}

impl Gate {
    /// Bytes of answers to `/endless` that were made.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Relaxed)
    }
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stats: StatsHandle,
    pub(crate) gate: Arc<Gate>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

impl Running {
    /// Begins the shutdown.
    pub(crate) fn stop(self) -> JoinHandle<Drained> {
        let _ = self.stop.send(());
        self.task
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Opens connections that each send `bytes` and then nothing.
    pub(crate) async fn connect_many(&self, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let mut stream = self.connect().await;
            // The server may have turned it away already: that is what some tests are about.
            let _ = stream.write_all(bytes).await;
            streams.push(stream);
        }
        streams
    }

    /// A fresh request on a fresh connection is answered.
    pub(crate) async fn assert_answers(&self) {
        let answer = exchange(self.address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

pub(crate) fn start(limits: Limits) -> Running {
    start_with(limits, None, |_| {})
}

pub(crate) fn start_with(
    limits: Limits,
    certificate: Option<inkstone_http::server::Certificate>,
    change: impl FnOnce(&mut ServerOptions),
) -> Running {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let problem = Arc::new(|refusal: inkstone_http::server::Refusal| {
        Response::builder()
            .header("content-type", "application/problem+json")
            .body(Bytes::from(format!("{{\"detail\":\"{}\"}}", refusal.detail())))
            .unwrap()
    });
    let mut options = ServerOptions::new(address, problem, Arc::new(SystemClock));
    options.listeners = vec![Listener { address, certificate }];
    options.limits = limits;
    change(&mut options);
    let server = Server::bind(options).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let gate = Arc::new(Gate::default());
    let application = {
        let gate = gate.clone();
        tower::service_fn(move |request| answer(request, gate.clone()))
    };
    let (address, stats) = (server.local_addr(), server.stats());
    let task = tokio::spawn(server.serve(application, async {
        let _ = stopped.await;
    }));
    Running { address, stats, gate, stop, task }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(request: Request<RequestBody>, gate: Arc<Gate>) -> Result<Answer, Infallible> {
    let (status, body) = match request.uri().path() {
        "/endless" => return Ok(Response::new(endless(gate))),
        "/medium" => (StatusCode::OK, Bytes::from(vec![b'x'; MEDIUM])),
        "/big" => (StatusCode::OK, Bytes::from(vec![b'x'; BIG])),
        "/gate" => {
            gate.opened.notified().await;
            (StatusCode::OK, Bytes::from_static(b"through"))
        }
        "/panic" => panic!("as asked"),
        "/peer" => {
            let info = request.extensions().get::<inkstone_http::server::ConnectionInfo>().unwrap();
            let text = format!("{} {} {}", info.peer().0.ip(), info.is_tls(), info.requests());
            (StatusCode::OK, Bytes::from(text))
        }
        "/ignore" => (StatusCode::PAYLOAD_TOO_LARGE, Bytes::from_static(b"too large")),
        _ => match request.into_body().collect().await {
            Ok(body) => (StatusCode::OK, Bytes::from(format!("hello {}", body.to_bytes().len()))),
            Err(error) if BodyError::is_timeout(&error) => (StatusCode::REQUEST_TIMEOUT, Bytes::new()),
            Err(_) => (StatusCode::BAD_REQUEST, Bytes::new()),
        },
    };
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    Ok(response)
}

fn endless(gate: Arc<Gate>) -> UnsyncBoxBody<Bytes, Infallible> {
    const PIECE: &[u8] = &[b'x'; 16 * 1024];
    let pieces = (0..ENDLESS / PIECE.len()).map(move |_| {
        gate.made.fetch_add(PIECE.len(), Relaxed);
        Ok(Frame::data(Bytes::from_static(PIECE)))
    });
    StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()
}

/// Sends bytes and reads until the server closes. Empty when it closed without an answer.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    read_to_end(&mut stream).await
}

/// Reads until the server closes; a reset counts as closing.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// What this process holds in memory.
pub(crate) fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Among the arguments of every child: a filter that no test has for its name.
const CHILD: &str = "in-a-child";

/// Whether this process was started by [`child`] for this test.
pub(crate) fn is_child(test: &str) -> bool {
    let is_given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    is_given(test) && is_given(CHILD)
}

/// A test in a process of its own, whose shell first does as `prepare` says.
pub(crate) fn child(test: &str, prepare: &str) -> Command {
    let mut command = Command::new("sh");
    let run = format!("{prepare} exec \"$0\" --exact {test} {CHILD} --nocapture");
    command.args(["-c", &run]).arg(std::env::current_exe().unwrap());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}
