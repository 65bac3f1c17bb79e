//! Answers straight out of the cache, in front of the router.
//!
//! Most requests to a blog ask for something that is public, fresh and in memory. For those the
//! way through the router costs several times what the answer costs, so this service looks first:
//! a GET or HEAD without credentials, for exactly the address that the cache keeps it under, is
//! answered here in about a microsecond. Everything else goes to the router as it came: other
//! methods, whoever is somebody, what is stale or not there, what a header makes special.
//!
//! The answer is the one that the router would have given, header by header; a test compares them.
//! What [`conventions`](crate::middleware::conventions) adds to every answer is therefore added
//! here too: whoever changes one looks at the other.

mod body;
mod prepared;
mod request_ids;
mod seconds;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::TryFutureExt as _;
use futures_util::future::{Either, MapOk};
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use inkstone_core::cache::Hit;
use tower::Service;

use self::request_ids::RequestIds;
use self::seconds::Seconds;
use crate::app::{App, Edge};
use crate::extract::accept;
use crate::extract::client::OverTls;
use crate::middleware::request_id::X_REQUEST_ID;
use crate::middleware::{security, versions};
use crate::reader::Answers;
use crate::representation::{Asked, Representation, Verdict};
use crate::server::ConnectionInfo;
use crate::settings::{AccessLog, VersionLife};

pub use self::body::FrontBody;
pub(crate) use self::prepared::Prepared;

/// The router with the cache in front of it. Cheap to clone.
#[derive(Clone)]
pub struct Front<S> {
    desk: Option<Arc<Desk>>,
    router: S,
}

/// What an answer needs.
struct Desk {
    cache: Arc<Answers>,
    edge: Edge,
    request_ids: RequestIds,
    ages: Seconds,
    ttls: Seconds,
    is_public_https: bool,
    /// Whether some proxy may name requests. Which one it is, the router finds out.
    believes_proxies: bool,
    /// Whether a version of the API has an end that answers must tell of.
    versions_end: bool,
}

impl<S> Front<S> {
    /// Puts the cache of `app` in front of `router`.
    pub fn new(app: &App, router: S) -> Self {
        Self::with_cache(&app.edge, app.cache.clone(), router)
    }

    /// Puts `cache` in front of `router`. Without one, and where every request is to leave a line in
    /// the log, everything goes to the router.
    pub fn with_cache(edge: &Edge, cache: Option<Arc<Answers>>, router: S) -> Self {
        let settings = edge.settings();
        let cache = cache.filter(|_| settings.access_log != AccessLog::All);
        let desk = cache.map(|cache| {
            Arc::new(Desk {
                cache,
                edge: edge.clone(),
                request_ids: RequestIds::new(edge.entropy()),
                ages: Seconds::ages(),
                ttls: Seconds::ttls(),
                is_public_https: settings.is_public_https(),
                believes_proxies: !settings.trusted_proxies.is_empty(),
                versions_end: ends(&settings.v1) || ends(&settings.v2),
            })
        });
        Self { desk, router }
    }
}

/// Whether the server or somebody in between has marked the request as encrypted.
fn is_over_tls<B>(request: &Request<B>) -> bool {
    let extensions = request.extensions();
    extensions.get::<ConnectionInfo>().is_some_and(ConnectionInfo::is_tls) || extensions.get::<OverTls>().is_some()
}

/// Whether answers of this version must tell of its end.
fn ends(life: &VersionLife) -> bool {
    let VersionLife { deprecated_at, sunset_at, deprecation_link } = life;
    deprecated_at.is_some() || sunset_at.is_some() || deprecation_link.is_some()
}

impl<S, B> Service<Request<B>> for Front<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<FrontBody>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, S::Error>>, Routed<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.router.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.desk.as_ref().and_then(|desk| desk.answer(&request)) {
            Some(response) => Either::Left(ready(Ok(response))),
            None => Either::Right(self.router.call(request).map_ok(|response| response.map(FrontBody::Router))),
        }
    }
}

/// The router's answer to come.
type Routed<F> = MapOk<F, fn(Response<Body>) -> Response<FrontBody>>;

