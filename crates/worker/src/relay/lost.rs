//! Histories that go back, and what is removed before it is seen: whatever happens to the database, what a
//! consumer makes of the changes is what the database says.

use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, AtomicI64};

use inkstone_core::clock::SystemClock;
use inkstone_core::{Code, Error};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

/// A database whose history can be cut. Each change has a time of its own.
#[derive(Default)]
struct Database {
    truth: StdMutex<Vec<RecordedEvent>>,
    /// Changes that were removed, being old.
    removed: StdMutex<usize>,
    made: AtomicU64,
    /// How often another server took over.
    server_run: AtomicI64,
    cursor: StdMutex<Option<i64>>,
}

impl Database {
    fn commit(&self, changes: usize) {
        let mut truth = self.truth.lock().unwrap();
        for _ in 0..changes {
            let change_seq = i64::try_from(truth.len()).unwrap() + 1;
            let made = self.made.fetch_add(1, Ordering::SeqCst);
            let at = Timestamp::from_microsecond(made.cast_signed()).unwrap();
            truth.push(RecordedEvent { change_seq, kind: "test".into(), entities: vec![], at });
        }
    }

    /// Loses the last changes, but for the first one of all.
    fn lose(&self, changes: usize) {
        let mut truth = self.truth.lock().unwrap();
        let left = truth.len().saturating_sub(changes).max(1);
        truth.truncate(left);
        let mut removed = self.removed.lock().unwrap();
        *removed = (*removed).min(left - 1);
    }

    /// Removes old changes, but for the last ones.
    fn trim(&self, left: usize) {
        let removed = self.truth.lock().unwrap().len().saturating_sub(left.max(1));
        let mut before = self.removed.lock().unwrap();
        *before = removed.max(*before);
    }
}

#[async_trait]
impl ChangeFeed for Database {
    async fn look_after(&self, _: &Context, change_seq: i64, limit: u32) -> Result<Look> {
        let (truth, removed) = (self.truth.lock().unwrap(), *self.removed.lock().unwrap());
        let after = truth.iter().skip(removed).filter(|event| event.change_seq > change_seq);
        let events: Vec<RecordedEvent> = after.take(limit as usize).cloned().collect();
        let server_run = events.first().map(|_| ServerRun(self.server_run.load(Ordering::SeqCst)));
        Ok(Look { events, server_run })
    }

    async fn latest_change(&self, _: &Context) -> Result<i64> {
        Ok(self.truth.lock().unwrap().last().map_or(0, |event| event.change_seq))
    }

    async fn cursor(&self, _: &Context, _: &str) -> Result<Option<i64>> {
        Ok(*self.cursor.lock().unwrap())
    }

    async fn advance_cursor(&self, _: &Context, _: &str, change_seq: i64) -> Result<()> {
        let mut cursor = self.cursor.lock().unwrap();
        *cursor = (*cursor).max(Some(change_seq));
        Ok(())
    }
}

/// Something that is made of all changes: right if it is what the database says.
struct View {
    database: Arc<Database>,
    made_of: StdMutex<Vec<RecordedEvent>>,
    restarts: AtomicU64,
    refuses: AtomicBool,
    /// Who told of the changes, each time that it was somebody else, and whether somebody had told before.
    turns: StdMutex<Vec<(i64, bool)>>,
}

impl View {
    fn is_right(&self) -> bool {
        *self.made_of.lock().unwrap() == *self.database.truth.lock().unwrap()
    }

    fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Consumer for View {
    async fn consume(&self, _: &Context, events: &[RecordedEvent]) -> Result<()> {
        self.made_of.lock().unwrap().extend_from_slice(events);
        Ok(())
    }

    async fn start_over(&self, _: &Context, change_seq: i64) -> Result<()> {
        if self.refuses.swap(false, Ordering::SeqCst) {
            return Err(Error::refused(Code::Conflict, "not now"));
        }
        self.restarts.fetch_add(1, Ordering::SeqCst);
        let truth = self.database.truth.lock().unwrap();
        *self.made_of.lock().unwrap() = truth.iter().filter(|event| event.change_seq <= change_seq).cloned().collect();
        Ok(())
    }

    async fn turn_to(&self, _: &Context, server_run: ServerRun, since: Option<Instant>) -> Result<()> {
        if self.refuses.swap(false, Ordering::SeqCst) {
            return Err(Error::refused(Code::Conflict, "not now"));
        }
        self.turns.lock().unwrap().push((server_run.0, since.is_some()));
        Ok(())
    }
}

/// A database with so many changes, and who has followed all of them.
async fn followed(changes: usize, resume: Resume) -> (Arc<Database>, Arc<View>, Relay) {
    let database = Arc::new(Database::default());
    database.commit(changes);
    let view = View {
        database: database.clone(),
        made_of: StdMutex::default(),
        restarts: AtomicU64::new(0),
        refuses: AtomicBool::new(false),
        turns: StdMutex::default(),
    };
    if matches!(resume, Resume::Latest) {
        view.made_of.lock().unwrap().clone_from(&database.truth.lock().unwrap());
    }
    let view = Arc::new(view);
    let settings = RelaySettings { batch: 3, ..RelaySettings::default() };
    let relay = Relay::new(database.clone(), view.clone(), resume, settings, Arc::new(SystemClock));
    relay.catch_up().await.unwrap();
    assert!(view.is_right());
    (database, view, relay)
}

#[tokio::test]
async fn a_history_that_goes_back_is_noticed_whatever_was_written_since() {
    for resume in [Resume::Latest, Resume::Recent(100), Resume::Cursor("test")] {
        // It is shorter than before, as long as before with another last change, and longer.
        for (lost, written) in [(2, 0), (2, 1), (2, 2), (2, 9)] {
            let (database, view, relay) = followed(5, resume).await;
            database.lose(lost);
            database.commit(written);
            relay.catch_up().await.unwrap();
            assert!(view.is_right(), "{written} after {lost} were lost, {resume:?}");
            assert_eq!(view.restarts(), 1);
            assert_eq!(relay.position().await, Some(3 + i64::try_from(written).unwrap()));
            database.commit(4);
            relay.catch_up().await.unwrap();
            assert!(view.is_right());
            assert_eq!(view.restarts(), 1, "once is enough");
        }
    }
}

#[tokio::test]
async fn who_could_not_let_go_is_told_again() {
    let (database, view, relay) = followed(5, Resume::Latest).await;
    database.lose(2);
    database.commit(1);
    view.refuses.store(true, Ordering::SeqCst);
    assert!(relay.catch_up().await.is_err());
    relay.catch_up().await.unwrap();
    assert!(view.is_right());
}

#[tokio::test]
async fn nothing_is_let_go_when_old_changes_are_removed_behind_it() {
    let (database, view, relay) = followed(5, Resume::Latest).await;
    database.trim(0);
    relay.catch_up().await.unwrap();
    database.commit(1);
    relay.catch_up().await.unwrap();
    assert!(view.is_right());
    assert_eq!(view.restarts(), 0);
    // It slept, and so did nobody else.
    database.commit(3);
    database.trim(0);
    relay.catch_up().await.unwrap();
    assert!(view.is_right());
    assert_eq!(view.restarts(), 1);
}

#[tokio::test]
async fn another_server_that_tells_of_the_changes_is_noticed_once_and_whoever_refuses_is_told_again() {
    let (database, view, relay) = followed(5, Resume::Latest).await;
    relay.catch_up().await.unwrap();
    assert_eq!(*view.turns.lock().unwrap(), [(0, false)]);
    database.server_run.store(7, Ordering::SeqCst);
    view.refuses.store(true, Ordering::SeqCst);
    assert!(relay.catch_up().await.is_err());
    database.commit(4);
    relay.catch_up().await.unwrap();
    relay.catch_up().await.unwrap();
    assert_eq!(*view.turns.lock().unwrap(), [(0, false), (7, true)]);
    // Changes were lost as well that had been handed on: that is told first.
    database.lose(3);
    database.server_run.store(8, Ordering::SeqCst);
    relay.catch_up().await.unwrap();
    assert_eq!((view.restarts(), &view.turns.lock().unwrap()[2..]), (1, &[(8, true)][..]));
    assert!(view.is_right());
}

#[derive(Debug, Clone)]
enum Step {
    Commit(usize),
    Lose(usize),
    Trim(usize),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..8_usize).prop_map(Step::Commit),
        (1..5_usize).prop_map(Step::Lose),
        (0..5_usize).prop_map(Step::Trim),
        Just(Step::Look),
    ]
}

proptest! {
    #[test]
    fn after_a_look_all_is_as_the_database_says(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (database, view, relay) = followed(5, Resume::Latest).await;
            for step in steps {
                match step {
                    Step::Commit(changes) => database.commit(changes),
                    Step::Lose(changes) => database.lose(changes),
                    Step::Trim(left) => database.trim(left),
                    Step::Look => {
                        relay.catch_up().await.unwrap();
                        assert!(view.is_right());
                    }
                }
            }
        });
    }
}
