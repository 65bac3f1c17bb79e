//! Every route of the main listener, in one table of contents.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, StatusCode, Uri, header};
use inkstone_core::Code;
use inkstone_core::cache::Lifetime;
use inkstone_core::events::Entity;

use crate::answer::{self, Shown};
use crate::app::App;
use crate::extract::Call;
use crate::middleware::conventions;
use crate::problem::{Problem, Result};
use crate::representation::{Representation, Verdict};
use crate::{filters, health, openapi, pages, v1, v2, wire};

/// Everything that the main listener serves, with the conventions around it.
pub fn router(app: App) -> Router {
    let router = Router::new()
        .merge(Router::from(v1::routes()))
        .merge(Router::from(v2::routes()))
        .route(
            "/api/v1/openapi.json",
            get(async |app, call| document(app, call, "/api/v1/openapi.json", openapi::v1).await),
        )
        .route(
            "/api/v2/openapi.json",
            get(async |app, call| document(app, call, "/api/v2/openapi.json", openapi::v2).await),
        )
        .route("/.well-known/jwks.json", get(signing_keys))
        .merge(pages::routes())
        .merge(health::routes())
        .fallback(old_address);
    let edge = app.edge.clone();
    conventions(router, &edge).with_state(app)
}

/// The OpenAPI document of a version.
async fn document(State(app): State<App>, call: Call, path: &'static str, make: fn() -> String) -> Result<Response> {
    answer::read(&app.clone(), &call, path, document_lifetime(&app), move |_| async move {
        Ok(Shown::new(Representation::builder(make()).route(path), Vec::new()))
    })
    .await
}

/// The document only changes with the program.
fn document_lifetime(app: &App) -> Lifetime {
    app.edge.settings().lifetimes.keys
}

/// The public keys that access tokens are signed with (RFC 7517): the same for everybody, so
/// whoever asks gets the shared answer.
async fn signing_keys(State(app): State<App>, call: Call) -> Result<Response> {
    let keys = app.identity.jwks(&call.ctx).await?;
    let lifetime = app.edge.settings().lifetimes.keys;
    let media_type = HeaderValue::from_static("application/jwk-set+json");
    let builder = Representation::builder(wire::to_json(&keys, None)?).content_type(media_type);
    Arc::new(builder.public(lifetime, vec![Entity::Keys]).build()).respond(call.asked(), Verdict::Bypass)
}

/// Whatever no route knows: an address that a post had before it was imported answers 308, so
/// that old links keep working when the whole site is pointed here; the rest is not found.
async fn old_address(State(app): State<App>, call: Call, uri: Uri) -> Result<Response> {
    let is_read = matches!(call.method, http::Method::GET | http::Method::HEAD);
    let nothing = || Problem::new(Code::NotFound, "There is nothing at this address.");
    if !is_read || uri.path().starts_with("/api/") || uri.path() == "/" {
        return Err(nothing());
    }
    let lifetime = app.edge.settings().lifetimes.post;
    let path = percent_encoding::percent_decode_str(uri.path()).decode_utf8().map_err(|_| nothing())?.into_owned();
    let key = uri.path().to_owned();
    answer::read(&app.clone(), &call, &key, lifetime, move |ctx| async move {
        let post = app.posts.by_old_path(&ctx, &path).await.map_err(|error| match error.code() {
            Code::NotFound => inkstone_core::Error::refused(Code::NotFound, "There is nothing at this address."),
            _ => error,
        })?;
        let template = &app.edge.settings().post_url;
        let target = template.replace("{slug}", post.slug.as_str()).replace("{id}", &post.id.to_string());
        let location = HeaderValue::from_str(&target).map_err(inkstone_core::Error::internal)?;
        let moved = Representation::builder(format!("{{\"location\":\"{target}\"}}"))
            .status(StatusCode::PERMANENT_REDIRECT)
            .header(header::LOCATION, location)
            .route("/{old}");
        Ok(Shown::new(moved, filters::of_post(&post)))
    })
    .await
}
