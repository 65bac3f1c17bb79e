//! How much of its own work the process takes on: a limit that follows from how long requests take,
//! and an order in which they are refused.
//!
//! A pure state machine: time is an argument, nothing waits, nothing is locked.
//!
//! Requests that are worked on at once share processors and queues. Beyond the capacity each one more
//! makes all of them slower and none of them faster, until nobody is answered in time. So the limit
//! shrinks by a fifth whenever most requests of a short while took longer than they should, and grows
//! by a tenth whenever they did not and somebody was refused or nearly so. Each [`Priority`] may use a
//! share of the limit: what is least urgent meets its share first.

use std::time::{Duration, Instant};

/// How long requests are watched before the limit is changed.
const WINDOW: Duration = Duration::from_millis(100);
/// With fewer requests than this nothing is concluded.
const MIN_SAMPLES: u32 = 10;
/// What the limit is multiplied with when requests take too long.
const SHRINK: f64 = 0.8;
/// And when they do not.
const GROW: f64 = 1.1;
/// From this share of the limit on it counts as used.
const USED: f64 = 0.8;

/// How a limit behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSettings {
    /// The limit is never below this.
    pub least: u32,
    /// It is never above this, and begins there.
    pub most: u32,
    /// Requests that mostly take longer are a sign of overload.
    pub target: Duration,
}

/// How urgent a request is, most urgent first. Health checks are not asked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody who says who they are reads.
    SignedInRead,
    /// Somebody reads.
    Read,
    /// Somebody who says who they are writes.
    SignedInWrite,
    /// Somebody writes; mostly, signs in.
    Write,
    /// A program reads everything.
    Crawler,
}

impl Priority {
    /// All of them, most urgent first.
    pub const ALL: [Self; 5] = [Self::SignedInRead, Self::Read, Self::SignedInWrite, Self::Write, Self::Crawler];

    /// One word for metrics and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignedInRead => "signed_in_read",
            Self::Read => "read",
            Self::SignedInWrite => "signed_in_write",
            Self::Write => "write",
            Self::Crawler => "crawler",
        }
    }

    /// Where it stands in [`Priority::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// How many of every hundred places it may take, together with what is more urgent.
    fn percent(self) -> u32 {
        match self {
            Self::SignedInRead => 100,
            Self::Read => 95,
            Self::SignedInWrite => 80,
            Self::Write => 75,
            Self::Crawler => 50,
        }
    }
}

/// How many requests may be worked on at once.
#[derive(Debug)]
pub struct Load {
    settings: LoadSettings,
    limit: f64,
    in_work: u32,
    outside: u32,
    window: Window,
}

/// What was seen since the limit was looked at last.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    samples: u32,
    slow: u32,
    /// The most that were in work at once.
    peak: u32,
}

impl Window {
    fn new(began: Instant, peak: u32) -> Self {
        Self { began, samples: 0, slow: 0, peak }
    }
}

impl Load {
    /// Without anything in work.
    pub fn new(settings: LoadSettings, now: Instant) -> Self {
        let most = settings.most.max(1);
        let settings = LoadSettings { most, least: settings.least.clamp(1, most), ..settings };
        Self { settings, limit: most.into(), in_work: 0, outside: 0, window: Window::new(now, 0) }
    }

    /// Whether a request of this kind would be refused now.
    pub fn refuses(&self, priority: Priority) -> bool {
        self.in_work >= self.places(priority)
    }

    /// Takes a place, if there is one. To be given back with [`Load::leave`].
    pub fn enter(&mut self, priority: Priority) -> bool {
        let is_in = !self.refuses(priority);
        self.in_work += u32::from(is_in);
        // Whoever is refused wanted one more.
        self.window.peak = self.window.peak.max(self.in_work + u32::from(!is_in));
        is_in
    }

    /// Gives a place back. `took` is how long the request took, where that says something: not if
    /// it failed, was given up, or is slow on purpose.
    pub fn leave(&mut self, took: Option<Duration>, now: Instant) {
        self.in_work = self.in_work.saturating_sub(1);
        if let Some(took) = took {
            self.window.samples += 1;
            self.window.slow += u32::from(took > self.settings.target);
        }
        if self.window.samples >= MIN_SAMPLES && now.saturating_duration_since(self.window.began) >= WINDOW {
            self.adjust();
            self.window = Window::new(now, self.in_work);
        }
    }

    /// Gives a place back while a request waits for its client, which is no work: to be followed by
    /// [`Load::step_in`] or [`Load::stay_out`]. `false`, and the place is kept, if as many are outside
    /// already as could ever be in work.
    pub fn step_out(&mut self) -> bool {
        let is_out = self.outside < self.settings.most;
        self.outside += u32::from(is_out);
        self.in_work = self.in_work.saturating_sub(u32::from(is_out));
        is_out
    }

    /// The client has done its part: takes a place again, if there is one.
    pub fn step_in(&mut self, priority: Priority) -> bool {
        self.stay_out();
        self.enter(priority)
    }

    /// The client will not do its part.
    pub fn stay_out(&mut self) {
        self.outside = self.outside.saturating_sub(1);
    }

    /// How many may be in work at once, rounded up.
    pub fn limit(&self) -> u32 {
        whole(self.limit)
    }

    /// How many are in work now.
    pub fn in_work(&self) -> u32 {
        self.in_work
    }

    fn places(&self, priority: Priority) -> u32 {
        (self.limit() * priority.percent()).div_ceil(100)
    }

    fn adjust(&mut self) {
        let Window { samples, slow, peak, .. } = self.window;
        let (least, most) = (f64::from(self.settings.least), f64::from(self.settings.most));
        if slow * 2 > samples {
            // What was not used has not made them slow.
            self.limit = (self.limit.min(f64::from(peak)) * SHRINK).max(least);
        } else if f64::from(peak) >= self.limit * USED {
            self.limit = (self.limit * GROW).min(most);
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
fn whole(limit: f64) -> u32 {
    limit.ceil() as u32
}

#[cfg(test)]
mod tests;
