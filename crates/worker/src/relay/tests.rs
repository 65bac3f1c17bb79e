use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use inkstone_core::clock::SystemClock;
use inkstone_core::{Code, Error};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::*;
use crate::Job as _;
use crate::jobs::{Growing, RemoveOld};

/// A feed in memory that can fail.
#[derive(Default)]
struct Feed {
    events: StdMutex<Vec<RecordedEvent>>,
    cursor: StdMutex<Option<i64>>,
    failures_to_come: AtomicUsize,
    reads: AtomicUsize,
    hang: AtomicBool,
}

impl Feed {
    fn commit(&self, change_seqs: impl IntoIterator<Item = i64>) {
        let event =
            |change_seq| RecordedEvent { change_seq, kind: "test".into(), entities: vec![], at: Timestamp::UNIX_EPOCH };
        self.events.lock().unwrap().extend(change_seqs.into_iter().map(event));
    }

    fn fail(&self, times: usize) {
        self.failures_to_come.store(times, Ordering::SeqCst);
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn look_after(&self, _: &Context, change_seq: i64, limit: u32) -> Result<Look> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let fails = self.failures_to_come.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fails.is_ok() {
            return Err(Error::try_later(Code::Unavailable, "down", Duration::from_secs(1)));
        }
        let events = self.events.lock().unwrap();
        let after = events.iter().filter(|event| event.change_seq > change_seq);
        Ok(Look { events: after.take(limit as usize).cloned().collect(), server_run: None })
    }

    async fn latest_change(&self, _: &Context) -> Result<i64> {
        Ok(self.events.lock().unwrap().last().map_or(0, |event| event.change_seq))
    }

    async fn cursor(&self, _: &Context, _: &str) -> Result<Option<i64>> {
        Ok(*self.cursor.lock().unwrap())
    }

    async fn advance_cursor(&self, _: &Context, _: &str, change_seq: i64) -> Result<()> {
        *self.cursor.lock().unwrap() = Some(change_seq);
        Ok(())
    }
}

/// Notes what it is told; refuses a few times first.
struct Witness {
    seen: StdMutex<Vec<i64>>,
    refusals_to_come: AtomicUsize,
    progress: Semaphore,
}

impl Default for Witness {
    fn default() -> Self {
        Self { seen: StdMutex::default(), refusals_to_come: AtomicUsize::new(0), progress: Semaphore::new(0) }
    }
}

impl Witness {
    fn seen(&self) -> Vec<i64> {
        self.seen.lock().unwrap().clone()
    }

    async fn wait_for(&self, events: u32) {
        self.progress.acquire_many(events).await.unwrap().forget();
    }
}

#[async_trait]
impl Consumer for Witness {
    async fn start_over(&self, _: &Context, _: i64) -> Result<()> {
        panic!("no history was lost")
    }

    async fn consume(&self, _: &Context, events: &[RecordedEvent]) -> Result<()> {
        let refuses =
            self.refusals_to_come.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refuses.is_ok() {
            return Err(Error::refused(Code::Conflict, "not now"));
        }
        self.seen.lock().unwrap().extend(events.iter().map(|event| event.change_seq));
        self.progress.add_permits(events.len());
        Ok(())
    }
}

fn relay(feed: &Arc<Feed>, witness: &Arc<Witness>, resume: Resume) -> Arc<Relay> {
    let settings = RelaySettings { batch: 3, ..RelaySettings::default() };
    Arc::new(Relay::new(feed.clone(), witness.clone(), resume, settings, Arc::new(SystemClock)))
}

#[tokio::test]
async fn every_change_after_the_beginning_is_handed_on_once_and_in_order() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    feed.commit([1, 2]);
    let relay = relay(&feed, &witness, Resume::Latest);
    relay.begin().await.unwrap();
    // Numbers may have gaps, and more come than fit into one batch.
    feed.commit([3, 5, 6, 7, 10, 11, 12, 13]);
    assert_eq!(relay.catch_up().await.unwrap(), 8);
    assert_eq!(relay.catch_up().await.unwrap(), 0);
    assert_eq!(witness.seen(), [3, 5, 6, 7, 10, 11, 12, 13]);
    assert_eq!(*feed.cursor.lock().unwrap(), None, "what begins at the newest change keeps no cursor");
}

#[tokio::test]
async fn a_consumer_with_a_name_resumes_where_it_stopped() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    feed.commit([1, 2, 3, 4]);
    relay(&feed, &witness, Resume::Cursor("test")).catch_up().await.unwrap();
    feed.commit([5, 6]);
    relay(&feed, &witness, Resume::Cursor("test")).catch_up().await.unwrap();
    assert_eq!(witness.seen(), [1, 2, 3, 4, 5, 6]);
}

/// Notes how far things may be removed.
#[derive(Default)]
struct Removals(StdMutex<Vec<i64>>);

#[async_trait]
impl Growing for Removals {
    async fn remove_old(&self, _: &Context, _: Timestamp, passed: i64) -> Result<u64> {
        self.0.lock().unwrap().push(passed);
        Ok(0)
    }
}

