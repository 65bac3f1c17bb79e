//! What the tests stand on: a store, a clock, and short ways to write what they need.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock, SystemClock};
use inkstone_core::context::{Context, Deadline};
use inkstone_core::events::{ChangeFeed, Entity, RecordedEvent};
use inkstone_core::idempotency::Written;
use inkstone_core::posts::{
    Content, Excerpt, Found, Markdown, NewPost, Parts, Post, PostChange, PostId, PostKey, PostRepository, Status, Title,
};
use inkstone_core::tags::TagName;
use inkstone_core::text::Slug;
use inkstone_core::users::{DisplayName, Handle, NewUser, User, UserChange, UserId, UserRepository};
use inkstone_core::{Error, FaultCode, Result, posts, users};
use inkstone_store::Store;
use inkstone_store::db::{FromRow, Statement};
use jiff::{SignedDuration, Timestamp};

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_700_000_000_000_000))
    }
}

impl TestClock {
    pub(crate) fn advance(&self, by: SignedDuration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }
}

/// A fresh store.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) clock: Arc<TestClock>,
    /// What must live as long as the store.
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) keep: Box<dyn Any + Send + Sync>,
}

/// The context of a call by the operator.
pub(crate) fn ctx() -> Context {
    ctx_of(Caller::Operator)
}

pub(crate) fn ctx_of(caller: Caller) -> Context {
    Context::new(caller, "request-1", Deadline::at(SystemClock.instant() + Duration::from_mins(1)))
}

pub(crate) fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::try_from(text.to_owned()).unwrap()
}

pub(crate) fn title(text: &str) -> Title {
    Title::try_from(text.to_owned()).unwrap()
}

pub(crate) fn excerpt(text: &str) -> Excerpt {
    Excerpt::try_from(text.to_owned()).unwrap()
}

pub(crate) fn tag_names(names: &[&str]) -> Vec<TagName> {
    names.iter().map(|name| TagName::try_from((*name).to_owned()).unwrap()).collect()
}

/// A body, rendered by nobody in particular.
pub(crate) fn content(text: &str) -> Content {
    Content {
        markdown: Markdown::try_from(text.to_owned()).unwrap(),
        html: format!("<p>{text}</p>"),
        renderer: "test-1",
        summary: format!("Summary of {text}"),
        words: i64::try_from(text.split_whitespace().count()).unwrap(),
    }
}

/// The faults of an error, as place and code.
pub(crate) fn faults(error: &Error) -> Vec<(String, FaultCode)> {
    let Error::Invalid(faults) = error else { panic!("not Invalid: {error:?}") };
    faults.iter().map(|fault| (fault.pointer.clone(), fault.code)).collect()
}

/// A change that leaves everything of `post` as it is.
pub(crate) fn no_change(post: &Post, now: Timestamp) -> PostChange {
    PostChange {
        title: None,
        content: None,
        slug: None,
        excerpt: None,
        status: post.status,
        published_at: post.published_at,
        tags: None,
        may_create_tags: true,
        authors: None,
        updated_at: now,
        redirects: None,
        import: None,
    }
}

pub(crate) fn done<T>(written: Written<T>) -> T {
    match written {
        Written::Done(value) => value,
        Written::Replayed(answer) => panic!("replayed: {answer:?}"),
    }
}

impl Bed {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn user(&self, handle: &str) -> User {
        self.try_user(handle).await.unwrap()
    }

    pub(crate) async fn try_user(&self, handle: &str) -> Result<User> {
        let new = NewUser {
            handle: Handle::try_from(handle.to_owned()).unwrap(),
            email: None,
            display_name: DisplayName::try_from(handle.to_uppercase()).unwrap(),
            role: inkstone_core::access::Role::Author,
            password_hash: None,
            created_at: self.now(),
        };
        self.store.create_user(new, false).await
    }

    pub(crate) async fn change_user(&self, id: UserId, change: UserChange) -> Result<User> {
        let decide = Arc::new(move |user: &User| users::policy::change(&Caller::Operator, user, change.clone()));
        UserRepository::change(&self.store, &ctx(), id, decide, None).await.map(done)
    }

