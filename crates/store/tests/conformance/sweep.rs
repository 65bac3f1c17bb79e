//! Battery row F3: every operation that writes, with every one of its steps failing in turn. Nothing
//! of it is there afterwards, in any table, and the next try succeeds.
//!
//! It runs on SQLite alone: its executor has a hook that makes any step fail, those of the servers have
//! none. There the same units of work run, each in a transaction of the server's, and that one is there
//! as a whole or not at all is shown of units in general (`tests/server/executor.rs`).

use std::collections::HashSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inkstone_core::access::{Actor, Caller, Role, Scope};
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::clock::SystemClock;
use inkstone_core::context::Context;
use inkstone_core::events::ChangeFeed;
use inkstone_core::idempotency::{Idempotency, StoredAnswer};
use inkstone_core::identity::{
    KeyRepository, KeyState, NewPersonalToken, PasswordRepository, PersonalTokenRepository, SecretRepository,
    SessionRepository, SigningKey, ThrottlePolicy,
};
use inkstone_core::lease::{Ask, Claim, Fence, LeaseRepository};
use inkstone_core::posts::{ImportKey, NewPost, PostId, PostRepository};
use inkstone_core::tags::{NewTag, Tag, TagChange, TagDescription, TagId, TagName, TagRepository};
use inkstone_core::users::{DisplayName, Handle, NewUser, User, UserChange, UserId, UserKey, UserRepository};
use inkstone_core::{Code, Result, posts, tags, users};
use inkstone_store::Retention;
use inkstone_store::copy::Copier;
use inkstone_store::db::{FaultHook, Step, Trouble};

use crate::bed::*;
use crate::sqlite;

type Running<'b> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'b>>;

/// An operation on the world of [`furnish`].
struct Operation {
    name: &'static str,
    run: for<'b> fn(&'b Bed) -> Running<'b>,
}

const ADA: UserId = UserId(1);
const EVE: UserId = UserId(2);
const POST: PostId = PostId(1);
const TAG: TagId = TagId(1);
const SECRET: [u8; 32] = [1; 32];
/// The one before [`SECRET`], in the same session.
const USED: [u8; 32] = [8; 32];
const HOUR: Duration = Duration::from_hours(1);
const FOR_EVER: Retention = Retention { outbox: None, audit: None, failed_sign_ins: None };
const POLICY: ThrottlePolicy = ThrottlePolicy { free: 0, window_secs: 900, base_secs: 10, max_secs: 60 };

macro_rules! operations {
    ($($name:literal: |$bed:ident| $work:expr;)+) => {
        const OPERATIONS: &[Operation] =
            &[$(Operation { name: $name, run: |$bed| Box::pin(async move { $work.map(drop) }) }),+];
    };
}

