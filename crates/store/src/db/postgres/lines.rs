//! Connections that reads of one statement share: each sends its own behind those of others, and waits for no answer but
//! its own, so that neither side sleeps in between.
//!
//! Nothing may be open on a line, neither a transaction nor a setting, and one on which somebody waited in vain is given to
//! nobody any more. Why there are few of them: `docs/decisions/0022-shared-connections.md`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Connect as _};
use inkstone_core::clock::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Config, Error};

use super::hosts::Hosts;
use super::words;

/// A line on which nobody got an answer for so long is held up by somebody: others are taken, if there are any.
const HELD_UP: Duration = Duration::from_millis(50);
/// How long nobody tries again after one more line could not be made.
const PAUSE: Duration = Duration::from_secs(1);

/// The lines to one server. They are made when they are needed.
pub(super) struct Lines {
    hosts: Hosts,
    config: Config,
    /// How long making one may take.
    patience: Duration,
    clock: SharedClock,
    start: Instant,
    given_out: Mutex<GivenOut>,
    /// One place for each line that there may be, given out or not.
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct GivenOut {
    lines: Vec<Arc<Line>>,
    /// How often all of them were left: what was begun before that comes too late.
    left: u64,
}

/// A connection that several use at once.
struct Line {
    client: ClientWrapper,
    /// When the last answer came, or somebody asked who did not have to wait for others: since [`Lines::start`], in
    /// microseconds.
    moved: AtomicU64,
    _place: OwnedSemaphorePermit,
}

impl Lines {
    /// As many as `most` connections of this kind.
    pub(super) fn new(hosts: Hosts, config: Config, most: usize, patience: Duration, clock: SharedClock) -> Self {
        let start = clock.instant();
        let places = Arc::new(Semaphore::new(most));
        Self { hosts, config, patience, clock, start, given_out: Mutex::default(), places }
    }

    /// The line that fewest wait for, and one more for the next if all are used. None if there is none that gets on, and as
    /// many as there may be are being made or are left.
    ///
    /// # Errors
    /// Why the first could not be made.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Option<Taken>, Error> {
        let least_used = self.least_used();
        if let Some((line, Use::None)) = least_used {
            return Ok(Some(Taken { line, lines: Arc::clone(self) }));
        }
        let line = match (least_used, Arc::clone(&self.places).try_acquire_owned()) {
            (Some((line, _)), Ok(place)) => {
                tokio::spawn(Arc::clone(self).make_more(place));
                line
            }
            (None, Ok(place)) => self.make(place).await.map_err(|(error, _)| error)?,
            (Some((line, Use::Some)), Err(_)) => line,
            (_, Err(_)) => return Ok(None),
        };
        Ok(Some(Taken { line, lines: Arc::clone(self) }))
    }

    /// Gives none of the lines to anybody any more.
    pub(super) fn leave(&self) {
        let mut given_out = self.given_out();
        given_out.lines.clear();
        given_out.left += 1;
    }

    /// Gives none out any more, and makes none.
    pub(super) fn close(&self) {
        self.places.close();
        self.leave();
    }

    /// The line that is taken next.
    fn least_used(&self) -> Option<(Arc<Line>, Use)> {
        let now = self.now();
        let mut given_out = self.given_out();
        given_out.lines.retain(|line| !line.client.is_closed());
        let by_use = |line: &&Arc<Line>| (using(line, now), Arc::strong_count(line));
        let line = given_out.lines.iter().min_by_key(by_use)?;
        let using = using(line, now);
        if using == Use::None {
            line.moved.store(now, Ordering::Relaxed);
        }
        Some((Arc::clone(line), using))
    }

    async fn make(&self, place: OwnedSemaphorePermit) -> Result<Arc<Line>, (Error, OwnedSemaphorePermit)> {
        let left = self.given_out().left;
        let (client, task) = match self.hosts.connect(&self.config).await {
            Ok(made) => made,
            Err(error) => return Err((error, place)),
        };
        let client = ClientWrapper::new(client, task);
        let line = Arc::new(Line { client, moved: AtomicU64::new(self.now()), _place: place });
        let mut given_out = self.given_out();
        if given_out.left == left {
            given_out.lines.push(Arc::clone(&line));
        }
        Ok(line)
    }

    /// Makes one that nobody waits for. The place stays taken for a while if that fails.
    async fn make_more(self: Arc<Self>, place: OwnedSemaphorePermit) {
        if let Ok(Err((error, _place))) = tokio::time::timeout(self.patience, self.make(place)).await {
            tracing::debug!(error = %words(&error), "one more connection could not be made");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn now(&self) -> u64 {
        let since = self.clock.instant().saturating_duration_since(self.start);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn given_out(&self) -> MutexGuard<'_, GivenOut> {
        self.given_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a line is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    None,
    Some,
    /// By somebody who holds up the others.
    HeldUp,
}

/// How this line, of which the list has one, is used at `now`.
fn using(line: &Arc<Line>, now: u64) -> Use {
    let since = now.saturating_sub(line.moved.load(Ordering::Relaxed));
    match Arc::strong_count(line) {
        ..=1 => Use::None,
        _ if Duration::from_micros(since) > HELD_UP => Use::HeldUp,
        _ => Use::Some,
    }
}

/// A line that somebody uses, among others.
#[derive(Clone)]
pub(super) struct Taken {
    line: Arc<Line>,
    lines: Arc<Lines>,
}

impl Taken {
    pub(super) fn client(&self) -> &ClientWrapper {
        &self.line.client
    }

    /// An answer came.
    pub(super) fn heard(&self) {
        self.line.moved.store(self.lines.now(), Ordering::Relaxed);
    }

    /// When the last answer came, as a number that grows.
    pub(super) fn moved(&self) -> u64 {
        self.line.moved.load(Ordering::Relaxed)
    }

    /// Gives this line to nobody any more. Whoever uses it still waits for their answers.
    pub(super) fn retire(&self) {
        self.lines.given_out().lines.retain(|one| !Arc::ptr_eq(one, &self.line));
    }

    /// Whether this line is given to nobody any more.
    pub(super) fn is_retired(&self) -> bool {
        !self.lines.given_out().lines.iter().any(|one| Arc::ptr_eq(one, &self.line))
    }
}
