//! Old paths of posts that came from elsewhere.

use async_trait::async_trait;
use inkstone_core::posts::PostId;
use inkstone_core::redirects::RedirectRepository;
use inkstone_core::{Context, Result};
use jiff::Timestamp;

use crate::db::{Conn, Statement, Variant};
use crate::store::{Store, json_list};

const FIND_PUBLIC: Statement = Statement {
    name: "redirects.find_public",
    sql: "select p.id
          from redirects r
          join posts p on p.id = r.post_id
          where r.path = $1 and p.published_at <= $2",
};

/// A path belongs to whoever had it first; deleting a post frees its paths.
const INSERT: Statement = Statement {
    name: "redirects.insert",
    sql: "insert into redirects (path, post_id, created_at)
          select j.value, $1, $3
          from json_each($2) j
          where true
          on conflict (path) do nothing",
};

const DELETE_OTHERS: Statement = Statement {
    name: "redirects.delete_others",
    sql: "delete from redirects
          where post_id = $1 and path not in (select j.value from json_each($2) j)",
};

/// MariaDB would ignore every other error as well, so what is there already is left out.
pub(crate) const MARIADB: &[Variant] = &[Variant {
    name: "redirects.insert",
    sql: &["insert into redirects (path, post_id, created_at)
          select distinct j.value, $1, $3
          from json_each($2) j
          where not exists (select 1 from redirects r where r.path = cast(j.value as binary))"],
}];

pub(crate) const STATEMENTS: &[&Statement] = &[&FIND_PUBLIC, &INSERT, &DELETE_OTHERS];

/// Makes `paths` all that lead to the post; whether that changed anything.
pub(crate) async fn replace(conn: &mut Conn, post: PostId, paths: &[String], now: Timestamp) -> Result<bool> {
    let removed = conn.execute(&DELETE_OTHERS, &[post.into(), (&json_list(paths)?).into()]).await?;
    let added = insert(conn, post, paths, now).await?;
    Ok(removed + added > 0)
}

/// Lets `paths` lead to the post as well, as far as they are free; how many that were.
pub(crate) async fn insert(conn: &mut Conn, post: PostId, paths: &[String], now: Timestamp) -> Result<u64> {
    if paths.is_empty() {
        return Ok(0);
    }
    conn.execute(&INSERT, &[post.into(), (&json_list(paths)?).into(), now.into()]).await
}

#[async_trait]
impl RedirectRepository for Store {
    async fn find(&self, ctx: &Context, path: &str) -> Result<Option<PostId>> {
        let path = path.to_owned();
        let now = self.now();
        self.db()
            .read(ctx, "redirects.find", move |conn| {
                Box::pin(async move { conn.fetch_optional(&FIND_PUBLIC, &[(&path).into(), now.into()]).await })
            })
            .await
    }
}
