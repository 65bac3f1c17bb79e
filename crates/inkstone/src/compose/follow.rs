//! Repositories that tell the relay of every write before the write is acknowledged: whoever reads
//! after that sees the write, cached or not.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use inkstone_core::access::{Caller, Permit};
use inkstone_core::events::{Footprint, Mark, RecordedEvent, ServerRun};
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::page::Page;
use inkstone_core::posts::{
    self, Found, ImportKey, NewPost, Parts, Post, PostChange, PostFilter, PostId, PostKey, PostQuery, PostRepository,
};
use inkstone_core::progress::Progress;
use inkstone_core::redirects::RedirectRepository;
use inkstone_core::tags::{self, NewTag, Tag, TagChange, TagId, TagKey, TagRepository};
use inkstone_core::users::{self, NewUser, User, UserId, UserKey, UserQuery, UserRepository};
use inkstone_core::{Context, Result};
use inkstone_http::changes::Follow;
use inkstone_store::Store;
use inkstone_worker::consumers::Forget;
use inkstone_worker::{Consumer, Relay};

/// For how long a synchronous replica may show a change before the primary does.
const FIRST_ON_A_REPLICA: Duration = Duration::from_secs(1);

/// The repositories whose writes change what is cached.
#[derive(Clone)]
pub(super) struct Repositories {
    pub(super) posts: Arc<dyn PostRepository>,
    pub(super) users: Arc<dyn UserRepository>,
    pub(super) tags: Arc<dyn TagRepository>,
    pub(super) redirects: Arc<dyn RedirectRepository>,
}

impl Repositories {
    /// The store's own.
    pub(super) fn of(store: &Arc<Store>) -> Self {
        Self { posts: store.clone(), users: store.clone(), tags: store.clone(), redirects: store.clone() }
    }

    /// The store's, whose writes are told to those who follow them. What nobody in particular reads
    /// comes from `public`, which may be the same store with replicas.
    pub(super) fn followed(store: &Arc<Store>, public: Store, following: &Following) -> Self {
        let followed = Arc::new(Followed { store: store.clone(), public, following: following.clone() });
        Self { posts: followed.clone(), users: followed.clone(), tags: followed.clone(), redirects: followed }
    }
}

/// How a server learns of what is written, its own writes included.
#[derive(Clone)]
pub(super) struct Following {
    pub(super) relay: Arc<Relay>,
    pub(super) progress: Arc<Progress>,
}

#[async_trait]
impl Follow for Following {
    async fn catch_up(&self) -> Result<()> {
        self.relay.catch_up().await.map(drop)
    }
}

/// The store, with a relay that is told of every write.
struct Followed {
    store: Arc<Store>,
    public: Store,
    following: Following,
}

impl Followed {
    /// Where this caller reads. Those who are nobody in particular see what is public and decide
    /// nothing by it; for everybody else it is the primary, since much of what they see (drafts,
    /// their own account) changes without a place in the order of changes.
    fn reads(&self, ctx: &Context) -> &Store {
        if ctx.caller == Caller::Anonymous { &self.public } else { &self.store }
    }

    /// Tells the relay, and hands the outcome on. A write that failed may have happened all the
    /// same (its deadline passed while it ran), so that is told too, without waiting.
    async fn tell<T>(&self, ctx: &Context, outcome: Result<T>) -> Result<T> {
        let Following { relay, progress } = &self.following;
        if outcome.is_err() {
            relay.wake();
            return outcome;
        }
        let told = relay.catch_up_soon().await;
        match (&told, ctx.meter.written()) {
            // The answer to a repetition stands for a change that was made before.
            (Ok(_), None) => ctx.meter.note_written(Mark { change_seq: progress.followed(), at: None }, &[]),
            (Ok(_), Some(change)) if change.change_seq <= progress.followed() => {}
            // The write is done and stays done. The look failed, or it found a database that lacks the
            // write: a host that only follows, in the middle of a failover. The relay tries again; until it
            // is through, what the cache holds is only for emergencies, what the write touched not even for
            // those, and no replica is read that lacks the write. That is not said before the look, which may find that the numbers begin anew.
            (_, written) => {
                let error = told.as_ref().err().map(tracing::field::display);
                tracing::warn!(error, "the cache was not told of a write at once");
                if let Some(written) = written {
                    progress.know(written);
                }
                relay.distrust(&ctx.meter.footprint());
                relay.wake();
            }
        }
        outcome
    }
}

#[async_trait]
impl RedirectRepository for Followed {
    async fn find(&self, ctx: &Context, path: &str) -> Result<Option<PostId>> {
        RedirectRepository::find(self.reads(ctx), ctx, path).await
    }
}

#[async_trait]
impl PostRepository for Followed {
    async fn find(&self, ctx: &Context, key: &PostKey, parts: Parts) -> Result<Option<Found>> {
        PostRepository::find(self.reads(ctx), ctx, key, parts).await
    }

    async fn list(&self, ctx: &Context, query: &PostQuery) -> Result<Page<Post>> {
        PostRepository::list(self.reads(ctx), ctx, query).await
    }

    async fn count(&self, ctx: &Context, filter: &PostFilter) -> Result<u64> {
        PostRepository::count(self.reads(ctx), ctx, filter).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewPost>,
        idempotency: Option<Idempotency<Post>>,
    ) -> Result<Written<Post>> {
        self.tell(ctx, PostRepository::create(&*self.store, ctx, new, idempotency).await).await
    }

