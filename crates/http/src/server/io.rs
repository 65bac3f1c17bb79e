//! The bytes of one connection on their way between the socket and the protocol.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, Phase};
use super::frames::FrameFollower;
use super::head::{HeadLimits, HeadScanner};
use super::refusal::{Refusal, answer_bytes};
use super::stats::Cut;

/// How much is read and thrown away after the last answer of a connection.
const LINGER_BYTES: usize = 256 * 1024;

/// What HTTP/2 clients with prior knowledge say first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket, encrypted or not. One type, so that the protocols are compiled once.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! on_stream {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Plain($inner) => $call,
            Stream::Tls($inner) => $call,
        }
    };
}

/// The first bytes of a connection, read to find out its protocol and not yet handed on.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    pub(super) bytes: Vec<u8>,
    pub(super) taken: usize,
}

/// The last thing that is written on a connection, and the wait until the client has it.
struct Farewell {
    answer: Bytes,
    is_shut: bool,
    discarded: usize,
}

/// A stream that checks what it reads, and notes whether the client takes what is written.
pub(super) struct WatchedIo {
    stream: Stream,
    connection: Arc<Connection>,
    prefix: Prefix,
    /// HTTP/1 only.
    scanner: Option<HeadScanner>,
    /// HTTP/2: what is written.
    written: FrameFollower,
    /// The refusal that waits until the answers before it are written.
    stopped: Option<Refusal>,
    farewell: Option<Farewell>,
    /// Reading was put off until the client takes what it asked for.
    is_read_put_off: bool,
}

impl WatchedIo {
    pub(super) fn new(stream: Stream, prefix: Prefix, connection: Arc<Connection>, is_http1: bool) -> Self {
        let limits = &connection.shared.limits;
        let head_limits = HeadLimits {
            bytes: usize::try_from(limits.max_header_bytes).unwrap_or(usize::MAX),
            fields: limits.max_headers,
            uri_bytes: limits.max_uri_bytes,
        };
        let scanner = is_http1.then(|| HeadScanner::new(head_limits));
        let written = FrameFollower::default();
        Self { stream, connection, prefix, scanner, written, stopped: None, farewell: None, is_read_put_off: false }
    }

