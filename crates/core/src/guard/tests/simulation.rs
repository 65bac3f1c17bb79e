//! Three nodes with a guard each before one dependency that works, fails, hangs, drags and refuses, in
//! an order and at times that a seed decides, with callers who go away whenever they like. Time is
//! tokio's, stopped: a run takes no time and is the same each time.
//!
//! The laws:
//!
//! 1. Nobody waits longer than the guard's time limit.
//! 2. No more calls are at the dependency at once than a guard has places.
//! 3. While it is down, it is asked often enough to find out, and only by so many probes.
//! 4. While it works, nobody opens; after it works again, everybody closes, and nothing is left behind.
//!
//! A failure names its seed; `INKSTONE_SEED=n` runs that one again.

use super::*;

const NODES: usize = 3;
const RUNS: u64 = 12;
/// How long a spell lasts at least and at most, in milliseconds.
const SPELL_MS: [u64; 2] = [300, 2500];
const SPELLS: usize = 6;
/// Within this, a guard before a dependency that works has found that out: it was opened at the last
/// moment, for five quarters of its time, and then its probes had to come.
const RECOVERY: Duration = Duration::from_secs(2);

/// How the dependency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Works,
    Fails,
    Hangs,
    /// Slower than anybody waits.
    Drags,
    /// On good grounds.
    Refuses,
}

impl Condition {
    fn is_down(self) -> bool {
        matches!(self, Self::Fails | Self::Hangs | Self::Drags)
    }
}

/// The dependency as one node sees it.
#[derive(Debug)]
struct Seen {
    condition: Condition,
    at_once: u32,
    /// Since the condition began.
    arrived: u32,
    went_away: u32,
}

struct Simulation {
    seed: u64,
    dice: Dice,
    guards: Vec<Guard>,
    seen: Vec<Mutex<Seen>>,
}

