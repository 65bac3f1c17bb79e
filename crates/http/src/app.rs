//! What the handlers work with: the services, and the [`Edge`] that every convention needs.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use axum::extract::FromRef;
use inkstone_core::Result;
use inkstone_core::access::Caller;
use inkstone_core::cache::Cache;
use inkstone_core::clock::{SharedClock, SharedEntropy};
use inkstone_core::context::Context;
use inkstone_core::posts::PostService;
use inkstone_core::tags::TagService;
use inkstone_core::users::UserService;
use inkstone_identity::IdentityService;
use tokio::sync::Semaphore;

use crate::changes::Changes;
use crate::cursor::Cursors;
use crate::extract::idempotency::InFlight;
use crate::health::Readiness;
use crate::metrics::Metrics;
use crate::middleware::cors::Cors;
use crate::middleware::rate_limit::{RateLimiters, SharedQuotas};
use crate::representation::Representation;
use crate::settings::Settings;

/// Finds out who calls.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Whose token this is. `ctx.caller` is still anonymous.
    ///
    /// # Errors
    /// [`inkstone_core::Code::Unauthenticated`] for a token that is malformed, unknown, expired or revoked.
    async fn authenticate(&self, ctx: &Context, token: &str) -> Result<Caller>;
}

#[async_trait]
impl Authenticate for IdentityService {
    async fn authenticate(&self, ctx: &Context, token: &str) -> Result<Caller> {
        Self::authenticate(self, ctx, token).await.map(Caller::User)
    }
}

/// What every convention of the edge needs. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<EdgeParts>);

/// What an [`Edge`] is made of.
pub struct EdgeParts {
    settings: Settings,
    clock: SharedClock,
    entropy: SharedEntropy,
    authenticator: Arc<dyn Authenticate>,
    cursors: Cursors,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    pub(crate) rate_limiters: RateLimiters,
    pub(crate) shared_quotas: OnceLock<Arc<dyn SharedQuotas>>,
    pub(crate) changes: OnceLock<Changes>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) cors: Cors,
    pub(crate) slots: Arc<Semaphore>,
}

impl Edge {
    /// Puts the edge together. `cursor_key` is a secret that all processes of the site share.
    pub fn new(
        settings: Settings,
        clock: SharedClock,
        entropy: SharedEntropy,
        authenticator: Arc<dyn Authenticate>,
        cursor_key: &[u8],
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
    ) -> Self {
        Self(Arc::new(EdgeParts {
            cursors: Cursors::new(cursor_key),
            rate_limiters: RateLimiters::new(&settings.rate_limits, &clock),
            shared_quotas: OnceLock::new(),
            changes: OnceLock::new(),
            in_flight: Arc::default(),
            cors: Cors::new(&settings.cors),
            slots: Arc::new(Semaphore::new(settings.max_concurrent_requests)),
            settings,
            clock,
            entropy,
            authenticator,
            metrics,
            readiness,
        }))
    }
}

impl Deref for Edge {
    type Target = EdgeParts;

    fn deref(&self) -> &EdgeParts {
        &self.0
    }
}

impl EdgeParts {
    /// Has rate limits counted for all processes of the site together. Said once, before the first
    /// request.
    pub fn share_quotas(&self, quotas: Arc<dyn SharedQuotas>) {
        // A second one cannot come: there is one place that puts a site together.
        let _first = self.shared_quotas.set(quotas);
    }

    /// Every limit and choice.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The time.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Randomness.
    pub fn entropy(&self) -> &SharedEntropy {
        &self.entropy
    }

    /// Who tells callers apart.
    pub fn authenticator(&self) -> &dyn Authenticate {
        self.authenticator.as_ref()
    }

    /// Makes and reads the cursors of lists.
    pub fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether this process should get traffic.
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.readiness
    }
}

/// The state of every handler. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<AppParts>);

/// What an [`App`] is made of.
pub struct AppParts {
    /// The conventions' own needs.
    pub edge: Edge,
    /// Posts.
    pub posts: PostService,
    /// People.
    pub users: UserService,
    /// Tags.
    pub tags: TagService,
    /// Sign-in, tokens and keys.
    pub identity: Arc<IdentityService>,
    /// Finished representations; none when caching is switched off.
    pub cache: Option<Arc<dyn Cache<Representation>>>,
}

impl App {
    /// Puts the state together.
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

impl FromRef<App> for Edge {
    fn from_ref(app: &App) -> Self {
        app.edge.clone()
    }
}
