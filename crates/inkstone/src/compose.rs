//! Where all the parts are put together: the store, the services over it, and, for a server, the
//! cache, the edge and what happens beside the requests. Nothing else knows all the crates.

mod adapters;
mod caches;
mod clock;
mod database;
mod follow;
mod guards;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::{CommonClock, SharedClock, SharedEntropy, SystemClock, SystemEntropy};
use inkstone_core::context::{Context, Deadline};
use inkstone_core::identity::SecretRepository as _;
use inkstone_core::posts::PostService;
use inkstone_core::progress::Progress;
use inkstone_core::tags::TagService;
use inkstone_core::users::{UserRepository, UserService};
use inkstone_http::health::{Check, Readiness};
use inkstone_http::metrics::{Metrics, Source};
use inkstone_http::{App, AppParts, Edge};
use inkstone_identity::{IdentityParts, IdentityService};
use inkstone_store::Store;
use inkstone_store::db::{Db, Dialect, Replicas};
use inkstone_worker::consumers::Forget;
use inkstone_worker::jobs::{Call, RemoveExpired, RemoveOld, RotateKeys};
use inkstone_worker::{Job, Leased, Leases, Periodic, Relay, RelaySettings, Workers};

use crate::config::Config;
use crate::failure::{Failure, Result};

pub(crate) use clock::TOLERANCE as CLOCK_TOLERANCE;
pub use database::{Database, Step, hosts, replicas};
pub(crate) use metrics::servers as server_metrics;

use adapters::{DatabaseCheck, History, Housekeeping, RecoverStore, ReplicasCheck, SchemaCheck};
use caches::Caches;
use follow::{Following, Repositories};

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
    /// Time, for everything that nodes share: the database's, once it has been asked.
    pub clock: SharedClock,
    /// The same clock, for those who set it, and for what goes by this machine's own.
    pub common: Arc<CommonClock>,
    /// Randomness.
    pub entropy: SharedEntropy,
}

impl Ambient {
    /// Those of the machine.
    pub fn system() -> Self {
        let common = Arc::new(CommonClock::new(Arc::new(SystemClock)));
        Self { clock: common.clone(), common, entropy: Arc::new(SystemEntropy) }
    }
}

/// A blog: its store and the services over it.
#[derive(Clone)]
pub struct Blog {
    /// The store.
    pub store: Store,
    /// Where a server reads what is public, if not there.
    pub replicas: Option<Arc<Replicas>>,
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
/// When the database cannot be written to, is newer than this program can work with, broken, or an unfinished copy.
pub async fn open_store(database: Database, ambient: &Ambient) -> Result<Store> {
    open_with(database, ambient, Ok).await
}

/// As [`open_store`], for a server: a database that can fail apart from this process is guarded.
///
/// # Errors
/// As there.
pub async fn open_guarded_store(database: Database, config: &Config, ambient: &Ambient) -> Result<Store> {
    open_with(database, ambient, |db| guards::before_database(db, config.store.timeout, ambient)).await
}

async fn open_with(database: Database, ambient: &Ambient, guard: impl FnOnce(Db) -> Result<Db>) -> Result<Store> {
    database.migrate().await?;
    let place = database.to_string();
    let store = Store::new(guard(database.open_beside().await?)?, ambient.clock.clone(), ambient.entropy.clone());
    let ctx = operator_context(&ambient.clock, "start", COMMAND_DEADLINE);
    clock::set(&ambient.common, store.db(), &ctx).await?;
    if inkstone_store::copy::is_unfinished(store.db(), &ctx).await? {
        return Err(Failure::with_hint(
            format!("{place} holds an unfinished copy of another blog"),
            "finish it with the `inkstone store copy` that began it: it goes on where it stopped. To begin a blog of your own, \
             name another database",
        ));
    }
    Ok(store)
}

impl Blog {
    /// The blog for commands: nobody keeps a copy of anything in this process, and a server that
    /// runs beside it follows the changes.
    ///
    /// # Errors
    /// As [`open_store`].
    pub async fn open(config: &Config, ambient: &Ambient) -> Result<Self> {
        let store = open_store(Database::of(config, &ambient.clock), ambient).await?;
        let repositories = Repositories::of(&Arc::new(store.clone()));
        let accounts = repositories.users.clone();
        Ok(Self::over(store, config, ambient, repositories, accounts))
    }

    /// The blog of a server: who follows the changes is told of every write before it is acknowledged.
    fn served(
        store: Store,
        config: &Config,
        ambient: &Ambient,
        following: &Following,
        replicas: Option<Arc<Replicas>>,
    ) -> Self {
        let shared = Arc::new(store.clone());
        let public = replicas.as_ref().map_or_else(|| store.clone(), |replicas| store.reading_from(replicas.clone()));
        let repositories = Repositories::followed(&shared, public, following);
        // Who may sign in is decided where everything is, though nobody in particular asks.
        let accounts = Repositories::followed(&shared, store.clone(), following).users;
        Self { replicas, ..Self::over(store, config, ambient, repositories, accounts) }
    }