    /// Waits until the client says something, or leaves. To be asked only when what came before was read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let socket = match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        // Whoever reads then meets the error, if there is one.
        socket.poll_read_ready(cx).map(drop)
    }

    fn poll_read_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Prefix { bytes, taken } = &mut self.prefix;
        if *taken < bytes.len() {
            let here = (bytes.len() - *taken).min(buf.remaining());
            buf.put_slice(&bytes[*taken..*taken + here]);
            *taken += here;
            if *taken == bytes.len() {
                self.prefix = Prefix::default();
            }
            return Poll::Ready(Ok(()));
        }
        on_stream!(&mut self.stream, stream => Pin::new(stream).poll_read(cx, buf))
    }

    fn begin_farewell(&mut self, answer: Bytes) {
        self.connection.enter(Phase::Lingering);
        self.farewell = Some(Farewell { answer, is_shut: false, discarded: 0 });
    }

    /// Writes the last answer, closes this side, and reads until the client closes its own: to close at once would
    /// reset the connection, and a reset can overtake the answer.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else { return Poll::Ready(Ok(())) };
        while farewell.answer.has_remaining() {
            let written =
                ready!(on_stream!(&mut self.stream, stream => Pin::new(stream).poll_write(cx, &farewell.answer)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            farewell.answer.advance(written);
        }
        if !farewell.is_shut {
            ready!(on_stream!(&mut self.stream, stream => Pin::new(stream).poll_shutdown(cx)))?;
            farewell.is_shut = true;
        }
        let mut waste = [0_u8; 4096];
        while farewell.discarded < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut waste);
            ready!(on_stream!(&mut self.stream, stream => Pin::new(stream).poll_read(cx, &mut buf)))?;
            if buf.filled().is_empty() {
                break;
            }
            farewell.discarded += buf.filled().len();
        }
        Poll::Ready(Ok(()))
    }

    /// HTTP/1: what stands in the way of reading. `Ready` with nothing when nothing does.
    fn poll_obstacles(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stopped.is_none() && self.connection.is_head_late() {
            self.stopped = Some(Refusal::HeadTimeout);
        }
        if let Some(refusal) = self.stopped
            && self.farewell.is_none()
        {
            if self.connection.is_busy() {
                return Poll::Pending;
            }
            let answer = answer_bytes(&self.connection.shared.problem, refusal, &self.connection.shared.date());
            self.begin_farewell(answer);
        }
        if self.farewell.is_some() {
            ready!(self.poll_farewell(cx))?;
            return Poll::Ready(Err(io::Error::other("the request was refused")));
        }
        if self.connection.is_write_blocked() {
            // Whoever does not read its answers shall not ask for more.
            self.is_read_put_off = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn note_write<T>(&mut self, cx: &Context<'_>, result: &Poll<io::Result<T>>) {
        match result {
            Poll::Pending => self.connection.write_blocked(),
            Poll::Ready(_) => {
                if self.connection.write_progressed() {
                    self.read_on(cx);
                }
            }
        }
    }

    /// HTTP/2: notes whether the client took something of an answer.
    fn follow_written<'a>(&mut self, result: &Poll<io::Result<usize>>, bufs: impl IntoIterator<Item = &'a [u8]>) {
        let Poll::Ready(Ok(written)) = result else { return };
        if self.scanner.is_some() {
            return;
        }
        let mut left = *written;
        let mut is_progress = false;
        for buf in bufs {
            let here = left.min(buf.len());
            is_progress |= self.written.follow(&buf[..here]);
            left -= here;
        }
        if is_progress {
            self.connection.body_progressed();
        }
    }

    /// Has the protocol read again: it polled before and was given nothing to wait for.
    fn read_on(&mut self, cx: &Context<'_>) {
        if std::mem::take(&mut self.is_read_put_off) || self.stopped.is_some() {
            cx.waker().wake_by_ref();
        }
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.scanner.is_some() {
                ready!(this.poll_obstacles(cx))?;
            }
            let before = buf.filled().len();
            ready!(this.poll_read_stream(cx, buf))?;
            let read = &buf.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Some(scanner) = &mut this.scanner else {
                if this.connection.count_control(read.len()) {
                    return Poll::Ready(Ok(()));
                }
                this.connection.cut(Cut::ControlFlood);
                return Poll::Ready(Err(io::Error::other("too many control frames")));
            };
            let Err(stop) = scanner.scan(read) else {
                this.connection.set_in_head(scanner.is_in_head(), scanner.take_passed());
                return Poll::Ready(Ok(()));
            };
            this.connection.shared.stats.add_refused_request();
            this.connection.set_in_head(false, true);
            this.stopped = Some(stop.refusal);
            buf.set_filled(before + stop.passed);
            if stop.passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = on_stream!(&mut this.stream, stream => Pin::new(stream).poll_write(cx, buf));
        this.note_write(cx, &result);
        this.follow_written(&result, [buf]);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = on_stream!(&mut this.stream, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        this.note_write(cx, &result);
        this.follow_written(&result, bufs.iter().map(|buf| &**buf));
        result
    }

    fn is_write_vectored(&self) -> bool {
        on_stream!(&self.stream, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = on_stream!(&mut this.stream, stream => Pin::new(stream).poll_flush(cx));
        this.note_write(cx, &result);
        ready!(result)?;
        if this.scanner.is_some() {
            this.connection.flushed();
            if this.stopped.is_some() && this.farewell.is_none() {
                this.read_on(cx);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() {
            this.begin_farewell(Bytes::new());
        }
        if this.connection.is_body_unread() {
            return this.poll_farewell(cx);
        }
        on_stream!(&mut this.stream, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
