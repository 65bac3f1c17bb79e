//! What v2 says on the wire: the rich contract for sites, apps and editors.

use inkstone_core::posts::Post;
use inkstone_core::tags::{Tag, TagRef};
use inkstone_core::users::{User, UserRef};
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};

use crate::params;
use crate::wire::{Narrow, StatusWord, Timed, time};

mod account;

pub(crate) use account::{AccountBody, ScopeWord, SessionBody, TokenBody};

/// Words that somebody reads in a minute.
const WORDS_PER_MINUTE: i64 = 230;

/// A post.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Post)]
pub(crate) struct PostBody {
    /// Its number.
    #[schema(minimum = 1, example = 42)]
    pub id: i64,
    /// The last part of its address.
    #[schema(max_length = 100, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ink-on-stone")]
    pub slug: String,
    /// `draft` or `published`.
    #[schema(value_type = StatusWord, example = "published")]
    pub status: &'static str,
    /// Its title.
    #[schema(min_length = 1, max_length = 255, example = "Ink on stone")]
    pub title: String,
    /// Its summary: given by hand, or the beginning of the text.
    #[schema(max_length = 1000, example = "Words that last.")]
    pub excerpt: String,
    /// Its text. In lists only with `include=content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentBody>,
    /// Its first author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<UserRefBody>,
    /// All of its authors, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 16)]
    pub authors: Option<Vec<UserRefBody>>,
    /// Its tags, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 32)]
    pub tags: Option<Vec<TagRefBody>>,
    /// Minutes that it takes to read.
    #[schema(minimum = 1, example = 4)]
    pub reading_time: i64,
    /// Words in the text.
    #[schema(minimum = 0, example = 812)]
    pub words: i64,
    /// The number of the revision shown, from 1.
    #[schema(minimum = 1, example = 3)]
    pub revision: i64,
    /// Since when it is public; `null` for a draft.
    #[schema(value_type = Option<Timed>)]
    pub published_at: Option<String>,
    /// When it was written.
    #[schema(value_type = Timed)]
    pub created_at: String,
    /// When it changed last.
    #[schema(value_type = Timed)]
    pub updated_at: String,
    /// Where it is found.
    pub links: Links,
}

/// The text of a post.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Content)]
pub(crate) struct ContentBody {
    /// The source.
    #[schema(max_length = 1_048_576, example = "Words that *last*.")]
    pub markdown: String,
    /// Rendered and sanitised: safe to put into a page.
    #[schema(example = "<p>Words that <em>last</em>.</p>\n")]
    pub html: String,
}

/// Addresses of a resource.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Links {
    /// The resource itself.
    #[serde(rename = "self")]
    #[schema(format = "uri-reference", example = "/api/v2/posts/42")]
    pub self_: String,
}

/// Which embedded parts to show of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Include {
    pub author: bool,
    pub authors: bool,
    pub tags: bool,
    pub content: bool,
}

impl Include {
    /// The names that `include` may list.
    pub(crate) const WORDS: &'static [&'static str] = &["author", "authors", "content", "tags"];

    /// What is shown when `include` does not say.
    pub(crate) fn default_for(list: bool) -> Self {
        Self { author: true, authors: true, tags: true, content: !list }
    }

    /// Exactly these.
    pub(crate) fn of(words: &[&str]) -> Self {
        Self {
            author: words.contains(&"author"),
            authors: words.contains(&"authors"),
            tags: words.contains(&"tags"),
            content: words.contains(&"content"),
        }
    }

    fn parameter(description: &str) -> Parameter {
        params::words("include", description, Self::WORDS).example(Some("author,tags".into())).build()
    }
}

/// `include` of a list of posts.
pub(crate) struct IncludeInRows;

/// `include` of one post.
pub(crate) struct IncludeInPost;

impl IntoParams for IncludeInRows {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![Include::parameter("The embedded parts to show, separated by commas; without it: author, authors, tags.")]
    }
}

impl IntoParams for IncludeInPost {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![Include::parameter("The embedded parts to show, separated by commas; without it: all.")]
    }
}

impl Narrow for PostBody {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "slug",
        "status",
        "title",
        "excerpt",
        "content",
        "author",
        "authors",
        "tags",
        "reading_time",
        "words",
        "revision",
        "published_at",
        "created_at",
        "updated_at",
        "links",
    ];
}

