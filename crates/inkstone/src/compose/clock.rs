//! One time for all nodes: the clock of this one follows that of the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use inkstone_core::clock::{CommonClock, SharedClock};
use inkstone_core::{Context, Result};
use inkstone_store::Store;
use inkstone_store::db::Db;
use inkstone_worker::Job;
use jiff::SignedDuration;

use super::operator_context;

/// How often the database is asked what time it is: one small statement. For so long at most nodes differ
/// after the clock of the database was set, or another server with another clock has taken its place.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// How long it may take to answer: what takes longer says little about the time.
const DEADLINE: Duration = Duration::from_secs(2);
/// By how much the machine's clock may differ from the database's before it is said: TLS and the log go by it.
pub(crate) const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// What the time of the database is off by after this is no correction, but another time.
const JUMP: SignedDuration = SignedDuration::from_secs(1);

/// Asks the database what time it is, and goes by that. A file has no clock: there it stays the machine's.
///
/// # Errors
/// As every read.
pub(super) async fn set(clock: &Arc<CommonClock>, db: &Db, ctx: &Context) -> Result<()> {
    let shared: SharedClock = clock.clone();
    let Some(reading) = db.read_time(ctx, &shared).await? else { return Ok(()) };
    let correction = clock.correct(&reading);
    if correction.abs() > JUMP {
        tracing::warn!(
            clock.correction_ms = i64::try_from(correction.as_millis()).unwrap_or(i64::MAX),
            "the database's clock was set, or another server has taken its place: all nodes follow it"
        );
    }
    Ok(())
}

/// Keeps the clock with the database's, and says when the machine's own is not.
pub(super) struct KeepTime {
    db: Db,
    clock: Arc<CommonClock>,
    /// It was said that the machine's clock is wrong.
    is_said: AtomicBool,
}

impl KeepTime {
    pub(super) fn new(store: &Store, clock: &Arc<CommonClock>) -> Self {
        Self { db: store.db().clone(), clock: clock.clone(), is_said: AtomicBool::new(false) }
    }

    /// Once when it begins, and once when it ends.
    fn compare(&self) {
        let Some(ahead) = self.clock.own_ahead() else { return };
        let is_wrong = ahead.abs() > TOLERANCE;
        if is_wrong == self.is_said.swap(is_wrong, Ordering::Relaxed) {
            return;
        }
        let seconds = ahead.as_secs();
        if is_wrong {
            tracing::warn!(
                clock.ahead_seconds = seconds,
                "the clock of this machine differs from the database's, by which nodes go: set one or the other (NTP)"
            );
        } else {
            tracing::info!(clock.ahead_seconds = seconds, "the clock of this machine agrees with the database's again");
        }
    }
}

#[async_trait]
impl Job for KeepTime {
    fn name(&self) -> &'static str {
        "clock.keep"
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let own: SharedClock = self.clock.clone();
        let ctx = Context { deadline: operator_context(&own, self.name(), DEADLINE).deadline, ..ctx.clone() };
        // While the database does not answer, which others say, the time goes on from where it was.
        if let Err(error) = set(&self.clock, &self.db, &ctx).await {
            tracing::debug!(error = %error, "the database does not say what time it is");
        }
        self.compare();
        Ok(())
    }
}