operations! {
    "create an account": |bed| bed.try_user("bob").await;
    "change an account": |bed| {
        bed.change_user(ADA, UserChange { role: Some(Role::Editor), ..UserChange::default() }).await
    };
    "disable an account": |bed| {
        bed.change_user(ADA, UserChange { disabled: Some(true), ..UserChange::default() }).await
    };
    "change a password": |bed| {
        bed.change_user(ADA, UserChange { password_hash: Some("other".into()), ..UserChange::default() }).await
    };
    "create an account under a key": |bed| {
        let permit = users::policy::create(&Caller::Operator, account(bed))?;
        UserRepository::create(&bed.store, &ctx(), permit, false, Some(key(bed))).await
    };
    "change a password under a key": |bed| {
        let change = UserChange { password_hash: Some("other".into()), ..UserChange::default() };
        let decide = Arc::new(move |user: &User| users::policy::change(&Caller::Operator, user, change.clone()));
        UserRepository::change(&bed.store, &ctx(), ADA, decide, Some(key(bed))).await
    };
    "make a stronger hash": |bed| PasswordRepository::rehash(&bed.store, &ctx(), ADA, "weak", "strong".into()).await;
    "create a post": |bed| bed.try_post(rich(bed)).await;
    "create a post under a key": |bed| {
        let permit = posts::policy::create(&Caller::Operator, rich(bed))?;
        PostRepository::create(&bed.store, &ctx(), permit, Some(key(bed))).await
    };
    "import a post": |bed| {
        let import = ImportKey { source: "elsewhere".into(), key: "1".into(), fingerprint: [3; 32] };
        bed.try_post(NewPost { import: Some(import), ..rich(bed) }).await
    };
    "change a post": |bed| bed.change(POST, |change| {
        change.title = Some(title("Another title"));
        change.content = Some(content("Other text"));
        change.tags = Some(tag_names(&["Tokio"]));
    }).await;
    "move a post": |bed| bed.change(POST, |change| change.slug = Some(slug("elsewhere"))).await;
    "move a post back": |bed| bed.change(POST, |change| change.slug = Some(slug("a-title"))).await;
    "give a post to somebody else": |bed| bed.change(POST, |change| change.authors = Some(vec![EVE])).await;
    "give a post other old addresses": |bed| {
        bed.change(POST, |change| change.redirects = Some(vec!["/another/path".to_owned()])).await
    };
    "withdraw a post": |bed| bed.change(POST, |change| {
        change.status = posts::Status::Draft;
        change.published_at = None;
    }).await;
    "delete a post": |bed| bed.delete(POST).await;
    "create a tag": |bed| {
        TagRepository::create(&bed.store, &ctx(), tags::policy::create(&Caller::Operator, tag(bed))?, None).await
    };
    "create a tag under a key": |bed| {
        let permit = tags::policy::create(&Caller::Operator, tag(bed))?;
        TagRepository::create(&bed.store, &ctx(), permit, Some(key(bed))).await
    };
    "rename a tag": |bed| {
        let change =
            TagChange { name: Some(TagName::try_from("Rustlang".to_owned()).unwrap()), ..TagChange::default() };
        let decide = Arc::new(move |_: &Tag| tags::policy::change(&Caller::Operator, change.clone()));
        TagRepository::change(&bed.store, &ctx(), TAG, decide).await
    };
    "delete a tag": |bed| {
        let decide = Arc::new(|_: &Tag| tags::policy::delete(&Caller::Operator));
        TagRepository::delete(&bed.store, &ctx(), TAG, decide).await
    };
    "begin a session": |bed| begin(bed, [9; 32]).await;
    "rotate a session": |bed| {
        SessionRepository::rotate(&bed.store, &ctx(), SECRET, [2; 32], bed.now() + secs(3600), bed.now()).await
    };
    "use a token of a session twice": |bed| {
        SessionRepository::rotate(&bed.store, &ctx(), USED, [2; 32], bed.now() + secs(3600), bed.now()).await
    };
    "sign out": |bed| SessionRepository::end_by_token(&bed.store, &ctx(), SECRET, bed.now()).await;
    "end a session": |bed| SessionRepository::end(&bed.store, &ctx(), ADA, 1, bed.now()).await;
    "fail to sign in": |bed| {
        PasswordRepository::record_failure(&bed.store, &ctx(), &[("ip:1".to_owned(), POLICY)], None, bed.now()).await
    };
    "forget failures": |bed| PasswordRepository::clear_failures(&bed.store, &ctx(), &["ip:0".to_owned()]).await;
    "make a token": |bed| PersonalTokenRepository::create(&bed.store, &ctx(), token(bed, 5), None).await;
    "make a token under a key": |bed| {
        PersonalTokenRepository::create(&bed.store, &ctx(), token(bed, 5), Some(key(bed))).await
    };
    "use a token": |bed| PersonalTokenRepository::touch(&bed.store, &ctx(), 1, bed.now()).await;
    "revoke a token": |bed| PersonalTokenRepository::revoke(&bed.store, &ctx(), Some(ADA), 1, bed.now()).await;
    "change the keys": |bed| {
        let next = vec![signing_key(bed, "b")];
        KeyRepository::replace(&bed.store, &ctx(), &[("a".to_owned(), KeyState::Active)], next).await
    };
    "keep a secret": |bed| SecretRepository::put(&bed.store, &ctx(), "cursor", vec![7; 32]).await;
    "keep a secret that is not there": |bed| {
        SecretRepository::get_or_insert(&bed.store, &ctx(), "cursor", vec![7; 32]).await
    };
    "keep a secret under a lease": |bed| {
        let under = Context { fence: Some(fence()), ..ctx() };
        SecretRepository::put(&bed.store, &under, "cursor", vec![7; 32]).await
    };
    "forget a secret": |bed| SecretRepository::remove(&bed.store, &ctx(), "setup").await;
    "record an entry": |bed| AuditRepository::record(&bed.store, &ctx(), entry()).await;
    "claim a lease": |bed| LeaseRepository::claim(&bed.store, &ctx(), "other work", ask()).await;
    "prolong a lease": |bed| LeaseRepository::renew(&bed.store, &ctx(), &fence(), 2 * HOUR).await;
    "give a lease back": |bed| LeaseRepository::give_back(&bed.store, &ctx(), &fence(), true).await;
    "advance a cursor": |bed| ChangeFeed::advance_cursor(&bed.store, &ctx(), "mail", 2).await;
    // Each kind goes in a transaction of its own: here one of them has something to do.
    "remove what has expired": |bed| bed.store.purge(&ctx(), bed.now()).await;
    "remove old changes": |bed| {
        bed.store.trim(&ctx(), bed.now(), Retention { outbox: Some(Duration::ZERO), ..FOR_EVER }, i64::MAX).await
    };
    "remove old entries": |bed| {
        bed.store.trim(&ctx(), bed.now(), Retention { audit: Some(Duration::ZERO), ..FOR_EVER }, i64::MAX).await
    };
    "remove failed attempts to sign in": |bed| {
        let retention = Retention { failed_sign_ins: Some(Duration::ZERO), ..FOR_EVER };
        bed.store.trim(&ctx(), bed.now(), retention, i64::MAX).await
    };
}

