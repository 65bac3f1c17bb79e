//! What clients were told, held against what is there afterwards.
//!
//! Each request of each client is a [`Record`]: what was asked, between which two moments, and how
//! it ended. After the run, [`check`] compares all of them with each other and with the
//! [`Ending`], and names every promise that was broken. It knows nothing of HTTP or SQL.
//!
//! Two rules make histories decidable, and who records them keeps to both. A thing has a name that
//! is chosen before it is created, and is created by one record at most (asking again with the
//! same idempotency key is the same record). Every write has a content of its own.

mod events;
mod reads;
mod rows;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One request of one client, from the moment it was sent until its answer was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who asked. A client waits for each answer before it asks again.
    pub client: usize,
    /// What it was about.
    pub thing: String,
    /// What was asked.
    pub operation: Operation,
    /// When it was sent, since the run began.
    pub begin: Duration,
    /// When the answer had come, or was given up.
    pub end: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// What is asked of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes the thing.
    Create {
        /// Nobody else writes this.
        content: String,
    },
    /// Changes the thing, if it is still at this version.
    Update {
        /// The version that the client has seen.
        on: u64,
        /// Nobody else writes this.
        content: String,
    },
    /// Deletes the thing, if it is still at this version.
    Delete {
        /// The version that the client has seen.
        on: u64,
    },
    /// Reads the thing.
    Read,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, and this is how the thing is according to the answer.
    Acked(Seen),
    /// It was refused for good: nothing has happened, and nothing will.
    Refused,
    /// No answer, or one that says nothing. It may have happened, or happen yet, once.
    Unknown,
}

/// How somebody has seen a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is there.
    Present {
        /// Grows with every write.
        version: u64,
        /// What was written.
        content: String,
    },
    /// It is not there (yet, or any more).
    Absent,
}

/// What is there after the run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ending {
    /// Everything in the store; what is there twice is here twice.
    pub rows: Vec<Row>,
    /// Every event as it was sent, repetitions too; `None` if nobody listened.
    pub events: Option<Vec<Event>>,
}

/// A thing in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub thing: String,
    /// At which version.
    pub version: u64,
    /// With which content.
    pub content: String,
}

/// An event that was sent. A repetition has the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// By which a receiver recognises a repetition.
    pub id: String,
    /// What it is about.
    pub thing: String,
    /// What has happened.
    pub change: Change,
}

/// A change that is announced by one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was created or updated, to this version.
    Written(u64),
    /// It was deleted.
    Deleted,
}

/// What was promised beyond keeping what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promise {
    /// How old a read may be: everything acknowledged (or seen) longer than this before a read
    /// began is in it. Zero is the promise of a single node. A client's own writes, and what it
    /// has seen, are in its later reads whatever this is, as long as it stays where it is.
    pub staleness: Duration,
    /// Whether clients go from one node to another and do not say what they have seen. Then their own
    /// writes, and what they have seen, are in their later reads after `staleness` only.
    pub moving: bool,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// To which thing.
    pub thing: String,
    /// In which way.
    pub what: Broken,
}

/// The ways in which a promise can be broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// This version was acknowledged, and it is not there, or only at an older version.
    Missing(u64),
    /// It is there so many times, though its creation was acknowledged once.
    Doubled(usize),
    /// It is there so many times, though nobody knew whether it was created.
    UnknownTwice(usize),
    /// This content was refused, and it was seen or is there all the same.
    RefusedButDone(String),
    /// This content was seen or is there, though nobody had written it (yet).
    FromNowhere(String),
    /// This version has two contents.
    Mixed(u64),
    /// Two changes of this version were acknowledged: one was overwritten unseen.
    Overwritten(u64),
    /// Its deletion was acknowledged, and it is there.
    Undeleted,
    /// A read was older than promised.
    Stale {
        /// Whose read.
        client: usize,
        /// The version that it showed; none: absent.
        saw: Option<u64>,
        /// What had been known for long enough; none: its deletion.
        known: Option<u64>,
    },
    /// What a client was told went backwards.
    Backwards {
        /// Which client.
        client: usize,
        /// The version that it knew; none: that it had been deleted.
        first: Option<u64>,
        /// The version that it was told of afterwards; none: absent.
        then: Option<u64>,
    },
    /// This change has no event.
    EventLost(Change),
    /// This change has events under more than one id.
    EventTwice(Change),
    /// This id is on events of several changes.
    EventIdShared(String),
    /// This change was announced, and never was.
    EventWithoutChange(Change),
}

