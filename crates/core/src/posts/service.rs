//! What can be done with posts.
//!
//! A change meets its questions in this order: who are you (401), may you know of this post (404)
//! and do this to it (403), do you mean what is there (412, 428), and only then whether it makes
//! sense (422, all faults at once). The last four are asked while the post is locked.

use std::sync::Arc;

use jiff::Timestamp;

use crate::access::{Caller, Permission, Permit};
use crate::clock::SharedClock;
use crate::content::Renderer;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::idempotency::{Idempotency, Written};
use crate::page::Page;
use crate::precondition::Precondition;
use crate::redirects::{self, RedirectRepository};
use crate::users::UserId;

use super::rules;
use super::{
    Content, Found, NewPost, Parts, Post, PostChange, PostDraft, PostFilter, PostId, PostKey, PostPatch, PostQuery,
    PostRepository, policy,
};

/// Posts, as every presentation uses them.
#[derive(Clone)]
pub struct PostService {
    pub(super) posts: Arc<dyn PostRepository>,
    redirects: Arc<dyn RedirectRepository>,
    pub(super) renderer: Renderer,
    pub(super) clock: SharedClock,
}

/// A post that was found, and whether the key that led to it is still its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Located {
    /// Under its own key.
    Here(Post),
    /// Under a slug that it had before: send people on.
    Moved(Post),
}

impl Located {
    /// The post, wherever it was found.
    pub fn post(&self) -> &Post {
        let (Self::Here(post) | Self::Moved(post)) = self;
        post
    }

    /// The post, wherever it was found.
    pub fn into_post(self) -> Post {
        let (Self::Here(post) | Self::Moved(post)) = self;
        post
    }
}

impl PostService {
    /// The service over a store.
    pub fn new(posts: Arc<dyn PostRepository>, redirects: Arc<dyn RedirectRepository>, clock: SharedClock) -> Self {
        Self { posts, redirects, renderer: Renderer::default(), clock }
    }

    /// One post, with the parts of its body that are asked for.
    ///
    /// # Errors
    /// `NotFound`, also for what the caller may not see; `Gone` for what was deleted after it had
    /// been public.
    pub async fn find(&self, ctx: &Context, key: &PostKey, parts: Parts) -> Result<Located> {
        let located = self.load(ctx, key, parts).await?;
        if !policy::may_see(&ctx.caller, located.post()) {
            return Err(Error::not_found("post"));
        }
        Ok(located)
    }

