//! One kind of post in a store that counts, fails and dawdles when told to; a cache; and the
//! router under the real conventions, with and without the front.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use inkstone_cache::MemoryCache;
use inkstone_core::access::{Caller, Credential, Role, Scopes, SignedIn};
use inkstone_core::cache::{Cache, Invalidate, Lifetime, Stats};
use inkstone_core::clock::{Clock, SystemEntropy};
use inkstone_core::events::{Entity, RecordedEvent};
use inkstone_core::posts::PostId;
use inkstone_core::users::UserId;
use inkstone_core::{Code, Context, Error};
use inkstone_http::extract::Call;
use inkstone_http::extract::client::ClientAddr;
use inkstone_http::front::Front;
use inkstone_http::health::Readiness;
use inkstone_http::metrics::Metrics;
use inkstone_http::middleware::conventions;
use inkstone_http::problem::Result;
use inkstone_http::reader::Reader;
use inkstone_http::representation::Representation;
use inkstone_http::{Authenticate, Edge, Settings};
use inkstone_testkit::HandClock;
use tokio::sync::Semaphore;
use tower::{Service, ServiceExt as _};

/// 100 s fresh (give or take 10), 60 s stale while somebody refreshes, 1000 s if the store fails.
pub(crate) const LIFETIME: Lifetime = Lifetime {
    fresh: Duration::from_secs(100),
    stale_while_revalidate: Duration::from_mins(1),
    stale_if_error: Duration::from_secs(1000),
};

/// Everybody with a token is user 7.
struct Tokens;

#[async_trait]
impl Authenticate for Tokens {
    async fn authenticate(&self, _: &Context, _: &str) -> inkstone_core::Result<Caller> {
        let credential = Credential::Session(1);
        Ok(Caller::User(SignedIn { user: UserId(7), role: Role::Author, scopes: Scopes::all(), credential }))
    }
}

/// What the store does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Works,
    Broken,
    Overloaded,
    Empty,
    Hangs,
}

/// Posts that all have the same text, which says its version.
pub(crate) struct Store {
    pub(crate) version: AtomicI64,
    pub(crate) loads: AtomicUsize,
    mood: Mutex<Mood>,
    /// Loads wait here, after they have read.
    pub(crate) gate: Semaphore,
}

impl Store {
    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Holds loads up between their reading and their answer.
    pub(crate) fn close_gate(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(1_000_000);
    }

    /// Waits until this many loads have begun.
    pub(crate) async fn until_loads(&self, loads: usize) {
        for _ in 0..1_000_000 {
            if self.loads() >= loads {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} loads, not {loads}", self.loads());
    }

    async fn load(&self, id: i64) -> inkstone_core::Result<inkstone_http::representation::Builder> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst);
        drop(self.gate.acquire().await.unwrap());
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Works => {}
            Mood::Broken => return Err(Error::internal("secret: the disk is on fire")),
            Mood::Overloaded => return Err(Error::try_later(Code::Overloaded, "Busy.", Duration::from_secs(1))),
            Mood::Empty => return Err(Error::not_found("post")),
            Mood::Hangs => std::future::pending().await,
        }
        let text = format!("post {id} version {version} ").repeat(100);
        Ok(Representation::builder(format!("\"{text}\""))
            .version(version)
            .last_modified("2026-11-22T08:00:00Z".parse().unwrap())
            .route("/posts/{id}"))
    }
}

#[derive(Clone)]
struct Blog {
    edge: Edge,
    reader: Reader,
    store: Arc<Store>,
}

impl FromRef<Blog> for Edge {
    fn from_ref(blog: &Blog) -> Self {
        blog.edge.clone()
    }
}

async fn post(State(blog): State<Blog>, call: Call, Path(id): Path<i64>) -> Result<Response> {
    let key = format!("/posts/{id}");
    let load =
        move |_| async move { Ok(blog.store.load(id).await?.public(LIFETIME, vec![Entity::Post(PostId(id))]).build()) };
    let (representation, verdict) = blog.reader.read(&call.ctx, &key, LIFETIME, load).await?;
    representation.respond(call.asked(), verdict)
}

/// A mistake that must do no harm: read through the cache, but not made public.
async fn diary(State(blog): State<Blog>, call: Call) -> Result<Response> {
    let load = move |_| async move { Ok(blog.store.load(1).await?.build()) };
    let (representation, verdict) = blog.reader.read(&call.ctx, "/diary", LIFETIME, load).await?;
    representation.respond(call.asked(), verdict)
}

