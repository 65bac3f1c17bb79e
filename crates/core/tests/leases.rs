//! The rules of leases, against a model: whatever nodes do, however late, and however the database's clock moves.

use std::time::Duration;

use inkstone_core::lease::{Ask, Claim, Lease};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const NODES: usize = 3;
const TERM: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(100);

/// What may happen next. A node that does not act was stopped, or is slow: that needs no step.
#[derive(Debug, Clone, Copy)]
enum Step {
    Claim(usize),
    Renew(usize),
    /// A write under the fence that the node believes in.
    Write(usize),
    GiveBack(usize, bool),
    /// It dies, and comes back as another process.
    Die(usize),
    /// Time passes in the database.
    Pass(i64),
    /// Somebody sets its clock back.
    SetBack(i64),
}

fn steps(with_bad_clock: bool) -> impl Strategy<Value = Vec<Step>> {
    let node = 0..NODES;
    let back = u32::from(with_bad_clock);
    let step = prop_oneof![
        6 => node.clone().prop_map(Step::Claim),
        3 => node.clone().prop_map(Step::Renew),
        6 => node.clone().prop_map(Step::Write),
        4 => (node.clone(), any::<bool>()).prop_map(|(node, is_done)| Step::GiveBack(node, is_done)),
        1 => node.prop_map(Step::Die),
        6 => (0_i64..60).prop_map(Step::Pass),
        back => (0_i64..10_000).prop_map(Step::SetBack),
    ];
    prop::collection::vec(step, 0..120)
}

/// What has happened so far, as somebody who sees everything knows it.
struct World {
    now: Timestamp,
    row: Option<Lease>,
    names: [usize; NODES],
    /// The token that each node believes in.
    believes: [Option<i64>; NODES],
    /// To whom each token was given, in order.
    given: Vec<(usize, i64)>,
    /// Until when the last one holds.
    held_until: Option<Timestamp>,
    done_at: Option<Timestamp>,
    /// Of each write that was let through, by whom and under which token.
    writes: Vec<(usize, i64)>,
}

impl World {
    fn new() -> Self {
        Self {
            now: Timestamp::from_second(1_700_000_000).expect("a time"),
            row: None,
            names: [0, 1, 2],
            believes: [None; NODES],
            given: Vec::new(),
            held_until: None,
            done_at: None,
            writes: Vec::new(),
        }
    }

    fn ask(&self, node: usize) -> Ask {
        Ask { owner: format!("node-{}", self.names[node]), term: TERM, rest: REST }
    }

    fn last(&self) -> Option<(usize, i64)> {
        self.given.last().copied()
    }

    fn step(&mut self, step: Step, clock_is_good: bool) {
        match step {
            Step::Claim(node) => self.claim(node, clock_is_good),
            Step::Renew(node) => {
                let Some(token) = self.believes[node] else { return };
                let renewed = self.row.as_ref().and_then(|row| row.renew(token, TERM, self.now));
                assert_eq!(renewed.is_some(), self.last() == Some((node, token)), "only the last one prolongs");
                if let Some(row) = renewed {
                    self.held_until = Some(self.now + TERM);
                    self.row = Some(row);
                }
            }
            Step::Write(node) => {
                let Some(token) = self.believes[node] else { return };
                // What the executor does in the transaction of the write.
                if self.row.as_ref().is_some_and(|row| row.token == token) {
                    assert_eq!(self.last(), Some((node, token)), "a write of somebody who had lost the lease");
                    self.writes.push((node, token));
                }
            }
            Step::GiveBack(node, is_done) => {
                let Some(token) = self.believes[node].take() else { return };
                let given = self.row.as_ref().and_then(|row| row.give_back(token, is_done, self.now));
                assert_eq!(given.is_some(), self.last() == Some((node, token)), "only the last one gives it back");
                if let Some(row) = given {
                    self.held_until = None;
                    self.done_at = if is_done { Some(self.now) } else { self.done_at };
                    self.row = Some(row);
                }
            }
            Step::Die(node) => {
                self.believes[node] = None;
                self.names[node] += NODES;
            }
            Step::Pass(seconds) => self.now += SignedDuration::from_secs(seconds),
            Step::SetBack(seconds) => self.now -= SignedDuration::from_secs(seconds),
        }
    }

    fn claim(&mut self, node: usize, clock_is_good: bool) {
        let (claim, row) = Lease::claim(self.row.as_ref(), &self.ask(node), self.now);
        assert_eq!(row.is_some(), matches!(claim, Claim::Given(_)), "the row changes if it is given, and only then");
        let is_held = self.held_until.is_some_and(|until| self.now < until)
            && self.row.as_ref().is_some_and(|row| row.owner != self.ask(node).owner);
        let rests = self.done_at.is_some_and(|at| self.now < at + REST);
        match claim {
            Claim::Given(token) => {
                assert!(self.given.iter().all(|(_, earlier)| *earlier < token), "tokens grow");
                if clock_is_good {
                    assert!(!is_held, "two at a time");
                    assert!(!rests, "twice in a period");
                }
                self.given.push((node, token));
                self.believes[node] = Some(token);
                self.held_until = Some(self.now + TERM);
                self.row = row;
            }
            // Nobody is refused for no reason, or for ever because of a clock that was wrong once.
            Claim::Held => assert!(is_held && self.row.as_ref().is_some_and(|row| row.since <= self.now)),
            Claim::Rests => assert!(rests && self.done_at.is_some_and(|at| at <= self.now)),
        }
    }
}

fn run(steps: &[Step], clock_is_good: bool) {
    let mut world = World::new();
    for step in steps {
        world.step(*step, clock_is_good);
    }
    // The writes of one come one after another: nobody comes back after somebody else was there.
    assert!(world.writes.is_sorted_by_key(|(_, token)| *token), "{:?}", world.writes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn one_at_a_time_once_a_period_and_who_lost_it_writes_nothing(steps in steps(false)) {
        run(&steps, true);
    }

    #[test]
    fn whatever_the_databases_clock_does_only_the_last_one_writes_and_somebody_can_begin(steps in steps(true)) {
        run(&steps, false);
    }
}

#[test]
fn who_was_stopped_beyond_the_term_and_goes_on_is_refused() {
    let mut world = World::new();
    world.step(Step::Claim(0), true);
    world.step(Step::Write(0), true);
    world.step(Step::Pass(30), true);
    world.step(Step::Write(0), true);
    assert_eq!(world.writes, [(0, 1), (0, 1)], "late, but nobody else has begun");
    world.step(Step::Claim(1), true);
    world.step(Step::Write(0), true);
    world.step(Step::Write(1), true);
    world.step(Step::GiveBack(0, true), true);
    assert_eq!(world.writes, [(0, 1), (0, 1), (1, 2)]);
    assert_eq!(world.done_at, None);
}
