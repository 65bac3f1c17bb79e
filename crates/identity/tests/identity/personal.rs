//! Personal access tokens.

use std::sync::Arc;

use inkstone_core::access::{Credential, Role, Scope, Scopes};
use inkstone_core::clock::Clock as _;
use inkstone_core::idempotency::{Idempotency, Render, StoredAnswer, Written};
use inkstone_core::identity::PersonalToken;
use inkstone_core::users::UserId;
use inkstone_core::{Code, Context, Error};
use jiff::SignedDuration;

use crate::world::{World, code, days, secs};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn world() -> (World, UserId, Context) {
    let world = World::new().await;
    let ada = world.person("ada", Role::Author).await;
    let ctx = world.bearing(&world.login("ada").await.access_token).await;
    (world, ada, ctx)
}

fn scopes(scopes: &[Scope]) -> Scopes {
    scopes.iter().copied().collect()
}

#[tokio::test]
async fn a_personal_token_stands_for_its_owner_until_it_ends() {
    let (world, ada, ctx) = world().await;
    let read = scopes(&[Scope::Read]);
    let (token, secret) = world.identity.create_personal_token(&ctx, ada, "backup", read, 30).await.unwrap();
    assert!(secret.starts_with(&token.hint) && token.hint.len() == "ink_pat_".len() + 4);
    let who = world.identity.authenticate(&world.anybody(), &secret).await.unwrap();
    assert_eq!((who.user, who.role, who.scopes), (ada, Role::Author, read));
    assert_eq!(who.credential, Credential::PersonalToken(token.id));

    world.store.state().users[0].0.disabled = true;
    assert!(!world.accepts(&secret).await, "its owner is disabled");
    world.store.state().users[0].0.disabled = false;
    world.clock.pass(days(30).saturating_sub(secs(1)));
    assert!(world.accepts(&secret).await);
    world.clock.pass(secs(1));
    assert!(!world.accepts(&secret).await, "expired to the second");
}

#[tokio::test]
async fn its_use_is_noted_once_an_hour_and_reading_goes_on_when_that_fails() {
    let (world, ada, ctx) = world().await;
    let (_, secret) = world.identity.create_personal_token(&ctx, ada, "x", Scopes::all(), 30).await.unwrap();
    for _ in 0..5 {
        assert!(world.accepts(&secret).await);
    }
    assert_eq!(world.store.state().touches, 1);
    world.clock.pass(secs(3600));
    assert!(world.accepts(&secret).await);
    assert_eq!(world.store.state().touches, 2);
    world.clock.pass(secs(3600));
    world.store.state().read_only = true;
    assert!(world.accepts(&secret).await);
}

#[tokio::test]
async fn every_fault_of_a_new_token_is_named() {
    let (world, ada, ctx) = world().await;
    let answer = world.identity.create_personal_token(&ctx, ada, " ", Scopes::default(), 367).await;
    let Err(Error::Invalid(faults)) = answer else { panic!("{answer:?}") };
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/name", "/scopes", "/expires_in_days"]);
    for days in [1, 366] {
        assert!(world.identity.create_personal_token(&ctx, ada, "x", Scopes::all(), days).await.is_ok());
    }
    assert_eq!(code(world.identity.create_personal_token(&ctx, ada, "x", Scopes::all(), 0).await), Some(Code::Invalid));
}

#[tokio::test]
async fn a_personal_token_makes_no_others() {
    let (world, ada, ctx) = world().await;
    let (_, secret) = world.identity.create_personal_token(&ctx, ada, "all", Scopes::all(), 10).await.unwrap();
    let bearing = world.bearing(&secret).await;
    // Not even one that may do less for a shorter time: it would outlive the end of its maker.
    let answer = world.identity.create_personal_token(&bearing, ada, "child", scopes(&[Scope::Read]), 1).await;
    let Err(error) = answer else { panic!("it was made") };
    assert_eq!(error.code(), Code::Forbidden);
    assert!(error.to_string().contains("a personal token is not enough"), "{error}");
    // Nor is it told first what else would be wrong.
    let answer = world.identity.create_personal_token(&bearing, ada, "", Scopes::default(), 0).await;
    assert_eq!(code(answer), Some(Code::Forbidden));

    let (_, reading) =
        world.identity.create_personal_token(&ctx, ada, "read", scopes(&[Scope::Read]), 10).await.unwrap();
    let reading = world.bearing(&reading).await;
    let answer = world.identity.create_personal_token(&reading, ada, "x", scopes(&[Scope::Read]), 1).await;
    assert_eq!(code(answer), Some(Code::InsufficientScope));
    assert_eq!(code(world.identity.personal_tokens(&reading, Some(ada)).await), Some(Code::InsufficientScope));
}

