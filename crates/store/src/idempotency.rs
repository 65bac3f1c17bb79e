//! Answers kept under the key that came with the request, in the same transaction as its effect.

use async_trait::async_trait;
use inkstone_core::idempotency::{AnswerRepository, Idempotency, StoredAnswer};
use inkstone_core::{Code, Context, Error, Result};
use jiff::Timestamp;

use crate::db::{Conn, Statement};
use crate::store::Store;

const FIND: Statement = Statement {
    name: "idempotency.find",
    sql: "select fingerprint, status, headers, body
          from idempotency_keys
          where scope = $1 and \"key\" = $2 and expires_at > $3",
};

const PUT: Statement = Statement {
    name: "idempotency.put",
    sql: "insert into idempotency_keys (scope, \"key\", fingerprint, status, headers, body, created_at, expires_at)
          values ($1, $2, $3, $4, $5, $6, $7, $8)
          on conflict (scope, \"key\") do update
          set fingerprint = excluded.fingerprint,
              status      = excluded.status,
              headers     = excluded.headers,
              body        = excluded.body,
              created_at  = excluded.created_at,
              expires_at  = excluded.expires_at",
};

pub(crate) const STATEMENTS: &[&Statement] = &[&FIND, &PUT];

/// The answer that was given under this key, if there is one that has not expired at `now`.
///
/// # Errors
/// `IdempotencyKeyReused` if the key came with another request.
pub(crate) async fn replay<T>(
    conn: &mut Conn,
    asked: Option<&Idempotency<T>>,
    now: Timestamp,
) -> Result<Option<StoredAnswer>> {
    let Some(asked) = asked else { return Ok(None) };
    find(conn, &asked.scope, &asked.key, asked.fingerprint, now).await
}

async fn find(
    conn: &mut Conn,
    scope: &str,
    key: &str,
    asked: [u8; 32],
    now: Timestamp,
) -> Result<Option<StoredAnswer>> {
    let found: Option<(Vec<u8>, i64, String, Vec<u8>)> =
        conn.fetch_optional(&FIND, &[scope.into(), key.into(), now.into()]).await?;
    let Some((fingerprint, status, headers, body)) = found else { return Ok(None) };
    if fingerprint != asked {
        return Err(Error::refused(
            Code::IdempotencyKeyReused,
            "This idempotency key was used with another request before.",
        ));
    }
    Ok(Some(StoredAnswer {
        status: u16::try_from(status).map_err(Error::internal)?,
        headers: serde_json::from_str(&headers).map_err(Error::internal)?,
        body,
    }))
}

/// Keeps the answer to `written`. Whatever is there under the key has expired: [`replay`] came first.
pub(crate) async fn remember<T>(
    conn: &mut Conn,
    asked: Option<&Idempotency<T>>,
    written: &T,
    now: Timestamp,
) -> Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let answer = (asked.render)(written)?;
    let headers = serde_json::to_string(&answer.headers).map_err(Error::internal)?;
    conn.execute_later(
        &PUT,
        &[
            (&asked.scope).into(),
            (&asked.key).into(),
            (&asked.fingerprint).into(),
            answer.status.into(),
            (&headers).into(),
            (&answer.body).into(),
            now.into(),
            asked.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

#[async_trait]
impl AnswerRepository for Store {
    async fn find_answer(
        &self,
        ctx: &Context,
        scope: &str,
        key: &str,
        fingerprint: [u8; 32],
    ) -> Result<Option<StoredAnswer>> {
        let (scope, key, now) = (scope.to_owned(), key.to_owned(), self.now());
        self.db()
            .read(ctx, "idempotency.find", move |conn| {
                Box::pin(async move { find(conn, &scope, &key, fingerprint, now).await })
            })
            .await
    }
}
