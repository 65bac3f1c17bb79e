//! Finding one post, and filling cards with their authors, tags and bodies.

use std::collections::HashMap;

use inkstone_core::posts::{Found, ImportKey, Parts, Post, PostId, PostKey};
use inkstone_core::tags::{TagId, TagRef};
use inkstone_core::users::{UserId, UserRef};
use inkstone_core::{Error, Result};
use jiff::Timestamp;

use crate::db::{Conn, FromRow, Row, Statement, Value};
use crate::store::json_list;

use super::row::{Card, WHOLE_COLUMNS, Whole, and_links, any, card, deleted};
use super::slugs;

const CARD_BY_ID: Statement =
    Statement { name: "posts.card_by_id", sql: concat!("select ", card!(), " from posts p where p.id = $1") };

/// Of one post the row with its body, its authors and its tags, in any order. `$which` finds the
/// post's row, `$id` its id.
macro_rules! whole {
    ($which:literal, $id:literal) => {
        concat!(
            "select ",
            card!(),
            ",
                 case when $2 = 1 then r.markdown end, case when $3 = 1 then r.html end, 0
          from posts p
          join revisions r on r.post_id = p.id and r.number = p.revision
          where ",
            $which,
            and_links!("", $id)
        )
    };
}

const WHOLE_BY_ID: Statement = Statement { name: "posts.whole_by_id", sql: whole!("p.id = $1", "$1") };

const WHOLE_BY_SLUG: Statement = Statement {
    name: "posts.whole_by_slug",
    sql: whole!("p.slug = $1", "(select s.id from posts s where s.slug = $1)"),
};

/// Authors (0) and tags (1) of one post; sorted by whoever reads it.
const LINKS: Statement = Statement {
    name: "posts.links",
    sql: "select a.post_id, 0, a.position, u.id, u.handle, u.display_name
          from post_authors a
          cross join users u
          where a.post_id = $1 and u.id = a.user_id
          union all
          select l.post_id, 1, l.position, t.id, t.slug, t.name
          from post_tags l
          cross join tags t
          where l.post_id = $1 and t.id = l.tag_id",
};

const BODIES_OF_MANY: Statement = Statement {
    name: "posts.bodies_of_many",
    sql: "select p.id, case when $2 = 1 then r.markdown end, case when $3 = 1 then r.html end
          from json_each($1) j
          cross join posts p
          cross join revisions r
          where p.id = cast(j.value as bigint) and r.post_id = p.id and r.number = p.revision",
};

const FIND_IMPORT: Statement = Statement {
    name: "posts.find_import",
    sql: "select post_id, fingerprint from imports where source = $1 and \"key\" = $2",
};

pub(super) const STATEMENTS: &[&Statement] =
    &[&CARD_BY_ID, &WHOLE_BY_ID, &WHOLE_BY_SLUG, &LINKS, &BODIES_OF_MANY, &FIND_IMPORT];

pub(super) async fn find(conn: &mut Conn, key: PostKey, parts: Parts, now: Timestamp) -> Result<Option<Found>> {
    let slug = match key {
        PostKey::Id(id) => {
            let lines = conn.fetch_apart(&WHOLE_BY_ID, &whole(id.into(), parts)).await?;
            return Ok(found(lines, now, Found::Here));
        }
        PostKey::Slug(slug) => slug,
    };
    let wanted = whole(slug.as_str().into(), parts);
    let lines: Vec<Line> = conn.fetch_apart(&WHOLE_BY_SLUG, &wanted).await?;
    if !lines.is_empty() {
        return Ok(found(lines, now, Found::Here));
    }
    // Asked once more, so that what had the address and what has it are looked up in one snapshot.
    let lines: Vec<Line> = conn.fetch_all(&WHOLE_BY_SLUG, &wanted).await?;
    if !lines.is_empty() {
        return Ok(found(lines, now, Found::Here));
    }
    let Some(id) = slugs::former_owner(conn, &slug).await? else { return Ok(None) };
    let lines = conn.fetch_all(&WHOLE_BY_ID, &whole(id.into(), parts)).await?;
    Ok(found(lines, now, Found::Moved))
}

fn whole(key: Value<'_>, parts: Parts) -> [Value<'_>; 3] {
    [key, parts.markdown.into(), parts.html.into()]
}

/// One of the rows of which posts are made: one itself, or who wrote it, or what it is about.
pub(super) enum Line {
    Post(Box<Whole>),
    Link(Link),
}

