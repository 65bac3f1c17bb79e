//! Lists of posts: what is asked for, turned into the bounds of one walk along one index.

use inkstone_core::page::{Key, Page, Position};
use inkstone_core::posts::{Post, PostFilter, PostQuery, PostSort, Status};
use inkstone_core::{Code, Error, Result};
use jiff::Timestamp;

use crate::db::{Conn, Value};
use crate::store::json_list;

use super::load::{self, Line};
use super::row::{Card, any};
use super::search;
use super::shapes::{self, Drive};

pub(super) async fn list(conn: &mut Conn, mut query: PostQuery, now: Timestamp) -> Result<Page<Post>> {
    if query.filter.status == Some(Status::Draft) && query.sort == PostSort::PublishedAt {
        // Drafts have not been published: theirs is the order of creation instead.
        query.sort = PostSort::CreatedAt;
    }
    let plan = Plan::of(&query.filter, now)?;
    let walk = Walk::of(&query, &plan)?;
    let bounds = walk.values();
    let page_values = [(i64::from(query.limit) + 1).into(), walk.offset.into()];
    let mut values: Vec<Value<'_>> = bounds.into_iter().chain(page_values).chain(plan.values()).collect();
    if plan.has_window(query.sort) {
        values.extend([Value::Int(plan.from), Value::Int(plan.to)]);
    }
    let statement = shapes::list(plan.drive, query.sort, walk.descending);
    // Bodies are another statement, which must find the same posts; and what may take long would keep others waiting.
    let is_quick = walk.offset == 0 && plan.takes_all(query.sort);
    let lines: Vec<Line> = if is_quick && !any(query.parts) {
        conn.fetch_apart(statement, &values).await?
    } else {
        conn.fetch_all(statement, &values).await?
    };
    let (posts, links) = Line::sorted(lines);
    let mut cards: Vec<Card> = posts.into_iter().map(|post| post.card).collect();
    cards.sort_by(|a, b| {
        let ascending = order(a, b, query.sort);
        if walk.descending { ascending.reverse() } else { ascending }
    });
    let page = Page::from_rows(cards, query.limit, &query.position, |card: &Card| card.key(query.sort));
    let mut items: Vec<Post> = page.items.into_iter().filter_map(|card| card.into_post(now)).collect();
    load::join(&mut items, links);
    load::fill_bodies(conn, &mut items, query.parts).await?;
    Ok(Page { items, next: page.next, prev: page.prev })
}

pub(super) async fn count(conn: &mut Conn, filter: PostFilter, now: Timestamp) -> Result<u64> {
    let plan = Plan::of(&filter, now)?;
    let window = [plan.from.into(), plan.to.into()];
    let values: Vec<Value<'_>> = match plan.drive {
        Drive::Drafts => plan.values(),
        Drive::All | Drive::Tag | Drive::Author | Drive::Found => window.into_iter().chain(plan.values()).collect(),
    };
    let count: i64 = conn.fetch_one(shapes::count(plan.drive), &values).await?;
    u64::try_from(count).map_err(Error::internal)
}

fn order(a: &Card, b: &Card, sort: PostSort) -> std::cmp::Ordering {
    let by_key = match sort {
        PostSort::PublishedAt => a.published_at.unwrap_or(a.created_at).cmp(&b.published_at.unwrap_or(b.created_at)),
        PostSort::CreatedAt => a.created_at.cmp(&b.created_at),
        PostSort::UpdatedAt => a.updated_at.cmp(&b.updated_at),
        PostSort::Title => a.title.as_str().cmp(b.title.as_str()),
    };
    by_key.then(a.id.cmp(&b.id))
}

/// What drives the list and what is left to check on the way.
struct Plan<'q> {
    drive: Drive,
    driver: Driver<'q>,
    status: Status,
    /// How many further tags, and their slugs as JSON.
    tags: (i64, String),
    /// How many further authors, and their ids as JSON.
    authors: (i64, String),
    /// Published at or after, and before, in microseconds. Never later than now.
    from: i64,
    to: i64,
}

enum Driver<'q> {
    None,
    Tag(&'q str),
    Author(i64),
    Words(String),
}

impl<'q> Plan<'q> {
    fn of(filter: &'q PostFilter, now: Timestamp) -> Result<Self> {
        let PostFilter { status, only_by, author, tags, published_after, published_before, search } = filter;
        let mut tags: Vec<&str> = tags.iter().map(inkstone_core::text::Slug::as_str).collect();
        tags.sort_unstable();
        tags.dedup();
        let mut authors: Vec<i64> = [*author, *only_by].into_iter().flatten().map(|user| user.0).collect();
        authors.dedup();
        let drafts = *status == Some(Status::Draft);
        if drafts && (published_after.is_some() || published_before.is_some()) {
            return Err(Error::refused(Code::BadQuery, "Drafts have no time of publication."));
        }
        let (drive, driver) = if let Some(search) = search {
            (Drive::Found, Driver::Words(search::expression(search)))
        } else if drafts {
            (Drive::Drafts, Driver::None)
        } else if !tags.is_empty() {
            (Drive::Tag, Driver::Tag(tags.remove(0)))
        } else if !authors.is_empty() {
            (Drive::Author, Driver::Author(authors.remove(0)))
        } else {
            (Drive::All, Driver::None)
        };
        let count = |length: usize| i64::try_from(length).map_err(Error::internal);
        let just_after_now = now.as_microsecond().saturating_add(1);
        Ok(Self {
            drive,
            driver,
            status: if drafts { Status::Draft } else { Status::Published },
            tags: (count(tags.len())?, json_list(&tags)?),
            authors: (count(authors.len())?, json_list(&authors)?),
            from: published_after.map_or(i64::MIN, ceil_to_micros),
            to: published_before.map_or(just_after_now, |before| ceil_to_micros(before).min(just_after_now)),
        })
    }

