//! Battery row F3: every operation that writes, with every one of its steps failing in turn. Nothing
//! of it is there afterwards, in any table, and the next try succeeds.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inkstone_core::access::{Actor, Caller, Role, Scope};
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::clock::SystemClock;
use inkstone_core::idempotency::{Idempotency, StoredAnswer};
use inkstone_core::identity::{
    KeyRepository, KeyState, NewPersonalToken, PasswordRepository, PersonalTokenRepository, SecretRepository,
    SessionRepository, SigningKey, ThrottlePolicy,
};
use inkstone_core::posts::{NewPost, Post, PostId, PostRepository};
use inkstone_core::tags::{NewTag, Tag, TagChange, TagDescription, TagId, TagName, TagRepository};
use inkstone_core::users::{UserChange, UserId, UserKey, UserRepository};
use inkstone_core::{Code, Result, posts, tags};
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
const POST: PostId = PostId(1);
const TAG: TagId = TagId(1);
const SECRET: [u8; 32] = [1; 32];
const POLICY: ThrottlePolicy = ThrottlePolicy { free: 0, window_secs: 900, base_secs: 10, max_secs: 60 };

macro_rules! operations {
    ($($name:literal: |$bed:ident| $work:expr;)+) => {
        const OPERATIONS: &[Operation] =
            &[$(Operation { name: $name, run: |$bed| Box::pin(async move { $work.map(drop) }) }),+];
    };
}

operations! {
    "create an account": |bed| bed.try_user("bob").await;
    "change an account": |bed| bed.change_user(ADA, UserChange { role: Some(Role::Editor), ..UserChange::default() }).await;
    "disable an account": |bed| bed.change_user(ADA, UserChange { disabled: Some(true), ..UserChange::default() }).await;
    "change a password": |bed| {
        bed.change_user(ADA, UserChange { password_hash: Some("other".into()), ..UserChange::default() }).await
    };
    "create a post": |bed| bed.try_post(rich(bed)).await;
    "create a post under a key": |bed| {
        let permit = posts::policy::create(&Caller::Operator, rich(bed))?;
        PostRepository::create(&bed.store, &ctx(), permit, Some(key(bed))).await
    };
    "change a post": |bed| bed.change(POST, |change| {
        change.title = Some(title("Another title"));
        change.content = Some(content("Other text"));
        change.tags = Some(tag_names(&["Tokio"]));
    }).await;
    "move a post": |bed| bed.change(POST, |change| change.slug = Some(slug("elsewhere"))).await;
    "withdraw a post": |bed| bed.change(POST, |change| {
        change.status = posts::Status::Draft;
        change.published_at = None;
    }).await;
    "delete a post": |bed| bed.delete(POST).await;
    "create a tag": |bed| {
        let name = TagName::try_from("Serde".to_owned()).unwrap();
        let new =
            NewTag { slug: name.slug(), name, description: TagDescription::default(), created_at: bed.now() };
        TagRepository::create(&bed.store, &ctx(), tags::policy::create(&Caller::Operator, new)?, None).await
    };
    "rename a tag": |bed| {
        let change =
            TagChange { name: Some(TagName::try_from("Rustlang".to_owned()).unwrap()), ..TagChange::default() };
        let decide = Arc::new(move |_: &Tag| tags::policy::change(&Caller::Operator, change.clone()));
        TagRepository::change(&bed.store, &ctx(), TAG, decide).await
    };
    "delete a tag": |bed| {
        TagRepository::delete(&bed.store, &ctx(), TAG, Arc::new(|_: &Tag| tags::policy::delete(&Caller::Operator))).await
    };
    "begin a session": |bed| begin(bed, [9; 32]).await;
    "rotate a session": |bed| SessionRepository::rotate(&bed.store, &ctx(), SECRET, [2; 32], bed.now() + secs(3600), bed.now()).await;
    "end a session": |bed| SessionRepository::end_by_token(&bed.store, &ctx(), SECRET, bed.now()).await;
    "fail to sign in": |bed| PasswordRepository::record_failure(&bed.store, &ctx(), &[("ip:1".to_owned(), POLICY)], None, bed.now()).await;
    "forget failures": |bed| PasswordRepository::clear_failures(&bed.store, &ctx(), &["ip:0".to_owned()]).await;
    "make a token": |bed| PersonalTokenRepository::create(&bed.store, &ctx(), token(bed, 5), None).await;
    "revoke a token": |bed| PersonalTokenRepository::revoke(&bed.store, &ctx(), Some(ADA), 1, bed.now()).await;
    "change the keys": |bed| {
        let next = vec![signing_key(bed, "b")];
        KeyRepository::replace(&bed.store, &ctx(), &[("a".to_owned(), KeyState::Active)], next).await
    };
    "keep a secret": |bed| SecretRepository::put(&bed.store, &ctx(), "cursor", vec![7; 32]).await;
    "record an entry": |bed| AuditRepository::record(&bed.store, &ctx(), entry()).await;
}

/// One of everything that the operations are about.
async fn furnish(bed: &Bed) {
    let ada = bed.user("ada").await;
    let mut post = bed.draft(ada.id);
    post.tags = tag_names(&["Rust"]);
    let post = bed.post(post).await;
    begin(bed, SECRET).await.unwrap();
    PersonalTokenRepository::create(&bed.store, &ctx(), token(bed, 1), None).await.unwrap();
    assert!(KeyRepository::replace(&bed.store, &ctx(), &[], vec![signing_key(bed, "a")]).await.unwrap());
    PasswordRepository::record_failure(&bed.store, &ctx(), &[("ip:0".to_owned(), POLICY)], None, bed.now())
        .await
        .unwrap();
    assert_eq!((ada.id, post.id), (ADA, POST));
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

fn key(bed: &Bed) -> Idempotency<Post> {
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
}

impl Fault {
    fn hook(self: &Arc<Self>) -> FaultHook {
        let fault = Arc::clone(self);
        Arc::new(move |step| {
            let nth = fault.nth.load(Ordering::SeqCst);
            if nth == 0 || matches!(step, Step::Checkpoint) {
                return None;
            }
            (fault.passed.fetch_add(1, Ordering::SeqCst) + 1 == nth).then_some(Trouble::Full)
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

    let mut cells = 0;
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
            cells += 1;
        }
    }
    println!("{} operations, {cells} steps that failed", OPERATIONS.len());
}