    /// A published post by `author`, ready to be altered and written.
    pub(crate) fn draft(&self, author: UserId) -> NewPost {
        NewPost {
            title: title("A title"),
            content: content("Some text here"),
            slug: slug("a-title"),
            slug_exact: false,
            excerpt: None,
            status: Status::Published,
            tags: Vec::new(),
            may_create_tags: true,
            authors: vec![author],
            published_at: Some(self.now()),
            created_at: self.now(),
            updated_at: self.now(),
            redirects: Vec::new(),
            import: None,
        }
    }

    pub(crate) async fn try_post(&self, new: NewPost) -> Result<Post> {
        let permit = posts::policy::create(&Caller::Operator, new).unwrap();
        PostRepository::create(&self.store, &ctx(), permit, None).await.map(done)
    }

    pub(crate) async fn post(&self, new: NewPost) -> Post {
        self.try_post(new).await.unwrap()
    }

    /// Changes a post by altering a change that leaves everything as it is.
    pub(crate) async fn change(
        &self,
        id: PostId,
        alter: impl Fn(&mut PostChange) + Send + Sync + 'static,
    ) -> Result<Post> {
        let now = self.now();
        let decide = Arc::new(move |post: &Post| {
            let mut change = no_change(post, now);
            alter(&mut change);
            posts::policy::change(&Caller::Operator, post, change)
        });
        PostRepository::change(&self.store, &ctx(), id, decide).await
    }

    pub(crate) async fn delete(&self, id: PostId) -> Result<()> {
        let decide = Arc::new(|post: &Post| posts::policy::delete(&Caller::Operator, post));
        PostRepository::delete(&self.store, &ctx(), id, decide).await
    }

    pub(crate) async fn find(&self, key: PostKey) -> Option<Found> {
        PostRepository::find(&self.store, &ctx(), &key, Parts::ALL).await.unwrap()
    }

    pub(crate) async fn find_slug(&self, text: &str) -> Option<Found> {
        self.find(PostKey::Slug(slug(text))).await
    }

    /// The post with this id, which is there.
    pub(crate) async fn get(&self, id: PostId) -> Post {
        match self.find(PostKey::Id(id)).await {
            Some(Found::Here(post)) => *post,
            other => panic!("not here: {other:?}"),
        }
    }

    /// What was put into the outbox since `seq`.
    pub(crate) async fn events_after(&self, seq: i64) -> Vec<RecordedEvent> {
        self.store.changes_after(&ctx(), seq, 1000).await.unwrap()
    }

    pub(crate) async fn latest(&self) -> i64 {
        self.store.latest_change(&ctx()).await.unwrap()
    }

    /// The kinds of the events since `seq`.
    pub(crate) async fn kinds_after(&self, seq: i64) -> Vec<String> {
        self.events_after(seq).await.into_iter().map(|event| event.kind).collect()
    }

    /// Every audit entry: actor, action, subject.
    pub(crate) async fn audit(&self) -> Vec<(String, String, String)> {
        static AUDIT: Statement = Statement {
            name: "test.audit",
            sql: "select actor_kind || coalesce(':' || actor_id, ''), action, subject from audit_log order by id",
        };
        self.rows(&AUDIT).await
    }

    /// The rows of a statement without parameters, past every repository.
    pub(crate) async fn rows<T: FromRow + 'static>(&self, statement: &'static Statement) -> Vec<T> {
        self.store
            .db()
            .read(&ctx(), "test.rows", move |conn| Box::pin(async move { conn.fetch_all(statement, &[]).await }))
            .await
            .unwrap()
    }
}

/// Short ways on the store itself.
pub(crate) trait Shortcuts {
    async fn create_user(&self, new: NewUser, first_only: bool) -> Result<User>;
}

impl Shortcuts for Store {
    async fn create_user(&self, new: NewUser, first_only: bool) -> Result<User> {
        let permit = users::policy::create(&Caller::Operator, new).unwrap();
        UserRepository::create(self, &ctx(), permit, first_only, None).await.map(done)
    }
}

/// Whether these are the same entities, in whatever order.
pub(crate) fn same_entities(found: &[Entity], expected: &[Entity]) -> bool {
    let sorted = |entities: &[Entity]| {
        let mut entities = entities.to_vec();
        entities.sort_unstable();
        entities
    };
    sorted(found) == sorted(expected)
}