    /// The post that an address of another system led to: `path` as it was there, in any form.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub async fn by_old_path(&self, ctx: &Context, path: &str) -> Result<Post> {
        let path = redirects::normalise(path);
        if path.is_empty() || path.len() > redirects::MAX_PATH_BYTES || path.contains('\0') {
            return Err(Error::not_found("post"));
        }
        let Some(id) = self.redirects.find(ctx, &path).await? else {
            return Err(Error::not_found("post"));
        };
        Ok(self.find(ctx, &PostKey::Id(id), Parts::NONE).await?.into_post())
    }

    /// One page of posts: published ones, unless drafts are asked for.
    ///
    /// # Errors
    /// `BadQuery` for what makes no sense, `BadCursor` for a cursor of another order;
    /// `Unauthenticated` and `Forbidden` for drafts.
    pub async fn list(&self, ctx: &Context, mut query: PostQuery) -> Result<Page<Post>> {
        query.filter = policy::narrow(&ctx.caller, query.filter)?;
        rules::check_query(&query)?;
        self.posts.list(ctx, &query).await
    }

    /// How many posts match, as [`Self::list`] would show them.
    ///
    /// # Errors
    /// As for [`Self::list`].
    pub async fn count(&self, ctx: &Context, filter: PostFilter) -> Result<u64> {
        let filter = policy::narrow(&ctx.caller, filter)?;
        rules::check_filter(&filter)?;
        self.posts.count(ctx, &filter).await
    }

    /// Writes a new post. Gives it back with both body parts.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`; `Invalid` with every fault; the errors of idempotency keys.
    pub async fn create(
        &self,
        ctx: &Context,
        draft: PostDraft,
        idempotency: Option<Idempotency<Post>>,
    ) -> Result<Written<Post>> {
        let authors = authors_of(&ctx.caller, &draft);
        policy::may_create(&ctx.caller, draft.status, &authors)?;
        let now = self.clock.now();
        let publication = rules::check_draft(&draft, &authors, now)?;
        let PostDraft { title, markdown, slug, excerpt, status: _, tags, authors: _, published_at: _ } = draft;
        let new = NewPost {
            content: self.renderer.render(ctx, markdown).await?,
            slug_exact: slug.is_some(),
            slug: slug.unwrap_or_else(|| rules::slug_of(&title)),
            title,
            excerpt,
            status: publication.status,
            tags,
            may_create_tags: ctx.caller.can(Permission::TagCreate),
            authors,
            published_at: publication.published_at,
            created_at: now,
            updated_at: now,
            redirects: Vec::new(),
            import: None,
        };
        self.posts.create(ctx, policy::create(&ctx.caller, new)?, idempotency).await
    }

    /// Changes what `patch` names and leaves the rest. Gives the post back with both body parts.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`, `NotFound`, `Gone`, `PreconditionFailed`,
    /// `PreconditionRequired`; `Invalid` with every fault.
    pub async fn change(
        &self,
        ctx: &Context,
        id: PostId,
        precondition: Precondition<Post>,
        patch: PostPatch,
    ) -> Result<Post> {
        require_somebody(&ctx.caller)?;
        let mut attempt = Attempt { caller: ctx.caller.clone(), precondition, now: self.clock.now(), patch };
        // Rendering costs CPU, so nobody gets it who is refused anyway; and it must not happen
        // under lock. The questions are asked again there, of what is true by then.
        let content = match attempt.patch.markdown.take() {
            None => None,
            Some(markdown) => {
                attempt.decide(self.load(ctx, &PostKey::Id(id), Parts::NONE).await?.post(), None)?;
                Some(self.renderer.render(ctx, markdown).await?)
            }
        };
        self.posts.change(ctx, id, Arc::new(move |post: &Post| attempt.decide(post, content.clone()))).await
    }

    /// Puts `draft` in the place of what is there. Three things stay when the draft leaves them
    /// out, because nobody means to lose them: the slug, the authors, and the time of publication.
    ///
    /// # Errors
    /// As for [`Self::change`].
    pub async fn replace(
        &self,
        ctx: &Context,
        id: PostId,
        precondition: Precondition<Post>,
        draft: PostDraft,
    ) -> Result<Post> {
        let PostDraft { title, markdown, slug, excerpt, status, tags, authors, published_at } = draft;
        let patch = PostPatch {
            title: Some(title),
            markdown: Some(markdown),
            slug,
            excerpt: Some(excerpt),
            status: Some(status),
            tags: Some(tags),
            authors: Some(authors).filter(|authors| !authors.is_empty()),
            published_at,
        };
        self.change(ctx, id, precondition, patch).await
    }

    /// Deletes a post.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`, `NotFound`, `Gone`, `PreconditionFailed`, `PreconditionRequired`.
    pub async fn delete(&self, ctx: &Context, id: PostId, precondition: Precondition<Post>) -> Result<()> {
        require_somebody(&ctx.caller)?;
        let caller = ctx.caller.clone();
        let decide = Arc::new(move |post: &Post| {
            let permit = policy::delete(&caller, post)?;
            precondition.check(post)?;
            Ok(permit)
        });
        self.posts.delete(ctx, id, decide).await
    }
    /// Loads a post without asking whether the caller may see it.
    async fn load(&self, ctx: &Context, key: &PostKey, parts: Parts) -> Result<Located> {
        match self.posts.find(ctx, key, parts).await? {
            Some(Found::Here(post)) => Ok(Located::Here(*post)),
            Some(Found::Moved(post)) => Ok(Located::Moved(*post)),
            Some(Found::Gone) => Err(Error::refused(Code::Gone, "This post has been deleted.")),
            None => Err(Error::not_found("post")),
        }
    }
}

/// Nobody in particular changes nothing; that needs no look at what is there.
fn require_somebody(caller: &Caller) -> Result<()> {
    match caller {
        Caller::Anonymous => caller.require(Permission::PostDraftOwn),
        Caller::User(_) | Caller::Operator => Ok(()),
    }
}

/// The authors of a new post: those it names, else whoever writes it.
fn authors_of(caller: &Caller, draft: &PostDraft) -> Vec<UserId> {
    if draft.authors.is_empty() { caller.user_id().into_iter().collect() } else { draft.authors.clone() }
}

/// A change that somebody wants to make, until it is known what to.
pub(super) struct Attempt {
    pub(super) caller: Caller,
    pub(super) precondition: Precondition<Post>,
    pub(super) now: Timestamp,
    pub(super) patch: PostPatch,
}

impl Attempt {
    /// Asks policy, precondition and rules, in this order. `content` is what became of the source.
    pub(super) fn decide(&self, post: &Post, content: Option<Content>) -> Result<Permit<PostChange>> {
        let (publication, faults) = rules::check_patch(&self.patch, post, self.now);
        let PostPatch { title, markdown: _, slug, excerpt, status: _, tags, authors, published_at: _ } =
            self.patch.clone();
        let change = PostChange {
            title,
            content,
            slug,
            excerpt,
            status: publication.status,
            published_at: publication.published_at,
            tags,
            may_create_tags: self.caller.can(Permission::TagCreate),
            authors,
            updated_at: self.now,
            redirects: None,
            import: None,
        };
        let permit = policy::change(&self.caller, post, change)?;
        self.precondition.check(post)?;
        if !faults.is_empty() {
            return Err(Error::Invalid(faults));
        }
        Ok(permit)
    }
}
