//! Personal access tokens.

use async_trait::async_trait;
use inkstone_core::access::Scopes;
use inkstone_core::clock::truncate_to_micros;
use inkstone_core::events::Entity;
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::identity::{NewPersonalToken, PersonalToken, PersonalTokenRepository, SecretHash};
use inkstone_core::users::{User, UserId};
use inkstone_core::{Context, Error, Result};
use jiff::Timestamp;
use serde_json::json;

use crate::db::{Conn, FromRow, Row, Statement};
use crate::idempotency;
use crate::store::{Journal, Store};
use crate::users;
use crate::users::row::{self, columns};

macro_rules! token {
    () => {
        "k.id, k.user_id, k.name, k.hint, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.revoked_at"
    };
}

const TOKEN_COLUMNS: usize = 9;

const INSERT: Statement = Statement {
    name: "personal_tokens.insert",
    sql: "insert into personal_tokens (user_id, name, hint, hash, scopes, created_at, expires_at)
          values ($1, $2, $3, $4, $5, $6, $7)
          returning id",
};

const FIND_LIVE: Statement = Statement {
    name: "personal_tokens.find_live",
    sql: concat!(
        "select ",
        token!(),
        ", ",
        columns!(),
        "
          from personal_tokens k
          join users u on u.id = k.user_id
          where k.hash = $1 and k.revoked_at is null and k.expires_at > $2 and u.disabled = 0"
    ),
};

const LIST: Statement = Statement {
    name: "personal_tokens.list",
    sql: concat!("select ", token!(), " from personal_tokens k where k.user_id = $1 order by k.id desc limit 1000"),
};

const LIST_ALL: Statement = Statement {
    name: "personal_tokens.list_all",
    sql: concat!("select ", token!(), " from personal_tokens k order by k.id desc limit 1000"),
};

const OWNER: Statement =
    Statement { name: "personal_tokens.owner", sql: "select k.user_id from personal_tokens k where k.id = $1" };

const REVOKE: Statement = Statement {
    name: "personal_tokens.revoke",
    sql: "update personal_tokens
          set revoked_at = $2
          where id = $1 and revoked_at is null and expires_at > $2",
};

const REVOKE_ALL: Statement = Statement {
    name: "personal_tokens.revoke_all",
    sql: "update personal_tokens set revoked_at = $2 where user_id = $1 and revoked_at is null",
};

const TOUCH: Statement =
    Statement { name: "personal_tokens.touch", sql: "update personal_tokens set last_used_at = $2 where id = $1" };

pub(super) const STATEMENTS: &[&Statement] =
    &[&INSERT, &FIND_LIVE, &LIST, &LIST_ALL, &OWNER, &REVOKE, &REVOKE_ALL, &TOUCH];

struct TokenRow(PersonalToken);

impl FromRow for TokenRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(PersonalToken {
            id: row.int(0)?,
            user: row.get(1)?,
            name: row.text(2)?,
            hint: row.text(3)?,
            scopes: Scopes::parse(row.str(4)?).map_err(|_| row.bad(4, "holds an unknown scope"))?,
            created_at: row.time(5)?,
            expires_at: row.time(6)?,
            last_used_at: row.opt_time(7)?,
            revoked_at: row.opt_time(8)?,
        }))
    }
}

struct OwnedRow(PersonalToken, User);

impl FromRow for OwnedRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(TokenRow::from_row(row)?.0, row::read(row, TOKEN_COLUMNS)?))
    }
}

/// Ends every personal token of a person.
pub(crate) async fn end_all_of(conn: &mut Conn, user: UserId, now: Timestamp) -> Result<()> {
    conn.execute(&REVOKE_ALL, &[user.into(), now.into()]).await?;
    Ok(())
}

async fn create(
    conn: &mut Conn,
    journal: Journal,
    new: NewPersonalToken,
    asked: Option<Idempotency<PersonalToken>>,
) -> Result<Written<PersonalToken>> {
    if let Some(answer) = idempotency::replay(conn, asked.as_ref(), journal.now).await? {
        return Ok(Written::Replayed(answer));
    }
    let token = insert(conn, &journal, new).await?;
    idempotency::remember(conn, asked.as_ref(), &token, journal.now).await?;
    Ok(Written::Done(token))
}

