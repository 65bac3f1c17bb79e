//! `/api/v1/posts`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use inkstone_core::posts::{Parts, Post, PostId, PostKey, PostQuery};

use super::paging::Paging;
use super::wire::{Listed, PostBody, PostInput};
use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::conditional::IfMatch;
use crate::extract::{Call, Known, ObjectReader, PathId, QueryReader};
use crate::problem::Result;
use crate::representation::{Builder, Representation};
use crate::{filters, input, wire};

const LIST: &str = "/api/v1/posts";
const ITEM: &str = "/api/v1/posts/{id}";

/// One page of posts, newest first.
#[utoipa::path(get, path = "/api/v1/posts", operation_id = "list_posts", tag = "posts",
    params(
        ("page" = Option<u32>, Query, description = "The number of the page, from 1.", minimum = 1, maximum = 10_000, example = 1),
        ("per_page" = Option<u32>, Query, description = "Rows of a page.", minimum = 1, maximum = 100, example = 20),
        ("author" = Option<i64>, Query, description = "Only posts by this author.", minimum = 1),
        ("tag" = Option<Vec<wire::SlugText>>, Query, description = "Only posts with this tag, by slug. Repeated: with all of them.", max_items = 8, explode),
        ("status" = Option<super::wire::StatusWord>, Query, description = "`draft` shows one's own drafts; editors see all."),
        ("published_after" = Option<wire::Timed>, Query, description = "Published at or after this time."),
        ("published_before" = Option<wire::Timed>, Query, description = "Published before this time."),
        ("sort" = Option<String>, Query, description = "The order; `-` for the largest first.", pattern = "^-?(published_at|created_at|updated_at|title)$", example = "-published_at"),
        ("fields" = Option<String>, Query, description = "The members to show of each row, separated by commas.", pattern = "^(id|title|content|author_id|slug|status|tags|published_at|created_at|updated_at)(,(id|title|content|author_id|slug|status|tags|published_at|created_at|updated_at))*$"),
    ),
    responses((status = 200, description = "The page.", body = Listed<PostBody>)))]
pub(crate) async fn list_posts(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let paging = Paging::read(&mut query);
    let choice = filters::posts(&mut query);
    let fields = query.words("fields", PostBody::FIELDS);
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
    params(
        ("id" = i64, Path, description = "The post's number.", minimum = 1, example = 42),
        ("fields" = Option<String>, Query, description = "The members to show, separated by commas.", pattern = "^(id|title|content|author_id|slug|status|tags|published_at|created_at|updated_at)(,(id|title|content|author_id|slug|status|tags|published_at|created_at|updated_at))*$"),
    ),
    responses((status = 200, description = "The post.", body = PostBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_post(
    State(app): State<App>,
    call: Call,
    PathId(id): PathId<PostId>,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = query.words("fields", PostBody::FIELDS);
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
    params(("idempotency-key" = Option<String>, Header, description = "Makes a repetition harmless: the first answer is given again.", max_length = 257, pattern = r#"^("[!#-\[\]-~]{1,255}"|[!#-+\--:<-\[\]-~]{1,255})$"#, example = "8e03978e-40d5")),
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
    params(
        ("id" = i64, Path, description = "The post's number.", minimum = 1, example = 42),
        ("if-match" = Option<String>, Header, description = "The ETag that the change is based on; honoured when sent.", pattern = r#"^(\*|"[!#-~]*")$"#),
    ),
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
    params(
        ("id" = i64, Path, description = "The post's number.", minimum = 1, example = 42),
        ("if-match" = Option<String>, Header, description = "The ETag that the change is based on; honoured when sent.", pattern = r#"^(\*|"[!#-~]*")$"#),
    ),
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
