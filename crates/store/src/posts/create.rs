//! Writing a new post: the row, its revision, its links, its publication, its events.

use inkstone_core::access::Permit;
use inkstone_core::clock::truncate_to_micros;
use inkstone_core::events;
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::posts::{Excerpt, NewPost, Post, PostId, Status};
use inkstone_core::{Code, Error, Result};
use serde_json::json;

use crate::db::{Conn, Statement};
use crate::store::Journal;
use crate::{idempotency, redirects};

use super::row::Body;
use super::{links, load, revisions, search, slugs};

const INSERT: Statement = Statement {
    name: "posts.insert",
    sql: "insert into posts
              (slug, title, excerpt, excerpt_given, author_id, status, published_at, created_at, updated_at,
               version, words, revision, was_public)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, 1, $11)
          returning id",
};

pub(super) const STATEMENTS: &[&Statement] = &[&INSERT];

pub(super) async fn create(
    conn: &mut Conn,
    journal: Journal,
    permit: Permit<NewPost>,
    asked: Option<Idempotency<Post>>,
) -> Result<Written<Post>> {
    if let Some(answer) = idempotency::replay(conn, asked.as_ref(), journal.now).await? {
        return Ok(Written::Replayed(answer));
    }
    let new = permit.change();
    if let Some(key) = &new.import
        && load::find_import(conn, key.source.clone(), key.key.clone()).await?.is_some()
    {
        return Err(Error::refused(Code::Conflict, "This was imported in the meantime."));
    }
    let mut post = checked(conn, &journal, new).await?;
    let body = Body::from(&new.content);
    post.id = insert(conn, &post).await?;
    let given = new.excerpt.as_ref().map(Excerpt::as_str);
    revisions::insert(conn, &post, &body, given, permit.actor(), post.created_at).await?;
    search::insert(conn, &post, given, &body).await?;
    if let Some(published_at) = post.published_at {
        revisions::open_window(conn, &post, published_at, permit.actor()).await?;
    }
    let heir_of = slugs::take_over(conn, &post.slug).await?;
    links::insert_authors(conn, &post).await?;
    links::insert_tags(conn, &post).await?;
    redirects::insert(conn, post.id, &new.redirects, journal.now).await?;
    revisions::put_import(conn, post.id, new.import.as_ref()).await?;

    let subject = events::Entity::Post(post.id);
    let details = json!({ "slug": post.slug.as_str(), "status": post.status.as_str() });
    journal.audit(conn, permit.actor(), "post.create", subject, details).await?;
    journal.publish(conn, &events::of_post_change(None, Some(&post), heir_of)).await?;

    (post.markdown, post.html) = (Some(body.markdown), Some(body.html));
    idempotency::remember(conn, asked.as_ref(), &post, journal.now).await?;
    Ok(Written::Done(post))
}

/// The post as it will be, but for its id and body; or all that is wrong with it.
async fn checked(conn: &mut Conn, journal: &Journal, new: &NewPost) -> Result<Post> {
    let mut faults = Vec::new();
    let slug = if new.slug_exact { new.slug.clone() } else { slugs::free(conn, &new.slug, new.status).await? };
    if new.slug_exact && slugs::is_taken(conn, &slug, new.status).await? {
        faults.push(slugs::taken());
    }
    let authors = links::authors(conn, &new.authors, &mut faults).await?;
    let tags = links::tags(conn, journal, &[], &new.tags, new.may_create_tags, &mut faults).await?;
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let created_at = truncate_to_micros(new.created_at);
    Ok(Post {
        id: PostId(0),
        slug,
        title: new.title.clone(),
        excerpt: new.excerpt.as_ref().map_or_else(|| new.content.summary.clone(), |given| given.as_str().to_owned()),
        excerpt_given: new.excerpt.is_some(),
        status: new.status,
        authors,
        tags,
        revision: 1,
        version: 1,
        words: new.content.words,
        published_at: new.published_at.map(truncate_to_micros),
        created_at,
        updated_at: truncate_to_micros(new.updated_at),
        markdown: None,
        html: None,
    })
}

async fn insert(conn: &mut Conn, post: &Post) -> Result<PostId> {
    let owner = post.authors.first().ok_or_else(|| Error::internal("a post without an author"))?;
    let id = conn
        .insert(
            &INSERT,
            &[
                post.slug.as_str().into(),
                post.title.as_str().into(),
                (&post.excerpt).into(),
                post.excerpt_given.into(),
                owner.id.into(),
                post.status.as_str().into(),
                post.published_at.into(),
                post.created_at.into(),
                post.updated_at.into(),
                post.words.into(),
                (post.status == Status::Published).into(),
            ],
        )
        .await?;
    Ok(PostId(id))
}
