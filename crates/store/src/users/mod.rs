//! Accounts and profiles.

pub(crate) mod row;
mod write;

use async_trait::async_trait;
use inkstone_core::access::Permit;
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::page::{Key, Page, Position};
use inkstone_core::users::repository::{Decide, UserQuery};
use inkstone_core::users::{NewUser, User, UserId, UserKey, UserRepository};
use inkstone_core::{Code, Context, Error, Result};

pub(crate) use write::any_can_sign_in;

use crate::db::{Conn, Statement};
use crate::store::Store;
use row::{UserRow, columns};

const FIND_BY_ID: Statement =
    Statement { name: "users.find_by_id", sql: concat!("select ", columns!(), " from users u where u.id = $1") };

const FIND_BY_HANDLE: Statement = Statement {
    name: "users.find_by_handle",
    sql: concat!("select ", columns!(), " from users u where u.handle = $1"),
};

const FIND_BY_EMAIL: Statement = Statement {
    name: "users.find_by_email",
    sql: concat!("select ", columns!(), " from users u where u.email_folded = $1"),
};

const LIST: Statement = Statement {
    name: "users.list",
    sql: concat!("select ", columns!(), " from users u where u.id > $1 and u.id < $2 order by u.id limit $3 offset $4"),
};

const LIST_BACKWARDS: Statement = Statement {
    name: "users.list_backwards",
    sql: concat!(
        "select ",
        columns!(),
        " from users u where u.id > $1 and u.id < $2 order by u.id desc limit $3 offset $4"
    ),
};

const LIST_PUBLIC: Statement = Statement {
    name: "users.list_public",
    sql: concat!(
        "select ",
        columns!(),
        " from users u where u.is_public = 1 and u.id > $1 and u.id < $2 order by u.id limit $3 offset $4"
    ),
};

const LIST_PUBLIC_BACKWARDS: Statement = Statement {
    name: "users.list_public_backwards",
    sql: concat!(
        "select ",
        columns!(),
        " from users u where u.is_public = 1 and u.id > $1 and u.id < $2 order by u.id desc limit $3 offset $4"
    ),
};

const COUNT: Statement = Statement { name: "users.count", sql: "select count(*) from users" };

const COUNT_PUBLIC: Statement =
    Statement { name: "users.count_public", sql: "select count(*) from users where is_public = 1" };

const READS: &[&Statement] = &[
    &FIND_BY_ID,
    &FIND_BY_HANDLE,
    &FIND_BY_EMAIL,
    &LIST,
    &LIST_BACKWARDS,
    &LIST_PUBLIC,
    &LIST_PUBLIC_BACKWARDS,
    &COUNT,
    &COUNT_PUBLIC,
];

pub(crate) const STATEMENTS: &[&[&Statement]] = &[READS, write::STATEMENTS];

/// The account with this id.
pub(crate) async fn find_by_id(conn: &mut Conn, id: UserId) -> Result<Option<User>> {
    Ok(conn.fetch_optional::<UserRow>(&FIND_BY_ID, &[id.into()]).await?.map(|row| row.0))
}

async fn find(conn: &mut Conn, key: UserKey) -> Result<Option<User>> {
    let found: Option<UserRow> = match &key {
        UserKey::Id(id) => return find_by_id(conn, *id).await,
        UserKey::Handle(handle) => conn.fetch_optional(&FIND_BY_HANDLE, &[handle.into()]).await?,
        UserKey::Email(email) => conn.fetch_optional(&FIND_BY_EMAIL, &[email.into()]).await?,
    };
    Ok(found.map(|row| row.0))
}

async fn list(conn: &mut Conn, query: UserQuery) -> Result<Page<User>> {
    let (mut above, mut below, mut skip) = (i64::MIN, i64::MAX, 0);
    match &query.position {
        Position::Start => {}
        Position::After(Key::Id(id)) => above = *id,
        Position::Before(Key::Id(id)) => below = *id,
        Position::Offset(rows) => skip = i64::try_from(*rows).unwrap_or(i64::MAX),
        Position::After(_) | Position::Before(_) => {
            return Err(Error::refused(Code::BadCursor, "This cursor belongs to another list."));
        }
    }
    let statement = match (query.public_only, matches!(query.position, Position::Before(_))) {
        (false, false) => &LIST,
        (false, true) => &LIST_BACKWARDS,
        (true, false) => &LIST_PUBLIC,
        (true, true) => &LIST_PUBLIC_BACKWARDS,
    };
    let limit = i64::from(query.limit) + 1;
    let rows: Vec<UserRow> =
        conn.fetch_all(statement, &[above.into(), below.into(), limit.into(), skip.into()]).await?;
    let users = rows.into_iter().map(|row| row.0).collect();
    Ok(Page::from_rows(users, query.limit, &query.position, |user: &User| Key::Id(user.id.0)))
}

async fn count(conn: &mut Conn, public_only: bool) -> Result<u64> {
    let statement = if public_only { &COUNT_PUBLIC } else { &COUNT };
    let count: i64 = conn.fetch_one(statement, &[]).await?;
    u64::try_from(count).map_err(Error::internal)
}

#[async_trait]
impl UserRepository for Store {
    async fn find(&self, ctx: &Context, key: &UserKey) -> Result<Option<User>> {
        let key = key.clone();
        self.db().read(ctx, "users.find", move |conn| Box::pin(find(conn, key))).await
    }

    async fn list(&self, ctx: &Context, query: &UserQuery) -> Result<Page<User>> {
        let query = query.clone();
        self.db().read(ctx, "users.list", move |conn| Box::pin(list(conn, query))).await
    }

    async fn count(&self, ctx: &Context, public_only: bool) -> Result<u64> {
        self.db().read(ctx, "users.count", move |conn| Box::pin(count(conn, public_only))).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewUser>,
        first_only: bool,
        asked: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        let journal = self.journal(ctx);
        self.db()
            .write(ctx, "users.create", move |conn| Box::pin(write::create(conn, journal, new, first_only, asked)))
            .await
    }

    async fn change(
        &self,
        ctx: &Context,
        id: UserId,
        decide: Decide,
        asked: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        let journal = self.journal(ctx);
        self.db()
            .write(ctx, "users.change", move |conn| Box::pin(write::change(conn, journal, id, decide, asked)))
            .await
    }
}
