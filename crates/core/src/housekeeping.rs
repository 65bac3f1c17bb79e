//! The port to the removal of what has expired.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::context::Context;
use crate::error::Result;

/// Removes what nobody can use any more: answers kept under idempotency keys, sessions with their
/// refresh tokens, counters of failed sign-ins.
#[async_trait]
pub trait Housekeeping: Send + Sync {
    /// Removes at most `limit` things of each kind that have expired at `now`; how many there were
    /// altogether. Zero means that there is nothing left. Bounded, so that no write waits for long.
    async fn remove_expired(&self, ctx: &Context, now: Timestamp, limit: u32) -> Result<u64>;
}
