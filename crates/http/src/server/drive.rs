//! The life of one connection: handshake, choice of the protocol, requests, end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use super::body::RequestBody;
use super::connection::{Connection, Phase};
use super::io::{PREFACE, Prefix, Stream, WatchedIo};
use super::limits::Limits;
use super::registry::Place;
use super::service::{BoxError, ConnectionService};

/// Both protocols, set up once for all connections.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<StreamExecutor>,
}

impl Protocols {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .auto_date_header(false)
            // The watch times heads: hyper would set up a timer for each request.
            .header_read_timeout(None)
            .max_buf_size((usize::try_from(limits.max_header_bytes).unwrap_or(usize::MAX) * 2).max(64 * 1024));
        let mut http2 = http2::Builder::new(StreamExecutor { timeout: limits.request_timeout });
        http2
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.http2_max_concurrent_streams)
            .max_pending_accept_reset_streams(limits.http2_max_pending_accept_reset_streams)
            .max_local_error_reset_streams(limits.http2_max_local_error_reset_streams)
            .max_header_list_size(limits.max_header_bytes)
            .max_send_buf_size(usize::try_from(limits.http2_max_send_buffer_bytes).unwrap_or(128 * 1024))
            .keep_alive_interval(limits.http2_keep_alive_interval)
            .keep_alive_timeout(limits.http2_keep_alive_timeout);
        Self { http1, http2 }
    }
}

/// Runs the streams of HTTP/2 connections, each for as long as a request may take. To drop one resets it.
#[derive(Debug, Clone)]
struct StreamExecutor {
    timeout: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::spawn(tokio::time::timeout(self.timeout, stream));
    }
}

/// Serves one connection to its end.
pub(super) async fn run<S, B>(
    socket: TcpStream,
    connection: Arc<Connection>,
    tls: Option<TlsAcceptor>,
    protocols: Arc<Protocols>,
    application: S,
    place: Place,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Given back last, and also when the application panics.
    let _place = place;
    // Boxed as the protocols are below, so that the many connections that rest don't carry its size.
    let Some((stream, prefix, is_http2)) = Box::pin(open(socket, &connection, tls)).await else { return };
    connection.enter(if is_http2 { Phase::Http2 } else { Phase::Http1 });
    let io = TokioIo::new(WatchedIo::new(stream, prefix, connection.clone(), !is_http2));
    let service = ConnectionService { application, connection: connection.clone() };
    let outcome = if is_http2 {
        let mut protocol = Box::pin(protocols.http2.serve_connection(io, service));
        drive(protocol.as_mut(), &connection, http2::Connection::graceful_shutdown).await
    } else {
        run_http1(io, service, &connection, &protocols.http1).await
    };
    if let Some(Err(error)) = outcome {
        tracing::debug!(%error, "the connection ended early");
    }
}

/// Serves HTTP/1. Of a connection that has had nothing to say for a while nothing is kept but its
/// socket: the protocol keeps two buffers of 8 KiB each.
async fn run_http1<S, B>(
    mut io: TokioIo<WatchedIo>,
    mut service: ConnectionService<S>,
    connection: &Connection,
    http1: &http1::Builder,
) -> Option<hyper::Result<()>>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    loop {
        let mut protocol = Box::pin(http1.serve_connection(io, service));
        let outcome = drive(protocol.as_mut(), connection, http1::Connection::graceful_shutdown).await;
        if outcome.is_some() {
            return outcome;
        }
        let parts = Pin::into_inner(protocol).into_parts();
        if !parts.read_buf.is_empty() {
            tracing::error!("a connection was to rest in the midst of a request");
            return None;
        }
        // What is empty still holds its 8 KiB.
        drop(parts.read_buf);
        (io, service) = (parts.io, parts.service);
        poll_fn(|cx| {
            connection.register(cx);
            let has_news = connection.is_cut().is_some() || connection.is_draining();
            if has_news { Poll::Ready(()) } else { io.inner().poll_readable(cx) }
        })
        .await;
        connection.end_rest();
    }
}

/// Polls the protocol, has it finish when it should, and drops it when it must end. `None` if it
/// may rest.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut protocol: Pin<&mut C>,
    connection: &Connection,
    finish: fn(Pin<&mut C>),
) -> Option<hyper::Result<()>> {
    let mut is_told = false;
    poll_fn(|cx| {
        connection.register(cx);
        if connection.is_cut().is_some() {
            return Poll::Ready(Some(Ok(())));
        }
        loop {
            // First, so that a request that has arrived is taken in before the connection is told to finish. And a
            // request may decide that it is the last.
            let outcome = protocol.as_mut().poll(cx);
            if outcome.is_pending() && connection.begins_rest() {
                return Poll::Ready(None);
            }
            if outcome.is_ready() || is_told || !connection.is_draining() {
                return outcome.map(Some);
            }
            is_told = true;
            finish(protocol.as_mut());
        }
    })
    .await
}

/// Brings a connection to the point where its protocol is known.
async fn open(
    mut socket: TcpStream,
    connection: &Connection,
    tls: Option<TlsAcceptor>,
) -> Option<(Stream, Prefix, bool)> {
    let Some(acceptor) = tls else {
        let prefix = unless_cut(connection, read_prefix(&mut socket)).await??;
        let is_http2 = prefix.bytes.starts_with(PREFACE);
        return Some((Stream::Plain(socket), prefix, is_http2));
    };
    connection.enter(Phase::Handshake);
    match unless_cut(connection, acceptor.accept(socket)).await? {
        Ok(stream) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Some((Stream::Tls(Box::new(stream)), Prefix::default(), is_http2))
        }
        Err(error) => {
            connection.shared.stats.add_tls_failure();
            tracing::debug!(%error, "the TLS handshake failed");
            None
        }
    }
}

/// Room for the head of nearly every request, so that it is looked at in one piece.
const PREFIX_BYTES: usize = 2048;

/// Reads for as long as the bytes may become HTTP/2's preface. `None` when the client left.
async fn read_prefix(socket: &mut TcpStream) -> Option<Prefix> {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES);
    while bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Prefix { bytes, taken: 0 })
}

/// Waits for `future`, or gives up when the connection is to end.
async fn unless_cut<F: Future>(connection: &Connection, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        connection.register(cx);
        if connection.is_cut().is_some() {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(cx) {
            Poll::Pending if connection.is_draining() => Poll::Ready(None),
            outcome => outcome.map(Some),
        }
    })
    .await
}
