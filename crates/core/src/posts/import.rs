//! Bringing posts in from elsewhere: with their past, their old addresses, and so that doing it
//! again finds what was done before.

use std::sync::Arc;

use jiff::Timestamp;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::idempotency::Written;
use crate::redirects;

use super::{ImportKey, NewPost, Post, PostChange, PostDraft, PostId, PostService, Status, policy, rules};

/// A post from elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedPost {
    /// What it says. Its slug is a wish: where it is taken, a number is added. It must name its authors.
    pub draft: PostDraft,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// Old addresses that shall lead to it, in any form.
    pub redirects: Vec<String>,
    /// Where it comes from.
    pub key: ImportKey,
}

/// What importing a post did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It was not there.
    Created(PostId),
    /// It was there, and has changed at its source since.
    Updated(PostId),
    /// It was there, as it is at its source. Changes made here since are kept.
    Unchanged(PostId),
    /// It was there and has been deleted here since, which importing it again does not undo.
    Deleted(PostId),
}

/// What importing something would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Make a post.
    Create,
    /// Bring this post to what its source says.
    Update(PostId),
    /// Nothing: this post was imported from exactly this.
    Nothing(PostId),
}

impl PostService {
    /// What [`Self::import`] would do with something under this key.
    ///
    /// # Errors
    /// `Unauthenticated` or `Forbidden` for everybody but the operator; `Invalid` for a key that is too long.
    pub async fn plan_import(&self, ctx: &Context, key: &ImportKey) -> Result<Plan> {
        policy::may_import(&ctx.caller)?;
        key.check()?;
        Ok(match self.posts.find_import(ctx, &key.source, &key.key).await? {
            None => Plan::Create,
            Some((id, known)) if known.fingerprint == key.fingerprint => Plan::Nothing(id),
            Some((id, _)) => Plan::Update(id),
        })
    }

    /// Imports a post, or does nothing if exactly this was imported before.
    ///
    /// # Errors
    /// `Unauthenticated` or `Forbidden` for everybody but the operator; `Invalid` with every fault;
    /// `Conflict` if another import brought it in at this very moment, and trying again finds it there.
    pub async fn import(&self, ctx: &Context, post: ImportedPost) -> Result<Imported> {
        policy::may_import(&ctx.caller)?;
        let now = self.clock.now();
        rules::check_draft(&post.draft, &post.draft.authors, now)?;
        match self.plan_import(ctx, &post.key).await? {
            Plan::Create => self.import_new(ctx, post, now).await,
            Plan::Nothing(id) => Ok(Imported::Unchanged(id)),
            Plan::Update(id) => self.import_again(ctx, id, post, now).await,
        }
    }

    async fn import_new(&self, ctx: &Context, post: ImportedPost, now: Timestamp) -> Result<Imported> {
        let ImportedPost { draft, created_at, updated_at, redirects, key } = post;
        let publication = rules::check_draft(&draft, &draft.authors, now)?;
        let PostDraft { title, markdown, slug, excerpt, status: _, tags, authors, published_at: _ } = draft;
        let new = NewPost {
            content: self.renderer.render(ctx, markdown).await?,
            slug: slug.unwrap_or_else(|| rules::slug_of(&title)),
            slug_exact: false,
            title,
            excerpt,
            status: publication.status,
            tags,
            may_create_tags: true,
            authors,
            published_at: publication.published_at,
            created_at,
            updated_at,
            redirects: normalised(&redirects),
            import: Some(key),
        };
        match self.posts.create(ctx, policy::import(&ctx.caller, new)?, None).await? {
            Written::Done(post) => Ok(Imported::Created(post.id)),
            Written::Replayed(_) => Err(Error::internal("an import was answered from an idempotency record")),
        }
    }

    /// The slug stays what it is: it may have been numbered or changed here, and links lead to it.
    async fn import_again(&self, ctx: &Context, id: PostId, post: ImportedPost, now: Timestamp) -> Result<Imported> {
        let ImportedPost { draft, created_at: _, updated_at, redirects, key } = post;
        let PostDraft { title, markdown, slug: _, excerpt, status, tags, authors, published_at } = draft;
        let change = PostChange {
            title: Some(title),
            content: Some(self.renderer.render(ctx, markdown).await?),
            slug: None,
            excerpt: Some(excerpt),
            status,
            published_at,
            tags: Some(tags),
            may_create_tags: true,
            authors: Some(authors),
            updated_at,
            redirects: Some(normalised(&redirects)),
            import: Some(key),
        };
        let caller = ctx.caller.clone();
        let decide = Arc::new(move |post: &Post| {
            let published_at = change.published_at.or(post.published_at).or(Some(now));
            let published_at = published_at.filter(|_| change.status == Status::Published);
            policy::reimport(&caller, PostChange { published_at, ..change.clone() })
        });
        match self.posts.change(ctx, id, decide).await {
            Ok(post) => Ok(Imported::Updated(post.id)),
            Err(error) if matches!(error.code(), Code::Gone | Code::NotFound) => Ok(Imported::Deleted(id)),
            Err(error) => Err(error),
        }
    }
}

/// Old addresses in the form in which they are looked up; what cannot be one is left out.
fn normalised(paths: &[String]) -> Vec<String> {
    let mut paths: Vec<String> = paths
        .iter()
        .map(|path| redirects::normalise(path))
        .filter(|path| !path.is_empty() && path.len() <= redirects::MAX_PATH_BYTES && !path.contains('\0'))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}
