//! Time and randomness as arguments, so that schedules, expiry and tokens can be tested.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

mod common;

pub use common::{CommonClock, Reading};

/// Where the program gets the time from. The only caller of the ambient clock is [`SystemClock`].
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time in UTC, cut to the microsecond that every store can keep.
    fn now(&self) -> Timestamp;
    /// Monotonic time, for deadlines and lifetimes: it never jumps.
    fn instant(&self) -> Instant;
}

/// A clock that several layers share.
pub type SharedClock = Arc<dyn Clock>;

/// Where the program gets randomness from. The only caller of the operating system is [`SystemEntropy`].
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills `bytes` from a cryptographically secure source.
    ///
    /// # Errors
    /// When the source fails; nothing may then be derived from `bytes`.
    fn fill(&self, bytes: &mut [u8]) -> crate::Result<()>;
}

/// A source of randomness that several layers share.
pub type SharedEntropy = Arc<dyn Entropy>;

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    fn now(&self) -> Timestamp {
        truncate_to_micros(Timestamp::now())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The operating system's random number generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    fn fill(&self, bytes: &mut [u8]) -> crate::Result<()> {
        getrandom::fill(bytes).map_err(crate::Error::internal)
    }
}

/// Cuts a time to whole microseconds, the finest step that every store keeps.
pub fn truncate_to_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
