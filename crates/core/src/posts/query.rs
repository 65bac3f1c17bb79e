//! Lists of posts as they are asked for.

use jiff::Timestamp;

use crate::page::{Key, Position};
use crate::search::Search;
use crate::text::Slug;
use crate::users::UserId;

use super::{Parts, Post, Status};

/// Which posts to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostFilter {
    /// Published posts (the default) or drafts.
    pub status: Option<Status>,
    /// Among whose posts the caller may look for drafts. Set by the policy, never from outside.
    pub only_by: Option<UserId>,
    /// Written by this person.
    pub author: Option<UserId>,
    /// Carrying all of these tags.
    pub tags: Vec<Slug>,
    /// Published at or after this time.
    pub published_after: Option<Timestamp>,
    /// Published before this time.
    pub published_before: Option<Timestamp>,
    /// Saying this, in the title, in an excerpt given by hand or in the text, as the post is shown.
    pub search: Option<Search>,
}

/// In which order to list posts. The id always breaks ties, in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PostSort {
    /// By publication; published posts only.
    PublishedAt,
    /// By creation.
    CreatedAt,
    /// By last change.
    UpdatedAt,
    /// By title, byte by byte.
    Title,
}

impl PostSort {
    /// Every sort key.
    pub const ALL: [PostSort; 4] = [Self::PublishedAt, Self::CreatedAt, Self::UpdatedAt, Self::Title];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublishedAt => "published_at",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Title => "title",
        }
    }

    /// The key of `post` in this order.
    pub fn key(self, post: &Post) -> Key {
        let time = |at: Timestamp| Key::Time(at.as_microsecond(), post.id.0);
        match self {
            Self::PublishedAt => time(post.published_at.unwrap_or(post.created_at)),
            Self::CreatedAt => time(post.created_at),
            Self::UpdatedAt => time(post.updated_at),
            Self::Title => Key::Text(post.title.as_str().to_owned(), post.id.0),
        }
    }
}

/// A list of posts as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostQuery {
    /// Which.
    pub filter: PostFilter,
    /// In which order.
    pub sort: PostSort,
    /// Whether the largest comes first.
    pub descending: bool,
    /// Where to begin.
    pub position: Position,
    /// How many, 1 to [`crate::page::MAX_LIMIT`].
    pub limit: u32,
    /// What of the bodies.
    pub parts: Parts,
}