/// One of everything that the operations are about.
async fn furnish(bed: &Bed) {
    let ada = bed.user("ada").await;
    bed.change_user(ADA, UserChange { password_hash: Some("weak".into()), ..UserChange::default() }).await.unwrap();
    PasswordRepository::record_failure(&bed.store, &ctx(), &[("ip:0".to_owned(), POLICY)], None, bed.now())
        .await
        .unwrap();
    let eve = bed.user("eve").await;
    let mut post = bed.draft(ada.id);
    post.tags = tag_names(&["Rust"]);
    let post = bed.post(post).await;
    bed.change(POST, |change| change.slug = Some(slug("moved"))).await.unwrap();
    begin(bed, USED).await.unwrap();
    SessionRepository::rotate(&bed.store, &ctx(), USED, SECRET, bed.now() + secs(3600), bed.now()).await.unwrap();
    PersonalTokenRepository::create(&bed.store, &ctx(), token(bed, 1), None).await.unwrap();
    let long_dead = NewPersonalToken { expires_at: bed.now() - secs(31 * 86_400), ..token(bed, 2) };
    PersonalTokenRepository::create(&bed.store, &ctx(), long_dead, None).await.unwrap();
    assert!(KeyRepository::replace(&bed.store, &ctx(), &[], vec![signing_key(bed, "a")]).await.unwrap());
    SecretRepository::put(&bed.store, &ctx(), "setup", vec![1; 32]).await.unwrap();
    assert_eq!(LeaseRepository::claim(&bed.store, &ctx(), "work", ask()).await.unwrap(), Claim::Given(1));
    assert_eq!((ada.id, eve.id, post.id), (ADA, EVE, POST));
}

fn rich(bed: &Bed) -> NewPost {
    NewPost {
        slug: slug("second"),
        excerpt: Some(excerpt("In short")),
        tags: tag_names(&["Rust", "New"]),
        redirects: vec!["/old/path".to_owned()],
        ..bed.draft(ADA)
    }
}

fn account(bed: &Bed) -> NewUser {
    NewUser {
        handle: Handle::try_from("bob".to_owned()).unwrap(),
        email: None,
        display_name: DisplayName::try_from("Bob".to_owned()).unwrap(),
        role: Role::Author,
        password_hash: None,
        created_at: bed.now(),
    }
}

fn tag(bed: &Bed) -> NewTag {
    let name = TagName::try_from("Serde".to_owned()).unwrap();
    NewTag { slug: name.slug(), name, description: TagDescription::default(), created_at: bed.now() }
}

fn key<T>(bed: &Bed) -> Idempotency<T> {
    Idempotency {
        scope: "user:1".into(),
        key: "key".into(),
        fingerprint: [0; 32],
        expires_at: bed.now() + secs(60),
        render: Arc::new(|_| Ok(StoredAnswer { status: 201, headers: Vec::new(), body: b"made".to_vec() })),
    }
}

async fn begin(bed: &Bed, secret: [u8; 32]) -> Result<()> {
    let ada = UserRepository::find(&bed.store, &ctx(), &UserKey::Id(ADA)).await?.unwrap();
    let (now, hour, day) = (bed.now(), bed.now() + secs(3600), bed.now() + secs(86_400));
    let scopes = [Scope::Read].into_iter().collect();
    SessionRepository::begin(&bed.store, &ctx(), &ada, scopes, secret, hour, day, now).await.map(drop)
}

