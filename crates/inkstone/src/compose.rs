//! Where all the parts are put together: the store, the services over it, and, for a server, the
//! cache, the edge and what happens beside the requests. Nothing else knows all the crates.

mod adapters;
mod caches;
mod database;
mod follow;
mod guards;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::{SharedClock, SharedEntropy, SystemClock, SystemEntropy};
use inkstone_core::context::{Context, Deadline, Meter};
use inkstone_core::identity::SecretRepository as _;
use inkstone_core::posts::PostService;
use inkstone_core::tags::TagService;
use inkstone_core::users::UserService;
use inkstone_http::health::{Check, Readiness};
use inkstone_http::metrics::{Metrics, Source};
use inkstone_http::{App, AppParts, Edge};
use inkstone_identity::{IdentityParts, IdentityService};
use inkstone_store::Store;
use inkstone_worker::consumers::Forget;
use inkstone_worker::jobs::{Call, RemoveExpired, RemoveOld, RotateKeys};
use inkstone_worker::{Job, Periodic, Relay, RelaySettings, Workers};

use crate::config::Config;
use crate::failure::Result;

pub use database::{Database, Step};
pub(crate) use metrics::servers as server_metrics;

use adapters::{DatabaseCheck, History, Housekeeping, RecoverStore};
use caches::Caches;

/// How long a command waits for the store.
const COMMAND_DEADLINE: Duration = Duration::from_mins(10);
/// How often a store that only reads is tried again.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(10);
/// How often the cache lets go of what nobody will be served.
const SWEEP_INTERVAL: Duration = Duration::from_mins(5);
/// How often it is looked whether a key is due.
const ROTATION_INTERVAL: Duration = Duration::from_hours(6);
/// How long one run of a regular task may take.
const JOB_DEADLINE: Duration = Duration::from_mins(5);
/// The bytes of the secret that makes cursors tamper-evident.
const CURSOR_KEY_BYTES: usize = 32;

/// Time and randomness, given to everything that needs them.
#[derive(Debug, Clone)]
pub struct Ambient {
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}

impl Ambient {
    /// Those of the machine.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }
}

/// A blog: its store and the services over it.
#[derive(Clone)]
pub struct Blog {
    /// The store.
    pub store: Store,
    /// Posts.
    pub posts: PostService,
    /// People.
    pub users: UserService,
    /// Tags.
    pub tags: TagService,
    /// Passwords, tokens, keys.
    pub identity: Arc<IdentityService>,
    /// Time and randomness.
    pub ambient: Ambient,
}

/// Opens the store; makes it, or brings it up to date, where needed.
///
/// # Errors
/// When the database cannot be written to, is newer than this program, or broken.
pub async fn open_store(database: Database, ambient: &Ambient) -> Result<Store> {
    database.migrate().await?;
    Ok(Store::new(database.open()?, ambient.clock.clone(), ambient.entropy.clone()))
}

/// As [`open_store`], for a server: a database that can fail apart from this process is guarded.
///
/// # Errors
/// As there.
pub async fn open_guarded_store(database: Database, config: &Config, ambient: &Ambient) -> Result<Store> {
    database.migrate().await?;
    let can_fail_alone = matches!(database, Database::Postgres(_));
    let mut db = database.open()?;
    if can_fail_alone {
        db = guards::before_database(db, config.store.timeout, ambient)?;
    }
    Ok(Store::new(db, ambient.clock.clone(), ambient.entropy.clone()))
}

impl Blog {
    /// The blog for commands: nobody keeps a copy of anything in this process, and a server that
    /// runs beside it follows the changes.
    ///
    /// # Errors
    /// As [`open_store`].
    pub async fn open(config: &Config, ambient: &Ambient) -> Result<Self> {
        let store = open_store(Database::of(config, &ambient.clock), ambient).await?;
        Ok(Self::over(store, config, ambient, None))
    }

    /// The services over a store; `relay` is told of every write before it is acknowledged.
    fn over(store: Store, config: &Config, ambient: &Ambient, relay: Option<Arc<Relay>>) -> Self {
        let shared = Arc::new(store.clone());
        let (posts, users, tags) = follow::repositories(&shared, relay);
        let clock = &ambient.clock;
        let identity = IdentityService::new(IdentityParts {
            passwords: shared.clone(),
            sessions: shared.clone(),
            tokens: shared.clone(),
            keys: shared.clone(),
            secrets: shared.clone(),
            users: users.clone(),
            audit: shared.clone(),
            answers: shared.clone(),
            clock: clock.clone(),
            entropy: ambient.entropy.clone(),
            settings: config.identity.clone(),
        });
        Self {
            posts: PostService::new(posts, shared, clock.clone()),
            users: UserService::new(users, clock.clone()),
            tags: TagService::new(tags, clock.clone()),
            identity: Arc::new(identity),
            ambient: ambient.clone(),
            store,
        }
    }

    /// The operator's context, for commands.
    pub fn context(&self) -> Context {
        operator_context(&self.ambient.clock, "command", COMMAND_DEADLINE)
    }