/// What the headers of a request ask for.
#[derive(Default)]
struct Wishes<'a> {
    origin: Option<&'a HeaderValue>,
    /// The change that must be in the answer.
    change: Option<&'a HeaderValue>,
    /// Something that [`Representation::respond`] knows better: a condition, a coding, a question.
    is_special: bool,
    /// The client or a proxy has named the request.
    is_named: bool,
}

impl<'a> Wishes<'a> {
    /// Reads them; `None` if the router must decide.
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut wishes = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                // Who is somebody gets an answer of their own.
                "authorization" => return None,
                "accept" if !matches!(value.as_bytes(), b"*/*" | b"application/json") => {
                    accept::check_media_type(headers, "application/json").ok()?;
                }
                "accept-encoding"
                | "if-match"
                | "if-none-match"
                | "if-modified-since"
                | "if-unmodified-since"
                | "x-server-timing" => wishes.is_special = true,
                // More than one is a mistake, which the router explains.
                "inkstone-change" if wishes.change.is_some() => return None,
                "inkstone-change" => wishes.change = Some(value),
                "origin" => wishes.origin = wishes.origin.or(Some(value)),
                "x-request-id" => wishes.is_named = true,
                _ => {}
            }
        }
        Some(wishes)
    }
}

impl Desk {
    /// The answer to a request for something fresh; `None` for everything else.
    fn answer<B>(&self, request: &Request<B>) -> Option<Response<FrontBody>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) || self.edge.readiness().is_draining() {
            return None;
        }
        let wishes = Wishes::of(request.headers())?;
        if wishes.is_named && self.believes_proxies {
            return None;
        }
        if wishes.change.is_some_and(|change| !self.edge.has_followed(change)) {
            return None;
        }
        let path = request.uri().path();
        let clock = self.edge.clock();
        if self.versions_end {
            versions::check(self.edge.settings(), path, clock.now()).ok()?;
        }
        let hit = self.cache.get_fresh(request.uri().path_and_query()?.as_str())?;
        let request_id = self.request_ids.next(clock.now());
        let is_special = wishes.is_special || self.edge.settings().server_timing;
        let mut response = if is_special {
            self.special(&hit, request, request_id)?
        } else {
            self.plain(&hit, request.method(), request_id)
        };
        let headers = response.headers_mut();
        if self.is_public_https || is_over_tls(request) {
            security::add_strict_transport(self.edge.settings(), headers);
        }
        if self.versions_end {
            versions::announce(self.edge.settings(), path, headers);
        }
        self.edge.cors.add(wishes.origin, headers);
        let elapsed = clock.instant().saturating_duration_since(hit.looked_up_at);
        if is_special || request.method() == Method::HEAD {
            self.edge.metrics().observe(request.method(), Some(hit.value.route()), response.status(), elapsed);
        } else {
            self.prepared(&hit.value).counters.observe(elapsed);
        }
        Some(response)
    }

    /// Conditions, codings, `Server-Timing`. What is an error is the router's to answer.
    fn special<B>(
        &self,
        hit: &Hit<Representation>,
        request: &Request<B>,
        request_id: HeaderValue,
    ) -> Option<Response<FrontBody>> {
        let asked = Asked {
            method: request.method(),
            headers: request.headers(),
            wants_timing: Asked::wants_timing(self.edge.settings(), request.headers()),
            statements: 0,
        };
        let verdict = Verdict::Hit { age: hit.age(), ttl: hit.ttl };
        let mut response = hit.value.respond(asked, verdict).ok()?.map(FrontBody::Router);
        response.headers_mut().insert(X_REQUEST_ID, request_id);
        Some(response)
    }

    /// The whole body as it is: what [`Representation::respond`] gives where nothing special was asked for.
    fn plain(&self, hit: &Hit<Representation>, method: &Method, request_id: HeaderValue) -> Response<FrontBody> {
        let body = match *method {
            Method::HEAD => FrontBody::empty(),
            _ => FrontBody::of(hit.value.body()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = hit.value.status();
        let (cache_status, age) = (self.ttls.get(hit.ttl.as_secs()), self.ages.get(hit.age().as_secs()));
        *response.headers_mut() = self.prepared(&hit.value).headers(cache_status, age, request_id);
        response
    }

    fn prepared<'a>(&self, representation: &'a Representation) -> &'a Prepared {
        representation.prepared().get_or_init(|| Prepared::of(representation, self.edge.metrics()))
    }
}
