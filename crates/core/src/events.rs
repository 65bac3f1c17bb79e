//! What happened, as it is written into the outbox together with the change itself.
//!
//! An event names the *entities* that it touched. Representations are tagged with the entities
//! they were made from; where the two meet, the representation is stale.

use std::fmt;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::Result;
use crate::posts::{Post, PostId, Status};
use crate::tags::TagId;
use crate::users::UserId;

/// Something that a representation was made from and that a write can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entity {
    /// One post, whatever of it is shown.
    Post(PostId),
    /// One person's public profile.
    User(UserId),
    /// One tag's name, slug and description.
    Tag(TagId),
    /// Which posts are public, and in which order of publication.
    Posts,
    /// Which public posts carry this tag, and in which order of publication.
    PostsTagged(TagId),
    /// Which public posts this person wrote, and in which order of publication.
    PostsBy(UserId),
    /// What any edit of a public post can change: the orders by title and by last change, and the
    /// words that posts are found by.
    PostOrder,
    /// Which tags there are.
    Tags,
    /// Which public profiles there are.
    Users,
    /// The public signing keys.
    Keys,
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Post(id) => write!(f, "post:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Tag(id) => write!(f, "tag:{id}"),
            Self::Posts => f.write_str("posts"),
            Self::PostsTagged(id) => write!(f, "posts-tag:{id}"),
            Self::PostsBy(id) => write!(f, "posts-user:{id}"),
            Self::PostOrder => f.write_str("post-order"),
            Self::Tags => f.write_str("tags"),
            Self::Users => f.write_str("users"),
            Self::Keys => f.write_str("keys"),
        }
    }
}

impl Entity {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = match text.split_once(':') {
            Some((kind, id)) => (kind, Some(id.parse::<i64>().ok()?)),
            None => (text, None),
        };
        Some(match (kind, id) {
            ("post", Some(id)) => Self::Post(PostId(id)),
            ("user", Some(id)) => Self::User(UserId(id)),
            ("tag", Some(id)) => Self::Tag(TagId(id)),
            ("posts", None) => Self::Posts,
            ("posts-tag", Some(id)) => Self::PostsTagged(TagId(id)),
            ("posts-user", Some(id)) => Self::PostsBy(UserId(id)),
            ("post-order", None) => Self::PostOrder,
            ("tags", None) => Self::Tags,
            ("users", None) => Self::Users,
            ("keys", None) => Self::Keys,
            _ => return None,
        })
    }
}

/// One event. The store gives it its id, its `change_seq` and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Such as `post.published`; stable.
    pub kind: &'static str,
    /// What it happened to: `post:42`.
    pub subject: Entity,
    /// Every entity that is no longer what it was, the subject included where it is public.
    pub entities: Vec<Entity>,
    /// What happened, for those who receive it.
    pub payload: serde_json::Value,
}

/// An event as it is read back from the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// Position in the one order of all changes; grows without gaps being promised.
    pub change_seq: i64,
    /// As [`Event::kind`].
    pub kind: String,
    /// As [`Event::entities`].
    pub entities: Vec<Entity>,
    /// When the change was made.
    pub at: jiff::Timestamp,
}

/// A place in the one order of all changes: just after this change. The time tells the change from one of
/// another history that has the same number: of before a failover that lost it, or of another database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its number; 0 before the first one.
    pub change_seq: i64,
    /// When it was made; none if no change of that number is kept, or only the number is known.
    pub at: Option<jiff::Timestamp>,
}

impl Mark {
    /// Just after this change.
    pub fn of(event: &RecordedEvent) -> Self {
        Self { change_seq: event.change_seq, at: Some(event.at) }
    }
}

/// What somebody has written, for those who could not be handed it as a change yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// The number of the last change; 0 if there was none.
    pub change_seq: i64,
    /// What the changes touched, some of it perhaps more than once.
    pub touched: Vec<Entity>,
}

