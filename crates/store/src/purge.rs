//! Housekeeping: what has expired or is old goes, in small transactions that nobody has to wait for.

use std::time::Duration;

use inkstone_core::{Context, Error, Result};
use jiff::{SignedDuration, Timestamp};

use crate::db::{Conn, Statement, Variant};
use crate::store::Store;
use crate::{audit, outbox};

/// Rows that one transaction removes at most.
const BATCH: u32 = 500;
/// How long a dead session or token can still be looked at.
const KEEP_DEAD: SignedDuration = SignedDuration::from_hours(24 * 30);

const IDEMPOTENCY_KEYS: Statement = Statement {
    name: "purge.idempotency_keys",
    sql: "delete from idempotency_keys
          where (scope, key) in (
              select k.scope, k.key from idempotency_keys k where k.expires_at <= $1 order by k.expires_at limit $2)",
};

const THROTTLES: Statement = Statement {
    name: "purge.login_throttles",
    sql: "delete from login_throttles
          where key in (
              select t.key from login_throttles t where t.expires_at <= $1 order by t.expires_at limit $2)",
};

const REFRESH_TOKENS: Statement = Statement {
    name: "purge.refresh_tokens",
    sql: "delete from refresh_tokens
          where hash in (
              select r.hash
              from sessions s
              cross join refresh_tokens r
              where s.expires_at <= $1 and r.session_id = s.id
              limit $2)",
};

/// A session goes after the last of its tokens.
const SESSIONS: Statement = Statement {
    name: "purge.sessions",
    sql: "delete from sessions
          where id in (
              select s.id
              from sessions s
              where s.expires_at <= $1
                and not exists (select 1 from refresh_tokens r where r.session_id = s.id)
              order by s.expires_at
              limit $2)",
};

const PERSONAL_TOKENS: Statement = Statement {
    name: "purge.personal_tokens",
    sql: "delete from personal_tokens
          where id in (
              select k.id from personal_tokens k where k.expires_at <= $1 order by k.expires_at limit $2)",
};