    /// The services over a store. `accounts` is where identity finds people.
    fn over(
        store: Store,
        config: &Config,
        ambient: &Ambient,
        repositories: Repositories,
        accounts: Arc<dyn UserRepository>,
    ) -> Self {
        let shared = Arc::new(store.clone());
        let Repositories { posts, users, tags, redirects } = repositories;
        let clock = &ambient.clock;
        let identity = IdentityService::new(IdentityParts {
            passwords: shared.clone(),
            sessions: shared.clone(),
            tokens: shared.clone(),
            keys: shared.clone(),
            secrets: shared.clone(),
            users: accounts,
            audit: shared.clone(),
            answers: shared.clone(),
            clock: clock.clone(),
            entropy: ambient.entropy.clone(),
            settings: config.identity.clone(),
        });
        Self {
            posts: PostService::new(posts, redirects, clock.clone()),
            users: UserService::new(users, clock.clone()),
            tags: TagService::new(tags, clock.clone()),
            identity: Arc::new(identity),
            ambient: ambient.clone(),
            replicas: None,
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
        if let Some(replicas) = &self.replicas {
            replicas.close().await?;
        }
        Ok(self.store.db().close().await?)
    }
}

/// A context of the operator at the machine.
pub fn operator_context(clock: &SharedClock, name: &str, deadline: Duration) -> Context {
    Context::new(Caller::Operator, name, Deadline::at(clock.instant() + deadline))
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
        let progress = Arc::new(Progress::new(clock.instant()));
        let consumer = Arc::new(follow::Late::new(progress.clone()));
        let settings = RelaySettings { poll: config.worker.poll, ..RelaySettings::default() };
        let feed = Arc::new(store.clone());
        let relay = Arc::new(Relay::new(feed, consumer.clone(), caches::resume(config), settings, clock.clone()));
        let caches = Caches::open(&store, config, ambient, &relay).await?;
        let following = Following { relay: relay.clone(), progress: progress.clone() };
        let replicas = replicas(config, ambient, progress.clone())?;
        let blog = Blog::served(store, config, ambient, &following, replicas);
        let followers = caches.follower().into_iter().collect();
        consumer.set(Forget { caches: followers, keys: Some(blog.identity.clone()) });
        relay.begin().await?;
        relay.catch_up().await?;
        // Nothing is kept from before, so all up to there has been dropped.
        if let Some(newest) = progress.newest() {
            progress.follow(newest);
        }
        if let Some(replicas) = &blog.replicas {
            replicas.look().await;
        }

        let ctx = blog.context();
        blog.identity.ensure_keys(&ctx).await?;
        let mut fresh = vec![0; CURSOR_KEY_BYTES];
        ambient.entropy.fill(&mut fresh)?;
        let cursor_key = blog.store.get_or_insert(&ctx, "cursor", fresh).await?;

        sources.extend(metrics::sources(&blog, &caches));
        let mut checks: Vec<Arc<dyn Check>> =
            vec![Arc::new(DatabaseCheck::new(&blog)), Arc::new(SchemaCheck::new(&blog))];
        if !blog.store.db().guards().is_empty() {
            checks.push(Arc::new(guards::WritesCheck(DatabaseCheck::new(&blog))));
        }
        checks.extend(blog.replicas.clone().map(|replicas| Arc::new(ReplicasCheck(replicas)) as Arc<dyn Check>));
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
        edge.follow_changes(progress, Arc::new(following));
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
        let workers = workers(&blog, config, relay, caches, owner(ambient)?);
        Ok(Self { blog, app, workers })
    }
}

/// What this process is called where it holds leases. No other has or had the same name, not even the
/// one that ran here before.
fn owner(ambient: &Ambient) -> Result<String> {
    let mut random = [0; 8];
    ambient.entropy.fill(&mut random)?;
    Ok(format!("{}-{:016x}", std::process::id(), u64::from_be_bytes(random)))
}

/// Starts what goes on beside the requests. `owner` names this process among all nodes.
fn workers(blog: &Blog, config: &Config, relay: Arc<Relay>, caches: Caches, owner: String) -> Workers {
    let clock = &blog.ambient.clock;
    let mut workers = Workers::new();
    let history = Arc::new(History { store: blog.store.clone(), retention: config.store.retention });
    let remove_old = RemoveOld { store: history, relay: relay.clone(), clock: clock.clone() };
    workers.start("relay", move |shutdown| {
        let relay = relay.clone();
        async move { relay.run(shutdown).await }
    });
    if let Some(replicas) = blog.replicas.clone() {
        workers.start("replicas", move |shutdown| {
            let replicas = replicas.clone();
            async move {
                tokio::select! {
                    () = replicas.watch() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        });
    }
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
    // What is done for all nodes, by one of them.
    let leases = Leases { repository: Arc::new(blog.store.clone()), owner, term: config.worker.lease };
    let mut once = |period: Duration, job: Arc<dyn Job>| {
        every(period, Arc::new(Leased { job, every: period, leases: leases.clone() }));
    };
    let expiring = Arc::new(Housekeeping(blog.store.clone()));
    once(config.worker.housekeeping, Arc::new(RemoveExpired { store: expiring, clock: clock.clone() }));
    once(config.worker.housekeeping, Arc::new(remove_old));
    once(ROTATION_INTERVAL, Arc::new(RotateKeys { identity: blog.identity.clone(), clock: clock.clone() }));
    // What each does for itself.
    every(RECOVERY_INTERVAL, Arc::new(RecoverStore(blog.store.clone())));
    if blog.store.db().dialect() != Dialect::Sqlite {
        every(clock::INTERVAL, Arc::new(clock::KeepTime::new(&blog.store, &blog.ambient.common)));
    }
    if let Some(cache) = caches.memory {
        every(SWEEP_INTERVAL, Arc::new(Call { name: "cache.sweep", function: move || cache.sweep() }));
    }
    workers
}
