//! Posts: what a blog is made of.
//!
//! A post, its revisions and its publication are apart: the post is the thing with an address,
//! a revision is what it said at one time, the publication says which revision is public and
//! since when.

use jiff::Timestamp;

use crate::error::{Error, Fault, FaultCode};
use crate::tags::{TagName, TagRef};
use crate::text::{self, Slug};
use crate::users::{UserId, UserRef};

pub mod import;
pub mod policy;
mod query;
pub mod repository;
pub mod rules;
pub mod service;
#[cfg(test)]
mod tests;

pub use import::{Imported, ImportedPost, Plan};
pub use query::{PostFilter, PostQuery, PostSort};
pub use repository::PostRepository;
pub use service::{Located, PostService};

/// Names a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PostId(pub i64);

impl std::fmt::Display for PostId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The most tags that one post may carry.
pub const MAX_TAGS: usize = 32;
/// The most authors that one post may name.
pub const MAX_AUTHORS: usize = 16;

/// A title: 1 to 255 characters, one line, not only white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// The most characters.
    pub const MAX_CHARS: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Title {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text::check_line(&text, 1, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// The source of a post in Markdown: at most 1 MiB, no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markdown(String);

impl Markdown {
    /// The most bytes.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Markdown {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        if text.len() > Self::MAX_BYTES {
            return Err(Fault::here(FaultCode::TooLong, "At most 1 MiB."));
        }
        text::check_no_nul(&text)?;
        Ok(Self(text))
    }
}

/// A summary in plain text: at most 1000 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// The most characters.
    pub const MAX_CHARS: usize = 1000;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Excerpt {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text::check_text(&text, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// Where a post is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Seen by its authors and editors only.
    Draft,
    /// Public.
    Published,
}

impl Status {
    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
        }
    }

    /// The status with this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Draft, Self::Published].into_iter().find(|status| status.as_str() == text)
    }
}

/// A post as it is shown: the live revision if it is published, else the newest one.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// Its id.
    pub id: PostId,
    /// Its current address; unique.
    pub slug: Slug,
    /// Its title.
    pub title: Title,
    /// What lists show of it: given by hand, or the beginning of the text.
    pub excerpt: String,
    /// Whether the excerpt was given by hand (else it follows the text).
    pub excerpt_given: bool,
    /// Where it is in its life.
    pub status: Status,
    /// Who wrote it, in order; the first one owns it. Never empty.
    pub authors: Vec<UserRef>,
    /// Its tags, in order.
    pub tags: Vec<TagRef>,
    /// The number of the revision shown, from 1.
    pub revision: i64,
    /// Grows by one with every change to anything of the post.
    pub version: i64,
    /// Words in the text.
    pub words: i64,
    /// Since when it is public; none for a draft.
    pub published_at: Option<Timestamp>,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When anything of it changed last.
    pub updated_at: Timestamp,
    /// The source, if it was asked for.
    pub markdown: Option<String>,
    /// The sanitised HTML, if it was asked for.
    pub html: Option<String>,
}

impl Post {
    /// Whether `user` is among its authors.
    pub fn is_by(&self, user: UserId) -> bool {
        self.authors.iter().any(|author| author.id == user)
    }
}

/// Which parts of the body to load: lists never fetch what they do not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// The Markdown source.
    pub markdown: bool,
    /// The rendered HTML.
    pub html: bool,
}

impl Parts {
    /// Neither.
    pub const NONE: Self = Self { markdown: false, html: false };
    /// Both.
    pub const ALL: Self = Self { markdown: true, html: true };
}

/// A body ready to be stored: the source and what a library made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The source.
    pub markdown: Markdown,
    /// Rendered, then sanitised.
    pub html: String,
    /// Names the versions of renderer and sanitiser, so that old content can be made anew.
    pub renderer: &'static str,
    /// The beginning of the text, for lists.
    pub summary: String,
    /// Words in the text.
    pub words: i64,
}

/// What an author asks for: a new post.
#[derive(Debug, Clone, PartialEq)]
pub struct PostDraft {
    /// Its title.
    pub title: Title,
    /// Its source.
    pub markdown: Markdown,
    /// Its address; made from the title when absent.
    pub slug: Option<Slug>,
    /// Its summary; the beginning of the text when absent.
    pub excerpt: Option<Excerpt>,
    /// Draft or published.
    pub status: Status,
    /// Its tags by name; those that do not exist yet are created where the caller may.
    pub tags: Vec<TagName>,
    /// Its authors; the caller when empty.
    pub authors: Vec<UserId>,
    /// Since when it is public, for posts with a past. Not in the future.
    pub published_at: Option<Timestamp>,
}

