//! Changing and deleting posts under lock.

use inkstone_core::clock::truncate_to_micros;
use inkstone_core::events;
use inkstone_core::posts::repository::Decide;
use inkstone_core::posts::{Excerpt, Post, PostChange, PostId, Status};
use inkstone_core::{Error, Result};
use serde_json::json;

use crate::db::{Conn, Statement};
use crate::redirects;
use crate::store::Journal;

use super::row::Body;
use super::{links, load, revisions, search, slugs};

const UPDATE: Statement = Statement {
    name: "posts.update",
    sql: "update posts
          set slug          = $2,
              title         = $3,
              excerpt       = $4,
              excerpt_given = $5,
              author_id     = $6,
              status        = $7,
              published_at  = $8,
              updated_at    = $9,
              version       = $10,
              words         = $11,
              revision      = $12,
              was_public    = $13
          where id = $1",
};

/// What stays is a tombstone: that it was, and whether anybody saw it.
const BURY: Statement = Statement {
    name: "posts.bury",
    sql: "update posts
          set slug         = null,
              status       = 'deleted',
              published_at = null,
              deleted_at   = $2,
              updated_at   = $2,
              version      = version + 1
          where id = $1",
};

pub(super) const STATEMENTS: &[&Statement] = &[&UPDATE, &BURY];

pub(super) async fn change(conn: &mut Conn, journal: Journal, id: PostId, decide: Decide<PostChange>) -> Result<Post> {
    let (before, was_public) = load::lock(conn, id, journal.now).await?;
    let permit = decide(&before)?;
    let (actor, change) = (permit.actor(), permit.change());
    let old = revisions::shown(conn, id, before.revision).await?;

    let mut after = before.clone();
    let body = change.content.as_ref().map_or_else(|| old.clone(), Body::from);
    let given = given_excerpt(&before, change);
    after.title = change.title.clone().unwrap_or(after.title);
    after.words = body.words;
    after.excerpt_given = given.is_some();
    after.excerpt = given.clone().unwrap_or_else(|| body.summary.clone());
    after.slug = change.slug.clone().unwrap_or(after.slug);
    after.status = change.status;
    after.published_at = change.published_at.map(truncate_to_micros);
    link(conn, &journal, change, &mut after).await?;

    let rewritten = after.title != before.title
        || (after.excerpt_given, &after.excerpt) != (before.excerpt_given, &before.excerpt)
        || body != old;
    let redirected = match &change.redirects {
        Some(paths) => redirects::replace(conn, id, paths, journal.now).await?,
        None => false,
    };
    revisions::put_import(conn, id, change.import.as_ref()).await?;
    if after == before && !rewritten && !redirected {
        return Ok(with_body(before, old));
    }

    after.version += 1;
    after.updated_at = truncate_to_micros(change.updated_at);
    if rewritten {
        after.revision = revisions::last_number(conn, id).await? + 1;
        revisions::insert(conn, &after, &body, given.as_deref(), actor, after.updated_at).await?;
        search::delete(conn, id).await?;
        search::insert(conn, &after, given.as_deref(), &body).await?;
    }
    let mut heir_of = None;
    if after.slug != before.slug {
        heir_of = slugs::take_over(conn, &after.slug).await?;
        slugs::remember(conn, &before.slug, id, journal.now).await?;
    }
    update(conn, &after, was_public).await?;
    if after.authors != before.authors {
        links::write_authors(conn, &after).await?;
    }
    if after.tags != before.tags {
        links::write_tags(conn, &after).await?;
    }
    let published = |post: &Post| (post.status, post.published_at);
    if published(&after) != published(&before) {
        links::date(conn, id, after.published_at).await?;
    }
    if rewritten || published(&after) != published(&before) {
        republish(conn, &before, &after, actor).await?;
    }

    let details = json!({ "version": after.version, "status": after.status.as_str(), "revision": after.revision });
    journal.audit(conn, actor, "post.update", events::Entity::Post(id), details).await?;
    journal.publish(conn, &events::of_post_change(Some(&before), Some(&after), heir_of)).await?;
    Ok(with_body(after, body))
}

pub(super) async fn delete(conn: &mut Conn, journal: Journal, id: PostId, decide: Decide<()>) -> Result<()> {
    let (post, was_public) = load::lock(conn, id, journal.now).await?;
    let permit = decide(&post)?;
    conn.execute(&BURY, &[id.into(), journal.now.into()]).await?;
    if was_public {
        slugs::remember(conn, &post.slug, id, journal.now).await?;
    }
    links::date(conn, id, None).await?;
    revisions::close_window(conn, id, journal.now).await?;
    search::delete(conn, id).await?;
    redirects::replace(conn, id, &[], journal.now).await?;
    let details = json!({ "slug": post.slug.as_str(), "status": post.status.as_str() });
    journal.audit(conn, permit.actor(), "post.delete", events::Entity::Post(id), details).await?;
    journal.publish(conn, &events::of_post_change(Some(&post), None, None)).await
}

/// The excerpt that is given by hand afterwards.
fn given_excerpt(before: &Post, change: &PostChange) -> Option<String> {
    match &change.excerpt {
        Some(given) => given.as_ref().map(Excerpt::as_str).map(str::to_owned),
        None => before.excerpt_given.then(|| before.excerpt.clone()),
    }
}

/// Puts the authors and tags asked for into `after`, and refuses with all faults at once.
async fn link(conn: &mut Conn, journal: &Journal, change: &PostChange, after: &mut Post) -> Result<()> {
    let mut faults = Vec::new();
    let holder = if change.slug.is_some() { slugs::owner(conn, &after.slug, after.status).await? } else { None };
    if holder.is_some_and(|holder| holder != after.id) {
        faults.push(slugs::taken());
    }
    if let Some(authors) = &change.authors {
        after.authors = links::authors(conn, authors, &mut faults).await?;
    }
    if let Some(tags) = &change.tags {
        after.tags = links::tags(conn, journal, &after.tags, tags, change.may_create_tags, &mut faults).await?;
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
}

async fn update(conn: &mut Conn, post: &Post, was_public: bool) -> Result<()> {
    let owner = post.authors.first().ok_or_else(|| Error::internal("a post without an author"))?;
    conn.execute(
        &UPDATE,
        &[
            post.id.into(),
            post.slug.as_str().into(),
            post.title.as_str().into(),
            (&post.excerpt).into(),
            post.excerpt_given.into(),
            owner.id.into(),
            post.status.as_str().into(),
            post.published_at.into(),
            post.updated_at.into(),
            post.version.into(),
            post.words.into(),
            post.revision.into(),
            (was_public || post.status == Status::Published).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Closes the window of what was public, and opens one for what is.
async fn republish(conn: &mut Conn, before: &Post, after: &Post, actor: inkstone_core::access::Actor) -> Result<()> {
    let was_published = before.published_at.is_some();
    if was_published {
        revisions::close_window(conn, after.id, after.updated_at).await?;
    }
    let Some(published_at) = after.published_at else { return Ok(()) };
    let starts_at = if was_published { after.updated_at } else { published_at };
    revisions::open_window(conn, after, starts_at, actor).await
}

fn with_body(mut post: Post, body: Body) -> Post {
    (post.markdown, post.html) = (Some(body.markdown), Some(body.html));
    post
}
