//! What makes sense in a post, whoever asks for it. Each check finds all the faults there are.

use std::collections::HashSet;
use std::hash::Hash;

use jiff::Timestamp;

use crate::error::{Code, Error, Fault, FaultCode, Result};
use crate::page;
use crate::tags::TagName;
use crate::text::Slug;
use crate::users::UserId;

use super::{MAX_AUTHORS, MAX_TAGS, Post, PostDraft, PostFilter, PostPatch, PostQuery, PostSort, Status, Title};

/// Whether a post is public, and since when: the time is set exactly if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) status: Status,
    pub(super) published_at: Option<Timestamp>,
}

/// The address of a post that nobody chose one for.
pub(super) fn slug_of(title: &Title) -> Slug {
    Slug::from_text(title.as_str(), "post")
}

/// Checks a new post that will have these authors.
pub(super) fn check_draft(draft: &PostDraft, authors: &[UserId], now: Timestamp) -> Result<Publication> {
    let mut faults = check_tags(&draft.tags);
    faults.extend(check_authors(authors));
    let publication = publish(draft.status, draft.published_at, None, now, &mut faults);
    if faults.is_empty() { Ok(publication) } else { Err(Error::Invalid(faults)) }
}

/// Checks a change to `post`, and says what becomes of its publication.
pub(super) fn check_patch(patch: &PostPatch, post: &Post, now: Timestamp) -> (Publication, Vec<Fault>) {
    let mut faults = patch.tags.as_deref().map(check_tags).unwrap_or_default();
    faults.extend(patch.authors.as_deref().map(check_authors).unwrap_or_default());
    let status = patch.status.unwrap_or(post.status);
    let publication = publish(status, patch.published_at, post.published_at, now, &mut faults);
    (publication, faults)
}

/// A published post keeps the time it has, and otherwise is public from `now` on.
fn publish(
    status: Status,
    wanted: Option<Timestamp>,
    present: Option<Timestamp>,
    now: Timestamp,
    faults: &mut Vec<Fault>,
) -> Publication {
    let fault = |code, detail| Fault::at("/published_at", code, detail);
    let published_at = match (status, wanted) {
        (Status::Draft, None) => None,
        (Status::Draft, Some(_)) => {
            faults.push(fault(FaultCode::NotAllowed, "A draft has no time of publication."));
            None
        }
        (Status::Published, Some(at)) => {
            if at > now {
                faults.push(fault(FaultCode::OutOfRange, "A post cannot be published in the future."));
            }
            Some(at)
        }
        (Status::Published, None) => Some(present.unwrap_or(now)),
    };
    Publication { status, published_at }
}

/// Two names with the same slug are the same tag.
fn check_tags(tags: &[TagName]) -> Vec<Fault> {
    let slugs: Vec<Slug> = tags.iter().map(TagName::slug).collect();
    check_set(&slugs, "/tags", MAX_TAGS)
}

fn check_authors(authors: &[UserId]) -> Vec<Fault> {
    if authors.is_empty() {
        return vec![Fault::at("/authors", FaultCode::Required, "A post has at least one author.")];
    }
    check_set(authors, "/authors", MAX_AUTHORS)
}

/// At most `max` entries, none of them twice.
fn check_set<T: Eq + Hash>(items: &[T], pointer: &str, max: usize) -> Vec<Fault> {
    if items.len() > max {
        return vec![Fault::at(pointer, FaultCode::TooMany, format!("At most {max}."))];
    }
    let mut seen = HashSet::new();
    let repeated = items.iter().enumerate().filter(|(_, item)| !seen.insert(*item));
    repeated
        .map(|(at, _)| Fault::at(format!("{pointer}/{at}"), FaultCode::Duplicate, "This stands in the list already."))
        .collect()
}

/// Checks a list of posts: limits, and that filter and order go together.
pub(super) fn check_query(query: &PostQuery) -> Result<()> {
    check_filter(&query.filter)?;
    if query.filter.status == Some(Status::Draft) && query.sort == PostSort::PublishedAt {
        return Err(Error::refused(
            Code::BadQuery,
            "Drafts have no time of publication: sort them by created_at, updated_at or title.",
        ));
    }
    let kind = match query.sort {
        PostSort::PublishedAt | PostSort::CreatedAt | PostSort::UpdatedAt => page::Kind::Time,
        PostSort::Title => page::Kind::Text,
    };
    page::check(query.limit, &query.position, kind)
}

/// Checks which posts are asked for.
pub(super) fn check_filter(filter: &PostFilter) -> Result<()> {
    if filter.tags.len() > MAX_TAGS {
        return Err(Error::refused(Code::BadQuery, format!("At most {MAX_TAGS} tags.")));
    }
    let by_publication = filter.published_after.is_some() || filter.published_before.is_some();
    if filter.status == Some(Status::Draft) && by_publication {
        return Err(Error::refused(Code::BadQuery, "Drafts have no time of publication."));
    }
    Ok(())
}
