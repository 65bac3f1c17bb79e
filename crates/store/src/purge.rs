//! Housekeeping: what has expired goes, in small transactions that nobody has to wait for.

use inkstone_core::{Context, Error, Result};
use jiff::{SignedDuration, Timestamp};

use crate::db::Statement;
use crate::store::Store;

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

pub(crate) const STATEMENTS: &[&Statement] =
    &[&IDEMPOTENCY_KEYS, &THROTTLES, &REFRESH_TOKENS, &SESSIONS, &PERSONAL_TOKENS];

impl Store {
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
