//! The few pages for people: the API reference, the problem pages, the first set-up.
//!
//! All of them work without internet. Each page brings a content security policy of its own,
//! which is as tight as the page allows; everything else gets the one of the API.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use inkstone_core::Code;

use crate::app::App;
use crate::extract::conditional::{Conditions, Outcome};
use crate::problem::{self, Problem, Result};
use crate::representation::{entity_tag, header_value};

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
        .layer(from_fn(conditionally))
}

/// Weighs the conditions of a request against the `ETag` of the page: 304 for who has it (RFC 9110 §13).
async fn conditionally(request: Request, next: Next) -> Result<Response> {
    let conditions = Conditions::from_headers(request.headers())?;
    let mut response = next.run(request).await;
    let opaque = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let Some(opaque) = opaque.filter(|_| response.status() == StatusCode::OK) else { return Ok(response) };
    match conditions.evaluate(opaque.trim_matches('"'), None) {
        Outcome::Proceed => return Ok(response),
        Outcome::Failed => {
            return Err(Problem::new(Code::PreconditionFailed, "The page is not what the condition names."));
        }
        Outcome::NotModified => {}
    }
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
        response.headers_mut().remove(name);
    }
    Ok(response)
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
    let mut headers = described("text/html; charset=utf-8", html.as_bytes());
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    (StatusCode::OK, headers, Body::from(html)).into_response()
}

/// A file that is part of the binary.
fn asset(content_type: &'static str, body: &'static str) -> Response {
    (StatusCode::OK, described(content_type, body.as_bytes()), Body::from(body)).into_response()
}

fn described(content_type: &'static str, body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(header::ETAG, header_value(&format!("\"{}\"", entity_tag(body, None))));
    headers
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get_page(condition: Option<(&'static str, &str)>) -> (StatusCode, HeaderMap, usize) {
        let router = Router::new().route("/", get(front_page)).layer(from_fn(conditionally));
        let mut request = http::Request::get("/");
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes().len())
    }

    #[tokio::test]
    async fn pages_have_a_strong_tag_and_are_not_sent_to_who_has_them() {
        let (status, headers, bytes) = get_page(None).await;
        let tag = headers["etag"].to_str().unwrap();
        assert!(status == 200 && tag.starts_with('"') && bytes > 0, "{status} {tag} {bytes}");
        for condition in [tag.to_owned(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let (status, known, bytes) = get_page(Some(("if-none-match", &condition))).await;
            assert_eq!((status.as_u16(), bytes), (304, 0), "{condition}");
            assert_eq!((&known["etag"], &known["cache-control"]), (&headers["etag"], &headers["cache-control"]));
            assert!(!known.contains_key("content-type"), "{known:?}");
        }
        assert_eq!(get_page(Some(("if-none-match", "\"other\""))).await.0, 200);
        assert_eq!(get_page(Some(("if-match", "\"other\""))).await.0, 412);
        assert_eq!(get_page(Some(("if-match", tag))).await.0, 200);
    }
}
