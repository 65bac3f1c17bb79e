//! Sessions and their refresh tokens.

use async_trait::async_trait;
use inkstone_core::access::{Actor, Scopes};
use inkstone_core::clock::truncate_to_micros;
use inkstone_core::identity::{Rotation, SecretHash, Session, SessionRepository};
use inkstone_core::users::{User, UserId};
use inkstone_core::{Context, Result};
use jiff::Timestamp;
use serde_json::json;

use crate::db::{Conn, FromRow, Row, Statement};
use crate::store::{Journal, Store};
use crate::users;
use crate::users::row::{self, columns};

macro_rules! session {
    () => {
        "s.id, s.user_id, s.scopes, s.created_at, s.last_used_at, s.expires_at, s.revoked_at"
    };
}

const SESSION_COLUMNS: usize = 7;

const INSERT: Statement = Statement {
    name: "sessions.insert",
    sql: "insert into sessions (user_id, scopes, created_at, last_used_at, expires_at)
          values ($1, $2, $3, $3, $4)
          returning id",
};

const INSERT_TOKEN: Statement = Statement {
    name: "sessions.insert_token",
    sql: "insert into refresh_tokens (hash, session_id, created_at, expires_at) values ($1, $2, $3, $4)",
};

const FIND_BY_TOKEN: Statement = Statement {
    name: "sessions.find_by_token",
    sql: concat!(
        "select ",
        session!(),
        ", ",
        columns!(),
        ", r.expires_at, r.used_at
          from refresh_tokens r
          join sessions s on s.id = r.session_id
          join users u on u.id = s.user_id
          where r.hash = $1"
    ),
};

const FIND_LIVE: Statement = Statement {
    name: "sessions.find_live",
    sql: concat!(
        "select ",
        session!(),
        ", ",
        columns!(),
        "
          from sessions s
          join users u on u.id = s.user_id
          where s.id = $1 and s.revoked_at is null and s.expires_at > $2 and u.disabled = 0"
    ),
};

const LIST_LIVE: Statement = Statement {
    name: "sessions.list_live",
    sql: concat!(
        "select ",
        session!(),
        "
          from sessions s
          where s.user_id = $1 and s.revoked_at is null and s.expires_at > $2
          order by s.id desc
          limit 100"
    ),
};

/// Names the state that it expects, so that whoever comes second changes nothing.
const USE_TOKEN: Statement = Statement {
    name: "sessions.use_token",
    sql: "update refresh_tokens set used_at = $2 where hash = $1 and used_at is null",
};

const TOUCH: Statement =
    Statement { name: "sessions.touch", sql: "update sessions set last_used_at = $2 where id = $1" };

const REVOKE: Statement = Statement {
    name: "sessions.revoke",
    sql: "update sessions
          set revoked_at = $3
          where id = $1 and user_id = $2 and revoked_at is null and expires_at > $3",
};

const REVOKE_ALL: Statement = Statement {
    name: "sessions.revoke_all",
    sql: "update sessions set revoked_at = $2 where user_id = $1 and revoked_at is null",
};

pub(super) const STATEMENTS: &[&Statement] =
    &[&INSERT, &INSERT_TOKEN, &FIND_BY_TOKEN, &FIND_LIVE, &LIST_LIVE, &USE_TOKEN, &TOUCH, &REVOKE, &REVOKE_ALL];

struct SessionRow(Session);

impl FromRow for SessionRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(Session {
            id: row.int(0)?,
            user: row.get(1)?,
            scopes: Scopes::parse(row.str(2)?).map_err(|_| row.bad(2, "holds an unknown scope"))?,
            created_at: row.time(3)?,
            last_used_at: row.time(4)?,
            expires_at: row.time(5)?,
            revoked_at: row.opt_time(6)?,
        }))
    }
}

struct OwnedRow(Session, User);

impl FromRow for OwnedRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(SessionRow::from_row(row)?.0, row::read(row, SESSION_COLUMNS)?))
    }
}

/// A refresh token with its session and account.
struct TokenRow {
    session: Session,
    user: User,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
}

impl FromRow for TokenRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let OwnedRow(session, user) = OwnedRow::from_row(row)?;
        let first = SESSION_COLUMNS + row::COLUMNS;
        Ok(Self { session, user, expires_at: row.time(first)?, used_at: row.opt_time(first + 1)? })
    }
}

impl TokenRow {
    fn is_alive(&self, now: Timestamp) -> bool {
        self.session.revoked_at.is_none() && self.session.expires_at > now && !self.user.disabled
    }
}

/// Ends every session of a person.
pub(crate) async fn end_all_of(conn: &mut Conn, user: UserId, now: Timestamp) -> Result<()> {
    conn.execute(&REVOKE_ALL, &[user.into(), now.into()]).await?;
    Ok(())
}

async fn begin(
    conn: &mut Conn,
    journal: Journal,
    proven: User,
    new: Session,
    token: SecretHash,
    until: Timestamp,
) -> Result<Option<Session>> {
    let present = users::find_by_id(conn, new.user).await?;
    if !present.is_some_and(|present| present.version == proven.version && !present.disabled) {
        return Ok(None);
    }
    let id = conn
        .insert(
            &INSERT,
            &[new.user.into(), (&new.scopes.to_text()).into(), new.created_at.into(), new.expires_at.into()],
        )
        .await?;
    conn.execute(&INSERT_TOKEN, &[(&token).into(), id.into(), new.created_at.into(), until.into()]).await?;
    let details = json!({ "session": id, "scopes": new.scopes.to_text() });
    journal.audit(conn, Actor::User(new.user), "login.succeeded", subject(new.user), details).await?;
    Ok(Some(Session { id, ..new }))
}

