use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::clock::SystemClock;

/// A machine whose two clocks are moved by hand, and a database with a clock of its own.
#[derive(Debug)]
struct World {
    start: Instant,
    /// All in microseconds: what has passed, what the wall clock says, what the database's says.
    state: Mutex<(i64, i64, i64)>,
    /// The wall clock goes along with what passes, and jumps.
    jumps: bool,
}

/// Some day of 2026.
const DAY: i64 = 1_780_000_000_000_000;
const SECOND: i64 = 1_000_000;

impl World {
    fn new(jumps: bool) -> Arc<Self> {
        Arc::new(Self { start: SystemClock.instant(), state: Mutex::new((0, DAY - 7 * SECOND, DAY)), jumps })
    }

    fn pass(&self, micros: i64) {
        self.drift(micros, 0);
    }

    /// The database's clock goes wrong by so many millionths meanwhile.
    fn drift(&self, micros: i64, millionths: i64) {
        let mut state = self.state.lock().unwrap();
        *state = (state.0 + micros, state.1 + micros, state.2 + micros + micros * millionths / SECOND);
    }

    fn set_wall(&self, micros: i64) {
        if self.jumps {
            self.state.lock().unwrap().1 = micros;
        }
    }

    fn set_database(&self, by: i64) {
        self.state.lock().unwrap().2 += by;
    }

    fn database(&self) -> i64 {
        self.state.lock().unwrap().2
    }

    /// Asks the database: so long there, so long back.
    fn read(&self, there: i64, back: i64) -> Reading {
        let asked = self.instant();
        self.pass(there);
        let time = Timestamp::from_microsecond(self.database()).unwrap();
        self.pass(back);
        Reading { asked, time, answered: self.instant() }
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.state.lock().unwrap().1).unwrap()
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.state.lock().unwrap().0.unsigned_abs())
    }
}

fn now(clock: &CommonClock) -> i64 {
    clock.now().as_microsecond()
}

/// A clock that has read the database's without any delay.
fn exact() -> (Arc<World>, CommonClock) {
    let world = World::new(true);
    let clock = CommonClock::new(world.clone());
    clock.correct(&world.read(0, 0));
    (world, clock)
}

#[test]
fn before_the_first_reading_it_is_the_machines_own() {
    let world = World::new(true);
    let clock = CommonClock::new(world.clone());
    assert_eq!((now(&clock), clock.own_ahead()), (DAY - 7 * SECOND, None));
    world.pass(SECOND);
    assert_eq!(now(&clock), DAY - 6 * SECOND);
    assert_eq!(clock.instant(), world.instant());
}

#[test]
fn the_first_reading_counts_from_the_middle_of_its_round_trip() {
    let world = World::new(true);
    let clock = CommonClock::new(world.clone());
    assert_eq!(clock.correct(&world.read(30_000, 10_000)), SignedDuration::ZERO);
    assert_eq!(now(&clock) - world.database(), 10_000);
    assert_eq!(clock.own_ahead(), Some(SignedDuration::from_micros(-7 * SECOND - 10_000)));
}

#[test]
fn a_wall_clock_that_jumps_is_not_even_noticed() {
    let (world, clock) = exact();
    for wall in [DAY + 9 * 365 * 86_400 * SECOND, 0, DAY] {
        world.set_wall(wall);
        assert_eq!(now(&clock), world.database());
        assert_eq!(clock.own_ahead(), Some(SignedDuration::from_micros(wall - world.database())));
    }
}

#[test]
fn a_slow_reading_changes_nothing_and_a_faster_one_narrows() {
    let world = World::new(true);
    let clock = CommonClock::new(world.clone());
    clock.correct(&world.read(0, 400_000));
    assert_eq!(now(&clock) - world.database(), -200_000);
    assert_eq!(clock.correct(&world.read(450_000, 450_000)), SignedDuration::ZERO);
    assert_eq!(now(&clock) - world.database(), -200_000);
    assert_eq!(clock.correct(&world.read(0, 1000)), SignedDuration::from_micros(199_000 - 1));
    assert_eq!(now(&clock) - world.database(), -1001);
}