/// MariaDB limits no subquery, but the statement itself.
pub(crate) const MARIADB: &[Variant] = &[
    Variant {
        name: "purge.idempotency_keys",
        sql: &["delete from idempotency_keys where expires_at <= $1 order by expires_at limit $2"],
    },
    Variant {
        name: "purge.login_throttles",
        sql: &["delete from login_throttles where expires_at <= $1 order by expires_at limit $2"],
    },
    Variant {
        name: "purge.refresh_tokens",
        sql: &["delete r
          from refresh_tokens r
          join (select t.hash
                from sessions s
                straight_join refresh_tokens t
                where s.expires_at <= $1 and t.session_id = s.id
                limit $2) old on old.hash = r.hash"],
    },
    Variant {
        name: "purge.sessions",
        sql: &["delete d
          from sessions d
          join (select s.id
                from sessions s
                where s.expires_at <= $1
                  and not exists (select 1 from refresh_tokens r where r.session_id = s.id)
                order by s.expires_at
                limit $2) old on old.id = d.id"],
    },
    Variant {
        name: "purge.personal_tokens",
        sql: &["delete from personal_tokens where expires_at <= $1 order by expires_at limit $2"],
    },
];

pub(crate) const STATEMENTS: &[&Statement] =
    &[&IDEMPOTENCY_KEYS, &THROTTLES, &REFRESH_TOKENS, &SESSIONS, &PERSONAL_TOKENS];

/// How long what grows with every write is kept. `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Changes that every consumer has passed, since they were made.
    pub outbox: Option<Duration>,
    /// Entries of the audit log.
    pub audit: Option<Duration>,
    /// Those of them that anybody can make without being anybody: sign-ins that failed or were blocked.
    pub failed_sign_ins: Option<Duration>,
}

impl Store {
    /// Removes what at `now` is older than it has to be kept, in transactions of a bounded size;
    /// how many rows that were. Changes go in their order, and none that a consumer with a cursor
    /// has not passed, nor one after `passed`: how far whoever keeps no cursor has come.
    ///
    /// # Errors
    /// As every write; what went before stays removed.
    pub async fn trim(&self, ctx: &Context, now: Timestamp, retention: Retention, passed: i64) -> Result<u64> {
        let Retention { outbox, audit, failed_sign_ins } = retention;
        let mut removed = 0;
        for (what, kept) in
            [(Old::Changes { passed }, outbox), (Old::Entries, audit), (Old::FailedSignIns, failed_sign_ins)]
        {
            let Some(kept) = kept else { continue };
            let until = now.saturating_sub(kept).map_err(Error::internal)?;
            let mut there_is_more = true;
            while there_is_more {
                let batch =
                    self.db().write(ctx, what.name(), move |conn| Box::pin(trim_batch(conn, what, until))).await?;
                removed += batch.removed;
                there_is_more = batch.there_is_more;
            }
        }
        Ok(removed)
    }

    /// Removes what has expired at `now` (sessions and tokens a month after their end, so that they
    /// can be looked at), in transactions of a bounded size; how many rows that were.
    ///
    /// # Errors
    /// As every write; what went before stays removed.
    pub async fn purge(&self, ctx: &Context, now: Timestamp) -> Result<u64> {
        let long_dead = now.saturating_sub(KEEP_DEAD).map_err(Error::internal)?;
        let mut removed = 0;
        for (statement, until) in [
            (&IDEMPOTENCY_KEYS, now),
            (&THROTTLES, now),
            (&REFRESH_TOKENS, long_dead),
            (&SESSIONS, long_dead),
            (&PERSONAL_TOKENS, long_dead),
        ] {
            removed += self.purge_with(ctx, statement, until).await?;
        }
        Ok(removed)
    }

    async fn purge_with(&self, ctx: &Context, statement: &'static Statement, until: Timestamp) -> Result<u64> {
        let mut removed = 0;
        loop {
            let batch = self
                .db()
                .write(ctx, statement.name, move |conn| {
                    Box::pin(async move { conn.execute(statement, &[until.into(), BATCH.into()]).await })
                })
                .await?;
            removed += batch;
            if batch < u64::from(BATCH) {
                return Ok(removed);
            }
        }
    }
}

/// What gets old.
#[derive(Debug, Clone, Copy)]
enum Old {
    Changes { passed: i64 },
    Entries,
    FailedSignIns,
}

impl Old {
    /// Names the unit of work.
    fn name(self) -> &'static str {
        match self {
            Self::Changes { .. } => "outbox.trim",
            Self::Entries => "audit.trim",
            Self::FailedSignIns => "audit.trim_failed_sign_ins",
        }
    }
}

async fn trim_batch(conn: &mut Conn, what: Old, until: Timestamp) -> Result<Trimmed> {
    match what {
        Old::Changes { passed } => outbox::trim(conn, until, passed, BATCH).await,
        Old::Entries => audit::trim(conn, until, BATCH).await,
        Old::FailedSignIns => audit::trim_failed_sign_ins(conn, until, BATCH).await,
    }
}

/// What one batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// Rows that went.
    pub(crate) removed: u64,
    /// Whether there may be more of the kind.
    pub(crate) there_is_more: bool,
}

impl Trimmed {
    /// There was nothing to do.
    pub(crate) const NOTHING: Self = Self { removed: 0, there_is_more: false };
}

/// The number of the last row of a batch that may go, and whether it was a full one: `rows`, with
/// the time of each, are `most` of the oldest at most. The first that has to stay ends it,
/// whatever comes after: a clock that was wrong must not tear holes.
pub(crate) fn oldest(rows: &[(i64, Timestamp)], until: Timestamp, most: u32) -> Option<(i64, bool)> {
    let old = count_old(rows, until);
    let (last, _) = rows.get(old.checked_sub(1)?)?;
    Some((*last, old == most as usize))
}

/// How many rows, with the time of each, may go before the first one that has to stay.
pub(crate) fn count_old(rows: &[(i64, Timestamp)], until: Timestamp) -> usize {
    rows.iter().take_while(|(_, at)| *at <= until).count()
}
