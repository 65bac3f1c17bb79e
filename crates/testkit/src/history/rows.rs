//! What is in the store afterwards: all of what was acknowledged, once, and nothing else.

use std::collections::BTreeMap;

use super::view::Thing;
use super::{Broken, Operation, Violation};

pub(super) fn check(thing: &Thing<'_>, found: &mut Vec<Violation>) {
    check_presence(thing, found);
    check_contents(thing, found);
    check_updates(thing, found);
}

fn check_presence(thing: &Thing<'_>, found: &mut Vec<Violation>) {
    let times = thing.rows.len();
    if times > 1 {
        let acked = thing.records.iter().any(|record| record.is_create() && record.is_acked());
        found.push(thing.broken(if acked { Broken::Doubled(times) } else { Broken::UnknownTwice(times) }));
    }
    if times > 0 && thing.is_deleted() {
        found.push(thing.broken(Broken::Undeleted));
    }
    // Seen is as good as acknowledged: what was shown to somebody had been committed.
    let Some(newest) = thing.newest_seen() else { return };
    let kept = thing.rows.iter().map(|row| row.version).max();
    let may_be_gone = kept.is_none() && thing.deletes().next().is_some();
    if kept < Some(newest) && !may_be_gone {
        found.push(thing.broken(Broken::Missing(newest)));
    }
}

/// Whatever was seen or is there was written by somebody who was not refused, and every version
/// has one content.
fn check_contents(thing: &Thing<'_>, found: &mut Vec<Violation>) {
    let seen = thing.records.iter().filter_map(|record| Some((record.present()?, Some(record.end))));
    let kept = thing.rows.iter().map(|row| ((row.version, row.content.as_str()), None));
    let mut versions: BTreeMap<u64, &str> = BTreeMap::new();
    for ((version, content), at) in seen.chain(kept) {
        match thing.records.iter().find(|record| record.written() == Some(content)) {
            Some(write) if !write.may_be_done() => {
                found.push(thing.broken(Broken::RefusedButDone(content.to_owned())));
            }
            Some(write) if at.is_none_or(|at| write.begin <= at) => {}
            _ => found.push(thing.broken(Broken::FromNowhere(content.to_owned()))),
        }
        if *versions.entry(version).or_insert(content) != content {
            found.push(thing.broken(Broken::Mixed(version)));
        }
    }
    for record in &thing.records {
        if let (Some(written), Some((version, shown))) = (record.written(), record.present())
            && written != shown
        {
            found.push(thing.broken(Broken::Mixed(version)));
        }
    }
}

/// Of those who change the same version, one at most succeeds; its version is newer.
fn check_updates(thing: &Thing<'_>, found: &mut Vec<Violation>) {
    let mut based: BTreeMap<u64, usize> = BTreeMap::new();
    for record in thing.records.iter().filter(|record| record.is_acked()) {
        let (Operation::Update { on, .. } | Operation::Delete { on }) = record.operation else { continue };
        let on_it = based.entry(on).or_default();
        *on_it += 1;
        if *on_it > 1 || record.present().is_some_and(|(version, _)| version <= on) {
            found.push(thing.broken(Broken::Overwritten(on)));
        }
    }
}
