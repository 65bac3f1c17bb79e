//! What the process is told by signals.

use std::process::exit;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::failure::{FAILED, Result};

/// The signals that the server listens to.
pub(super) struct Signals {
    /// Called before the process is ended from here.
    last_words: Box<dyn Fn() + Send + Sync>,
    ends: Mutex<(Signal, Signal)>,
    hangup: Mutex<Signal>,
}

impl Signals {
    /// Begins to listen: from here on they do not end the process by themselves. `last_words` has the log written.
    pub(super) fn listen(last_words: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let ends = Mutex::new((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
        Ok(Self { last_words: Box::new(last_words), ends, hangup: Mutex::new(signal(SignalKind::hangup())?) })
    }

    /// Waits for SIGTERM or SIGINT; calls `on_hangup` for every SIGHUP until then.
    pub(super) async fn until_end(&self, on_hangup: impl Fn()) {
        let mut hangup = self.hangup.lock().await;
        loop {
            tokio::select! {
                () = self.end() => return,
                Some(()) = hangup.recv() => tokio::task::block_in_place(&on_hangup),
            }
        }
    }

    /// Waits for `work`; a signal to end meanwhile ends the process at once.
    pub(super) async fn or_at_once<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.end() => {
                tracing::warn!("stopped at once, as asked for by a signal");
                (self.last_words)();
                exit(FAILED.into());
            }
        }
    }

    async fn end(&self) {
        let mut ends = self.ends.lock().await;
        let (terminate, interrupt) = &mut *ends;
        tokio::select! {
            Some(()) = terminate.recv() => {}
            Some(()) = interrupt.recv() => {}
            else => std::future::pending().await,
        }
    }
}
