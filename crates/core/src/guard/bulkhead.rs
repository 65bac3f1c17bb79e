//! A bound on how much of the process one dependency can take: so many calls at once, so many that
//! wait for their turn, and the next one is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// How many calls at once, and how many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkheadSettings {
    /// Calls at once; at least one.
    pub concurrency: u32,
    /// Calls that wait for their turn.
    pub queue: u32,
}

/// Why a call got no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTurn {
    /// So many wait already that this one would wait in vain.
    Full,
    /// Its turn did not come in time.
    TooLate,
    /// There are no turns any more: see [`Bulkhead::close`].
    Closed,
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// Gives out turns, first come, first served.
#[derive(Debug)]
pub struct Bulkhead {
    settings: BulkheadSettings,
    free: Arc<Semaphore>,
    waiting: AtomicU32,
}

impl Bulkhead {
    /// With all turns free.
    pub fn new(settings: BulkheadSettings) -> Self {
        let settings = BulkheadSettings { concurrency: settings.concurrency.max(1), ..settings };
        let free = Arc::new(Semaphore::new(settings.concurrency as usize));
        Self { settings, free, waiting: AtomicU32::new(0) }
    }

    /// Waits for a turn, no longer than `patience`.
    ///
    /// # Errors
    /// At once if the queue is full; otherwise when the time is over, or there are no turns any more.
    pub async fn turn(&self, patience: Duration) -> Result<Turn, NoTurn> {
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => return Ok(Turn { _permit: permit }),
            Err(TryAcquireError::Closed) => return Err(NoTurn::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        let Some(_place) = Place::take(&self.waiting, self.settings.queue) else { return Err(NoTurn::Full) };
        match tokio::time::timeout(patience, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit }),
            Ok(Err(_)) => Err(NoTurn::Closed),
            Err(_) => Err(NoTurn::TooLate),
        }
    }

    /// Gives out no turns any more once everybody who waits or has one is through, or `patience` has
    /// run out.
    pub async fn close(&self, patience: Duration) {
        // Turns come in order: whoever waits already comes before this.
        let everybody = Arc::clone(&self.free).acquire_many_owned(self.settings.concurrency);
        let through = tokio::time::timeout(patience, everybody).await;
        self.free.close();
        drop(through);
    }

    /// Whether there are no turns any more.
    pub fn is_closed(&self) -> bool {
        self.free.is_closed()
    }

    /// Calls that wait now.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How wide it is.
    pub fn settings(&self) -> BulkheadSettings {
        self.settings
    }
}

/// A place in the queue, left when dropped: also by those who are cancelled while they wait.
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU32, most: u32) -> Option<Self> {
        let one_more = |now: u32| (now < most).then_some(now + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn has_to_wait(future: Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn whoever_is_refused_does_not_count_as_waiting() {
        let bulkhead = Bulkhead::new(BulkheadSettings { concurrency: 1, queue: 1 });
        let first = bulkhead.turn(LONG).await.unwrap();
        let second = bulkhead.turn(LONG);
        tokio::pin!(second);
        assert!(has_to_wait(second.as_mut()));
        assert_eq!(bulkhead.turn(LONG).await.unwrap_err(), NoTurn::Full);
        assert_eq!(bulkhead.waiting(), 1);
        drop(first);
        second.await.unwrap();
        assert_eq!(bulkhead.waiting(), 0);
    }

    #[tokio::test]
    async fn waiting_ends_with_patience_and_with_the_turns() {
        let bulkhead = Bulkhead::new(BulkheadSettings { concurrency: 1, queue: 2 });
        let first = bulkhead.turn(LONG).await.unwrap();
        assert_eq!(bulkhead.turn(Duration::ZERO).await.unwrap_err(), NoTurn::TooLate);
        let (second, closing) = (bulkhead.turn(LONG), bulkhead.close(LONG));
        tokio::pin!(second, closing);
        assert!(has_to_wait(second.as_mut()));
        assert!(has_to_wait(closing.as_mut()));
        let third = bulkhead.turn(LONG);
        tokio::pin!(third);
        assert!(has_to_wait(third.as_mut()));
        drop(first);
        drop(second.await.unwrap());
        closing.await;
        assert!(bulkhead.is_closed());
        assert_eq!(third.await.unwrap_err(), NoTurn::Closed, "it came after the end");
        assert_eq!(bulkhead.turn(LONG).await.unwrap_err(), NoTurn::Closed);
    }
}
