//! `/api/v1/posts`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use inkstone_core::posts::{Parts, Post, PostId, PostKey, PostQuery};

use super::paging::{Paging, PagingParams};
use super::wire::{Listed, PostBody, PostInput};
use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::conditional::IfMatch;
use crate::extract::{Call, Known, ObjectReader, PathId, QueryReader};
use crate::problem::Result;
use crate::representation::{Builder, Representation};
use crate::{filters, input, params, wire};

const LIST: &str = "/api/v1/posts";
const ITEM: &str = "/api/v1/posts/{id}";

/// One page of posts, newest first.
#[utoipa::path(get, path = "/api/v1/posts", operation_id = "list_posts", tag = "posts",
    params(PagingParams, filters::PostParams, params::RowFields<PostBody>),
    responses((status = 200, description = "The page.", body = Listed<PostBody>)))]
pub(crate) async fn list_posts(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let paging = Paging::read(&mut query);
    let choice = filters::posts(&mut query);
    let fields = wire::fields::<PostBody>(&mut query);
    let canonical = query.finish()?;
    let key = answer::address(LIST, &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.posts;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let wants_content = fields.as_ref().is_none_or(|fields| fields.contains(&"content"));
        let query = PostQuery {
            filter: choice.filter.clone(),
            sort: choice.sort,
            descending: choice.descending,
            position: paging.position(),
            limit: paging.per_page,
            parts: Parts { markdown: wants_content, html: false },
        };
        let found = app.posts.list(&ctx, query).await?;
        let total = app.posts.count(&ctx, choice.filter.clone()).await?;
        let data = found.items.iter().map(PostBody::of).collect();
        let builder = paging.show(LIST, &canonical, data, total, fields.as_deref())?;
        Ok(Shown::new(builder, choice.entities(&found.items)))
    })
    .await
}

/// One post.
#[utoipa::path(get, path = "/api/v1/posts/{id}", operation_id = "get_post", tag = "posts",
    params(params::PostNumber, params::Fields<PostBody>),
    responses((status = 200, description = "The post.", body = PostBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_post(
    State(app): State<App>,
    call: Call,
    PathId(id): PathId<PostId>,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = wire::fields::<PostBody>(&mut query);
    let canonical = query.finish()?;
    let key = answer::address(&format!("{LIST}/{id}"), &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.post;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let post = app.posts.find(&ctx, &PostKey::Id(id), PostBody::PARTS).await?.into_post();
        Ok(Shown::new(show(&post, fields.as_deref())?, filters::of_post(&post)))
    })
    .await
}

/// Writes a new post.
#[utoipa::path(post, path = "/api/v1/posts", operation_id = "create_post", tag = "posts",
    params(params::IdempotencyKey),
    request_body = PostInput,
    responses((status = 201, description = "The new post.", body = PostBody)))]
pub(crate) async fn create_post(
    State(app): State<App>,
    Known(call): Known,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let fingerprint = body.fingerprint();
    let draft = input::v1_post(body)?;
    let render = Arc::new(|post: &Post| Ok(answer::created(show(post, None)?, &format!("{LIST}/{}", post.id))));
    let once = call.once(&app.edge, fingerprint, render)?;
    let written = app.posts.create(&call.ctx, draft, once.idempotency()).await?;
    once.answer(written)
}

/// Replaces a post.
#[utoipa::path(put, path = "/api/v1/posts/{id}", operation_id = "replace_post", tag = "posts",
    params(params::PostNumber, params::OptionalIfMatch),
    request_body = PostInput,
    responses((status = 200, description = "The post as it is now.", body = PostBody)))]
pub(crate) async fn replace_post(
    State(app): State<App>,
    Known(call): Known,
    PathId(id): PathId<PostId>,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let precondition = call.precondition(IfMatch::Optional)?;
    let post = app.posts.replace(&call.ctx, id, precondition, input::v1_post(body)?).await?;
    answer::private(&call, show(&post, None)?)
}

/// Deletes a post.
#[utoipa::path(delete, path = "/api/v1/posts/{id}", operation_id = "delete_post", tag = "posts",
    params(params::PostNumber, params::OptionalIfMatch),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete_post(
    State(app): State<App>,
    Known(call): Known,
    PathId(id): PathId<PostId>,
    query: QueryReader,
) -> Result<Response> {
    query.finish()?;
    app.posts.delete(&call.ctx, id, call.precondition(IfMatch::Optional)?).await?;
    Ok(answer::nothing())
}

/// Without `Last-Modified`: a post shows names of authors and tags, whose changes are not its own.
fn show(post: &Post, fields: Option<&[&str]>) -> inkstone_core::Result<Builder> {
    let body = wire::to_json(&PostBody::of(post), fields)?;
    Ok(Representation::builder(body).version(post.version).route(ITEM))
}