/// A rotation as it is asked for: which token is used up, and what takes its place.
struct Turn {
    used: SecretHash,
    fresh: SecretHash,
    expires_at: Timestamp,
    now: Timestamp,
}

async fn rotate(conn: &mut Conn, journal: Journal, ask: Turn) -> Result<Rotation> {
    let Turn { used, fresh, expires_at, now } = ask;
    let found: Option<TokenRow> = conn.fetch_optional(&FIND_BY_TOKEN, &[(&used).into()]).await?;
    let Some(found) = found.filter(|found| found.is_alive(now)) else { return Ok(Rotation::Refused) };
    let TokenRow { mut session, user, .. } = found;
    if found.used_at.is_some() {
        return reused(conn, journal, session, now).await;
    }
    if found.expires_at <= now {
        return Ok(Rotation::Refused);
    }
    if conn.execute(&USE_TOKEN, &[(&used).into(), now.into()]).await? == 0 {
        return reused(conn, journal, session, now).await;
    }
    let expires_at = expires_at.min(session.expires_at);
    conn.execute(&INSERT_TOKEN, &[(&fresh).into(), session.id.into(), now.into(), expires_at.into()]).await?;
    conn.execute(&TOUCH, &[session.id.into(), now.into()]).await?;
    session.last_used_at = truncate_to_micros(now);
    Ok(Rotation::Rotated(Box::new((session, user))))
}

/// Somebody has a copy of a token: neither its owner nor the thief goes on with this family.
async fn reused(conn: &mut Conn, journal: Journal, mut session: Session, now: Timestamp) -> Result<Rotation> {
    conn.execute(&REVOKE, &[session.id.into(), session.user.into(), now.into()]).await?;
    session.revoked_at = Some(truncate_to_micros(now));
    let details = json!({ "session": session.id });
    journal.audit(conn, journal.caller, "refresh.reused", subject(session.user), details).await?;
    Ok(Rotation::Reused(Box::new(session)))
}

async fn end_by_token(conn: &mut Conn, journal: Journal, token: SecretHash, now: Timestamp) -> Result<bool> {
    let found: Option<TokenRow> = conn.fetch_optional(&FIND_BY_TOKEN, &[(&token).into()]).await?;
    let Some(TokenRow { session, .. }) = found else { return Ok(false) };
    end(conn, journal, session.user, session.id, now, "logout").await
}

async fn end(
    conn: &mut Conn,
    journal: Journal,
    user: UserId,
    session: i64,
    now: Timestamp,
    action: &'static str,
) -> Result<bool> {
    if conn.execute(&REVOKE, &[session.into(), user.into(), now.into()]).await? == 0 {
        return Ok(false);
    }
    let actor = match journal.caller {
        Actor::Anonymous => Actor::User(user), // the token proved who it is
        known => known,
    };
    journal.audit(conn, actor, action, subject(user), json!({ "session": session })).await?;
    Ok(true)
}

fn subject(user: UserId) -> inkstone_core::events::Entity {
    inkstone_core::events::Entity::User(user)
}

#[async_trait]
impl SessionRepository for Store {
    async fn begin(
        &self,
        ctx: &Context,
        user: &User,
        scopes: Scopes,
        token: SecretHash,
        token_expires_at: Timestamp,
        session_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>> {
        let journal = self.journal(ctx);
        let now = truncate_to_micros(now);
        let proven = user.clone();
        let session = Session {
            id: 0,
            user: user.id,
            scopes,
            created_at: now,
            last_used_at: now,
            expires_at: truncate_to_micros(session_expires_at),
            revoked_at: None,
        };
        self.db()
            .write(ctx, "sessions.begin", move |conn| {
                Box::pin(begin(conn, journal, proven, session, token, token_expires_at))
            })
            .await
    }

    async fn rotate(
        &self,
        ctx: &Context,
        token: SecretHash,
        next: SecretHash,
        next_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation> {
        let journal = self.journal(ctx);
        let ask = Turn { used: token, fresh: next, expires_at: next_expires_at, now };
        self.db().write(ctx, "sessions.rotate", move |conn| Box::pin(rotate(conn, journal, ask))).await
    }

    async fn end_by_token(&self, ctx: &Context, token: SecretHash, now: Timestamp) -> Result<bool> {
        let journal = self.journal(ctx);
        self.db()
            .write(ctx, "sessions.end_by_token", move |conn| Box::pin(end_by_token(conn, journal, token, now)))
            .await
    }

    async fn end(&self, ctx: &Context, user: UserId, session: i64, now: Timestamp) -> Result<bool> {
        let journal = self.journal(ctx);
        self.db()
            .write(ctx, "sessions.end", move |conn| Box::pin(end(conn, journal, user, session, now, "session.ended")))
            .await
    }

    async fn list(&self, ctx: &Context, user: UserId, now: Timestamp) -> Result<Vec<Session>> {
        let rows: Vec<SessionRow> = self
            .db()
            .read(ctx, "sessions.list", move |conn| {
                Box::pin(async move { conn.fetch_all(&LIST_LIVE, &[user.into(), now.into()]).await })
            })
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn find_live(&self, ctx: &Context, session: i64, now: Timestamp) -> Result<Option<(Session, User)>> {
        let row: Option<OwnedRow> = self
            .db()
            .read(ctx, "sessions.find_live", move |conn| {
                Box::pin(async move { conn.fetch_optional(&FIND_LIVE, &[session.into(), now.into()]).await })
            })
            .await?;
        Ok(row.map(|OwnedRow(session, user)| (session, user)))
    }
}
