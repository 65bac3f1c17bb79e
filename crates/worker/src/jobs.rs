//! The regular tasks.

use std::sync::Arc;

use async_trait::async_trait;
use inkstone_core::clock::SharedClock;
use inkstone_core::housekeeping::Housekeeping;
use inkstone_core::{Context, Result};
use inkstone_identity::IdentityService;

use crate::periodic::Job;

/// Things of each kind that are removed in one transaction.
const BATCH: u32 = 500;

/// Removes what has expired.
pub struct RemoveExpired {
    /// Where from.
    pub store: Arc<dyn Housekeeping>,
    /// Time.
    pub clock: SharedClock,
}

#[async_trait]
impl Job for RemoveExpired {
    fn name(&self) -> &'static str {
        "expired.remove"
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let now = self.clock.now();
        let mut removed = 0;
        loop {
            let count = self.store.remove_expired(ctx, now, BATCH).await?;
            if count == 0 {
                break;
            }
            removed += count;
        }
        if removed > 0 {
            tracing::info!(removed, "removed what had expired");
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
    use std::time::Duration;

    use inkstone_core::clock::SystemClock;
    use jiff::Timestamp;

    use super::*;

    /// Has this many expired things.
    struct Expired(Mutex<u64>, Mutex<Vec<Timestamp>>);

    #[async_trait]
    impl Housekeeping for Expired {
        async fn remove_expired(&self, _: &Context, now: Timestamp, limit: u32) -> Result<u64> {
            let mut left = self.0.lock().unwrap();
            let removed = u64::from(limit).min(*left);
            *left -= removed;
            self.1.lock().unwrap().push(now);
            Ok(removed)
        }
    }

    #[tokio::test]
    async fn expired_things_are_removed_in_pieces_until_none_is_left() {
        let store = Arc::new(Expired(Mutex::new(1201), Mutex::default()));
        let clock: SharedClock = Arc::new(SystemClock);
        let job = RemoveExpired { store: store.clone(), clock: clock.clone() };
        job.run(&crate::context(&clock, "test", Duration::from_secs(5))).await.unwrap();
        assert_eq!(*store.0.lock().unwrap(), 0);
        let times = store.1.lock().unwrap();
        assert_eq!(times.len(), 4);
        assert!(times.iter().all(|now| *now == times[0]), "one run judges by one time");
    }
}
