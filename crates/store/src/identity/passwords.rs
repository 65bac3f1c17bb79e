//! Passwords, and the count of failures that slows whoever guesses.

use async_trait::async_trait;
use inkstone_core::access::Actor;
use inkstone_core::events::Entity;
use inkstone_core::identity::{PasswordRecord, PasswordRepository, ThrottlePolicy};
use inkstone_core::users::UserId;
use inkstone_core::{Context, Error, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::db::{Conn, FromRow, Row, Statement, Variant};
use crate::store::{Journal, Store, json_list};
use crate::users;
use crate::users::row::{self, columns};

/// Failures that are remembered for one key. The longest block is reached long before.
const MOST_FAILURES: usize = 64;

const FIND_BY_HANDLE: Statement = Statement {
    name: "passwords.find_by_handle",
    sql: concat!("select ", columns!(), ", u.password_hash from users u where u.handle = $1"),
};

const FIND_BY_EMAIL: Statement = Statement {
    name: "passwords.find_by_email",
    sql: concat!("select ", columns!(), ", u.password_hash from users u where u.email_folded = $1"),
};

const REHASH: Statement = Statement {
    name: "passwords.rehash",
    sql: "update users set password_hash = $3 where id = $1 and password_hash = $2",
};

const BLOCKED_UNTIL: Statement = Statement {
    name: "passwords.blocked_until",
    sql: "select max(t.blocked_until)
          from json_each($1) j
          cross join login_throttles t
          where t.key = j.value and t.blocked_until > $2",
};

const FAILURES: Statement = Statement {
    name: "passwords.failures",
    sql: "select failures, blocked_until from login_throttles where \"key\" = $1",
};

const PUT_FAILURES: Statement = Statement {
    name: "passwords.put_failures",
    sql: "insert into login_throttles (\"key\", failures, blocked_until, expires_at)
          values ($1, $2, $3, $4)
          on conflict (\"key\") do update
          set failures      = excluded.failures,
              blocked_until = excluded.blocked_until,
              expires_at    = excluded.expires_at",
};

const CLEAR: Statement = Statement {
    name: "passwords.clear_failures",
    sql: "delete from login_throttles where \"key\" in (select j.value from json_each($1) j)",
};

/// MariaDB asks a subquery for each row of the table, but joins from either side.
pub(super) const MARIADB: &[Variant] = &[Variant {
    name: "passwords.clear_failures",
    sql: &["delete t from login_throttles t join json_each($1) j on t.key = j.value"],
}];

pub(super) const STATEMENTS: &[&Statement] =
    &[&FIND_BY_HANDLE, &FIND_BY_EMAIL, &REHASH, &BLOCKED_UNTIL, &FAILURES, &PUT_FAILURES, &CLEAR];

struct PasswordRow(PasswordRecord);

impl FromRow for PasswordRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(PasswordRecord { user: row::read(row, 0)?, hash: row.opt_text(row::COLUMNS)? }))
    }
}

async fn find(conn: &mut Conn, login: String) -> Result<Option<PasswordRecord>> {
    // A handle holds no @, an address always one.
    let statement = if login.contains('@') { &FIND_BY_EMAIL } else { &FIND_BY_HANDLE };
    let row: Option<PasswordRow> = conn.fetch_optional(statement, &[(&login).into()]).await?;
    Ok(row.map(|row| row.0))
}

/// A failed login.
struct Failure {
    keys: Vec<(String, ThrottlePolicy)>,
    user: Option<UserId>,
    now: Timestamp,
}

async fn record_failure(conn: &mut Conn, journal: Journal, failure: Failure) -> Result<Option<Timestamp>> {
    let Failure { keys, user, now } = failure;
    let mut worst: Option<Timestamp> = None;
    for (key, policy) in &keys {
        worst = worst.max(count_failure(conn, key, *policy, now).await?);
    }
    let subject = user.map_or_else(|| "user:unknown".to_owned(), |user| Entity::User(user).to_string());
    let details = json!({ "blocked": worst.is_some() });
    journal.audit(conn, Actor::Anonymous, "login.failed", subject, details).await?;
    Ok(worst)
}

/// Counts one failure against one key; until when the key is blocked now, if it is.
async fn count_failure(
    conn: &mut Conn,
    key: &str,
    policy: ThrottlePolicy,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let known: Option<(String, Option<Timestamp>)> = conn.fetch_optional(&FAILURES, &[key.into()]).await?;
    let (times, blocked_before) = known.unwrap_or_default();
    let mut times: Vec<i64> =
        if times.is_empty() { Vec::new() } else { serde_json::from_str(&times).map_err(Error::internal)? };
    let window = SignedDuration::from_secs(policy.window_secs.into());
    let oldest = now.saturating_sub(window).map_err(Error::internal)?.as_microsecond();
    times.retain(|time| *time > oldest);
    times.push(now.as_microsecond());
    let surplus = times.len().saturating_sub(MOST_FAILURES);
    times.drain(..surplus);

    let failures = u32::try_from(times.len()).map_err(Error::internal)?;
    let block = SignedDuration::from_secs(policy.block_secs(failures).into());
    let until = now.saturating_add(block).map_err(Error::internal)?;
    let blocked_until = Some(until).max(blocked_before).filter(|until| *until > now);
    let expires_at = now.saturating_add(window.max(block)).map_err(Error::internal)?;
    let list = json_list(&times)?;
    conn.execute(&PUT_FAILURES, &[key.into(), (&list).into(), blocked_until.into(), expires_at.into()]).await?;
    Ok(blocked_until)
}

#[async_trait]
impl PasswordRepository for Store {
    async fn find(&self, ctx: &Context, login: &str) -> Result<Option<PasswordRecord>> {
        let login = login.to_owned();
        self.db().read(ctx, "passwords.find", move |conn| Box::pin(find(conn, login))).await
    }

    async fn any_can_sign_in(&self, ctx: &Context) -> Result<bool> {
        self.db().read(ctx, "passwords.any_can_sign_in", |conn| Box::pin(users::any_can_sign_in(conn))).await
    }

    async fn rehash(&self, ctx: &Context, user: UserId, weak: &str, hash: String) -> Result<()> {
        let weak = weak.to_owned();
        self.db()
            .write(ctx, "passwords.rehash", move |conn| {
                Box::pin(async move {
                    conn.execute(&REHASH, &[user.into(), (&weak).into(), (&hash).into()]).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn blocked_until(&self, ctx: &Context, keys: &[String], now: Timestamp) -> Result<Option<Timestamp>> {
        let keys = json_list(keys)?;
        self.db()
            .read(ctx, "passwords.blocked_until", move |conn| {
                Box::pin(async move { conn.fetch_one(&BLOCKED_UNTIL, &[(&keys).into(), now.into()]).await })
            })
            .await
    }

    async fn record_failure(
        &self,
        ctx: &Context,
        keys: &[(String, ThrottlePolicy)],
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let journal = self.journal(ctx);
        let failure = Failure { keys: keys.to_vec(), user, now };
        self.db()
            .write(ctx, "passwords.record_failure", move |conn| Box::pin(record_failure(conn, journal, failure)))
            .await
    }

    async fn clear_failures(&self, ctx: &Context, keys: &[String]) -> Result<()> {
        let keys = json_list(keys)?;
        self.db()
            .write(ctx, "passwords.clear_failures", move |conn| {
                Box::pin(async move {
                    conn.execute(&CLEAR, &[(&keys).into()]).await?;
                    Ok(())
                })
            })
            .await
    }
}
