//! The audit log: who did what to what, written in the same transaction as the deed.

use async_trait::async_trait;

use crate::access::Actor;
use crate::context::Context;
use crate::error::Result;

/// One entry. The store adds its id and time, and the request id of the context.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who.
    pub actor: Actor,
    /// What, such as `login.failed` or `post.update`; stable.
    pub action: &'static str,
    /// To what, such as `user:7`.
    pub subject: String,
    /// Whatever else helps to understand it later. Never a secret.
    pub details: serde_json::Value,
}

/// Where entries go that belong to no other write, such as a refused login.
#[async_trait]
pub trait AuditRepository: Send + Sync {
    /// Records one entry durably.
    async fn record(&self, ctx: &Context, entry: Entry) -> Result<()>;
}
