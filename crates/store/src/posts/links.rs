//! Authors and tags of a post: who and what they are, and the ordered links to them.

use std::collections::HashMap;

use inkstone_core::posts::{Post, PostId};
use inkstone_core::tags::{NewTag, TagDescription, TagId, TagName, TagRef};
use inkstone_core::users::{UserId, UserRef};
use inkstone_core::{Fault, FaultCode, Result};
use jiff::Timestamp;

use crate::db::{Conn, Statement};
use crate::store::{Journal, json_list};
use crate::tags;

const AUTHORS: Statement = Statement {
    name: "posts.authors_by_id",
    sql: "select u.id, u.handle, u.display_name
          from json_each($1) j
          cross join users u
          where u.id = cast(j.value as bigint)",
};

const TAGS: Statement = Statement {
    name: "posts.tags_by_slug",
    sql: "select t.id, t.slug, t.name
          from json_each($1) j
          cross join tags t
          where t.slug = j.value",
};

const UNLINK_AUTHORS: Statement =
    Statement { name: "posts.unlink_authors", sql: "delete from post_authors where post_id = $1" };

const LINK_AUTHORS: Statement = Statement {
    name: "posts.link_authors",
    sql: "insert into post_authors (post_id, position, user_id, published_at)
          select $1, j.key, cast(j.value as bigint), $3
          from json_each($2) j",
};

const UNLINK_TAGS: Statement = Statement { name: "posts.unlink_tags", sql: "delete from post_tags where post_id = $1" };

const LINK_TAGS: Statement = Statement {
    name: "posts.link_tags",
    sql: "insert into post_tags (post_id, position, tag_id, published_at)
          select $1, j.key, cast(j.value as bigint), $3
          from json_each($2) j",
};

const DATE_AUTHORS: Statement =
    Statement { name: "posts.date_authors", sql: "update post_authors set published_at = $2 where post_id = $1" };

const DATE_TAGS: Statement =
    Statement { name: "posts.date_tags", sql: "update post_tags set published_at = $2 where post_id = $1" };

pub(super) const STATEMENTS: &[&Statement] =
    &[&AUTHORS, &TAGS, &UNLINK_AUTHORS, &LINK_AUTHORS, &UNLINK_TAGS, &LINK_TAGS, &DATE_AUTHORS, &DATE_TAGS];

/// The people with these ids, in this order, each once. Adds a fault for each that does not exist.
pub(super) async fn authors(conn: &mut Conn, ids: &[UserId], faults: &mut Vec<Fault>) -> Result<Vec<UserRef>> {
    let rows: Vec<(UserId, String, String)> = conn.fetch_all(&AUTHORS, &[(&ids_of(ids)?).into()]).await?;
    let known = rows.into_iter().map(|(id, handle, display_name)| UserRef { id, handle, display_name }).collect();
    Ok(authors_among(known, ids, faults))
}

/// As [`authors`], of which those that exist are known, in any order.
pub(super) fn authors_among(known: Vec<UserRef>, ids: &[UserId], faults: &mut Vec<Fault>) -> Vec<UserRef> {
    let mut known: HashMap<UserId, UserRef> = known.into_iter().map(|author| (author.id, author)).collect();
    let mut found: Vec<UserRef> = Vec::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        if found.iter().any(|author| author.id == *id) {
            continue;
        }
        match known.remove(id) {
            Some(author) => found.push(author),
            None => faults.push(Fault::at(format!("/authors/{place}"), FaultCode::Unknown, "There is no such user.")),
        }
    }
    found
}

/// These ids, as they go into a statement.
pub(super) fn ids_of(authors: &[UserId]) -> Result<String> {
    json_list(&authors.iter().map(|id| id.0).collect::<Vec<_>>())
}

/// The slugs of tags with these names, as they go into a statement.
pub(super) fn slugs_of(names: &[TagName]) -> Result<String> {
    let slugs: Vec<_> = names.iter().map(TagName::slug).collect();
    json_list(&slugs.iter().map(inkstone_core::text::Slug::as_str).collect::<Vec<_>>())
}

