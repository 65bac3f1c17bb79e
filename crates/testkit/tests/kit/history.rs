//! The laws of the checker: a correct history passes, and whatever is broken in one is found.

use std::collections::BTreeMap;
use std::time::Duration;

use inkstone_testkit::Dice;
use inkstone_testkit::history::{
    Broken, Change, Ending, Event, Operation, Outcome, Promise, Record, Row, Seen, Violation, check,
};
use proptest::prelude::*;

const PROMISE: Promise = Promise { staleness: ms(200), moving: false };

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A run: what was recorded, and what is left.
#[derive(Debug, Clone)]
struct Run {
    records: Vec<Record>,
    ending: Ending,
}

impl Run {
    fn check(&self) -> Vec<Violation> {
        check(&self.records, &self.ending, PROMISE)
    }

    fn events(&mut self) -> &mut Vec<Event> {
        self.ending.events.as_mut().unwrap()
    }
}

/// A request before it is known how it ends: `point` is when it happens, if it does.
struct Planned {
    client: usize,
    begin: Duration,
    point: Duration,
    end: Duration,
}

/// A store that keeps every promise, with clients that are told the truth, late, or nothing.
///
/// Each request happens at one point between its begin and its end, in the order of the points.
/// A read shows the state at some moment of the last `PROMISE.staleness` before it began or since,
/// but none before what its client knows.
fn correct(seed: u64) -> Run {
    let mut dice = Dice::new(seed);
    let mut planned = Vec::new();
    for client in 0..4 {
        let mut now = ms(dice.below(20) as u64);
        for _ in 0..40 {
            let begin = now + ms(dice.below(30) as u64);
            let point = begin + ms(1 + dice.below(40) as u64);
            let end = point + ms(1 + dice.below(40) as u64);
            now = end;
            planned.push(Planned { client, begin, point, end });
        }
    }
    planned.sort_by_key(|planned| planned.point);

    // Of each thing, every state it was in, and since when.
    let mut states: BTreeMap<String, Vec<(Duration, Seen)>> = BTreeMap::new();
    let mut knows = [Duration::ZERO; 4];
    let (mut records, mut events) = (Vec::new(), Vec::new());
    for (number, Planned { client, begin, point, end }) in planned.into_iter().enumerate() {
        let names: Vec<String> = states.keys().cloned().collect();
        let chosen = if dice.percent(25) { None } else { dice.pick(&names).cloned() };
        let thing = chosen.clone().unwrap_or_else(|| format!("thing{number}"));
        let history = states.entry(thing.clone()).or_default();
        let now = history.last().map_or(Seen::Absent, |(_, seen)| seen.clone());
        let content = format!("{thing} by {number}");
        let version = if let Seen::Present { version, .. } = &now { *version } else { 0 };
        let next = Seen::Present { version: version + 1, content: content.clone() };
        let (operation, after) = match (chosen, dice.below(10)) {
            (None, _) => (Operation::Create { content }, next),
            (_, 0..5) => (Operation::Read, now.clone()),
            (_, 5..9) => (Operation::Update { on: version, content }, next),
            _ => (Operation::Delete { on: version }, Seen::Absent),
        };
        let outcome = if operation == Operation::Read {
            let earliest = begin.saturating_sub(PROMISE.staleness).max(knows[client]);
            let span = usize::try_from(point.saturating_sub(earliest).as_millis()).unwrap();
            let moment = earliest + ms(dice.below(span + 1) as u64);
            knows[client] = moment;
            let seen = history.iter().rev().find(|(since, _)| *since <= moment);
            Outcome::Acked(seen.map_or(Seen::Absent, |(_, seen)| seen.clone()))
        } else {
            let impossible = now == Seen::Absent && !matches!(operation, Operation::Create { .. });
            let (done, told) = (!impossible && !dice.percent(15), !dice.percent(15));
            if done {
                let change = match &after {
                    Seen::Present { version, .. } => Change::Written(*version),
                    Seen::Absent => Change::Deleted,
                };
                let event = Event { id: format!("event{number}"), thing: thing.clone(), change };
                events.extend(std::iter::repeat_n(event, 1 + dice.below(2)));
                history.push((point, after.clone()));
            }
            match (done, told) {
                (true, true) => {
                    knows[client] = point;
                    Outcome::Acked(after)
                }
                (false, true) => Outcome::Refused,
                (_, false) => Outcome::Unknown,
            }
        };
        records.push(Record { client, thing, operation, begin, end, outcome });
    }
    let last = states.into_iter().filter_map(|(thing, history)| Some((thing, history.last()?.1.clone())));
    let rows = last.filter_map(|(thing, seen)| match seen {
        Seen::Present { version, content } => Some(Row { thing, version, content }),
        Seen::Absent => None,
    });
    Run { ending: Ending { rows: rows.collect(), events: Some(events) }, records }
}

