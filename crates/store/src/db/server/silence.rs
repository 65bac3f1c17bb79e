//! A server that says nothing at all, be it that it stands still or that the network swallows
//! everything.

use std::time::Duration;

use tokio::sync::watch;

/// Where those who waited in vain tell the others, who wait for longer.
///
/// A write that has begun may take its time. But when another connection got no answer either, not
/// even to the wish to end what it did, and its own caller has been sent away, it only keeps the
/// writes to come waiting for an answer that was lost.
#[derive(Debug, Default)]
pub(in crate::db) struct Silence {
    met: watch::Sender<()>,
}

impl Silence {
    /// Somebody waited in vain.
    pub(in crate::db) fn tell(&self) {
        self.met.send_replace(());
    }

    /// What came of it within `limit`, or, once somebody else found that the server says nothing,
    /// within `left`, for which the caller waits.
    pub(in crate::db) async fn answered<T>(
        &self,
        left: Duration,
        limit: Duration,
        asked: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            answered = tokio::time::timeout(limit, asked) => answered.ok(),
            () = self.outlasts(left) => None,
        }
    }

    /// Ends when, from now on, somebody waited in vain and the caller's time is over as well.
    async fn outlasts(&self, patience: Duration) {
        let mut met = self.met.subscribe();
        tokio::time::sleep(patience).await;
        // What tells is there for as long as this is.
        let _told = met.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn nobody_is_given_up_before_the_callers_time_is_over_or_without_a_sign() {
        let silence = Silence::default();
        silence.tell();
        let mut waits = Box::pin(silence.outlasts(PATIENCE));
        assert!(waits.as_mut().now_or_never().is_none());
        tokio::time::advance(PATIENCE * 10).await;
        assert!(waits.as_mut().now_or_never().is_none(), "what was met before says nothing of now");
        silence.tell();
        waits.await;

        let mut waits = Box::pin(silence.outlasts(PATIENCE));
        assert!(waits.as_mut().now_or_never().is_none());
        silence.tell();
        assert!(waits.as_mut().now_or_never().is_none(), "the caller still waits");
        tokio::time::advance(PATIENCE).await;
        waits.await;
    }
}