/// Counts what reaches the router.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    calls: Arc<AtomicUsize>,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.call(request)
    }
}

#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) edge: Edge,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) store: Arc<Store>,
    pub(crate) cache: Arc<MemoryCache<Representation>>,
    /// Without the front.
    pub(crate) router: Router,
    front: Front<Counted<Router>>,
    calls: Arc<AtomicUsize>,
}

pub(crate) fn site() -> Site {
    site_with(Settings::default())
}

pub(crate) fn site_with(settings: Settings) -> Site {
    let clock = HandClock::new();
    let shared: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
    let cache = Arc::new(MemoryCache::new(inkstone_cache::Settings::default(), Arc::clone(&shared), 7));
    let metrics = Arc::new(Metrics::new("1.2.3", Vec::new()));
    let readiness = Arc::new(Readiness::new(Vec::new()));
    let edge = Edge::new(settings, shared, Arc::new(SystemEntropy), Arc::new(Tokens), b"key", metrics, readiness);
    let store = Arc::new(Store {
        version: AtomicI64::new(1),
        loads: AtomicUsize::new(0),
        mood: Mutex::new(Mood::Works),
        gate: Semaphore::new(1_000_000),
    });
    let reader = Reader::new(edge.clone(), Some(Arc::<MemoryCache<Representation>>::clone(&cache)));
    let blog = Blog { edge: edge.clone(), reader, store: Arc::clone(&store) };
    let routes = Router::new()
        .route("/posts/{id}", get(post))
        .route("/api/v1/posts/{id}", get(post))
        .route("/diary", get(diary));
    let router = conventions(routes, &edge).with_state(blog);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Counted { inner: router.clone(), calls: Arc::clone(&calls) };
    let front = Front::with_cache(&edge, Some(Arc::<MemoryCache<Representation>>::clone(&cache)), counted);
    Site { edge, clock, store, cache, router, front, calls }
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    async fn of<B>(response: http::Response<B>) -> Self
    where
        B: http_body::Body<Data = bytes::Bytes, Error = axum::Error>,
    {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        assert!(parts.headers.contains_key("x-request-id"));
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// How the cache came by it, without the number of seconds.
    pub(crate) fn verdict(&self) -> String {
        self.header("cache-status").trim_start_matches("inkstone; ").trim_end_matches(char::is_numeric).to_owned()
    }

    /// The version that the text says.
    pub(crate) fn version(&self) -> i64 {
        let text = std::str::from_utf8(&self.body).unwrap();
        text.split(' ').nth(3).unwrap_or_else(|| panic!("no post: {text}")).parse().unwrap()
    }
}

impl Site {
    /// Asks the router, past the front.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask_router(request("GET", path, headers)).await
    }

    pub(crate) async fn ask_router(&self, request: Request<Body>) -> Answer {
        let response: std::result::Result<_, Infallible> = self.router.clone().oneshot(request).await;
        Answer::of(response.unwrap()).await
    }

    pub(crate) async fn ask_front(&self, request: Request<Body>) -> Answer {
        let response: std::result::Result<_, Infallible> = self.front.clone().oneshot(request).await;
        Answer::of(response.unwrap()).await
    }

    /// Asks on a task of its own.
    pub(crate) fn spawn_get(&self, path: &'static str) -> tokio::task::JoinHandle<Answer> {
        let site = self.clone();
        tokio::spawn(async move { site.get(path, &[]).await })
    }

    /// How many requests the front has passed on.
    pub(crate) fn passed_on(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.cache.stats()
    }

    /// Waits until the cache has done this.
    pub(crate) async fn until(&self, is_so: impl Fn(Stats) -> bool) {
        for _ in 0..1_000_000 {
            if is_so(self.stats()) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{:?}", self.stats());
    }

    /// A write: committed, then told to the cache, as the store does it.
    pub(crate) fn write(&self, id: i64) {
        let change_seq = self.store.version.fetch_add(1, Ordering::SeqCst);
        let entities = vec![Entity::Post(PostId(id))];
        self.cache.follow(&[RecordedEvent { change_seq, kind: "test".into(), entities, at: self.clock.now() }]);
    }
}

/// A request from 203.0.113.7.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ClientAddr(IpAddr::from([203, 0, 113, 7])));
    request
}
