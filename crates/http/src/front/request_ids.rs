//! Request ids without asking the operating system for each.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use inkstone_core::clock::SharedEntropy;
use jiff::Timestamp;
use uuid::Builder;
use uuid::fmt::Hyphenated;

/// Makes UUIDv7s: the time, then bits that no other process and no other request has. They name
/// requests and guard nothing, so a secret start and a mixing counter are random enough.
pub(super) struct RequestIds {
    state: AtomicU64,
    process: u64,
}

/// The step of `SplitMix64`: odd, so that the state takes every value before it repeats.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl RequestIds {
    /// A start of this process's own. Without randomness all processes share one, and their ids
    /// differ by time alone.
    pub(super) fn new(entropy: &SharedEntropy) -> Self {
        let mut random = [[0_u8; 8]; 2];
        for part in &mut random {
            if entropy.fill(part).is_err() {
                tracing::warn!("no randomness for request ids");
            }
        }
        let [state, process] = random.map(u64::from_le_bytes);
        Self { state: AtomicU64::new(state), process }
    }

    /// The next id, for a request that came in at `now`.
    pub(super) fn next(&self, now: Timestamp) -> HeaderValue {
        let state = self.state.fetch_add(STEP, Ordering::Relaxed);
        let mut random = [0_u8; 10];
        let (first, last) = random.split_at_mut(2);
        last.copy_from_slice(&mixed(state).to_le_bytes());
        first.copy_from_slice(&mixed(state ^ self.process).to_le_bytes()[..2]);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let id = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        let mut text = [0_u8; Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        // Hexadecimal digits and hyphens are always a value.
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// `SplitMix64`'s mixing: neighbouring states give numbers that look unrelated.
fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use inkstone_core::clock::SystemEntropy;
    use uuid::{Uuid, Version};

    use super::*;

    #[test]
    fn ids_are_uuids_of_their_time_and_never_the_same() {
        let at = Timestamp::from_millisecond(1_780_000_000_123).unwrap();
        let entropy: SharedEntropy = Arc::new(SystemEntropy);
        let mut seen = HashSet::new();
        for process in 0..4 {
            let ids = RequestIds::new(&entropy);
            for _ in 0..20_000 {
                let id = Uuid::try_parse_ascii(ids.next(at).as_bytes()).unwrap();
                assert_eq!(id.get_version(), Some(Version::SortRand));
                let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
                assert_eq!((seconds, nanos), (1_780_000_000, 123_000_000));
                assert!(seen.insert(id), "twice {id}, process {process}");
            }
        }
    }
}
