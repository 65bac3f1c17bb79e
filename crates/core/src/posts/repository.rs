//! The port to the store of posts. Each method is one unit of work: the row, its revision, its
//! links, the audit entry, the idempotency record and the events commit together or not at all.

use std::sync::Arc;

use async_trait::async_trait;

use crate::access::Permit;
use crate::context::Context;
use crate::error::Result;
use crate::idempotency::{Idempotency, Written};
use crate::page::Page;

use super::{Found, ImportKey, NewPost, Parts, Post, PostChange, PostFilter, PostId, PostKey, PostQuery};

/// Decides on a change while the post is locked: precondition, policy and rules see the very
/// state that the change will be made to. The post given has no body parts.
pub type Decide<T> = Arc<dyn Fn(&Post) -> Result<Permit<T>> + Send + Sync>;

/// The store of posts.
#[async_trait]
pub trait PostRepository: Send + Sync {
    /// Looks a post up, whatever its status; `None` if there never was one (or it was deleted
    /// before anybody saw it).
    async fn find(&self, ctx: &Context, key: &PostKey, parts: Parts) -> Result<Option<Found>>;

    /// One page, with authors and tags, in a number of statements that does not depend on its size.
    async fn list(&self, ctx: &Context, query: &PostQuery) -> Result<Page<Post>>;

    /// How many posts match.
    async fn count(&self, ctx: &Context, filter: &PostFilter) -> Result<u64>;

    /// Writes a new post. Gives it back with both body parts.
    ///
    /// # Errors
    /// `Invalid` with [`crate::FaultCode::Taken`] at `/slug`, or with [`crate::FaultCode::Unknown`]
    /// at `/authors/N` or, for tags that may not be created, at `/tags/N`; `Conflict` if something
    /// was imported under this key already.
    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewPost>,
        idempotency: Option<Idempotency<Post>>,
    ) -> Result<Written<Post>>;

    /// Changes a post under lock. Gives it back with both body parts.
    ///
    /// # Errors
    /// What `decide` says; `NotFound` or `Gone`; and as for [`PostRepository::create`].
    async fn change(&self, ctx: &Context, id: PostId, decide: Decide<PostChange>) -> Result<Post>;

    /// Deletes a post under lock, leaving a tombstone.
    async fn delete(&self, ctx: &Context, id: PostId, decide: Decide<()>) -> Result<()>;

    /// The post that was imported under this source and key, with the fingerprint of what was
    /// read then. A post deleted since is reported too: importing again does not bring it back.
    async fn find_import(&self, ctx: &Context, source: &str, key: &str) -> Result<Option<(PostId, ImportKey)>>;
}
