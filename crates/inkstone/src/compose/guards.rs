//! How the dependencies of a server are guarded, and who is told of it.

use std::time::Duration;

use async_trait::async_trait;
use inkstone_core::guard::breaker::{BreakerSettings, State};
use inkstone_core::guard::bulkhead::BulkheadSettings;
use inkstone_core::guard::retry::RetrySettings;
use inkstone_core::guard::{Guard, GuardSettings};
use inkstone_http::health::Check;
use inkstone_store::Store;
use inkstone_store::db::{Db, Dialect};

use super::Ambient;
use crate::failure::Result;

/// How long a dependency is left alone before it is tried again.
const LEFT_ALONE: Duration = Duration::from_millis(500);

/// The name of the guard before writes to the database.
const WRITES: &str = "database_writes";

/// A guard that tells the log. `min_calls` is the number of calls below which nothing is concluded.
pub(super) fn guard(
    name: &'static str,
    timeout: Duration,
    bulkhead: BulkheadSettings,
    min_calls: u32,
    ambient: &Ambient,
) -> Result<Guard> {
    let settings = GuardSettings {
        timeout,
        bulkhead,
        breaker: BreakerSettings { open_for: LEFT_ALONE, min_calls, ..BreakerSettings::default() },
        retry: RetrySettings { attempts: 1, ..RetrySettings::default() },
    };
    let guard = Guard::new(name, settings, ambient.clock.clone(), seed(ambient)?);
    Ok(guard.on_change(Box::new(|dependency, from, to| match to {
        State::Open if from == State::Closed => {
            tracing::warn!(dependency, "a dependency fails; it is left alone and asked again now and then");
        }
        State::Closed => tracing::info!(dependency, "a dependency works again"),
        State::Open | State::HalfOpen => tracing::debug!(dependency, state = to.as_str(), "a dependency is tried"),
    })))
}

/// Puts guards before a database that is a server of its own. A file fails with the process.
pub(super) fn before_database(db: Db, timeout: Duration, ambient: &Ambient) -> Result<Db> {
    if db.dialect() == Dialect::Sqlite {
        return Ok(db);
    }
    // Its lanes are its bulkheads.
    let none = BulkheadSettings { concurrency: 1, queue: 0 };
    // When it hangs, each outcome takes the whole time limit: a few must be enough.
    let guard = |name| guard(name, timeout, none, 5, ambient);
    Ok(db.guarded(guard("database_reads")?, guard(WRITES)?))
}

/// What must not be the same on every node.
pub(super) fn seed(ambient: &Ambient) -> Result<u64> {
    let mut seed = [0; 8];
    ambient.entropy.fill(&mut seed)?;
    Ok(u64::from_le_bytes(seed))
}

/// Whether writes are asked of the database at present. The process can do without for a while; and
/// if it got no more requests because of that, nothing would find out that they work again.
pub(super) struct WritesCheck(pub(super) Store);

#[async_trait]
impl Check for WritesCheck {
    fn name(&self) -> &'static str {
        WRITES
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn check(&self) -> std::result::Result<(), String> {
        let guards = self.0.db().guards();
        let stands = guards.iter().find(|(name, _)| *name == WRITES).map(|(_, snapshot)| snapshot.state);
        match stands {
            Some(State::Open | State::HalfOpen) => Err("not asked: too many failed".to_owned()),
            Some(State::Closed) | None => Ok(()),
        }
    }
}
