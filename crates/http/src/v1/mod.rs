//! Version 1: the simple contract.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth;

mod paging;
mod posts;
mod tags;
mod users;
mod wire;

/// Every route of v1 with its documentation.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(posts::list_posts, posts::create_post))
        .routes(routes!(posts::get_post, posts::replace_post, posts::delete_post))
        .routes(routes!(users::list_users))
        .routes(routes!(users::get_user))
        .routes(routes!(tags::list_tags))
        .routes(routes!(auth::v1_login))
        .routes(routes!(auth::v1_refresh))
        .routes(routes!(auth::v1_logout))
}
