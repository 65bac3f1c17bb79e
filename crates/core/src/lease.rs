//! Leases: work that has to be done by one node at a time, and once a period, whichever node that is.
//!
//! Nodes come and go, hang, are stopped and go on, and their clocks differ. So nothing here looks at
//! a node's clock, and nobody has to be told anything:
//!
//! * One row in the database says who has the lease, since when, until when, and when the work was
//!   done last. All of these are times of the **database**: the rules below are pure functions of
//!   the row and of what time it is there, run under the write lock.
//! * Each time the lease is given, its **token** grows. Whoever works under it carries a [`Fence`] in
//!   the context, and the executor compares it with the row *in the transaction of every write*. So a
//!   node that was stopped while it held the lease, and goes on after somebody else got it, changes
//!   nothing any more, whatever it believes.
//!
//! Times decide who may begin; tokens decide whose writes count. A database whose clock jumps can
//! make two nodes begin, and still the writes of one of them only count.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::context::Context;
use crate::error::{Code, Error, Result};

/// What a write needs to be done under a lease: see [`Context::fence`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Which lease.
    pub name: Arc<str>,
    /// The token that was current when it was given.
    pub token: i64,
}

impl Fence {
    /// What a write gets whose lease has gone to somebody else.
    pub fn lost(&self) -> Error {
        Error::refused(Code::Conflict, format!("The lease {} has gone to somebody else.", self.name))
    }
}

/// The row of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who got it last.
    pub owner: String,
    /// How often it was given so far.
    pub token: i64,
    /// When it was given, or prolonged.
    pub since: Timestamp,
    /// When it ends; the same as `since` once it was given back.
    pub until: Timestamp,
    /// When the work was done last.
    pub done_at: Option<Timestamp>,
}

/// Who asks for a lease, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who, by a name that no other process has or had.
    pub owner: String,
    /// For how long; whoever needs more prolongs it in time.
    pub term: Duration,
    /// How long to leave alone what was done. Zero: not at all.
    pub rest: Duration,
}

/// What somebody who asked for a lease gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The lease, with this token.
    Given(i64),
    /// Nothing: somebody else has it.
    Held,
    /// Nothing: the work was done a short time ago.
    Rests,
}

impl Lease {
    /// Whether somebody has it. A row from the future says that the database's clock was set back: then
    /// nobody can say how long it was meant to last, so it is over.
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.until
    }

    /// Whether the work was done less than `rest` ago. What was done in the future was not.
    fn rests(&self, now: Timestamp, rest: Duration) -> bool {
        let Some(done_at) = self.done_at else { return false };
        done_at <= now && done_at.saturating_add(rest).is_ok_and(|until| now < until)
    }

    /// Decides what `ask` gets, and what the row is afterwards if that changes it. `lease` is the
    /// row as it is under the write lock, and `now` the time there.
    pub fn claim(lease: Option<&Self>, ask: &Ask, now: Timestamp) -> (Claim, Option<Self>) {
        if lease.is_some_and(|lease| lease.is_held(now) && lease.owner != ask.owner) {
            return (Claim::Held, None);
        }
        if lease.is_some_and(|lease| lease.rests(now, ask.rest)) {
            return (Claim::Rests, None);
        }
        let token = lease.map_or(0, |lease| lease.token) + 1;
        let done_at = lease.and_then(|lease| lease.done_at);
        let given = Self { owner: ask.owner.clone(), token, since: now, until: after(now, ask.term), done_at };
        (Claim::Given(token), Some(given))
    }

    /// The row after whoever has this token prolongs it; none if it has gone to somebody else. One
    /// that has run out but was given to nobody can still be prolonged.
    #[must_use]
    pub fn renew(&self, token: i64, term: Duration, now: Timestamp) -> Option<Self> {
        (self.token == token).then(|| Self { since: now, until: after(now, term), ..self.clone() })
    }

    /// The row after whoever has this token gives it back; none if it has gone to somebody else.
    #[must_use]
    pub fn give_back(&self, token: i64, is_done: bool, now: Timestamp) -> Option<Self> {
        let done_at = if is_done { Some(now) } else { self.done_at };
        (self.token == token).then(|| Self { since: now, until: now, done_at, ..self.clone() })
    }
}

/// A term beyond the end of time lasts until that.
fn after(now: Timestamp, term: Duration) -> Timestamp {
    now.saturating_add(term).unwrap_or(Timestamp::MAX)
}

/// The leases of all nodes over one database.
#[async_trait]
pub trait LeaseRepository: Send + Sync {
    /// Asks for the lease `name`.
    ///
    /// # Errors
    /// As every write. If the answer got lost the lease may have been given; it ends by itself, and
    /// whoever asks again under the same name gets it at once.
    async fn claim(&self, ctx: &Context, name: &str, ask: Ask) -> Result<Claim>;

    /// Prolongs a lease; whether it was still the caller's.
    ///
    /// # Errors
    /// As every write.
    async fn renew(&self, ctx: &Context, fence: &Fence, term: Duration) -> Result<bool>;

    /// Gives a lease back, with the work done or not; whether it was still the caller's.
    ///
    /// # Errors
    /// As every write.
    async fn give_back(&self, ctx: &Context, fence: &Fence, is_done: bool) -> Result<bool>;

    /// The row of a lease, for whoever wants to know.
    ///
    /// # Errors
    /// As every read.
    async fn find(&self, ctx: &Context, name: &str) -> Result<Option<Lease>>;
}
