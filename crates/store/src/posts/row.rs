//! A post as a row: what lists show of it (the card), and with its body.

use inkstone_core::page::Key;
use inkstone_core::posts::{Parts, Post, PostId, PostSort, Status, Title};
use inkstone_core::text::Slug;
use inkstone_core::{Error, Result};
use jiff::Timestamp;

use crate::db::{FromRow, Row};
use crate::store::stored;

/// The columns of a card under the alias `p`, in the order that [`Card`] expects.
macro_rules! card {
    () => {
        "p.id, p.slug, p.title, p.excerpt, p.excerpt_given, p.status, p.published_at, p.created_at,
                 p.updated_at, p.version, p.words, p.revision, p.was_public"
    };
}
pub(super) use card;

/// The authors (1) and tags (2) of posts, to be joined to their rows (0): one statement for all that a
/// reader sees, since each costs a round trip. The columns are those of a [`Line`](super::load::Line).
/// `$from` is what has the posts, joined to what follows, and `$post` the id of one.
macro_rules! and_links {
    ($from:literal, $post:literal) => {
        concat!(
            "
          union all
          select u.id, u.handle, u.display_name, '', a.position, '', null, a.post_id, 0, 0, 0, 0, 0, null, null, 1
          from ",
            $from,
            "post_authors a
          cross join users u
          where a.post_id = ",
            $post,
            " and u.id = a.user_id
          union all
          select t.id, t.slug, t.name, '', x.position, '', null, x.post_id, 0, 0, 0, 0, 0, null, null, 2
          from ",
            $from,
            "post_tags x
          cross join tags t
          where x.post_id = ",
            $post,
            " and t.id = x.tag_id"
        )
    };
}
pub(super) use and_links;

const CARD_COLUMNS: usize = 13;
/// The columns of a [`Whole`].
pub(super) const WHOLE_COLUMNS: usize = CARD_COLUMNS + 2;

/// A post without its links and its body.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) id: PostId,
    /// None once it is deleted.
    pub(super) slug: Option<Slug>,
    pub(super) title: Title,
    pub(super) excerpt: String,
    pub(super) excerpt_given: bool,
    published: bool,
    pub(super) published_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) version: i64,
    pub(super) words: i64,
    pub(super) revision: i64,
    pub(super) was_public: bool,
}

impl FromRow for Card {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            slug: row.opt_text(1)?.map(|slug| stored("slug", Slug::try_from(slug))).transpose()?,
            title: stored("title", Title::try_from(row.text(2)?))?,
            excerpt: row.text(3)?,
            excerpt_given: row.bool(4)?,
            published: row.str(5)? == Status::Published.as_str(),
            published_at: row.opt_time(6)?,
            created_at: row.time(7)?,
            updated_at: row.time(8)?,
            version: row.int(9)?,
            words: row.int(10)?,
            revision: row.int(11)?,
            was_public: row.bool(12)?,
        })
    }
}

impl Card {
    /// Its key in this order.
    pub(super) fn key(&self, sort: PostSort) -> Key {
        let time = |at: Timestamp| Key::Time(at.as_microsecond(), self.id.0);
        match sort {
            PostSort::PublishedAt => time(self.published_at.unwrap_or(self.created_at)),
            PostSort::CreatedAt => time(self.created_at),
            PostSort::UpdatedAt => time(self.updated_at),
            PostSort::Title => Key::Text(self.title.as_str().to_owned(), self.id.0),
        }
    }

    /// The post at `now`, without authors, tags and body; none if it is deleted. A post whose
    /// time has not come is a draft to everybody, whoever was asleep when it was to come.
    pub(super) fn into_post(self, now: Timestamp) -> Option<Post> {
        let public = self.published && self.published_at.is_some_and(|at| at <= now);
        Some(Post {
            id: self.id,
            slug: self.slug?,
            title: self.title,
            excerpt: self.excerpt,
            excerpt_given: self.excerpt_given,
            status: if public { Status::Published } else { Status::Draft },
            authors: Vec::new(),
            tags: Vec::new(),
            revision: self.revision,
            version: self.version,
            words: self.words,
            published_at: self.published_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
            markdown: None,
            html: None,
        })
    }
}

/// A card with the parts of the body that were asked for.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) card: Card,
    pub(super) markdown: Option<String>,
    pub(super) html: Option<String>,
}

impl FromRow for Whole {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            card: Card::from_row(row)?,
            markdown: row.opt_text(CARD_COLUMNS)?,
            html: row.opt_text(CARD_COLUMNS + 1)?,
        })
    }
}

/// The revision that is shown, with what a change is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) renderer: String,
    pub(super) summary: String,
    pub(super) words: i64,
    pub(super) markdown: String,
    pub(super) html: String,
}

impl FromRow for Body {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            renderer: row.text(0)?,
            summary: row.text(1)?,
            words: row.int(2)?,
            markdown: row.text(3)?,
            html: row.text(4)?,
        })
    }
}

/// Whether any part of the body is wanted.
pub(super) fn any(parts: Parts) -> bool {
    parts != Parts::NONE
}

/// A deleted post where a live one must be.
pub(super) fn deleted(card: &Card) -> Error {
    if card.was_public {
        return Error::refused(inkstone_core::Code::Gone, "This post has been deleted.");
    }
    Error::not_found("post")
}