impl PostBody {
    /// Shows `post` as v2 does.
    pub(crate) fn of(post: &Post, include: Include) -> Self {
        let content = match (&post.markdown, &post.html) {
            (Some(markdown), Some(html)) if include.content => {
                Some(ContentBody { markdown: markdown.clone(), html: html.clone() })
            }
            _ => None,
        };
        Self {
            id: post.id.0,
            slug: post.slug.as_str().to_owned(),
            status: post.status.as_str(),
            title: post.title.as_str().to_owned(),
            excerpt: post.excerpt.clone(),
            content,
            author: post.authors.first().filter(|_| include.author).map(UserRefBody::of),
            authors: include.authors.then(|| post.authors.iter().map(UserRefBody::of).collect()),
            tags: include.tags.then(|| post.tags.iter().map(TagRefBody::of).collect()),
            reading_time: (post.words / WORDS_PER_MINUTE).max(1),
            words: post.words,
            revision: post.revision,
            published_at: post.published_at.map(time),
            created_at: time(post.created_at),
            updated_at: time(post.updated_at),
            links: Links { self_: format!("/api/v2/posts/{}", post.id) },
        }
    }
}

/// A person as posts name them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserRef)]
pub(crate) struct UserRefBody {
    /// Their number.
    #[schema(minimum = 1, example = 7)]
    pub id: i64,
    /// Their short name.
    #[schema(max_length = 50, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ada")]
    pub handle: String,
    /// Their name.
    #[schema(min_length = 1, max_length = 100, example = "Ada Lovelace")]
    pub display_name: String,
}

impl UserRefBody {
    fn of(user: &UserRef) -> Self {
        Self { id: user.id.0, handle: user.handle.clone(), display_name: user.display_name.clone() }
    }
}

/// A tag as posts name it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TagRef)]
pub(crate) struct TagRefBody {
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

impl TagRefBody {
    fn of(tag: &TagRef) -> Self {
        Self { id: tag.id.0, name: tag.name.clone(), slug: tag.slug.clone() }
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
    /// What it is about.
    #[schema(max_length = 500, example = "On putting words in order.")]
    pub description: String,
    /// When it was made.
    #[schema(value_type = Timed)]
    pub created_at: String,
    /// When it changed last.
    #[schema(value_type = Timed)]
    pub updated_at: String,
    /// Where it is found.
    pub links: Links,
}

impl Narrow for TagBody {
    const FIELDS: &'static [&'static str] = &["id", "name", "slug", "description", "created_at", "updated_at", "links"];
}

impl TagBody {
    /// Shows `tag` as v2 does.
    pub(crate) fn of(tag: &Tag) -> Self {
        Self {
            id: tag.id.0,
            name: tag.name.as_str().to_owned(),
            slug: tag.slug.as_str().to_owned(),
            description: tag.description.as_str().to_owned(),
            created_at: time(tag.created_at),
            updated_at: time(tag.updated_at),
            links: Links { self_: format!("/api/v2/tags/{}", tag.id) },
        }
    }
}

/// The public profile of a person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserBody {
    /// Their number.
    #[schema(minimum = 1, example = 7)]
    pub id: i64,
    /// Their short name.
    #[schema(max_length = 50, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$", example = "ada")]
    pub handle: String,
    /// Their name.
    #[schema(min_length = 1, max_length = 100, example = "Ada Lovelace")]
    pub display_name: String,
    /// A few words about them.
    #[schema(max_length = 2000, example = "Writes about engines.")]
    pub bio: String,
    /// Their picture, if they have one.
    #[schema(max_length = 2048, format = "uri", example = "https://example.org/ada.jpg")]
    pub avatar_url: Option<String>,
    /// Since when they are here.
    #[schema(value_type = Timed)]
    pub created_at: String,
    /// Where they are found.
    pub links: Links,
}

impl Narrow for UserBody {
    const FIELDS: &'static [&'static str] =
        &["id", "handle", "display_name", "bio", "avatar_url", "created_at", "links"];
}

impl UserBody {
    /// Shows the public profile of `user`.
    pub(crate) fn of(user: &User) -> Self {
        Self {
            id: user.id.0,
            handle: user.handle.as_str().to_owned(),
            display_name: user.display_name.as_str().to_owned(),
            bio: user.bio.as_str().to_owned(),
            avatar_url: user.avatar_url.as_ref().map(|url| url.as_str().to_owned()),
            created_at: time(user.created_at),
            links: Links { self_: format!("/api/v2/users/{}", user.id) },
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T> {
    /// The rows.
    #[schema(max_items = 100)]
    pub data: Vec<T>,
    /// The cursor of the next page, or `null` at the end.
    #[schema(max_length = 1024, example = json!(null))]
    pub next: Option<String>,
    /// The rows of all pages; with `count=exact` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub total: Option<u64>,
}

/// A list without pages.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct All<T> {
    /// The rows.
    #[schema(max_items = 1000)]
    pub data: Vec<T>,
}
