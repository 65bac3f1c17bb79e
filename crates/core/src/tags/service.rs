//! What can be done with tags.

use std::sync::Arc;

use crate::access::Permission;
use crate::clock::SharedClock;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::idempotency::{Idempotency, Written};
use crate::page::{self, Page};
use crate::precondition::Precondition;

use super::repository::TagQuery;
use super::{NewTag, Tag, TagChange, TagDraft, TagId, TagKey, TagRepository, policy};

/// Tags, as every presentation uses them.
#[derive(Clone)]
pub struct TagService {
    tags: Arc<dyn TagRepository>,
    clock: SharedClock,
}

impl TagService {
    /// The service over a store.
    pub fn new(tags: Arc<dyn TagRepository>, clock: SharedClock) -> Self {
        Self { tags, clock }
    }

    /// One tag. Everybody may see it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn find(&self, ctx: &Context, key: &TagKey) -> Result<Tag> {
        self.tags.find(ctx, key).await?.ok_or_else(|| Error::not_found("tag"))
    }

    /// One page of tags, by slug.
    ///
    /// # Errors
    /// `BadQuery` for a limit or an offset out of range, `BadCursor` for a cursor of another list.
    pub async fn list(&self, ctx: &Context, query: &TagQuery) -> Result<Page<Tag>> {
        page::check(query.limit, &query.position, page::Kind::Text)?;
        self.tags.list(ctx, query).await
    }

    /// How many tags there are.
    pub async fn count(&self, ctx: &Context) -> Result<u64> {
        self.tags.count(ctx).await
    }

    /// Makes a tag. The slug follows from the name unless it is given.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`; `Invalid` with `Taken` at `/slug`.
    pub async fn create(
        &self,
        ctx: &Context,
        draft: TagDraft,
        idempotency: Option<Idempotency<Tag>>,
    ) -> Result<Written<Tag>> {
        let TagDraft { name, slug, description } = draft;
        let slug = slug.unwrap_or_else(|| name.slug());
        let new = NewTag { name, slug, description, created_at: self.clock.now() };
        self.tags.create(ctx, policy::create(&ctx.caller, new)?, idempotency).await
    }

    /// Changes a tag. A new name brings a new slug, unless one is given: a post that names the
    /// tag finds it by the slug of the name.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`, `NotFound`, `PreconditionFailed`, `PreconditionRequired`;
    /// `Invalid` with `Taken` at `/slug`.
    pub async fn change(
        &self,
        ctx: &Context,
        id: TagId,
        precondition: Precondition<Tag>,
        mut change: TagChange,
    ) -> Result<Tag> {
        // Tags are public, so that who may not change them is told before anything is looked up.
        ctx.caller.require(Permission::TagManage)?;
        if let (Some(name), None) = (&change.name, &change.slug) {
            change.slug = Some(name.slug());
        }
        let caller = ctx.caller.clone();
        let decide = Arc::new(move |tag: &Tag| {
            let permit = policy::change(&caller, change.clone())?;
            precondition.check(tag)?;
            Ok(permit)
        });
        self.tags.change(ctx, id, decide).await
    }

    /// Deletes a tag; the posts that carry it lose it.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`, `NotFound`, `PreconditionFailed`, `PreconditionRequired`.
    pub async fn delete(&self, ctx: &Context, id: TagId, precondition: Precondition<Tag>) -> Result<()> {
        ctx.caller.require(Permission::TagManage)?;
        let caller = ctx.caller.clone();
        let decide = Arc::new(move |tag: &Tag| {
            let permit = policy::delete(&caller)?;
            precondition.check(tag)?;
            Ok(permit)
        });
        self.tags.delete(ctx, id, decide).await
    }
}
