//! The port to the store of tags.

use std::sync::Arc;

use async_trait::async_trait;

use crate::access::Permit;
use crate::context::Context;
use crate::error::Result;
use crate::idempotency::{Idempotency, Written};
use crate::page::{Page, Position};

use super::{NewTag, Tag, TagChange, TagId, TagKey};

/// Decides on a change while the tag is locked.
pub type Decide<T> = Arc<dyn Fn(&Tag) -> Result<Permit<T>> + Send + Sync>;

/// Which tags to list, ordered by slug (the cursor is a text key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagQuery {
    /// Where to begin.
    pub position: Position,
    /// How many.
    pub limit: u32,
}

/// The store of tags.
#[async_trait]
pub trait TagRepository: Send + Sync {
    /// Looks a tag up.
    async fn find(&self, ctx: &Context, key: &TagKey) -> Result<Option<Tag>>;
    /// One page, by slug.
    async fn list(&self, ctx: &Context, query: &TagQuery) -> Result<Page<Tag>>;
    /// How many there are.
    async fn count(&self, ctx: &Context) -> Result<u64>;
    /// Makes a tag.
    ///
    /// # Errors
    /// `Invalid` with `Taken` at `/slug`.
    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewTag>,
        idempotency: Option<Idempotency<Tag>>,
    ) -> Result<Written<Tag>>;
    /// Changes a tag under lock.
    ///
    /// # Errors
    /// As for [`TagRepository::create`].
    async fn change(&self, ctx: &Context, id: TagId, decide: Decide<TagChange>) -> Result<Tag>;
    /// Deletes a tag under lock; posts lose it.
    async fn delete(&self, ctx: &Context, id: TagId, decide: Decide<()>) -> Result<()>;
}
