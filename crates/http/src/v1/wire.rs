//! What v1 says on the wire: flat, as the classic blog tutorial has it. Frozen by golden files.

use inkstone_core::posts::{Parts, Post};
use inkstone_core::tags::Tag;
use inkstone_core::users::User;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::wire::{Narrow, StatusWord, Timed, time};

/// A post.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Post)]
pub(crate) struct PostBody {
    /// Its number.
    #[schema(minimum = 1, example = 42)]
    pub id: i64,
    /// Its title.
    #[schema(min_length = 1, max_length = 255, example = "Ink on stone")]
    pub title: String,
    /// Its text in Markdown. Left out when `fields` does not ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1_048_576, example = "Words that *last*.")]
    pub content: Option<String>,
    /// Who wrote it: the first author.
    #[schema(minimum = 1, example = 7)]
    pub author_id: i64,
    /// The last part of its address.
    #[schema(max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ink-on-stone")]
    pub slug: String,
    /// `draft` or `published`.
    #[schema(value_type = StatusWord, example = "published")]
    pub status: &'static str,
    /// The names of its tags, in order.
    #[schema(max_items = 32, example = json!(["Writing"]))]
    pub tags: Vec<String>,
    /// Since when it is public; `null` for a draft.
    #[schema(value_type = Option<Timed>)]
    pub published_at: Option<String>,
    /// When it was written.
    #[schema(value_type = Timed)]
    pub created_at: String,
    /// When it changed last.
    #[schema(value_type = Timed)]
    pub updated_at: String,
}

impl Narrow for PostBody {
    const FIELDS: &'static [&'static str] =
        &["id", "title", "content", "author_id", "slug", "status", "tags", "published_at", "created_at", "updated_at"];
}

impl PostBody {
    /// What v1 shows needs the Markdown only.
    pub(crate) const PARTS: Parts = Parts { markdown: true, html: false };
    /// Shows `post` as v1 does.
    pub(crate) fn of(post: &Post) -> Self {
        Self {
            id: post.id.0,
            title: post.title.as_str().to_owned(),
            content: post.markdown.clone(),
            author_id: post.authors.first().map_or(0, |author| author.id.0),
            slug: post.slug.as_str().to_owned(),
            status: post.status.as_str(),
            tags: post.tags.iter().map(|tag| tag.name.clone()).collect(),
            published_at: post.published_at.map(time),
            created_at: time(post.created_at),
            updated_at: time(post.updated_at),
        }
    }
}

/// A person who writes here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserBody {
    /// Their number.
    #[schema(minimum = 1, example = 7)]
    pub id: i64,
    /// Their name.
    #[schema(min_length = 1, max_length = 100, example = "Ada Lovelace")]
    pub name: String,
    /// Since when they are here.
    #[schema(value_type = Timed)]
    pub created_at: String,
}

impl Narrow for UserBody {
    const FIELDS: &'static [&'static str] = &["id", "name", "created_at"];
}

impl UserBody {
    /// Shows `user` as v1 does.
    pub(crate) fn of(user: &User) -> Self {
        Self { id: user.id.0, name: user.display_name.as_str().to_owned(), created_at: time(user.created_at) }
    }
}

/// A tag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tag)]
pub(crate) struct TagBody {
    /// Its number.
    #[schema(minimum = 1, example = 3)]
    pub id: i64,
    /// Its name.
    #[schema(min_length = 1, max_length = 50, example = "Writing")]
    pub name: String,
    /// The last part of its address.
    #[schema(max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "writing")]
    pub slug: String,
}

impl Narrow for TagBody {
    const FIELDS: &'static [&'static str] = &["id", "name", "slug"];
}

impl TagBody {
    /// Shows `tag` as v1 does.
    pub(crate) fn of(tag: &Tag) -> Self {
        Self { id: tag.id.0, name: tag.name.as_str().to_owned(), slug: tag.slug.as_str().to_owned() }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T> {
    /// The rows.
    #[schema(max_items = 100)]
    pub data: Vec<T>,
    /// The number of this page, from 1.
    #[schema(minimum = 1, example = 1)]
    pub page: u64,
    /// The most rows of a page.
    #[schema(minimum = 1, maximum = 100, example = 20)]
    pub per_page: u32,
    /// The rows of all pages.
    #[schema(minimum = 0, example = 754)]
    pub total: u64,
}

/// A post to be written. For `PUT` it replaces everything; a `slug` left out stays what it is.
#[derive(Debug, ToSchema)]
#[schema(as = PostInput)]
#[expect(dead_code, reason = "describes the body for the API reference; `crate::input` reads it")]
pub(crate) struct PostInput {
    /// Its title.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S", example = "Ink on stone")]
    title: String,
    /// Its text in Markdown.
    #[schema(max_length = 1_048_576, example = "Words that *last*.")]
    content: String,
    /// The last part of its address; made from the title if left out.
    #[schema(min_length = 1, max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ink-on-stone")]
    slug: Option<String>,
    /// `published` at once, or `draft` (the default).
    #[schema(value_type = Option<StatusWord>, example = "published")]
    status: Option<String>,
    /// Its tags by name; new ones are created.
    #[schema(max_items = 32, example = json!(["Writing"]))]
    tags: Option<Vec<String>>,
    /// Who wrote it; you, if left out.
    #[schema(minimum = 1, example = 7)]
    author_id: Option<i64>,
    /// Since when it is public, for posts with a past. Not in the future.
    #[schema(value_type = Option<Timed>)]
    published_at: Option<Timestamp>,
}
