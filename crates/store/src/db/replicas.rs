//! Replicas of the database: they follow it, some time behind, and take no writes.
//!
//! A replica is asked how far it is *in the very snapshot* that is read: the number of the last
//! change stands in a row of the database, and whoever shows that row shows everything up to it. So
//! nothing has to be believed of what was measured before, or of who answers at an address. A number
//! alone says little: after a failover that lost changes, a replica of the old primary counts as far as
//! one of the new, and so may another database. So it must show the newest change that this process
//! knows of as the primary made it: whoever has that one has all that came before it.
//! A replica that lacks a change which this process knows of is not read, nor one that has another in
//! its place, does not answer or lags; then the next one is asked, and in the end the primary.
//! Why it is built this way: `docs/decisions/0016-read-replicas.md`.

mod standing;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use inkstone_core::access::Caller;
use inkstone_core::clock::SharedClock;
use inkstone_core::events::Mark;
use inkstone_core::guard::{Snapshot, breaker};
use inkstone_core::progress::Progress;
use inkstone_core::{Code, Context, Deadline, Error, Result};

use super::stats::Counter;
use super::{BoxFuture, Conn, Db};
use standing::{Ahead, Standing};

/// How long a replica may take for one unit of work before somebody else is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Replicas that are tried for one read, so that a caller does not wait for all that are away.
const TRIES: usize = 2;
/// Changes whose time of arrival is remembered, to tell how far behind a replica is.
const REMEMBERED: usize = 1024;
/// How often the replicas are asked how far they are: as often as the allowed lag makes sense of.
const PROBES_PER_LAG: u32 = 8;
const MOST_OFTEN: Duration = Duration::from_millis(50);
const LEAST_OFTEN: Duration = Duration::from_secs(1);

/// How replicas are used.
#[derive(Debug, Clone)]
pub struct ReplicasOptions {
    /// One that is further behind is not read. Also the time after which an answer is marked as
    /// possibly old, if the primary could not be asked for changes for so long.
    pub max_lag: Duration,
    /// For durations.
    pub clock: SharedClock,
    /// How far this process is: what a replica must have reached.
    pub progress: Arc<Progress>,
}

/// The replicas of a database.
pub struct Replicas {
    followers: Vec<Follower>,
    options: ReplicasOptions,
    /// Who is asked first the next time.
    turn: AtomicUsize,
    /// Changes and when this process learnt of them, oldest first.
    learnt: Mutex<VecDeque<(i64, Instant)>>,
    primary_reads: Counter,
}

/// One replica.
struct Follower {
    name: String,
    db: Db,
    state: Mutex<State>,
    reads: Counter,
    behind: Counter,
    failed: Counter,
}

#[derive(Debug, Clone)]
struct State {
    position: i64,
    lag: Duration,
    ahead: Ahead,
    /// The loss of changes that it was looked at after and found to be in the history of the primary.
    losses: u64,
    /// Why it is not read.
    trouble: Option<String>,
    is_other: bool,
}

/// How a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its address, without password.
    pub name: String,
    /// Why it is not read; none if it is.
    pub trouble: Option<String>,
    /// Whether that is because it shows another history than the primary's.
    pub is_other: bool,
    /// For how long it has lacked a change that this process knows of.
    pub lag: Duration,
    /// The last change that it showed.
    pub position: i64,
    /// Reads that it answered.
    pub reads: u64,
    /// Reads that it could not answer: it lacked a change that must be in the answer.
    pub behind: u64,
    /// Reads that it failed to answer.
    pub failed: u64,
}

/// What was read, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Each replica.
    pub replicas: Vec<Replica>,
    /// Reads that a replica could have answered and the primary was asked for.
    pub primary_reads: u64,
}

/// What came of asking a replica.
enum Asked<T> {
    Shown(T),
    /// It is only here.
    Behind(i64),
    /// It shows another history; what gives it away.
    Elsewhere(String),
}

impl Replicas {
    /// These replicas, by name, each under a guard of its own if it may hang. None is read before
    /// [`Replicas::watch`] has seen that it is far enough.
    pub fn new(followers: Vec<(String, Db)>, options: ReplicasOptions) -> Self {
        let follower = |(name, db)| Follower {
            name,
            db,
            state: Mutex::new(State {
                position: 0,
                lag: Duration::ZERO,
                ahead: Ahead::default(),
                losses: options.progress.losses(),
                trouble: Some("not asked yet".to_owned()),
                is_other: false,
            }),
            reads: Counter::default(),
            behind: Counter::default(),
            failed: Counter::default(),
        };
        Self {
            followers: followers.into_iter().map(follower).collect(),
            options,
            turn: AtomicUsize::new(0),
            learnt: Mutex::default(),
            primary_reads: Counter::default(),
        }
    }

