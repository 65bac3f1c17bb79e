//! Follows the one order of all changes and hands them on: in order, each at least once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use inkstone_core::clock::SharedClock;
use inkstone_core::events::{ChangeFeed, RecordedEvent};
use inkstone_core::{Context, Result};
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

    /// Learns that it has been handed everything that was committed before this moment: after each
    /// look for changes that came to a good end, whether or not there were any.
    fn confirm(&self, _as_of: Instant) {}

    /// Learns that there is a change, made at this moment at the latest, that could not be handed on yet.
    fn distrust(&self, _since: Instant) {}
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
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { poll: Duration::from_millis(500), batch: 500, deadline: Duration::from_secs(10) }
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
    /// The last change that was handed on; none before the beginning.
    position: Option<i64>,
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
        self.find_position(&mut progress.position, &self.context()).await.map(drop)
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
        let handed_on = self.hand_on(&mut progress.position).await?;
        progress.covered = begins;
        self.consumer.confirm(as_of);
        Ok(handed_on)
    }

    async fn hand_on(&self, position: &mut Option<i64>) -> Result<u64> {
        let mut handed_on = 0;
        loop {
            let ctx = self.context();
            let after = self.find_position(position, &ctx).await?;
            let events = self.feed.changes_after(&ctx, after, self.settings.batch).await?;
            let Some(last) = events.last().map(|event| event.change_seq) else { return Ok(handed_on) };
            self.consumer.consume(&ctx, &events).await?;
            *position = Some(last);
            handed_on += events.len() as u64;
            if let Resume::Cursor(name) = self.resume {
                self.feed.advance_cursor(&ctx, name, last).await?;
            }
            if events.len() < self.settings.batch as usize {
                return Ok(handed_on);
            }
        }
    }

    /// Tells the consumer that it misses a change. For whoever has written and could not
    /// [catch up](Self::catch_up): until that succeeds, the consumer knows that it is behind.
    pub fn distrust(&self) {
        self.consumer.distrust(self.clock.instant());
    }

    /// The last change that the consumer is done with; none before the beginning.
    pub async fn position(&self) -> Option<i64> {
        self.progress.lock().await.position
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

    async fn find_position(&self, position: &mut Option<i64>, ctx: &Context) -> Result<i64> {
        if let Some(position) = *position {
            return Ok(position);
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
        *position = Some(begin);
        Ok(begin)
    }

    fn context(&self) -> Context {
        crate::context(&self.clock, "relay", self.settings.deadline)
    }
}

#[cfg(test)]
mod tests;