/// What an author asks for: changes to a post. `None` leaves a thing as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PostPatch {
    /// A new title.
    pub title: Option<Title>,
    /// A new source.
    pub markdown: Option<Markdown>,
    /// A new address; the old one redirects.
    pub slug: Option<Slug>,
    /// A new summary; `Some(None)` goes back to the beginning of the text.
    pub excerpt: Option<Option<Excerpt>>,
    /// Publish or unpublish.
    pub status: Option<Status>,
    /// All of its tags, anew.
    pub tags: Option<Vec<TagName>>,
    /// All of its authors, anew.
    pub authors: Option<Vec<UserId>>,
    /// Another time of publication. Not in the future.
    pub published_at: Option<Timestamp>,
}

/// A new post as policy and rules have let it through; what the store writes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPost {
    /// Its title.
    pub title: Title,
    /// Its body.
    pub content: Content,
    /// Its address. `exact` must be free; otherwise a number is added until it is.
    pub slug: Slug,
    /// Whether the address was asked for by name.
    pub slug_exact: bool,
    /// Its summary, if given by hand.
    pub excerpt: Option<Excerpt>,
    /// Draft or published.
    pub status: Status,
    /// Its tags in order.
    pub tags: Vec<TagName>,
    /// Whether tags that do not exist may be created.
    pub may_create_tags: bool,
    /// Its authors in order; never empty.
    pub authors: Vec<UserId>,
    /// Since when it is public; set exactly if it is published.
    pub published_at: Option<Timestamp>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it changed last: as `created_at`, except for imports, which have a past.
    pub updated_at: Timestamp,
    /// Old addresses that shall lead to it, normalised.
    pub redirects: Vec<String>,
    /// Where it was imported from, if it was.
    pub import: Option<ImportKey>,
}

/// Names an imported item, so that importing it again finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportKey {
    /// Which importer and source.
    pub source: String,
    /// Which item in it.
    pub key: String,
    /// Of what was read: the same fingerprint means that there is nothing to do.
    pub fingerprint: [u8; 32],
}

impl ImportKey {
    /// The most characters of the source.
    pub const MAX_SOURCE_CHARS: usize = 255;
    /// The most characters of the key.
    pub const MAX_KEY_CHARS: usize = 512;

    /// Whether every database can hold it.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Code::Invalid) with every fault.
    pub fn check(&self) -> Result<(), Error> {
        let parts =
            [("/import/source", &self.source, Self::MAX_SOURCE_CHARS), ("/import/key", &self.key, Self::MAX_KEY_CHARS)];
        let fault = |(pointer, text, max): (&str, &String, usize)| {
            text::check_text(text, max).err().map(|fault| fault.under(pointer))
        };
        let faults: Vec<Fault> = parts.into_iter().filter_map(fault).collect();
        if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
    }
}

/// A change as policy and rules have let it through; what the store writes. `None` leaves a thing as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct PostChange {
    /// A new title: makes a revision.
    pub title: Option<Title>,
    /// A new body: makes a revision.
    pub content: Option<Content>,
    /// A new address; must be free. The old one goes to the history.
    pub slug: Option<Slug>,
    /// A new summary: makes a revision. `Some(None)` goes back to the beginning of the text.
    pub excerpt: Option<Option<Excerpt>>,
    /// The status afterwards.
    pub status: Status,
    /// Since when it is public; set exactly if it is published afterwards.
    pub published_at: Option<Timestamp>,
    /// All of its tags, anew.
    pub tags: Option<Vec<TagName>>,
    /// Whether tags that do not exist may be created.
    pub may_create_tags: bool,
    /// All of its authors, anew; never empty.
    pub authors: Option<Vec<UserId>>,
    /// When it is changed.
    pub updated_at: Timestamp,
    /// All of its redirects, anew (imports).
    pub redirects: Option<Vec<String>>,
    /// Where it was imported from (imports).
    pub import: Option<ImportKey>,
}

/// Names a post from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostKey {
    /// By id.
    Id(PostId),
    /// By its current address, or one that it had.
    Slug(Slug),
}

/// What is found under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The post itself.
    Here(Box<Post>),
    /// The address is an old one of this post (boxed: with the parts asked for).
    Moved(Box<Post>),
    /// It was deleted after it had been public.
    Gone,
}
