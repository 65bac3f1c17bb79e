//! Tags: what posts are about.

use jiff::Timestamp;

use crate::error::Fault;
use crate::text::{self, Slug};

pub mod policy;
pub mod repository;
pub mod service;

pub use repository::{TagQuery, TagRepository};
pub use service::TagService;

/// Names a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagId(pub i64);

impl std::fmt::Display for TagId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A tag's name: 1 to 50 characters in one line. Two names with the same slug are the same tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TagName(String);

impl TagName {
    /// The most characters.
    pub const MAX_CHARS: usize = 50;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The slug that the name stands for.
    pub fn slug(&self) -> Slug {
        Slug::from_text(&self.0, "tag")
    }
}

impl TryFrom<String> for TagName {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text::check_line(&text, 1, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// A tag's description in plain text: at most 500 characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagDescription(String);

impl TagDescription {
    /// The most characters.
    pub const MAX_CHARS: usize = 500;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TagDescription {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text::check_text(&text, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// What every post shows of its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRef {
    /// Which.
    pub id: TagId,
    /// Its name.
    pub name: String,
    /// Its slug.
    pub slug: String,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Which.
    pub id: TagId,
    /// Its name.
    pub name: TagName,
    /// Its slug; unique.
    pub slug: Slug,
    /// What it is about.
    pub description: TagDescription,
    /// Grows by one with every change.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// What somebody asks for: a new tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDraft {
    /// Its name.
    pub name: TagName,
    /// Its slug; made from the name when absent.
    pub slug: Option<Slug>,
    /// What it is about.
    pub description: TagDescription,
}

/// A tag to be made, as policy and rules have let it through; what the store writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTag {
    /// Its name.
    pub name: TagName,
    /// Its slug.
    pub slug: Slug,
    /// What it is about.
    pub description: TagDescription,
    /// When it is made.
    pub created_at: Timestamp,
}

/// A change to a tag. `None` leaves a thing as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagChange {
    /// A new name.
    pub name: Option<TagName>,
    /// A new slug.
    pub slug: Option<Slug>,
    /// A new description.
    pub description: Option<TagDescription>,
}

/// Names a tag from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagKey {
    /// By id.
    Id(TagId),
    /// By slug.
    Slug(Slug),
}
