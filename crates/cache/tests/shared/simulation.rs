//! Two nodes, a database and a shared tier, and everything that can happen between them, in an order
//! that a seed decides: puts that arrive late or never, a tier that is flushed or rolled back or
//! rots, nodes that cannot reach the database for a while, that are paused, that start anew. Whatever
//! happens while a node waits for the tier happens there too.
//!
//! The laws, for everything that is served as up to date:
//!
//! 1. Who has written never sees what was there before.
//! 2. The others see it no later than the bound after the write was acknowledged.
//!
//! `INKSTONE_SEED=n` runs one seed; `INKSTONE_SEEDS=n` runs so many.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use inkstone_cache::{Remote, RemoteError};
use inkstone_core::cache::{Cache as _, Freshness, Joined, Load};
use inkstone_core::clock::Clock;
use inkstone_core::guard::retry::Dice;

use crate::support::{BOUND, LIFETIME, MEANWHILE, Node, Page, World, page, post};

const POSTS: usize = 3;
const STEPS: usize = 400;

/// What the tier holds, and what is on its way there.
#[derive(Default)]
struct Tier {
    held: BTreeMap<String, Bytes>,
    /// Puts that were acknowledged, or given up, and have not arrived.
    late: Vec<(String, Bytes)>,
    /// An earlier state: what a replica that lags would know.
    snapshot: BTreeMap<String, Bytes>,
    is_down: bool,
}

/// One run.
struct Simulation {
    seed: u64,
    dice: Dice,
    world: World,
    tier: Mutex<Tier>,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// The version of each post in the database.
    versions: Mutex<[u64; POSTS]>,
    /// Every acknowledged write: the post, its version, by whom and when.
    written: Mutex<Vec<(usize, u64, usize, Instant)>>,
    /// Nodes that cannot reach the database until then.
    cut_off: Mutex<[Option<Instant>; 2]>,
    /// Loads that have read the database and not put yet.
    loading: Mutex<Vec<Loading>>,
    trace: Mutex<Vec<String>>,
    served: Mutex<Served>,
}

/// A load that has read the database and not put yet.
struct Loading {
    node: Arc<Node>,
    leader: Box<dyn Load<Page>>,
    value: Arc<Page>,
    key: String,
}

/// How often each kind of answer was given, so that a run in which nothing happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Served {
    fresh: u64,
    emergency: u64,
    found: u64,
    loaded: u64,
    outdated: u64,
}

/// The tier as one node reaches it.
struct Line(Weak<Simulation>);

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

#[async_trait]
impl Remote for Line {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        let simulation = self.0.upgrade().ok_or(RemoteError::NotConnected)?;
        if simulation.chance(0.3) {
            simulation.happen();
        }
        let answer = {
            let tier = simulation.tier.lock().unwrap();
            if tier.is_down { Err(RemoteError::NotConnected) } else { Ok(tier.held.get(name).cloned()) }
        };
        if simulation.chance(0.3) {
            simulation.happen();
        }
        answer
    }

    async fn put(&self, name: &str, form: Bytes, _: Duration) -> Result<(), RemoteError> {
        let simulation = self.0.upgrade().ok_or(RemoteError::NotConnected)?;
        let is_late = simulation.chance(0.4);
        let mut tier = simulation.tier.lock().unwrap();
        if is_late {
            tier.late.push((name.to_owned(), form));
            return Err(RemoteError::NotConnected);
        }
        tier.held.insert(name.to_owned(), form);
        Ok(())
    }

    async fn ping(&self) -> Result<(), RemoteError> {
        Ok(())
    }
}

impl Simulation {
    fn new(seed: u64) -> Arc<Self> {
        let simulation = Arc::new(Self {
            seed,
            dice: Dice::new(seed),
            world: World::named("simulation"),
            tier: Mutex::default(),
            nodes: Mutex::default(),
            versions: Mutex::default(),
            written: Mutex::default(),
            cut_off: Mutex::default(),
            loading: Mutex::default(),
            trace: Mutex::default(),
            served: Mutex::default(),
        });
        let nodes = (0..2).map(|_| simulation.start()).collect();
        *simulation.nodes.lock().unwrap() = nodes;
        simulation
    }

