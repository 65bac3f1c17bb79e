//! A TCP proxy that stands before a server and injects faults when the test says so.
//!
//! It runs on a thread of its own, so a test that blocks does not hang it. A fault holds for the
//! connections that there are, for those to come, or for both, from the moment that the call which
//! sets it returns: bytes that are sent afterwards are treated accordingly.

mod pump;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::services::free_ports;
use crate::wait::patiently;

/// Whom bytes are on their way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// To the client: answers.
    Client,
    /// To the server: requests.
    Server,
    /// Both ways.
    Both,
}

impl Toward {
    fn includes(self, way: Self) -> bool {
        self == Self::Both || self == way
    }
}

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: all is forwarded, FIN and RST too.
    None,
    /// Nobody listens: new connections are refused. One that exists is reset.
    Refuse,
    /// Cut with RST. A new connection is accepted first.
    Reset,
    /// Half open: FIN is sent that way, and nothing more; the other way goes on.
    Finish(Toward),
    /// Nothing is read that way: the sender fills the buffers in between, then blocks. What was
    /// read waits, and goes on when the fault is over.
    Hang(Toward),
    /// Everything is read that way and thrown away: the sender believes that it has arrived.
    Swallow(Toward),
    /// Each chunk of up to 16 KiB comes so much later, both ways, in order.
    Delay(Duration),
    /// At most so many bytes a second each way, in small pieces.
    Throttle {
        /// Bytes a second, at least 1.
        bytes_per_second: u32,
    },
    /// So many bytes more go that way, then the connection is cut with RST.
    ResetAfter {
        /// Which bytes count.
        toward: Toward,
        /// How many get through.
        bytes: u64,
    },
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Of these, connections that are open now.
    pub open: u64,
    /// Connections that were cut with RST: by a fault, because one side cut it, or because the
    /// server could not be reached.
    pub reset: u64,
    /// Of these, connections for which the server could not be reached.
    pub unreachable: u64,
    /// Bytes that were forwarded to the server.
    pub to_server: u64,
    /// Bytes that were forwarded to clients.
    pub to_client: u64,
}

/// A running proxy. Dropping it closes every connection and the port.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listen: Option<mpsc::UnboundedSender<Listen>>,
    thread: Option<JoinHandle<()>>,
}

/// What the proxy's thread and its owner both see.
struct Shared {
    settings: Mutex<Settings>,
    counters: Counters,
}

struct Settings {
    upstream: SocketAddr,
    /// For new connections.
    fault: Fault,
    /// Of each connection; closed once that is over.
    connections: Vec<watch::Sender<Fault>>,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    closed: AtomicU64,
    reset: AtomicU64,
    unreachable: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// Opens or closes the port, and says when it is done.
struct Listen {
    open: bool,
    done: blocking::SyncSender<()>,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1 that forwards to `upstream`.
    pub fn start(upstream: SocketAddr) -> Self {
        let settings = Settings { upstream, fault: Fault::None, connections: Vec::new() };
        let shared = Arc::new(Shared { settings: Mutex::new(settings), counters: Counters::default() });
        let mut listener = None;
        patiently(|| {
            listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_ports(1)[0])).ok();
            listener.is_some()
        });
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (listen, commands) = mpsc::unbounded_channel();
        let proxy = shared.clone();
        let thread = std::thread::Builder::new().name("proxy".to_owned());
        let thread = thread.spawn(move || run(proxy, listener, address, commands)).expect("a thread");
        Self { address, shared, listen: Some(listen), thread: Some(thread) }
    }

    /// Starts a proxy before a port of 127.0.0.1.
    pub fn before(port: u16) -> Self {
        Self::start((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards connections that are yet to come to somebody else.
    pub fn forward_to(&self, upstream: SocketAddr) {
        self.shared.settings().upstream = upstream;
    }

    /// What is done to all connections from now on.
    pub fn set(&self, fault: Fault) {
        self.set_new(fault);
        self.set_existing(fault);
    }

    /// What is done to connections that are yet to come.
    pub fn set_new(&self, fault: Fault) {
        self.shared.settings().fault = fault;
        let (done, wait) = blocking::sync_channel(1);
        let listen = self.listen.as_ref().expect("a proxy that runs");
        listen.send(Listen { open: fault != Fault::Refuse, done }).expect("a proxy that runs");
        wait.recv().expect("the port opens or closes");
    }

    /// What is done to the connections that there are.
    pub fn set_existing(&self, fault: Fault) {
        let mut settings = self.shared.settings();
        settings.connections.retain(|connection| connection.send(fault).is_ok());
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let Counters { accepted, closed, reset, unreachable, to_server, to_client } = &self.shared.counters;
        let closed = closed.load(Ordering::SeqCst);
        let accepted = accepted.load(Ordering::SeqCst);
        Counts {
            accepted,
            open: accepted - closed,
            reset: reset.load(Ordering::SeqCst),
            unreachable: unreachable.load(Ordering::SeqCst),
            to_server: to_server.load(Ordering::SeqCst),
            to_client: to_client.load(Ordering::SeqCst),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.listen.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upstream(&self) -> SocketAddr {
        self.settings().upstream
    }
}

/// Everything that the proxy does. Ends when its owner lets go of `commands`.
fn run(shared: Arc<Shared>, listener: TcpListener, address: SocketAddr, mut commands: mpsc::UnboundedReceiver<Listen>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut listener = Some(listening(listener));
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => return,
                    Some(Listen { open: false, done }) => {
                        listener = None;
                        let _ = done.send(());
                    }
                    Some(Listen { open: true, done }) => {
                        if listener.is_none() {
                            listener = Some(listening(bind_again(address)));
                        }
                        let _ = done.send(());
                    }
                },
                client = accept(listener.as_ref()) => {
                    shared.counters.accepted.fetch_add(1, Ordering::SeqCst);
                    let plan = {
                        let mut settings = shared.settings();
                        settings.connections.retain(|connection| !connection.is_closed());
                        let (control, plan) = watch::channel(settings.fault);
                        settings.connections.push(control);
                        plan
                    };
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        pump::serve(client, plan, &shared).await;
                        shared.counters.closed.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        }
    });
}

fn listening(listener: TcpListener) -> tokio::net::TcpListener {
    listener.set_nonblocking(true).expect("a socket");
    tokio::net::TcpListener::from_std(listener).expect("a socket in a runtime")
}

/// The port was ours a moment ago, and lies where the kernel gives it to nobody.
fn bind_again(address: SocketAddr) -> TcpListener {
    let mut listener = None;
    patiently(|| {
        listener = TcpListener::bind(address).ok();
        listener.is_some()
    });
    listener.expect("the port that the proxy had")
}

/// The next connection; waits for ever while nobody listens.
async fn accept(listener: Option<&tokio::net::TcpListener>) -> tokio::net::TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
    }
}
