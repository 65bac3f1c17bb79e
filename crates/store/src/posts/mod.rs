//! Posts.
//!
//! `shapes` holds the statements of lists, `list` turns a query into the bounds of one of them,
//! `load` finds single posts and fills in links and bodies, `create` and `change` write, with the
//! help of `slugs`, `links`, `revisions` and `search`, the index of words.

mod change;
mod create;
mod links;
mod list;
mod load;
mod revisions;
mod row;
mod search;
mod shapes;
mod slugs;

use async_trait::async_trait;
use inkstone_core::access::Permit;
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::page::Page;
use inkstone_core::posts::repository::Decide;
use inkstone_core::posts::{
    Found, ImportKey, NewPost, Parts, Post, PostChange, PostFilter, PostId, PostKey, PostQuery, PostRepository,
};
use inkstone_core::{Context, Result};

use crate::db::Statement;
use crate::store::Store;

pub(crate) const STATEMENTS: &[&[&Statement]] = &[
    change::STATEMENTS,
    create::STATEMENTS,
    links::STATEMENTS,
    load::STATEMENTS,
    revisions::STATEMENTS,
    search::STATEMENTS,
    slugs::STATEMENTS,
];

pub(crate) use search::{MARIADB, insert_texts as insert_words};
pub(crate) use shapes::STATEMENTS as LISTS;

#[async_trait]
impl PostRepository for Store {
    async fn find(&self, ctx: &Context, key: &PostKey, parts: Parts) -> Result<Option<Found>> {
        let (key, now) = (key.clone(), self.now());
        self.db().read(ctx, "posts.find", move |conn| Box::pin(load::find(conn, key, parts, now))).await
    }

    async fn list(&self, ctx: &Context, query: &PostQuery) -> Result<Page<Post>> {
        let (query, now) = (query.clone(), self.now());
        self.db().read(ctx, "posts.list", move |conn| Box::pin(list::list(conn, query, now))).await
    }

    async fn count(&self, ctx: &Context, filter: &PostFilter) -> Result<u64> {
        let (filter, now) = (filter.clone(), self.now());
        self.db().read(ctx, "posts.count", move |conn| Box::pin(list::count(conn, filter, now))).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewPost>,
        idempotency: Option<Idempotency<Post>>,
    ) -> Result<Written<Post>> {
        let journal = self.journal(ctx);
        self.db()
            .write(ctx, "posts.create", move |conn| Box::pin(create::create(conn, journal, new, idempotency)))
            .await
    }

    async fn change(&self, ctx: &Context, id: PostId, decide: Decide<PostChange>) -> Result<Post> {
        let journal = self.journal(ctx);
        self.db().write(ctx, "posts.change", move |conn| Box::pin(change::change(conn, journal, id, decide))).await
    }

    async fn delete(&self, ctx: &Context, id: PostId, decide: Decide<()>) -> Result<()> {
        let journal = self.journal(ctx);
        self.db().write(ctx, "posts.delete", move |conn| Box::pin(change::delete(conn, journal, id, decide))).await
    }

    async fn find_import(&self, ctx: &Context, source: &str, key: &str) -> Result<Option<(PostId, ImportKey)>> {
        let (source, key) = (source.to_owned(), key.to_owned());
        self.db().read(ctx, "posts.find_import", move |conn| Box::pin(load::find_import(conn, source, key))).await
    }
}
