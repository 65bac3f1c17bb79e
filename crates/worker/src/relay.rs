//! Follows the one order of all changes and hands them on: in order, each at least once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use inkstone_core::clock::SharedClock;
use inkstone_core::events::{ChangeFeed, Footprint, Look, Mark, RecordedEvent, ServerRun};
use inkstone_core::{Code, Context, Error, Result};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// How long after the end of an outage a relay goes on, at most. One look is one small query.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whoever wants to know what has changed.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Takes the next events, oldest first. After an error, or a crash, the same events come again.
    ///
    /// # Errors
    /// Whatever kept it from being done with all of them.
    async fn consume(&self, ctx: &Context, events: &[RecordedEvent]) -> Result<()>;

    /// Learns that what it was handed is not, or not all of it, what happened in the database as it is now:
    /// a replica took over that lacked the last changes, a backup was restored, or what comes next was
    /// removed before it was seen. Nothing that was made before this call is known to hold. What comes
    /// after `change_seq` is handed on next. After an error, it is told again.
    ///
    /// # Errors
    /// Whatever kept it from letting go.
    async fn start_over(&self, ctx: &Context, change_seq: i64) -> Result<()>;

    /// Learns that another run of the database's server tells of the changes from here on; `since` is when the last look
    /// began that the one before answered, if there was one. The last change that was handed on is still there; what was
    /// read since then may show others, which are lost. After an error, it is told again.
    ///
    /// # Errors
    /// Whatever kept it from letting go of what was read since.
    async fn turn_to(&self, _ctx: &Context, _server_run: ServerRun, _since: Option<Instant>) -> Result<()> {
        Ok(())
    }

    /// Learns that it has been handed everything that was committed before this moment, of which this is
    /// the newest: after each look for changes that came to a good end, whether or not there were any.
    fn confirm(&self, _as_of: Instant, _newest: Mark) {}

    /// Learns that this was written, at this moment at the latest, and could not be handed on yet.
    fn distrust(&self, _since: Instant, _written: &Footprint) {}
}

/// Where a relay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// At the newest change: for what lives in memory and begins empty.
    Latest,
    /// So many changes before the newest one: for what lives in memory and can use what it learns
    /// of the recent past.
    Recent(u32),
    /// Where the consumer of this name stopped the last time: for what must not miss anything. A
    /// new one begins at the oldest change that is kept, and from then on none goes before it has
    /// passed it.
    Cursor(&'static str),
}

/// How a relay works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelaySettings {
    /// How often to look for changes that nobody told of: those of other processes.
    pub poll: Duration,
    /// Events handed on at once.
    pub batch: u32,
    /// For reading and consuming one batch.
    pub deadline: Duration,
    /// How long somebody waits who has written. Many wait for one look, and if the database does not answer it, each
    /// would ask again after the one before.
    pub patience: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(500),
            batch: 500,
            deadline: Duration::from_secs(10),
            patience: Duration::from_secs(2),
        }
    }
}

/// Hands every change to its consumer.
pub struct Relay {
    feed: Arc<dyn ChangeFeed>,
    consumer: Arc<dyn Consumer>,
    resume: Resume,
    settings: RelaySettings,
    clock: SharedClock,
    /// Held while a batch is handed on: two callers take turns, so that the order is kept.
    progress: Mutex<Progress>,
    /// Numbers the calls of [`Self::catch_up`] in the order in which they came and began to work.
    tickets: AtomicU64,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Progress {
    /// Where the history was left; none before the beginning.
    mark: Option<Mark>,
    /// Who told of it.
    server_run: Option<ServerRun>,
    /// When the last look began that came to a good end.
    looked: Option<Instant>,
    /// The ticket under which the last work began that came to a good end.
    covered: u64,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("resume", &self.resume).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay that has not begun.
    pub fn new(
        feed: Arc<dyn ChangeFeed>,
        consumer: Arc<dyn Consumer>,
        resume: Resume,
        settings: RelaySettings,
        clock: SharedClock,
    ) -> Self {
        Self {
            feed,
            consumer,
            resume,
            settings,
            clock,
            progress: Mutex::default(),
            tickets: AtomicU64::new(1),
            woken: Notify::new(),
        }
    }

    /// Finds out where to begin. What is committed after this returned is handed on. Call it
    /// before the first request is answered; otherwise [`Self::run`] does it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn begin(&self) -> Result<()> {
        let mut progress = self.progress.lock().await;
        self.find_mark(&mut progress.mark, &self.context()).await.map(drop)
    }

    /// Hands on everything that is committed by now; how many events that were. For whoever has
    /// just written and wants the consumer to know before the write is acknowledged.
    ///
    /// Many who call at once share the work: those who waited while another one began *and*
    /// ended have nothing left to do.
    ///
    /// # Errors
    /// Those of the store and of the consumer. What was not handed on will be.
    pub async fn catch_up(&self) -> Result<u64> {
        let came = self.tickets.fetch_add(1, Ordering::SeqCst);
        let mut progress = self.progress.lock().await;
        if progress.covered > came {
            return Ok(0);
        }
        let begins = self.tickets.fetch_add(1, Ordering::SeqCst);
        let as_of = self.clock.instant();
        let handed_on = self.hand_on(&mut progress).await?;
        progress.covered = begins;
        progress.looked = Some(as_of);
        if let Some(newest) = progress.mark {
            self.consumer.confirm(as_of, newest);
        }
        Ok(handed_on)
    }

