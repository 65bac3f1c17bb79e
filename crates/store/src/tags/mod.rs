//! Tags.

pub(crate) mod write;

use async_trait::async_trait;
use inkstone_core::access::Permit;
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::page::{Key, Page, Position};
use inkstone_core::tags::repository::{Decide, TagQuery};
use inkstone_core::tags::{NewTag, Tag, TagChange, TagDescription, TagId, TagKey, TagName, TagRepository};
use inkstone_core::text::Slug;
use inkstone_core::{Code, Context, Error, Result};

use crate::db::{Conn, FromRow, Row, Statement};
use crate::store::{Store, stored};

macro_rules! columns {
    () => {
        "t.id, t.name, t.slug, t.description, t.version, t.created_at, t.updated_at"
    };
}

const FIND_BY_ID: Statement =
    Statement { name: "tags.find_by_id", sql: concat!("select ", columns!(), " from tags t where t.id = $1") };

const FIND_BY_SLUG: Statement =
    Statement { name: "tags.find_by_slug", sql: concat!("select ", columns!(), " from tags t where t.slug = $1") };

const LIST: Statement = Statement {
    name: "tags.list",
    sql: concat!("select ", columns!(), " from tags t where t.slug > $1 order by t.slug limit $2 offset $3"),
};

const LIST_BACKWARDS: Statement = Statement {
    name: "tags.list_backwards",
    sql: concat!("select ", columns!(), " from tags t where t.slug < $1 order by t.slug desc limit $2 offset $3"),
};

const COUNT: Statement = Statement { name: "tags.count", sql: "select count(*) from tags" };

const READS: &[&Statement] = &[&FIND_BY_ID, &FIND_BY_SLUG, &LIST, &LIST_BACKWARDS, &COUNT];

pub(crate) const STATEMENTS: &[&[&Statement]] = &[READS, write::STATEMENTS];

pub(crate) use write::MARIADB;

struct TagRow(Tag);

impl FromRow for TagRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self(Tag {
            id: row.get(0)?,
            name: stored("tag name", TagName::try_from(row.text(1)?))?,
            slug: stored("tag slug", Slug::try_from(row.text(2)?))?,
            description: stored("tag description", TagDescription::try_from(row.text(3)?))?,
            version: row.int(4)?,
            created_at: row.time(5)?,
            updated_at: row.time(6)?,
        }))
    }
}

async fn find(conn: &mut Conn, key: TagKey) -> Result<Option<Tag>> {
    let found: Option<TagRow> = match &key {
        TagKey::Id(id) => conn.fetch_optional(&FIND_BY_ID, &[(*id).into()]).await?,
        TagKey::Slug(slug) => conn.fetch_optional(&FIND_BY_SLUG, &[slug.as_str().into()]).await?,
    };
    Ok(found.map(|row| row.0))
}

async fn list(conn: &mut Conn, query: TagQuery) -> Result<Page<Tag>> {
    let (statement, from, skip) = match &query.position {
        // A slug is never empty, and unique: it needs no id to break ties.
        Position::Start => (&LIST, "", 0),
        Position::Offset(rows) => (&LIST, "", i64::try_from(*rows).unwrap_or(i64::MAX)),
        Position::After(Key::Text(slug, _)) => (&LIST, slug.as_str(), 0),
        Position::Before(Key::Text(slug, _)) => (&LIST_BACKWARDS, slug.as_str(), 0),
        Position::After(_) | Position::Before(_) => {
            return Err(Error::refused(Code::BadCursor, "This cursor belongs to another list."));
        }
    };
    let limit = i64::from(query.limit) + 1;
    let rows: Vec<TagRow> = conn.fetch_all(statement, &[from.into(), limit.into(), skip.into()]).await?;
    let tags = rows.into_iter().map(|row| row.0).collect();
    let key = |tag: &Tag| Key::Text(tag.slug.as_str().to_owned(), tag.id.0);
    Ok(Page::from_rows(tags, query.limit, &query.position, key))
}

async fn count(conn: &mut Conn) -> Result<u64> {
    let count: i64 = conn.fetch_one(&COUNT, &[]).await?;
    u64::try_from(count).map_err(Error::internal)
}

#[async_trait]
impl TagRepository for Store {
    async fn find(&self, ctx: &Context, key: &TagKey) -> Result<Option<Tag>> {
        let key = key.clone();
        self.db().read(ctx, "tags.find", move |conn| Box::pin(find(conn, key))).await
    }

    async fn list(&self, ctx: &Context, query: &TagQuery) -> Result<Page<Tag>> {
        let query = query.clone();
        self.db().read(ctx, "tags.list", move |conn| Box::pin(list(conn, query))).await
    }

    async fn count(&self, ctx: &Context) -> Result<u64> {
        self.db().read(ctx, "tags.count", |conn| Box::pin(count(conn))).await
    }

    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewTag>,
        idempotency: Option<Idempotency<Tag>>,
    ) -> Result<Written<Tag>> {
        let journal = self.journal(ctx);
        self.db().write(ctx, "tags.create", move |conn| Box::pin(write::create(conn, journal, new, idempotency))).await
    }

    async fn change(&self, ctx: &Context, id: TagId, decide: Decide<TagChange>) -> Result<Tag> {
        let journal = self.journal(ctx);
        self.db().write(ctx, "tags.change", move |conn| Box::pin(write::change(conn, journal, id, decide))).await
    }

    async fn delete(&self, ctx: &Context, id: TagId, decide: Decide<()>) -> Result<()> {
        let journal = self.journal(ctx);
        self.db().write(ctx, "tags.delete", move |conn| Box::pin(write::delete(conn, journal, id, decide))).await
    }
}
