//! The audit log.

use async_trait::async_trait;
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::{Context, Result};

use crate::db::{Conn, Statement};
use crate::store::{Journal, Store};

const INSERT: Statement = Statement {
    name: "audit.insert",
    sql: "insert into audit_log (at, actor_kind, actor_id, action, subject, request_id, details)
          values ($1, $2, $3, $4, $5, $6, $7)",
};

pub(crate) const STATEMENTS: &[&Statement] = &[&INSERT];

pub(crate) async fn insert(conn: &mut Conn, journal: &Journal, entry: &Entry) -> Result<()> {
    let details = entry.details.to_string();
    conn.execute(
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

#[async_trait]
impl AuditRepository for Store {
    async fn record(&self, ctx: &Context, entry: Entry) -> Result<()> {
        let journal = self.journal(ctx);
        self.db()
            .write(ctx, "audit.record", move |conn| Box::pin(async move { journal.record(conn, &entry).await }))
            .await
    }
}