    /// The parameters between those of the walk and those of the window.
    fn values(&self) -> Vec<Value<'_>> {
        let tags = [self.tags.0.into(), (&self.tags.1).into()];
        let authors = [self.authors.0.into(), (&self.authors.1).into()];
        match (self.drive, &self.driver) {
            (Drive::Drafts, _) => tags.into_iter().chain(authors).collect(),
            (_, Driver::Tag(slug)) => [(*slug).into()].into_iter().chain(tags).chain(authors).collect(),
            (_, Driver::Author(user)) => [(*user).into()].into_iter().chain(authors).collect(),
            (_, Driver::Words(words)) => {
                [words.into(), self.status.as_str().into()].into_iter().chain(tags).chain(authors).collect()
            }
            (_, Driver::None) => Vec::new(),
        }
    }

    /// Whether all posts on the walk belong into the list, so that no more are read than are shown.
    fn takes_all(&self, sort: PostSort) -> bool {
        self.drive != Drive::Found && self.tags.0 == 0 && self.authors.0 == 0 && !self.has_window(sort)
    }

    /// Whether the time of publication is bounded beside the walk, and not by it.
    fn has_window(&self, sort: PostSort) -> bool {
        match self.drive {
            Drive::Drafts => false,
            Drive::Found => true,
            Drive::All | Drive::Tag | Drive::Author => sort != PostSort::PublishedAt,
        }
    }
}

/// The first stored time that is not before `at`: stored times are whole microseconds.
fn ceil_to_micros(at: Timestamp) -> i64 {
    let whole = at.as_microsecond();
    let exact = Timestamp::from_microsecond(whole).is_ok_and(|stored| stored >= at);
    if exact { whole } else { whole.saturating_add(1) }
}

/// The stretch of the index to read: both bounds exclusive.
struct Walk {
    bounds: Bounds,
    /// The direction of reading, which is against the order for the page before a position.
    descending: bool,
    offset: i64,
}

enum Bounds {
    Time { lower: (i64, i64), upper: (i64, i64) },
    Text { lower: (String, i64), upper: (String, i64) },
}

impl Walk {
    fn of(query: &PostQuery, plan: &Plan<'_>) -> Result<Self> {
        let foreign = || Error::refused(Code::BadCursor, "This cursor belongs to another list.");
        let backwards = matches!(query.position, Position::Before(_));
        let descending = query.descending != backwards;
        let mut bounds = Bounds::all(query.sort, plan);
        let mut offset = 0;
        match &query.position {
            Position::Start => {}
            Position::Offset(rows) => offset = i64::try_from(*rows).unwrap_or(i64::MAX),
            Position::After(key) | Position::Before(key) => bounds.narrow(key, descending).ok_or_else(foreign)?,
        }
        Ok(Self { bounds, descending, offset })
    }

    fn values(&self) -> [Value<'_>; 4] {
        match &self.bounds {
            Bounds::Time { lower, upper } => [lower.0.into(), lower.1.into(), upper.0.into(), upper.1.into()],
            Bounds::Text { lower, upper } => [(&lower.0).into(), lower.1.into(), (&upper.0).into(), upper.1.into()],
        }
    }
}

impl Bounds {
    /// Everything that the filter lets through.
    fn all(sort: PostSort, plan: &Plan<'_>) -> Self {
        match sort {
            PostSort::PublishedAt => Self::Time { lower: (plan.from, i64::MIN), upper: (plan.to, i64::MIN) },
            PostSort::CreatedAt | PostSort::UpdatedAt => {
                Self::Time { lower: (i64::MIN, i64::MIN), upper: (i64::MAX, i64::MAX) }
            }
            PostSort::Title => Self::Text {
                lower: (String::new(), i64::MIN),
                // One character more than any title has, each the greatest there is.
                upper: ("\u{10FFFF}".repeat(inkstone_core::posts::Title::MAX_CHARS + 1), i64::MAX),
            },
        }
    }

    /// Leaves what comes after `key` in the direction of reading; none if the key is of another order.
    fn narrow(&mut self, key: &Key, descending: bool) -> Option<()> {
        match (self, key) {
            (Self::Time { upper, .. }, Key::Time(time, id)) if descending => *upper = (*upper).min((*time, *id)),
            (Self::Time { lower, .. }, Key::Time(time, id)) => *lower = (*lower).max((*time, *id)),
            (Self::Text { upper, .. }, Key::Text(text, id)) if descending => {
                *upper = std::mem::take(upper).min((text.clone(), *id));
            }
            (Self::Text { lower, .. }, Key::Text(text, id)) => {
                *lower = std::mem::take(lower).max((text.clone(), *id));
            }
            _ => return None,
        }
        Some(())
    }
}
