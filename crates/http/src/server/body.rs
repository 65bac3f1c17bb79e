//! Bodies with limits: requests' have deadlines, answers' are counted and handed on in pieces.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::connection::{Connection, ConnectionInfo};
use super::limits::{UNCOUNTED_BYTES, millis};
use super::stats::Cut;

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client was too slow. Answer 408; the connection closes after it.
    #[error("the body did not arrive in time")]
    TimedOut,
    /// The client went away or broke the protocol.
    #[error("the body could not be read")]
    Broken(#[source] hyper::Error),
}

impl BodyError {
    /// Whether this error, or one that caused it, says that the client was too slow. For errors that a framework
    /// wrapped.
    pub fn is_timeout(error: &(dyn Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if matches!(error.downcast_ref(), Some(BodyError::TimedOut)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A request's body, which must arrive in time.
pub struct RequestBody {
    inner: Incoming,
    connection: Arc<Connection>,
    /// When the head was complete, by the connections' clock.
    began: u64,
    /// Made when the body first has to be waited for: most bodies arrive with their head.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    has_ended: bool,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, connection: Arc<Connection>) -> Self {
        let began = connection.shared.now();
        let has_ended = inner.is_end_stream();
        Self { inner, connection, began, timer: None, is_waiting: false, has_ended }
    }

    /// The connection that it arrives by.
    pub fn connection(&self) -> ConnectionInfo {
        ConnectionInfo(self.connection.clone())
    }

    /// Until when the next piece may take.
    fn patience(&self) -> Duration {
        let limits = &self.connection.shared.limits;
        let elapsed = self.connection.shared.now().saturating_sub(self.began);
        let left = millis(limits.body_total_timeout).saturating_sub(elapsed);
        limits.body_idle_timeout.min(Duration::from_millis(left))
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_waiting {
            self.is_waiting = true;
            let sleep = tokio::time::sleep(self.patience());
            match &mut self.timer {
                Some(timer) => timer.set(sleep),
                None => self.timer = Some(Box::pin(sleep)),
            }
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.is_waiting = false;
            this.has_ended = frame.is_none() || this.inner.is_end_stream();
            this.connection.body_received();
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        ready!(this.poll_late(cx));
        this.connection.shared.stats.add_cut(Cut::Body);
        if !this.connection.is_http2() {
            this.connection.drain();
        }
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.has_ended {
            self.connection.body_unread();
        }
    }
}

/// Keeps a request counted as in flight for as long as it lives.
pub(super) struct InFlight {
    pub(super) connection: Arc<Connection>,
    charged: usize,
    has_body: bool,
    waits: bool,
}

impl InFlight {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, charged: 0, has_body: false, waits: false }
    }

    /// Takes a large answer into account, or says that there is no room for it.
    pub(super) fn charge(&mut self, bytes: u64) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let shared = &self.connection.shared;
        if bytes <= shared.limits.uncounted_bytes(self.connection.is_http2()) {
            return true;
        }
        if !shared.stats.charge(bytes, &shared.limits) {
            return false;
        }
        self.charged = bytes;
        true
    }

    /// HTTP/2: its answer begins to flow. (HTTP/1 has one answer at a time, and the socket tells how it flows.)
    fn begin_body(&mut self) {
        if self.connection.is_http2() {
            self.has_body = true;
            self.connection.begin_body();
        }
    }

    fn set_waits(&mut self, waits: bool) {
        if self.has_body && self.waits != waits {
            self.waits = waits;
            self.connection.set_body_waits(waits);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set_waits(false);
        if self.has_body {
            self.connection.end_body();
        }
        if self.charged > 0 {
            self.connection.shared.stats.release(self.charged);
        }
        self.connection.end_request();
    }
}

/// The end of an answer, which an HTTP/2 connection may keep until its client opens the window. Until it is written,
/// the request is in flight: the bytes count, and the connection is neither idle nor drained.
struct Tail {
    bytes: Bytes,
    _in_flight: InFlight,
}

impl AsRef<[u8]> for Tail {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pin_project! {
    /// An answer's body, or the server's own answer in its place.
    pub struct ResponseBody<B> {
        #[pin]
        inner: Option<B>,
        // What is left of a large piece. Handing it on bit by bit keeps the protocol from queueing all of it.
        rest: Bytes,
        // `None` once the last piece took it along.
        in_flight: Option<InFlight>,
    }
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    pub(super) fn of_application(inner: B, mut in_flight: InFlight) -> Self {
        if !inner.is_end_stream() {
            in_flight.begin_body();
        }
        Self { inner: Some(inner), rest: Bytes::new(), in_flight: Some(in_flight) }
    }

    pub(super) fn of_server(bytes: Bytes, in_flight: InFlight) -> Self {
        Self { inner: None, rest: bytes, in_flight: Some(in_flight) }
    }

    /// HTTP/2: has the last piece take along what keeps the request in flight.
    fn piece(self: Pin<&mut Self>, bytes: Bytes) -> Frame<Bytes> {
        let is_last = self.is_end_stream();
        let this = self.project();
        let is_kept = |in_flight: &mut InFlight| is_last && in_flight.has_body && !bytes.is_empty();
        match this.in_flight.take_if(is_kept) {
            Some(in_flight) => Frame::data(Bytes::from_owner(Tail { bytes, _in_flight: in_flight })),
            None => Frame::data(bytes),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.as_mut().project();
        if this.rest.is_empty() {
            let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
            let frame = inner.poll_frame(cx);
            if let Some(in_flight) = this.in_flight {
                in_flight.set_waits(frame.is_pending());
            }
            match ready!(frame) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() > UNCOUNTED_BYTES => *this.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(self.piece(data)))),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(UNCOUNTED_BYTES));
        Poll::Ready(Some(Ok(self.piece(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let Some(inner) = &self.inner else { return SizeHint::with_exact(rest) };
        let inner = inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