/// Breaks a run in one way; gives what must be found, or nothing if the run has no such place.
type Breakage = fn(&mut Run, &mut Dice) -> Option<Violation>;

/// What is to be found.
#[expect(clippy::unnecessary_wraps, reason = "what every breakage gives")]
fn broken(thing: String, what: Broken) -> Option<Violation> {
    Some(Violation { thing, what })
}

/// Any of those for which `place` says something.
fn any<T, P>(of: &[T], dice: &mut Dice, place: impl FnMut(&T) -> Option<P>) -> Option<P> {
    let mut places: Vec<P> = of.iter().filter_map(place).collect();
    if places.is_empty() { None } else { Some(places.swap_remove(dice.below(places.len()))) }
}

fn present(outcome: &Outcome) -> Option<(u64, &str)> {
    match outcome {
        Outcome::Acked(Seen::Present { version, content }) => Some((*version, content)),
        _ => None,
    }
}

fn may_be_deleted(run: &Run, thing: &str) -> bool {
    let deletes = |record: &Record| matches!(record.operation, Operation::Delete { .. });
    run.records.iter().any(|record| record.thing == thing && deletes(record) && record.outcome != Outcome::Refused)
}

fn newest_seen(run: &Run, thing: &str) -> Option<u64> {
    let of_thing = run.records.iter().filter(|record| record.thing == thing);
    of_thing.filter_map(|record| present(&record.outcome)).map(|(version, _)| version).max()
}

fn lose_a_row(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let at = |row: &Row| {
        if may_be_deleted(run, &row.thing) { None } else { Some((row.thing.clone(), newest_seen(run, &row.thing)?)) }
    };
    let (thing, version) = any(&run.ending.rows, dice, at)?;
    run.ending.rows.retain(|row| row.thing != thing);
    broken(thing, Broken::Missing(version))
}

fn lose_an_update(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let before = |row: &Row| {
        let newest = newest_seen(run, &row.thing).filter(|newest| *newest == row.version)?;
        let older = run.records.iter().filter(|record| record.thing == row.thing);
        let mut older = older.filter_map(|record| present(&record.outcome));
        let (version, content) = older.find(|(version, _)| *version < newest)?;
        Some((Row { thing: row.thing.clone(), version, content: content.to_owned() }, newest))
    };
    let (older, version) = any(&run.ending.rows, dice, before)?;
    let thing = older.thing.clone();
    run.ending.rows.retain(|row| row.thing != thing);
    run.ending.rows.push(older);
    broken(thing, Broken::Missing(version))
}

fn double_a_row(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let row = any(&run.ending.rows, dice, |row| Some(row.clone()))?;
    let creates = |record: &&Record| record.thing == row.thing && matches!(record.operation, Operation::Create { .. });
    let acked = run.records.iter().find(creates)?.outcome != Outcome::Unknown;
    run.ending.rows.push(row.clone());
    broken(row.thing, if acked { Broken::Doubled(2) } else { Broken::UnknownTwice(2) })
}

fn refuse_what_was_done(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let row = any(&run.ending.rows, dice, |row| Some(row.clone()))?;
    let wrote = |record: &&mut Record| match &record.operation {
        Operation::Create { content } | Operation::Update { content, .. } => *content == row.content,
        _ => false,
    };
    run.records.iter_mut().find(wrote)?.outcome = Outcome::Refused;
    broken(row.thing, Broken::RefusedButDone(row.content))
}

fn invent_a_content(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let index = any(&run.ending.rows.iter().enumerate().collect::<Vec<_>>(), dice, |(index, _)| Some(*index))?;
    let row = &mut run.ending.rows[index];
    "rubbish".clone_into(&mut row.content);
    broken(row.thing.clone(), Broken::FromNowhere("rubbish".to_owned()))
}

/// Gives back the deleted, with what it was.
fn bring_back_the_deleted(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let deleted = |record: &Record| {
        let acked =
            matches!(record.operation, Operation::Delete { .. }) && record.outcome == Outcome::Acked(Seen::Absent);
        let mut known = run.records.iter().filter(|other| acked && other.thing == record.thing);
        let (version, content) = known.find_map(|other| present(&other.outcome))?;
        Some(Row { thing: record.thing.clone(), version, content: content.to_owned() })
    };
    let row = any(&run.records, dice, deleted)?;
    run.ending.rows.push(row.clone());
    broken(row.thing, Broken::Undeleted)
}

