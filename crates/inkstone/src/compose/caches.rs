//! The caches of a server: the one in memory, and behind it the one that several processes share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use inkstone_cache::{Lack, MemoryCache, Notice, Tiered, TieredParts};
use inkstone_core::cache::{Cache, Invalidate};
use inkstone_core::guard::Guard;
use inkstone_core::guard::bulkhead::BulkheadSettings;
use inkstone_core::identity::SecretRepository as _;
use inkstone_http::health::Check;
use inkstone_http::middleware::rate_limit::{SharedQuotas, Taken};
use inkstone_http::representation::Representation;
use inkstone_store::Store;
use inkstone_worker::{Relay, Resume};

use super::guards::{self, seed};
use super::{Ambient, COMMAND_DEADLINE, operator_context};
use crate::config::{Config, SharedCache};
use crate::failure::Result;

/// Changes that a process remembers when it starts: as many as the cache can make use of.
const REMEMBERED_CHANGES: u32 = 10_000;
/// The bytes of the secret that authenticates what is shared.
const SECRET_BYTES: usize = 32;

/// The caches of a server.
#[derive(Clone)]
pub(super) struct Caches {
    /// The one in memory.
    pub(super) memory: Option<Arc<MemoryCache<Representation>>>,
    /// That one with a shared one behind it.
    pub(super) shared: Option<Arc<Tiered<Representation>>>,
}

/// Where the relay begins: what a process remembers of the past is of use for what others have kept.
pub(super) fn resume(config: &Config) -> Resume {
    if config.cache.shared.is_some() { Resume::Recent(REMEMBERED_CHANGES) } else { Resume::Latest }
}

impl Caches {
    /// Those that the configuration asks for. Where other nodes may write, with or without a shared
    /// cache, what is in memory is trusted no longer than `cache.max_lag` after a look at the
    /// changes: whoever is cut off from the database does not know them. The shared one wakes `relay` when it hears of changes.
    pub(super) async fn open(store: &Store, config: &Config, ambient: &Ambient, relay: &Arc<Relay>) -> Result<Self> {
        if config.cache.max_bytes == 0 {
            return Ok(Self { memory: None, shared: None });
        }
        let settings = inkstone_cache::Settings { max_bytes: config.cache.max_bytes, claim_for: config.cache.retry };
        let memory = MemoryCache::new(settings, ambient.clock.clone(), seed(ambient)?);
        let has_peers = config.cache.shared.is_some() || config.store.url.is_some();
        let memory = Arc::new(if has_peers { memory.trusting_for(config.cache.max_lag) } else { memory });
        let Some(shared) = &config.cache.shared else {
            return Ok(Self { memory: Some(memory), shared: None });
        };
        let ctx = operator_context(&ambient.clock, "start", COMMAND_DEADLINE);
        let mut fresh = vec![0; SECRET_BYTES];
        ambient.entropy.fill(&mut fresh)?;
        // Weak, since the relay holds those whom it tells, and this is one of them.
        let relay = Arc::downgrade(relay);
        let tiered = Tiered::new(TieredParts {
            memory: memory.clone(),
            // It gives up a little before the guard does, and so learns that its connection is bad.
            remote: shared.address.open(shared.timeout.mul_f64(0.9), ambient.clock.clone()),
            guard: Arc::new(guard(shared, ambient)?),
            clock: ambient.clock.clone(),
            secret: store.get_or_insert(&ctx, "shared-cache", fresh).await?,
            variant: variant(config),
            wake: Box::new(move || {
                if let Some(relay) = relay.upgrade() {
                    relay.wake();
                }
            }),
            tell: Box::new(log),
        });
        tracing::info!(cache.shared = %shared.address, "answers are shared with other processes");
        Ok(Self { memory: Some(memory), shared: Some(Arc::new(tiered)) })
    }

    /// The one that requests are answered from.
    pub(super) fn front(&self) -> Option<Arc<dyn Cache<Representation>>> {
        match (&self.shared, &self.memory) {
            (Some(shared), _) => Some(shared.clone()),
            (None, Some(memory)) => Some(memory.clone()),
            (None, None) => None,
        }
    }

    /// The one that is to learn of changes.
    pub(super) fn follower(&self) -> Option<Arc<dyn Invalidate>> {
        match (&self.shared, &self.memory) {
            (Some(shared), _) => Some(shared.clone()),
            (None, Some(memory)) => Some(memory.clone()),
            (None, None) => None,
        }
    }

    /// What counts for all processes, if anything does.
    pub(super) fn quotas(&self) -> Option<Arc<dyn SharedQuotas>> {
        Some(Arc::new(Quotas(self.shared.clone()?)))
    }

    /// What readiness asks.
    pub(super) fn check(&self) -> Option<Arc<dyn Check>> {
        Some(Arc::new(SharedCacheCheck(self.shared.clone()?)))
    }
}

/// Tells the operator.
fn log(notice: Notice) {
    match notice {
        Notice::Unreachable(error) => tracing::warn!(
            error = %error,
            "the shared cache cannot be reached and is looked for again and again; until then answers are not shared \
             and rate limits count per process"
        ),
        Notice::Answers => tracing::info!("the shared cache answers"),
        Notice::Denied(Lack { need, error }) => {
            let (lack, without) = (need.lack(), need.without());
            tracing::warn!(error = %error, "the shared cache {lack}, so {without}: see the rights of its user");
        }
    }
}

/// Everything that makes two processes give different answers to one request: their release and
/// whatever is configured about answers. It is hashed, not shown.
fn variant(config: &Config) -> String {
    format!("{} {:?}", crate::VERSION, config.http)
}

fn guard(shared: &SharedCache, ambient: &Ambient) -> Result<Guard> {
    let bulkhead = BulkheadSettings { concurrency: 64, queue: 64 };
    guards::guard("shared_cache", guards::settings(shared.timeout, bulkhead, 10), ambient)
}

/// Counts in the shared cache.
struct Quotas(Arc<Tiered<Representation>>);

#[async_trait]
impl SharedQuotas for Quotas {
    async fn take(&self, whose: &str, quota: u32, window: Duration) -> Option<Taken> {
        let inkstone_cache::Taken { remaining, wait } = self.0.take(whose, quota, window).await?;
        Some(Taken { remaining, wait })
    }
}

/// Whether the shared cache answers. The process can do without.
struct SharedCacheCheck(Arc<Tiered<Representation>>);

#[async_trait]
impl Check for SharedCacheCheck {
    fn name(&self) -> &'static str {
        "shared_cache"
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn check(&self) -> std::result::Result<(), String> {
        self.0.check().await
    }
}