    async fn change(&self, ctx: &Context, id: PostId, decide: posts::repository::Decide<PostChange>) -> Result<Post> {
        self.tell(ctx, PostRepository::change(&*self.store, ctx, id, decide).await).await
    }

    async fn delete(&self, ctx: &Context, id: PostId, decide: posts::repository::Decide<()>) -> Result<()> {
        self.tell(ctx, PostRepository::delete(&*self.store, ctx, id, decide).await).await
    }

    async fn find_import(&self, ctx: &Context, source: &str, key: &str) -> Result<Option<(PostId, ImportKey)>> {
        self.store.find_import(ctx, source, key).await
    }
}

#[async_trait]
impl UserRepository for Followed {
    async fn find(&self, ctx: &Context, key: &UserKey) -> Result<Option<User>> {
        UserRepository::find(self.reads(ctx), ctx, key).await
    }

    async fn list(&self, ctx: &Context, query: &UserQuery) -> Result<Page<User>> {
        UserRepository::list(self.reads(ctx), ctx, query).await
    }

    async fn count(&self, ctx: &Context, public_only: bool) -> Result<u64> {
        UserRepository::count(self.reads(ctx), ctx, public_only).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewUser>,
        first_only: bool,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        self.tell(ctx, UserRepository::create(&*self.store, ctx, new, first_only, idempotency).await).await
    }

    async fn change(
        &self,
        ctx: &Context,
        id: UserId,
        decide: users::repository::Decide,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        self.tell(ctx, UserRepository::change(&*self.store, ctx, id, decide, idempotency).await).await
    }
}

#[async_trait]
impl TagRepository for Followed {
    async fn find(&self, ctx: &Context, key: &TagKey) -> Result<Option<Tag>> {
        TagRepository::find(self.reads(ctx), ctx, key).await
    }

    async fn list(&self, ctx: &Context, query: &tags::repository::TagQuery) -> Result<Page<Tag>> {
        TagRepository::list(self.reads(ctx), ctx, query).await
    }

    async fn count(&self, ctx: &Context) -> Result<u64> {
        TagRepository::count(self.reads(ctx), ctx).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewTag>,
        idempotency: Option<Idempotency<Tag>>,
    ) -> Result<Written<Tag>> {
        self.tell(ctx, TagRepository::create(&*self.store, ctx, new, idempotency).await).await
    }

    async fn change(&self, ctx: &Context, id: TagId, decide: tags::repository::Decide<TagChange>) -> Result<Tag> {
        self.tell(ctx, TagRepository::change(&*self.store, ctx, id, decide).await).await
    }

    async fn delete(&self, ctx: &Context, id: TagId, decide: tags::repository::Decide<()>) -> Result<()> {
        self.tell(ctx, TagRepository::delete(&*self.store, ctx, id, decide).await).await
    }
}

/// A consumer that is known later than its relay. Set before the relay begins.
pub(super) struct Late {
    consumer: OnceLock<Forget>,
    progress: Arc<Progress>,
}

impl Late {
    /// Notes in `progress` how far its consumer is.
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        Self { consumer: OnceLock::new(), progress }
    }

    /// Says who it is, once.
    pub(super) fn set(&self, consumer: Forget) {
        // A second one cannot come: there is one caller, which calls once.
        let _first = self.consumer.set(consumer);
    }
}

#[async_trait]
impl Consumer for Late {
    async fn consume(&self, ctx: &Context, events: &[RecordedEvent]) -> Result<()> {
        let Some(last) = events.last().map(Mark::of) else { return Ok(()) };
        // Before anything is dropped: what is loaded in its place must have these changes.
        self.progress.know(last);
        if let Some(consumer) = self.consumer.get() {
            consumer.consume(ctx, events).await?;
        }
        self.progress.follow(last);
        Ok(())
    }

    async fn start_over(&self, ctx: &Context, change_seq: i64) -> Result<()> {
        // Before anything is dropped: what is loaded in its place must not come from the old history.
        self.progress.doubt();
        if let Some(consumer) = self.consumer.get() {
            consumer.start_over(ctx, change_seq).await?;
        }
        self.progress.start_over(change_seq);
        Ok(())
    }

    async fn turn_to(&self, ctx: &Context, server_run: ServerRun, since: Option<Instant>) -> Result<()> {
        let since = since.map(|since| since.checked_sub(FIRST_ON_A_REPLICA).unwrap_or(since));
        if since.is_some() {
            // Before anything is dropped: what is loaded in its place must not come from a replica of the other one.
            self.progress.may_have_lost();
        }
        if let Some(consumer) = self.consumer.get() {
            consumer.turn_to(ctx, server_run, since).await?;
        }
        if since.is_some() {
            tracing::info!(
                "another database server answers, or the same anew: what was read since the last look is dropped"
            );
        }
        Ok(())
    }

    fn confirm(&self, as_of: Instant, newest: Mark) {
        self.progress.confirm(as_of, newest);
        if let Some(consumer) = self.consumer.get() {
            consumer.confirm(as_of, newest);
        }
    }

    fn distrust(&self, since: Instant, written: &Footprint) {
        if let Some(consumer) = self.consumer.get() {
            consumer.distrust(since, written);
        }
    }
}