    async fn hand_on(&self, progress: &mut Progress) -> Result<u64> {
        let Progress { mark: position, server_run, looked, covered: _ } = progress;
        let mut handed_on = 0;
        loop {
            let ctx = self.context();
            let mark = self.find_mark(position, &ctx).await?;
            // The last one that was handed on is asked for again: where it is, what follows it follows. The
            // newest change is never removed, so it is there unless the history is another one.
            let limit = self.settings.batch.saturating_add(1);
            let Look { mut events, server_run: told_by } =
                self.feed.look_after(&ctx, mark.change_seq - 1, limit).await?;
            if !self.goes_on(&ctx, mark, events.first()).await? {
                *position = Some(self.start_over(&ctx, mark).await?);
                continue;
            }
            if let Some(run) = told_by.filter(|run| *server_run != Some(*run)) {
                self.consumer.turn_to(&ctx, run, looked.filter(|_| server_run.is_some())).await?;
                *server_run = Some(run);
            }
            if events.first().is_some_and(|first| first.change_seq == mark.change_seq) {
                *position = Some(Mark::of(&events.remove(0)));
            }
            events.truncate(self.settings.batch as usize);
            let Some(last) = events.last() else { return Ok(handed_on) };
            self.consumer.consume(&ctx, &events).await?;
            *position = Some(Mark::of(last));
            handed_on += events.len() as u64;
            if let Resume::Cursor(name) = self.resume {
                self.feed.advance_cursor(&ctx, name, last.change_seq).await?;
            }
            if events.len() < self.settings.batch as usize {
                return Ok(handed_on);
            }
        }
    }

    /// As [`Self::catch_up`], but waits for [`RelaySettings::patience`] at most: for whoever has an answer to give that
    /// is already true.
    ///
    /// # Errors
    /// As there, and `DeadlineExceeded`.
    pub async fn catch_up_soon(&self) -> Result<u64> {
        let late = || Error::refused(Code::DeadlineExceeded, "Looking for changes took too long.");
        tokio::time::timeout(self.settings.patience, self.catch_up()).await.unwrap_or_else(|_| Err(late()))
    }

    /// Tells the consumer what it misses. For whoever has written and could not
    /// [catch up](Self::catch_up_soon): until that succeeds, the consumer knows that it is behind.
    pub fn distrust(&self, written: &Footprint) {
        self.consumer.distrust(self.clock.instant(), written);
    }

    /// The last change that the consumer is done with; none before the beginning.
    pub async fn position(&self) -> Option<i64> {
        self.progress.lock().await.mark.map(|mark| mark.change_seq)
    }

    /// Asks the running relay to look now.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Hands on changes until `shutdown`; what is committed by then is handed on before it returns.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let is_last = shutdown.is_cancelled();
            let pause = match self.catch_up().await {
                Ok(_) => {
                    if backoff.has_failed() {
                        tracing::info!(relay.failures = backoff.failures(), "the relay goes on");
                        backoff.succeed();
                    }
                    self.settings.poll
                }
                Err(error) => {
                    // Logged when it begins; a store that is down for an hour is one thing, not a thousand.
                    if !backoff.has_failed() {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(error = %error, error.source = source, "the relay cannot go on; it will try again");
                    }
                    backoff.fail().min(LONGEST_PAUSE)
                }
            };
            if is_last {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.woken.notified() => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    async fn find_mark(&self, mark: &mut Option<Mark>, ctx: &Context) -> Result<Mark> {
        if let Some(mark) = *mark {
            return Ok(mark);
        }
        let begin = match self.resume {
            Resume::Latest => self.feed.latest_change(ctx).await?,
            Resume::Recent(changes) => self.feed.latest_change(ctx).await?.saturating_sub(changes.into()).max(0),
            Resume::Cursor(name) => {
                let known = self.feed.cursor(ctx, name).await?;
                if known.is_none() {
                    self.feed.advance_cursor(ctx, name, 0).await?;
                }
                known.unwrap_or(0)
            }
        };
        Ok(*mark.insert(Mark { change_seq: begin, at: None }))
    }

    /// Whether the history is still the one that was left at `mark`. `first` is the oldest change that is
    /// kept, of those from that number on.
    async fn goes_on(&self, ctx: &Context, mark: Mark, first: Option<&RecordedEvent>) -> Result<bool> {
        match first {
            Some(first) => Ok(mark.at.is_none() || mark == Mark::of(first)),
            // A new blog, or a number that was lost.
            None => Ok(self.feed.latest_change(ctx).await? >= mark.change_seq),
        }
    }

    /// Has the consumer let go of everything, and says where it goes on.
    async fn start_over(&self, ctx: &Context, lost: Mark) -> Result<Mark> {
        // Read before anything is let go: what is made after that has all changes up to there.
        let latest = self.feed.latest_change(ctx).await?;
        tracing::warn!(
            relay.position = lost.change_seq,
            database.latest = latest,
            "the last change that was seen is not in the database any more: nothing that was kept is used"
        );
        let change_seq = match self.resume {
            // What was made of the recent past may be of a past that is no more.
            Resume::Latest | Resume::Recent(_) => latest,
            // Where the histories parted is not known. It must miss nothing, so it gets all that is kept.
            Resume::Cursor(_) => 0,
        };
        self.consumer.start_over(ctx, change_seq).await?;
        Ok(Mark { change_seq, at: None })
    }

    fn context(&self) -> Context {
        crate::context(&self.clock, "relay", self.settings.deadline)
    }
}

#[cfg(test)]
mod lost;
#[cfg(test)]
mod tests;
