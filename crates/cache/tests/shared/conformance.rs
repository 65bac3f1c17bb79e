//! One suite for every cache there is: in memory alone, with Redis behind it, with Memcached behind it.

use std::sync::Arc;
use std::time::Duration;

use inkstone_cache::{MemoryCache, Settings};
use inkstone_core::cache::{Cache, Freshness, Joined};
use inkstone_core::clock::Clock;
use inkstone_core::events::{Entity, RecordedEvent};
use inkstone_core::{Code, Deadline, Error};
use inkstone_testkit::HandClock;

use crate::servers::{Server, connected};
use crate::support::{LIFETIME, Node, Page, World, clock, page, post};

/// A cache under test, and what keeps it alive.
struct Subject {
    cache: Arc<dyn Cache<Page>>,
    clock: Arc<HandClock>,
    node: Option<Node>,
    _server: Option<Server>,
}

impl Subject {
    fn memory() -> Self {
        let clock = clock();
        let settings = Settings { max_bytes: 64 * 1024 * 1024, claim_for: Duration::from_secs(10) };
        let cache = Arc::new(MemoryCache::new(settings, Arc::<HandClock>::clone(&clock), 7));
        Self { cache, clock, node: None, _server: None }
    }

    async fn behind(server: Server) -> Self {
        let world = World::new();
        let node = world.node(connected(server.remote()).await);
        Self { cache: node.cache.clone(), clock: world.clock.clone(), node: Some(node), _server: Some(server) }
    }

    /// Something was written: as the writing process tells its cache.
    fn touch(&self, entities: &[Entity]) {
        if let Some(node) = &self.node {
            node.write(entities);
            return;
        }
        let (kind, entities, at) = ("test".into(), entities.to_vec(), self.clock.now());
        self.cache.follow(&[RecordedEvent { change_seq: 1, kind, entities, at }]);
    }

    /// Lets time pass, in which the cache looks for the changes of others as it always does.
    fn pass(&self, seconds: u64) {
        self.clock.pass(Duration::from_secs(seconds));
        if let Some(node) = &self.node {
            node.follow();
        }
    }

    fn soon(&self) -> Deadline {
        Deadline::at(self.clock.instant() + Duration::from_secs(30))
    }
}

macro_rules! suite {
    ($($law:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $law() { super::$law(super::Subject::memory()).await; })+
        }
        mod redis {
            $(#[tokio::test] async fn $law() {
                super::$law(super::Subject::behind(crate::servers::Server::redis()).await).await;
            })+
        }
        mod memcached {
            $(#[tokio::test] async fn $law() {
                super::$law(super::Subject::behind(crate::servers::Server::memcached()).await).await;
            })+
        }
    };
}

suite![
    what_is_kept_is_found_until_its_time_is_over,
    what_was_made_from_a_thing_dies_with_it,
    what_was_touched_while_it_was_loaded_is_not_kept,
    one_loads_and_all_who_wait_are_told,
];

async fn what_is_kept_is_found_until_its_time_is_over(subject: Subject) {
    let cache = &subject.cache;
    assert!(cache.get("a").is_none());
    assert!(cache.put(cache.reading(), "a", page("one", &[post(1)]), LIFETIME, None));
    let hit = cache.get_fresh("a").unwrap();
    assert_eq!((hit.value.text.as_str(), hit.freshness), ("one", Freshness::Fresh));
    subject.pass(120);
    assert!(cache.get_fresh("a").is_none());
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::Stale { refresh: true });
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::Stale { refresh: false });
    subject.pass(100);
    assert_eq!(cache.get("a").unwrap().freshness, Freshness::OnlyOnError);
    subject.pass(2000);
    assert!(cache.get("a").is_none());
}

async fn what_was_made_from_a_thing_dies_with_it(subject: Subject) {
    let cache = &subject.cache;
    cache.put(cache.reading(), "post", page("post", &[post(1)]), LIFETIME, None);
    cache.put(cache.reading(), "list", page("list", &[post(1), post(2), Entity::Posts]), LIFETIME, None);
    cache.put(cache.reading(), "other", page("other", &[post(2)]), LIFETIME, None);
    subject.touch(&[post(1)]);
    assert!(cache.get("post").is_none());
    assert!(cache.get("list").is_none());
    assert!(cache.get("other").is_some());
    // Nor does it come back from further away.
    for key in ["post", "list"] {
        assert!(matches!(cache.join(key, subject.soon()).await.unwrap(), Joined::Load(_)), "{key} was kept");
    }
}

async fn what_was_touched_while_it_was_loaded_is_not_kept(subject: Subject) {
    let cache = &subject.cache;
    let Joined::Load(leader) = cache.join("a", subject.soon()).await.unwrap() else { panic!("nobody leads") };
    let loaded_before_the_write = page("old", &[post(1)]);
    subject.touch(&[post(1)]);
    assert!(!cache.put(leader.reading(), "a", loaded_before_the_write, LIFETIME, None));
    drop(leader);
    assert!(cache.get("a").is_none());
    assert!(matches!(cache.join("a", subject.soon()).await.unwrap(), Joined::Load(_)));
}

async fn one_loads_and_all_who_wait_are_told(subject: Subject) {
    let (cache, soon) = (subject.cache.clone(), subject.soon());
    for outcome in [Ok("one"), Err(Code::NotFound)] {
        let key = format!("{outcome:?}");
        let Joined::Load(leader) = cache.join(&key, soon).await.unwrap() else { panic!("nobody leads") };
        let joined_before = cache.stats().joined_loads;
        let waiting = tokio::spawn({
            let (cache, key) = (cache.clone(), key.clone());
            async move { cache.join(&key, soon).await }
        });
        while cache.stats().joined_loads == joined_before {
            tokio::task::yield_now().await;
        }
        match outcome {
            Ok(text) => leader.finish(Ok(&page(text, &[]))),
            Err(code) => leader.finish(Err(&Error::refused(code, "no"))),
        }
        match (waiting.await.unwrap(), outcome) {
            (Ok(Joined::Loaded(value)), Ok(text)) => assert_eq!(value.text, text),
            (Err(error), Err(code)) => assert_eq!(error.code(), code),
            _ => panic!("they were told something else"),
        }
    }
}
