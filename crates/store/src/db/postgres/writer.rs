//! The writer: the units of work of this node, one after another, and as many in one transaction
//! as wait for it, so that they share the lock and the flush to disk.
//!
//! The first unit opens the transaction. When a unit is through, the next one that waits joins,
//! under a savepoint, so that one that fails takes only itself back; when nobody waits, or the
//! bounds are reached, the writer commits. Nobody is answered before the commit has returned, not
//! even with an error: what a unit saw of the units before it is only true if they were committed.
//! A commit whose outcome is not known is not known to all of the group. A first unit that fails
//! is alone, so that its transaction ends with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Client;
use inkstone_core::{Code, Error};

use crate::db::job::{Job, Ran};
use crate::db::server::{GRACE, Kind, Trouble};
use crate::db::{Conn, SqlError};

use super::Shared;
use super::queue::Queue;
use super::session::{Lost, Session};

/// The most units in one transaction, whatever the options say: of so many savepoints PostgreSQL
/// keeps track without making every other transaction look them up on disk.
const GROUP_MOST: usize = 64;

/// The units of a transaction that are through, but not answered.
type Group = Vec<Box<dyn Job>>;

impl Shared {
    /// Writes until nobody waits.
    pub(super) async fn write_what_waits(self: Arc<Self>) {
        let mut leaving = Leaving(Some(&self.writes));
        while let Some(job) = self.writes.pop_or_leave() {
            let Some(job) = self.admit(job) else { continue };
            let began = self.options.clock.instant();
            self.write_group(job).await;
            self.front.counters.writer.busy.add_time(self.front.since(began));
        }
        // It has left the queue, in which another one may be at work by now.
        leaving.0 = None;
    }

    /// Drops what nobody waits for any more.
    fn admit(&self, job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        if !job.take_turn() {
            return None;
        }
        if job.is_abandoned() {
            self.front.counters.writer.dropped.add(1);
            return None;
        }
        if job.deadline().remaining(self.options.clock.instant()).is_zero() {
            self.front.counters.writer.dropped.add(1);
            job.refuse(Trouble::Late.to_error());
            return None;
        }
        Some(job)
    }

    /// The next unit for a transaction that has so many.
    fn join(&self, size: usize, since: Instant) -> Option<Box<dyn Job>> {
        let most = self.options.group_max.clamp(1, GROUP_MOST);
        while size < most && self.front.since(since) < self.options.group_time {
            if let Some(job) = self.admit(self.writes.pop()?) {
                return Some(job);
            }
        }
        None
    }

    async fn write_group(&self, first: Box<dyn Job>) {
        let left = first.deadline().remaining(self.options.clock.instant());
        let client = match self.connections.own(Kind::Write, left).await {
            Ok(client) => client,
            Err((trouble, text)) => {
                self.front.note(Kind::Write, Some((trouble, text)));
                return self.refuse_everybody(first, trouble);
            }
        };
        let Some((session, group)) = self.run_group(client, first, left).await else { return };
        let size = group.len() as u64;
        let began = self.options.clock.instant();
        let committed = self.silence.answered(left, self.options.write_timeout, session.commit()).await;
        self.front.counters.committing.add_time(self.front.since(began));
        let lost = match committed {
            Some(Ok(())) => {
                self.front.counters.count_group(size);
                return group.into_iter().for_each(Job::reply);
            }
            Some(Err(lost)) => lost,
            None => Lost::Unknown("no answer to a commit in time".to_owned()),
        };
        self.front.counters.commit_errors.add(1);
        self.lose(group, &lost);
    }

    /// Runs the first unit and whoever joins it; what is left to do is to commit. None if nothing
    /// is: everybody has been answered.
    async fn run_group(&self, client: Client, first: Box<dyn Job>, left: Duration) -> Option<(Session, Group)> {
        let session = Session::for_writing(client, self.begin(Kind::Write, left), self.options.pooler);
        let mut conn = Conn::postgres(session, Arc::default());
        let mut group = Group::new();
        // Beside its own time the first one has that in which it waits for the lock.
        let mut limit = left + self.options.write_timeout + GRACE;
        let mut next = Some(first);
        // Since the first one was through: how long it waited for the lock of others does not count.
        let mut joining_since = None;
        while let Some(mut job) = next {
            if !group.is_empty() {
                conn.session().mark();
            }
            let Some(ran) = self.run_job(&mut conn, &mut job, left, limit).await else {
                drop(conn);
                job.refuse(Trouble::Late.to_error());
                self.lose(group, &taken_back(Trouble::Unreachable, "another unit of work got no answer in time"));
                return None;
            };
            let session = conn.session();
            let is_lost = session.is_open() && session.is_broken();
            match ran {
                _ if group.is_empty() && !(ran == Ran::Done && session.is_open()) => {
                    // A panic takes the connection along: who knows what it is at.
                    if ran != Ran::Panicked {
                        conn.into_session().take_back();
                    }
                    job.reply();
                    return None;
                }
                Ran::Done if group.is_empty() => {}
                Ran::Done => session.keep(),
                Ran::Failed | Ran::Panicked => session.take_back_to_mark(),
            }
            group.push(job);
            if is_lost {
                drop(conn);
                self.lose(group, &taken_back(Trouble::Unreachable, "the connection broke before the commit"));
                return None;
            }
            limit = self.options.write_timeout + GRACE;
            let since = *joining_since.get_or_insert_with(|| self.options.clock.instant());
            next = self.join(group.len(), since);
        }
        Some((conn.into_session(), group))
    }

