//! `/api/v2/tags`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use inkstone_core::events::Entity;
use inkstone_core::tags::repository::TagQuery;
use inkstone_core::tags::{Tag, TagId, TagKey};

use super::inputs::{TagInput, TagPatchInput};
use super::paging::{self, Paging, PagingParams};
use super::wire::{Listed, TagBody};
use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::conditional::IfMatch;
use crate::extract::{Call, Known, ObjectReader, PathId, PathSlug, QueryReader};
use crate::problem::Result;
use crate::representation::{Builder, Representation};
use crate::{input, params, wire};

const LIST: &str = "/api/v2/tags";
const ITEM: &str = "/api/v2/tags/{id}";
const BY_SLUG: &str = "/api/v2/tags/by-slug/{slug}";

/// One page of tags, by slug.
#[utoipa::path(get, path = "/api/v2/tags", operation_id = "list_tags", tag = "tags",
    params(PagingParams, params::RowFields<TagBody>),
    responses((status = 200, description = "The page.", body = Listed<TagBody>)))]
pub(crate) async fn list_tags(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let paging = Paging::read(&mut query);
    let fields = wire::fields::<TagBody>(&mut query);
    let canonical = query.finish()?;
    let position = paging.position(&app, LIST, &canonical)?;
    let key = answer::address(LIST, &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.tags;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let page = app.tags.list(&ctx, &TagQuery { position, limit: paging.limit }).await?;
        let total = if paging.wants_total { Some(app.tags.count(&ctx).await?) } else { None };
        let builder = paging::show(&app, LIST, &canonical, &page, TagBody::of, total, fields.as_deref())?;
        let mut entities: Vec<Entity> = page.items.iter().map(|tag| Entity::Tag(tag.id)).collect();
        entities.push(Entity::Tags);
        Ok(Shown::new(builder, entities))
    })
    .await
}

/// One tag.
#[utoipa::path(get, path = "/api/v2/tags/{id}", operation_id = "get_tag", tag = "tags",
    params(params::TagNumber, params::Fields<TagBody>),
    responses((status = 200, description = "The tag.", body = TagBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_tag(
    State(app): State<App>,
    call: Call,
    PathId(id): PathId<TagId>,
    query: QueryReader,
) -> Result<Response> {
    one(app, call, TagKey::Id(id), &format!("{LIST}/{id}"), ITEM, query).await
}

/// One tag by its address.
#[utoipa::path(get, path = "/api/v2/tags/by-slug/{slug}", operation_id = "get_tag_by_slug", tag = "tags",
    params(
        ("slug" = String, Path, description = "The last part of the tag's address.", min_length = 1, max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "writing"),
        params::Fields<TagBody>,
    ),
    responses((status = 200, description = "The tag.", body = TagBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_tag_by_slug(
    State(app): State<App>,
    call: Call,
    PathSlug(slug): PathSlug,
    query: QueryReader,
) -> Result<Response> {
    let path = format!("{LIST}/by-slug/{slug}");
    one(app, call, TagKey::Slug(slug), &path, BY_SLUG, query).await
}

/// Makes a tag.
#[utoipa::path(post, path = "/api/v2/tags", operation_id = "create_tag", tag = "tags",
    params(params::IdempotencyKey),
    request_body = TagInput,
    responses((status = 201, description = "The new tag.", body = TagBody)))]
pub(crate) async fn create_tag(
    State(app): State<App>,
    Known(call): Known,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let fingerprint = body.fingerprint();
    let draft = input::tag(body)?;
    let render = Arc::new(|tag: &Tag| Ok(answer::created(show(tag, None)?, &format!("{LIST}/{}", tag.id))));
    let once = call.once(&app.edge, fingerprint, render)?;
    let written = app.tags.create(&call.ctx, draft, once.idempotency()).await?;
    once.answer(written)
}

/// Changes what the merge patch names (RFC 7396): name, address, description.
#[utoipa::path(patch, path = "/api/v2/tags/{id}", operation_id = "patch_tag", tag = "tags",
    params(params::TagNumber, params::IfMatch),
    request_body(content = TagPatchInput, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The tag as it is now.", body = TagBody)))]
pub(crate) async fn patch_tag(
    State(app): State<App>,
    Known(call): Known,
    PathId(id): PathId<TagId>,
    query: QueryReader,
    body: ObjectReader,
) -> Result<Response> {
    query.finish()?;
    let precondition = call.precondition(IfMatch::Required)?;
    let tag = app.tags.change(&call.ctx, id, precondition, input::tag_patch(body)?).await?;
    answer::private(&call, show(&tag, None)?)
}

/// Deletes a tag; posts lose it.
#[utoipa::path(delete, path = "/api/v2/tags/{id}", operation_id = "delete_tag", tag = "tags",
    params(params::TagNumber, params::IfMatch),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete_tag(
    State(app): State<App>,
    Known(call): Known,
    PathId(id): PathId<TagId>,
    query: QueryReader,
) -> Result<Response> {
    query.finish()?;
    app.tags.delete(&call.ctx, id, call.precondition(IfMatch::Required)?).await?;
    Ok(answer::nothing())
}

async fn one(
    app: App,
    call: Call,
    key: TagKey,
    path: &str,
    route: &'static str,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = wire::fields::<TagBody>(&mut query);
    let address = answer::address(path, &query.finish()?.as_query());
    let lifetime = app.edge.settings().lifetimes.tag;
    answer::read(&app.clone(), &call, &address, lifetime, move |ctx| async move {
        let tag = app.tags.find(&ctx, &key).await?;
        Ok(Shown::new(show(&tag, fields.as_deref())?.route(route), vec![Entity::Tag(tag.id)]))
    })
    .await
}

fn show(tag: &Tag, fields: Option<&[&str]>) -> inkstone_core::Result<Builder> {
    let body = wire::to_json(&TagBody::of(tag), fields)?;
    Ok(Representation::builder(body).version(tag.version).last_modified(tag.updated_at))
}
