//! Values that know what they say, a database that remembers its changes,
//! and nodes that follow it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inkstone_cache::{MemoryCache, Notice, Remote, Settings, Tiered, TieredParts};
use inkstone_core::Deadline;
use inkstone_core::cache::{Cache, Cacheable, Hit, Invalidate, Joined, Lifetime, Load, Portable};
use inkstone_core::clock::{Clock, SystemClock};
use inkstone_core::events::{Entity, Footprint, RecordedEvent, ServerRun};
use inkstone_core::guard::breaker::BreakerSettings;
use inkstone_core::guard::bulkhead::BulkheadSettings;
use inkstone_core::guard::retry::RetrySettings;
use inkstone_core::guard::{Guard, GuardSettings};
use inkstone_core::posts::PostId;
use inkstone_testkit::HandClock;

/// A clock far from the machine's own beginning, so that a test may look back.
pub(crate) fn clock() -> Arc<HandClock> {
    let clock = HandClock::new();
    clock.pass(Duration::from_hours(48));
    clock
}

thread_local! {
    /// Called where another thread could come between two steps of the cache: whenever it asks
    /// something of a value.
    pub(crate) static MEANWHILE: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

fn meanwhile() {
    // Taken out while it runs, or it would call itself.
    let Some(act) = MEANWHILE.take() else { return };
    act();
    MEANWHILE.set(Some(act));
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) entities: Vec<Entity>,
}

impl Cacheable for Page {
    fn weight(&self) -> usize {
        self.text.len() + 100
    }

    fn entities(&self) -> &[Entity] {
        meanwhile();
        &self.entities
    }
}

impl Portable for Page {
    fn encode(&self, form: &mut Vec<u8>) {
        form.extend(self.text.as_bytes());
    }

    fn decode(form: &[u8], entities: Vec<Entity>) -> Option<Self> {
        meanwhile();
        Some(Self { text: String::from_utf8(form.to_vec()).ok()?, entities })
    }
}

pub(crate) fn page(text: &str, entities: &[Entity]) -> Arc<Page> {
    Arc::new(Page { text: text.to_owned(), entities: entities.to_vec() })
}

pub(crate) fn post(id: i64) -> Entity {
    Entity::Post(PostId(id))
}

/// 100 s fresh, 50 s stale while somebody refreshes, 1000 s if the store fails.
pub(crate) const LIFETIME: Lifetime = Lifetime {
    fresh: Duration::from_secs(100),
    stale_while_revalidate: Duration::from_secs(50),
    stale_if_error: Duration::from_secs(1000),
};

/// How long after a write somewhere else an old answer may be given.
pub(crate) const BOUND: Duration = Duration::from_secs(2);

/// The order of all changes, as a database keeps it.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) changes: Mutex<Vec<RecordedEvent>>,
    server_run: AtomicI64,
}

impl Database {
    /// Commits a change that touches these.
    pub(crate) fn commit(&self, clock: &dyn Clock, entities: &[Entity]) {
        let mut changes = self.changes.lock().unwrap();
        let change_seq = i64::try_from(changes.len()).unwrap() + 1;
        changes.push(RecordedEvent { change_seq, kind: "test".into(), entities: entities.to_vec(), at: clock.now() });
    }

    /// Another server takes over, which has only so many of the changes.
    pub(crate) fn fail_over(&self, left: usize) {
        self.changes.lock().unwrap().truncate(left);
        self.server_run.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn server_run(&self) -> ServerRun {
        ServerRun(self.server_run.load(Ordering::SeqCst))
    }

    pub(crate) fn len(&self) -> usize {
        self.changes.lock().unwrap().len()
    }
}

/// One process: its cache, and how far it has followed the database.
pub(crate) struct Node {
    pub(crate) cache: Arc<Tiered<Page>>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) database: Arc<Database>,
    followed: Mutex<Followed>,
    pub(crate) woken: Arc<AtomicU64>,
    /// What its operator was told.
    pub(crate) notices: Arc<Mutex<Vec<Notice>>>,
    pub(crate) remote: Arc<dyn Remote>,
    running: Option<tokio::task::JoinHandle<()>>,
}

/// How far a node has followed the changes.
#[derive(Default)]
struct Followed {
    position: usize,
    /// The change there.
    last: Option<RecordedEvent>,
    /// Who told of it, and when it was looked for last.
    by: Option<(ServerRun, Instant)>,
}

