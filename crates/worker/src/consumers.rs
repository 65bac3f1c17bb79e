//! Those who follow the changes.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use inkstone_core::cache::Invalidate;
use inkstone_core::events::{Entity, Footprint, Mark, RecordedEvent, ServerRun};
use inkstone_core::{Context, Result};
use inkstone_identity::IdentityService;

use crate::relay::Consumer;

/// Drops from memory what was made from things that have changed.
pub struct Forget {
    /// What holds finished answers.
    pub caches: Vec<Arc<dyn Invalidate>>,
    /// What holds the signing keys.
    pub keys: Option<Arc<dyn ReloadKeys>>,
}

/// Whoever keeps a copy of the signing keys.
#[async_trait]
pub trait ReloadKeys: Send + Sync {
    /// Reads them again.
    async fn reload_keys(&self, ctx: &Context) -> Result<()>;
}

#[async_trait]
impl ReloadKeys for IdentityService {
    async fn reload_keys(&self, ctx: &Context) -> Result<()> {
        Self::reload_keys(self, ctx).await
    }
}

#[async_trait]
impl Consumer for Forget {
    async fn consume(&self, ctx: &Context, events: &[RecordedEvent]) -> Result<()> {
        let changes_keys = events.iter().any(|event| event.entities.contains(&Entity::Keys));
        // The keys first: an answer that is made anew from now on must find the new ones.
        if let (Some(keys), true) = (&self.keys, changes_keys) {
            keys.reload_keys(ctx).await?;
        }
        for cache in &self.caches {
            cache.follow(events);
        }
        Ok(())
    }

    async fn start_over(&self, ctx: &Context, _change_seq: i64) -> Result<()> {
        if let Some(keys) = &self.keys {
            keys.reload_keys(ctx).await?;
        }
        for cache in &self.caches {
            cache.forget();
        }
        Ok(())
    }

    async fn turn_to(&self, ctx: &Context, server_run: ServerRun, since: Option<Instant>) -> Result<()> {
        if let (Some(keys), Some(_)) = (&self.keys, since) {
            keys.reload_keys(ctx).await?;
        }
        for cache in &self.caches {
            cache.turn_to(server_run, since);
        }
        Ok(())
    }

    fn confirm(&self, as_of: Instant, _newest: Mark) {
        for cache in &self.caches {
            cache.confirm(as_of);
        }
    }

    fn distrust(&self, since: Instant, written: &Footprint) {
        for cache in &self.caches {
            cache.distrust(since, written);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use inkstone_core::cache::touched;
    use inkstone_core::clock::{SharedClock, SystemClock};
    use inkstone_core::posts::PostId;
    use jiff::Timestamp;

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Invalidate for Recorder {
        fn follow(&self, changes: &[RecordedEvent]) {
            self.0.lock().unwrap().extend(touched(changes).iter().map(Entity::to_string));
        }

        fn forget(&self) {
            self.0.lock().unwrap().push("forget".to_owned());
        }

        fn turn_to(&self, _: ServerRun, _: Option<Instant>) {
            self.0.lock().unwrap().push("turn".to_owned());
        }

        fn distrust(&self, _: Instant, _: &Footprint) {
            self.0.lock().unwrap().push("distrust".to_owned());
        }
    }

    #[async_trait]
    impl ReloadKeys for Recorder {
        async fn reload_keys(&self, _: &Context) -> Result<()> {
            self.0.lock().unwrap().push("reload".to_owned());
            Ok(())
        }
    }

    fn event(change_seq: i64, entities: &[Entity]) -> RecordedEvent {
        RecordedEvent { change_seq, kind: "test".into(), entities: entities.to_vec(), at: Timestamp::UNIX_EPOCH }
    }

    #[tokio::test]
    async fn each_entity_is_named_once_and_keys_are_read_before_answers_are_dropped() {
        let recorder = Arc::new(Recorder::default());
        let forget = Forget { caches: vec![recorder.clone()], keys: Some(recorder.clone()) };
        let clock: SharedClock = Arc::new(SystemClock);
        let ctx = crate::context(&clock, "test", Duration::from_secs(5));
        let (post, posts) = (Entity::Post(PostId(1)), Entity::Posts);
        forget.consume(&ctx, &[event(1, &[post, posts]), event(2, &[posts]), event(3, &[])]).await.unwrap();
        assert_eq!(*recorder.0.lock().unwrap(), ["post:1", "posts"]);
        recorder.0.lock().unwrap().clear();
        forget.consume(&ctx, &[event(4, &[Entity::Keys])]).await.unwrap();
        assert_eq!(*recorder.0.lock().unwrap(), ["reload", "keys"]);
        recorder.0.lock().unwrap().clear();
        forget.start_over(&ctx, 3).await.unwrap();
        assert_eq!(*recorder.0.lock().unwrap(), ["reload", "forget"]);
        recorder.0.lock().unwrap().clear();
        forget.turn_to(&ctx, ServerRun(1), None).await.unwrap();
        assert_eq!(*recorder.0.lock().unwrap(), ["turn"], "nothing was read from another");
        forget.turn_to(&ctx, ServerRun(2), Some(clock.instant())).await.unwrap();
        assert_eq!(*recorder.0.lock().unwrap(), ["turn", "reload", "turn"]);
    }
}
