//! Repositories that tell the relay of every write before the write is acknowledged: whoever reads
//! after that sees the write, cached or not.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use inkstone_core::access::Permit;
use inkstone_core::events::RecordedEvent;
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::page::Page;
use inkstone_core::posts::{
    self, Found, ImportKey, NewPost, Parts, Post, PostChange, PostFilter, PostId, PostKey, PostQuery, PostRepository,
};
use inkstone_core::tags::{self, NewTag, Tag, TagChange, TagId, TagKey, TagRepository};
use inkstone_core::users::{self, NewUser, User, UserId, UserKey, UserQuery, UserRepository};
use inkstone_core::{Context, Result};
use inkstone_store::Store;
use inkstone_worker::consumers::Forget;
use inkstone_worker::{Consumer, Relay};

/// The repositories whose writes change what is cached.
pub(super) type Repositories = (Arc<dyn PostRepository>, Arc<dyn UserRepository>, Arc<dyn TagRepository>);

/// The store's repositories; with a relay, it is told of their writes.
pub(super) fn repositories(store: &Arc<Store>, relay: Option<Arc<Relay>>) -> Repositories {
    match relay {
        None => (store.clone(), store.clone(), store.clone()),
        Some(relay) => {
            let followed = Arc::new(Followed { store: store.clone(), relay });
            (followed.clone(), followed.clone(), followed)
        }
    }
}

/// The store, with a relay that is told of every write.
pub(super) struct Followed {
    store: Arc<Store>,
    relay: Arc<Relay>,
}

impl Followed {
    /// Tells the relay, and hands the outcome on. A write that failed may have happened all the
    /// same (its deadline passed while it ran), so that is told too, without waiting.
    async fn tell<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.relay.wake();
        } else if let Err(error) = self.relay.catch_up().await {
            // The write is done and stays done. The relay tries again; until it is through, what the
            // cache holds is only for emergencies.
            tracing::warn!(error = %error, "the cache was not told of a write at once");
            self.relay.distrust();
            self.relay.wake();
        }
        outcome
    }
}

#[async_trait]
impl PostRepository for Followed {
    async fn find(&self, ctx: &Context, key: &PostKey, parts: Parts) -> Result<Option<Found>> {
        PostRepository::find(&*self.store, ctx, key, parts).await
    }

    async fn list(&self, ctx: &Context, query: &PostQuery) -> Result<Page<Post>> {
        PostRepository::list(&*self.store, ctx, query).await
    }

    async fn count(&self, ctx: &Context, filter: &PostFilter) -> Result<u64> {
        PostRepository::count(&*self.store, ctx, filter).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewPost>,
        idempotency: Option<Idempotency<Post>>,
    ) -> Result<Written<Post>> {
        self.tell(PostRepository::create(&*self.store, ctx, new, idempotency).await).await
    }

    async fn change(&self, ctx: &Context, id: PostId, decide: posts::repository::Decide<PostChange>) -> Result<Post> {
        self.tell(PostRepository::change(&*self.store, ctx, id, decide).await).await
    }

    async fn delete(&self, ctx: &Context, id: PostId, decide: posts::repository::Decide<()>) -> Result<()> {
        self.tell(PostRepository::delete(&*self.store, ctx, id, decide).await).await
    }

    async fn find_import(&self, ctx: &Context, source: &str, key: &str) -> Result<Option<(PostId, ImportKey)>> {
        self.store.find_import(ctx, source, key).await
    }
}

#[async_trait]
impl UserRepository for Followed {
    async fn find(&self, ctx: &Context, key: &UserKey) -> Result<Option<User>> {
        UserRepository::find(&*self.store, ctx, key).await
    }

    async fn list(&self, ctx: &Context, query: &UserQuery) -> Result<Page<User>> {
        UserRepository::list(&*self.store, ctx, query).await
    }

    async fn count(&self, ctx: &Context, public_only: bool) -> Result<u64> {
        UserRepository::count(&*self.store, ctx, public_only).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewUser>,
        first_only: bool,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        self.tell(UserRepository::create(&*self.store, ctx, new, first_only, idempotency).await).await
    }

    async fn change(
        &self,
        ctx: &Context,
        id: UserId,
        decide: users::repository::Decide,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        self.tell(UserRepository::change(&*self.store, ctx, id, decide, idempotency).await).await
    }
}

#[async_trait]
impl TagRepository for Followed {
    async fn find(&self, ctx: &Context, key: &TagKey) -> Result<Option<Tag>> {
        TagRepository::find(&*self.store, ctx, key).await
    }

    async fn list(&self, ctx: &Context, query: &tags::repository::TagQuery) -> Result<Page<Tag>> {
        TagRepository::list(&*self.store, ctx, query).await
    }

    async fn count(&self, ctx: &Context) -> Result<u64> {
        TagRepository::count(&*self.store, ctx).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewTag>,
        idempotency: Option<Idempotency<Tag>>,
    ) -> Result<Written<Tag>> {
        self.tell(TagRepository::create(&*self.store, ctx, new, idempotency).await).await
    }

    async fn change(&self, ctx: &Context, id: TagId, decide: tags::repository::Decide<TagChange>) -> Result<Tag> {
        self.tell(TagRepository::change(&*self.store, ctx, id, decide).await).await
    }

    async fn delete(&self, ctx: &Context, id: TagId, decide: tags::repository::Decide<()>) -> Result<()> {
        self.tell(TagRepository::delete(&*self.store, ctx, id, decide).await).await
    }
}

/// A consumer that is known later than its relay. Set before the relay begins.
#[derive(Default)]
pub(super) struct Late(OnceLock<Forget>);

impl Late {
    /// Says who it is, once.
    pub(super) fn set(&self, consumer: Forget) {
        // A second one cannot come: there is one caller, which calls once.
        let _first = self.0.set(consumer);
    }
}

#[async_trait]
impl Consumer for Late {
    async fn consume(&self, ctx: &Context, events: &[RecordedEvent]) -> Result<()> {
        match self.0.get() {
            Some(consumer) => consumer.consume(ctx, events).await,
            None => Ok(()),
        }
    }

    fn confirm(&self, as_of: Instant) {
        if let Some(consumer) = self.0.get() {
            consumer.confirm(as_of);
        }
    }

    fn distrust(&self, since: Instant) {
        if let Some(consumer) = self.0.get() {
            consumer.distrust(since);
        }
    }
}
