//! Old addresses of posts that came from elsewhere: `path` and `aliases` of an import.

use async_trait::async_trait;

use crate::context::Context;
use crate::error::Result;
use crate::posts::PostId;

/// The longest path that is kept, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;

/// Brings a path into the one form in which it is stored and looked up: no leading or trailing
/// slash, no empty segments, no query.
pub fn normalise(path: &str) -> String {
    path.split(['?', '#'])
        .next()
        .unwrap_or_default()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

/// Where old addresses are looked up. They are written together with their post.
#[async_trait]
pub trait RedirectRepository: Send + Sync {
    /// The public post that `path` (normalised) led to.
    async fn find(&self, ctx: &Context, path: &str) -> Result<Option<PostId>>;
}
