//! How the cache came by an answer, and how that is said.

use std::time::Duration;

use http::header::HeaderValue;

use super::header_value;

/// How the cache came by the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Fresh, from the cache.
    Hit {
        /// Since it was made.
        age: Duration,
        /// What is left of its lifetime.
        ttl: Duration,
    },
    /// From the cache past its lifetime, while somebody refreshes it.
    Stale {
        /// Since it was made.
        age: Duration,
        /// Since its lifetime ended.
        overdue: Duration,
    },
    /// From the cache past its lifetime, because the store cannot answer.
    StaleIfError {
        /// Since it was made.
        age: Duration,
        /// Since its lifetime ended.
        overdue: Duration,
    },
    /// Made now.
    Miss {
        /// Whether the cache kept it.
        stored: bool,
    },
    /// Made now from a replica, while the primary could not be asked whether anything has changed.
    Behind {
        /// Changes of so long ago may be missing.
        age: Duration,
    },
    /// Made now by another request that this one waited for.
    Collapsed,
    /// Not a matter for the cache.
    Bypass,
}

impl Verdict {
    /// One word for logs, metrics and `Server-Timing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Stale { .. } => "stale",
            Self::StaleIfError { .. } => "stale-if-error",
            Self::Miss { .. } => "miss",
            Self::Behind { .. } => "replica",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
        }
    }

    /// `Cache-Status` (RFC 9211 §2).
    pub(super) fn cache_status(self) -> HeaderValue {
        match self {
            Self::Hit { ttl, .. } => header_value(&format!("inkstone; hit; ttl={}", ttl.as_secs())),
            Self::Stale { overdue, .. } => header_value(&format!("inkstone; hit; ttl=-{}", begun(overdue))),
            Self::StaleIfError { overdue, .. } => {
                header_value(&format!("inkstone; hit; ttl=-{}; detail=stale-if-error", begun(overdue)))
            }
            Self::Miss { stored: true } => HeaderValue::from_static("inkstone; fwd=uri-miss; stored"),
            Self::Miss { stored: false } => HeaderValue::from_static("inkstone; fwd=uri-miss"),
            Self::Behind { .. } => HeaderValue::from_static("inkstone; fwd=uri-miss; detail=replica"),
            Self::Collapsed => HeaderValue::from_static("inkstone; fwd=uri-miss; collapsed"),
            Self::Bypass => HeaderValue::from_static("inkstone; fwd=bypass"),
        }
    }

    pub(super) fn age(self) -> Option<Duration> {
        match self {
            Self::Hit { age, .. } | Self::Stale { age, .. } | Self::StaleIfError { age, .. } | Self::Behind { age } => {
                Some(age)
            }
            Self::Miss { .. } | Self::Collapsed | Self::Bypass => None,
        }
    }
}

/// Seconds that have begun, at least one: what is overdue by less is not fresh either.
fn begun(overdue: Duration) -> u64 {
    overdue.as_secs() + u64::from(overdue.subsec_nanos() > 0 || overdue.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stale_never_looks_fresh() {
        for (millis, ttl) in [(0, "-1"), (1, "-1"), (999, "-1"), (1000, "-1"), (1001, "-2")] {
            let overdue = Duration::from_millis(millis);
            let shown = Verdict::Stale { age: Duration::ZERO, overdue }.cache_status();
            assert_eq!(shown, format!("inkstone; hit; ttl={ttl}"), "{millis}");
        }
    }
}