#[tokio::test]
async fn a_session_with_narrow_scopes_makes_no_wider_token() {
    let (world, ada, _) = world().await;
    let narrow = scopes(&[Scope::Read, Scope::Account]);
    let pair = world.identity.login(&world.anybody(), "ada", crate::world::PASSWORD, Some(narrow), None).await.unwrap();
    let ctx = world.bearing(&pair.access_token).await;
    let answer = world.identity.create_personal_token(&ctx, ada, "x", Scopes::all(), 1).await;
    assert_eq!(code(answer), Some(Code::Forbidden));
}

#[tokio::test]
async fn people_make_their_own_tokens_and_the_operator_anybodys() {
    let (world, ada, ctx) = world().await;
    let root = world.person("root-of-all", Role::Administrator).await;
    let admin = world.bearing(&world.login("root-of-all").await.access_token).await;
    let make =
        async |ctx: &Context, user| code(world.identity.create_personal_token(ctx, user, "x", Scopes::all(), 1).await);
    assert_eq!(make(&ctx, ada).await, None);
    assert_eq!(make(&ctx, root).await, Some(Code::Forbidden));
    assert_eq!(make(&admin, ada).await, Some(Code::Forbidden), "that would be to act as somebody else");
    assert_eq!(make(&world.anybody(), ada).await, Some(Code::Unauthenticated));
    assert_eq!(make(&world.operator(), ada).await, None);
    assert_eq!(make(&world.operator(), UserId(99)).await, Some(Code::NotFound));
    world.store.state().users[0].0.disabled = true;
    assert_eq!(make(&world.operator(), ada).await, Some(Code::NotFound));
}

#[tokio::test]
async fn tokens_are_listed_and_revoked_by_their_owner_and_by_those_who_manage_people() {
    let (world, ada, ctx) = world().await;
    world.person("bob", Role::Editor).await;
    let bob = world.bearing(&world.login("bob").await.access_token).await;
    world.person("root-of-all", Role::Administrator).await;
    let admin = world.bearing(&world.login("root-of-all").await.access_token).await;
    let mut secrets = Vec::new();
    for _ in 0..3 {
        secrets.push(world.identity.create_personal_token(&ctx, ada, "x", Scopes::all(), 1).await.unwrap());
    }
    for (caller, user, expected) in [
        (&ctx, Some(ada), None),
        (&ctx, None, Some(Code::Forbidden)),
        (&bob, Some(ada), Some(Code::Forbidden)),
        (&admin, Some(ada), None),
        (&admin, None, None),
        (&world.anybody(), Some(ada), Some(Code::Unauthenticated)),
    ] {
        assert_eq!(code(world.identity.personal_tokens(caller, user).await), expected, "{:?} {user:?}", caller.caller);
    }
    let bob_id = bob.caller.user_id();
    let id = |n: usize| secrets[n].0.id;
    assert_eq!(code(world.identity.revoke_personal_token(&bob, bob_id, id(0)).await), Some(Code::NotFound));
    assert_eq!(code(world.identity.revoke_personal_token(&bob, Some(ada), id(0)).await), Some(Code::Forbidden));
    assert!(world.accepts(&secrets[0].1).await);
    world.identity.revoke_personal_token(&ctx, Some(ada), id(0)).await.unwrap();
    world.identity.revoke_personal_token(&admin, None, id(1)).await.unwrap();
    assert!(!world.accepts(&secrets[0].1).await && !world.accepts(&secrets[1].1).await);
    assert!(world.accepts(&secrets[2].1).await);
    assert_eq!(code(world.identity.revoke_personal_token(&ctx, Some(ada), id(0)).await), Some(Code::NotFound));
    let audited = world.store.state().actions().iter().filter(|action| **action == "token.revoked").count();
    assert_eq!(audited, 2);
}

#[tokio::test]
async fn an_account_has_a_hundred_live_tokens_at_most() {
    let (world, ada, ctx) = world().await;
    let make = || world.identity.create_personal_token(&ctx, ada, "x", Scopes::all(), 1);
    for _ in 0..100 {
        make().await.unwrap();
    }
    assert_eq!(code(make().await), Some(Code::Conflict));
    world.identity.revoke_personal_token(&ctx, Some(ada), 1).await.unwrap();
    let once = || {
        let render: Render<PersonalToken> =
            Arc::new(|_| Ok(StoredAnswer { status: 201, headers: Vec::new(), body: Vec::new() }));
        let (scope, key, expires_at) = ("user:1".to_owned(), "last".to_owned(), world.clock.now() + HOUR);
        let key = Idempotency { scope, key, fingerprint: [0; 32], expires_at, render };
        world.identity.create_personal_token_once(&ctx, ada, "x", Scopes::all(), 1, Some(key))
    };
    assert!(matches!(once().await, Ok(Written::Done(_))));
    assert!(matches!(once().await, Ok(Written::Replayed(_))), "the last one that fitted can be repeated");
    assert_eq!(code(make().await), Some(Code::Conflict));
}
