//! Leases: the rows behind the rules in `inkstone_core::lease`, and the fence before every write.

use std::time::Duration;

use async_trait::async_trait;
use inkstone_core::lease::{Ask, Claim, Fence, Lease, LeaseRepository};
use inkstone_core::{Context, Result};

use crate::db::{BoxFuture, Conn, FromRow, Row, Statement};
use crate::store::Store;

const FIND: Statement = Statement {
    name: "leases.find",
    sql: "select owner, token, held_since, held_until, done_at from leases where name = $1",
};

const PUT: Statement = Statement {
    name: "leases.put",
    sql: "insert into leases (name, owner, token, held_since, held_until, done_at)
          values ($1, $2, $3, $4, $5, $6)
          on conflict (name) do update
          set owner      = excluded.owner,
              token      = excluded.token,
              held_since = excluded.held_since,
              held_until = excluded.held_until,
              done_at    = excluded.done_at",
};

const TOKEN: Statement = Statement { name: "leases.token", sql: "select token from leases where name = $1" };

pub(crate) const STATEMENTS: &[&Statement] = &[&FIND, &PUT, &TOKEN];

struct LeaseRow(Lease);

impl FromRow for LeaseRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(Lease {
            owner: row.text(0)?,
            token: row.int(1)?,
            since: row.time(2)?,
            until: row.time(3)?,
            done_at: row.get(4)?,
        }))
    }
}

/// The same write, refused if its lease has gone to somebody else. That is looked up first in its
/// transaction: behind the lock that all writes take, so nobody can get the lease before it commits.
pub(crate) fn behind<T, W>(
    fence: Fence,
    work: W,
) -> impl for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + 'static,
{
    move |conn| {
        Box::pin(async move {
            let token: Option<i64> = conn.fetch_optional(&TOKEN, &[(&*fence.name).into()]).await?;
            if token != Some(fence.token) {
                return Err(fence.lost());
            }
            work(conn).await
        })
    }
}

async fn find(conn: &mut Conn, name: &str) -> Result<Option<Lease>> {
    let row: Option<LeaseRow> = conn.fetch_optional(&FIND, &[name.into()]).await?;
    Ok(row.map(|row| row.0))
}

async fn put(conn: &mut Conn, name: &str, lease: &Lease) -> Result<()> {
    let Lease { owner, token, since, until, done_at } = lease;
    conn.execute(
        &PUT,
        &[name.into(), owner.into(), (*token).into(), (*since).into(), (*until).into(), (*done_at).into()],
    )
    .await?;
    Ok(())
}

#[async_trait]
impl LeaseRepository for Store {
    async fn claim(&self, ctx: &Context, name: &str, ask: Ask) -> Result<Claim> {
        let (name, own) = (name.to_owned(), self.now());
        self.db()
            .write(ctx, "leases.claim", move |conn| {
                Box::pin(async move {
                    let now = conn.time(own).await?;
                    let (claim, given) = Lease::claim(find(conn, &name).await?.as_ref(), &ask, now);
                    if let Some(lease) = given {
                        put(conn, &name, &lease).await?;
                    }
                    Ok(claim)
                })
            })
            .await
    }

    async fn renew(&self, ctx: &Context, fence: &Fence, term: Duration) -> Result<bool> {
        let (fence, own) = (fence.clone(), self.now());
        self.db()
            .write(ctx, "leases.renew", move |conn| {
                Box::pin(async move {
                    let now = conn.time(own).await?;
                    let lease = find(conn, &fence.name).await?;
                    let Some(lease) = lease.and_then(|lease| lease.renew(fence.token, term, now)) else {
                        return Ok(false);
                    };
                    put(conn, &fence.name, &lease).await?;
                    Ok(true)
                })
            })
            .await
    }

    async fn give_back(&self, ctx: &Context, fence: &Fence, is_done: bool) -> Result<bool> {
        let (fence, own) = (fence.clone(), self.now());
        self.db()
            .write(ctx, "leases.give_back", move |conn| {
                Box::pin(async move {
                    let now = conn.time(own).await?;
                    let lease = find(conn, &fence.name).await?;
                    let Some(lease) = lease.and_then(|lease| lease.give_back(fence.token, is_done, now)) else {
                        return Ok(false);
                    };
                    put(conn, &fence.name, &lease).await?;
                    Ok(true)
                })
            })
            .await
    }

    async fn find(&self, ctx: &Context, name: &str) -> Result<Option<Lease>> {
        let name = name.to_owned();
        self.db().read(ctx, "leases.find", move |conn| Box::pin(async move { find(conn, &name).await })).await
    }
}