/// What all nodes of a test have in common.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) database: Arc<Database>,
    pub(crate) secret: Vec<u8>,
    pub(crate) timeout: Duration,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::named(&format!("{:?}", SystemClock.instant()))
    }

    /// With a secret of its own, so that tests that share a server share nothing in it.
    pub(crate) fn named(name: &str) -> Self {
        let world = Self {
            clock: clock(),
            database: Arc::default(),
            secret: name.as_bytes().to_vec(),
            // Generous: the machine that tests may be busy, and what is tested is not its speed.
            timeout: Duration::from_secs(2),
        };
        world.database.commit(&*world.clock, &[]);
        world
    }

    pub(crate) fn node(&self, remote: Arc<dyn Remote>) -> Node {
        self.node_of("release 1", remote)
    }

    pub(crate) fn node_of(&self, variant: &str, remote: Arc<dyn Remote>) -> Node {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let settings = Settings { max_bytes: 64 * 1024 * 1024, claim_for: Duration::from_secs(10) };
        let guard = GuardSettings {
            timeout: self.timeout,
            bulkhead: BulkheadSettings { concurrency: 64, queue: 64 },
            breaker: BreakerSettings { open_for: Duration::from_millis(500), ..BreakerSettings::default() },
            retry: RetrySettings { attempts: 1, ..RetrySettings::default() },
        };
        let woken = Arc::new(AtomicU64::new(0));
        let wake = woken.clone();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let noticed = notices.clone();
        let cache = Arc::new(Tiered::new(TieredParts {
            memory: Arc::new(MemoryCache::new(settings, clock.clone(), 7).trusting_for(BOUND)),
            remote: remote.clone(),
            guard: Arc::new(Guard::new("cache", guard, clock.clone(), 7)),
            clock,
            secret: self.secret.clone(),
            variant: variant.to_owned(),
            wake: Box::new(move || {
                wake.fetch_add(1, Ordering::SeqCst);
            }),
            tell: Box::new(move |notice| noticed.lock().unwrap().push(notice)),
        }));
        let running = cache.clone();
        let node = Node {
            cache,
            clock: self.clock.clone(),
            database: self.database.clone(),
            followed: Mutex::default(),
            woken,
            notices,
            remote,
            running: Some(tokio::spawn(async move { running.run().await })),
        };
        node.follow();
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

impl Node {
    /// Looks for changes, as the relay does.
    pub(crate) fn follow(&self) {
        let as_of = self.clock.instant();
        let mut followed = self.followed.lock().unwrap();
        let (changes, server_run) = (self.database.changes.lock().unwrap(), self.database.server_run());
        if followed.last.is_some() && followed.last.as_ref() != changes.get(followed.position - 1) {
            self.cache.forget();
            followed.position = changes.len();
        }
        if followed.by.is_none_or(|(before, _)| before != server_run) {
            // What could come meanwhile waits here for what this thread holds.
            let act = MEANWHILE.take();
            self.cache.turn_to(server_run, followed.by.map(|(_, since)| since));
            MEANWHILE.set(act);
        }
        if changes.len() > followed.position {
            self.cache.follow(&changes[followed.position..]);
        }
        *followed = Followed { position: changes.len(), last: changes.last().cloned(), by: Some((server_run, as_of)) };
        self.cache.confirm(as_of);
    }

    /// Who told it of the changes last.
    pub(crate) fn server_run(&self) -> Option<ServerRun> {
        self.followed.lock().unwrap().by.map(|(server_run, _)| server_run)
    }

    /// Writes: commits, and follows before it is acknowledged.
    pub(crate) fn write(&self, entities: &[Entity]) {
        self.database.commit(&*self.clock, entities);
        self.follow();
    }

    /// Writes, and cannot look for changes after that.
    pub(crate) fn write_unseen(&self, entities: &[Entity]) {
        self.database.commit(&*self.clock, entities);
        let written = Footprint { change_seq: i64::try_from(self.database.len()).unwrap(), touched: entities.to_vec() };
        self.cache.distrust(self.clock.instant(), &written);
    }

    pub(crate) async fn join(&self, key: &str) -> Joined<Page> {
        let deadline = Deadline::at(self.clock.instant() + Duration::from_secs(30));
        self.cache.join(key, deadline).await.unwrap()
    }

    /// What the shared tier has under `key`; none if this node has to load.
    pub(crate) async fn find(&self, key: &str) -> Option<Hit<Page>> {
        match self.join(key).await {
            Joined::Found(hit) => Some(hit),
            Joined::Loaded(value) | Joined::Behind(value, _) => panic!("nobody loads {value:?}"),
            Joined::Load(_) => None,
        }
    }

    pub(crate) async fn lead(&self, key: &str) -> Box<dyn Load<Page>> {
        match self.join(key).await {
            Joined::Load(leader) => leader,
            Joined::Found(hit) => panic!("{:?} is there", hit.value),
            Joined::Loaded(value) | Joined::Behind(value, _) => panic!("somebody has loaded {value:?}"),
        }
    }

    /// Loads `value` for `key`, and waits until it has reached the shared tier or was left out.
    pub(crate) async fn load(&self, key: &str, value: &Arc<Page>) {
        let leader = self.lead(key).await;
        let (puts, refused) = self.puts();
        assert!(self.cache.put(leader.reading(), key, Arc::clone(value), LIFETIME, None));
        leader.finish(Ok(value));
        until("the put was done", || self.puts() != (puts, refused)).await;
    }

    pub(crate) fn puts(&self) -> (u64, u64) {
        let stats = self.cache.shared_stats();
        (stats.puts, stats.dropped_puts)
    }
}

/// Waits for something that will come; gives up after half a minute.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("in vain it was waited that {what}");
}