    /// Runs a unit of work on a replica. None if there is no replica that shows all it must.
    pub(super) async fn read<T, W>(&self, ctx: &Context, name: &'static str, work: &W) -> Option<Result<T>>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Clone + Send + 'static,
    {
        let is_hurried = ctx.deadline < Deadline::at(self.options.clock.instant() + PATIENCE);
        // Taken before anything is read: what becomes known meanwhile ends what is made of this.
        let (newest, losses) = (self.options.progress.newest(), self.options.progress.losses());
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let usable = (0..self.followers.len())
            .filter_map(|step| self.followers.get(first.wrapping_add(step) % self.followers.len()))
            .filter(|follower| follower.is_usable(losses));
        for follower in usable.take(TRIES) {
            let Some(newest) = newest else { break };
            match self.ask(follower, ctx, name, newest, work.clone()).await {
                Ok(Asked::Shown(value)) => {
                    follower.reads.add(1);
                    let since = self.options.progress.since_look(self.options.clock.instant());
                    if since > self.options.max_lag {
                        ctx.meter.note_behind(since);
                    }
                    return Some(Ok(value));
                }
                Ok(Asked::Behind(position)) => {
                    follower.behind.add(1);
                    follower.state().position = position;
                }
                Ok(Asked::Elsewhere(why)) => {
                    follower.failed.add(1);
                    follower.leave(why, true);
                }
                // Whoever came in a hurry says nothing about the replica.
                Err(error) if is_its_fault(&error) && !(is_hurried && error.code() == Code::DeadlineExceeded) => {
                    follower.failed.add(1);
                    follower.leave(error.to_string(), false);
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.primary_reads.add(1);
        None
    }

    async fn ask<T, W>(
        &self,
        follower: &Follower,
        ctx: &Context,
        name: &'static str,
        newest: Mark,
        work: W,
    ) -> Result<Asked<T>>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let patience = Deadline::at(self.options.clock.instant() + PATIENCE);
        let ctx = Context { deadline: ctx.deadline.min(patience), ..ctx.clone() };
        let needed = newest.change_seq.max(ctx.meter.awaited());
        let asked = follower.db.read_once(&ctx, name, move |conn| {
            Box::pin(async move {
                let standing = Standing::ask(conn, newest).await?;
                if standing.position < needed {
                    return Ok(Asked::Behind(standing.position));
                }
                if let Some(why) = standing.departure(newest) {
                    return Ok(Asked::Elsewhere(why));
                }
                work(conn).await.map(Asked::Shown)
            })
        });
        asked.await
    }

    /// Asks every replica, again and again, how far it is. Never ends by itself.
    pub async fn watch(&self) {
        let pause = (self.options.max_lag / PROBES_PER_LAG).clamp(MOST_OFTEN, LEAST_OFTEN);
        loop {
            self.look().await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks every replica once how far it is.
    pub async fn look(&self) {
        self.learn();
        join_all(self.followers.iter().map(|follower| self.probe(follower))).await;
    }

    async fn probe(&self, follower: &Follower) {
        let ctx = Context::new(Caller::Operator, "replicas", Deadline::at(self.options.clock.instant() + PATIENCE));
        // In this order: what is known is of after these.
        let losses = self.options.progress.losses();
        let Some(newest) = self.options.progress.newest() else {
            let why = "the primary's changes are not known, by which it could be told from others";
            return follower.leave(why.to_owned(), false);
        };
        let asked = follower.db.read_once(&ctx, "replicas.probe", move |conn| Box::pin(Standing::ask(conn, newest)));
        let standing = match asked.await {
            Ok(standing) => standing,
            Err(error) => return follower.leave(error.to_string(), false),
        };
        let (position, lag, most) = (standing.position, self.lag(standing.position), self.options.max_lag);
        let departure = standing.departure(newest);
        let is_ahead = {
            let mut state = follower.state();
            (state.position, state.lag) = (position, lag);
            // What it shows beyond the primary's changes may be what was lost. It is none of that once the
            // primary has made what was seen there.
            let is_of_it =
                position <= newest.change_seq || state.ahead.seen(losses).is_some_and(|seen| seen <= newest.change_seq);
            if departure.is_none() && is_of_it {
                state.losses = losses;
            }
            state.ahead.note(position, &self.options.progress, self.options.clock.instant())
        };
        let other = departure.or(is_ahead);
        let is_other = other.is_some();
        match other.or_else(|| (lag > most).then(|| format!("lags by more than {most:?}"))) {
            Some(trouble) => follower.leave(trouble, is_other),
            // While its guard finds out whether it is back, it is for nobody else.
            None if follower.is_trusted() => follower.join(),
            None => {}
        }
    }

    /// Remembers when the latest change became known.
    fn learn(&self) {
        let (known, now) = (self.options.progress.known(), self.options.clock.instant());
        let reached = self.followers.iter().map(|follower| follower.state().position).min().unwrap_or(known);
        let mut learnt = self.learnt();
        // The history went back: nobody can lack what was lost.
        while learnt.back().is_some_and(|(change_seq, _)| *change_seq > known) {
            learnt.pop_back();
        }
        while learnt.front().is_some_and(|(change_seq, _)| *change_seq <= reached) {
            learnt.pop_front();
        }
        if learnt.back().is_none_or(|(last, _)| *last < known) && known > reached {
            learnt.push_back((known, now));
        }
        // Who lacks what is forgotten here lags by far more than is allowed.
        if learnt.len() > REMEMBERED {
            learnt.pop_front();
        }
    }

    /// How long ago the first change became known that is after this one.
    fn lag(&self, position: i64) -> Duration {
        let learnt = self.learnt();
        let missing = learnt.iter().find(|(change_seq, _)| *change_seq > position);
        missing.map_or(Duration::ZERO, |(_, at)| self.options.clock.instant().saturating_duration_since(*at))
    }

    /// Whether any of them can be read.
    pub fn any_usable(&self) -> bool {
        let losses = self.options.progress.losses();
        self.followers.iter().any(|follower| follower.is_usable(losses))
    }

    /// Where the guards before them stand, by name; empty if there are none.
    pub fn guards(&self) -> Vec<(String, Snapshot)> {
        self.followers.iter().flat_map(|follower| follower.db.guards()).collect()
    }

    /// How each of them is, and what was read where.
    pub fn stats(&self) -> ReplicaStats {
        ReplicaStats {
            replicas: self.followers.iter().map(Follower::show).collect(),
            primary_reads: self.primary_reads.get(),
        }
    }

    /// Closes all connections.
    ///
    /// # Errors
    /// As [`Db::close`].
    pub async fn close(&self) -> Result<()> {
        join_all(self.followers.iter().map(|follower| follower.db.close())).await.into_iter().collect()
    }

    fn learnt(&self) -> MutexGuard<'_, VecDeque<(i64, Instant)>> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is well, and was looked at after as many losses of changes.
    fn is_usable(&self, losses: u64) -> bool {
        let state = self.state();
        state.trouble.is_none() && state.losses == losses
    }

    /// Whether no guard doubts it.
    fn is_trusted(&self) -> bool {
        self.db.guards().iter().all(|(_, snapshot)| snapshot.state == breaker::State::Closed)
    }

    /// From now on it is not read, until a probe finds it well.
    fn leave(&self, reason: String, is_other: bool) {
        let mut state = self.state();
        if state.trouble.is_none() {
            tracing::warn!(replica = self.name, reason, "a replica is not read from");
        }
        (state.trouble, state.is_other) = (Some(reason), is_other);
    }

    /// It is well: from now on it is read.
    fn join(&self) {
        if self.state().trouble.take().is_some() {
            tracing::info!(replica = self.name, "a replica is read from");
        }
    }

    fn show(&self) -> Replica {
        let State { position, lag, trouble, is_other, ahead: _, losses: _ } = self.state().clone();
        Replica {
            name: self.name.clone(),
            is_other: is_other && trouble.is_some(),
            trouble,
            lag,
            position,
            reads: self.reads.get(),
            behind: self.behind.get(),
            failed: self.failed.get(),
        }
    }
}

/// Whether another server may do better: not where the answer is a refusal.
fn is_its_fault(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::Unavailable
            | Code::Overloaded
            | Code::StorageFull
            | Code::StorageDamaged
            | Code::DeadlineExceeded
            | Code::Internal
    )
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").field("stats", &self.stats()).field("options", &self.options).finish_non_exhaustive()
    }
}
