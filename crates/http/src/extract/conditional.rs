//! Conditional requests (RFC 9110 §13) and the entity tags they compare.
//!
//! A tag of something that can be written is `"v7.Xk3…"`: the version of the resource, then a
//! hash of the very bytes. Caches compare the whole; `If-Match` on a write compares the version
//! alone, so that the tag of any representation of the present version will do. See
//! `docs/decisions/0003-entity-tags.md`.

use http::HeaderMap;
use http::header::{self, HeaderName};
use inkstone_core::precondition::Precondition;
use inkstone_core::{Code, posts::Post, tags::Tag, users::User};
use jiff::Timestamp;

use crate::problem::{Problem, Result};

/// The most tags in one header.
pub const MAX_TAGS: usize = 64;

/// An entity tag: what stands between the quotes, and whether it is weak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// Marked `W/`.
    pub is_weak: bool,
    /// Between the quotes.
    pub opaque: String,
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`: whatever there is.
    Any,
    /// One of these.
    List(Vec<EntityTag>),
}

/// The conditions of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<EntityTags>,
    /// `If-None-Match`.
    pub if_none_match: Option<EntityTags>,
    /// `If-Modified-Since`; what is no date is no condition.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`; what is no date is no condition.
    pub if_unmodified_since: Option<Timestamp>,
}

/// What the conditions of a GET or HEAD come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// What can be changed under a condition: it knows its version.
pub trait Versioned {
    /// Grows with every change.
    fn version(&self) -> i64;
}

impl Versioned for Post {
    fn version(&self) -> i64 {
        self.version
    }
}

impl Versioned for Tag {
    fn version(&self) -> i64 {
        self.version
    }
}

impl Versioned for User {
    fn version(&self) -> i64 {
        self.version
    }
}

/// Whether a write must name what it is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// v2: 428 without.
    Required,
    /// v1: honoured when sent.
    Optional,
}

impl EntityTag {
    /// The version that a tag of ours carries.
    fn version(&self) -> Option<i64> {
        let (version, _) = self.opaque.strip_prefix('v')?.split_once('.')?;
        version.parse().ok()
    }
}

impl EntityTags {
    /// Strong comparison (RFC 9110 §8.8.3.2): weak tags never match.
    fn matches_strongly(&self, opaque: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| !tag.is_weak && tag.opaque == opaque),
        }
    }

    /// Weak comparison: the mark does not count.
    fn matches_weakly(&self, opaque: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag.opaque == opaque),
        }
    }

    fn names_version(&self, version: i64, weak_too: bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| (weak_too || !tag.is_weak) && tag.version() == Some(version)),
        }
    }
}

impl Conditions {
    /// Reads the conditions of a request.
    ///
    /// # Errors
    /// [`Code::BadHeader`] for a list of tags that is none.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self> {
        Ok(Self {
            if_match: tags(headers, &header::IF_MATCH)?,
            if_none_match: tags(headers, &header::IF_NONE_MATCH)?,
            if_modified_since: date(headers, &header::IF_MODIFIED_SINCE),
            if_unmodified_since: date(headers, &header::IF_UNMODIFIED_SINCE),
        })
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Weighs the conditions of a GET or HEAD in the order of RFC 9110 §13.2.2.
    /// `opaque` is the present tag without its quotes.
    pub fn evaluate(&self, opaque: &str, last_modified: Option<Timestamp>) -> Outcome {
        let changed_after = |since: Timestamp| last_modified.map(|at| at.as_second() > since.as_second());
        if let Some(tags) = &self.if_match {
            if !tags.matches_strongly(opaque) {
                return Outcome::Failed;
            }
        } else if let Some(since) = self.if_unmodified_since
            && changed_after(since) == Some(true)
        {
            return Outcome::Failed;
        }
        if let Some(tags) = &self.if_none_match {
            if tags.matches_weakly(opaque) {
                return Outcome::NotModified;
            }
        } else if let Some(since) = self.if_modified_since
            && changed_after(since) == Some(false)
        {
            return Outcome::NotModified;
        }
        Outcome::Proceed
    }

    /// What a write expects, to be checked by the service while the resource is locked.
    /// `If-Unmodified-Since` is too coarse to guard a write: two changes can share a second.
    pub fn for_write<T: Versioned + 'static>(&self, if_match: IfMatch) -> Precondition<T> {
        if self.if_match.is_none() && if_match == IfMatch::Required {
            return Precondition::Required;
        }
        if self.if_match.is_none() && self.if_none_match.is_none() {
            return Precondition::Unconditional;
        }
        let Self { if_match, if_none_match, .. } = self.clone();
        Precondition::matches(move |present: &T| {
            let version = present.version();
            if_match.as_ref().is_none_or(|tags| tags.names_version(version, false))
                && if_none_match.as_ref().is_none_or(|tags| !tags.names_version(version, true))
        })
    }
}

/// Reads a list of entity tags or `*` over all lines of the header.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<EntityTags>> {
    let refused = || Problem::new(Code::BadHeader, format!("{name} must be * or a list of entity tags."));
    let mut tags = Vec::new();
    let mut any = false;
    let mut given = false;
    for line in headers.get_all(name) {
        given = true;
        let mut rest = line.to_str().map_err(|_| refused())?.trim();
        if rest == "*" {
            any = true;
            continue;
        }
        while !rest.is_empty() {
            let (tag, after) = read_tag(rest).ok_or_else(refused)?;
            tags.push(tag);
            if tags.len() > MAX_TAGS {
                return Err(refused());
            }
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start_matches([' ', '\t', ',']),
                None if rest.is_empty() => {}
                None => return Err(refused()),
            }
        }
    }
    match (given, any, tags.is_empty()) {
        (false, ..) => Ok(None),
        (_, true, true) => Ok(Some(EntityTags::Any)),
        (_, false, false) => Ok(Some(EntityTags::List(tags))),
        _ => Err(refused()),
    }
}

/// One tag off the front, and what follows it.
fn read_tag(text: &str) -> Option<(EntityTag, &str)> {
    let (is_weak, text) = match text.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (opaque, rest) = text.strip_prefix('"')?.split_once('"')?;
    let well_formed = opaque.bytes().all(|byte| byte == 0x21 || (0x23..=0x7e).contains(&byte));
    well_formed.then(|| (EntityTag { is_weak, opaque: opaque.to_owned() }, rest))
}

/// An HTTP-date; invalid or doubled ones are ignored, as RFC 9110 §13.1.3 asks.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let mut lines = headers.get_all(name).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let time = httpdate::parse_http_date(line.to_str().ok()?).ok()?;
    Timestamp::try_from(time).ok()
}
