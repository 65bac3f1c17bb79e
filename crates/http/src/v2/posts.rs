//! `/api/v2/posts`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use inkstone_core::posts::service::Located;
use inkstone_core::posts::{Parts, Post, PostId, PostKey, PostQuery};
use inkstone_core::redirects::MAX_PATH_BYTES;
use inkstone_core::{Fault, FaultCode};

use super::inputs::{PostInput, PostPatchInput};
use super::paging::{self, Paging, PagingParams};
use super::wire::{Include, IncludeInPost, IncludeInRows, Listed, PostBody};
use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::conditional::IfMatch;
use crate::extract::{Call, Known, ObjectReader, PathId, PathSlug, QueryReader};
use crate::problem::Result;
use crate::representation::{Builder, Representation};
use crate::{filters, input, params, wire};

const LIST: &str = "/api/v2/posts";
const ITEM: &str = "/api/v2/posts/{id}";
const BY_SLUG: &str = "/api/v2/posts/by-slug/{slug}";
const BY_PATH: &str = "/api/v2/posts/by-path";

/// One page of posts, newest first. Bodies come with `include=content` only.
#[utoipa::path(get, path = "/api/v2/posts", operation_id = "list_posts", tag = "posts",
    params(PagingParams, filters::PostParams, params::RowFields<PostBody>, IncludeInRows),
    responses((status = 200, description = "The page.", body = Listed<PostBody>)))]
pub(crate) async fn list_posts(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let paging = Paging::read(&mut query);
    let choice = filters::posts(&mut query);
    let fields = wire::fields::<PostBody>(&mut query);
    let include = include(&mut query, fields.as_deref(), true);
    let canonical = query.finish()?;
    let position = paging.position(&app, LIST, &canonical)?;
    let key = answer::address(LIST, &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.posts;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let query = PostQuery {
            filter: choice.filter.clone(),
            sort: choice.sort,
            descending: choice.descending,
            position,
            limit: paging.limit,
            parts: if include.content { Parts::ALL } else { Parts::NONE },
        };
        let page = app.posts.list(&ctx, query).await?;
        let total = if paging.wants_total { Some(app.posts.count(&ctx, choice.filter.clone()).await?) } else { None };
        let present = |post: &Post| PostBody::of(post, include);
        let builder = paging::show(&app, LIST, &canonical, &page, present, total, fields.as_deref())?;
        Ok(Shown::new(builder, choice.entities(&page.items)))
    })
    .await
}

/// One post.
#[utoipa::path(get, path = "/api/v2/posts/{id}", operation_id = "get_post", tag = "posts",
    params(params::PostNumber, params::Fields<PostBody>, IncludeInPost),
    responses((status = 200, description = "The post.", body = PostBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_post(
    State(app): State<App>,
    call: Call,
    PathId(id): PathId<PostId>,
    query: QueryReader,
) -> Result<Response> {
    one(app, call, PostKey::Id(id), &format!("{LIST}/{id}"), ITEM, query).await
}

/// One post by its address. An address that it had before answers 308.
#[utoipa::path(get, path = "/api/v2/posts/by-slug/{slug}", operation_id = "get_post_by_slug", tag = "posts",
    params(
        ("slug" = String, Path, description = "The last part of the post's address.", min_length = 1, max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ink-on-stone"),
        params::Fields<PostBody>,
        IncludeInPost,
    ),
    responses((status = 200, description = "The post.", body = PostBody), (status = 304, description = "It is what you have."), (status = 308, description = "It has another address now.")))]
pub(crate) async fn get_post_by_slug(
    State(app): State<App>,
    call: Call,
    PathSlug(slug): PathSlug,
    query: QueryReader,
) -> Result<Response> {
    let path = format!("{LIST}/by-slug/{slug}");
    one(app, call, PostKey::Slug(slug), &path, BY_SLUG, query).await
}

/// Where a post is that had this address in another system: 308.
#[utoipa::path(get, path = "/api/v2/posts/by-path", operation_id = "get_post_by_path", tag = "posts",
    params(("path" = String, Query, description = "The old path.", min_length = 1, max_length = 1024, example = "/2014/12/12/1.0-Timeline.html")),
    responses((status = 308, description = "It is here now.")))]
pub(crate) async fn get_post_by_path(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let path = query.value("path", |path| {
        if path.len() <= MAX_PATH_BYTES {
            Ok(path)
        } else {
            Err(Fault::here(FaultCode::TooLong, format!("At most {MAX_PATH_BYTES} bytes.")))
        }
    });
    if path.is_none() {
        query.fault("path", Fault::here(FaultCode::Required, "The old path."));
    }
    let canonical = query.finish()?;
    let key = answer::address(BY_PATH, &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.post;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let post = app.posts.by_old_path(&ctx, path.as_deref().unwrap_or_default()).await?;
        Ok(Shown::new(moved(&format!("{LIST}/{}", post.id)).route(BY_PATH), filters::of_post(&post)))
    })
    .await
}

