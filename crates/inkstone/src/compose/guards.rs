//! How the dependencies of a server are guarded, and who is told of it.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use inkstone_core::guard::breaker::{BreakerSettings, State};
use inkstone_core::guard::bulkhead::BulkheadSettings;
use inkstone_core::guard::retry::RetrySettings;
use inkstone_core::guard::{Guard, GuardSettings};
use inkstone_http::health::Check;
use inkstone_store::db::{Db, Dialect};

use super::Ambient;
use super::adapters::DatabaseCheck;
use crate::failure::Result;

/// How long a dependency is left alone before it is tried again.
const LEFT_ALONE: Duration = Duration::from_millis(500);

/// A database has lanes for bulkheads.
const LANES: BulkheadSettings = BulkheadSettings { concurrency: 1, queue: 0 };

/// A read whose connection broke is made once more: there are sound ones, or the server has just started.
const AGAIN: RetrySettings =
    RetrySettings { attempts: 2, first_pause: Duration::from_millis(20), longest_pause: Duration::from_millis(20) };

/// The longest that anybody waits for a replica before somebody else is asked.
const LONGEST_AT_A_REPLICA: Duration = Duration::from_secs(2);

/// The name of the guard before writes to the database.
const WRITES: &str = "database_writes";

/// How a dependency is guarded of which nothing is asked twice. `min_calls` is the number of calls below
/// which nothing is concluded.
pub(super) fn settings(timeout: Duration, bulkhead: BulkheadSettings, min_calls: u32) -> GuardSettings {
    GuardSettings {
        timeout,
        bulkhead,
        breaker: BreakerSettings { open_for: LEFT_ALONE, min_calls, ..BreakerSettings::default() },
        retry: RetrySettings { attempts: 1, ..RetrySettings::default() },
    }
}

/// A guard that tells the log.
pub(super) fn guard(name: impl Into<Cow<'static, str>>, settings: GuardSettings, ambient: &Ambient) -> Result<Guard> {
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
    // When it hangs, each outcome takes the whole time limit: a few must be enough.
    let writes = settings(timeout, LANES, 5);
    let reads = GuardSettings { retry: AGAIN, ..writes };
    Ok(db.guarded(guard("database_reads", reads, ambient)?, Some(guard(WRITES, writes, ambient)?)))
}

/// Puts a guard before a replica, which is only read. Another one, or the primary, is asked instead of
/// it, so that nothing is asked of it twice, and one look is enough to know that it is back.
pub(super) fn before_replica(db: Db, address: &str, timeout: Duration, ambient: &Ambient) -> Result<Db> {
    let settings = settings(timeout.min(LONGEST_AT_A_REPLICA), LANES, 3);
    let breaker = BreakerSettings { probes: 1, ..settings.breaker };
    let guard = guard(format!("replica {address}"), GuardSettings { breaker, ..settings }, ambient)?;
    Ok(db.guarded(guard, None))
}

/// What must not be the same on every node.
pub(super) fn seed(ambient: &Ambient) -> Result<u64> {
    let mut seed = [0; 8];
    ambient.entropy.fill(&mut seed)?;
    Ok(u64::from_le_bytes(seed))
}

/// Whether changes get as far as the database at present. The process can do without for a while; and
/// if it got no more requests because of that, nothing would find out that they work again.
pub(super) struct WritesCheck(pub(super) DatabaseCheck);

#[async_trait]
impl Check for WritesCheck {
    fn name(&self) -> &'static str {
        WRITES
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn check(&self) -> std::result::Result<(), String> {
        let guards = self.0.store().db().guards();
        let stands = guards.iter().find(|(name, _)| name == WRITES).map(|(_, snapshot)| snapshot.state);
        match stands {
            Some(State::Open | State::HalfOpen) => Err("not asked: too many failed".to_owned()),
            // Who somebody is is read first: where that fails no change gets as far as the guard, which stays closed.
            Some(State::Closed) | None => self.0.check().await.map_err(|why| format!("none gets through: {why}")),
        }
    }
}