    /// Ends it in an orderly way.
    ///
    /// # Errors
    /// When the last copying into the database failed; nothing is lost by that.
    pub async fn close(self) -> Result<()> {
        Ok(self.store.db().close().await?)
    }
}

/// A context of the operator at the machine.
pub fn operator_context(clock: &SharedClock, name: &str, deadline: Duration) -> Context {
    Context {
        caller: Caller::Operator,
        request_id: name.to_owned(),
        deadline: Deadline::at(clock.instant() + deadline),
        meter: Arc::new(Meter::default()),
    }
}

/// A blog that answers requests.
pub struct Site {
    /// The blog.
    pub blog: Blog,
    /// The router's state.
    pub app: App,
    /// What goes on beside the requests.
    pub workers: Workers,
}

impl Site {
    /// Puts a site together over an open store. `sources` are read for `/metrics`, beside those
    /// of the parts made here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn assemble(store: Store, config: &Config, ambient: &Ambient, mut sources: Vec<Source>) -> Result<Self> {
        let clock = &ambient.clock;
        // The relay needs the identity service, which needs the relay: it learns of its consumer last.
        let consumer = Arc::new(follow::Late::default());
        let settings = RelaySettings { poll: config.worker.poll, ..RelaySettings::default() };
        let feed = Arc::new(store.clone());
        let relay = Arc::new(Relay::new(feed, consumer.clone(), caches::resume(config), settings, clock.clone()));
        let caches = Caches::open(&store, config, ambient, &relay).await?;
        let blog = Blog::over(store, config, ambient, Some(relay.clone()));
        let followers = caches.follower().into_iter().collect();
        consumer.set(Forget { caches: followers, keys: Some(blog.identity.clone()) });
        relay.begin().await?;
        relay.catch_up().await?;

        let ctx = blog.context();
        blog.identity.ensure_keys(&ctx).await?;
        let mut fresh = vec![0; CURSOR_KEY_BYTES];
        ambient.entropy.fill(&mut fresh)?;
        let cursor_key = blog.store.get_or_insert(&ctx, "cursor", fresh).await?;

        sources.extend(metrics::sources(&blog, &caches));
        let mut checks: Vec<Arc<dyn Check>> = vec![Arc::new(DatabaseCheck::new(&blog))];
        if !blog.store.db().guards().is_empty() {
            checks.push(Arc::new(guards::WritesCheck(blog.store.clone())));
        }
        checks.extend(caches.check());
        let edge = Edge::new(
            config.http.clone(),
            clock.clone(),
            ambient.entropy.clone(),
            blog.identity.clone(),
            &cursor_key,
            Arc::new(Metrics::new(crate::VERSION, sources)),
            Arc::new(Readiness::new(checks)),
        );
        if let Some(quotas) = caches.quotas() {
            edge.share_quotas(quotas);
        }
        let app = App::new(AppParts {
            edge,
            posts: blog.posts.clone(),
            users: blog.users.clone(),
            tags: blog.tags.clone(),
            identity: blog.identity.clone(),
            cache: caches.front(),
        });
        let workers = workers(&blog, config, relay, caches);
        Ok(Self { blog, app, workers })
    }
}

/// Starts what goes on beside the requests.
fn workers(blog: &Blog, config: &Config, relay: Arc<Relay>, caches: Caches) -> Workers {
    let clock = &blog.ambient.clock;
    let mut workers = Workers::new();
    let history = Arc::new(History { store: blog.store.clone(), retention: config.store.retention });
    let remove_old = RemoveOld { store: history, relay: relay.clone(), clock: clock.clone() };
    workers.start("relay", move |shutdown| {
        let relay = relay.clone();
        async move { relay.run(shutdown).await }
    });
    if let Some(shared) = caches.shared {
        workers.start("cache.shared", move |shutdown| {
            let shared = shared.clone();
            async move {
                tokio::select! {
                    () = shared.run() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        });
    }
    let mut every = |every: Duration, job: Arc<dyn Job>| {
        let (name, ambient) = (job.name(), blog.ambient.clone());
        workers.start(name, move |shutdown| {
            let (clock, entropy) = (ambient.clock.clone(), ambient.entropy.clone());
            let periodic = Periodic { job: job.clone(), every, deadline: JOB_DEADLINE, clock, entropy };
            async move { periodic.run(shutdown).await }
        });
    };
    let expiring = Arc::new(Housekeeping(blog.store.clone()));
    every(config.worker.housekeeping, Arc::new(RemoveExpired { store: expiring, clock: clock.clone() }));
    every(config.worker.housekeeping, Arc::new(remove_old));
    every(ROTATION_INTERVAL, Arc::new(RotateKeys { identity: blog.identity.clone(), clock: clock.clone() }));
    every(RECOVERY_INTERVAL, Arc::new(RecoverStore(blog.store.clone())));
    if let Some(cache) = caches.memory {
        every(SWEEP_INTERVAL, Arc::new(Call { name: "cache.sweep", function: move || cache.sweep() }));
    }
    workers
}
