//! Three nodes, a database and a shared tier, and everything that can happen between them, in an order
//! that a seed decides: puts that arrive late or never, a tier that is flushed or rolled back or
//! rots, announcements that are lost, late, doubled, in another order or lies, nodes that cannot reach
//! the database or the tier for a while, that are paused, that start anew, and a database that fails over to
//! a server that lacks the last changes. Whatever happens while a
//! node waits for the tier happens there too.
//!
//! The laws, for everything that is served as up to date:
//!
//! 1. Who has written never sees what was there before; not in an emergency either.
//! 2. The others see it no later than the bound after the write was acknowledged.
//! 3. What a failover lost is seen by nobody who has looked at the changes since.
//!
//! A failure names its seed. `INKSTONE_SEED=n` runs that one again; `INKSTONE_SEEDS=n` runs so many.

mod tier;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inkstone_core::cache::{Cache as _, Freshness, Joined, Load};
use inkstone_core::clock::Clock;
use inkstone_core::guard::retry::Dice;

use self::tier::{Line, Tier};
use crate::support::{BOUND, LIFETIME, MEANWHILE, Node, Page, World, page, post};

const NODES: usize = 3;
const POSTS: usize = 3;
const STEPS: usize = 400;

/// A write that was acknowledged: the post, its version, by whom and when.
type Written = (usize, u64, usize, Instant);

/// One run.
struct Simulation {
    seed: u64,
    dice: Dice,
    world: World,
    tier: Mutex<Tier>,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// What was committed since the first change: to which post, as which version. No version comes twice.
    commits: Mutex<Vec<(usize, u64)>>,
    /// Versions that were committed, and those of them that a failover lost.
    made: AtomicU64,
    lost: Mutex<BTreeSet<u64>>,
    /// Every acknowledged write that was not lost.
    written: Mutex<Vec<Written>>,
    /// Nodes that cannot reach the database until then.
    cut_off: Mutex<[Option<Instant>; NODES]>,
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

/// A request, and what was known when it was asked.
struct Asked {
    index: usize,
    which: usize,
    at: Instant,
    written: Vec<Written>,
    /// What it must not show.
    lost: BTreeSet<u64>,
}

/// How often each kind of answer was given, so that a run in which nothing happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Served {
    fresh: u64,
    emergency: u64,
    found: u64,
    loaded: u64,
    outdated: u64,
    /// Looks for changes because of an announcement.
    woken: u64,
    /// What a failover had lost, by those who had not looked since.
    lost: u64,
}

impl Simulation {
    fn new(seed: u64) -> Arc<Self> {
        let simulation = Arc::new(Self {
            seed,
            dice: Dice::new(seed),
            world: World::named("simulation"),
            tier: Mutex::default(),
            nodes: Mutex::default(),
            commits: Mutex::default(),
            made: AtomicU64::new(0),
            lost: Mutex::default(),
            written: Mutex::default(),
            cut_off: Mutex::default(),
            loading: Mutex::default(),
            trace: Mutex::default(),
            served: Mutex::default(),
        });
        let nodes = (0..NODES).map(|index| simulation.start(index)).collect();
        *simulation.nodes.lock().unwrap() = nodes;
        simulation
    }

