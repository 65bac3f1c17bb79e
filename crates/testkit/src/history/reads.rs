//! What reads show: nothing older than promised, and nothing older than the same client knew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::view::Thing;
use super::{Broken, Operation, Outcome, Promise, Record, Seen, Violation};

/// Every read shows what was known `staleness` before it began.
pub(super) fn check(thing: &Thing<'_>, staleness: Duration, found: &mut Vec<Violation>) {
    for read in thing.records.iter().filter(|record| record.operation == Operation::Read) {
        let Outcome::Acked(seen) = &read.outcome else { continue };
        let settled = |record: &&&Record| record.end + staleness <= read.begin;
        let known = thing
            .records
            .iter()
            .filter(settled)
            .filter_map(|record| record.present())
            .map(|(version, _)| version)
            .max();
        let deleted = thing.deletes().filter(settled).any(|record| record.is_acked());
        let stale = |saw, known| thing.broken(Broken::Stale { client: read.client, saw, known });
        match seen {
            Seen::Present { version, .. } if deleted => found.push(stale(Some(*version), None)),
            Seen::Present { version, .. } if known > Some(*version) => found.push(stale(Some(*version), known)),
            Seen::Absent if known.is_some() && !may_be_deleted(thing, read.end) => found.push(stale(None, known)),
            _ => {}
        }
    }
}

/// What one client is told of one thing never goes backwards; if it moves between nodes, not by more
/// than these may differ.
pub(super) fn check_clients(
    records: &[Record],
    things: &BTreeMap<&str, Thing<'_>>,
    promise: Promise,
    found: &mut Vec<Violation>,
) {
    let mut told: Vec<&Record> = records.iter().filter(|record| record.is_acked()).collect();
    told.sort_by_key(|record| (record.client, record.begin));
    let slack = if promise.moving { promise.staleness } else { Duration::ZERO };
    // What each client knows, and since when: the version it saw last; none once it has seen the thing go.
    let mut knows: BTreeMap<(usize, &str), (Option<u64>, Duration)> = BTreeMap::new();
    for record in told {
        let key = (record.client, record.thing.as_str());
        let known = knows.get(&key).copied();
        let first = known.map(|(version, _)| version);
        let then = record.present().map(|(version, _)| version);
        let backwards = match (first, then) {
            (None, _) | (Some(None), None) => false,
            (Some(None), Some(_)) => true,
            (Some(Some(first)), Some(then)) => then < first,
            (Some(Some(_)), None) => !things.get(key.1).is_some_and(|thing| may_be_deleted(thing, record.end)),
        };
        // A write is decided on what is there; only reads may lag.
        let may_lag = record.operation == Operation::Read && known.is_some_and(|(_, at)| record.begin < at + slack);
        if backwards {
            if !may_lag {
                let what = Broken::Backwards { client: record.client, first: first.flatten(), then };
                found.push(Violation { thing: record.thing.clone(), what });
            }
            continue;
        }
        // Absent before it was ever seen may only mean: not there yet.
        if first.is_some() || then.is_some() || record.is_delete() {
            // What is seen again has been known since it was seen first.
            let since = known.filter(|(version, _)| *version == then).map_or(record.end, |(_, since)| since);
            knows.insert(key, (then, since));
        }
    }
}

/// Whether somebody had asked for its deletion by then, and was not refused.
fn may_be_deleted(thing: &Thing<'_>, by: Duration) -> bool {
    thing.deletes().any(|record| record.begin <= by)
}
