//! Waiting for something outside of this process: asked again and again, never slept for luck.

use std::time::{Duration, Instant};

/// How long anything outside may take before a test gives up: generous, since it is no measurement.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What the clock says, for those who wait and for histories.
#[expect(clippy::disallowed_methods, reason = "tests watch real processes, which live in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A breath between two questions.
#[expect(clippy::disallowed_methods, reason = "another process does not say when it is ready: it has to be asked")]
pub(crate) fn breathe() {
    std::thread::sleep(Duration::from_millis(3));
}

/// Asks until the answer is yes; gives `false` when [`PATIENCE`] is over.
pub(crate) fn patiently(mut ask: impl FnMut() -> bool) -> bool {
    let began = now();
    loop {
        if ask() {
            return true;
        }
        if now().duration_since(began) > PATIENCE {
            return false;
        }
        breathe();
    }
}

/// Asks until the answer is yes.
///
/// # Panics
/// When it never is within [`PATIENCE`], naming what was waited for.
#[track_caller]
pub fn wait_until(what: &str, ask: impl FnMut() -> bool) {
    assert!(patiently(ask), "waited in vain: {what}");
}

/// The same for questions that are asked asynchronously.
///
/// # Panics
/// When the answer never is yes within [`PATIENCE`], naming what was waited for.
pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let began = now();
    while !ask().await {
        assert!(now().duration_since(began) <= PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
