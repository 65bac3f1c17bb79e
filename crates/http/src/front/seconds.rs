//! Header values that say a number of seconds, made once for each number that is common.

use std::sync::OnceLock;

use http::HeaderValue;

use crate::representation::header_value;

/// Numbers below this are kept: a little more than the usual lifetime.
const KEPT: usize = 512;

/// The values `{prefix}0`, `{prefix}1`, …
pub(super) struct Seconds {
    prefix: &'static str,
    values: Box<[OnceLock<HeaderValue>]>,
}

impl Seconds {
    /// `Age` (RFC 9111 §5.1).
    pub(super) fn ages() -> Self {
        Self::after("")
    }

    /// `Cache-Status` of a fresh answer (RFC 9211 §2).
    pub(super) fn ttls() -> Self {
        Self::after("inkstone; hit; ttl=")
    }

    fn after(prefix: &'static str) -> Self {
        Self { prefix, values: (0..KEPT).map(|_| OnceLock::new()).collect() }
    }

    /// The value for this many seconds.
    pub(super) fn get(&self, seconds: u64) -> HeaderValue {
        let make = || header_value(&format!("{}{seconds}", self.prefix));
        let kept = usize::try_from(seconds).ok().and_then(|index| self.values.get(index));
        kept.map_or_else(make, |value| value.get_or_init(make).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_written_out() {
        let (ages, ttls) = (Seconds::ages(), Seconds::ttls());
        for seconds in [0, 1, 9, 10, 511, 512, 86_400, u64::MAX, 1] {
            assert_eq!(ages.get(seconds), seconds.to_string());
            assert_eq!(ttls.get(seconds), format!("inkstone; hit; ttl={seconds}"));
        }
    }
}