/// Names every promise that was broken, each once.
pub fn check(records: &[Record], ending: &Ending, promise: Promise) -> Vec<Violation> {
    let things = view::by_thing(records, ending);
    let mut found = Vec::new();
    for thing in things.values() {
        rows::check(thing, &mut found);
        reads::check(thing, promise.staleness, &mut found);
        events::check(thing, &mut found);
    }
    reads::check_clients(records, &things, promise, &mut found);
    events::check_ids(ending.events.as_deref().unwrap_or_default(), &mut found);
    found.sort();
    found.dedup();
    found
}

/// Asserts that no promise was broken.
///
/// # Panics
/// When one was, with the first few broken ones and everything that is known about their things.
#[track_caller]
pub fn assert_kept(records: &[Record], ending: &Ending, promise: Promise) {
    let violations = check(records, ending, promise);
    if violations.is_empty() {
        return;
    }
    let mut story = BTreeMap::new();
    for Violation { thing, .. } in violations.iter().take(5) {
        let records = records.iter().filter(|record| record.thing == *thing).map(|record| format!("{record:?}"));
        let rows = ending.rows.iter().filter(|row| row.thing == *thing).map(|row| format!("{row:?}"));
        let events = ending.events.iter().flatten().filter(|event| event.thing == *thing);
        let events = events.map(|event| format!("{event:?}"));
        story.insert(thing, records.chain(rows).chain(events).collect::<Vec<_>>().join("\n"));
    }
    let named: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
    let story: Vec<&str> = story.values().map(String::as_str).collect();
    panic!("{} promises were broken:\n{}\n\n{}", violations.len(), named.join("\n"), story.join("\n\n"));
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.thing)?;
        let at = |version: &Option<u64>| version.map_or("nothing".to_owned(), |version| format!("version {version}"));
        match &self.what {
            Broken::Missing(version) => write!(f, "version {version} was acknowledged and is missing"),
            Broken::Doubled(times) => write!(f, "created once, there {times} times"),
            Broken::UnknownTwice(times) => write!(f, "perhaps created, there {times} times"),
            Broken::RefusedButDone(content) => write!(f, "{content:?} was refused and was done"),
            Broken::FromNowhere(content) => write!(f, "nobody had written {content:?}"),
            Broken::Mixed(version) => write!(f, "version {version} has two contents"),
            Broken::Overwritten(version) => write!(f, "version {version} was changed twice"),
            Broken::Undeleted => write!(f, "deleted, and there"),
            Broken::Stale { client, saw, known: Some(known) } => {
                write!(f, "client {client} was shown {}, long after version {known}", at(saw))
            }
            Broken::Stale { client, saw, known: None } => {
                write!(f, "client {client} was shown {}, long after it was deleted", at(saw))
            }
            Broken::Backwards { client, first, then } => {
                write!(f, "client {client} was told of {} after {}", at(then), at(first))
            }
            Broken::EventLost(change) => write!(f, "no event says {change:?}"),
            Broken::EventTwice(change) => write!(f, "events of several ids say {change:?}"),
            Broken::EventIdShared(id) => write!(f, "another change was announced as {id}, too"),
            Broken::EventWithoutChange(change) => write!(f, "an event says {change:?}, which never was"),
        }
    }
}
