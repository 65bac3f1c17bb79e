//! Addresses: free ones, taken ones, and those that a post had.

use inkstone_core::posts::{PostId, Status};
use inkstone_core::text::Slug;
use inkstone_core::{Fault, FaultCode, Result};
use jiff::Timestamp;

use crate::db::{Conn, Statement};

const OWNER: Statement = Statement { name: "posts.slug_owner", sql: "select p.id from posts p where p.slug = $1" };

const FORMER_OWNER: Statement =
    Statement { name: "posts.slug_former_owner", sql: "select h.post_id from slug_history h where h.slug = $1" };

const FORMER_PUBLIC_OWNER: Statement = Statement {
    name: "posts.slug_former_public_owner",
    sql: "select h.post_id
          from slug_history h
          join posts p on p.id = h.post_id
          where h.slug = $1 and p.was_public = 1",
};

const REMEMBER: Statement = Statement {
    name: "posts.slug_remember",
    sql: "insert into slug_history (slug, post_id, created_at)
          values ($1, $2, $3)
          on conflict (slug) do update
          set post_id = excluded.post_id, created_at = excluded.created_at",
};

const FORGET: Statement = Statement { name: "posts.slug_forget", sql: "delete from slug_history where slug = $1" };

pub(super) const STATEMENTS: &[&Statement] = &[&OWNER, &FORMER_OWNER, &FORMER_PUBLIC_OWNER, &REMEMBER, &FORGET];

/// The post that keeps one with this status from having this address: a live one that has it; and
/// for drafts, which nobody sees, also one that was public and had it, so that whoever may only
/// write drafts cannot make the old addresses of others lead nowhere.
pub(super) async fn owner(conn: &mut Conn, slug: &Slug, status: Status) -> Result<Option<PostId>> {
    let live = conn.fetch_optional(&OWNER, &[slug.as_str().into()]).await?;
    if live.is_some() || status == Status::Published {
        return Ok(live);
    }
    conn.fetch_optional(&FORMER_PUBLIC_OWNER, &[slug.as_str().into()]).await
}

/// Whether another post keeps a new one with this status from having this address.
async fn is_taken(conn: &mut Conn, slug: &Slug, status: Status) -> Result<bool> {
    Ok(owner(conn, slug, status).await?.is_some())
}

pub(super) fn taken() -> Fault {
    Fault::at("/slug", FaultCode::Taken, "Another post has this slug, or had it when it was public.")
}

/// `wanted`, which is taken, with a number at its end, the first that a search by doubling and halving
/// finds free: the thousandth "Untitled" costs some twenty looks, not a thousand.
pub(super) async fn numbered(conn: &mut Conn, wanted: &Slug, status: Status) -> Result<Slug> {
    let (mut taken, mut free) = (1, 2_u32);
    while is_taken(conn, &wanted.numbered(free), status).await? {
        (taken, free) = (free, free.saturating_mul(2));
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_taken(conn, &wanted.numbered(middle), status).await? {
            taken = middle;
        } else {
            free = middle;
        }
    }
    Ok(wanted.numbered(free))
}

/// Lets an address that a post gives up lead to it.
pub(super) async fn remember(conn: &mut Conn, slug: &Slug, post: PostId, now: Timestamp) -> Result<()> {
    conn.execute_later(&REMEMBER, &[slug.as_str().into(), post.into(), now.into()]).await?;
    Ok(())
}

/// The post that had this address before, alive or not.
pub(super) async fn former_owner(conn: &mut Conn, slug: &Slug) -> Result<Option<PostId>> {
    conn.fetch_optional(&FORMER_OWNER, &[slug.as_str().into()]).await
}

/// Takes an address out of the history, since a live post has it now; the post that it led to.
pub(super) async fn take_over(conn: &mut Conn, slug: &Slug) -> Result<Option<PostId>> {
    let former = former_owner(conn, slug).await?;
    if former.is_some() {
        forget(conn, slug).await?;
    }
    Ok(former)
}

/// Lets an address lead to nobody who had it before.
pub(super) async fn forget(conn: &mut Conn, slug: &Slug) -> Result<()> {
    conn.execute_later(&FORGET, &[slug.as_str().into()]).await
}
