//! A lane: so many units of work run at once, so many may wait, and one more is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// First come, first served.
#[derive(Debug)]
pub(in crate::db) struct Lane {
    places: Arc<Semaphore>,
    width: u32,
    waiting: AtomicUsize,
    capacity: usize,
}

/// A place in the lane, for as long as it is held.
pub(in crate::db) type Place = OwnedSemaphorePermit;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum NoPlace {
    /// Too many wait already.
    Full,
    /// The time was up.
    Late,
    /// The lane is closed.
    Closed,
}

impl Lane {
    /// A lane for `width` units at once, for which `capacity` more may wait.
    pub(in crate::db) fn new(width: u32, capacity: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(width as usize)), width, waiting: AtomicUsize::new(0), capacity }
    }

    /// Takes a place, which may take as long as `patience`.
    pub(in crate::db) async fn enter(&self, patience: Duration) -> Result<Place, NoPlace> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => return Ok(place),
            Err(TryAcquireError::Closed) => return Err(NoPlace::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        let _waiting = Waiting::count(self).ok_or(NoPlace::Full)?;
        match tokio::time::timeout(patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(NoPlace::Closed),
            Err(_) => Err(NoPlace::Late),
        }
    }

    /// Refuses newcomers once everybody who waits or runs is through, or `patience` has run out.
    pub(in crate::db) async fn close(&self, patience: Duration) {
        // The places are given out in order: whoever waits comes before this.
        let everybody = Arc::clone(&self.places).acquire_many_owned(self.width);
        let through = tokio::time::timeout(patience, everybody).await;
        self.places.close();
        drop(through);
    }

    pub(in crate::db) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }

    pub(in crate::db) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(in crate::db) fn capacity(&self) -> usize {
        self.capacity
    }
}

/// Counts one that waits, for as long as it lives.
struct Waiting<'l>(&'l AtomicUsize);

impl<'l> Waiting<'l> {
    fn count(lane: &'l Lane) -> Option<Self> {
        let waiting = Self(&lane.waiting);
        (lane.waiting.fetch_add(1, Ordering::Relaxed) < lane.capacity).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    async fn until_waiting(lane: &Lane, count: usize) {
        while lane.waiting() < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn so_many_run_so_many_wait_and_one_more_is_refused() {
        let lane = Arc::new(Lane::new(1, 1));
        let first = lane.enter(LONG).await.unwrap();
        let second = tokio::spawn({
            let lane = Arc::clone(&lane);
            async move { lane.enter(LONG).await.map(drop) }
        });
        until_waiting(&lane, 1).await;
        assert_eq!(lane.enter(LONG).await.unwrap_err(), NoPlace::Full);
        assert_eq!(lane.waiting(), 1, "whoever was refused does not count as waiting");
        drop(first);
        second.await.unwrap().unwrap();
        assert_eq!(lane.waiting(), 0);
    }

    #[tokio::test]
    async fn waiting_ends_with_patience_and_with_the_lane() {
        let lane = Arc::new(Lane::new(1, 1));
        let first = lane.enter(LONG).await.unwrap();
        assert_eq!(lane.enter(Duration::ZERO).await.unwrap_err(), NoPlace::Late);
        let closing = tokio::spawn({
            let lane = Arc::clone(&lane);
            async move { lane.close(LONG).await }
        });
        drop(first);
        closing.await.unwrap();
        assert!(lane.is_closed());
        assert_eq!(lane.enter(LONG).await.unwrap_err(), NoPlace::Closed);
    }
}
