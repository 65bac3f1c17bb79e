//! Signing keys and small secrets.

use inkstone_core::events::Entity;
use inkstone_core::identity::{KeyRepository, KeyState, SecretRepository, SigningKey};

use crate::bed::*;

conformance! {
    keys_are_replaced_only_by_who_knows_what_there_is
    a_secret_is_made_once
    a_secret_can_be_replaced_and_removed
}

fn key(bed: &Bed, kid: &str, state: KeyState) -> SigningKey {
    SigningKey {
        kid: kid.into(),
        state,
        pkcs8: vec![0, 1, 255],
        public: vec![7; 32],
        created_at: bed.now(),
        state_since: bed.now(),
    }
}

async fn keys_are_replaced_only_by_who_knows_what_there_is(bed: Bed) {
    let replace = |expected: Vec<(String, KeyState)>, keys: Vec<SigningKey>| {
        let store = bed.store.clone();
        async move { KeyRepository::replace(&store, &ctx(), &expected, keys).await.unwrap() }
    };
    let first = vec![key(&bed, "a", KeyState::Active), key(&bed, "b", KeyState::Next)];
    assert!(replace(Vec::new(), first.clone()).await);
    assert_eq!(KeyRepository::list(&bed.store, &ctx()).await.unwrap(), first);
    let events = bed.events_after(0).await;
    assert_eq!((events.len(), events[0].kind.as_str()), (1, "keys.rotated"));
    assert_eq!(events[0].entities, [Entity::Keys]);

    let second = vec![key(&bed, "b", KeyState::Active)];
    for wrong in [
        vec![],
        vec![("a".to_owned(), KeyState::Active)],
        vec![("a".to_owned(), KeyState::Retired), ("b".to_owned(), KeyState::Next)],
    ] {
        assert!(!replace(wrong, second.clone()).await);
    }
    assert_eq!(KeyRepository::list(&bed.store, &ctx()).await.unwrap(), first);
    assert_eq!(bed.latest().await, 1);
    assert!(replace(vec![("a".to_owned(), KeyState::Active), ("b".to_owned(), KeyState::Next)], second.clone()).await);
    assert_eq!(KeyRepository::list(&bed.store, &ctx()).await.unwrap(), second);
    let actions: Vec<String> = bed.audit().await.into_iter().map(|(_, action, _)| action).collect();
    assert_eq!(actions, ["keys.rotated", "keys.rotated"]);
}

async fn a_secret_is_made_once(bed: Bed) {
    let attempts: Vec<_> = (0..16_u8)
        .map(|number| {
            let store = bed.store.clone();
            tokio::spawn(async move { store.get_or_insert(&ctx(), "cursor", vec![number; 4]).await.unwrap() })
        })
        .collect();
    let mut seen = Vec::new();
    for attempt in attempts {
        seen.push(attempt.await.unwrap());
    }
    assert!(seen.iter().all(|secret| *secret == seen[0]), "{seen:?}");
    assert_eq!(SecretRepository::get(&bed.store, &ctx(), "cursor").await.unwrap(), Some(seen.remove(0)));
}

async fn a_secret_can_be_replaced_and_removed(bed: Bed) {
    let get = || async { SecretRepository::get(&bed.store, &ctx(), "setup").await.unwrap() };
    assert_eq!(get().await, None);
    bed.store.put(&ctx(), "setup", vec![1]).await.unwrap();
    bed.store.put(&ctx(), "setup", vec![2]).await.unwrap();
    assert_eq!(get().await, Some(vec![2]));
    assert!(SecretRepository::remove(&bed.store, &ctx(), "setup").await.unwrap());
    assert!(!SecretRepository::remove(&bed.store, &ctx(), "setup").await.unwrap());
    assert_eq!(get().await, None);
}