fn accept_two_updates_of_one_version(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let acked = |record: &Record| match record.operation {
        Operation::Update { on, .. } if present(&record.outcome).is_some() => Some((record.thing.clone(), on)),
        _ => None,
    };
    let (thing, on) = any(&run.records, dice, acked)?;
    let content = "the other one".to_owned();
    let end = run.records.iter().map(|record| record.end).max()?;
    run.records.push(Record {
        client: 9,
        thing: thing.clone(),
        operation: Operation::Update { on, content: content.clone() },
        begin: end + ms(1),
        end: end + ms(2),
        outcome: Outcome::Acked(Seen::Present { version: on + 1, content }),
    });
    assert!(run.check().contains(&broken(thing.clone(), Broken::Mixed(on + 1))?));
    broken(thing, Broken::Overwritten(on))
}

/// A client that has seen nothing yet is shown an old version, long after somebody knew a newer.
fn serve_a_stale_read(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let row = any(&run.ending.rows, dice, |row| Some(row.clone()))?;
    let of_thing = || run.records.iter().filter(|record| record.thing == row.thing);
    let (version, content) = any(&of_thing().collect::<Vec<_>>(), dice, |record| present(&record.outcome))?;
    let newer = |record: &Record| Some((record.end, present(&record.outcome)?.0)).filter(|(_, newer)| *newer > version);
    let (known_at, known) =
        of_thing().filter_map(newer).min_by_key(|(end, known)| (*end, std::cmp::Reverse(*known)))?;
    let (begin, end) = (known_at + PROMISE.staleness, known_at + PROMISE.staleness + ms(1));
    let outcome = Outcome::Acked(Seen::Present { version, content: content.to_owned() });
    let (client, thing, saw, known) = (9, row.thing, Some(version), Some(known));
    run.records.push(Record { client, thing: thing.clone(), operation: Operation::Read, begin, end, outcome });
    // A moment earlier it would have been allowed.
    let mut earlier = run.clone();
    earlier.records.last_mut()?.begin -= ms(1);
    assert_eq!(earlier.check(), vec![]);
    broken(thing, Broken::Stale { client, saw, known })
}

fn deny_what_is_there(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let row =
        any(&run.ending.rows, dice, |row| if may_be_deleted(run, &row.thing) { None } else { Some(row.clone()) })?;
    let (client, known, thing) = (9, Some(newest_seen(run, &row.thing)?), row.thing);
    let begin = run.records.iter().map(|record| record.end).max()? + PROMISE.staleness;
    let (operation, outcome) = (Operation::Read, Outcome::Acked(Seen::Absent));
    run.records.push(Record { client, thing: thing.clone(), operation, begin, end: begin + ms(1), outcome });
    broken(thing, Broken::Stale { client, saw: None, known })
}

/// At once after a client has seen a version, so that it is not stale, it is shown an older one.
fn go_backwards(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let place = |record: &Record| {
        let (newer, _) = present(&record.outcome)?;
        let of_thing = run.records.iter().filter(|other| other.thing == record.thing);
        let (older, content) =
            of_thing.filter_map(|other| present(&other.outcome)).find(|(version, _)| *version < newer)?;
        let outcome = Outcome::Acked(Seen::Present { version: older, content: content.to_owned() });
        let (begin, end) = (record.end, record.end);
        let read = Record { operation: Operation::Read, begin, end, outcome, ..record.clone() };
        Some((read, newer, older))
    };
    let (read, newer, older) = any(&run.records, dice, place)?;
    let (client, thing) = (read.client, read.thing.clone());
    run.records.push(read);
    broken(thing, Broken::Backwards { client, first: Some(newer), then: Some(older) })
}

fn lose_an_event(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let acked = |record: &Record| match (&record.operation, &record.outcome) {
        (Operation::Delete { .. }, Outcome::Acked(_)) => Some((record.thing.clone(), Change::Deleted)),
        (_, outcome) => Some((record.thing.clone(), Change::Written(present(outcome)?.0))),
    };
    let (thing, change) = any(&run.records, dice, acked)?;
    run.events().retain(|event| (&event.thing, event.change) != (&thing, change));
    broken(thing, Broken::EventLost(change))
}

fn send_an_event_under_two_ids(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let mut event = any(run.events(), dice, |event| Some(event.clone()))?;
    "another".clone_into(&mut event.id);
    run.events().push(event.clone());
    broken(event.thing, Broken::EventTwice(event.change))
}

