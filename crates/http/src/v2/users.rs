//! `/api/v2/users`: the public profiles of those who write here.

use axum::extract::State;
use axum::response::Response;
use inkstone_core::events::Entity;
use inkstone_core::users::{UserId, UserKey};

use super::paging::{self, Paging, PagingParams};
use super::wire::{Listed, UserBody};
use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::{Call, PathId, PathSlug, QueryReader};
use crate::problem::Result;
use crate::representation::Representation;
use crate::{params, wire};

const LIST: &str = "/api/v2/users";
const ITEM: &str = "/api/v2/users/{id}";
const BY_HANDLE: &str = "/api/v2/users/by-handle/{slug}";

/// One page of the people who write here, by number.
#[utoipa::path(get, path = "/api/v2/users", operation_id = "list_users", tag = "users",
    params(PagingParams, params::RowFields<UserBody>),
    responses((status = 200, description = "The page.", body = Listed<UserBody>)))]
pub(crate) async fn list_users(State(app): State<App>, call: Call, mut query: QueryReader) -> Result<Response> {
    let paging = Paging::read(&mut query);
    let fields = wire::fields::<UserBody>(&mut query);
    let canonical = query.finish()?;
    let position = paging.position(&app, LIST, &canonical)?;
    let key = answer::address(LIST, &canonical.as_query());
    let lifetime = app.edge.settings().lifetimes.users;
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let page = app.users.list(&ctx, position, paging.limit).await?;
        let total = if paging.wants_total { Some(app.users.count(&ctx).await?) } else { None };
        let builder = paging::show(&app, LIST, &canonical, &page, UserBody::of, total, fields.as_deref())?;
        let mut entities: Vec<Entity> = page.items.iter().map(|user| Entity::User(user.id)).collect();
        entities.push(Entity::Users);
        Ok(Shown::new(builder, entities))
    })
    .await
}

/// One public profile.
#[utoipa::path(get, path = "/api/v2/users/{id}", operation_id = "get_user", tag = "users",
    params(params::UserNumber, params::Fields<UserBody>),
    responses((status = 200, description = "The profile.", body = UserBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_user(
    State(app): State<App>,
    call: Call,
    PathId(id): PathId<UserId>,
    query: QueryReader,
) -> Result<Response> {
    one(app, call, UserKey::Id(id), &format!("{LIST}/{id}"), ITEM, query).await
}

/// One public profile by handle.
#[utoipa::path(get, path = "/api/v2/users/by-handle/{slug}", operation_id = "get_user_by_handle", tag = "users",
    params(
        ("slug" = String, Path, description = "The person's handle.", min_length = 1, max_length = 50, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ada"),
        params::Fields<UserBody>,
    ),
    responses((status = 200, description = "The profile.", body = UserBody), (status = 304, description = "It is what you have.")))]
pub(crate) async fn get_user_by_handle(
    State(app): State<App>,
    call: Call,
    PathSlug(slug): PathSlug,
    query: QueryReader,
) -> Result<Response> {
    let path = format!("{LIST}/by-handle/{slug}");
    one(app, call, UserKey::Handle(slug.as_str().to_owned()), &path, BY_HANDLE, query).await
}

async fn one(
    app: App,
    call: Call,
    key: UserKey,
    path: &str,
    route: &'static str,
    mut query: QueryReader,
) -> Result<Response> {
    let fields = wire::fields::<UserBody>(&mut query);
    let address = answer::address(path, &query.finish()?.as_query());
    let lifetime = app.edge.settings().lifetimes.user;
    answer::read(&app.clone(), &call, &address, lifetime, move |ctx| async move {
        let user = app.users.find(&ctx, &key).await?;
        let body = wire::to_json(&UserBody::of(&user), fields.as_deref())?;
        let builder = Representation::builder(body).version(user.version).last_modified(user.updated_at).route(route);
        Ok(Shown::new(builder, vec![Entity::User(user.id)]))
    })
    .await
}
