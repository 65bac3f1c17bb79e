//! One time for all nodes: that of the database which they share.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{Clock, SharedClock};

/// For how much at most time stands still, so that it need not go back. What is more than that is a
/// clock that was wrong, and nobody is helped by staying wrong with it.
const STANDSTILL: Duration = Duration::from_secs(1);

/// What the database's clock said, and when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When the question was sent.
    pub asked: Instant,
    /// What the answer was; the database looked at its clock between the two instants.
    pub time: Timestamp,
    /// When the answer was there.
    pub answered: Instant,
}

/// The clock that all nodes over one database have in common: the time that the database said last, and
/// what has gone by since on the monotonic clock. The machine's wall clock decides nothing, so nothing
/// happens when it is wrong, is set, or jumps.
///
/// The database looked at its clock at some moment between question and answer, so a reading gives
/// bounds, as far apart as the round trip took. The time is corrected only if it is outside of them, and
/// no further than to the nearer one. So a reading that took long changes nothing, the fastest of them
/// count, and it is never off by more than the round trip of the last reading.
///
/// It does not go back: where it was up to a second ahead it stands still until the database's has caught
/// up. Only what is more than that, a database whose own clock was set, takes it back.
///
/// Before the first reading, and for a database that is a file, it is the machine's own.
#[derive(Debug)]
pub struct CommonClock {
    own: SharedClock,
    /// Where the monotonic clock is counted from.
    epoch: Instant,
    /// `None` before the first reading.
    state: RwLock<Option<State>>,
}

/// Both in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct State {
    /// What the time was at the epoch.
    base: i64,
    /// What the time is at least.
    floor: i64,
}

impl State {
    /// The time so many microseconds after the epoch.
    fn at(self, elapsed: i64) -> i64 {
        self.base.saturating_add(elapsed).max(self.floor)
    }
}

impl CommonClock {
    /// The machine's own clock, until there is a reading.
    pub fn new(own: SharedClock) -> Self {
        Self { epoch: own.instant(), own, state: RwLock::default() }
    }

    /// The clock of this machine: for what concerns nobody else, such as lines of the log.
    pub fn own(&self) -> &SharedClock {
        &self.own
    }

    /// Takes a reading in. Gives how far the time that was kept until now had gone wrong: forwards if it
    /// was behind; zero within the bounds of the reading, and for the first one.
    pub fn correct(&self, reading: &Reading) -> SignedDuration {
        let time = reading.time.as_microsecond();
        let (earliest, latest) =
            (time - self.micros_until(reading.answered) - 1, time - self.micros_until(reading.asked) + 1);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = *state else {
            *state = Some(State { base: i64::midpoint(earliest, latest), floor: i64::MIN });
            return SignedDuration::ZERO;
        };
        let base = before.base.clamp(earliest, latest.max(earliest));
        let elapsed = self.micros_until(self.own.instant());
        let shown = before.at(elapsed);
        let ahead = shown - base.saturating_add(elapsed);
        let stands_still = u128::try_from(ahead).is_ok_and(|ahead| ahead <= STANDSTILL.as_micros());
        *state = Some(State { base, floor: if stands_still { shown } else { i64::MIN } });
        SignedDuration::from_micros(base - before.base)
    }

    /// How far the machine's own clock is ahead of the common one; `None` before the first reading.
    pub fn own_ahead(&self) -> Option<SignedDuration> {
        let common = self.common()?;
        Some(self.own.now().duration_since(common))
    }

    /// The common time; `None` before the first reading.
    fn common(&self) -> Option<Timestamp> {
        // Held until the time has been looked at: a correction in between could let it go back after all.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let micros = (*state)?.at(self.micros_until(self.own.instant()));
        Some(Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX))
    }

    /// From the epoch to this instant.
    fn micros_until(&self, instant: Instant) -> i64 {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(self.epoch) {
            Some(after) => micros(after),
            None => -micros(self.epoch.saturating_duration_since(instant)),
        }
    }
}

impl Clock for CommonClock {
    fn now(&self) -> Timestamp {
        self.common().unwrap_or_else(|| self.own.now())
    }

    fn instant(&self) -> Instant {
        self.own.instant()
    }
}

#[cfg(test)]
mod tests;