fn send_two_events_under_one_id(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let one = any(run.events(), dice, |event| Some(event.clone()))?;
    let differs = |event: &Event| if event.id == one.id { None } else { Some(event.clone()) };
    let other = Event { id: one.id.clone(), ..any(run.events(), dice, differs)? };
    run.events().push(other.clone());
    broken(other.thing, Broken::EventIdShared(one.id))
}

fn announce_what_never_was(run: &mut Run, dice: &mut Dice) -> Option<Violation> {
    let row = any(&run.ending.rows, dice, |row| Some(row.clone()))?;
    let change = if dice.percent(50) { Change::Deleted } else { Change::Written(row.version + 1) };
    run.events().push(Event { id: "phantom".to_owned(), thing: row.thing.clone(), change });
    broken(row.thing, Broken::EventWithoutChange(change))
}

const BREAKAGES: &[Breakage] = &[
    lose_a_row,
    lose_an_update,
    double_a_row,
    refuse_what_was_done,
    invent_a_content,
    bring_back_the_deleted,
    accept_two_updates_of_one_version,
    serve_a_stale_read,
    deny_what_is_there,
    go_backwards,
    lose_an_event,
    send_an_event_under_two_ids,
    send_two_events_under_one_id,
    announce_what_never_was,
];

proptest! {
    #[test]
    fn a_correct_history_passes(seed: u64) {
        prop_assert_eq!(correct(seed).check(), vec![]);
    }

    #[test]
    fn whatever_is_broken_is_found(seed: u64, which in 0..BREAKAGES.len()) {
        let mut run = correct(seed);
        let broken = BREAKAGES[which](&mut run, &mut Dice::new(!seed));
        prop_assume!(broken.is_some());
        let (found, broken) = (run.check(), broken.unwrap());
        prop_assert!(found.contains(&broken), "{:?} is not among {:?}", broken, found);
    }

    #[test]
    fn the_order_of_the_records_says_nothing(seed: u64) {
        let mut run = correct(seed);
        let lost = lose_an_event(&mut run, &mut Dice::new(seed));
        let found = run.check();
        run.records.reverse();
        run.ending.rows.reverse();
        run.events().reverse();
        prop_assert_eq!(run.check(), found);
        prop_assert!(lost.is_some());
    }
}

#[test]
fn every_way_to_break_has_a_place_in_most_histories() {
    for (which, breakage) in BREAKAGES.iter().enumerate() {
        let places = (0..50).filter(|seed| breakage(&mut correct(*seed), &mut Dice::new(*seed)).is_some()).count();
        assert!(places >= 10, "breakage {which} found a place in {places} of 50 histories");
    }
}

#[test]
fn without_listeners_no_event_is_missed() {
    let mut run = correct(1);
    run.ending.events = None;
    assert_eq!(run.check(), vec![]);
}

#[test]
#[should_panic(expected = "version 1 was acknowledged and is missing")]
fn what_is_broken_is_told_in_words() {
    let outcome = Outcome::Acked(Seen::Present { version: 1, content: "a".to_owned() });
    let operation = Operation::Create { content: "a".to_owned() };
    let record = Record { client: 0, thing: "lost".to_owned(), operation, begin: ms(0), end: ms(1), outcome };
    inkstone_testkit::history::assert_kept(&[record], &Ending::default(), PROMISE);
}

#[test]
fn a_client_that_moves_may_see_what_it_knew_late_but_no_later_than_promised() {
    let record = |operation, begin: u64, version: u64| Record {
        client: 1,
        thing: "thing".to_owned(),
        operation,
        begin: ms(begin),
        end: ms(begin + 10),
        outcome: Outcome::Acked(Seen::Present { version, content: format!("content {version}") }),
    };
    let create = Operation::Create { content: "content 1".to_owned() };
    let update = Operation::Update { on: 1, content: "content 2".to_owned() };
    let written = [record(create, 0, 1), record(update, 20, 2)];
    let row = Row { thing: "thing".to_owned(), version: 2, content: "content 2".to_owned() };
    let ending = Ending { rows: vec![row], events: None };
    // It knew of version 2 at 30 ms; saw it elsewhere again at 60, which makes it no newer.
    let seen = record(Operation::Read, 50, 2);
    for (begin, moving, is_kept) in [(100, true, true), (229, true, true), (230, true, false), (100, false, false)] {
        let mut records = written.to_vec();
        records.extend([seen.clone(), record(Operation::Read, begin, 1)]);
        let found = check(&records, &ending, Promise { moving, ..PROMISE });
        assert_eq!(found.is_empty(), is_kept, "read at {begin}, moving: {moving}: {found:?}");
    }
}
