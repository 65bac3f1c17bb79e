//! One request between the protocol and the application.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;
use tower::util::Oneshot;

use super::body::{InFlight, RequestBody, ResponseBody};
use super::connection::{Connection, ConnectionInfo};
use super::head::is_authority;
use super::refusal::{Refusal, answer};

/// An error of any kind, as tower has it.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The application, as one connection sees it.
pub(super) struct ConnectionService<S> {
    pub(super) application: S,
    pub(super) connection: Arc<Connection>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = Answer<S>;

    fn call(&self, request: Request<Incoming>) -> Answer<S> {
        let connection = &self.connection;
        let requests = connection.begin_request();
        let in_flight = Some(InFlight::new(connection.clone()));
        let is_http2 = request.version() == Version::HTTP_2;
        let refusal = if is_http2 { check_http2(&request, connection) } else { check_method(request.method()) };

        let is_last = requests >= connection.shared.limits.max_requests_per_connection;
        // What follows a chunked body is not checked, so nothing may follow it: see `head`.
        let is_unfollowed =
            !is_http2 && (refusal.is_some() || request.headers().contains_key(header::TRANSFER_ENCODING));
        if is_last || is_unfollowed {
            connection.drain();
        }
        if let Some(refusal) = refusal {
            connection.shared.stats.add_refused_request();
            return Answer { state: State::Refused { refusal }, in_flight };
        }
        let mut request = request.map(|body| RequestBody::new(body, connection.clone()));
        request.extensions_mut().insert(ConnectionInfo(connection.clone()));
        let future = Oneshot::new(self.application.clone(), request);
        Answer { state: State::Application { future }, in_flight }
    }
}

fn check_method(method: &Method) -> Option<Refusal> {
    (method == Method::TRACE || method == Method::CONNECT).then_some(Refusal::Method)
}

/// What `head` checks for HTTP/1. The rest, such as lengths that contradict each other, is the protocol's own.
fn check_http2(request: &Request<Incoming>, connection: &Connection) -> Option<Refusal> {
    if let Some(refusal) = check_method(request.method()) {
        return Some(refusal);
    }
    let limits = &connection.shared.limits;
    let uri = request.uri();
    let is_asterisk = uri.path() == "*" && request.method() == Method::OPTIONS;
    if !(uri.path().starts_with('/') || is_asterisk) || !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Some(Refusal::Target);
    }
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.max_uri_bytes) {
        return Some(Refusal::UriTooLong);
    }
    if request.headers().len() > usize::from(limits.max_headers) {
        return Some(Refusal::TooManyFields);
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Some(Refusal::ManyHosts);
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host.map(HeaderValue::as_bytes)) {
        (None, None) => Some(Refusal::NoHost),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => Some(Refusal::HostMismatch),
        (Some(name), _) | (None, Some(name)) => (!is_authority(name)).then_some(Refusal::BadHost),
    }
}

pin_project! {
    /// The answer to come.
    pub(super) struct Answer<S: Service<Request<RequestBody>>> {
        #[pin]
        state: State<S>,
        in_flight: Option<InFlight>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S: Service<Request<RequestBody>>> {
        Application { #[pin] future: Oneshot<S, Request<RequestBody>> },
        Answered { response: Option<S::Response> },
        Refused { refusal: Refusal },
    }
}

impl<S, B> Future for Answer<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(in_flight) = this.in_flight else { return Poll::Pending };
        let outcome = match this.state.as_mut().project() {
            StateProjection::Refused { refusal } => Err(*refusal),
            StateProjection::Answered { response } => {
                let Some(response) = response.take() else { return Poll::Pending };
                Ok(response)
            }
            StateProjection::Application { future } => {
                let response = ready!(future.poll(cx))?;
                if in_flight.connection.is_body_unread() && !in_flight.connection.is_http2() {
                    // The protocol reads on before it asks again, and so learns whether all of the body is there or
                    // the connection has to end, which the answer must say: RFC 9112, section 9.6.
                    this.state.set(State::Answered { response: Some(response) });
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(response)
            }
        };
        let Some(in_flight) = this.in_flight.take() else { return Poll::Pending };
        let is_last = !in_flight.connection.is_http2() && in_flight.connection.is_draining();
        let date = in_flight.connection.shared.date();
        let mut response = respond(outcome, in_flight);
        response.headers_mut().insert(header::DATE, date);
        if is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

fn respond<B: Body<Data = Bytes>>(
    outcome: Result<Response<B>, Refusal>,
    mut in_flight: InFlight,
) -> Response<ResponseBody<B>> {
    let refusal = match outcome {
        Ok(response) => {
            if in_flight.charge(response.body().size_hint().lower()) {
                return response.map(|body| ResponseBody::of_application(body, in_flight));
            }
            Refusal::Busy
        }
        Err(refusal) => refusal,
    };
    answer(&in_flight.connection.shared.problem, refusal).map(|bytes| ResponseBody::of_server(bytes, in_flight))
}