async fn insert(conn: &mut Conn, journal: &Journal, new: NewPersonalToken) -> Result<PersonalToken> {
    let NewPersonalToken { user, name, hint, hash, scopes, expires_at, created_at } = new;
    if users::find_by_id(conn, user).await?.is_none() {
        return Err(Error::not_found("user"));
    }
    let id = conn
        .insert(
            &INSERT,
            &[
                user.into(),
                (&name).into(),
                (&hint).into(),
                (&hash).into(),
                (&scopes.to_text()).into(),
                created_at.into(),
                expires_at.into(),
            ],
        )
        .await?;
    let details = json!({ "token": id, "scopes": scopes.to_text() });
    journal.audit(conn, journal.caller, "token.created", Entity::User(user), details).await?;
    Ok(PersonalToken {
        id,
        user,
        name,
        hint,
        scopes,
        created_at: truncate_to_micros(created_at),
        expires_at: truncate_to_micros(expires_at),
        last_used_at: None,
        revoked_at: None,
    })
}

async fn revoke(conn: &mut Conn, journal: Journal, user: Option<UserId>, id: i64, now: Timestamp) -> Result<bool> {
    let owner: Option<UserId> = conn.fetch_optional(&OWNER, &[id.into()]).await?;
    let Some(owner) = owner.filter(|owner| user.is_none_or(|user| user == *owner)) else { return Ok(false) };
    if conn.execute(&REVOKE, &[id.into(), now.into()]).await? == 0 {
        return Ok(false);
    }
    journal.audit(conn, journal.caller, "token.revoked", Entity::User(owner), json!({ "token": id })).await?;
    Ok(true)
}

#[async_trait]
impl PersonalTokenRepository for Store {
    async fn create(
        &self,
        ctx: &Context,
        new: NewPersonalToken,
        asked: Option<Idempotency<PersonalToken>>,
    ) -> Result<Written<PersonalToken>> {
        let journal = self.journal(ctx);
        self.db().write(ctx, "personal_tokens.create", move |conn| Box::pin(create(conn, journal, new, asked))).await
    }

    async fn find_live(
        &self,
        ctx: &Context,
        hash: SecretHash,
        now: Timestamp,
    ) -> Result<Option<(PersonalToken, User)>> {
        let mut rows: Vec<OwnedRow> = self
            .db()
            .read(ctx, "personal_tokens.find_live", move |conn| {
                Box::pin(async move { conn.fetch_apart(&FIND_LIVE, &[(&hash).into(), now.into()]).await })
            })
            .await?;
        Ok(rows.pop().map(|OwnedRow(token, user)| (token, user)))
    }

    async fn list(&self, ctx: &Context, user: Option<UserId>) -> Result<Vec<PersonalToken>> {
        let rows: Vec<TokenRow> = self
            .db()
            .read(ctx, "personal_tokens.list", move |conn| {
                Box::pin(async move {
                    match user {
                        Some(user) => conn.fetch_all(&LIST, &[user.into()]).await,
                        None => conn.fetch_all(&LIST_ALL, &[]).await,
                    }
                })
            })
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn revoke(&self, ctx: &Context, user: Option<UserId>, id: i64, now: Timestamp) -> Result<bool> {
        let journal = self.journal(ctx);
        self.db().write(ctx, "personal_tokens.revoke", move |conn| Box::pin(revoke(conn, journal, user, id, now))).await
    }

    async fn touch(&self, ctx: &Context, id: i64, now: Timestamp) -> Result<()> {
        self.db()
            .write(ctx, "personal_tokens.touch", move |conn| {
                Box::pin(async move {
                    conn.execute(&TOUCH, &[id.into(), now.into()]).await?;
                    Ok(())
                })
            })
            .await
    }
}
