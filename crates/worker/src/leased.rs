//! Regular tasks that one node does for all: under a lease, and refused once that has gone to another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use inkstone_core::lease::{Ask, Claim, Fence, LeaseRepository};
use inkstone_core::{Context, Result};

use crate::periodic::Job;

/// The share of a period after its end in which a task rests: nobody does it twice in one, and whoever
/// did it comes again (nine tenths of a period later at the earliest) to a task that is due.
const REST: f64 = 0.8;
/// How often a lease is prolonged within its term: one answer may get lost.
const RENEWALS: u32 = 3;

/// Who asks for leases, and for how long.
#[derive(Clone)]
pub struct Leases {
    /// Where they are kept.
    pub repository: Arc<dyn LeaseRepository>,
    /// This process, by a name that no other has or had.
    pub owner: String,
    /// How long a lease outlives a node that hangs or dies.
    pub term: Duration,
}

/// A task that one node at a time does, once a period whichever it is.
pub struct Leased {
    /// What to do. Its name is that of the lease; every write of it stands behind the fence.
    pub job: Arc<dyn Job>,
    /// How often each node asks.
    pub every: Duration,
    /// Whom it asks, and for how long.
    pub leases: Leases,
}

impl Leased {
    /// Prolongs the lease again and again; ends when it has gone to somebody else.
    async fn hold(&self, ctx: &Context, fence: &Fence) {
        let Leases { repository, term, .. } = &self.leases;
        loop {
            tokio::time::sleep(*term / RENEWALS).await;
            match repository.renew(ctx, fence, *term).await {
                Ok(true) => {}
                Ok(false) => return,
                // Perhaps the next time. If the lease ends meanwhile, the fence keeps what is right.
                Err(error) => tracing::debug!(job = self.job.name(), error = %error, "a lease was not prolonged"),
            }
        }
    }
}

#[async_trait]
impl Job for Leased {
    fn name(&self) -> &'static str {
        self.job.name()
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let (name, Leases { repository, owner, term }) = (self.job.name(), &self.leases);
        let ask = Ask { owner: owner.clone(), term: *term, rest: self.every.mul_f64(REST) };
        let token = match repository.claim(ctx, name, ask).await? {
            Claim::Given(token) => token,
            answer @ (Claim::Held | Claim::Rests) => {
                tracing::debug!(job = name, lease.answer = ?answer, "a regular task is left to another node");
                return Ok(());
            }
        };
        let fence = Fence { name: name.into(), token };
        let fenced = Context { fence: Some(fence.clone()), ..ctx.clone() };
        let outcome = tokio::select! {
            outcome = self.job.run(&fenced) => outcome,
            () = self.hold(ctx, &fence) => Err(fence.lost()),
        };
        // With the work undone, another node may begin at once.
        let is_kept = repository.give_back(ctx, &fence, outcome.is_ok()).await;
        outcome?;
        if !is_kept? {
            return Err(fence.lost());
        }
        tracing::debug!(job = name, lease.token = token, "a regular task is done");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use inkstone_core::Code;
    use inkstone_core::clock::{SharedClock, SystemClock};
    use inkstone_core::lease::Lease;
    use jiff::Timestamp;
    use tokio::time::Instant;

    use super::*;

    const TERM: Duration = Duration::from_secs(30);
    const EVERY: Duration = Duration::from_secs(1000);

    /// A table with one row, whose clock is that of the paused runtime.
    struct Table {
        began: Instant,
        row: Mutex<Option<Lease>>,
    }

    impl Table {
        fn new() -> Arc<Self> {
            Arc::new(Self { began: Instant::now(), row: Mutex::default() })
        }

        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + self.began.elapsed()
        }

        fn row(&self) -> Lease {
            self.row.lock().unwrap().clone().unwrap()
        }

