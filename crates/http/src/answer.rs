//! From what a service gave to the answer: read through the cache where nobody in particular
//! asks, private where somebody does.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use inkstone_core::Context;
use inkstone_core::cache::Lifetime;
use inkstone_core::events::Entity;
use inkstone_core::idempotency::StoredAnswer;

use crate::app::App;
use crate::extract::Call;
use crate::problem::Result;
use crate::reader::read_through;
use crate::representation::{Builder, Verdict};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// A representation in the making, and what it was made from.
pub(crate) struct Shown {
    pub builder: Builder,
    pub entities: Vec<Entity>,
}

impl Shown {
    /// A representation made from these entities.
    pub(crate) fn new(builder: Builder, entities: Vec<Entity>) -> Self {
        Self { builder, entities }
    }
}

/// Answers a GET. What anybody may see is read through the cache under `key`; what somebody in
/// particular sees is loaded for them and kept nowhere.
pub(crate) async fn read<F, Fut>(app: &App, call: &Call, key: &str, lifetime: Lifetime, load: F) -> Result<Response>
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = inkstone_core::Result<Shown>> + Send + 'static,
{
    if !call.is_anonymous() {
        let shown = load(call.ctx.clone()).await?;
        return Arc::new(shown.builder.varies_by_caller().build()).respond(call.asked(), Verdict::Bypass);
    }
    // Who is somebody is read for where everything is: see `docs/decisions/0016-read-replicas.md`.
    if let Some(change) = call.change {
        app.edge.reach(&call.ctx, change).await;
    }
    let load = move |ctx| async move {
        let shown = load(ctx).await?;
        Ok(shown.builder.public(lifetime, shown.entities).build())
    };
    let (representation, verdict) = read_through(app, &call.ctx, key, lifetime, load).await?;
    representation.respond(call.asked(), verdict)
}

/// Answers with something that is nobody else's business.
pub(crate) fn private(call: &Call, builder: Builder) -> Result<Response> {
    Arc::new(builder.varies_by_caller().build()).respond(call.asked(), Verdict::Bypass)
}

/// The answer to a POST that made something, as it is given now and to every repetition.
pub(crate) fn created(builder: Builder, location: &str) -> StoredAnswer {
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    let made = builder.status(StatusCode::CREATED).header(header::LOCATION, location).varies_by_caller().build();
    let headers = made
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    StoredAnswer { status: made.status().as_u16(), headers, body: made.body().to_vec() }
}

/// [`nothing`], as it is given now and to every repetition.
pub(crate) fn kept_nothing() -> StoredAnswer {
    let headers = vec![(header::CACHE_CONTROL.as_str().to_owned(), "no-store".to_owned())];
    StoredAnswer { status: StatusCode::NO_CONTENT.as_u16(), headers, body: Vec::new() }
}

/// 204.
pub(crate) fn nothing() -> Response {
    let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]);
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// 204 after a sign-out: the browser forgets what it keeps of this origin (OWASP ASVS 14.3.1). Its
/// cookies stay, since none is ours, and forgetting them would take those of the whole domain.
pub(crate) fn signed_out() -> Response {
    let mut response = nothing();
    response.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static(r#""cache", "storage""#));
    response
}

/// A `Link` header (RFC 8288) out of relations and targets; `None` where there is none.
pub(crate) fn links(links: &[(&str, Option<String>)]) -> Option<HeaderValue> {
    let parts: Vec<String> =
        links.iter().filter_map(|(rel, target)| Some(format!("<{}>; rel=\"{rel}\"", target.as_ref()?))).collect();
    if parts.is_empty() {
        return None;
    }
    HeaderValue::from_str(&parts.join(", ")).ok()
}

/// The address of a page: path, and query unless it is empty.
pub(crate) fn address(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
