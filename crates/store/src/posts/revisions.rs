//! What a post said, and which of it was public when.

use inkstone_core::Result;
use inkstone_core::access::Actor;
use inkstone_core::posts::{Content, ImportKey, Post, PostId};
use jiff::Timestamp;

use crate::db::{Conn, Statement};

use super::row::Body;

const INSERT: Statement = Statement {
    name: "revisions.insert",
    sql: "insert into revisions
              (post_id, number, title, excerpt, summary, words, renderer, created_by, created_at, markdown, html)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
};

const SHOWN: Statement = Statement {
    name: "revisions.shown",
    sql: "select renderer, summary, words, markdown, html from revisions where post_id = $1 and number = $2",
};

const LAST_NUMBER: Statement = Statement {
    name: "revisions.last_number",
    sql: "select number from revisions where post_id = $1 order by number desc limit 1",
};

const OPEN_WINDOW: Statement = Statement {
    name: "publications.open",
    sql: "insert into publications (post_id, revision, starts_at, published_at, created_by)
          values ($1, $2, $3, $4, $5)",
};

const CLOSE_WINDOW: Statement = Statement {
    name: "publications.close",
    sql: "update publications set ends_at = $2 where post_id = $1 and ends_at is null",
};

const PUT_IMPORT: Statement = Statement {
    name: "imports.put",
    sql: "insert into imports (source, \"key\", post_id, fingerprint)
          values ($1, $2, $3, $4)
          on conflict (source, \"key\") do update
          set post_id = excluded.post_id, fingerprint = excluded.fingerprint",
};

pub(super) const STATEMENTS: &[&Statement] = &[&INSERT, &SHOWN, &LAST_NUMBER, &OPEN_WINDOW, &CLOSE_WINDOW, &PUT_IMPORT];

/// Writes the revision that `post` shows. `given` is the excerpt given by hand.
pub(super) async fn insert(
    conn: &mut Conn,
    post: &Post,
    body: &Body,
    given: Option<&str>,
    by: Actor,
    at: Timestamp,
) -> Result<()> {
    conn.execute_later(
        &INSERT,
        &[
            post.id.into(),
            post.revision.into(),
            post.title.as_str().into(),
            given.into(),
            (&body.summary).into(),
            body.words.into(),
            (&body.renderer).into(),
            by.user_id().into(),
            at.into(),
            (&body.markdown).into(),
            (&body.html).into(),
        ],
    )
    .await?;
    Ok(())
}

/// The revision with this number.
pub(super) async fn shown(conn: &mut Conn, post: PostId, number: i64) -> Result<Body> {
    conn.fetch_one(&SHOWN, &[post.into(), number.into()]).await
}

/// The highest number that a revision of the post has.
pub(super) async fn last_number(conn: &mut Conn, post: PostId) -> Result<i64> {
    conn.fetch_one(&LAST_NUMBER, &[post.into()]).await
}

/// From `starts_at` on the post's present revision is public, dated as the post says.
pub(super) async fn open_window(conn: &mut Conn, post: &Post, starts_at: Timestamp, by: Actor) -> Result<()> {
    conn.execute_later(
        &OPEN_WINDOW,
        &[
            post.id.into(),
            post.revision.into(),
            starts_at.into(),
            post.published_at.unwrap_or(starts_at).into(),
            by.user_id().into(),
        ],
    )
    .await?;
    Ok(())
}

/// What was public of the post is not any more.
pub(super) async fn close_window(conn: &mut Conn, post: PostId, ends_at: Timestamp) -> Result<()> {
    conn.execute_later(&CLOSE_WINDOW, &[post.into(), ends_at.into()]).await?;
    Ok(())
}

/// Notes where the post was imported from.
pub(super) async fn put_import(conn: &mut Conn, post: PostId, import: Option<&ImportKey>) -> Result<()> {
    let Some(ImportKey { source, key, fingerprint }) = import else { return Ok(()) };
    conn.execute_later(&PUT_IMPORT, &[source.into(), key.into(), post.into(), fingerprint.into()]).await?;
    Ok(())
}

impl From<&Content> for Body {
    fn from(content: &Content) -> Self {
        let Content { markdown, html, renderer, summary, words } = content;
        Self {
            renderer: (*renderer).to_owned(),
            summary: summary.clone(),
            words: *words,
            markdown: markdown.as_str().to_owned(),
            html: html.clone(),
        }
    }
}