        fn change(&self, change: impl FnOnce(&Lease) -> Option<Lease>) -> bool {
            let mut row = self.row.lock().unwrap();
            let changed = row.as_ref().and_then(change);
            let is_changed = changed.is_some();
            *row = changed.or(row.take());
            is_changed
        }
    }

    #[async_trait]
    impl LeaseRepository for Table {
        async fn claim(&self, _: &Context, _: &str, ask: Ask) -> Result<Claim> {
            let mut row = self.row.lock().unwrap();
            let (claim, given) = Lease::claim(row.as_ref(), &ask, self.now());
            *row = given.or(row.take());
            Ok(claim)
        }

        async fn renew(&self, _: &Context, fence: &Fence, term: Duration) -> Result<bool> {
            Ok(self.change(|lease| lease.renew(fence.token, term, self.now())))
        }

        async fn give_back(&self, _: &Context, fence: &Fence, is_done: bool) -> Result<bool> {
            Ok(self.change(|lease| lease.give_back(fence.token, is_done, self.now())))
        }

        async fn find(&self, _: &Context, _: &str) -> Result<Option<Lease>> {
            Ok(self.row.lock().unwrap().clone())
        }
    }

    /// Takes so long, and then ends in this way; notes the token under which it began.
    struct Takes(Duration, Option<Code>, Mutex<Vec<i64>>);

    #[async_trait]
    impl Job for Takes {
        fn name(&self) -> &'static str {
            "test.takes"
        }

        async fn run(&self, ctx: &Context) -> Result<()> {
            self.2.lock().unwrap().push(ctx.fence.as_ref().unwrap().token);
            tokio::time::sleep(self.0).await;
            self.1.map_or(Ok(()), |code| Err(inkstone_core::Error::refused(code, "on purpose")))
        }
    }

    fn takes(seconds: u64, fails: Option<Code>) -> Arc<Takes> {
        Arc::new(Takes(Duration::from_secs(seconds), fails, Mutex::default()))
    }

    fn node(table: &Arc<Table>, owner: &str, job: &Arc<Takes>) -> Leased {
        let leases = Leases { repository: table.clone(), owner: owner.to_owned(), term: TERM };
        Leased { job: job.clone(), every: EVERY, leases }
    }

    fn ctx() -> Context {
        let clock: SharedClock = Arc::new(SystemClock);
        crate::context(&clock, "test", Duration::from_mins(5))
    }

    #[tokio::test(start_paused = true)]
    async fn of_all_nodes_one_does_it_once_a_period() {
        let (table, job) = (Table::new(), takes(10, None));
        let (one, other) = (node(&table, "one", &job), node(&table, "other", &job));
        let ctx = ctx();
        let (first, second) = tokio::join!(one.run(&ctx), other.run(&ctx));
        first.unwrap();
        second.unwrap();
        other.run(&ctx).await.unwrap();
        assert_eq!(*job.2.lock().unwrap(), [1], "the other one let it be, while it was done and after");
        tokio::time::advance(EVERY.mul_f64(0.89)).await;
        other.run(&ctx).await.unwrap();
        assert_eq!(*job.2.lock().unwrap(), [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_task_keeps_its_lease() {
        let (table, long, short) = (Table::new(), takes(100, None), takes(1, None));
        let (one, other) = (node(&table, "one", &long), node(&table, "other", &short));
        let ctx = ctx();
        let asks = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                other.run(&ctx).await.unwrap();
            }
        };
        let (done, ()) = tokio::join!(one.run(&ctx), asks);
        done.unwrap();
        assert!(short.2.lock().unwrap().is_empty());
        assert_eq!(table.row().token, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_lost_its_lease_ends_and_does_not_count_as_done() {
        let (table, job) = (Table::new(), takes(100, None));
        let one = node(&table, "one", &job);
        let ctx = ctx();
        let thief = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            // As if this node had stood still beyond the term.
            table.change(|lease| Some(Lease { owner: "other".into(), token: lease.token + 1, ..lease.clone() }));
        };
        let (outcome, ()) = tokio::join!(one.run(&ctx), thief);
        assert_eq!(outcome.unwrap_err().code(), Code::Conflict);
        assert!(table.began.elapsed() < Duration::from_secs(20), "it learned of it when it prolonged");
        assert_eq!(table.row().done_at, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_can_be_done_by_another_at_once() {
        let (table, fails, works) = (Table::new(), takes(1, Some(Code::Unavailable)), takes(1, None));
        let ctx = ctx();
        assert_eq!(node(&table, "one", &fails).run(&ctx).await.unwrap_err().code(), Code::Unavailable);
        node(&table, "other", &works).run(&ctx).await.unwrap();
        assert_eq!(*works.2.lock().unwrap(), [2]);
    }
}
