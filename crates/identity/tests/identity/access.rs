//! What is accepted as a bearer token, and everything that is not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inkstone_core::Code;
use inkstone_core::access::{Caller, Credential, Permission, Role, Scope, Scopes};
use inkstone_core::clock::{Clock as _, SystemEntropy};
use inkstone_core::identity::KeyState;
use inkstone_identity::tokens::SecretKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{World, code, parts, secs, signed, unsigned};

/// A world with one author who is signed in, and the parts of their access token.
async fn signed_in_author() -> (World, String, Value, Value) {
    let world = World::new().await;
    world.person("ada", Role::Author).await;
    let token = world.login("ada").await.access_token;
    let (header, claims) = parts(&token);
    (world, token, header, claims)
}

fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut changed = object.clone();
    changed[name] = value;
    changed
}

fn without(object: &Value, name: &str) -> Value {
    let mut changed = object.clone();
    changed.as_object_mut().unwrap().remove(name).unwrap();
    changed
}

#[tokio::test]
async fn an_access_token_has_the_form_of_rfc_9068_and_says_who_calls() {
    let (world, token, header, claims) = signed_in_author().await;
    let kid = world.store.state().keys.iter().find(|key| key.state == KeyState::Active).unwrap().kid.clone();
    assert_eq!(header, json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": kid }));
    let now = world.clock.now().as_second();
    let settings = world.identity.settings();
    let mut expected = json!({
        "iss": settings.issuer, "aud": settings.audience, "client_id": settings.client_id,
        "sub": "1", "sid": "1", "iat": now, "exp": now + 900,
        "scope": "read posts:write tags:write account users:write",
    });
    expected["jti"] = claims["jti"].clone();
    assert_eq!(claims, expected);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22, "128 bits");

    let who = world.identity.authenticate(&world.anybody(), &token).await.unwrap();
    assert_eq!((who.user.0, who.role, who.scopes), (1, Role::Author, Scopes::all()));
    assert_eq!(who.credential, Credential::Session(1));
    // What the other cases are made with is accepted when nothing is changed.
    assert!(world.accepts(&world.forge(KeyState::Active, &header, &claims)).await);
}

#[tokio::test]
async fn a_token_that_lacks_any_claim_or_has_another_value_is_refused() {
    let (world, _, header, claims) = signed_in_author().await;
    for name in claims.as_object().unwrap().keys() {
        let forged = world.forge(KeyState::Active, &header, &without(&claims, name));
        assert!(!world.accepts(&forged).await, "without {name}");
        for wrong in [Value::Null, json!([]), json!({}), json!(true)] {
            let forged = world.forge(KeyState::Active, &header, &with(&claims, name, wrong.clone()));
            assert!(!world.accepts(&forged).await, "{name} = {wrong}");
        }
    }
    let now = world.clock.now().as_second();
    let wrong = [
        ("iss", json!("https://elsewhere.example")),
        ("iss", json!(["http://127.0.0.1:8080"])),
        ("aud", json!("https://elsewhere.example")),
        ("aud", json!("")),
        ("aud", json!("http://127.0.0.1:8080")),
        ("sub", json!("2")),
        ("sub", json!("one")),
        ("sub", json!(1)),
        ("sid", json!("2")),
        ("sid", json!("")),
        ("jti", json!("")),
        ("client_id", json!("")),
        ("exp", json!(now - 31)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!("9999999999")),
        ("iat", json!(now + 31)),
        ("nbf", json!(now + 31)),
        ("nbf", json!("soon")),
    ];
    for (name, value) in wrong {
        let forged = world.forge(KeyState::Active, &header, &with(&claims, name, value.clone()));
        assert!(!world.accepts(&forged).await, "{name} = {value}");
    }
    let near = [("exp", now - 29), ("iat", now + 30), ("nbf", now + 30), ("nbf", now - 500)];
    for (name, value) in near {
        let forged = world.forge(KeyState::Active, &header, &with(&claims, name, json!(value)));
        assert!(world.accepts(&forged).await, "{name} = {value} is within the leeway");
    }
}

#[tokio::test]
async fn a_token_with_another_header_is_refused() {
    let (world, token, header, claims) = signed_in_author().await;
    let keys = world.store.state().keys.clone();
    let next_kid = keys.iter().find(|key| key.state == KeyState::Next).unwrap().kid.clone();
    let changed = [
        ("typ", json!("JWT")),
        ("typ", json!("")),
        ("typ", json!("id+jwt")),
        ("typ", json!("refresh+jwt")),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("alg", json!("eddsa")),
        ("kid", json!("")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("' or 1=1 --")),
        ("kid", json!(next_kid)),
        ("crit", json!(["exp"])),
        ("zip", json!("DEF")),
    ];
    for (name, value) in changed {
        let forged = world.forge(KeyState::Active, &with(&header, name, value.clone()), &claims);
        assert!(!world.accepts(&forged).await, "{name} = {value}");
    }
    for name in ["typ", "alg", "kid"] {
        let forged = world.forge(KeyState::Active, &without(&header, name), &claims);
        assert!(!world.accepts(&forged).await, "without {name}");
    }
    assert!(!world.accepts(&world.forge(KeyState::Next, &header, &claims)).await, "our other key under this id");
    let long_form = with(&header, "typ", json!("application/at+jwt"));
    assert!(world.accepts(&world.forge(KeyState::Active, &long_form, &claims)).await);
    assert!(world.accepts(&token).await);
}