/// What one look at the changes brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// Oldest first.
    pub events: Vec<RecordedEvent>,
    /// Which run of which database server told of them; none if there were no events to tell of.
    pub server_run: Option<ServerRun>,
}

/// Tells a database server from another one that took over from it; PostgreSQL's also from itself before a restart. The
/// same for all processes that ask the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerRun(pub i64);

/// Every committed change, in order, and how far each consumer has come.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Up to `limit` events after this position, and who tells of them.
    async fn look_after(&self, ctx: &Context, change_seq: i64, limit: u32) -> Result<Look>;
    /// Up to `limit` events after this position, oldest first.
    async fn changes_after(&self, ctx: &Context, change_seq: i64, limit: u32) -> Result<Vec<RecordedEvent>> {
        Ok(self.look_after(ctx, change_seq, limit).await?.events)
    }
    /// The position of the newest change; 0 if there is none.
    async fn latest_change(&self, ctx: &Context) -> Result<i64>;
    /// How far `consumer` has come; none if it is new.
    async fn cursor(&self, ctx: &Context, consumer: &str) -> Result<Option<i64>>;
    /// Notes that `consumer` is done with everything up to this position. Never goes back.
    async fn advance_cursor(&self, ctx: &Context, consumer: &str, change_seq: i64) -> Result<()>;
}

/// The events of a change to a post: pure, so that every store records the same.
/// `before` is absent for a new post, `after` for a deleted one. `heir_of` is the post whose old
/// address this one has taken: what sent people on to it from there does so no longer.
pub fn of_post_change(before: Option<&Post>, after: Option<&Post>, heir_of: Option<PostId>) -> Vec<Event> {
    let was_public = before.is_some_and(|post| post.status == Status::Published);
    let is_public = after.is_some_and(|post| post.status == Status::Published);
    let kind = match (before, after) {
        (None, None) => return Vec::new(),
        (None, Some(_)) if is_public => "post.published",
        (None, Some(_)) => "post.created",
        (Some(_), None) => "post.deleted",
        (Some(_), Some(_)) => match (was_public, is_public) {
            (false, true) => "post.published",
            (true, false) => "post.unpublished",
            _ => "post.updated",
        },
    };
    let Some(post) = after.or(before) else { return Vec::new() };
    let mut entities = Vec::new();
    if was_public || is_public {
        entities.push(Entity::Post(post.id));
        entities.push(Entity::PostOrder);
        let listed_as = |post: &Post| (post.published_at, post.slug.clone());
        let moved = was_public != is_public || before.map(listed_as) != after.map(listed_as);
        if moved {
            entities.push(Entity::Posts);
        }
        let tags = |post: Option<&Post>| -> Vec<_> { post.iter().flat_map(|p| p.tags.iter().map(|t| t.id)).collect() };
        let authors =
            |post: Option<&Post>| -> Vec<_> { post.iter().flat_map(|p| p.authors.iter().map(|a| a.id)).collect() };
        entities.extend(touched(tags(before), tags(after), moved).map(Entity::PostsTagged));
        entities.extend(touched(authors(before), authors(after), moved).map(Entity::PostsBy));
    }
    entities.extend(heir_of.filter(|former| *former != post.id).map(Entity::Post));
    let payload = serde_json::json!({
        "id": post.id.0,
        "slug": post.slug.as_str(),
        "title": post.title.as_str(),
        "status": after.map_or("deleted", |post| post.status.as_str()),
        "version": post.version,
    });
    vec![Event { kind, subject: Entity::Post(post.id), entities, payload }]
}

/// What is in one of the two but not in the other; or, where the post itself moved, in either.
fn touched<T: Copy + Ord>(before: Vec<T>, after: Vec<T>, moved: bool) -> impl Iterator<Item = T> {
    let mut all: Vec<T> = before.iter().chain(&after).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().filter(move |item| moved || before.contains(item) != after.contains(item))
}
