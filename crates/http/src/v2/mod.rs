//! Version 2: the rich contract.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth;

mod inputs;
mod me;
mod paging;
mod posts;
mod tags;
mod users;
pub(crate) mod wire;

/// Every route of v2 with its documentation.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(posts::list_posts, posts::create_post))
        .routes(routes!(posts::get_post, posts::replace_post, posts::patch_post, posts::delete_post))
        .routes(routes!(posts::get_post_by_slug))
        .routes(routes!(posts::get_post_by_path))
        .routes(routes!(tags::list_tags, tags::create_tag))
        .routes(routes!(tags::get_tag, tags::patch_tag, tags::delete_tag))
        .routes(routes!(tags::get_tag_by_slug))
        .routes(routes!(users::list_users))
        .routes(routes!(users::get_user))
        .routes(routes!(users::get_user_by_handle))
        .routes(routes!(me::get_me, me::patch_me))
        .routes(routes!(me::change_password))
        .routes(routes!(me::list_sessions))
        .routes(routes!(me::end_session))
        .routes(routes!(me::list_tokens, me::create_token))
        .routes(routes!(me::revoke_token))
        .routes(routes!(me::setup))
        .routes(routes!(auth::v2_login))
        .routes(routes!(auth::v2_refresh))
        .routes(routes!(auth::v2_logout))
}
