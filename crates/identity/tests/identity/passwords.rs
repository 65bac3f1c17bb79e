//! Signing in with a password: rules, one answer for everything, throttling, the bounded pool.

use inkstone_core::access::{Role, Scopes};
use inkstone_core::clock::Clock as _;
use inkstone_core::idempotency::{Idempotency, StoredAnswer, Written};
use inkstone_core::users::{User, UserId};
use inkstone_core::{Code, Context, Deadline, Error, FaultCode};
use inkstone_identity::{HashingSettings, IdentitySettings, PasswordContext};

use crate::world::{PASSWORD, World, code, days, secs, signed_in};

const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.7";

/// A hash of [`PASSWORD`] with less work than is wanted today.
fn weak_hash() -> String {
    use argon2::password_hash::PasswordHasher as _;
    let params = argon2::Params::new(8192, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password_with_salt(PASSWORD.as_bytes(), b"some salt, fixed").unwrap().to_string()
}

#[tokio::test]
async fn whatever_is_wrong_the_answer_and_the_work_are_the_same() {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    let disabled = world.person("gone", Role::Author).await;
    world.store.state().users.iter_mut().find(|(user, _)| user.id == disabled).unwrap().0.disabled = true;
    world.add("imported", Role::Author, None);
    world.add("broken", Role::Author, Some("not a hash".to_owned()));
    let long = "x".repeat(2000);
    let cases = [
        ("ada", "plum gravel sextant twenty"),
        ("ada", ""),
        ("ada", &long),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("a\0b", PASSWORD),
        (&long, PASSWORD),
        ("gone", PASSWORD),
        ("imported", PASSWORD),
        ("imported", ""),
        ("broken", PASSWORD),
    ];
    let mut answers = Vec::new();
    for (number, (login, password)) in cases.into_iter().enumerate() {
        let before = world.identity.hashing_stats().verified;
        let address = Some(format!("192.0.2.{number}").parse().unwrap());
        let error = world.identity.login(&world.anybody(), login, password, None, address).await.unwrap_err();
        assert_eq!(world.identity.hashing_stats().verified, before + 1, "{login}");
        assert_eq!(world.store.state().actions().last(), Some(&"login.failed"));
        answers.push(format!("{error:?}"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let before = world.identity.hashing_stats().verified;
    world.login("ada").await;
    assert_eq!(world.identity.hashing_stats().verified, before + 1, "a success costs the same");
    assert_eq!(world.identity.hashing_stats().in_use, 0, "every turn was given back");
}

#[tokio::test]
async fn people_sign_in_with_their_handle_or_their_address_in_any_case() {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    for login in ["ada", "ADA", "ada@example.org", "Ada@EXAMPLE.org", " ada "] {
        assert_eq!(world.login_code(login, PASSWORD, HOME).await, None, "{login}");
    }
    assert_eq!(world.login_code("ada", &PASSWORD.to_uppercase(), HOME).await, Some(Code::BadCredentials));
    assert_eq!(world.login_code("ada", &format!("{PASSWORD} "), HOME).await, Some(Code::BadCredentials));
}

/// The seconds to wait after each of `count` wrong passwords, each tried as soon as allowed.
async fn schedule(world: &World, login: &str, address: &str, count: u32) -> Vec<u64> {
    let mut waits = Vec::new();
    let mut attempts = 0;
    while attempts < count {
        let before = world.identity.hashing_stats().verified;
        let address = Some(address.parse().unwrap());
        let error = world.identity.login(&world.anybody(), login, "wrong", None, address).await.unwrap_err();
        let looked_at = world.identity.hashing_stats().verified - before;
        if let Error::TryLater { code: Code::RateLimited, retry_after, .. } = error {
            assert_eq!(looked_at, 0, "a blocked attempt is not looked at");
            *waits.last_mut().unwrap() = retry_after.as_secs();
            world.clock.pass(retry_after);
        } else {
            assert_eq!((error.code(), looked_at), (Code::BadCredentials, 1));
            waits.push(0);
            attempts += 1;
        }
    }
    waits
}

#[tokio::test]
async fn failures_cost_more_and_more_time_for_known_and_unknown_logins_alike() {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    let expected = [0, 0, 0, 0, 0, 60, 120, 240, 480, 960, 1920, 3840, 7680, 0];
    assert_eq!(schedule(&world, "ada", HOME, 14).await, expected);
    assert_eq!(schedule(&world, "nobody", ELSEWHERE, 14).await, expected);
    let actions = world.store.state().actions().iter().filter(|action| **action == "login.blocked").count();
    assert_eq!(actions, 18, "one entry for each block");
}

#[tokio::test]
async fn the_owner_signs_in_from_elsewhere_while_somebody_guesses_and_after_waiting_at_home() {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    for _ in 0..6 {
        assert_eq!(world.login_code("ada", "wrong", ELSEWHERE).await, Some(Code::BadCredentials));
    }
    assert_eq!(world.login_code("ada", PASSWORD, ELSEWHERE).await, Some(Code::RateLimited), "even the right one");
    assert_eq!(world.login_code("ada", PASSWORD, HOME).await, None);
    world.clock.pass(secs(59));
    assert_eq!(world.login_code("ada", PASSWORD, ELSEWHERE).await, Some(Code::RateLimited));
    world.clock.pass(secs(1));
    assert_eq!(world.login_code("ada", PASSWORD, ELSEWHERE).await, None);
    for _ in 0..5 {
        assert_eq!(world.login_code("ada", "wrong", ELSEWHERE).await, Some(Code::BadCredentials), "counted afresh");
    }
}

#[tokio::test]
async fn spraying_many_logins_from_one_address_is_blocked_and_own_success_does_not_help() {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    for number in 0..51 {
        let login = format!("victim-{number}");
        assert_eq!(world.login_code(&login, "wrong", HOME).await, Some(Code::BadCredentials), "{number}");
        if number == 40 {
            assert_eq!(world.login_code("ada", PASSWORD, HOME).await, None);
        }
    }
    assert_eq!(world.login_code("victim-51", "wrong", HOME).await, Some(Code::RateLimited));
    assert_eq!(world.login_code("victim-51", "wrong", ELSEWHERE).await, Some(Code::BadCredentials));
}

#[tokio::test]
async fn many_addresses_together_get_at_most_a_hundred_guesses_a_day_at_one_account() {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    let start = world.identity.hashing_stats().verified;
    // By handle and by e-mail address, from ever new addresses, for a day.
    for number in 0_u32..1440 {
        for login in ["ada", "ada@example.org"] {
            let address = format!("10.{}.{}.{}", login.len(), number / 256, number % 256);
            assert!(world.login_code(login, "wrong", &address).await.is_some());
        }
        world.clock.pass(secs(60));
    }
    let guesses = world.identity.hashing_stats().verified - start;
    assert!((40..=100).contains(&guesses), "{guesses}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_at_once_gets_no_more_guesses_than_one_after_the_other() {
    let hashing = HashingSettings { workers: 2, queue: 500, ..HashingSettings::default() };
    let world = World::with(IdentitySettings { hashing, ..IdentitySettings::default() }).await;
    world.person("ada", Role::Author).await;
    let before = world.identity.hashing_stats().verified;
    let flood: Vec<_> = (0..300)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.login_code("ada", "wrong", HOME).await })
        })
        .collect();
    for attempt in flood {
        assert!(matches!(attempt.await.unwrap(), Some(Code::BadCredentials | Code::RateLimited)));
    }
    let guesses = world.identity.hashing_stats().verified - before;
    assert!((6..=7).contains(&guesses), "{guesses}: six, and one that was being looked at meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_sheds_and_a_passed_deadline_is_not_worked_for() {
    let hashing = HashingSettings { workers: 1, queue: 1, ..HashingSettings::default() };
    let world = World::with(IdentitySettings { hashing, ..IdentitySettings::default() }).await;
    world.person("ada", Role::Author).await;
    let flood: Vec<_> = (0..40)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let address = Some(format!("10.0.0.{number}").parse().unwrap());
                world.identity.login(&world.anybody(), "ada", PASSWORD, None, address).await
            })
        })
        .collect();
    let (mut in_time, mut shed) = (0, 0);
    for attempt in flood {
        match attempt.await.unwrap() {
            Ok(_) => in_time += 1,
            Err(Error::TryLater { code: Code::Overloaded, retry_after, .. }) => {
                assert!(retry_after >= secs(1));
                shed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(in_time >= 1 && shed >= 1, "{in_time} in time, {shed} shed");
    assert_eq!(world.identity.hashing_stats().in_use, 0);

    let late = Context { deadline: Deadline::at(world.clock.instant()), ..world.anybody() };
    let before = world.identity.hashing_stats();
    let answer = world.identity.login(&late, "ada", PASSWORD, None, None).await;
    assert_eq!(code(answer), Some(Code::DeadlineExceeded));
    assert_eq!(world.identity.hashing_stats(), before);
}

#[tokio::test]
async fn a_weaker_hash_is_replaced_when_its_owner_signs_in() {
    let world = World::new().await;
    world.add("ada", Role::Author, Some(weak_hash()));
    assert_eq!(world.login_code("ada", "wrong", HOME).await, Some(Code::BadCredentials));
    assert_eq!(world.store.state().users[0].1, Some(weak_hash()), "not for a wrong one");
    let session = world.login("ada").await;
    let stronger = world.store.state().users[0].1.clone().unwrap();
    assert!(stronger.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stronger}");
    assert!(world.accepts(&session.access_token).await);
    world.login("ada").await;
    assert_eq!(world.store.state().users[0].1, Some(stronger), "once");
}

#[tokio::test]
async fn passwords_that_share_a_hundred_bytes_differ_and_composed_is_decomposed() {
    let world = World::new().await;
    let long = format!("{}first", "é plum gravel ".repeat(7) + "and a tail: ");
    assert!(long.len() > 100);
    let hash = async |password: &str| {
        world.identity.hash_password(&world.operator(), password, PasswordContext::default()).await.unwrap()
    };
    let first = hash(&long).await;
    world.add("long", Role::Author, Some(first));
    let other = long.replace("first", "other");
    assert_eq!(long[..100], other[..100]);
    assert_eq!(world.login_code("long", &other, HOME).await, Some(Code::BadCredentials));
    assert_eq!(world.login_code("long", &long[..100], HOME).await, Some(Code::BadCredentials));
    assert_eq!(world.login_code("long", &long, HOME).await, None);

    let (composed, decomposed) = ("caf\u{e9} gravel sextant", "cafe\u{301} gravel sextant");
    let hashed = hash(composed).await;
    world.add("composed", Role::Author, Some(hashed));
    let hashed = hash(decomposed).await;
    world.add("decomposed", Role::Author, Some(hashed));
    for handle in ["composed", "decomposed"] {
        for password in [composed, decomposed] {
            assert_eq!(world.login_code(handle, password, HOME).await, None, "{handle} {password:?}");
        }
        assert_eq!(world.login_code(handle, "cafe gravel sextant", HOME).await, Some(Code::BadCredentials));
    }
    let spaced = "  spaces at both ends \0 and NUL  ";
    let hashed = hash(spaced).await;
    world.add("spaced", Role::Author, Some(hashed));
    assert_eq!(world.login_code("spaced", spaced, HOME).await, None);
    assert_eq!(world.login_code("spaced", spaced.trim(), ELSEWHERE).await, Some(Code::BadCredentials));
}

#[tokio::test]
async fn one_changes_ones_own_password_with_the_current_one_and_every_session_ends() {
    let world = World::new().await;
    world.person("ada", Role::Reader).await;
    let (one, two) = (world.login("ada").await, world.login("ada").await);
    let ctx = world.bearing(&one.access_token).await;
    let change = |current: &'static str, new: &'static str| {
        world.identity.change_password(&ctx, current, new, Some(HOME.parse().unwrap()), None)
    };
    let new = "quarry lantern oblique ninety";
    assert_eq!(code(change("wrong", new).await), Some(Code::BadCredentials));
    let answer = change(PASSWORD, "too short").await;
    let Err(Error::Invalid(faults)) = answer else { panic!("{answer:?}") };
    assert_eq!((faults[0].pointer.as_str(), faults[0].code), ("/password", FaultCode::TooShort));
    assert_eq!(code(change(PASSWORD, "ada the tester!!").await), Some(Code::Invalid));
    assert!(world.accepts(&two.access_token).await, "nothing has happened yet");

    change(PASSWORD, new).await.unwrap();
    for pair in [&one, &two] {
        assert!(!world.accepts(&pair.access_token).await);
        assert!(world.identity.refresh(&world.anybody(), &pair.refresh_token).await.is_err());
    }
    assert_eq!(world.login_code("ada", PASSWORD, HOME).await, Some(Code::BadCredentials));
    assert_eq!(world.login_code("ada", new, HOME).await, None);
}

#[tokio::test]
async fn wrong_current_passwords_are_throttled_like_sign_ins() {
    let world = World::new().await;
    let ada = world.person("ada", Role::Reader).await;
    let ctx = world.ctx(signed_in(ada, Role::Reader, Scopes::all()));
    let address = Some(HOME.parse().unwrap());
    let change = || world.identity.change_password(&ctx, "wrong", "quarry lantern oblique ninety", address, None);
    for _ in 0..6 {
        assert_eq!(code(change().await), Some(Code::BadCredentials));
    }
    assert_eq!(code(change().await), Some(Code::RateLimited));
    assert_eq!(world.login_code("ada", PASSWORD, HOME).await, Some(Code::RateLimited), "one counter for both ways");
}

#[tokio::test]
async fn who_may_not_change_passwords() {
    let world = World::new().await;
    let ada = world.person("ada", Role::Administrator).await;
    let (_, secret) =
        world.identity.create_personal_token(&world.operator(), ada, "x", Scopes::all(), 1).await.unwrap();
    let token = world.bearing(&secret).await;
    let session = world.bearing(&world.login("ada").await.access_token).await;
    let narrow = world.ctx(signed_in(ada, Role::Administrator, Scopes::default()));
    let new = "quarry lantern oblique ninety";
    for (ctx, expected) in [
        (&token, Code::Forbidden),
        (&narrow, Code::InsufficientScope),
        (&world.operator(), Code::Forbidden),
        (&world.anybody(), Code::Unauthenticated),
    ] {
        let answer = world.identity.change_password(ctx, PASSWORD, new, None, None).await;
        assert_eq!(code(answer), Some(expected), "{:?}", ctx.caller);
    }
    for ctx in [&token, &session, &world.anybody()] {
        assert_eq!(code(world.identity.set_password(ctx, ada, new).await), Some(Code::Forbidden));
    }
    world.login("ada").await;
}

#[tokio::test]
async fn the_operator_sets_passwords_and_thereby_lets_people_in_again() {
    let world = World::new().await;
    let ada = world.person("ada", Role::Reader).await;
    let before = world.login("ada").await;
    for number in 0..21 {
        let address = format!("10.0.0.{number}");
        assert_eq!(world.login_code("ada", "wrong", &address).await, Some(Code::BadCredentials));
    }
    assert_eq!(world.login_code("ada", PASSWORD, HOME).await, Some(Code::RateLimited), "from everywhere");
    let new = "quarry lantern oblique ninety";
    world.identity.set_password(&world.operator(), ada, new).await.unwrap();
    assert_eq!(world.login_code("ada", new, HOME).await, None);
    assert!(!world.accepts(&before.access_token).await);
    let operator = world.operator();
    assert_eq!(code(world.identity.set_password(&operator, UserId(9), new).await), Some(Code::NotFound));
    assert_eq!(code(world.identity.set_password(&operator, ada, "password12345678").await), Some(Code::Invalid));
}

#[tokio::test]
async fn a_password_is_never_too_old() {
    let world = World::new().await;
    world.person("ada", Role::Reader).await;
    world.clock.pass(days(3650));
    world.login("ada").await;
}

fn key(world: &World, name: &str) -> Idempotency<User> {
    Idempotency {
        scope: "user:1".to_owned(),
        key: name.to_owned(),
        fingerprint: [0; 32],
        expires_at: world.clock.now() + jiff::SignedDuration::from_hours(24),
        render: std::sync::Arc::new(|_| Ok(StoredAnswer { status: 204, headers: Vec::new(), body: Vec::new() })),
    }
}

#[tokio::test]
async fn a_change_that_is_repeated_under_its_key_is_confirmed_and_no_other_is() {
    let world = World::new().await;
    world.person("ada", Role::Reader).await;
    let address = Some(HOME.parse().unwrap());
    let (new, other) = ("quarry lantern oblique ninety", "another phrase of nobodys making");
    let ctx = world.bearing(&world.login("ada").await.access_token).await;
    let first = world.identity.change_password(&ctx, PASSWORD, new, address, Some(key(&world, "one"))).await.unwrap();
    assert_eq!(first, Written::Done(()));
    let hash = world.store.state().users[0].1.clone();

    // The session is gone; whoever knows the new password comes again.
    let pair = world.identity.login(&world.anybody(), "ada", new, None, address).await.unwrap();
    let ctx = world.bearing(&pair.access_token).await;
    let change =
        |new: &'static str, name| world.identity.change_password(&ctx, PASSWORD, new, address, Some(key(&world, name)));
    assert!(matches!(change(new, "one").await, Ok(Written::Replayed(answer)) if answer.status == 204));
    assert_eq!(world.store.state().users[0].1, hash, "nothing was changed again");
    // It tells whether a password is right, so it is as slow and as limited as a sign-in.
    for _ in 0..6 {
        assert_eq!(code(change(other, "one").await), Some(Code::IdempotencyKeyReused));
    }
    assert_eq!(code(change(new, "one").await), Some(Code::RateLimited));
    let kept = format!("{:?}", world.store.state().answers);
    assert!(!kept.contains(new) && !kept.contains(PASSWORD));
}
