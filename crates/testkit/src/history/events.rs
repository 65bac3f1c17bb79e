//! What was announced: every change, each under one id, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::view::Thing;
use super::{Broken, Change, Event, Violation};

pub(super) fn check(thing: &Thing<'_>, found: &mut Vec<Violation>) {
    let Some(events) = &thing.events else { return };
    let mut announced: BTreeMap<Change, BTreeSet<&str>> = BTreeMap::new();
    for event in events {
        announced.entry(event.change).or_default().insert(&event.id);
    }
    for change in happened(thing).difference(&announced.keys().copied().collect()) {
        found.push(thing.broken(Broken::EventLost(*change)));
    }
    for (change, ids) in &announced {
        if ids.len() > 1 {
            found.push(thing.broken(Broken::EventTwice(*change)));
        }
    }
    let written: Vec<Change> = announced.keys().copied().filter(|change| *change != Change::Deleted).collect();
    let possible = thing.records.iter().filter(|record| record.written().is_some() && record.may_be_done()).count();
    // More versions than writes: the newest ones cannot be.
    for change in written.iter().skip(possible) {
        found.push(thing.broken(Broken::EventWithoutChange(*change)));
    }
    for change in announced.into_keys().filter(|change| !may_have_happened(thing, *change)) {
        found.push(thing.broken(Broken::EventWithoutChange(change)));
    }
}

/// No id stands for two changes.
pub(super) fn check_ids(events: &[Event], found: &mut Vec<Violation>) {
    let mut changes: BTreeMap<&str, (&str, Change)> = BTreeMap::new();
    for event in events {
        let change = (event.thing.as_str(), event.change);
        if *changes.entry(&event.id).or_insert(change) != change {
            found.push(Violation { thing: event.thing.clone(), what: Broken::EventIdShared(event.id.clone()) });
        }
    }
}

/// What has certainly happened: what anybody was told of, and what is left.
fn happened(thing: &Thing<'_>) -> BTreeSet<Change> {
    let seen = thing.records.iter().filter_map(|record| record.present()).map(|(version, _)| version);
    let kept = thing.rows.iter().map(|row| row.version);
    let mut changes: BTreeSet<Change> = seen.chain(kept).map(Change::Written).collect();
    let existed = !changes.is_empty();
    if thing.is_deleted() || (existed && thing.rows.is_empty() && thing.deletes().next().is_some()) {
        changes.insert(Change::Deleted);
    }
    changes
}

/// Whether what is left allows that this has happened.
fn may_have_happened(thing: &Thing<'_>, change: Change) -> bool {
    let kept = thing.rows.iter().map(|row| row.version).max();
    let may_be_gone = thing.deletes().next().is_some();
    match (change, kept) {
        (Change::Deleted, kept) => kept.is_none() && may_be_gone,
        (Change::Written(version), Some(kept)) => version <= kept,
        // Of a thing that was there and is not: it must have been deleted, or it is missing,
        // which is said elsewhere.
        (Change::Written(_), None) => may_be_gone || thing.newest_seen().is_some(),
    }
}
