//! What is known of one connection, shared by its task and by the watch over all of them.
//!
//! No connection has a timer. Its task notes in plain atomics when something began, by a clock that costs one load;
//! a watch looks over all connections some times a second and wakes those that are late. So a request pays a few
//! stores for all of its deadlines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::task::Context;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use http::HeaderValue;
use jiff::Timestamp;

use super::limits::{IDLE_UNDER_PRESSURE, Limits, millis};
use super::refusal::ProblemWriter;
use super::stats::{Cut, ServerStats};

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) stats: ServerStats,
    pub(super) problem: ProblemWriter,
    /// Milliseconds since the start, as of the last look. Never 0, which stands for "not".
    pub(super) now: AtomicU64,
    date: ArcSwap<HeaderValue>,
}

impl Shared {
    pub(super) fn new(limits: Limits, problem: ProblemWriter, wall: Timestamp) -> Self {
        let date = ArcSwap::from_pointee(date_of(wall));
        Self { limits, stats: ServerStats::default(), problem, now: AtomicU64::new(1), date }
    }

    /// For the `Date` of answers (RFC 9110 section 6.6.1), as of the last look.
    pub(super) fn date(&self) -> HeaderValue {
        HeaderValue::clone(&self.date.load())
    }

    /// Sets the date, forwards or backwards: the protocol library keeps one that is ahead until time has caught up.
    pub(super) fn set_date(&self, wall: Timestamp) {
        self.date.store(Arc::new(date_of(wall)));
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }
}

fn date_of(wall: Timestamp) -> HeaderValue {
    let date = httpdate::fmt_http_date(SystemTime::from(wall).max(SystemTime::UNIX_EPOCH));
    HeaderValue::try_from(date).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Opening,
    Handshake,
    Http1,
    Http2,
    Lingering,
}

/// What the watch does about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Let it finish and take no more requests.
    Drain,
    /// Answer 408: a request's head did not arrive in time.
    HeadTimeout,
    /// Keep no buffers for it until it says something.
    Rest,
    /// Close it now.
    Cut(Cut),
}

/// How long an idle connection keeps the buffers of its protocol, in milliseconds: longer than clients
/// pause that are at work, so that it costs those nothing, and not longer, since where thousands come in a
/// second that is how many have them.
const REST_AFTER: u64 = 100;