#[test]
fn what_is_a_little_ahead_stands_still_until_the_database_has_caught_up() {
    let (world, clock) = exact();
    world.set_database(-SECOND / 2);
    let shown = now(&clock);
    assert_eq!(clock.correct(&world.read(0, 0)), SignedDuration::from_micros(1 - SECOND / 2));
    for _ in 0..5 {
        assert_eq!(now(&clock), shown);
        world.pass(SECOND / 10);
    }
    assert!((now(&clock) - world.database()).abs() <= 1);
    world.pass(SECOND);
    assert_eq!(now(&clock), world.database() + 1);
}

#[test]
fn a_database_whose_clock_is_set_is_followed_at_once() {
    let (world, clock) = exact();
    for by in [3600, -3600, -3, 400 * 86_400] {
        world.set_database(by * SECOND);
        assert!((clock.correct(&world.read(0, 0)).as_micros() - i128::from(by * SECOND)).abs() <= 3);
        assert!((now(&clock) - world.database()).abs() <= 1, "{by}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Time passes, and the database's clock goes wrong by so many millionths.
    Pass(i64, i64),
    /// The wall clock is set to any time.
    SetWall(i64),
    /// The database's clock is set, by little or by much.
    SetDatabase(i64),
    /// The database is asked.
    Read(i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let delay = || prop_oneof![0..2000_i64, 0..3 * SECOND];
    prop_oneof![
        3 => (0..10 * SECOND, -500..500_i64).prop_map(|(micros, drift)| Step::Pass(micros, drift)),
        1 => (0..4 * DAY).prop_map(Step::SetWall),
        1 => prop_oneof![-2 * SECOND..2 * SECOND, -DAY / 2..DAY / 2].prop_map(Step::SetDatabase),
        4 => (delay(), delay()).prop_map(|(there, back)| Step::Read(there, back)),
    ]
}

proptest! {
    #[test]
    fn it_is_the_databases_time_whatever_the_machine_says(steps in prop::collection::vec(step(), 1..60)) {
        let world = World::new(true);
        let clock = CommonClock::new(world.clone());
        let calm = World::new(false);
        let reference = CommonClock::new(calm.clone());
        // It has been read.
        let mut is_set = false;
        let mut last = i64::MIN;
        for step in steps {
            match step {
                Step::Pass(micros, drift) => [&world, &calm].into_iter().for_each(|world| world.drift(micros, drift)),
                Step::SetWall(wall) => world.set_wall(wall),
                // Not before 1970, where no server is.
                Step::SetDatabase(by) if world.database() + by > 0 => {
                    for world in [&world, &calm] {
                        world.set_database(by);
                    }
                }
                Step::SetDatabase(_) => {}
                Step::Read(there, back) => {
                    let reading = world.read(there, back);
                    let expected = is_set.then(|| now(&clock));
                    clock.correct(&reading);
                    reference.correct(&calm.read(there, back));
                    let (shown, database, round_trip) = (now(&clock), world.database(), there + back + 2);
                    prop_assert!(shown - database >= -round_trip, "{} µs behind", database - shown);
                    prop_assert!(shown - database <= SECOND + round_trip, "{} µs ahead", shown - database);
                    if let Some(expected) = expected {
                        // Ahead of the database's only where it would have to go back, and back only where
                        // it would have to stand still for too long.
                        prop_assert!(shown - database <= round_trip || shown <= expected);
                        prop_assert!(shown >= expected || expected - database > SECOND - 2);
                    }
                    (is_set, last) = (true, i64::MIN);
                }
            }
            if is_set {
                let shown = now(&clock);
                prop_assert_eq!(shown, now(&reference), "the wall clock decides nothing");
                prop_assert!(shown >= last, "it went back between two readings");
                last = shown;
            }
        }
    }
}
