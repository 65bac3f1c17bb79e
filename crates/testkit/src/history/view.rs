//! All that is known about one thing.

use std::collections::BTreeMap;

use super::{Broken, Ending, Event, Operation, Outcome, Record, Row, Seen, Violation};

/// One thing: who did what to it, and what is left.
pub(super) struct Thing<'a> {
    pub(super) name: &'a str,
    pub(super) records: Vec<&'a Record>,
    pub(super) rows: Vec<&'a Row>,
    /// `None` if nobody listened.
    pub(super) events: Option<Vec<&'a Event>>,
}

/// Everything by the name of what it is about.
pub(super) fn by_thing<'a>(records: &'a [Record], ending: &'a Ending) -> BTreeMap<&'a str, Thing<'a>> {
    fn entry<'m, 'a>(things: &'m mut BTreeMap<&'a str, Thing<'a>>, name: &'a str, listened: bool) -> &'m mut Thing<'a> {
        let events = listened.then(Vec::new);
        things.entry(name).or_insert_with(|| Thing { name, records: Vec::new(), rows: Vec::new(), events })
    }
    let listened = ending.events.is_some();
    let mut things = BTreeMap::new();
    for record in records {
        entry(&mut things, &record.thing, listened).records.push(record);
    }
    for row in &ending.rows {
        entry(&mut things, &row.thing, listened).rows.push(row);
    }
    for event in ending.events.iter().flatten() {
        entry(&mut things, &event.thing, listened).events.get_or_insert_default().push(event);
    }
    things
}

impl Record {
    /// What it would have left there, if it writes a content.
    pub(super) fn written(&self) -> Option<&str> {
        match &self.operation {
            Operation::Create { content } | Operation::Update { content, .. } => Some(content),
            Operation::Delete { .. } | Operation::Read => None,
        }
    }

    pub(super) fn is_create(&self) -> bool {
        matches!(self.operation, Operation::Create { .. })
    }

    pub(super) fn is_delete(&self) -> bool {
        matches!(self.operation, Operation::Delete { .. })
    }

    pub(super) fn is_acked(&self) -> bool {
        matches!(self.outcome, Outcome::Acked(_))
    }

    /// Whether it has, or may have, done what was asked.
    pub(super) fn may_be_done(&self) -> bool {
        self.outcome != Outcome::Refused
    }

    /// The version and the content that its answer shows.
    pub(super) fn present(&self) -> Option<(u64, &str)> {
        match &self.outcome {
            Outcome::Acked(Seen::Present { version, content }) => Some((*version, content)),
            _ => None,
        }
    }
}

impl<'a> Thing<'a> {
    /// A promise about it that was broken.
    pub(super) fn broken(&self, what: Broken) -> Violation {
        Violation { thing: self.name.to_owned(), what }
    }

    /// The newest version that anybody was told of.
    pub(super) fn newest_seen(&self) -> Option<u64> {
        self.records.iter().filter_map(|record| record.present()).map(|(version, _)| version).max()
    }

    /// Requests to delete it that were or may have been done.
    pub(super) fn deletes(&self) -> impl Iterator<Item = &&'a Record> {
        self.records.iter().filter(|record| record.is_delete() && record.may_be_done())
    }

    /// Whether its deletion was acknowledged.
    pub(super) fn is_deleted(&self) -> bool {
        self.deletes().any(|record| record.is_acked())
    }
}