    fn start(self: &Arc<Self>, index: usize) -> Arc<Node> {
        Arc::new(self.world.node(Arc::new(Line(Arc::downgrade(self), index))))
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
        match self.pick(11) {
            0..=2 if self.chance(0.05) => self.fail_over(),
            0..=2 => self.write(self.pick(NODES), self.pick(POSTS)),
            3..=4 => self.follow(self.pick(NODES)),
            5 => self.put_something(),
            6 => self.arrive(),
            7 => {
                let mut tier = self.tier.lock().unwrap();
                match self.pick(7) {
                    0 => tier.held.clear(),
                    1 => tier.snapshot = tier.held.clone(),
                    2 => tier.held = tier.snapshot.clone(),
                    3 => tier.is_down = true,
                    4 => tier.is_down = false,
                    5 => {
                        let cut_off = &mut tier.cut_off[self.pick(NODES)];
                        *cut_off = !*cut_off;
                    }
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
                let index = self.pick(NODES);
                self.note(format!("node {index} is cut off from the database"));
                self.cut_off.lock().unwrap()[index] = Some(until);
            }
            9 => self.deliver(),
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
        let version = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        self.commits.lock().unwrap().push((which, version));
        self.note(format!("node {index} writes version {version} of post {which}"));
        let node = self.node(index);
        let id = i64::try_from(which).unwrap();
        if self.chance(0.1) {
            // Committed, but the look after it fails: acknowledged all the same.
            node.write_unseen(&[post(id)]);
        } else {
            node.write(&[post(id)]);
        }
        let now = self.world.clock.instant();
        self.written.lock().unwrap().push((which, version, index, now));
    }

    /// The version of a post in the database; 0 if nobody has written it.
    fn version(&self, which: usize) -> u64 {
        let commits = self.commits.lock().unwrap();
        commits.iter().rev().find(|(post, _)| *post == which).map_or(0, |(_, version)| *version)
    }

    /// A server takes over that lacks some of the last changes, or none.
    fn fail_over(&self) {
        // Another change of the same number has another time.
        self.world.clock.pass(Duration::from_millis(1));
        let mut commits = self.commits.lock().unwrap();
        let left = commits.len().saturating_sub(self.pick(3));
        let lost: BTreeSet<u64> = commits.split_off(left).into_iter().map(|(_, version)| version).collect();
        self.note(format!("the database fails over and loses {lost:?}"));
        self.world.database.fail_over(left + 1);
        self.written.lock().unwrap().retain(|(_, version, ..)| !lost.contains(version));
        self.lost.lock().unwrap().extend(lost);
    }

    fn follow(&self, index: usize) {
        if self.reaches_database(index) {
            self.node(index).follow();
        }
    }

    /// One of the announcements arrives, whichever it is; or somebody else announces what there is not.
    fn deliver(&self) {
        let mut tier = self.tier.lock().unwrap();
        let (to, change_seq) = match tier.messages.len() {
            0 => return,
            _ if self.chance(0.01) => (self.pick(NODES), u64::MAX),
            waiting => tier.messages.swap_remove(self.pick(waiting)),
        };
        if let Some(ear) = tier.ears[to].as_ref().filter(|_| !tier.cut_off[to]) {
            // Whoever starts anew listens again later.
            let _lost = ear.send(change_seq);
        }
    }

    /// Those who were told that there are changes look for them, unless they are slow.
    fn look(&self) {
        for index in 0..NODES {
            if self.chance(0.7) && self.node(index).woken.swap(0, Ordering::SeqCst) > 0 {
                self.served.lock().unwrap().woken += 1;
                self.follow(index);
            }
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
        let (key, asked) = (format!("/{which}"), self.ask(index, which));
        if let Some(hit) = node.cache.get(&key) {
            if hit.freshness != Freshness::OnlyOnError {
                self.served.lock().unwrap().fresh += 1;
                self.judge(&asked, &hit.value, "from memory");
                return;
            }
            self.served.lock().unwrap().emergency += 1;
            let own = asked.written.iter().filter(|(post, _, by, _)| *post == which && *by == index);
            let newest = own.map(|(_, version, ..)| *version).max().unwrap_or_default();
            let seen: u64 = hit.value.text.parse().unwrap();
            let trace = || self.trace.lock().unwrap().join("\n");
            assert!(
                seen >= newest,
                "{}\nseed {}: in an emergency node {index} has version {seen} of post {which}, and wrote {newest}",
                trace(),
                self.seed,
            );
        }
        // Somebody else may be loading it, and this one cannot wait here for what is to happen yet.
        if self.loading.lock().unwrap().iter().any(|loading| Arc::ptr_eq(&loading.node, &node) && loading.key == key) {
            return;
        }
        match node.join(&key).await {
            Joined::Found(hit) => {
                self.served.lock().unwrap().found += 1;
                self.judge(&asked, &hit.value, "from the shared tier");
            }
            Joined::Loaded(value) => self.judge(&asked, &value, "from another load"),
            Joined::Load(leader) if self.reaches_database(index) => {
                self.served.lock().unwrap().loaded += 1;
                let version = self.version(which);
                let value = page(&version.to_string(), &[post(i64::try_from(which).unwrap())]);
                self.loading.lock().unwrap().push(Loading { node, leader, value, key });
            }
            Joined::Load(_) => {}
            Joined::Behind(..) => panic!("here is no replica"),
        }
    }

    /// A request of this moment, asked of this node.
    fn ask(&self, index: usize, which: usize) -> Asked {
        let has_looked = self.node(index).server_run() == Some(self.world.database.server_run());
        Asked {
            index,
            which,
            at: self.world.clock.instant(),
            written: self.written.lock().unwrap().clone(),
            lost: if has_looked { self.lost.lock().unwrap().clone() } else { BTreeSet::new() },
        }
    }

    fn judge(&self, asked: &Asked, value: &Page, whence: &str) {
        let Asked { index, which, at: asked, written, lost } = asked;
        let seen: u64 = value.text.parse().unwrap();
        let trace = || self.trace.lock().unwrap().join("\n");
        assert!(
            !lost.contains(&seen),
            "{}\nseed {}: node {index} served version {seen} of post {which} {whence}, which was lost",
            trace(),
            self.seed,
        );
        let lost = self.lost.lock().unwrap();
        self.served.lock().unwrap().lost += u64::from(lost.contains(&seen));
        for (post, version, by, at) in written.iter().filter(|(_, version, ..)| !lost.contains(version)) {
            let counts = by == index || *at + BOUND <= *asked;
            assert!(
                !(post == which && counts && *version > seen),
                "{}\nseed {}: node {index} served version {seen} of post {which} {whence}, {:?} after node {by} had \
                 acknowledged version {version}",
                trace(),
                self.seed,
                *asked - *at,
            );
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
                let (index, which) = (self.pick(NODES), self.pick(POSTS));
                self.read(index, which).await;
            } else if self.chance(0.02) {
                let index = self.pick(NODES);
                self.note(format!("node {index} starts anew"));
                let fresh = self.start(index);
                self.nodes.lock().unwrap()[index] = fresh;
            } else {
                self.happen();
            }
            // Lets the tasks work that put into the shared tier.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            self.look();
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

/// Names the seed, whatever fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("INKSTONE_SEED={} runs it again", self.0);
        }
    }
}

#[test]
fn nothing_old_is_served_whatever_happens_in_between() {
    let seeds = match number("INKSTONE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("INKSTONE_SEEDS").unwrap_or(160),
    };
    let (mut sum, runs) = (Served::default(), seeds.end - seeds.start);
    for seed in seeds {
        let _named = Named(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let served = runtime.block_on(async { Simulation::new(seed).run().await });
        sum.fresh += served.fresh;
        sum.emergency += served.emergency;
        sum.found += served.found;
        sum.loaded += served.loaded;
        sum.outdated += served.outdated;
        sum.woken += served.woken;
        sum.lost += served.lost;
    }
    let each = [sum.fresh, sum.emergency, sum.found, sum.loaded, sum.outdated, sum.woken];
    assert!(
        runs < 10 || each.iter().all(|count| *count > runs / 2) && sum.lost > runs / 8,
        "too little happened: {sum:?}"
    );
}
