//! The edge of the process: accepts connections and keeps every client within limits.
//!
//! ```text
//! listen ─▶ registry ─▶ drive ─▶ io + head ─▶ hyper ─▶ service ─▶ the application
//! sockets   caps, watch  TLS,     bytes:       HTTP     rules,     any tower service
//!                        ALPN     progress,             body
//!                                 strict heads          deadlines
//! ```
//!
//! Every limit is in [`Limits`] and on by default. To add one: a field there with its unit and default, the place
//! that keeps it, a counter in [`ServerStats`] where it cuts connections, and a test in `tests/server_edge`.

mod body;
mod connection;
mod drive;
mod frames;
mod head;
mod io;
mod limits;
mod listen;
mod network;
mod refusal;
mod registry;
mod service;
mod stats;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use inkstone_core::clock::SharedClock;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::Service;

pub use self::body::{BodyError, RequestBody, ResponseBody};
pub use self::connection::{ConnectionInfo, PeerAddr};
pub use self::limits::Limits;
pub use self::network::{BadNetwork, Network};
pub use self::refusal::{ProblemWriter, Refusal};
pub use self::stats::{Cut, ServerStats};
pub use self::tls::{Certificate, CertificateError};

use self::connection::{Connection, Shared};
use self::drive::Protocols;
use self::limits::millis;
use self::listen::{BackOff, affordable_connections, is_of_one_connection, is_out_of_files, listen};
use self::registry::Registry;
use self::service::BoxError;

/// One address to listen on.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where. `[::]` takes IPv4 connections too. Port 0 takes a free one.
    pub address: SocketAddr,
    /// HTTPS with this certificate, or plain HTTP.
    pub certificate: Option<Certificate>,
}

/// What a server is made of.
#[derive(Clone)]
pub struct ServerOptions {
    /// Where to listen. All listeners share the limits.
    pub listeners: Vec<Listener>,
    /// What clients are granted.
    pub limits: Limits,
    /// How often certificate files are looked at. Default 60 s.
    pub certificate_poll_interval: Duration,
    /// Makes the bodies of answers that the server itself gives.
    pub problem: ProblemWriter,
    /// Measures time.
    pub clock: SharedClock,
}

impl ServerOptions {
    /// Plain HTTP on one address with the default limits.
    pub fn new(address: SocketAddr, problem: ProblemWriter, clock: SharedClock) -> Self {
        Self {
            listeners: vec![Listener { address, certificate: None }],
            limits: Limits::default(),
            certificate_poll_interval: Duration::from_mins(1),
            problem,
            clock,
        }
    }
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when it began.
    pub open: usize,
    /// Connections with requests in flight that were cut at the end of the drain time.
    pub cut: usize,
}

/// A handle on what a server counts. Stays valid after the server ended.
#[derive(Clone)]
pub struct StatsHandle(Arc<Shared>);

impl std::ops::Deref for StatsHandle {
    type Target = ServerStats;

    fn deref(&self) -> &ServerStats {
        &self.0.stats
    }
}

