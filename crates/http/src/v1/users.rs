//! `/api/v1/users`: those who write here.

use axum::extract::State;
use axum::response::Response;
use inkstone_core::events::Entity;
use inkstone_core::users::{UserId, UserKey};

use super::paging::{Paging, PagingParams};
use super::wire::{Listed, UserBody};
use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::{Call, PathId, QueryReader};
use crate::problem::Result;
use crate::representation::Representation;
use crate::{params, wire};

const LIST: &str = "/api/v1/users";
const ITEM: &str = "/api/v1/users/{id}";

/// One page of the people who write here, by number.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "list_users", tag = "users",
    params(PagingParams, params::RowFields<UserBody>),
    responses((status = 200, description = "The page.", body = Listed<UserBody>)))]
pub(crate) async fn list_users(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let paging = Paging::read(&mut query);
    let fields = wire::fields::<UserBody>(&mut query);
    let canonical = query.finish()?;
    let key = answer::address(LIST, &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.users;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let found = app.users.list(&ctx, paging.position(), paging.per_page).await?;
        let total = app.users.count(&ctx).await?;
        let data = found.items.iter().map(UserBody::of).collect();
        let mut entities: Vec<Entity> = found.items.iter().map(|user| Entity::User(user.id)).collect();
        entities.push(Entity::Users);
        Ok(Shown::new(paging.show(LIST, &canonical, data, total, fields.as_deref())?, entities))
    })
    .await
}

/// One person who writes here.
#[utoipa::path(get, path = "/api/v1/users/{id}", operation_id = "get_user", tag = "users",
    params(params::UserNumber, params::Fields<UserBody>),
    responses((status = 200, description = "The person.", body = UserBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_user(
    State(app): State<App>,
    call: Call,
    PathId(id): PathId<UserId>,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = wire::fields::<UserBody>(&mut query);
    let key = answer::address(&format!("{LIST}/{id}"), &query.finish()?.as_query());
    let lifetime = app.edge.settings().lifetimes.user;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let user = app.users.find(&ctx, &UserKey::Id(id)).await?;
        let body = wire::to_json(&UserBody::of(&user), fields.as_deref())?;
        let builder = Representation::builder(body).version(user.version).last_modified(user.updated_at).route(ITEM);
        Ok(Shown::new(builder, vec![Entity::User(user.id)]))
    })
    .await
}
