//! `/api/v1/tags`.

use axum::extract::State;
use axum::response::Response;
use inkstone_core::events::Entity;
use inkstone_core::tags::repository::TagQuery;

use super::paging::{Paging, PagingParams};
use super::wire::{Listed, TagBody};
use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::{Call, QueryReader};
use crate::problem::Result;
use crate::{params, wire};

const LIST: &str = "/api/v1/tags";

/// One page of tags, by slug.
#[utoipa::path(get, path = "/api/v1/tags", operation_id = "list_tags", tag = "tags",
    params(PagingParams, params::RowFields<TagBody>),
    responses((status = 200, description = "The page.", body = Listed<TagBody>)))]
pub(crate) async fn list_tags(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let paging = Paging::read(&mut query);
    let fields = wire::fields::<TagBody>(&mut query);
    let canonical = query.finish()?;
    let key = answer::address(LIST, &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.tags;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let found = app.tags.list(&ctx, &TagQuery { position: paging.position(), limit: paging.per_page }).await?;
        let total = app.tags.count(&ctx).await?;
        let data = found.items.iter().map(TagBody::of).collect();
        let mut entities: Vec<Entity> = found.items.iter().map(|tag| Entity::Tag(tag.id)).collect();
        entities.push(Entity::Tags);
        Ok(Shown::new(paging.show(LIST, &canonical, data, total, fields.as_deref())?, entities))
    })
    .await
}