/// One call at the dependency, counted while it is there.
struct Stay<'a>(&'a Mutex<Seen>);

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().at_once -= 1;
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let guards = (0..NODES).map(|node| Guard::new("test", settings(), Arc::new(Paused), seed + node as u64));
        let seen = || Mutex::new(Seen { condition: Condition::Works, at_once: 0, arrived: 0, went_away: 0 });
        Self { seed, dice: Dice::new(seed), guards: guards.collect(), seen: (0..NODES).map(|_| seen()).collect() }
    }

    /// A whole number from one to another.
    fn between(&self, [least, most]: [u64; 2]) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let offset = (self.dice.roll() * (most - least + 1) as f64) as u64;
        least + offset.min(most - least)
    }

    async fn depend(&self, node: usize) -> Result<(), Fault> {
        let seen = &self.seen[node];
        let condition = {
            let mut seen = seen.lock().unwrap();
            seen.arrived += 1;
            seen.at_once += 1;
            assert!(seen.at_once <= settings().bulkhead.concurrency, "seed {}: node {node}: {seen:?}", self.seed);
            seen.condition
        };
        let _stay = Stay(seen);
        let answer_ms = match condition {
            Condition::Works | Condition::Fails | Condition::Refuses => self.between([0, 20]),
            Condition::Drags => 150,
            Condition::Hangs => 60_000,
        };
        tokio::time::sleep(Duration::from_millis(answer_ms)).await;
        match condition {
            Condition::Fails => Err(Fault(true)),
            Condition::Refuses => Err(Fault(false)),
            Condition::Works | Condition::Drags | Condition::Hangs => Ok(()),
        }
    }

    /// A caller who waits for the answer, or goes away before it is there.
    async fn call(&self, node: usize) {
        let asked = Paused.instant();
        let call = self.guards[node].call(soon(), Repeat::Never, || self.depend(node));
        let patience_ms = if self.between([0, 9]) == 0 { self.between([0, 90]) } else { 10_000 };
        if tokio::time::timeout(Duration::from_millis(patience_ms), call).await.is_err() {
            self.seen[node].lock().unwrap().went_away += 1;
        }
        let waited = Paused.instant() - asked;
        // tokio counts in milliseconds, and a wait in two parts is rounded up twice.
        assert!(waited <= settings().timeout + Duration::from_millis(2), "seed {}: {waited:?}", self.seed);
    }

    /// Calls at one node, up to three at a time, for so long.
    async fn work(&self, node: usize, time: Duration) {
        let until = Paused.instant() + time;
        let caller = async || {
            while Paused.instant() < until {
                self.call(node).await;
                tokio::time::sleep(Duration::from_millis(self.between([1, 60]))).await;
            }
        };
        tokio::join!(caller(), caller(), caller());
    }

    async fn spell(&self, condition: Condition, time: Duration) {
        for seen in &self.seen {
            let mut seen = seen.lock().unwrap();
            (seen.condition, seen.arrived, seen.went_away) = (condition, 0, 0);
        }
        tokio::join!(self.work(0, time), self.work(1, time), self.work(2, time));
    }

    async fn run(&self) -> u64 {
        use Condition::{Drags, Fails, Hangs, Refuses, Works};
        self.spell(Works, Duration::from_secs(1)).await;
        for guard in &self.guards {
            assert_eq!(guard.snapshot().transitions, Transitions::default(), "seed {}: it worked", self.seed);
        }
        for _ in 0..SPELLS {
            let condition = [Works, Fails, Hangs, Drags, Refuses][usize::try_from(self.between([0, 4])).unwrap()];
            let time = Duration::from_millis(self.between(SPELL_MS));
            self.spell(condition, time).await;
            if condition.is_down() {
                self.was_spared(condition, time);
            }
        }
        self.spell(Works, RECOVERY).await;
        for guard in &self.guards {
            assert_eq!(guard.snapshot().state, State::Closed, "seed {}: it works again", self.seed);
        }
        self.spell(Works, Duration::from_secs(1)).await;
        for (node, guard) in self.guards.iter().enumerate() {
            let snapshot = guard.snapshot();
            assert_eq!(
                (snapshot.state, snapshot.at_work, snapshot.waiting),
                (State::Closed, 0, 0),
                "seed {}",
                self.seed
            );
            assert!(self.seen[node].lock().unwrap().arrived > 10, "seed {}: everything passes", self.seed);
        }
        self.guards.iter().map(|guard| guard.snapshot().transitions.opened).sum()
    }

    /// What came to a dependency that was down for so long: what it took to notice, and the probes.
    fn was_spared(&self, condition: Condition, time: Duration) {
        let breaker = settings().breaker;
        let soonest = breaker.open_for.mul_f64(0.75);
        // The last calls begin when the time is almost over and end after it.
        let rounds = (time + settings().timeout).as_millis() / soonest.as_millis() + 2;
        let probes = u128::from(breaker.probes) * rounds;
        let until_noticed = u128::from(breaker.window + settings().bulkhead.concurrency);
        for seen in &self.seen {
            let seen = seen.lock().unwrap();
            // Who goes away says nothing of the dependency, and another one may ask instead.
            let most = until_noticed + probes + u128::from(seen.went_away);
            let arrived = u128::from(seen.arrived);
            assert!(arrived <= most, "seed {}: {condition:?} for {time:?}: {seen:?}, at most {most}", self.seed);
            assert!(arrived > 0 || time < breaker.open_for * 2, "seed {}: nobody asks whether it is back", self.seed);
        }
    }
}

#[test]
fn whatever_a_dependency_does_it_is_waited_for_no_longer_left_alone_and_found_again() {
    #[expect(clippy::disallowed_methods, reason = "chooses what is simulated, not what the program does")]
    let chosen = std::env::var("INKSTONE_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = chosen.map_or(0..RUNS, |seed| seed..seed + 1);
    let mut opened = 0;
    for seed in seeds.clone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        opened += runtime.block_on(async { Simulation::new(seed).run().await });
    }
    assert!(opened > (seeds.end - seeds.start), "too little happened: opened {opened} times");
}
