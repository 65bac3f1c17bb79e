//! Header values that say a number of seconds, made once for each number that is common.

use std::sync::OnceLock;

use http::HeaderValue;

use crate::representation::header_value;

/// Numbers below this are kept: a little more than the usual lifetime.
const KEPT: usize = 512;

/// `Age` (RFC 9111 §5.1).
pub(super) static AGES: Seconds = Seconds::new("");
/// `Cache-Status` of a fresh answer (RFC 9211 §2).
pub(super) static TTLS: Seconds = Seconds::new("inkstone; hit; ttl=");

/// The values `{prefix}0`, `{prefix}1`, …
pub(super) struct Seconds {
    prefix: &'static str,
    values: [OnceLock<HeaderValue>; KEPT],
}

impl Seconds {
    const fn new(prefix: &'static str) -> Self {
        Self { prefix, values: [const { OnceLock::new() }; KEPT] }
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
        for seconds in [0, 1, 9, 10, 511, 512, 86_400, u64::MAX, 1] {
            assert_eq!(AGES.get(seconds), seconds.to_string());
            assert_eq!(TTLS.get(seconds), format!("inkstone; hit; ttl={seconds}"));
        }
    }
}