fn token(bed: &Bed, hash: u8) -> NewPersonalToken {
    NewPersonalToken {
        user: ADA,
        name: "deploy".into(),
        hint: "ink_1234".into(),
        hash: [hash; 32],
        scopes: [Scope::Read].into_iter().collect(),
        expires_at: bed.now() + secs(3600),
        created_at: bed.now(),
    }
}

fn signing_key(bed: &Bed, kid: &str) -> SigningKey {
    let (created_at, state_since) = (bed.now(), bed.now());
    SigningKey {
        kid: kid.into(),
        state: KeyState::Active,
        pkcs8: vec![1; 48],
        public: vec![2; 32],
        created_at,
        state_since,
    }
}

fn ask() -> Ask {
    Ask { owner: "node-1".into(), term: HOUR, rest: Duration::ZERO }
}

/// Of the lease that there is.
fn fence() -> Fence {
    Fence { name: "work".into(), token: 1 }
}

fn entry() -> Entry {
    Entry { actor: Actor::Operator, action: "test", subject: "user:1".into(), details: serde_json::json!({"n": 1}) }
}

/// A copy of the world, with a store on it whose steps fail as `faults` says.
fn copy_of(world: &Path, faults: Option<FaultHook>) -> Bed {
    let directory = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(world).unwrap().map(|file| file.unwrap().path()) {
        std::fs::copy(&file, directory.path().join(file.file_name().unwrap())).unwrap();
    }
    sqlite::make(directory, faults)
}

/// Fails the `nth` step, once it is armed.
#[derive(Default)]
struct Fault {
    nth: AtomicUsize,
    passed: AtomicUsize,
    failed: Mutex<Option<Step>>,
}

impl Fault {
    fn hook(self: &Arc<Self>) -> FaultHook {
        let fault = Arc::clone(self);
        Arc::new(move |step| {
            let nth = fault.nth.load(Ordering::SeqCst);
            if nth == 0 || matches!(step, Step::Checkpoint) {
                return None;
            }
            let fails = fault.passed.fetch_add(1, Ordering::SeqCst) + 1 == nth;
            fails.then(|| {
                *fault.failed.lock().unwrap() = Some(step);
                Trouble::Full
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_step_of_a_write_fails_nothing_of_it_is_there() {
    let world = tempfile::tempdir().unwrap();
    let furnished = sqlite::make_in(world.path(), None);
    furnish(&furnished).await;
    furnished.store.db().close().await.unwrap();
    let untouched = copy_of(world.path(), None);

    let (mut cells, mut failed) = (0, HashSet::new());
    for operation in OPERATIONS {
        for nth in 1.. {
            let fault = Arc::new(Fault::default());
            let bed = copy_of(world.path(), Some(fault.hook()));
            fault.nth.store(nth, Ordering::SeqCst);
            let outcome = (operation.run)(&bed).await;
            let was_reached = fault.passed.load(Ordering::SeqCst) >= nth;
            fault.nth.store(0, Ordering::SeqCst);
            let place = format!("{}, step {nth}", operation.name);
            let copier = Copier {
                from: untouched.store.db().clone(),
                to: bed.store.db().clone(),
                clock: Arc::new(SystemClock),
                watch: Arc::new(|_| {}),
            };
            let both = copier.compare().await.unwrap();
            if !was_reached {
                outcome.unwrap_or_else(|error| panic!("{place}: {error}"));
                assert!(nth > 1 && both.from != both.to, "{place}: it writes something");
                break;
            }
            assert_eq!(outcome.expect_err(&place).code(), Code::StorageFull, "{place}");
            assert_eq!(both.from.differences(&both.to), Vec::<&str>::new(), "{place}");
            (operation.run)(&bed).await.unwrap_or_else(|error| panic!("{place}, once more: {error}"));
            if let Some(Step::Statement(name)) = *fault.failed.lock().unwrap() {
                failed.insert(name);
            }
            cells += 1;
        }
    }
    println!("{} operations, {cells} steps that failed", OPERATIONS.len());
    let statements = inkstone_store::statements();
    let writes = ["insert", "update", "delete"];
    let writes = statements.iter().filter(|one| writes.iter().any(|verb| one.sql.starts_with(verb)));
    let missed: Vec<_> = writes.map(|one| one.name).filter(|name| !failed.contains(name)).collect();
    assert_eq!(missed, Vec::<&str>::new(), "no operation of the list runs these");
}