#[tokio::test]
async fn no_signature_and_the_public_key_as_a_shared_secret_are_refused() {
    let (world, token, header, claims) = signed_in_author().await;
    let signature = token.rsplit_once('.').unwrap().1;
    for alg in ["none", "None", "NONE", "EdDSA"] {
        let message = unsigned(&with(&header, "alg", json!(alg)), &claims);
        assert!(!world.accepts(&format!("{message}.")).await, "{alg} without a signature");
        if alg != "EdDSA" {
            assert!(!world.accepts(&format!("{message}.{signature}")).await, "{alg} with one");
        }
    }
    let public = world.store.state().keys[0].public.clone();
    let message = unsigned(&with(&header, "alg", json!("HS256")), &claims);
    for secret in [public.clone(), URL_SAFE_NO_PAD.encode(&public).into_bytes()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
        assert!(!world.accepts(&format!("{message}.{tag}")).await);
    }
}

#[tokio::test]
async fn keys_that_a_header_offers_are_not_used() {
    let (world, _, header, claims) = signed_in_author().await;
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let pkcs8 = pair.to_pkcs8().unwrap();
    let public = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().to_vec();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&public), "kid": "mine" });
    let offers = [
        ("jwk", jwk),
        ("jku", json!("http://127.0.0.1:9/keys.json")),
        ("x5u", json!("http://127.0.0.1:9/cert.pem")),
        ("x5c", json!(["AAAA"])),
    ];
    for (name, value) in offers {
        for kid in [header["kid"].clone(), json!("mine"), json!(inkstone_identity::keys::thumbprint(&public))] {
            let offering = with(&with(&header, name, value.clone()), "kid", kid);
            assert!(!world.accepts(&signed(pkcs8.as_ref(), &offering, &claims)).await, "{name}");
        }
        // They are not used, which is not to say that they harm a token of ours.
        let ours = world.forge(KeyState::Active, &with(&header, name, value), &claims);
        assert!(world.accepts(&ours).await, "{name}");
    }
}

#[tokio::test]
async fn a_token_with_any_byte_changed_cut_or_added_is_refused() {
    let (world, token, header, claims) = signed_in_author().await;
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(!world.accepts(&String::from_utf8(changed).unwrap()).await, "byte {at}");
    }
    for cut in [0, 1, token.len() / 2, token.len() - 1] {
        assert!(!world.accepts(&token[..cut]).await, "cut at {cut}");
    }
    for added in [format!("{token}."), format!("{token}.a"), format!("{token}="), format!(" {token}"), "..".to_owned()]
    {
        assert!(!world.accepts(&added).await, "{added}");
    }
    let padded = with(&claims, "padding", json!("x".repeat(4096)));
    assert!(!world.accepts(&world.forge(KeyState::Active, &header, &padded)).await, "too long");
}

#[tokio::test]
async fn each_kind_of_token_is_good_for_its_own_purpose_only() {
    let (world, access, header, claims) = signed_in_author().await;
    let pair = world.login("ada").await;
    let owner = world.bearing(&access).await;
    let (_, personal) =
        world.identity.create_personal_token(&owner, claims_user(&claims), "ci", Scopes::all(), 30).await.unwrap();
    world.store.state().users[0].1 = None;
    let setup = world.identity.begin_setup(&world.operator()).await.unwrap().unwrap();
    let id_token = world.forge(KeyState::Active, &with(&header, "typ", json!("JWT")), &claims);
    // Secrets whose bodies are known to the store, dressed as another kind.
    let relabel = |secret: &str, from: SecretKind, to: SecretKind| secret.replacen(from.prefix(), to.prefix(), 1);
    let dressed_refresh = relabel(&pair.refresh_token, SecretKind::Refresh, SecretKind::Personal);
    let dressed_personal = relabel(&personal, SecretKind::Personal, SecretKind::Refresh);
    let made_up = SecretKind::Personal.mint(&SystemEntropy).unwrap().0;

    let table = [
        // token, bearer, refresh, set-up
        ("access", &access, true, false, false),
        ("personal", &personal, true, false, false),
        ("id token", &id_token, false, false, false),
        ("dressed refresh", &dressed_refresh, false, false, false),
        ("dressed personal", &dressed_personal, false, false, false),
        ("made up", &made_up, false, false, false),
        ("setup", &setup, false, false, true),
        ("refresh", &pair.refresh_token, false, true, false),
    ];
    for (name, token, is_bearer, is_refresh, is_setup) in table {
        assert_eq!(world.accepts(token).await, is_bearer, "{name} as bearer");
        let refreshed = world.identity.refresh(&world.anybody(), token).await;
        assert_eq!(refreshed.is_ok(), is_refresh, "{name} as refresh token");
        if !is_refresh {
            assert_eq!(code(refreshed), Some(Code::Unauthenticated), "{name} as refresh token");
        }
        let first = inkstone_identity::FirstAdministrator::default();
        let expected = if is_setup { Code::Invalid } else { Code::Unauthenticated };
        let answer = world.identity.complete_setup(&world.anybody(), token, first).await;
        assert_eq!(code(answer), Some(expected), "{name} as set-up secret");
    }
}

