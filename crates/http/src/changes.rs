//! `Inkstone-Change`: whoever has written reads what they wrote, on whichever node.
//!
//! The answer to a write names the change that it made: its number in the one order of all changes.
//! A request that sends the number back is answered from a state that this change is in. Nothing is
//! kept for it: no session, no cookie, no node that a client would have to stay with. Caches outside
//! of the process know nothing of it; `Cache-Control: no-cache` passes them by.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use inkstone_core::progress::Progress;
use inkstone_core::{Code, Context, FaultCode, Result};

use crate::app::EdgeParts;
use crate::problem::{self, Problem};

/// The header, in answers and in requests.
pub const INKSTONE_CHANGE: HeaderName = HeaderName::from_static("inkstone-change");
/// The most digits of a number: those of an integer in a structured field (RFC 9651 §3.3.1).
pub const MAX_DIGITS: usize = 15;

/// How long a request waits for this process to learn of a change. Then it is read past the cache.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever follows the changes of all processes.
#[async_trait]
pub trait Follow: Send + Sync {
    /// Learns of everything that is committed by now, and has dropped what was made without it.
    ///
    /// # Errors
    /// When that could not be found out.
    async fn catch_up(&self) -> Result<()>;
}

/// Where this process stands in the order of all changes.
pub(crate) struct Changes {
    pub(crate) progress: Arc<Progress>,
    pub(crate) follow: Arc<dyn Follow>,
}

/// The change that the client knows of.
///
/// # Errors
/// [`Code::BadHeader`] for what is no number, or more than one.
pub(crate) fn known(headers: &HeaderMap) -> problem::Result<Option<i64>> {
    let mut lines = headers.get_all(INKSTONE_CHANGE).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let number = if lines.next().is_none() { parse(line) } else { None };
    let refused = || {
        let why = "Send the number of Inkstone-Change back as it came.";
        Problem::with_fault(Code::BadHeader, INKSTONE_CHANGE.as_str(), FaultCode::BadFormat, why)
    };
    number.map(Some).ok_or_else(refused)
}

fn parse(value: &HeaderValue) -> Option<i64> {
    let digits = value.to_str().ok().filter(|text| (1..=MAX_DIGITS).contains(&text.len()))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl EdgeParts {
    /// Has `Inkstone-Change` looked at: `progress` says how far this process is, and `follow` gets it
    /// further. Said once, before the first request.
    pub fn follow_changes(&self, progress: Arc<Progress>, follow: Arc<dyn Follow>) {
        // A second one cannot come: there is one place that puts a site together.
        let _first = self.changes.set(Changes { progress, follow });
    }

    /// Whether what this process has kept is as new as the change that a header names.
    pub(crate) fn has_followed(&self, change: &HeaderValue) -> bool {
        let Some(changes) = self.changes.get() else { return false };
        parse(change).is_some_and(|change| change <= changes.progress.followed())
    }

    /// Sees to it that what is read for `ctx` from now on has this change in it.
    pub(crate) async fn reach(&self, ctx: &Context, change: i64) {
        let Some(changes) = self.changes.get() else { return };
        if change <= changes.progress.followed() {
            return;
        }
        let left = ctx.deadline.remaining(self.clock().instant()).min(PATIENCE);
        // A number beyond everything that is committed is of another site, or of before a backup was
        // restored. It asks for nothing more.
        if !matches!(tokio::time::timeout(left, changes.follow.catch_up()).await, Ok(Ok(()))) {
            ctx.meter.await_change(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_plain_number_and_one() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(INKSTONE_CHANGE, HeaderValue::from_str(line).unwrap());
            }
            known(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["42"]), Ok(Some(42)));
        assert_eq!(of(&["999999999999999"]), Ok(Some(999_999_999_999_999)));
        for bad in ["", "-1", "+1", "1.0", "0x1", "1 2", "1000000000000000"] {
            assert_eq!(of(&[bad]), Err(Code::BadHeader), "{bad:?}");
        }
        assert_eq!(of(&["1", "1"]), Err(Code::BadHeader));
    }
}
