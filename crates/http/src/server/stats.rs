//! What a server counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::limits::Limits;

macro_rules! timeouts {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// Why a connection was cut.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Cut { $($(#[doc = $doc])+ $name,)+ }

        impl Cut {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Cut] = &[$(Cut::$name,)+];

            /// The label under which it is counted.
            pub fn label(self) -> &'static str {
                match self { $(Cut::$name => $label,)+ }
            }
        }
    };
}

timeouts! {
    /// No byte arrived.
    FirstByte = "first-byte",
    /// The TLS handshake did not finish.
    TlsHandshake = "tls-handshake",
    /// A request's head did not finish.
    Header = "header",
    /// A request's body did not finish. The application answered it with 408.
    Body = "body",
    /// A request took too long altogether.
    Request = "request",
    /// The client did not read its answer.
    WriteProgress = "write-progress",
    /// The connection was idle.
    KeepAlive = "keep-alive",
    /// The client went on sending after an answer that closed the connection.
    Linger = "linger",
    /// An HTTP/2 client sent control frames and nothing else.
    ControlFlood = "control-flood",
    /// The server shut down and the drain time was over.
    Drain = "drain",
}

/// Counters of one server. All are totals since its start, except where "now" is said.
#[derive(Debug, Default)]
pub struct ServerStats {
    accepted: AtomicU64,
    open: AtomicUsize,
    open_per_address_max: AtomicUsize,
    refused_by_address: AtomicU64,
    waited_for_room: AtomicU64,
    accept_errors: AtomicU64,
    out_of_files: AtomicU64,
    tls_failures: AtomicU64,
    refused_requests: AtomicU64,
    refused_by_budget: AtomicU64,
    bytes_in_flight: AtomicUsize,
    rests: AtomicU64,
    cuts: [AtomicU64; Cut::ALL.len()],
}

impl ServerStats {
    /// Connections accepted, those included that were closed at once.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Connections open now from the client that has most of them, as of the last look.
    pub fn open_per_address_max(&self) -> usize {
        self.open_per_address_max.load(Relaxed)
    }

    /// Connections closed at once because their client had too many.
    pub fn refused_by_address(&self) -> u64 {
        self.refused_by_address.load(Relaxed)
    }

    /// How often accepting stopped because the server was full.
    pub fn waited_for_room(&self) -> u64 {
        self.waited_for_room.load(Relaxed)
    }

    /// Connections that failed while they were accepted, for want of files or another reason.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Relaxed)
    }

    /// How often accepting failed because the process or the system had no file left.
    pub fn out_of_files(&self) -> u64 {
        self.out_of_files.load(Relaxed)
    }

    /// TLS handshakes that failed, not counting those that took too long.
    pub fn tls_failures(&self) -> u64 {
        self.tls_failures.load(Relaxed)
    }

    /// Requests refused for breaking HTTP's rules or a limit on their head.
    pub fn refused_requests(&self) -> u64 {
        self.refused_requests.load(Relaxed)
    }

    /// Answers replaced by 503 because too many bytes waited for slow clients.
    pub fn refused_by_budget(&self) -> u64 {
        self.refused_by_budget.load(Relaxed)
    }

    /// Bytes of large answers that wait for their clients now.
    pub fn bytes_in_flight(&self) -> usize {
        self.bytes_in_flight.load(Relaxed)
    }

    /// How often a connection was idle for so long that its buffers were given back.
    pub fn rests(&self) -> u64 {
        self.rests.load(Relaxed)
    }

    /// Connections cut for this reason.
    pub fn cut(&self, reason: Cut) -> u64 {
        self.cuts[reason as usize].load(Relaxed)
    }

    pub(super) fn add_accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn set_open(&self, open: usize) {
        self.open.store(open, Relaxed);
    }

    pub(super) fn set_open_per_address_max(&self, most: usize) {
        self.open_per_address_max.store(most, Relaxed);
    }

    pub(super) fn add_refused_by_address(&self) {
        self.refused_by_address.fetch_add(1, Relaxed);
    }

    pub(super) fn add_waited_for_room(&self) {
        self.waited_for_room.fetch_add(1, Relaxed);
    }

    pub(super) fn add_accept_error(&self, out_of_files: bool) {
        self.accept_errors.fetch_add(1, Relaxed);
        if out_of_files {
            self.out_of_files.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn add_tls_failure(&self) {
        self.tls_failures.fetch_add(1, Relaxed);
    }

    pub(super) fn add_refused_request(&self) {
        self.refused_requests.fetch_add(1, Relaxed);
    }

    pub(super) fn add_rest(&self) {
        self.rests.fetch_add(1, Relaxed);
    }

    pub(super) fn add_cut(&self, reason: Cut) {
        self.cuts[reason as usize].fetch_add(1, Relaxed);
    }

    /// Takes `bytes` from the budget, or says that it is spent.
    pub(super) fn charge(&self, bytes: usize, limits: &Limits) -> bool {
        let before = self.bytes_in_flight.fetch_add(bytes, Relaxed);
        // An answer that alone is larger than the budget may pass when it is the only one.
        if before == 0 || before.saturating_add(bytes) <= limits.max_bytes_in_flight {
            return true;
        }
        self.bytes_in_flight.fetch_sub(bytes, Relaxed);
        self.refused_by_budget.fetch_add(1, Relaxed);
        false
    }

    pub(super) fn release(&self, bytes: usize) {
        self.bytes_in_flight.fetch_sub(bytes, Relaxed);
    }
}
