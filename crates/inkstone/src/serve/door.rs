//! Between the server, which knows connections, and the application, which knows requests.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use inkstone_core::Code;
use inkstone_http::Edge;
use inkstone_http::extract::client::{ClientAddr, OverTls};
use inkstone_http::middleware::exchange::Exchange;
use inkstone_http::problem::Problem;
use inkstone_http::server::{ConnectionInfo, ProblemWriter, Refusal, RequestBody};
use tower::Service;

/// Tells the application where a request comes from.
#[derive(Clone)]
pub(super) struct Door<S>(S);

impl<S> Door<S> {
    pub(super) fn new(application: S) -> Self {
        Self(application)
    }
}

impl<S: Service<Request<RequestBody>>> Service<Request<RequestBody>> for Door<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> S::Future {
        let connection = request.extensions().get::<ConnectionInfo>();
        let peer = connection.map(|connection| (connection.peer().0.ip(), connection.is_tls()));
        if let Some((address, is_tls)) = peer {
            request.extensions_mut().insert(ClientAddr(address));
            if is_tls {
                request.extensions_mut().insert(OverTls);
            }
        }
        self.0.call(request)
    }
}

/// Gives the router the kind of body that it takes.
#[derive(Clone)]
pub(super) struct IntoAxum<S>(pub(super) S);

impl<S: Service<Request<Body>>> Service<Request<RequestBody>> for IntoAxum<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> S::Future {
        self.0.call(request.map(Body::new))
    }
}

/// What makes the answers that the server itself gives: the application's own problem details, with
/// all the headers that every answer has. The edge is known only after the sockets are open, so it
/// is given later; nobody is served before.
pub(super) fn problem_writer() -> (ProblemWriter, impl FnOnce(Edge)) {
    let edge: Arc<OnceLock<Edge>> = Arc::default();
    let late = Arc::clone(&edge);
    let writer: ProblemWriter = Arc::new(move |refusal| match edge.get() {
        Some(edge) => refuse(edge, refusal),
        None => status_only(StatusCode::SERVICE_UNAVAILABLE),
    });
    // A second edge cannot come: the function is called once.
    (writer, move |edge| drop(late.set(edge)))
}

fn refuse(edge: &Edge, refusal: Refusal) -> Response<Bytes> {
    let mut request = Request::new(());
    // What was not read has no method that could be told.
    *request.method_mut() = unknown_method();
    let exchange = Exchange::begin(edge, &mut request);
    let problem = Problem::new(code_of(refusal), refusal.detail());
    let (parts, body) = exchange.finish(problem.into_response()).into_parts();
    // The body is in memory, so it is there at once.
    let body = body.collect().now_or_never().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    Response::from_parts(parts, body.unwrap_or_default())
}

/// Stands in the log for a method that is not known. No client may send it: the router knows no such one.
fn unknown_method() -> Method {
    Method::from_bytes(b"-").unwrap_or(Method::TRACE)
}

fn status_only(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn code_of(refusal: Refusal) -> Code {
    match refusal {
        Refusal::RequestLine
        | Refusal::Target
        | Refusal::LineEnd
        | Refusal::Field
        | Refusal::NoHost
        | Refusal::ManyHosts
        | Refusal::BadHost
        | Refusal::HostMismatch
        | Refusal::ContentLength
        | Refusal::TransferEncoding
        | Refusal::TwoLengths => Code::BadRequest,
        Refusal::Version => Code::HttpVersion,
        Refusal::HeadTooLarge | Refusal::TooManyFields => Code::HeadersTooLarge,
        Refusal::UriTooLong => Code::UriTooLong,
        Refusal::Method => Code::MethodNotAllowed,
        Refusal::HeadTimeout => Code::RequestTimeout,
        Refusal::Busy => Code::Overloaded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_code_of_its_own_status() {
        for &refusal in Refusal::ALL {
            let status = inkstone_http::problem::status(code_of(refusal));
            assert_eq!(status, refusal.status(), "{refusal:?}");
        }
    }
}
