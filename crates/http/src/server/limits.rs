//! Every limit of an edge in one table, each on by default.

use std::time::Duration;

use super::network::Network;

/// What one server grants its clients. Times are measured by a coarse clock, so a limit may be overrun by up to
/// an eighth of the shortest one, and never by more than a quarter of a second.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once, over all listeners. At the cap nothing more is accepted: newcomers wait in the
    /// kernel's backlog while idle connections are asked to leave. Lowered at start when the process may not open
    /// that many files. Default 4096.
    pub max_connections: usize,
    /// Connections open at once from one client: one IPv4 address or one IPv6 /64. One more is accepted and closed
    /// without an answer, since an answer costs what the cap is there to save. Default 512.
    pub max_connections_per_address: usize,
    /// Networks to which the cap per address does not apply: the load balancers and proxies in front of this server.
    /// Default none.
    pub uncapped_networks: Vec<Network>,
    /// Connections that the kernel completes before they are accepted. Default 1024.
    pub backlog: u32,
    /// From a connection's start to the first byte of its client. Default 5 s.
    pub first_byte_timeout: Duration,
    /// From a connection's start to the end of its TLS handshake. Default 10 s.
    pub tls_handshake_timeout: Duration,
    /// From the first byte of a request's head to its last; then 408. Default 10 s.
    pub header_read_timeout: Duration,
    /// A request's head in bytes: request line, fields and line ends; then 431. Also the size of HTTP/2's header
    /// list. Default 16 KiB.
    pub max_header_bytes: u32,
    /// Fields in a request's head; then 431. The HTTP/1 parser takes no more than 100. Default 64.
    pub max_headers: u16,
    /// A request's target in bytes; then 414. Default 8 KiB.
    pub max_uri_bytes: usize,
    /// Between two pieces of a request's body; then the body ends with [`BodyError::TimedOut`](super::BodyError).
    /// Default 10 s.
    pub body_idle_timeout: Duration,
    /// From a request's head to the last byte of its body; then as above. Default 60 s.
    pub body_total_timeout: Duration,
    /// From a request's head to the last byte of its answer. The last resort: the connection (HTTP/1) or the
    /// stream (HTTP/2) is cut. Default 120 s.
    pub request_timeout: Duration,
    /// How long a client may take no byte of an answer that waits for it. Default 15 s.
    pub write_progress_timeout: Duration,
    /// How long a connection may be open without a request. Default 75 s, one second when the server is full.
    pub keep_alive_timeout: Duration,
    /// Requests on one connection before it is closed in an orderly way, so that load spreads again after nodes
    /// come and go. Default 100 000.
    pub max_requests_per_connection: u32,
    /// HTTP/2: requests at once on one connection. Default 100.
    pub http2_max_concurrent_streams: u32,
    /// HTTP/2: requests that the client withdrew before they were looked at (rapid reset), after which the
    /// connection is closed. Default 20.
    pub http2_max_pending_accept_reset_streams: usize,
    /// HTTP/2: requests that were reset because the client broke the protocol, after which the connection is closed.
    /// Default 64.
    pub http2_max_local_error_reset_streams: usize,
    /// HTTP/2: bytes that a client may send on a connection without beginning a request or sending a body: what
    /// floods of control frames consist of. Default 1 MiB.
    pub http2_max_control_bytes: u64,
    /// HTTP/2: how often a ping asks whether the client is alive. Default 20 s.
    pub http2_keep_alive_interval: Duration,
    /// HTTP/2: how long it may take to answer that ping. Default 10 s.
    pub http2_keep_alive_timeout: Duration,
    /// HTTP/2: bytes of answer buffered for one stream. Default 128 KiB.
    pub http2_max_send_buffer_bytes: u32,
    /// Bytes of answers above 64 KiB each that may wait for their clients, over all connections; beyond it large
    /// answers become 503. HTTP/2: above 64 KiB divided by the requests at once on one connection. Default 64 MiB.
    pub max_bytes_in_flight: usize,
    /// How long what a client still sends is read and thrown away after an answer that closes the connection, so
    /// that the answer is not lost to a reset. Default 1 s.
    pub linger_timeout: Duration,
    /// How long requests in flight may take to finish after a shutdown began; the rest is cut. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_address: 512,
            uncapped_networks: Vec::new(),
            backlog: 1024,
            first_byte_timeout: Duration::from_secs(5),
            tls_handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            max_headers: 64,
            max_uri_bytes: 8 * 1024,
            body_idle_timeout: Duration::from_secs(10),
            body_total_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_mins(2),
            write_progress_timeout: Duration::from_secs(15),
            keep_alive_timeout: Duration::from_secs(75),
            max_requests_per_connection: 100_000,
            http2_max_concurrent_streams: 100,
            http2_max_pending_accept_reset_streams: 20,
            http2_max_local_error_reset_streams: 64,
            http2_max_control_bytes: 1024 * 1024,
            http2_keep_alive_interval: Duration::from_secs(20),
            http2_keep_alive_timeout: Duration::from_secs(10),
            http2_max_send_buffer_bytes: 128 * 1024,
            max_bytes_in_flight: 64 * 1024 * 1024,
            linger_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// How long an idle connection may stay when there is no room for newcomers.
pub(super) const IDLE_UNDER_PRESSURE: Duration = Duration::from_secs(1);

/// Answers up to this size on one connection are bounded by the number of connections and not counted against the
/// budget.
pub(super) const UNCOUNTED_BYTES: usize = 64 * 1024;

impl Limits {
    /// Up to which size an answer is not counted against the budget. HTTP/2 has many at once on one connection.
    pub(super) fn uncounted_bytes(&self, is_http2: bool) -> usize {
        let at_once = if is_http2 { self.http2_max_concurrent_streams.max(1) } else { 1 };
        UNCOUNTED_BYTES / usize::try_from(at_once).unwrap_or(usize::MAX)
    }

    /// How often the connections are looked over.
    pub(super) fn tick(&self) -> Duration {
        let shortest = [
            self.first_byte_timeout,
            self.tls_handshake_timeout,
            self.header_read_timeout,
            self.request_timeout,
            self.write_progress_timeout,
            self.keep_alive_timeout,
            self.linger_timeout,
        ]
        .into_iter()
        .min()
        .unwrap_or(Duration::from_secs(1));
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}

/// A time in the unit of the coarse clock.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
