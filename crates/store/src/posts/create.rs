//! Writing a new post: the row, its revision, its links, its publication, its events.

use inkstone_core::access::Permit;
use inkstone_core::clock::truncate_to_micros;
use inkstone_core::events;
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::posts::{Excerpt, NewPost, Post, PostId, Status};
use inkstone_core::tags::{TagId, TagRef};
use inkstone_core::users::{UserId, UserRef};
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

/// What a new post meets, in one statement, since each costs a round trip while everybody else who
/// writes waits: which post has its address (0) or had it (3; 4 if anybody saw that), the authors (1)
/// and the tags (2).
const AROUND: Statement = Statement {
    name: "posts.around",
    sql: "select 0, p.id, '', ''
          from posts p
          where p.slug = $1
          union all
          select 1, u.id, u.handle, u.display_name
          from json_each($2) j
          cross join users u
          where u.id = cast(j.value as bigint)
          union all
          select 2, t.id, t.slug, t.name
          from json_each($3) j
          cross join tags t
          where t.slug = j.value
          union all
          select 3 + p.was_public, h.post_id, '', ''
          from slug_history h
          cross join posts p
          where h.slug = $1 and p.id = h.post_id",
};

pub(super) const STATEMENTS: &[&Statement] = &[&INSERT, &AROUND];

/// What there is where a new post wants to be.
#[derive(Default)]
struct Around {
    has_owner: bool,
    former_owner: Option<PostId>,
    was_public: bool,
    authors: Vec<UserRef>,
    tags: Vec<TagRef>,
}

impl Around {
    async fn look(conn: &mut Conn, new: &NewPost) -> Result<Self> {
        let (authors, tags) = (links::ids_of(&new.authors)?, links::slugs_of(&new.tags)?);
        let asked = [new.slug.as_str().into(), (&authors).into(), (&tags).into()];
        let rows: Vec<(i64, i64, String, String)> = conn.fetch_all(&AROUND, &asked).await?;
        let mut around = Self::default();
        for (kind, id, known_as, name) in rows {
            match kind {
                0 => around.has_owner = true,
                1 => around.authors.push(UserRef { id: UserId(id), handle: known_as, display_name: name }),
                2 => around.tags.push(TagRef { id: TagId(id), slug: known_as, name }),
                _ => (around.former_owner, around.was_public) = (Some(PostId(id)), kind == 4),
            }
        }
        Ok(around)
    }

    /// As [`slugs::is_taken`].
    fn is_taken(&self, status: Status) -> bool {
        self.has_owner || (status == Status::Draft && self.was_public)
    }
}

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
    let around = Around::look(conn, new).await?;
    let former_owner = around.former_owner;
    let mut post = checked(conn, &journal, new, around).await?;
    let body = Body::from(&new.content);
    post.id = insert(conn, &post).await?;
    let given = new.excerpt.as_ref().map(Excerpt::as_str);
    revisions::insert(conn, &post, &body, given, permit.actor(), post.created_at).await?;
    search::insert(conn, &post, given, &body).await?;
    if let Some(published_at) = post.published_at {
        revisions::open_window(conn, &post, published_at, permit.actor()).await?;
    }
    let heir_of = if post.slug == new.slug { former_owner } else { slugs::former_owner(conn, &post.slug).await? };
    if heir_of.is_some() {
        slugs::forget(conn, &post.slug).await?;
    }
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
async fn checked(conn: &mut Conn, journal: &Journal, new: &NewPost, around: Around) -> Result<Post> {
    let mut faults = Vec::new();
    let slug = match (around.is_taken(new.status), new.slug_exact) {
        (true, false) => slugs::numbered(conn, &new.slug, new.status).await?,
        (true, true) => {
            faults.push(slugs::taken());
            new.slug.clone()
        }
        (false, _) => new.slug.clone(),
    };
    let authors = links::authors_among(around.authors, &new.authors, &mut faults);
    let tags = links::tags_among(conn, journal, around.tags, &[], &new.tags, new.may_create_tags, &mut faults).await?;
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
