//! The few pages for people: the API reference, the problem pages, the first set-up.
//!
//! All of them work without internet. Each page brings a content security policy of its own,
//! which is as tight as the page allows; everything else gets the one of the API.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inkstone_core::Code;

use crate::app::App;
use crate::problem;

mod reference;
mod setup;

/// The policy of pages without script.
const PLAIN_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("style.css");

/// The routes of all pages.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(front_page))
        .route("/pages/style.css", get(style))
        .route("/problems", get(problem_index))
        .route("/problems/{code}", get(problem_page))
        .merge(reference::routes())
        .merge(setup::routes())
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

async fn front_page() -> Response {
    page(
        PLAIN_POLICY,
        "Inkstone",
        "<h1>Inkstone</h1>\
         <p>This is the backend of a blog. It speaks JSON over HTTP.</p>\
         <ul>\
         <li><a href=\"/docs\">API reference</a></li>\
         <li><a href=\"/api/v2/posts\">Recent posts</a> (v2) · <a href=\"/api/v1/posts\">the same in v1</a></li>\
         <li><a href=\"/api/v2/openapi.json\">OpenAPI of v2</a> · <a href=\"/api/v1/openapi.json\">of v1</a></li>\
         <li><a href=\"/problems\">What the errors mean</a></li>\
         </ul>",
    )
}

async fn problem_index() -> Response {
    let rows: Vec<String> = Code::ALL
        .iter()
        .map(|code| {
            format!(
                "<tr><td>{}</td><td><a href=\"/problems/{slug}\"><code>{slug}</code></a></td><td>{}</td></tr>",
                problem::status(*code).as_u16(),
                code.title(),
                slug = code.as_str(),
            )
        })
        .collect();
    page(
        PLAIN_POLICY,
        "Problems",
        &format!(
            "<h1>Problems</h1><p>Every error is a problem document (RFC 9457). Its <code>type</code> is the \
             address of one of these pages.</p><table><tr><th>Status</th><th>Code</th><th>Title</th></tr>{}</table>",
            rows.concat()
        ),
    )
}

async fn problem_page(Path(slug): Path<String>) -> Response {
    let Some(code) = Code::ALL.iter().copied().find(|code| code.as_str() == slug) else {
        return problem::Problem::from(inkstone_core::Error::not_found("kind of problem")).into_response();
    };
    page(
        PLAIN_POLICY,
        code.title(),
        &format!(
            "<h1>{}</h1><p><code>{}</code>, status {}</p><p>{}</p><p><a href=\"/problems\">All problems</a></p>",
            code.title(),
            code.as_str(),
            problem::status(code),
            code.meaning().trim(),
        ),
    )
}

/// A page with its own content security policy. `body` is HTML made by us, never by callers.
fn page(policy: &'static str, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <link rel=\"stylesheet\" href=\"/pages/style.css\"></head><body><main>{body}</main></body></html>\n"
    );
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    (StatusCode::OK, headers, Body::from(html)).into_response()
}

/// A file that is part of the binary.
fn asset(content_type: &'static str, body: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    (StatusCode::OK, headers, Body::from(body)).into_response()
}
