//! Runs a task now and then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use inkstone_core::clock::{SharedClock, SharedEntropy};
use inkstone_core::{Context, Result};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// A regular task.
#[async_trait]
pub trait Job: Send + Sync {
    /// Names it in the log, such as `expired.remove`.
    fn name(&self) -> &'static str;

    /// Does what is due.
    ///
    /// # Errors
    /// Whatever kept it from that; it is tried again soon.
    async fn run(&self, ctx: &Context) -> Result<()>;
}

/// A task and how often it runs.
pub struct Periodic {
    /// What to do.
    pub job: Arc<dyn Job>,
    /// How often, give or take a tenth, so that many processes do not do it at the same moment.
    pub every: Duration,
    /// How long one run may take.
    pub deadline: Duration,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}

impl Periodic {
    /// Runs the task until `shutdown`, for the first time after one period.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut pause = self.next_pause();
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
            pause = self.run_once(&mut backoff).await;
        }
    }

    /// One run; how long to wait for the next.
    async fn run_once(&self, backoff: &mut Backoff) -> Duration {
        let name = self.job.name();
        let ctx = crate::context(&self.clock, name, self.deadline);
        // The deadline is in the context for those who look at it, and here for those who do not.
        let outcome = tokio::time::timeout(self.deadline, self.job.run(&ctx)).await;
        let failure = match outcome {
            Ok(Ok(())) => {
                backoff.succeed();
                return self.next_pause();
            }
            Ok(Err(error)) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                format!("{error}{}", source.unwrap_or_default())
            }
            Err(_) => "it took too long".to_owned(),
        };
        let pause = backoff.fail().min(self.every);
        tracing::warn!(job = name, error = failure, job.failures = backoff.failures(), "a regular task failed");
        pause
    }

    /// The period, give or take a tenth.
    fn next_pause(&self) -> Duration {
        let mut random = [0; 2];
        // Without randomness all processes do it at the same moment, which is not worth an error.
        let share = match self.entropy.fill(&mut random) {
            Ok(()) => f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX),
            Err(_) => 0.5,
        };
        self.every.mul_f64(0.9 + 0.2 * share)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use inkstone_core::clock::{Entropy, SystemClock};
    use inkstone_core::{Code, Error};
    use tokio::time::Instant;

    use super::*;

    #[derive(Debug)]
    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, bytes: &mut [u8]) -> Result<()> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    /// What a run does: succeeds, fails, or hangs.
    #[derive(Clone, Copy)]
    enum Outcome {
        Done,
        Failed,
        Hangs,
    }

    struct Scripted {
        begin: Instant,
        script: Mutex<Vec<Outcome>>,
        runs: Mutex<Vec<u64>>,
        shutdown: CancellationToken,
    }

    #[async_trait]
    impl Job for Scripted {
        fn name(&self) -> &'static str {
            "test"
        }

        async fn run(&self, _: &Context) -> Result<()> {
            self.runs.lock().unwrap().push(self.begin.elapsed().as_secs());
            let next = self.script.lock().unwrap().pop();
            match next {
                None => self.shutdown.cancel(),
                Some(Outcome::Done) => {}
                Some(Outcome::Failed) => return Err(Error::refused(Code::Conflict, "no")),
                Some(Outcome::Hangs) => std::future::pending().await,
            }
            Ok(())
        }
    }

    async fn runs_of(mut script: Vec<Outcome>, entropy: u8) -> Vec<u64> {
        let shutdown = CancellationToken::new();
        script.reverse();
        let job = Arc::new(Scripted {
            begin: Instant::now(),
            script: Mutex::new(script),
            runs: Mutex::default(),
            shutdown: shutdown.clone(),
        });
        let periodic = Periodic {
            job: job.clone(),
            every: Duration::from_secs(1000),
            deadline: Duration::from_secs(100),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Constant(entropy)),
        };
        periodic.run(shutdown).await;
        job.runs.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_runs_once_a_period_give_or_take_a_tenth() {
        assert_eq!(runs_of(vec![Outcome::Done, Outcome::Done], 0).await, [900, 1800, 2700]);
        assert_eq!(runs_of(vec![Outcome::Done], 255).await, [1100, 2200]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_or_hangs_is_tried_again_soon_and_then_as_before() {
        let script = vec![Outcome::Failed, Outcome::Failed, Outcome::Hangs, Outcome::Done];
        // 900, then half a second, one second, (100 s until it is given up) and two more seconds, then a period.
        assert_eq!(runs_of(script, 0).await, [900, 900, 901, 1003, 1903]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_the_period() {
        let shutdown = CancellationToken::new();
        let job = Scripted {
            begin: Instant::now(),
            script: Mutex::default(),
            runs: Mutex::default(),
            shutdown: shutdown.clone(),
        };
        let job = Arc::new(job);
        let periodic = Periodic {
            job: job.clone(),
            every: Duration::from_secs(1000),
            deadline: Duration::from_secs(1),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Constant(0)),
        };
        shutdown.cancel();
        periodic.run(shutdown).await;
        assert!(job.runs.lock().unwrap().is_empty());
    }
}