fn claims_user(claims: &Value) -> inkstone_core::users::UserId {
    inkstone_core::users::UserId(claims["sub"].as_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn an_access_token_ends_in_time_with_its_session_and_with_its_account() {
    let (world, token, ..) = signed_in_author().await;
    world.clock.pass(secs(900 + 29));
    assert!(world.accepts(&token).await, "within the leeway");
    world.clock.pass(secs(1));
    assert!(!world.accepts(&token).await, "expired");

    let pair = world.login("ada").await;
    world.identity.logout(&world.anybody(), &pair.refresh_token).await.unwrap();
    assert!(!world.accepts(&pair.access_token).await, "signed out");

    let token = world.login("ada").await.access_token;
    world.store.state().users[0].0.role = Role::Reader;
    let who = world.identity.authenticate(&world.anybody(), &token).await.unwrap();
    assert_eq!(who.role, Role::Reader, "the role of this moment");
    world.store.state().users[0].0.disabled = true;
    assert!(!world.accepts(&token).await, "disabled");
}

#[tokio::test]
async fn a_token_for_somebody_elses_session_is_refused() {
    let (world, _, header, claims) = signed_in_author().await;
    world.person("bob", Role::Administrator).await;
    world.login("bob").await;
    assert!(!world.accepts(&world.forge(KeyState::Active, &header, &with(&claims, "sid", json!("2")))).await);
    assert!(!world.accepts(&world.forge(KeyState::Active, &header, &with(&claims, "sub", json!("2")))).await);
}

const PERMISSIONS: [Permission; 7] = [
    Permission::AccountManage,
    Permission::PostDraftOwn,
    Permission::PostPublishOwn,
    Permission::PostManageAny,
    Permission::TagCreate,
    Permission::TagManage,
    Permission::UserManage,
];

fn scopes() -> impl Strategy<Value = Scopes> {
    proptest::sample::subsequence(Scope::ALL.to_vec(), 0..=Scope::ALL.len()).prop_map(|s| s.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever scopes a session has, a token claims, or a personal token carries: nobody can do
    /// more than their role allows, nor more than each scope set on the way allows.
    #[test]
    fn scopes_only_narrow(role in proptest::sample::select(Role::ALL.to_vec()), session in scopes(), claimed in scopes()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let user = world.add("ada", role, None);
            let (secret, hash) = SecretKind::Personal.mint(&SystemEntropy).unwrap();
            let now = world.clock.now();
            let later = now + jiff::SignedDuration::from_hours(1);
            let ctx = world.operator();
            let sessions: &dyn inkstone_core::identity::SessionRepository = &*world.store;
            let owner = world.store.state().users[0].0.clone();
            sessions.begin(&ctx, &owner, session, [1; 32], later, later, now).await.unwrap().unwrap();
            let new = inkstone_core::identity::NewPersonalToken {
                user, name: "x".to_owned(), hint: "x".to_owned(), hash, scopes: claimed, expires_at: later, created_at: now,
            };
            let tokens: &dyn inkstone_core::identity::PersonalTokenRepository = &*world.store;
            tokens.create(&ctx, new, None).await.unwrap();

            let kid = world.store.state().keys.iter().find(|key| key.state == KeyState::Active).unwrap().kid.clone();
            let settings = world.identity.settings();
            let access = world.forge(KeyState::Active, &json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": kid }), &json!({
                "iss": settings.issuer, "aud": settings.audience, "client_id": "x", "jti": "x", "sub": "1", "sid": "1",
                "iat": now.as_second(), "exp": now.as_second() + 60,
                "scope": format!("{} unheard-of", claimed.to_text()),
            }));
            for (token, allowed) in [(access, session.intersection(claimed)), (secret, claimed)] {
                let who = world.identity.authenticate(&world.anybody(), &token).await.unwrap();
                assert_eq!(who.scopes, allowed);
                let caller = Caller::User(who);
                for permission in PERMISSIONS {
                    let expected = role.permissions().contains(&permission) && allowed.contains(permission.scope());
                    assert_eq!(caller.can(permission), expected, "{permission:?}");
                }
            }
        });
    }
}
