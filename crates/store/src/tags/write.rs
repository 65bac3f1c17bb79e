//! Making, changing and deleting tags.

use inkstone_core::access::Permit;
use inkstone_core::clock::truncate_to_micros;
use inkstone_core::events::{Entity, Event};
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::tags::repository::Decide;
use inkstone_core::tags::{NewTag, Tag, TagChange, TagId, TagKey};
use inkstone_core::{Error, FaultCode, Result};
use serde_json::json;

use crate::db::{Conn, Statement, Variant};
use crate::idempotency;
use crate::store::Journal;

use super::find;

const INSERT: Statement = Statement {
    name: "tags.insert",
    sql: "insert into tags (name, slug, description, created_at, updated_at)
          values ($1, $2, $3, $4, $4)
          returning id",
};

const UPDATE: Statement = Statement {
    name: "tags.update",
    sql: "update tags
          set name        = $2,
              slug        = $3,
              description = $4,
              version     = $5,
              updated_at  = $6
          where id = $1",
};

/// The posts lose something of their own, which whoever is about to change one must learn of.
const BUMP_POSTS: Statement = Statement {
    name: "tags.bump_posts",
    sql: "update posts
          set version = version + 1
          where id in (select l.post_id from post_tags l where l.tag_id = $1)",
};

/// MariaDB asks a subquery for each row of the table, but joins from either side.
pub(crate) const MARIADB: &[Variant] = &[Variant {
    name: "tags.bump_posts",
    sql: &["update post_tags l
          join posts p on p.id = l.post_id
          set p.version = p.version + 1
          where l.tag_id = $1"],
}];

const UNLINK: Statement = Statement { name: "tags.unlink", sql: "delete from post_tags where tag_id = $1" };

const DELETE: Statement = Statement { name: "tags.delete", sql: "delete from tags where id = $1" };

pub(super) const STATEMENTS: &[&Statement] = &[&INSERT, &UPDATE, &BUMP_POSTS, &UNLINK, &DELETE];

pub(super) async fn create(
    conn: &mut Conn,
    journal: Journal,
    new: Permit<NewTag>,
    asked: Option<Idempotency<Tag>>,
) -> Result<Written<Tag>> {
    if let Some(answer) = idempotency::replay(conn, asked.as_ref(), journal.now).await? {
        return Ok(Written::Replayed(answer));
    }
    refuse_taken(conn, new.change().slug.clone()).await?;
    let tag = insert(conn, &journal, new.change()).await?;
    journal.audit(conn, new.actor(), "tag.create", Entity::Tag(tag.id), json!({ "slug": tag.slug.as_str() })).await?;
    idempotency::remember(conn, asked.as_ref(), &tag, journal.now).await?;
    Ok(Written::Done(tag))
}

/// Writes a tag whose slug is free, and its event.
pub(crate) async fn insert(conn: &mut Conn, journal: &Journal, new: &NewTag) -> Result<Tag> {
    let created_at = truncate_to_micros(new.created_at);
    let id = conn
        .insert(
            &INSERT,
            &[new.name.as_str().into(), new.slug.as_str().into(), new.description.as_str().into(), created_at.into()],
        )
        .await?;
    let tag = Tag {
        id: TagId(id),
        name: new.name.clone(),
        slug: new.slug.clone(),
        description: new.description.clone(),
        version: 1,
        created_at,
        updated_at: created_at,
    };
    // The list under the slug, too, was answered before: as one that is empty.
    journal.publish(conn, &[event("tag.created", &tag)]).await?;
    Ok(tag)
}

pub(super) async fn change(conn: &mut Conn, journal: Journal, id: TagId, decide: Decide<TagChange>) -> Result<Tag> {
    let Some(before) = find(conn, TagKey::Id(id)).await? else { return Err(Error::not_found("tag")) };
    let permit = decide(&before)?;
    let TagChange { name, slug, description } = permit.change().clone();
    let mut after = Tag {
        name: name.unwrap_or_else(|| before.name.clone()),
        slug: slug.unwrap_or_else(|| before.slug.clone()),
        description: description.unwrap_or_else(|| before.description.clone()),
        ..before.clone()
    };
    if after == before {
        return Ok(before);
    }
    if after.slug != before.slug {
        refuse_taken(conn, after.slug.clone()).await?;
    }
    after.version += 1;
    after.updated_at = journal.now;
    conn.execute(
        &UPDATE,
        &[
            id.into(),
            after.name.as_str().into(),
            after.slug.as_str().into(),
            after.description.as_str().into(),
            after.version.into(),
            after.updated_at.into(),
        ],
    )
    .await?;
    let details = json!({ "slug": after.slug.as_str(), "before": before.slug.as_str() });
    journal.audit(conn, permit.actor(), "tag.update", Entity::Tag(id), details).await?;
    journal.publish(conn, &[event("tag.updated", &after)]).await?;
    Ok(after)
}

pub(super) async fn delete(conn: &mut Conn, journal: Journal, id: TagId, decide: Decide<()>) -> Result<()> {
    let Some(tag) = find(conn, TagKey::Id(id)).await? else { return Err(Error::not_found("tag")) };
    let permit = decide(&tag)?;
    let posts = conn.execute(&BUMP_POSTS, &[id.into()]).await?;
    conn.execute(&UNLINK, &[id.into()]).await?;
    conn.execute(&DELETE, &[id.into()]).await?;
    let details = json!({ "slug": tag.slug.as_str(), "posts": posts });
    journal.audit(conn, permit.actor(), "tag.delete", Entity::Tag(id), details).await?;
    journal.publish(conn, &[event("tag.deleted", &tag)]).await
}

async fn refuse_taken(conn: &mut Conn, slug: inkstone_core::text::Slug) -> Result<()> {
    if find(conn, TagKey::Slug(slug)).await?.is_some() {
        return Err(Error::invalid("/slug", FaultCode::Taken, "There is a tag with this slug already."));
    }
    Ok(())
}

/// Whatever shows the tag, lists tags or lists the tag's posts is no longer what it was. Posts
/// that carry the tag are made from it, so they need no event of their own.
fn event(kind: &'static str, tag: &Tag) -> Event {
    Event {
        kind,
        subject: Entity::Tag(tag.id),
        entities: vec![Entity::Tag(tag.id), Entity::Tags, Entity::PostsTagged(tag.id)],
        payload: json!({
            "id": tag.id.0,
            "name": tag.name.as_str(),
            "slug": tag.slug.as_str(),
            "version": tag.version,
        }),
    }
}