#[tokio::test]
async fn nothing_is_removed_that_this_process_has_not_passed() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let (relay, removals) = (relay(&feed, &witness, Resume::Latest), Arc::new(Removals::default()));
    let clock: SharedClock = Arc::new(SystemClock);
    let job = RemoveOld { store: removals.clone(), relay: relay.clone(), clock: clock.clone() };
    let ctx = crate::context(&clock, "test", Duration::from_secs(5));
    feed.commit([1, 2]);
    job.run(&ctx).await.unwrap();
    relay.begin().await.unwrap();
    job.run(&ctx).await.unwrap();
    feed.commit([3, 4]);
    witness.refusals_to_come.store(1, Ordering::SeqCst);
    assert!(relay.catch_up().await.is_err());
    job.run(&ctx).await.unwrap();
    relay.catch_up().await.unwrap();
    job.run(&ctx).await.unwrap();
    assert_eq!(*removals.0.lock().unwrap(), [0, 2, 2, 4]);
}

#[tokio::test]
async fn what_the_consumer_refused_comes_again() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let relay = relay(&feed, &witness, Resume::Cursor("test"));
    feed.commit([1, 2]);
    witness.refusals_to_come.store(1, Ordering::SeqCst);
    assert!(relay.catch_up().await.is_err());
    assert_eq!(*feed.cursor.lock().unwrap(), Some(0), "it is known, so that nothing is removed before it comes again");
    relay.catch_up().await.unwrap();
    assert_eq!(witness.seen(), [1, 2]);
}

#[tokio::test]
async fn two_who_catch_up_at_once_keep_the_order_and_repeat_nothing() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let relay = relay(&feed, &witness, Resume::Latest);
    relay.begin().await.unwrap();
    feed.commit(1..=50);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let relay = relay.clone();
            tokio::spawn(async move { relay.catch_up().await.unwrap() })
        })
        .collect();
    let mut handed_on = 0;
    for task in tasks {
        handed_on += task.await.unwrap();
    }
    assert_eq!(handed_on, 50);
    assert_eq!(witness.seen(), (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_who_catch_up_at_once_share_the_work_but_nobody_returns_too_early() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let relay = relay(&feed, &witness, Resume::Latest);
    relay.begin().await.unwrap();
    // Held, so that all of them wait at once.
    let held = relay.progress.lock().await;
    let tasks: Vec<_> = (1..=100)
        .map(|number| {
            let (relay, feed, witness) = (relay.clone(), feed.clone(), witness.clone());
            tokio::spawn(async move {
                feed.commit([number]);
                relay.catch_up().await.unwrap();
                assert!(witness.seen().contains(&number), "{number} was not handed on when its writer went on");
            })
        })
        .collect();
    while relay.tickets.load(Ordering::SeqCst) < 101 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    // 100 changes in batches of three, and the last look: nobody but the first one had to work.
    assert_eq!(feed.reads.load(Ordering::SeqCst), 34);
}

#[tokio::test]
async fn work_that_was_given_up_covers_nobody() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let relay = relay(&feed, &witness, Resume::Latest);
    relay.begin().await.unwrap();
    feed.commit([1]);
    feed.hang.store(true, Ordering::SeqCst);
    let mut first = Box::pin(relay.catch_up());
    let mut second = Box::pin(relay.catch_up());
    // Both have begun: the first one works and hangs, the second one waits for it.
    assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());
    feed.hang.store(false, Ordering::SeqCst);
    drop(first);
    assert_eq!(second.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_written_does_not_wait_for_each_look_before_it() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let relay = relay(&feed, &witness, Resume::Latest);
    relay.begin().await.unwrap();
    feed.hang.store(true, Ordering::SeqCst);
    let asked = tokio::time::Instant::now();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            tokio::spawn({
                let relay = relay.clone();
                async move { relay.catch_up_soon().await }
            })
        })
        .collect();
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    }
    assert_eq!(asked.elapsed(), RelaySettings::default().patience, "all of them at once");
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_running_relay_finds_changes_that_nobody_told_of() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let relay = relay(&feed, &witness, Resume::Latest);
    relay.begin().await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (relay, shutdown) = (relay.clone(), shutdown.clone());
        async move { relay.run(shutdown).await }
    });
    feed.commit([1]);
    witness.wait_for(1).await;
    // The store goes away and comes back: what was committed meanwhile is not lost.
    feed.fail(5);
    feed.commit([2, 3]);
    witness.wait_for(2).await;
    assert_eq!(witness.seen(), [1, 2, 3]);
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_woken_relay_does_not_wait_and_the_last_changes_are_handed_on_at_the_end() {
    let (feed, witness) = (Arc::new(Feed::default()), Arc::new(Witness::default()));
    let settings = RelaySettings { poll: Duration::from_hours(24), ..RelaySettings::default() };
    let relay = Arc::new(Relay::new(feed.clone(), witness.clone(), Resume::Latest, settings, Arc::new(SystemClock)));
    relay.begin().await.unwrap();
    let begin = tokio::time::Instant::now();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (relay, shutdown) = (relay.clone(), shutdown.clone());
        async move { relay.run(shutdown).await }
    });
    feed.commit([1]);
    relay.wake();
    witness.wait_for(1).await;
    feed.commit([2]);
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(witness.seen(), [1, 2]);
    assert_eq!(begin.elapsed(), Duration::ZERO, "nobody waited for the poll");
}
