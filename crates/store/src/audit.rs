//! The audit log.

use async_trait::async_trait;
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::{Context, Result};
use jiff::Timestamp;

use crate::db::{Conn, Statement};
use crate::purge::{Trimmed, oldest};
use crate::store::{Journal, Store};

const INSERT: Statement = Statement {
    name: "audit.insert",
    sql: "insert into audit_log (at, actor_kind, actor_id, action, subject, request_id, details)
          values ($1, $2, $3, $4, $5, $6, $7)",
};

/// The newest entry is never among them: its number would be given out again.
const OLDEST: Statement = Statement {
    name: "audit.oldest",
    sql: "select a.id, a.at
          from audit_log a
          where a.id > $1 and a.id < (select max(n.id) from audit_log n)
          order by a.id
          limit $2",
};

const TRIM: Statement = Statement { name: "audit.trim", sql: "delete from audit_log where id <= $1" };

const TRIM_FAILED: Statement = Statement {
    name: "audit.trim_failed",
    sql: "delete from audit_log
          where id > $1 and id <= $2 and action in ('login.failed', 'login.blocked')",
};

/// How far the log has been gone through for failed sign-ins: each entry is looked at once.
const LOOKED_AT: Statement =
    Statement { name: "audit.looked_at", sql: "select value from counters where name = 'audit_looked_at'" };

const SET_LOOKED_AT: Statement = Statement {
    name: "audit.set_looked_at",
    sql: "insert into counters (name, value)
          values ('audit_looked_at', $1)
          on conflict (name) do update
          set value = excluded.value",
};

pub(crate) const STATEMENTS: &[&Statement] = &[&INSERT, &OLDEST, &TRIM, &TRIM_FAILED, &LOOKED_AT, &SET_LOOKED_AT];

pub(crate) async fn insert(conn: &mut Conn, journal: &Journal, entry: &Entry) -> Result<()> {
    let details = entry.details.to_string();
    conn.execute_later(
        &INSERT,
        &[
            journal.now.into(),
            entry.actor.kind().into(),
            entry.actor.user_id().into(),
            entry.action.into(),
            (&entry.subject).into(),
            (&journal.request_id).into(),
            (&details).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Removes some of the oldest entries, as far as they were made by `until`.
pub(crate) async fn trim(conn: &mut Conn, until: Timestamp, most: u32) -> Result<Trimmed> {
    let rows: Vec<(i64, Timestamp)> = conn.fetch_all(&OLDEST, &[0_i64.into(), most.into()]).await?;
    let Some((last, there_is_more)) = oldest(&rows, until, most) else { return Ok(Trimmed::NOTHING) };
    Ok(Trimmed { removed: conn.execute(&TRIM, &[last.into()]).await?, there_is_more })
}

/// Removes the failed sign-ins among some entries that were made by `until` and not looked at yet.
pub(crate) async fn trim_failed_sign_ins(conn: &mut Conn, until: Timestamp, most: u32) -> Result<Trimmed> {
    let looked_at: Option<i64> = conn.fetch_optional(&LOOKED_AT, &[]).await?;
    let looked_at = looked_at.unwrap_or(0);
    let rows: Vec<(i64, Timestamp)> = conn.fetch_all(&OLDEST, &[looked_at.into(), most.into()]).await?;
    let Some((last, there_is_more)) = oldest(&rows, until, most) else { return Ok(Trimmed::NOTHING) };
    let removed = conn.execute(&TRIM_FAILED, &[looked_at.into(), last.into()]).await?;
    conn.execute(&SET_LOOKED_AT, &[last.into()]).await?;
    Ok(Trimmed { removed, there_is_more })
}

#[async_trait]
impl AuditRepository for Store {
    async fn record(&self, ctx: &Context, entry: Entry) -> Result<()> {
        let journal = self.journal(ctx);
        self.db()
            .write(ctx, "audit.record", move |conn| Box::pin(async move { journal.record(conn, &entry).await }))
            .await
    }
}