impl FromRow for Line {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let to = match row.int(WHOLE_COLUMNS)? {
            0 => return Ok(Self::Post(Box::new(Whole::from_row(row)?))),
            1 => To::Author(UserRef { id: row.get(0)?, handle: row.text(1)?, display_name: row.text(2)? }),
            2 => To::Tag(TagRef { id: row.get(0)?, slug: row.text(1)?, name: row.text(2)? }),
            _ => return Err(row.bad(WHOLE_COLUMNS, "is neither post nor author nor tag")),
        };
        Ok(Self::Link(Link { post: row.int(7)?, position: row.int(4)?, to }))
    }
}

impl Line {
    /// The posts, and apart from them their links.
    pub(super) fn sorted(lines: Vec<Self>) -> (Vec<Whole>, Vec<Link>) {
        let (mut posts, mut links) = (Vec::new(), Vec::with_capacity(lines.len()));
        for line in lines {
            match line {
                Self::Post(post) => posts.push(*post),
                Self::Link(link) => links.push(link),
            }
        }
        (posts, links)
    }
}

fn found(lines: Vec<Line>, now: Timestamp, place: fn(Box<Post>) -> Found) -> Option<Found> {
    let (mut posts, links) = Line::sorted(lines);
    let Whole { card, markdown, html } = posts.pop()?;
    let was_public = card.was_public;
    let Some(mut post) = card.into_post(now) else { return was_public.then_some(Found::Gone) };
    (post.markdown, post.html) = (markdown, html);
    join(std::slice::from_mut(&mut post), links);
    Some(place(Box::new(post)))
}

/// The post that is about to be changed, without its body, and whether it was ever public.
///
/// # Errors
/// `NotFound`, or `Gone` if it was deleted after it had been public.
pub(super) async fn lock(conn: &mut Conn, id: PostId, now: Timestamp) -> Result<(Post, bool)> {
    let card: Option<Card> = conn.fetch_optional(&CARD_BY_ID, &[id.into()]).await?;
    let card = card.ok_or_else(|| Error::not_found("post"))?;
    let (was_public, refusal) = (card.was_public, deleted(&card));
    let mut post = card.into_post(now).ok_or(refusal)?;
    let links = conn.fetch_all(&LINKS, &[post.id.into()]).await?;
    join(std::slice::from_mut(&mut post), links);
    Ok((post, was_public))
}

/// That a post is by somebody, or about something.
pub(super) struct Link {
    post: i64,
    position: i64,
    to: To,
}

enum To {
    Author(UserRef),
    Tag(TagRef),
}

impl FromRow for Link {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let to = match row.int(1)? {
            0 => To::Author(UserRef { id: UserId(row.int(3)?), handle: row.text(4)?, display_name: row.text(5)? }),
            1 => To::Tag(TagRef { id: TagId(row.int(3)?), slug: row.text(4)?, name: row.text(5)? }),
            _ => return Err(row.bad(1, "is neither author nor tag")),
        };
        Ok(Self { post: row.int(0)?, position: row.int(2)?, to })
    }
}

/// Gives each post its authors and tags. Links of others are passed over.
pub(super) fn join(posts: &mut [Post], mut links: Vec<Link>) {
    links.sort_unstable_by_key(|link| link.position);
    let places = places(posts);
    for link in links {
        let Some(post) = places.get(&link.post).and_then(|place| posts.get_mut(*place)) else { continue };
        match link.to {
            To::Author(author) => post.authors.push(author),
            To::Tag(tag) => post.tags.push(tag),
        }
    }
}

/// Gives each post the parts of its body that were asked for, with one statement for all of them.
pub(super) async fn fill_bodies(conn: &mut Conn, posts: &mut [Post], parts: Parts) -> Result<()> {
    if posts.is_empty() || !any(parts) {
        return Ok(());
    }
    let ids = json_list(&posts.iter().map(|post| post.id.0).collect::<Vec<_>>())?;
    let values = [(&ids).into(), parts.markdown.into(), parts.html.into()];
    let bodies: Vec<(i64, Option<String>, Option<String>)> = conn.fetch_all(&BODIES_OF_MANY, &values).await?;
    let places = places(posts);
    for (id, markdown, html) in bodies {
        let Some(post) = places.get(&id).and_then(|place| posts.get_mut(*place)) else { continue };
        (post.markdown, post.html) = (markdown, html);
    }
    Ok(())
}

fn places(posts: &[Post]) -> HashMap<i64, usize> {
    posts.iter().enumerate().map(|(place, post)| (post.id.0, place)).collect()
}

pub(super) async fn find_import(conn: &mut Conn, source: String, key: String) -> Result<Option<(PostId, ImportKey)>> {
    let found: Option<(PostId, [u8; 32])> =
        conn.fetch_optional(&FIND_IMPORT, &[(&source).into(), (&key).into()]).await?;
    Ok(found.map(|(post, fingerprint)| (post, ImportKey { source, key, fingerprint })))
}
