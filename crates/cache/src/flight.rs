//! Single flight: of all who ask for the same thing at the same time, one loads and the others wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inkstone_core::cache::{Hit, Load, Reading};
use inkstone_core::{Code, Error};
use tokio::sync::watch;

/// How a load ended. `None` in the channel: not yet. A closed channel: the leader gave up.
#[derive(Debug)]
pub(crate) enum Landing<V> {
    /// It brought a value.
    Value(Arc<V>),
    /// It found one that somebody loaded earlier.
    Found(Hit<V>),
    /// It brought one in which changes of so long ago may be missing.
    Behind(Arc<V>, Duration),
    /// It failed, and would fail again.
    Failed(Arc<Error>),
}

impl<V> Clone for Landing<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(value) => Self::Value(Arc::clone(value)),
            Self::Found(hit) => Self::Found(hit.clone()),
            Self::Behind(value, age) => Self::Behind(Arc::clone(value), *age),
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
        }
    }
}

/// A load that somebody else has begun.
pub(crate) struct Flying<V> {
    /// When it began: what it brings may lack whatever was written since.
    pub(crate) reading: Reading,
    /// The same as a time.
    pub(crate) began: Instant,
    landing: watch::Receiver<Option<Landing<V>>>,
}

impl<V> Clone for Flying<V> {
    fn clone(&self) -> Self {
        Self { reading: self.reading, began: self.began, landing: self.landing.clone() }
    }
}

impl<V> Flying<V> {
    /// Waits for the end; `None` if the leader gave up without a word.
    pub(crate) async fn landing(&mut self) -> Option<Landing<V>> {
        let landed = self.landing.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

/// The loads that are under way. Each is here until its leader finishes or is dropped, so the map
/// never holds more than there are requests at work.
pub(crate) struct Flights<V> {
    flying: Mutex<HashMap<Arc<str>, Flying<V>>>,
}

/// What a caller found.
pub(crate) enum Boarding<V> {
    /// Nobody loads it: the caller leads.
    Lead(Leader<V>),
    /// Somebody does.
    Follow(Flying<V>),
    /// It has landed in the meantime.
    Landed(Arc<V>),
}

impl<V> Flights<V> {
    pub(crate) fn new() -> Self {
        Self { flying: Mutex::new(HashMap::new()) }
    }

    /// Joins the load of `key` or begins it. `landed` looks into the cache once more: between the
    /// caller's miss and now, another flight may have landed, and then nobody needs to load.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &str,
        now: Instant,
        reading: impl FnOnce() -> Reading,
        landed: impl FnOnce() -> Option<Arc<V>>,
    ) -> Boarding<V> {
        let mut flying = self.lock();
        if let Some(flight) = flying.get(key) {
            return Boarding::Follow(flight.clone());
        }
        if let Some(value) = landed() {
            return Boarding::Landed(value);
        }
        let key: Arc<str> = Arc::from(key);
        let reading = reading();
        let (tell, landing) = watch::channel(None);
        flying.insert(Arc::clone(&key), Flying { reading, began: now, landing });
        Boarding::Lead(Leader { flights: Arc::clone(self), key, reading, tell: Some(tell) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Flying<V>>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The caller who loads. However it ends (finished, cancelled, panicked), the flight is over:
/// it leaves the map first and wakes the others after that, so that nobody joins it again.
pub(crate) struct Leader<V> {
    flights: Arc<Flights<V>>,
    key: Arc<str>,
    reading: Reading,
    /// Taken at the end. Dropping it wakes those who wait, and one of them leads.
    tell: Option<watch::Sender<Option<Landing<V>>>>,
}

impl<V> Leader<V> {
    fn end(&mut self) -> Option<watch::Sender<Option<Landing<V>>>> {
        let tell = self.tell.take()?;
        self.flights.lock().remove(&self.key);
        Some(tell)
    }

    fn land(&mut self, landing: Landing<V>) {
        if let Some(tell) = self.end() {
            tell.send_replace(Some(landing));
        }
    }
}

impl<V: Send + Sync> Load<V> for Leader<V> {
    fn reading(&self) -> Reading {
        self.reading
    }

    fn finish(mut self: Box<Self>, outcome: Result<&Arc<V>, &Error>) {
        let landing = match outcome {
            Ok(value) => Landing::Value(Arc::clone(value)),
            // This leader's time was up; those who wait may have time left.
            Err(error) if error.code() == Code::DeadlineExceeded => return,
            Err(error) => Landing::Failed(Arc::new(copy(error))),
        };
        self.land(landing);
    }

    fn finish_found(mut self: Box<Self>, hit: &Hit<V>) {
        self.land(Landing::Found(hit.clone()));
    }

    fn finish_behind(mut self: Box<Self>, value: &Arc<V>, age: Duration) {
        self.land(Landing::Behind(Arc::clone(value), age));
    }
}

impl<V> Drop for Leader<V> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// The same error for somebody else. The source of an internal one stays with the leader, who logs it.
pub(crate) fn copy(error: &Error) -> Error {
    match error {
        Error::Invalid(faults) => Error::Invalid(faults.clone()),
        Error::Refused { code, detail } => Error::Refused { code: *code, detail: detail.clone() },
        Error::TryLater { code, detail, retry_after } => {
            Error::TryLater { code: *code, detail: detail.clone(), retry_after: *retry_after }
        }
        Error::LacksScope(scope) => Error::LacksScope(*scope),
        Error::Internal(_) => {
            Error::internal("the load that this request waited for failed; its own log entry says why")
        }
    }
}
