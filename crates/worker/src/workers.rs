//! Keeps tasks going, and ends them.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// All tasks beside the requests.
#[derive(Debug, Default)]
pub struct Workers {
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Workers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task, and starts it again if it panics. It ends by itself when its token is cancelled.
    pub fn start<F, T>(&mut self, name: &'static str, make: F)
    where
        F: Fn(CancellationToken) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let mut backoff = Backoff::default();
            // A task of its own, so that a panic ends that one and not this.
            while tokio::spawn(make(shutdown.clone())).await.is_err_and(|error| error.is_panic()) {
                let pause = backoff.fail();
                tracing::error!(
                    worker = name,
                    worker.panics = backoff.failures(),
                    "a worker panicked; it starts again"
                );
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return,
                }
            }
        });
    }

    /// Asks all tasks to end and waits for them; whether they did within `deadline`.
    pub async fn stop(mut self, deadline: Duration) -> bool {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(deadline, async { while self.tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!(workers = self.tasks.len(), "workers did not end in time");
        }
        ended.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_starts_again() {
        let (runs, third) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let mut workers = Workers::new();
        let (counted, reached) = (runs.clone(), third.clone());
        workers.start("test", move |shutdown| {
            let (counted, reached) = (counted.clone(), reached.clone());
            async move {
                let run = counted.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(run > 2, "run {run} fails on purpose");
                reached.add_permits(1);
                shutdown.cancelled().await;
            }
        });
        third.acquire().await.unwrap().forget();
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(workers.stop(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_ever() {
        let mut workers = Workers::new();
        workers.start("deaf", |_| std::future::pending());
        assert!(!workers.stop(Duration::from_secs(1)).await);
    }
}
