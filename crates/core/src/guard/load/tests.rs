//! What the limit promises: against a model, and in a simulation of an overloaded process.

use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;
use crate::clock::{Clock as _, SystemClock};

const SETTINGS: LoadSettings = LoadSettings { least: 8, most: 200, target: Duration::from_millis(100) };

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// One after the other, 20 ms apart, as many requests end as `count`, each after so long, and another comes.
fn run(load: &mut Load, now: &mut Instant, count: u32, took: Duration) {
    for _ in 0..count {
        *now += ms(20);
        load.leave(Some(took), *now);
        load.enter(Priority::SignedInRead);
    }
}

#[test]
fn crawlers_go_first_then_writes_then_reads() {
    let mut load = Load::new(LoadSettings { most: 100, ..SETTINGS }, SystemClock.instant());
    let mut shed = Vec::new();
    loop {
        for priority in Priority::ALL {
            if load.refuses(priority) && !shed.contains(&priority) {
                shed.push(priority);
            }
        }
        if !load.enter(Priority::SignedInRead) {
            break;
        }
    }
    shed.reverse();
    assert_eq!(shed, Priority::ALL, "the least urgent is the first to be refused");
    assert_eq!(load.in_work(), 100);
}

#[test]
fn small_limits_have_room_for_everybody() {
    let mut load = Load::new(LoadSettings { least: 1, most: 1, ..SETTINGS }, SystemClock.instant());
    for priority in Priority::ALL {
        assert!(load.enter(priority), "{priority:?}");
        assert!(load.refuses(priority));
        load.leave(None, SystemClock.instant());
    }
}

#[test]
fn whoever_is_slow_on_the_whole_gets_less_and_whoever_is_fast_more() {
    let mut now = SystemClock.instant();
    let mut load = Load::new(SETTINGS, now);
    for _ in 0..100 {
        load.enter(Priority::SignedInRead);
    }
    run(&mut load, &mut now, 10, ms(101));
    assert_eq!(load.limit(), 80, "four fifths of what was used");
    run(&mut load, &mut now, 400, ms(101));
    assert_eq!(load.limit(), 8, "never below the least");
    while load.in_work() > 1 {
        load.leave(None, now);
    }
    run(&mut load, &mut now, 20, ms(100));
    let unused = load.limit();
    run(&mut load, &mut now, 200, ms(100));
    assert_eq!(load.limit(), unused, "nobody wants more");
    for _ in 0..400 {
        while load.enter(Priority::SignedInRead) {}
        run(&mut load, &mut now, 1, ms(100));
    }
    assert_eq!(load.limit(), 200, "all of it again, where it is wanted");
}

#[test]
fn whoever_waits_for_its_client_takes_no_place_and_only_so_many_do() {
    let now = SystemClock.instant();
    let mut load = Load::new(LoadSettings { least: 2, most: 2, ..SETTINGS }, now);
    for _ in 0..2 {
        assert!(load.enter(Priority::SignedInRead) && load.step_out());
    }
    assert_eq!(load.in_work(), 0);
    assert!(load.enter(Priority::SignedInRead) && !load.step_out(), "no more than could be in work");
    assert_eq!(load.in_work(), 1, "the place is kept");
    assert!(load.step_in(Priority::SignedInRead));
    assert!(!load.step_in(Priority::SignedInRead), "others have come meanwhile");
    assert_eq!(load.in_work(), 2);
    load.leave(None, now);
    assert!(load.step_out(), "nobody is outside any more");
    load.stay_out();
    assert_eq!(load.in_work(), 0);
}

/// The limit as one would explain it: everything that ever happened is kept, and counted anew.
struct Model {
    limit: f64,
    inside: u32,
    /// Of the present while: when, and whether it took too long; how many were inside, refused included.
    samples: Vec<bool>,
    peaks: Vec<u32>,
    since: u64,
}

impl Model {
    fn enter(&mut self, priority: Priority) -> bool {
        let percent = [100.0, 95.0, 80.0, 75.0, 50.0][priority.index()];
        let is_in = f64::from(self.inside) < self.limit.ceil() * percent / 100.0;
        if is_in {
            self.inside += 1;
        }
        self.peaks.push(if is_in { self.inside } else { self.inside + 1 });
        is_in
    }

