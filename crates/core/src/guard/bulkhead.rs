//! A bound on how much of the process one dependency can take: so many calls at once, so many that
//! wait for their turn, and the next one is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many calls at once, and how many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkheadSettings {
    /// Calls at once.
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
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// Gives out turns, first come, first served.
#[derive(Debug)]
pub struct Bulkhead {
    queue: u32,
    free: Arc<Semaphore>,
    waiting: AtomicU32,
}

impl Bulkhead {
    /// With all turns free.
    pub fn new(settings: BulkheadSettings) -> Self {
        let free = Arc::new(Semaphore::new(settings.concurrency.max(1) as usize));
        Self { queue: settings.queue, free, waiting: AtomicU32::new(0) }
    }

    /// Waits for a turn, no longer than `patience`.
    ///
    /// # Errors
    /// At once if the queue is full; otherwise when the time is over.
    pub async fn turn(&self, patience: Duration) -> Result<Turn, NoTurn> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Turn { _permit: permit });
        }
        let Some(_place) = Place::take(&self.waiting, self.queue) else { return Err(NoTurn::Full) };
        match tokio::time::timeout(patience, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit }),
            // Nobody closes the semaphore; and if somebody did, no turn would ever come.
            Ok(Err(_)) | Err(_) => Err(NoTurn::TooLate),
        }
    }

    /// Calls that wait now.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
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
