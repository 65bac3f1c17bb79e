//! Signing keys while they are in use.

use inkstone_core::access::Role;
use inkstone_core::clock::Clock as _;
use inkstone_core::identity::KeyState;
use serde_json::json;

use crate::world::{World, days, parts, secs};

fn kids(jwks: &serde_json::Value) -> Vec<String> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rotation_keeps_tokens_valid_and_the_new_key_was_published_before() {
    let world = World::new().await;
    let elsewhere = world.beside();
    world.person("ada", Role::Author).await;
    let before = kids(&world.identity.jwks(&world.anybody()).await.unwrap());
    world.clock.pass(days(90));
    let old = world.login("ada").await.access_token;
    assert!(elsewhere.accepts(&old).await);

    assert!(world.identity.rotate_if_due(&world.operator(), world.clock.now()).await.unwrap());
    assert!(!world.identity.rotate_if_due(&world.operator(), world.clock.now()).await.unwrap(), "once");
    let new = world.login("ada").await.access_token;
    let (old_kid, new_kid) = (parts(&old).0["kid"].clone(), parts(&new).0["kid"].clone());
    assert_ne!(old_kid, new_kid);
    assert!(before.contains(&new_kid.as_str().unwrap().to_owned()), "known to everybody before it signs");
    for token in [&old, &new] {
        assert!(world.accepts(token).await);
        assert!(elsewhere.accepts(token).await, "a process that has not heard of the rotation");
    }
    let jwks = world.identity.jwks(&world.anybody()).await.unwrap();
    assert_eq!(kids(&jwks).len(), 3);

    // A process with an old copy goes on signing with the old key until its copy is too old.
    world.clock.pass(secs(299));
    let late = elsewhere.login("ada").await.access_token;
    assert_eq!(parts(&late).0["kid"], old_kid);
    world.clock.pass(secs(899));
    world.identity.rotate_if_due(&world.operator(), world.clock.now()).await.unwrap();
    assert!(world.accepts(&late).await, "the old key lives as long as the last token it signed");
    world.clock.pass(secs(300));
    world.identity.rotate_if_due(&world.operator(), world.clock.now()).await.unwrap();
    assert_eq!(kids(&world.identity.jwks(&world.anybody()).await.unwrap()).len(), 2, "gone");
}

#[tokio::test]
async fn the_key_set_shows_public_ed25519_keys_and_nothing_private() {
    let world = World::new().await;
    let jwks = world.identity.jwks(&world.anybody()).await.unwrap();
    let stored = world.store.state().keys.clone();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    for key in jwks["keys"].as_array().unwrap() {
        let mut names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")));
        assert_eq!((&key["use"], &key["alg"]), (&json!("sig"), &json!("EdDSA")));
        let own = stored.iter().find(|own| own.kid == key["kid"].as_str().unwrap()).unwrap();
        assert_eq!(inkstone_identity::keys::thumbprint(&own.public), own.kid);
    }
}

#[tokio::test]
async fn key_ids_that_nobody_knows_do_not_wear_out_the_store() {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    let (mut header, claims) = parts(&world.login("ada").await.access_token);
    let before = world.store.state().key_reads;
    for number in 0..100 {
        header["kid"] = json!(format!("made-up-{number}"));
        assert!(!world.accepts(&world.forge(KeyState::Active, &header, &claims)).await);
    }
    assert_eq!(world.store.state().key_reads, before + 1);
    world.clock.pass(secs(10));
    assert!(!world.accepts(&world.forge(KeyState::Active, &header, &claims)).await);
    assert_eq!(world.store.state().key_reads, before + 2);
}

#[tokio::test]
async fn an_event_makes_a_process_read_the_keys_again() {
    let world = World::new().await;
    let elsewhere = world.beside();
    elsewhere.identity.reload_keys(&elsewhere.operator()).await.unwrap();
    world.clock.pass(days(90));
    elsewhere.identity.reload_keys(&elsewhere.operator()).await.unwrap();
    world.identity.rotate_if_due(&world.operator(), world.clock.now()).await.unwrap();
    assert_eq!(kids(&elsewhere.identity.jwks(&world.anybody()).await.unwrap()).len(), 2);
    elsewhere.identity.reload_keys(&elsewhere.operator()).await.unwrap();
    assert_eq!(kids(&elsewhere.identity.jwks(&world.anybody()).await.unwrap()).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_processes_that_start_at_once_agree_on_one_set() {
    let world = World::new().await;
    world.store.state().keys.clear();
    let starts: Vec<_> = (0..32)
        .map(|_| {
            let beside = world.beside();
            tokio::spawn(async move { beside.identity.ensure_keys(&beside.operator()).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let mut states: Vec<_> = world.store.state().keys.iter().map(|key| key.state.as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["active", "next"]);
}