/// One connection. Times are those of [`Shared::now`]; 0 is "not".
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    peer: SocketAddr,
    is_tls: bool,
    phase: AtomicU8,
    phase_since: AtomicU64,
    requests: AtomicU32,
    in_flight: AtomicU32,
    /// HTTP/1: when the head that is being read began.
    head_since: AtomicU64,
    /// When the request in flight began. HTTP/2: the first of those in flight.
    busy_since: AtomicU64,
    /// HTTP/1: the answer is made, but not all of it written.
    is_flushing: AtomicBool,
    idle_since: AtomicU64,
    write_blocked_since: AtomicU64,
    /// HTTP/2: answers that have bytes to come, those of them that wait for the application, and the last progress.
    bodies: AtomicU32,
    bodies_waiting: AtomicU32,
    progress_at: AtomicU64,
    control_bytes: AtomicU64,
    is_draining: AtomicBool,
    /// The part of a request's body that nobody read is still to come.
    is_body_unread: AtomicBool,
    is_head_late: AtomicBool,
    /// It was asked to rest, and then did.
    is_rest_due: AtomicBool,
    is_resting: AtomicBool,
    /// 0, or the reason to cut plus one.
    cut: AtomicU8,
    waker: AtomicWaker,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, peer: SocketAddr, is_tls: bool) -> Self {
        let now = shared.now();
        Self {
            shared,
            peer,
            is_tls,
            phase: AtomicU8::new(Phase::Opening as u8),
            phase_since: AtomicU64::new(now),
            requests: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            head_since: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            is_flushing: AtomicBool::new(false),
            idle_since: AtomicU64::new(now),
            write_blocked_since: AtomicU64::new(0),
            bodies: AtomicU32::new(0),
            bodies_waiting: AtomicU32::new(0),
            progress_at: AtomicU64::new(now),
            control_bytes: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            is_body_unread: AtomicBool::new(false),
            is_head_late: AtomicBool::new(false),
            is_rest_due: AtomicBool::new(false),
            is_resting: AtomicBool::new(false),
            cut: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.phase.load(Relaxed) == Phase::Http2 as u8
    }

    fn phase(&self) -> Phase {
        const PHASES: [Phase; 5] = [Phase::Opening, Phase::Handshake, Phase::Http1, Phase::Http2, Phase::Lingering];
        PHASES[usize::from(self.phase.load(Relaxed)).min(4)]
    }

    pub(super) fn enter(&self, phase: Phase) {
        let now = self.shared.now();
        self.phase_since.store(now, Relaxed);
        self.idle_since.store(now, Relaxed);
        self.phase.store(phase as u8, Relaxed);
    }

    /// A request's head is complete.
    pub(super) fn begin_request(&self) -> u32 {
        let now = self.shared.now();
        let in_flight = self.in_flight.fetch_add(1, Relaxed);
        if in_flight == 0 || !self.is_http2() {
            self.busy_since.store(now, Relaxed);
        }
        // With HTTP/1, who may ask again has sent all of it.
        if !self.is_http2() {
            self.is_body_unread.store(false, Relaxed);
        }
        self.is_flushing.store(false, Relaxed);
        self.control_bytes.store(0, Relaxed);
        self.requests.fetch_add(1, Relaxed) + 1
    }

    /// A request's answer is handed over to the protocol, or given up.
    pub(super) fn end_request(&self) {
        let before = self.in_flight.fetch_sub(1, Relaxed);
        if !self.is_http2() {
            self.is_flushing.store(true, Relaxed);
        } else if before == 1 {
            self.busy_since.store(0, Relaxed);
            self.idle_since.store(self.shared.now(), Relaxed);
        }
    }

    /// HTTP/1: whether a request is in flight, its answer being written included.
    pub(super) fn is_busy(&self) -> bool {
        self.busy_since.load(Relaxed) != 0
    }

    /// HTTP/1: everything that was to be written is written.
    pub(super) fn flushed(&self) {
        if self.is_flushing.load(Relaxed) {
            self.is_flushing.store(false, Relaxed);
            self.busy_since.store(0, Relaxed);
            self.idle_since.store(self.shared.now(), Relaxed);
        }
    }

    /// HTTP/1: a head is being read, or none. `is_another`: not the one that was being read before.
    pub(super) fn set_in_head(&self, is_in_head: bool, is_another: bool) {
        let since = self.head_since.load(Relaxed);
        if !is_in_head && since != 0 {
            self.head_since.store(0, Relaxed);
        } else if is_in_head && (since == 0 || is_another) {
            self.head_since.store(self.shared.now(), Relaxed);
        }
    }

    /// The client takes no more bytes for now.
    pub(super) fn write_blocked(&self) {
        if self.write_blocked_since.load(Relaxed) == 0 {
            self.write_blocked_since.store(self.shared.now(), Relaxed);
        }
    }

    /// The client took bytes. Says whether it had not before.
    pub(super) fn write_progressed(&self) -> bool {
        let was_blocked = self.is_write_blocked();
        if was_blocked {
            self.write_blocked_since.store(0, Relaxed);
        }
        was_blocked
    }

    pub(super) fn is_write_blocked(&self) -> bool {
        self.write_blocked_since.load(Relaxed) != 0
    }

    pub(super) fn begin_body(&self) {
        self.expect_progress();
        self.bodies.fetch_add(1, Relaxed);
    }

    /// One more answer waits for the client. That is no progress of those that wait already.
    fn expect_progress(&self) {
        if !self.has_stalled_bodies() {
            self.body_progressed();
        }
    }

    fn has_stalled_bodies(&self) -> bool {
        self.bodies.load(Relaxed) > self.bodies_waiting.load(Relaxed)
    }

    pub(super) fn end_body(&self) {
        self.bodies.fetch_sub(1, Relaxed);
    }

    /// HTTP/2: the client took a part of an answer.
    pub(super) fn body_progressed(&self) {
        self.progress_at.store(self.shared.now(), Relaxed);
    }

    /// The application has nothing to send yet, or has again.
    pub(super) fn set_body_waits(&self, waits: bool) {
        if waits {
            self.bodies_waiting.fetch_add(1, Relaxed);
        } else {
            self.expect_progress();
            self.bodies_waiting.fetch_sub(1, Relaxed);
        }
    }

    /// HTTP/2: counts bytes, and says whether too many came without a request or a body.
    pub(super) fn count_control(&self, bytes: usize) -> bool {
        let before = self.control_bytes.fetch_add(bytes as u64, Relaxed);
        before + bytes as u64 <= self.shared.limits.http2_max_control_bytes
    }

    /// A piece of a request's body arrived.
    pub(super) fn body_received(&self) {
        self.control_bytes.store(0, Relaxed);
    }

    pub(super) fn body_unread(&self) {
        self.is_body_unread.store(true, Relaxed);
    }

    pub(super) fn is_body_unread(&self) -> bool {
        self.is_body_unread.load(Relaxed)
    }

    /// Takes no more requests. The task sees it at its next turn; the caller wakes it where that matters.
    pub(super) fn drain(&self) {
        // HTTP/2: from here on the client has a while to learn of it, however long it was idle before.
        self.idle_since.store(self.shared.now(), Relaxed);
        self.is_draining.store(true, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn register(&self, context: &Context<'_>) {
        self.waker.register(context.waker());
    }

    /// Tells the connection to answer 408 and close.
    pub(super) fn time_out_head(&self) {
        self.is_head_late.store(true, Relaxed);
        self.shared.stats.add_cut(Cut::Header);
        self.waker.wake();
    }

    pub(super) fn is_head_late(&self) -> bool {
        self.is_head_late.load(Relaxed)
    }

    /// Asks the connection to let go of its buffers, if it has nothing to do.
    pub(super) fn ask_to_rest(&self) {
        self.is_rest_due.store(true, Relaxed);
        self.waker.wake();
    }

    /// HTTP/1: whether it was asked to rest, and has nothing to do.
    pub(super) fn begins_rest(&self) -> bool {
        let rests = self.is_rest_due.swap(false, Relaxed)
            && !self.is_busy()
            && self.head_since.load(Relaxed) == 0
            && !(self.is_draining() || self.is_head_late() || self.is_body_unread());
        if rests {
            self.shared.stats.add_rest();
            self.is_resting.store(true, Relaxed);
        }
        rests
    }

    pub(super) fn end_rest(&self) {
        self.is_resting.store(false, Relaxed);
    }

    /// Tells the connection to end. The first reason counts.
    pub(super) fn cut(&self, reason: Cut) {
        if self.cut.compare_exchange(0, reason as u8 + 1, Relaxed, Relaxed).is_ok() {
            self.shared.stats.add_cut(reason);
        }
        self.waker.wake();
    }

    pub(super) fn is_cut(&self) -> Option<Cut> {
        let reason = self.cut.load(Relaxed);
        if reason == 0 { None } else { Cut::ALL.get(usize::from(reason - 1)).copied() }
    }

    /// Judges this connection.
    pub(super) fn judge(&self, is_full: bool) -> Option<Verdict> {
        let limits = &self.shared.limits;
        let now = self.shared.now();
        let past = |since: u64, limit| since != 0 && now.saturating_sub(since) >= millis(limit);
        let cut = |reason| Some(Verdict::Cut(reason));

        if past(self.write_blocked_since.load(Relaxed), limits.write_progress_timeout) {
            return cut(Cut::WriteProgress);
        }
        let phase_since = self.phase_since.load(Relaxed);
        match self.phase() {
            Phase::Opening => past(phase_since, limits.first_byte_timeout).then_some(Verdict::Cut(Cut::FirstByte)),
            Phase::Handshake => {
                past(phase_since, limits.tls_handshake_timeout).then_some(Verdict::Cut(Cut::TlsHandshake))
            }
            Phase::Lingering => past(phase_since, limits.linger_timeout).then_some(Verdict::Cut(Cut::Linger)),
            Phase::Http1 if self.is_busy() => {
                past(self.busy_since.load(Relaxed), limits.request_timeout).then_some(Verdict::Cut(Cut::Request))
            }
            Phase::Http1 if self.head_since.load(Relaxed) != 0 => {
                let is_late = past(self.head_since.load(Relaxed), limits.header_read_timeout);
                (is_late && !self.is_head_late()).then_some(Verdict::HeadTimeout)
            }
            Phase::Http2 if self.in_flight() > 0 => {
                let is_late = past(self.progress_at.load(Relaxed), limits.write_progress_timeout);
                (is_late && self.has_stalled_bodies()).then_some(Verdict::Cut(Cut::WriteProgress))
            }
            phase @ (Phase::Http1 | Phase::Http2) => self.judge_idle(phase, is_full, past),
        }
    }

    fn judge_idle(
        &self,
        phase: Phase,
        is_full: bool,
        past: impl Fn(u64, std::time::Duration) -> bool,
    ) -> Option<Verdict> {
        let limits = &self.shared.limits;
        let is_new = self.requests() == 0;
        let limit = match phase {
            // Asked to leave a while ago, and still here.
            Phase::Http2 if self.is_draining() => limits.linger_timeout,
            _ if is_new => limits.first_byte_timeout,
            _ if is_full => limits.keep_alive_timeout.min(IDLE_UNDER_PRESSURE),
            _ => limits.keep_alive_timeout,
        };
        let idle_since = self.idle_since.load(Relaxed);
        if !past(idle_since, limit) {
            let is_rest_due = phase == Phase::Http1
                && !is_new
                && self.shared.now().saturating_sub(idle_since) >= REST_AFTER
                && !self.is_resting.load(Relaxed);
            return is_rest_due.then_some(Verdict::Rest);
        }
        let reason = if is_new { Cut::FirstByte } else { Cut::KeepAlive };
        if phase == Phase::Http2 && !self.is_draining() {
            // The client learns by GOAWAY that its next request needs another connection.
            return Some(Verdict::Drain);
        }
        Some(Verdict::Cut(reason))
    }
}

/// What an application may know of the connection a request came by. An extension of every request.
#[derive(Clone)]
pub struct ConnectionInfo(pub(super) Arc<Connection>);

impl ConnectionInfo {
    /// The address at the other end: the client's, or that of the proxy in front.
    pub fn peer(&self) -> PeerAddr {
        PeerAddr(self.0.peer())
    }

    /// Whether the bytes are encrypted up to this process.
    pub fn is_tls(&self) -> bool {
        self.0.is_tls()
    }

    /// Requests that this connection has carried, this one included.
    pub fn requests(&self) -> u32 {
        self.0.requests()
    }

    /// Requests in flight on this connection now, this one included.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight()
    }
}

impl std::fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionInfo").field("peer", &self.0.peer()).field("is_tls", &self.is_tls()).finish()
    }
}

/// The address at the other end of a connection. IPv4 never appears as IPv4-mapped IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);