/// A server that has its sockets and serves nobody yet.
pub struct Server {
    sockets: Vec<(TcpListener, Option<TlsAcceptor>)>,
    addresses: Vec<SocketAddr>,
    certificates: Vec<Certificate>,
    certificate_poll_interval: Duration,
    clock: SharedClock,
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the sockets. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be listened on, or there is none, or a certificate cannot be used.
    pub fn bind(options: ServerOptions) -> std::io::Result<Self> {
        let ServerOptions { listeners, mut limits, certificate_poll_interval, problem, clock } = options;
        if listeners.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "there is no address to listen on"));
        }
        limits.max_connections = affordable_connections(limits.max_connections);
        let mut sockets = Vec::with_capacity(listeners.len());
        let mut addresses = Vec::with_capacity(listeners.len());
        let mut certificates = Vec::new();
        for Listener { address, certificate } in listeners {
            let socket = listen(address, limits.backlog)?;
            addresses.push(socket.local_addr()?);
            let acceptor =
                certificate.as_ref().map(Certificate::acceptor).transpose().map_err(std::io::Error::other)?;
            sockets.push((socket, acceptor));
            certificates.extend(certificate);
        }
        let shared = Arc::new(Shared::new(limits, problem, clock.now()));
        Ok(Self { sockets, addresses, certificates, certificate_poll_interval, clock, shared })
    }

    /// The address of the first listener, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses of all listeners, in the order in which they were given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What this server counts.
    pub fn stats(&self) -> StatsHandle {
        StatsHandle(self.shared.clone())
    }

    /// Answers requests with `application` until `shutdown` completes, then lets those in flight finish.
    ///
    /// Every request has [`ConnectionInfo`] among its extensions, with the peer's address in it. An error of the
    /// application closes the connection, so it should have none.
    pub async fn serve<S, B>(self, application: S, shutdown: impl Future<Output = ()>) -> Drained
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { sockets, addresses: _, certificates, certificate_poll_interval, clock, shared } = self;
        // Since it was bound the clock may have been set.
        shared.set_date(clock.now());
        let door = Door {
            registry: Arc::new(Registry::new(shared.clone())),
            room: Arc::new(Semaphore::new(shared.limits.max_connections.min(Semaphore::MAX_PERMITS))),
            is_pressed: Arc::new(AtomicBool::new(false)),
            protocols: Arc::new(Protocols::new(&shared.limits)),
            shared,
        };
        let mut helpers = JoinSet::new();
        helpers.spawn(door.clone().watch(clock));
        for certificate in certificates {
            helpers.spawn(certificate.keep_fresh(certificate_poll_interval));
        }
        let mut doors = JoinSet::new();
        for (socket, tls) in sockets {
            doors.spawn(door.clone().accept(socket, tls, application.clone()));
        }

        shutdown.await;
        doors.shutdown().await;
        let registry = &door.registry;
        let open = registry.drain().await;
        let is_late = tokio::time::timeout(door.shared.limits.drain_timeout, registry.empty()).await.is_err();
        let cut = if is_late { registry.cut() } else { 0 };
        registry.empty().await;
        Drained { open, cut }
    }
}

/// What it takes to let connections in.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    room: Arc<Semaphore>,
    /// Somebody waits for a place or a file.
    is_pressed: Arc<AtomicBool>,
    protocols: Arc<Protocols>,
}

impl Door {
    /// Keeps the connections' clock and the date, and looks over them. Never returns.
    async fn watch(self, clock: SharedClock) {
        let tick = self.shared.limits.tick();
        let mut interval = tokio::time::interval(tick);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = clock.instant();
        let mut second = None;
        loop {
            interval.tick().await;
            let wall = clock.now();
            if second.replace(wall.as_second()) != Some(wall.as_second()) {
                self.shared.set_date(wall);
            }
            let now = clock.instant();
            // When the process was suspended or starved, its clients were not the ones who were late.
            let elapsed = now.saturating_duration_since(last).min(tick * 4);
            // What is less than a millisecond counts the next time.
            let elapsed = Duration::from_millis(millis(elapsed));
            last = if now.saturating_duration_since(last) > tick * 4 { now } else { last + elapsed };
            self.shared.now.fetch_add(millis(elapsed), Relaxed);
            self.registry.look(self.is_pressed.load(Relaxed));
        }
    }

    /// Accepts connections. Never returns.
    async fn accept<S, B>(self, socket: TcpListener, tls: Option<TlsAcceptor>, application: S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut back_off = BackOff::default();
        loop {
            let Some(permit) = self.permit().await else { return };
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.recover(&error, &mut back_off).await;
                    continue;
                }
            };
            if back_off.worked() {
                tracing::info!("connections are accepted again");
            }
            self.is_pressed.store(false, Relaxed);
            self.shared.stats.add_accepted();
            // Answers are written whole, so that waiting for more of them only costs time.
            let _ = stream.set_nodelay(true);
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let connection = Arc::new(Connection::new(self.shared.clone(), peer, tls.is_some()));
            let Some(place) = self.registry.admit(&connection, permit) else {
                self.shared.stats.add_refused_by_address();
                continue;
            };
            let (tls, protocols) = (tls.clone(), self.protocols.clone());
            tokio::spawn(drive::run(stream, connection, tls, protocols, application.clone(), place));
        }
    }

    /// Waits for room for one more connection. `None` never comes: the semaphore is not closed.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.room.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.shared.stats.add_waited_for_room();
        self.is_pressed.store(true, Relaxed);
        self.room.clone().acquire_owned().await.ok()
    }

    async fn recover(&self, error: &std::io::Error, back_off: &mut BackOff) {
        let is_out_of_files = is_out_of_files(error);
        self.shared.stats.add_accept_error(is_out_of_files);
        if is_of_one_connection(error) {
            return;
        }
        // Idle connections make room.
        self.is_pressed.store(is_out_of_files, Relaxed);
        let (is_first, wait) = back_off.failed();
        if is_first {
            tracing::error!(%error, "connections cannot be accepted");
        }
        tokio::time::sleep(wait).await;
    }
}
