//! The first administrator.

use inkstone_core::access::Role;
use inkstone_core::clock::Clock as _;
use inkstone_core::idempotency::{Idempotency, StoredAnswer, Written};
use inkstone_core::users::User;
use inkstone_core::{Code, Error};
use inkstone_identity::{FirstAdministrator, HashingSettings, IdentitySettings};

use crate::world::{PASSWORD, World, code, days, secs};

fn first(handle: &str) -> FirstAdministrator {
    FirstAdministrator {
        handle: handle.to_owned(),
        email: Some(format!("{handle}@example.org")),
        display_name: None,
        password: PASSWORD.to_owned(),
    }
}

async fn begun() -> (World, String) {
    let world = World::new().await;
    let secret = world.identity.begin_setup(&world.operator()).await.unwrap().unwrap();
    (world, secret)
}

#[tokio::test]
async fn the_secret_makes_one_administrator_once() {
    let (world, secret) = begun().await;
    assert!(secret.starts_with("ink_setup_"));
    assert!(world.identity.needs_setup(&world.anybody()).await.unwrap());
    let user = world.identity.complete_setup(&world.anybody(), &secret, first("ada")).await.unwrap();
    assert_eq!((user.role, user.display_name.as_str()), (Role::Administrator, "ada"));
    assert!(!world.identity.needs_setup(&world.anybody()).await.unwrap());
    world.login("ada").await;

    let again = world.identity.complete_setup(&world.anybody(), &secret, first("eve")).await;
    let why = again.as_ref().unwrap_err().to_string();
    assert_eq!(code(again), Some(Code::Unauthenticated));
    // A restart helps only while nobody can.
    assert!(why.contains("somebody can sign in"), "{why}");
    assert_eq!(world.identity.begin_setup(&world.operator()).await.unwrap(), None);
    assert_eq!(world.store.state().users.len(), 1);
    let state = world.store.state();
    assert!(!state.actions().contains(&"setup.refused"), "nothing is written once there is nothing to guess");
    assert!(state.actions().contains(&"setup.begun") && state.actions().contains(&"setup.completed"));
    assert!(state.secrets.iter().all(|(_, value)| !String::from_utf8_lossy(value).contains("ink_setup_")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_use_the_secret_at_once_one_gets_in() {
    let settings = IdentitySettings {
        hashing: HashingSettings { workers: 4, queue: 64, ..HashingSettings::default() },
        ..IdentitySettings::default()
    };
    let world = World::with(settings).await;
    let secret = world.identity.begin_setup(&world.operator()).await.unwrap().unwrap();
    let attempts: Vec<_> = (0..32)
        .map(|number| {
            let (world, secret) = (world.clone(), secret.clone());
            tokio::spawn(async move {
                let first = first(&format!("person-{number}"));
                world.identity.complete_setup(&world.anybody(), &secret, first).await
            })
        })
        .collect();
    let mut made = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => {
                assert!(matches!(error.code(), Code::Conflict | Code::Unauthenticated), "{error}");
            }
        }
    }
    assert_eq!(made, 1);
    assert_eq!(world.store.state().users.len(), 1);
}

#[tokio::test]
async fn a_secret_ends_after_a_day_and_when_a_new_one_is_shown() {
    let (world, old) = begun().await;
    let new = world.identity.begin_setup(&world.operator()).await.unwrap().unwrap();
    let answer = world.identity.complete_setup(&world.anybody(), &old, first("ada")).await;
    assert_eq!(code(answer), Some(Code::Unauthenticated), "void");
    world.clock.pass(days(1).saturating_sub(secs(1)));
    let faulty = FirstAdministrator::default();
    let answer = world.identity.complete_setup(&world.anybody(), &new, faulty).await;
    assert_eq!(code(answer), Some(Code::Invalid), "still good, and a typo does not use it up");
    world.clock.pass(secs(1));
    let answer = world.identity.complete_setup(&world.anybody(), &new, first("ada")).await;
    assert_eq!(code(answer), Some(Code::Unauthenticated), "expired");
    assert!(world.store.state().users.is_empty());
}

#[tokio::test]
async fn all_faults_are_named_at_once_but_only_to_who_holds_the_secret() {
    let (world, secret) = begun().await;
    let faulty = FirstAdministrator {
        handle: "Not A Handle".to_owned(),
        email: Some("nobody".to_owned()),
        display_name: Some("\n".to_owned()),
        password: "short".to_owned(),
    };
    let answer = world.identity.complete_setup(&world.anybody(), &secret, faulty.clone()).await;
    let Err(Error::Invalid(faults)) = answer else { panic!("{answer:?}") };
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/handle", "/email", "/display_name", "/password"]);
    for wrong in ["", "ink_setup_", "guess", &secret[1..], &format!("{secret}x")] {
        let answer = world.identity.complete_setup(&world.anybody(), wrong, faulty.clone()).await;
        assert_eq!(code(answer), Some(Code::Unauthenticated), "{wrong}");
    }
    assert_eq!(world.store.state().actions().iter().filter(|action| **action == "setup.refused").count(), 5);
    assert!(!format!("{faulty:?}").contains("short"));
}

#[tokio::test]
async fn imported_authors_do_not_end_the_set_up_but_whoever_can_sign_in_does() {
    let (world, secret) = begun().await;
    world.add("imported", Role::Author, None);
    assert!(world.identity.needs_setup(&world.anybody()).await.unwrap());
    world.person("made-by-command", Role::Administrator).await;
    let answer = world.identity.complete_setup(&world.anybody(), &secret, first("eve")).await;
    assert_eq!(code(answer), Some(Code::Conflict));
}

#[tokio::test]
async fn only_the_operator_begins_the_set_up() {
    let world = World::new().await;
    assert_eq!(code(world.identity.begin_setup(&world.anybody()).await), Some(Code::Forbidden));
}

#[tokio::test]
async fn a_set_up_that_is_repeated_under_its_key_is_answered_as_the_first_time() {
    let (world, secret) = begun().await;
    let key = |fingerprint| {
        Some(Idempotency::<User> {
            scope: "address:127.0.0.1".to_owned(),
            key: "one".to_owned(),
            fingerprint: [fingerprint; 32],
            expires_at: world.clock.now() + jiff::SignedDuration::from_hours(24),
            render: std::sync::Arc::new(|_| Ok(StoredAnswer { status: 201, headers: Vec::new(), body: Vec::new() })),
        })
    };
    let anybody = world.anybody();
    let complete = |key| world.identity.complete_setup_once(&anybody, &secret, first("ada"), key);
    let wrong = world.identity.complete_setup_once(&anybody, "ink_setup_wrong", first("eve"), key(9)).await;
    assert_eq!(code(wrong), Some(Code::Unauthenticated), "and uses no key up");
    assert!(matches!(complete(key(1)).await, Ok(Written::Done(_))));
    assert!(matches!(complete(key(1)).await, Ok(Written::Replayed(answer)) if answer.status == 201));
    assert_eq!(code(complete(key(2)).await), Some(Code::IdempotencyKeyReused));
    assert_eq!(code(complete(None).await), Some(Code::Unauthenticated));
    assert_eq!(world.store.state().users.len(), 1);
}