/// Writes a new post.
#[utoipa::path(post, path = "/api/v2/posts", operation_id = "create_post", tag = "posts",
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
    let draft = input::v2_post(body)?;
    let render = Arc::new(|post: &Post| Ok(answer::created(whole(post)?, &format!("{LIST}/{}", post.id))));
    let once = call.once(&app.edge, fingerprint, render)?;
    let written = app.posts.create(&call.ctx, draft, once.idempotency()).await?;
    once.answer(written)
}

/// Replaces a post.
#[utoipa::path(put, path = "/api/v2/posts/{id}", operation_id = "replace_post", tag = "posts",
    params(params::PostNumber, params::IfMatch),
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
    let precondition = call.precondition(IfMatch::Required)?;
    let post = app.posts.replace(&call.ctx, id, precondition, input::v2_post(body)?).await?;
    answer::private(&call, whole(&post)?)
}

/// Changes what the merge patch names (RFC 7396) and leaves the rest.
#[utoipa::path(patch, path = "/api/v2/posts/{id}", operation_id = "patch_post", tag = "posts",
    params(params::PostNumber, params::IfMatch),
    request_body(content = PostPatchInput, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The post as it is now.", body = PostBody)))]
pub(crate) async fn patch_post(
    State(app): State<App>,
    Known(call): Known,
    PathId(id): PathId<PostId>,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let precondition = call.precondition(IfMatch::Required)?;
    let post = app.posts.change(&call.ctx, id, precondition, input::v2_post_patch(body)?).await?;
    answer::private(&call, whole(&post)?)
}

/// Deletes a post. What was public answers 410 from then on.
#[utoipa::path(delete, path = "/api/v2/posts/{id}", operation_id = "delete_post", tag = "posts",
    params(params::PostNumber, params::IfMatch),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete_post(
    State(app): State<App>,
    Known(call): Known,
    PathId(id): PathId<PostId>,
    query: QueryReader,
) -> Result<Response> {
    query.finish()?;
    app.posts.delete(&call.ctx, id, call.precondition(IfMatch::Required)?).await?;
    Ok(answer::nothing())
}

/// Answers with the post under `key`, or sends on to where it is now.
async fn one(
    app: App,
    call: Call,
    key: PostKey,
    path: &str,
    route: &'static str,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = wire::fields::<PostBody>(&mut query);
    let include = include(&mut query, fields.as_deref(), false);
    let canonical = query.finish()?.as_query();
    let lifetime = app.edge.settings().lifetimes.post;
    answer::read(&app.clone(), &call, &answer::address(path, &canonical), lifetime, move |ctx| async move {
        let parts = if include.content { Parts::ALL } else { Parts::NONE };
        let located = app.posts.find(&ctx, &key, parts).await?;
        let entities = filters::of_post(located.post());
        let builder = match &located {
            Located::Here(post) => show(post, include, fields.as_deref())?,
            // Whoever takes the old address names this post, as every change of it does.
            Located::Moved(post) => moved(&answer::address(&format!("{LIST}/by-slug/{}", post.slug), &canonical)),
        };
        Ok(Shown::new(builder.route(route), entities))
    })
    .await
}

/// Reads `include`. Parts that `fields` leaves out are not loaded.
fn include(query: &mut QueryReader, fields: Option<&[&str]>, list: bool) -> Include {
    let given = query.words("include", Include::WORDS);
    let mut include = given.map_or_else(|| Include::default_for(list), |words| Include::of(&words));
    if let Some(fields) = fields {
        include.content &= fields.contains(&"content");
    }
    include
}

fn whole(post: &Post) -> inkstone_core::Result<Builder> {
    show(post, Include::default_for(false), None)
}

/// Without `Last-Modified`: a post shows names of authors and tags, whose changes are not its own.
fn show(post: &Post, include: Include, fields: Option<&[&str]>) -> inkstone_core::Result<Builder> {
    let body = wire::to_json(&PostBody::of(post, include), fields)?;
    Ok(Representation::builder(body).version(post.version).route(ITEM))
}

/// 308 (RFC 9110 §15.4.9) to `location`, with a body for those who look.
fn moved(location: &str) -> Builder {
    let body = format!("{{\"location\":\"{location}\"}}");
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    Representation::builder(body).status(StatusCode::PERMANENT_REDIRECT).header(header::LOCATION, location)
}