    fn leave(&mut self, took: Option<u64>, now: u64) {
        self.inside -= 1;
        self.samples.extend(took.map(|took| took > 100));
        if self.samples.len() < 10 || now - self.since < 100 {
            return;
        }
        let slow = self.samples.iter().filter(|slow| **slow).count();
        let peak = f64::from(self.peaks.iter().copied().max().unwrap_or_default());
        if slow > self.samples.len() - slow {
            self.limit = f64::max(8.0, 0.8 * f64::min(peak, self.limit));
        } else if peak >= 0.8 * self.limit {
            self.limit = f64::min(200.0, 1.1 * self.limit);
        }
        self.samples.clear();
        self.peaks = vec![self.inside];
        self.since = now;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Enter(Priority),
    Leave(Option<u64>),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::sample::select(Priority::ALL.to_vec()).prop_map(Step::Enter),
        5 => prop::option::weighted(0.9, 0..250_u64).prop_map(Step::Leave),
        1 => (0..60_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..800)
}

proptest! {
    #[test]
    fn the_limit_does_what_the_model_does(steps in steps()) {
        let start = SystemClock.instant();
        let mut load = Load::new(SETTINGS, start);
        let mut model = Model { limit: 200.0, inside: 0, samples: Vec::new(), peaks: Vec::new(), since: 0 };
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Enter(priority) => {
                    prop_assert_eq!(load.refuses(priority), !model.enter(priority));
                    load.enter(priority);
                }
                Step::Leave(_) if model.inside == 0 => {}
                Step::Leave(took) => {
                    load.leave(took.map(ms), start + ms(now));
                    model.leave(took, now);
                }
            }
            prop_assert_eq!(load.in_work(), model.inside);
            prop_assert_eq!(load.limit(), whole(model.limit));
            prop_assert!((8..=200).contains(&load.limit()));
        }
    }
}

/// A process with one processor that gives every request in work an equal part of its time, in steps
/// of a millisecond: the share of what it could do at most that was done in time.
struct Process {
    load: Load,
    start: Instant,
    now: u64,
    /// When each request in work will be through, if it were alone, as work done so far; and when it came.
    inside: BinaryHeap<std::cmp::Reverse<(u64, u64)>>,
    done: u64,
    arrivals: u64,
}

impl Process {
    /// What a request costs, and what refusing one does, in microseconds of processor time.
    const COST: u64 = 1000;
    const REFUSAL: u64 = 25;
    /// An answer after this long, in milliseconds, is of no use to anybody.
    const PATIENCE: u64 = 500;

    fn new(settings: LoadSettings) -> Self {
        let start = SystemClock.instant();
        let load = Load::new(settings, start);
        Self { load, start, now: 0, inside: BinaryHeap::new(), done: 0, arrivals: 0 }
    }

    /// So many requests a second arrive for so long. Gives what was done in time, a second; and how
    /// many were refused.
    fn run(&mut self, rate: u64, millis: u64) -> (u64, u64) {
        let (mut good, mut refused) = (0, 0);
        for _ in 0..millis {
            self.now += 1;
            self.arrivals += rate;
            let mut time = 1000_u64;
            while self.arrivals >= 1000 {
                self.arrivals -= 1000;
                if self.load.enter(Priority::Read) {
                    let through = self.done + Self::COST * (self.inside.len() as u64 + 1);
                    self.inside.push(std::cmp::Reverse((through, self.now)));
                } else {
                    time = time.saturating_sub(Self::REFUSAL);
                    refused += 1;
                }
            }
            self.done += time;
            while let Some(std::cmp::Reverse((through, came))) = self.inside.peek().copied() {
                if through > self.done {
                    break;
                }
                self.inside.pop();
                let took = self.now - came;
                good += u64::from(took <= Self::PATIENCE);
                self.load.leave(Some(ms(took)), self.start + ms(self.now));
            }
            if self.inside.is_empty() {
                self.done = 0;
            }
        }
        (good * 1000 / millis, refused)
    }
}

#[test]
fn at_four_times_the_capacity_as_much_is_done_as_at_once() {
    let settings = LoadSettings { least: 64, most: 1024, target: ms(250) };
    let mut process = Process::new(settings);
    let (at_once, refused) = process.run(950, 5_000);
    assert_eq!(refused, 0, "what can be done is not refused");
    let (twofold, _) = process.run(2_000, 5_000);
    let (fourfold, refused) = process.run(4_000, 5_000);
    assert!(refused > 10_000, "{refused}");
    println!("good answers a second: {at_once} at 0.95, {twofold} at 2, {fourfold} at 4 times the capacity");
    assert!(fourfold * 10 >= at_once * 9, "{fourfold} of {at_once}");
    // The storm is over: what is in work is through within the target, and nobody is refused any more.
    process.run(950, 1_000);
    let (after, refused) = process.run(950, 3_000);
    assert_eq!((after * 10 >= at_once * 9, refused), (true, 0), "{after} of {at_once}");
}

#[test]
fn without_a_limit_that_follows_nothing_would_be_done_in_time() {
    let mut process = Process::new(LoadSettings { least: 1024, most: 1024, target: ms(250) });
    process.run(950, 5_000);
    let (fourfold, _) = process.run(4_000, 5_000);
    assert!(fourfold < 300, "{fourfold}: this is what the limit is there for");
}
