//! Passwords, and what slows whoever guesses them.

use inkstone_core::access::Role;
use inkstone_core::identity::{PasswordRepository, ThrottlePolicy};
use inkstone_core::users::{DisplayName, Email, Handle, NewUser, UserId};
use jiff::Timestamp;

use crate::bed::*;

conformance! {
    a_password_is_found_by_handle_or_address
    a_stronger_hash_takes_the_place_of_a_password_only
    failures_block_longer_and_longer
    failures_count_for_as_long_as_their_window
    keys_are_counted_apart_and_the_worst_is_told
    success_forgets_failures
    failures_are_audited_without_saying_who_guessed_what
    concurrent_failures_are_all_counted
}

const POLICY: ThrottlePolicy = ThrottlePolicy { free: 3, window_secs: 900, base_secs: 10, max_secs: 60 };

async fn fail(bed: &Bed, key: &str) -> Option<i64> {
    let keys = [(key.to_owned(), POLICY)];
    let until = bed.store.record_failure(&ctx(), &keys, None, bed.now()).await.unwrap();
    left(bed, until)
}

async fn blocked(bed: &Bed, keys: &[&str]) -> Option<i64> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    left(bed, bed.store.blocked_until(&ctx(), &keys, bed.now()).await.unwrap())
}

fn left(bed: &Bed, until: Option<Timestamp>) -> Option<i64> {
    until.map(|until| until.duration_since(bed.now()).as_secs())
}

async fn a_password_is_found_by_handle_or_address(bed: Bed) {
    let new = NewUser {
        handle: Handle::try_from("ada".to_owned()).unwrap(),
        email: Some(Email::try_from("Ada@Example.org".to_owned()).unwrap()),
        display_name: DisplayName::try_from("Ada".to_owned()).unwrap(),
        role: Role::Author,
        password_hash: Some("phc".into()),
        created_at: bed.now(),
    };
    let ada = bed.store.create_user(new, false).await.unwrap();
    for login in ["ada", "ada@example.org"] {
        let record = PasswordRepository::find(&bed.store, &ctx(), login).await.unwrap().unwrap();
        assert_eq!((record.user, record.hash.as_deref()), (ada.clone(), Some("phc")));
    }
    assert!(PasswordRepository::find(&bed.store, &ctx(), "bob").await.unwrap().is_none());
    bed.user("bob").await;
    assert_eq!(PasswordRepository::find(&bed.store, &ctx(), "bob").await.unwrap().unwrap().hash, None);
}

async fn a_stronger_hash_takes_the_place_of_a_password_only(bed: Bed) {
    let ada = bed.user("ada").await;
    let hash = || async { PasswordRepository::find(&bed.store, &ctx(), "ada").await.unwrap().unwrap().hash };
    bed.store.rehash(&ctx(), ada.id, "weak", "strong".into()).await.unwrap();
    assert_eq!(hash().await, None, "there was no password to strengthen");
    let change = inkstone_core::users::UserChange { password_hash: Some("weak".into()), ..Default::default() };
    let changed = bed.change_user(ada.id, change).await.unwrap();
    let seq = bed.latest().await;
    bed.store.rehash(&ctx(), ada.id, "the one before", "strong".into()).await.unwrap();
    assert_eq!(hash().await.as_deref(), Some("weak"), "an old password does not come back");
    bed.store.rehash(&ctx(), ada.id, "weak", "strong".into()).await.unwrap();
    let record = PasswordRepository::find(&bed.store, &ctx(), "ada").await.unwrap().unwrap();
    assert_eq!((record.user, record.hash.as_deref()), (changed, Some("strong")));
    assert_eq!(bed.latest().await, seq);
}

async fn failures_block_longer_and_longer(bed: Bed) {
    assert_eq!(blocked(&bed, &["user:1"]).await, None);
    for expected in [None, None, None, Some(10), Some(20), Some(40), Some(60), Some(60)] {
        assert_eq!(fail(&bed, "user:1").await, expected);
        assert_eq!(blocked(&bed, &["user:1"]).await, expected);
    }
    bed.clock.advance(secs(60));
    assert_eq!(blocked(&bed, &["user:1"]).await, None);
    assert_eq!(fail(&bed, "user:1").await, Some(60), "the failures still count");
}

async fn failures_count_for_as_long_as_their_window(bed: Bed) {
    for _ in 0..3 {
        assert_eq!(fail(&bed, "user:1").await, None);
        bed.clock.advance(secs(300));
    }
    // The first is 900 seconds old now.
    assert_eq!(fail(&bed, "user:1").await, None);
    assert_eq!(fail(&bed, "user:1").await, Some(10));
}

async fn keys_are_counted_apart_and_the_worst_is_told(bed: Bed) {
    let strict = ThrottlePolicy { free: 0, ..POLICY };
    let keys = [("user:1".to_owned(), POLICY), ("ip:1".to_owned(), strict)];
    let until = bed.store.record_failure(&ctx(), &keys, Some(UserId(1)), bed.now()).await.unwrap();
    assert_eq!(left(&bed, until), Some(10));
    assert_eq!(blocked(&bed, &["user:1"]).await, None);
    assert_eq!(blocked(&bed, &["ip:1"]).await, Some(10));
    assert_eq!(blocked(&bed, &["user:1", "ip:1", "ip:2"]).await, Some(10));
    assert_eq!(blocked(&bed, &[]).await, None);
}

async fn success_forgets_failures(bed: Bed) {
    for _ in 0..5 {
        fail(&bed, "user:1").await;
        fail(&bed, "user:2").await;
    }
    bed.store.clear_failures(&ctx(), &["user:1".to_owned(), "unheard-of".to_owned()]).await.unwrap();
    assert_eq!(blocked(&bed, &["user:1"]).await, None);
    assert_eq!(fail(&bed, "user:1").await, None);
    assert_eq!(blocked(&bed, &["user:2"]).await, Some(20));
}

async fn failures_are_audited_without_saying_who_guessed_what(bed: Bed) {
    fail(&bed, "ip:192.0.2.1").await;
    bed.store.record_failure(&ctx(), &[], Some(UserId(7)), bed.now()).await.unwrap();
    let entry = |subject: &str| ("anonymous".to_owned(), "login.failed".to_owned(), subject.to_owned());
    assert_eq!(bed.audit().await, [entry("user:unknown"), entry("user:7")]);
}

async fn concurrent_failures_are_all_counted(bed: Bed) {
    let attempts: Vec<_> = (0..5)
        .map(|_| {
            let (store, now) = (bed.store.clone(), bed.now());
            tokio::spawn(async move {
                let keys = [("user:1".to_owned(), POLICY)];
                store.record_failure(&ctx(), &keys, None, now).await.unwrap()
            })
        })
        .collect();
    let mut blocks = Vec::new();
    for attempt in attempts {
        blocks.push(left(&bed, attempt.await.unwrap()));
    }
    blocks.sort_unstable();
    assert_eq!(blocks, [None, None, None, Some(10), Some(20)]);
}
