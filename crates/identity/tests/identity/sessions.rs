//! Sessions: refresh, reuse, ends.

use inkstone_core::Code;
use inkstone_core::access::{Role, Scope, Scopes};

use crate::world::{PASSWORD, World, code, days, secs};

async fn world() -> World {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    world
}

#[tokio::test]
async fn a_refresh_gives_the_next_pair_of_the_same_session_with_the_same_scopes() {
    let world = world().await;
    let narrow: Scopes = [Scope::Read, Scope::Posts].into_iter().collect();
    let first = world.identity.login(&world.anybody(), "ada", PASSWORD, Some(narrow), None).await.unwrap();
    assert_eq!((first.expires_in_secs, first.refresh_expires_in_secs), (900, 30 * 86_400));
    assert_eq!(first.scopes, narrow);
    world.clock.pass(secs(1000));
    let second = world.identity.refresh(&world.anybody(), &first.refresh_token).await.unwrap();
    assert_eq!((second.session, second.scopes, second.user), (first.session, narrow, first.user));
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_ne!(second.access_token, first.access_token);
    let who = world.identity.authenticate(&world.anybody(), &second.access_token).await.unwrap();
    assert_eq!(who.scopes, narrow);
    assert!(!format!("{second:?}").contains(&second.refresh_token), "secrets do not show in debug output");
}

#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_the_family_and_its_legitimate_successor() {
    let world = world().await;
    let other = world.login("ada").await;
    let first = world.login("ada").await;
    let second = world.identity.refresh(&world.anybody(), &first.refresh_token).await.unwrap();
    let third = world.identity.refresh(&world.anybody(), &second.refresh_token).await.unwrap();
    assert!(world.accepts(&third.access_token).await);

    assert_eq!(code(world.identity.refresh(&world.anybody(), &first.refresh_token).await), Some(Code::Unauthenticated));
    assert_eq!(code(world.identity.refresh(&world.anybody(), &third.refresh_token).await), Some(Code::Unauthenticated));
    for pair in [&first, &second, &third] {
        assert!(!world.accepts(&pair.access_token).await);
    }
    assert!(world.store.state().actions().contains(&"refresh.reused"));
    assert!(world.accepts(&other.access_token).await, "another session lives on");
    assert!(world.identity.refresh(&world.anybody(), &other.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_concurrent_refreshes_one_at_most_succeeds_and_the_family_ends() {
    let world = world().await;
    let pair = world.login("ada").await;
    let attempts: Vec<_> = (0..32)
        .map(|_| {
            let (world, token) = (world.clone(), pair.refresh_token.clone());
            tokio::spawn(async move { world.identity.refresh(&world.anybody(), &token).await })
        })
        .collect();
    let mut won = Vec::new();
    for attempt in attempts {
        won.extend(attempt.await.unwrap().ok());
    }
    assert_eq!(won.len(), 1);
    assert!(!world.accepts(&won[0].access_token).await);
    assert_eq!(
        code(world.identity.refresh(&world.anybody(), &won[0].refresh_token).await),
        Some(Code::Unauthenticated)
    );
}

#[tokio::test]
async fn a_session_ends_when_idle_and_at_the_latest_after_ninety_days() {
    let world = world().await;
    let idle = world.login("ada").await;
    world.clock.pass(days(30));
    assert_eq!(code(world.identity.refresh(&world.anybody(), &idle.refresh_token).await), Some(Code::Unauthenticated));

    let mut busy = world.login("ada").await;
    for _ in 0..3 {
        world.clock.pass(days(29));
        busy = world.identity.refresh(&world.anybody(), &busy.refresh_token).await.unwrap();
    }
    assert_eq!(busy.refresh_expires_in_secs, 3 * 86_400, "no token outlives its session");
    world.clock.pass(days(3).saturating_sub(secs(60)));
    busy = world.identity.refresh(&world.anybody(), &busy.refresh_token).await.unwrap();
    assert_eq!((busy.expires_in_secs, busy.refresh_expires_in_secs), (60, 60));
    world.clock.pass(secs(60));
    assert!(!world.accepts(&busy.access_token).await, "though the token's own leeway is not over");
    assert_eq!(code(world.identity.refresh(&world.anybody(), &busy.refresh_token).await), Some(Code::Unauthenticated));
}

#[tokio::test]
async fn people_see_and_end_their_own_sessions_only() {
    let world = world().await;
    world.person("bob", Role::Administrator).await;
    let (one, two, bobs) = (world.login("ada").await, world.login("ada").await, world.login("bob").await);
    let ada = world.bearing(&one.access_token).await;
    let ids: Vec<i64> = world.identity.sessions(&ada).await.unwrap().iter().map(|session| session.id).collect();
    assert_eq!(ids, [two.session, one.session]);

    assert_eq!(code(world.identity.end_session(&ada, bobs.session).await), Some(Code::NotFound));
    assert!(world.accepts(&bobs.access_token).await);
    world.identity.end_session(&ada, two.session).await.unwrap();
    assert!(!world.accepts(&two.access_token).await);
    assert_eq!(code(world.identity.refresh(&world.anybody(), &two.refresh_token).await), Some(Code::Unauthenticated));
    assert_eq!(code(world.identity.end_session(&ada, two.session).await), Some(Code::NotFound), "ended already");
    assert!(world.accepts(&one.access_token).await);
    assert_eq!(code(world.identity.sessions(&world.anybody()).await), Some(Code::Unauthenticated));
    assert_eq!(code(world.identity.end_session(&world.anybody(), one.session).await), Some(Code::Unauthenticated));
}

#[tokio::test]
async fn signing_out_twice_or_with_nonsense_is_no_error_and_ends_nothing_else() {
    let world = world().await;
    let (one, two) = (world.login("ada").await, world.login("ada").await);
    for token in [one.refresh_token.as_str(), one.refresh_token.as_str(), "", "ink_rt_x", two.access_token.as_str()] {
        world.identity.logout(&world.anybody(), token).await.unwrap();
    }
    assert!(!world.accepts(&one.access_token).await);
    assert!(world.accepts(&two.access_token).await);
}

#[tokio::test]
async fn a_disabled_account_cannot_refresh() {
    let world = world().await;
    let pair = world.login("ada").await;
    world.store.state().users[0].0.disabled = true;
    assert_eq!(code(world.identity.refresh(&world.anybody(), &pair.refresh_token).await), Some(Code::Unauthenticated));
}

#[tokio::test]
async fn only_hashes_of_secrets_reach_the_store() {
    let world = world().await;
    let pair = world.login("ada").await;
    let state = world.store.state();
    let hashes: Vec<String> = state.refresh.keys().map(|hash| format!("{hash:?}")).collect();
    assert_eq!(hashes.len(), 1);
    assert!(!hashes[0].contains(&format!("{:?}", &pair.refresh_token.as_bytes()[..32])));
    assert!(state.users[0].1.as_ref().unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}
