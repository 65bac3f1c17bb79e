//! The regular tasks.

use std::sync::Arc;

use async_trait::async_trait;
use inkstone_core::clock::SharedClock;
use inkstone_core::{Context, Result};
use inkstone_identity::IdentityService;
use jiff::Timestamp;

use crate::periodic::Job;
use crate::relay::Relay;

/// What holds things that expire: answers kept under idempotency keys, sessions, tokens, counters.
#[async_trait]
pub trait Expiring: Send + Sync {
    /// Removes what nobody can use any more at `now`, in pieces that no write has to wait for
    /// long; how many things that were.
    ///
    /// # Errors
    /// Those of the store; what was removed before stays removed.
    async fn remove_expired(&self, ctx: &Context, now: Timestamp) -> Result<u64>;
}

/// Removes what has expired.
pub struct RemoveExpired {
    /// Where from.
    pub store: Arc<dyn Expiring>,
    /// Time.
    pub clock: SharedClock,
}

#[async_trait]
impl Job for RemoveExpired {
    fn name(&self) -> &'static str {
        "expired.remove"
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let removed = self.store.remove_expired(ctx, self.clock.now()).await?;
        if removed > 0 {
            tracing::info!(removed, "removed what had expired");
        }
        Ok(())
    }
}

/// What holds things that grow with every write: changes, and entries of the audit log.
#[async_trait]
pub trait Growing: Send + Sync {
    /// Removes what at `now` is older than it has to be kept, in pieces that no write has to wait
    /// for long; how many things that were. `passed` is the last change that this process has
    /// taken in: none after it goes.
    ///
    /// # Errors
    /// Those of the store; what was removed before stays removed.
    async fn remove_old(&self, ctx: &Context, now: Timestamp, passed: i64) -> Result<u64>;
}

/// Removes what is old.
pub struct RemoveOld {
    /// Where from.
    pub store: Arc<dyn Growing>,
    /// Whoever follows the changes in this process without a cursor in the store.
    pub relay: Arc<Relay>,
    /// Time.
    pub clock: SharedClock,
}

#[async_trait]
impl Job for RemoveOld {
    fn name(&self) -> &'static str {
        "old.remove"
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let passed = self.relay.position().await.unwrap_or(0);
        let removed = self.store.remove_old(ctx, self.clock.now(), passed).await?;
        if removed > 0 {
            tracing::info!(removed, "removed what is older than it has to be kept");
        }
        Ok(())
    }
}

/// Takes the step in the life of the signing keys that is due.
pub struct RotateKeys {
    /// Whose keys.
    pub identity: Arc<IdentityService>,
    /// Time.
    pub clock: SharedClock,
}

#[async_trait]
impl Job for RotateKeys {
    fn name(&self) -> &'static str {
        "keys.rotate"
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        if self.identity.rotate_if_due(ctx, self.clock.now()).await? {
            tracing::info!("the signing keys took a step");
        }
        Ok(())
    }
}

/// Any function, for what only the place knows that puts the program together.
pub struct Call<F> {
    /// Names it in the log.
    pub name: &'static str,
    /// What to do. Must be quick: it runs where requests are answered.
    pub function: F,
}

#[async_trait]
impl<F: Fn() + Send + Sync> Job for Call<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&self, _: &Context) -> Result<()> {
        (self.function)();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use inkstone_core::clock::Clock;

    use super::*;

    #[derive(Debug)]
    struct Stopped(Timestamp, Instant);

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            self.0
        }

        fn instant(&self) -> Instant {
            self.1
        }
    }

    #[derive(Default)]
    struct Asked(Mutex<Vec<(Timestamp, Instant)>>);

    #[async_trait]
    impl Expiring for Asked {
        async fn remove_expired(&self, ctx: &Context, now: Timestamp) -> Result<u64> {
            self.0.lock().unwrap().push((now, ctx.deadline.instant()));
            Ok(3)
        }
    }

    #[tokio::test]
    async fn what_has_expired_is_judged_by_the_clock_and_removed_under_a_deadline() {
        let (now, instant) = ("2030-01-02T03:04:05Z".parse().unwrap(), inkstone_core::clock::SystemClock.instant());
        let store = Arc::new(Asked::default());
        let clock: SharedClock = Arc::new(Stopped(now, instant));
        let job = RemoveExpired { store: store.clone(), clock: clock.clone() };
        job.run(&crate::context(&clock, "test", Duration::from_secs(5))).await.unwrap();
        assert_eq!(*store.0.lock().unwrap(), [(now, instant + Duration::from_secs(5))]);
    }
}
