//! How MariaDB and MySQL are used.

use std::num::NonZero;
use std::time::Duration;

use inkstone_core::clock::SharedClock;

use super::address::MariaDbAddress;

/// How to use a MariaDB or MySQL database.
#[derive(Debug, Clone)]
pub struct MariaDbOptions {
    /// Where it is.
    pub address: MariaDbAddress,
    /// For deadlines and durations.
    pub clock: SharedClock,
    /// Connections for reads, so reads that run at once. At least one. Writes have two more, since
    /// one at a time is written, and the next can get ready.
    pub readers: u32,
    /// Reads that may wait for a connection; one more is refused.
    pub read_queue: usize,
    /// Writes that may wait for their turn; one more is refused.
    pub write_queue: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// The longest that a write may take or pause, once it has begun: nobody else writes meanwhile.
    /// Of pauses the server counts whole seconds.
    pub write_timeout: Duration,
    /// A unit of work that ran for so long is logged.
    pub slow: Duration,
}

impl MariaDbOptions {
    /// The defaults for an address.
    pub fn new(address: MariaDbAddress, clock: SharedClock) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self {
            address,
            clock,
            readers: u32::try_from(cores.max(2) * 4).unwrap_or(u32::MAX).min(64),
            read_queue: 1024,
            write_queue: 1024,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            slow: Duration::from_millis(500),
        }
    }
}
