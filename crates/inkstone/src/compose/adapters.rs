//! Small pieces that let one crate be used through the port of another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use inkstone_core::clock::SharedClock;
use inkstone_core::events::ChangeFeed as _;
use inkstone_core::{Code, Context, Result};
use inkstone_http::health::Check;
use inkstone_store::db::{Health, Replicas};
use inkstone_store::{Retention, Store, migrate};
use inkstone_worker::Job;
use inkstone_worker::jobs::{Expiring, Growing};
use jiff::Timestamp;

use super::{Blog, operator_context};

/// How long the database may take to answer whether it works.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The store as something that holds things that expire.
pub(super) struct Housekeeping(pub(super) Store);

#[async_trait]
impl Expiring for Housekeeping {
    async fn remove_expired(&self, ctx: &Context, now: Timestamp) -> Result<u64> {
        self.0.purge(ctx, now).await
    }
}

/// The store as something that grows with every write.
pub(super) struct History {
    pub(super) store: Store,
    pub(super) retention: Retention,
}

#[async_trait]
impl Growing for History {
    async fn remove_old(&self, ctx: &Context, now: Timestamp, passed: i64) -> Result<u64> {
        self.store.trim(ctx, now, self.retention, passed).await
    }
}

/// Brings a store back that only reads since its disk gave an error.
pub(super) struct RecoverStore(pub(super) Store);

#[async_trait]
impl Job for RecoverStore {
    fn name(&self) -> &'static str {
        "store.recover"
    }

    async fn run(&self, _: &Context) -> Result<()> {
        if matches!(self.0.db().health(), Health::ReadOnly { .. }) {
            match self.0.db().recover().await {
                Ok(()) => tracing::info!("the store writes again"),
                // It was said once, and stays so until somebody restores a backup.
                Err(error) if error.code() == Code::StorageDamaged => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the database answers, and takes writes.
pub(super) struct DatabaseCheck {
    store: Store,
    clock: SharedClock,
    replicas: Option<Arc<Replicas>>,
}

impl DatabaseCheck {
    pub(super) fn new(blog: &Blog) -> Self {
        Self { store: blog.store.clone(), clock: blog.ambient.clock.clone(), replicas: blog.replicas.clone() }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }
}

#[async_trait]
impl Check for DatabaseCheck {
    fn name(&self) -> &'static str {
        "database"
    }

    /// With a replica to read from, what is public is shown all the same: without any node there
    /// would be nothing.
    fn is_vital(&self) -> bool {
        !self.replicas.as_ref().is_some_and(|replicas| replicas.any_usable())
    }

    async fn check(&self) -> std::result::Result<(), String> {
        match self.store.db().health() {
            // Whether it is still away is found out below.
            Health::Sound | Health::Unreachable { .. } => {}
            Health::ReadOnly { since, reason } => return Err(format!("only reads since {since}: {reason}")),
            Health::Closed => return Err("closed".to_owned()),
        }
        let ctx = operator_context(&self.clock, "readyz", CHECK_DEADLINE);
        self.store.latest_change(&ctx).await.map(drop).map_err(|error| error.to_string())
    }
}

/// Whether this program can work on the schema as it is now: a newer program may have changed it meanwhile.
pub(super) struct SchemaCheck {
    store: Store,
    clock: SharedClock,
    /// Whether it could not the last time that this could be found out, and what was said.
    last: Mutex<(bool, std::result::Result<(), String>)>,
}

impl SchemaCheck {
    pub(super) fn new(blog: &Blog) -> Self {
        Self { store: blog.store.clone(), clock: blog.ambient.clock.clone(), last: Mutex::new((false, Ok(()))) }
    }

    fn last(&self) -> MutexGuard<'_, (bool, std::result::Result<(), String>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Check for SchemaCheck {
    fn name(&self) -> &'static str {
        "schema"
    }

    /// A newer schema that it can work with is worth a word, no more.
    fn is_vital(&self) -> bool {
        self.last().0
    }

    async fn check(&self) -> std::result::Result<(), String> {
        let ctx = operator_context(&self.clock, "readyz", CHECK_DEADLINE);
        let found = match migrate::fit_of(self.store.db(), &ctx).await {
            Ok(fit) => (false, fit.ahead().map_or(Ok(()), Err)),
            Err(error) if error.code() == Code::Conflict => (true, Err(error.to_string())),
            // That the database does not answer is said by the check of the database.
            Err(_) => return self.last().1.clone(),
        };
        self.last().clone_from(&found);
        found.1
    }
}

/// Whether every replica is read from. The process can do without.
pub(super) struct ReplicasCheck(pub(super) Arc<Replicas>);

#[async_trait]
impl Check for ReplicasCheck {
    fn name(&self) -> &'static str {
        "replicas"
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn check(&self) -> std::result::Result<(), String> {
        let stats = self.0.stats();
        let troubles = stats.replicas.iter().filter_map(|replica| {
            let trouble = replica.trouble.as_ref()?;
            Some(format!("{}: {trouble}", replica.name))
        });
        let troubles: Vec<String> = troubles.collect();
        if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
    }
}