    fn start(self: &Arc<Self>) -> Arc<Node> {
        Arc::new(self.world.node(Arc::new(Line(Arc::downgrade(self)))))
    }

    fn chance(&self, share: f64) -> bool {
        self.dice.roll() < share
    }

    fn pick(&self, of: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let picked = (self.dice.roll() * of as f64) as usize;
        picked.min(of - 1)
    }

    fn note(&self, what: String) {
        self.trace.lock().unwrap().push(what);
    }

    fn node(&self, index: usize) -> Arc<Node> {
        self.nodes.lock().unwrap()[index].clone()
    }

    fn reaches_database(&self, index: usize) -> bool {
        let now = self.world.clock.instant();
        self.cut_off.lock().unwrap()[index].is_none_or(|until| now >= until)
    }

    /// Something that takes no time and that nobody waits for.
    fn happen(&self) {
        match self.pick(10) {
            0..=2 => self.write(self.pick(2), self.pick(POSTS)),
            3..=4 => self.follow(self.pick(2)),
            5 => self.put_something(),
            6 => self.arrive(),
            7 => {
                let mut tier = self.tier.lock().unwrap();
                match self.pick(6) {
                    0 => tier.held.clear(),
                    1 => tier.snapshot = tier.held.clone(),
                    2 => tier.held = tier.snapshot.clone(),
                    3 => tier.is_down = true,
                    4 => tier.is_down = false,
                    _ => {
                        // Two entries change places.
                        let names: Vec<String> = tier.held.keys().cloned().collect();
                        if let [one, .., two] = &names[..] {
                            let (a, b) = (tier.held[one].clone(), tier.held[two].clone());
                            tier.held.insert(one.clone(), b);
                            tier.held.insert(two.clone(), a);
                        }
                    }
                }
            }
            8 => {
                let until =
                    self.world.clock.instant() + Duration::from_millis(500) * u32::try_from(self.pick(12)).unwrap();
                let index = self.pick(2);
                self.note(format!("node {index} is cut off from the database"));
                self.cut_off.lock().unwrap()[index] = Some(until);
            }
            _ => {
                let longest = if self.chance(0.05) { 120_000 } else { 700 };
                self.world.clock.pass(Duration::from_millis(u64::try_from(self.pick(longest)).unwrap()));
            }
        }
    }

    /// A write through one node: committed, followed by that node, acknowledged.
    fn write(&self, index: usize, which: usize) {
        if !self.reaches_database(index) {
            return;
        }
        let version = {
            let mut versions = self.versions.lock().unwrap();
            versions[which] += 1;
            versions[which]
        };
        self.note(format!("node {index} writes version {version} of post {which}"));
        let node = self.node(index);
        let id = i64::try_from(which).unwrap();
        if self.chance(0.1) {
            // Committed, but the look after it fails: acknowledged all the same.
            node.database.commit(&*node.clock, &[post(id)]);
            node.distrust();
        } else {
            node.write(&[post(id)]);
        }
        let now = self.world.clock.instant();
        self.written.lock().unwrap().push((which, version, index, now));
    }

    fn follow(&self, index: usize) {
        if self.reaches_database(index) {
            self.node(index).follow();
        }
    }

    /// One of the loads that are under way ends.
    fn put_something(&self) {
        let loading = {
            let mut loading = self.loading.lock().unwrap();
            if loading.is_empty() {
                return;
            }
            let which = self.pick(loading.len());
            loading.swap_remove(which)
        };
        let Loading { node, leader, value, key } = loading;
        if self.chance(0.9) {
            node.cache.put(leader.reading(), &key, Arc::clone(&value), LIFETIME, None);
            leader.finish(Ok(&value));
        }
    }

    /// A late put arrives after all.
    fn arrive(&self) {
        let mut tier = self.tier.lock().unwrap();
        if !tier.late.is_empty() {
            let which = self.pick(tier.late.len());
            let (name, form) = tier.late.swap_remove(which);
            tier.held.insert(name, form);
        }
    }