/// The tags of these names, in this order, each once. Those that do not exist are made, or where
/// they may not be, become faults. A name that stands on the post already (`present`) is that tag,
/// even where its slug was chosen by hand: what was read can be written back.
pub(super) async fn tags(
    conn: &mut Conn,
    journal: &Journal,
    present: &[TagRef],
    names: &[TagName],
    may_create: bool,
    faults: &mut Vec<Fault>,
) -> Result<Vec<TagRef>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(TagId, String, String)> = conn.fetch_all(&TAGS, &[(&slugs_of(names)?).into()]).await?;
    let known = rows.into_iter().map(|(id, slug, name)| TagRef { id, name, slug }).collect();
    tags_among(conn, journal, known, present, names, may_create, faults).await
}

/// As [`tags`], of which those that exist are known, in any order.
pub(super) async fn tags_among(
    conn: &mut Conn,
    journal: &Journal,
    known: Vec<TagRef>,
    present: &[TagRef],
    names: &[TagName],
    may_create: bool,
    faults: &mut Vec<Fault>,
) -> Result<Vec<TagRef>> {
    let mut known: HashMap<String, TagRef> = known.into_iter().map(|tag| (tag.slug.clone(), tag)).collect();
    let mut found: Vec<TagRef> = Vec::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        let slug = name.slug();
        if let Some(tag) = present.iter().find(|tag| tag.name == name.as_str()) {
            if !found.contains(tag) {
                found.push(tag.clone());
            }
            continue;
        }
        if found.iter().any(|tag| tag.slug == slug.as_str()) {
            continue;
        }
        if let Some(tag) = known.remove(slug.as_str()) {
            found.push(tag);
        } else if may_create {
            let new =
                NewTag { name: name.clone(), slug, description: TagDescription::default(), created_at: journal.now };
            let tag = tags::write::insert(conn, journal, &new).await?;
            found.push(TagRef { id: tag.id, name: tag.name.as_str().to_owned(), slug: tag.slug.as_str().to_owned() });
        } else {
            faults.push(Fault::at(
                format!("/tags/{place}"),
                FaultCode::Unknown,
                "There is no such tag, and you may not create one.",
            ));
        }
    }
    Ok(found)
}

/// Writes the links to the post's authors anew.
pub(super) async fn write_authors(conn: &mut Conn, post: &Post) -> Result<()> {
    conn.execute_later(&UNLINK_AUTHORS, &[post.id.into()]).await?;
    insert_authors(conn, post).await
}

/// Writes the links to the post's tags anew.
pub(super) async fn write_tags(conn: &mut Conn, post: &Post) -> Result<()> {
    conn.execute_later(&UNLINK_TAGS, &[post.id.into()]).await?;
    insert_tags(conn, post).await
}

/// Writes the links of a post that has none.
pub(super) async fn insert_authors(conn: &mut Conn, post: &Post) -> Result<()> {
    let ids = json_list(&post.authors.iter().map(|author| author.id.0).collect::<Vec<_>>())?;
    conn.execute_later(&LINK_AUTHORS, &[post.id.into(), (&ids).into(), post.published_at.into()]).await?;
    Ok(())
}

/// Writes the links of a post that has none.
pub(super) async fn insert_tags(conn: &mut Conn, post: &Post) -> Result<()> {
    if post.tags.is_empty() {
        return Ok(());
    }
    let ids = json_list(&post.tags.iter().map(|tag| tag.id.0).collect::<Vec<_>>())?;
    conn.execute_later(&LINK_TAGS, &[post.id.into(), (&ids).into(), post.published_at.into()]).await?;
    Ok(())
}

/// Gives the links the time of publication that their post has now.
pub(super) async fn date(conn: &mut Conn, post: PostId, published_at: Option<Timestamp>) -> Result<()> {
    conn.execute_later(&DATE_AUTHORS, &[post.into(), published_at.into()]).await?;
    conn.execute_later(&DATE_TAGS, &[post.into(), published_at.into()]).await?;
    Ok(())
}
