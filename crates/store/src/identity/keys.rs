//! Signing keys.

use async_trait::async_trait;
use inkstone_core::events::{Entity, Event};
use inkstone_core::identity::{KeyRepository, KeyState, SigningKey};
use inkstone_core::{Context, Result};
use serde_json::json;

use crate::db::{Conn, FromRow, Row, Statement};
use crate::store::{Journal, Store};

const LIST: Statement = Statement {
    name: "signing_keys.list",
    sql: "select kid, state, pkcs8, public, created_at, state_since from signing_keys order by kid",
};

const CLEAR: Statement = Statement { name: "signing_keys.clear", sql: "delete from signing_keys" };

const INSERT: Statement = Statement {
    name: "signing_keys.insert",
    sql: "insert into signing_keys (kid, state, pkcs8, public, created_at, state_since)
          values ($1, $2, $3, $4, $5, $6)",
};

pub(super) const STATEMENTS: &[&Statement] = &[&LIST, &CLEAR, &INSERT];

struct KeyRow(SigningKey);

impl FromRow for KeyRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(SigningKey {
            kid: row.text(0)?,
            state: KeyState::parse(row.str(1)?).ok_or_else(|| row.bad(1, "is not a state"))?,
            pkcs8: row.bytes(2)?,
            public: row.bytes(3)?,
            created_at: row.time(4)?,
            state_since: row.time(5)?,
        }))
    }
}

async fn list(conn: &mut Conn) -> Result<Vec<SigningKey>> {
    let rows: Vec<KeyRow> = conn.fetch_all(&LIST, &[]).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Which keys are in which state, by key id.
fn states(keys: &[SigningKey]) -> Vec<(String, KeyState)> {
    let mut states: Vec<_> = keys.iter().map(|key| (key.kid.clone(), key.state)).collect();
    states.sort_by(|a, b| a.0.cmp(&b.0));
    states
}

async fn replace(
    conn: &mut Conn,
    journal: Journal,
    mut expected: Vec<(String, KeyState)>,
    keys: Vec<SigningKey>,
) -> Result<bool> {
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    if states(&list(conn).await?) != expected {
        return Ok(false);
    }
    conn.execute(&CLEAR, &[]).await?;
    for key in &keys {
        let SigningKey { kid, state, pkcs8, public, created_at, state_since } = key;
        conn.execute(
            &INSERT,
            &[
                kid.into(),
                state.as_str().into(),
                pkcs8.into(),
                public.into(),
                (*created_at).into(),
                (*state_since).into(),
            ],
        )
        .await?;
    }
    let kids: Vec<_> = states(&keys).into_iter().map(|(kid, state)| json!([kid, state.as_str()])).collect();
    let payload = json!({ "keys": kids });
    journal.audit(conn, journal.caller, "keys.rotated", Entity::Keys, payload.clone()).await?;
    let event = Event { kind: "keys.rotated", subject: Entity::Keys, entities: vec![Entity::Keys], payload };
    journal.publish(conn, &[event]).await?;
    Ok(true)
}

#[async_trait]
impl KeyRepository for Store {
    async fn list(&self, ctx: &Context) -> Result<Vec<SigningKey>> {
        self.db().read(ctx, "signing_keys.list", |conn| Box::pin(list(conn))).await
    }

    async fn replace(&self, ctx: &Context, expected: &[(String, KeyState)], keys: Vec<SigningKey>) -> Result<bool> {
        let (journal, expected) = (self.journal(ctx), expected.to_vec());
        self.db().write(ctx, "signing_keys.replace", move |conn| Box::pin(replace(conn, journal, expected, keys))).await
    }
}