    /// Runs one unit of work; `None` if it was not through in time.
    async fn run_job(&self, conn: &mut Conn, job: &mut Box<dyn Job>, left: Duration, limit: Duration) -> Option<Ran> {
        let began = self.options.clock.instant();
        self.front.counters.writer.jobs.add(1);
        let ran = self.silence.answered(left, limit, run(conn, job)).await;
        let has_failed = ran != Some(Ran::Done);
        self.front.warn_if_slow(Kind::Write, job.name(), self.front.since(began), has_failed);
        let session = conn.session();
        let Some(mut ran) = ran else {
            self.front.counters.writer.failed.add(1);
            let text = format!("{} got no answer in time", job.name());
            self.front.note(Kind::Write, Some((Trouble::Unreachable, text)));
            self.connections.leave();
            return None;
        };
        let trouble = session.take_trouble();
        // What took writes may be a replica now: the next connection looks for its successor.
        if let Some((Trouble::Unreachable | Trouble::ReadOnly, _)) = trouble {
            session.give_up();
            self.connections.leave();
        }
        self.front.note(Kind::Write, trouble);
        if ran == Ran::Done && session.has_failed() {
            let text = "a statement failed, and the unit of work went on as if it had not";
            job.overrule(Error::internal(SqlError::new(job.name(), text)));
            ran = Ran::Failed;
        }
        if ran != Ran::Done {
            self.front.counters.writer.failed.add(1);
        }
        if ran == Ran::Panicked {
            self.front.counters.writer.panicked.add(1);
        }
        Some(ran)
    }

    /// There is no connection for the first, so there is none for the others that wait.
    fn refuse_everybody(&self, first: Box<dyn Job>, trouble: Trouble) {
        let is_for_all = trouble != Trouble::Late;
        let others = if is_for_all { self.writes.take_all() } else { VecDeque::new() };
        let others = others.into_iter().filter_map(|job| self.admit(job));
        for job in std::iter::once(first).chain(others) {
            self.front.counters.writer.jobs.add(1);
            self.front.counters.writer.failed.add(1);
            job.refuse(trouble.to_error());
        }
    }

    /// Tells everybody whose transaction was lost.
    fn lose(&self, group: Group, lost: &Lost) {
        if group.is_empty() {
            return;
        }
        let size = group.len();
        match lost {
            Lost::TakenBack(_, text) => {
                tracing::warn!(error = %text, db.units = size, "a transaction was taken back; its callers were told");
            }
            Lost::Unknown(text) => {
                tracing::warn!(error = %text, db.units = size, "whether a transaction was committed is not known");
                self.front.note(Kind::Write, Some((Trouble::Unreachable, text.clone())));
            }
        }
        // Those that had failed by themselves are counted.
        self.front.counters.writer.failed.add(group.iter().filter(|job| job.is_done()).count() as u64);
        for job in group {
            job.refuse(lost.to_error());
        }
    }
}

/// Runs a unit of work, and what it put off.
async fn run(conn: &mut Conn, job: &mut Box<dyn Job>) -> Ran {
    let ran = job.run(conn).await;
    if ran != Ran::Done || conn.session().has_failed() {
        return ran;
    }
    let Err(error) = conn.session().flush().await else { return Ran::Done };
    job.overrule(error);
    Ran::Failed
}

fn taken_back(trouble: Trouble, text: &str) -> Lost {
    Lost::TakenBack(Some(trouble), text.to_owned())
}

impl Lost {
    fn to_error(&self) -> Error {
        match self {
            Self::TakenBack(Some(Trouble::Unreachable), _) => {
                let detail = "The connection to the database broke before the change was committed: it did not happen.";
                Error::try_later(Code::Unavailable, detail, Duration::from_secs(1))
            }
            Self::TakenBack(Some(trouble), _) => trouble.to_error(),
            Self::TakenBack(None, text) => Error::internal(SqlError::new("commit", text.clone())),
            Self::Unknown(_) => Trouble::amid_commit(),
        }
    }
}

/// Tells the queue that the writer has gone, should it go by a panic: another comes with the next write.
struct Leaving<'q>(Option<&'q Queue>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.0 {
            queue.abandon();
        }
    }
}