    /// A request for a post, asked of one node at this moment.
    async fn read(&self, index: usize, which: usize) {
        let node = self.node(index);
        let (key, asked) = (format!("/{which}"), self.world.clock.instant());
        let known = self.written.lock().unwrap().len();
        if let Some(hit) = node.cache.get(&key) {
            if hit.freshness != Freshness::OnlyOnError {
                self.served.lock().unwrap().fresh += 1;
                self.judge(index, which, &hit.value, asked, known, "from memory");
                return;
            }
            self.served.lock().unwrap().emergency += 1;
        }
        // Somebody else may be loading it, and this one cannot wait here for what is to happen yet.
        if self.loading.lock().unwrap().iter().any(|loading| Arc::ptr_eq(&loading.node, &node) && loading.key == key) {
            return;
        }
        match node.join(&key).await {
            Joined::Found(hit) => {
                self.served.lock().unwrap().found += 1;
                self.judge(index, which, &hit.value, asked, known, "from the shared tier");
            }
            Joined::Loaded(value) => self.judge(index, which, &value, asked, known, "from another load"),
            Joined::Load(leader) if self.reaches_database(index) => {
                self.served.lock().unwrap().loaded += 1;
                let version = self.versions.lock().unwrap()[which];
                let value = page(&version.to_string(), &[post(i64::try_from(which).unwrap())]);
                self.loading.lock().unwrap().push(Loading { node, leader, value, key });
            }
            Joined::Load(_) => {}
            Joined::Behind(..) => panic!("here is no replica"),
        }
    }

    /// `known`: how many writes were acknowledged when it was asked.
    fn judge(&self, index: usize, which: usize, value: &Page, asked: Instant, known: usize, whence: &str) {
        let seen: u64 = value.text.parse().unwrap();
        let written = self.written.lock().unwrap();
        for (post, version, by, at) in &written[..known] {
            let counts = *by == index || *at + BOUND <= asked;
            if *post == which && counts && *version > seen {
                let trace = self.trace.lock().unwrap().join("\n");
                panic!(
                    "{trace}\nseed {}: node {index} served version {seen} of post {which} {whence}, {:?} after node \
                     {by} had acknowledged version {version}",
                    self.seed,
                    asked - *at,
                );
            }
        }
    }

    async fn run(self: &Arc<Self>) -> Served {
        let this = Arc::downgrade(self);
        let act = move || {
            if let Some(this) = this.upgrade().filter(|this| this.chance(0.2)) {
                this.happen();
            }
        };
        MEANWHILE.set(Some(Rc::new(act)));
        for _ in 0..STEPS {
            if self.chance(0.5) {
                let (index, which) = (self.pick(2), self.pick(POSTS));
                self.read(index, which).await;
            } else if self.chance(0.02) {
                let index = self.pick(2);
                self.note(format!("node {index} starts anew"));
                let fresh = self.start();
                self.nodes.lock().unwrap()[index] = fresh;
            } else {
                self.happen();
            }
            // Lets the tasks work that put into the shared tier.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        MEANWHILE.set(None);
        let mut served = *self.served.lock().unwrap();
        served.outdated = self.nodes.lock().unwrap().iter().map(|node| node.cache.shared_stats().outdated).sum();
        served
    }
}

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "chooses what is simulated, not what the program does")]
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn nothing_old_is_served_whatever_happens_in_between() {
    let seeds = match number("INKSTONE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("INKSTONE_SEEDS").unwrap_or(200),
    };
    let (mut sum, runs) = (Served::default(), seeds.end - seeds.start);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let served = runtime.block_on(async { Simulation::new(seed).run().await });
        sum.fresh += served.fresh;
        sum.emergency += served.emergency;
        sum.found += served.found;
        sum.loaded += served.loaded;
        sum.outdated += served.outdated;
    }
    let each = [sum.fresh, sum.emergency, sum.found, sum.loaded, sum.outdated];
    assert!(runs < 10 || each.iter().all(|count| *count > runs / 2), "too little happened: {sum:?}");
}
