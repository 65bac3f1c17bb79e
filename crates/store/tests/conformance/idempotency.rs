//! Keys that keep a repeated request from repeating its effect.

use std::sync::Arc;

use inkstone_core::access::{Caller, Role, Scopes};
use inkstone_core::idempotency::{AnswerRepository, Idempotency, Render, StoredAnswer, Written};
use inkstone_core::identity::{NewPersonalToken, PersonalTokenRepository};
use inkstone_core::posts::{NewPost, Post, PostFilter, PostRepository};
use inkstone_core::users::{Bio, DisplayName, Handle, NewUser, User, UserChange, UserKey, UserRepository};
use inkstone_core::{Code, Error, Result, posts, users};

use crate::bed::*;

conformance! {
    the_same_request_is_answered_with_the_first_answer
    another_request_under_the_key_is_refused
    another_scope_is_another_key
    an_expired_key_is_free
    a_refused_request_uses_no_key_up
    an_answer_that_cannot_be_made_undoes_the_effect
    a_hundred_requests_with_one_key_make_one_post
    accounts_and_tokens_are_made_once_too
    an_answer_can_be_looked_up_before_the_effect_is_tried
}

fn key(bed: &Bed, fingerprint: u8) -> Idempotency<Post> {
    let render: Render<Post> = Arc::new(|post: &Post| {
        Ok(StoredAnswer {
            status: 201,
            headers: vec![("location".into(), format!("/posts/{}", post.id)), ("x-naïve".into(), "\"é\"".into())],
            body: vec![0, 255, b'x'],
        })
    });
    Idempotency {
        scope: "user:1".into(),
        key: "key".into(),
        fingerprint: [fingerprint; 32],
        expires_at: bed.now() + secs(60),
        render,
    }
}

async fn create(bed: &Bed, new: NewPost, key: Idempotency<Post>) -> Result<Written<Post>> {
    let permit = posts::policy::create(&Caller::Operator, new).unwrap();
    PostRepository::create(&bed.store, &ctx(), permit, Some(key)).await
}

async fn posts_in(bed: &Bed) -> u64 {
    PostRepository::count(&bed.store, &ctx(), &PostFilter::default()).await.unwrap()
}

async fn the_same_request_is_answered_with_the_first_answer(bed: Bed) {
    let ada = bed.user("ada").await;
    let post = done(create(&bed, bed.draft(ada.id), key(&bed, 1)).await.unwrap());
    let seq = bed.latest().await;
    let again = create(&bed, bed.draft(ada.id), key(&bed, 1)).await.unwrap();
    assert_eq!(again, Written::Replayed((key(&bed, 1).render)(&post).unwrap()));
    assert_eq!(posts_in(&bed).await, 1);
    assert_eq!(bed.latest().await, seq);
}

async fn another_request_under_the_key_is_refused(bed: Bed) {
    let ada = bed.user("ada").await;
    create(&bed, bed.draft(ada.id), key(&bed, 1)).await.unwrap();
    let error = create(&bed, bed.draft(ada.id), key(&bed, 2)).await.unwrap_err();
    assert_eq!(error.code(), Code::IdempotencyKeyReused);
    assert_eq!(posts_in(&bed).await, 1);
}

async fn another_scope_is_another_key(bed: Bed) {
    let ada = bed.user("ada").await;
    create(&bed, bed.draft(ada.id), key(&bed, 1)).await.unwrap();
    let other = Idempotency { scope: "user:2".into(), ..key(&bed, 2) };
    done(create(&bed, bed.draft(ada.id), other).await.unwrap());
    assert_eq!(posts_in(&bed).await, 2);
}

async fn an_expired_key_is_free(bed: Bed) {
    let ada = bed.user("ada").await;
    create(&bed, bed.draft(ada.id), key(&bed, 1)).await.unwrap();
    bed.clock.advance(secs(60));
    let second = done(create(&bed, bed.draft(ada.id), key(&bed, 2)).await.unwrap());
    let replayed = create(&bed, bed.draft(ada.id), key(&bed, 2)).await.unwrap();
    assert_eq!(replayed, Written::Replayed((key(&bed, 2).render)(&second).unwrap()), "the newer answer is kept");
}

async fn a_refused_request_uses_no_key_up(bed: Bed) {
    let ada = bed.user("ada").await;
    let mut bad = bed.draft(ada.id);
    bad.authors = vec![inkstone_core::users::UserId(999)];
    assert_eq!(create(&bed, bad, key(&bed, 1)).await.unwrap_err().code(), Code::Invalid);
    done(create(&bed, bed.draft(ada.id), key(&bed, 2)).await.unwrap());
}

async fn an_answer_that_cannot_be_made_undoes_the_effect(bed: Bed) {
    let ada = bed.user("ada").await;
    let seq = bed.latest().await;
    let broken = Idempotency { render: Arc::new(|_: &Post| Err(Error::internal("broken"))), ..key(&bed, 1) };
    assert_eq!(create(&bed, bed.draft(ada.id), broken).await.unwrap_err().code(), Code::Internal);
    assert_eq!(posts_in(&bed).await, 0);
    assert_eq!(bed.latest().await, seq);
}

async fn a_hundred_requests_with_one_key_make_one_post(bed: Bed) {
    let ada = bed.user("ada").await;
    let seq = bed.latest().await;
    let bed = Arc::new(bed);
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let bed = bed.clone();
            tokio::spawn(async move { create(&bed, bed.draft(ada.id), key(&bed, 1)).await.unwrap() })
        })
        .collect();
    let (mut posts, mut answers) = (Vec::new(), Vec::new());
    for request in requests {
        match request.await.unwrap() {
            Written::Done(post) => posts.push(post),
            Written::Replayed(answer) => answers.push(answer),
        }
    }
    assert_eq!((posts.len(), answers.len()), (1, 99));
    let expected = (key(&bed, 1).render)(&posts[0]).unwrap();
    assert!(answers.iter().all(|answer| *answer == expected));
    assert_eq!(posts_in(&bed).await, 1);
    assert_eq!(bed.kinds_after(seq).await, ["post.published"]);
}

/// The same key for something else.
fn key_for<T>(bed: &Bed, name: &str, status: u16) -> Idempotency<T> {
    Idempotency {
        scope: "user:1".into(),
        key: name.into(),
        fingerprint: [1; 32],
        expires_at: bed.now() + secs(60),
        render: Arc::new(move |_| Ok(StoredAnswer { status, headers: Vec::new(), body: Vec::new() })),
    }
}

fn kept<T>(status: u16) -> Written<T> {
    Written::Replayed(StoredAnswer { status, headers: Vec::new(), body: Vec::new() })
}

async fn accounts_and_tokens_are_made_once_too(bed: Bed) {
    let new = || NewUser {
        handle: Handle::from_name("ada"),
        email: None,
        display_name: DisplayName::try_from("Ada".to_owned()).unwrap(),
        role: Role::Administrator,
        password_hash: Some("hash".into()),
        created_at: bed.now(),
    };
    let make = async || {
        let permit = users::policy::create(&Caller::Operator, new()).unwrap();
        UserRepository::create(&bed.store, &ctx(), permit, true, Some(key_for(&bed, "first", 201))).await.unwrap()
    };
    let ada = done(make().await);
    assert_eq!(make().await, kept(201), "although nobody can be the first any more");

    let change = async |bio: &str| {
        let bio = Bio::try_from(bio.to_owned()).unwrap();
        let decide = Arc::new(move |user: &User| {
            let change = UserChange { bio: Some(bio.clone()), ..UserChange::default() };
            users::policy::change(&Caller::Operator, user, change)
        });
        let key = Some(key_for(&bed, "change", 204));
        UserRepository::change(&bed.store, &ctx(), ada.id, decide, key).await.unwrap()
    };
    let changed = done(change("One").await);
    assert_eq!(change("Two").await, kept(204));
    let found = UserRepository::find(&bed.store, &ctx(), &UserKey::Id(ada.id)).await.unwrap();
    assert_eq!(found, Some(changed));

    let token = |hash| NewPersonalToken {
        user: ada.id,
        name: "ci".into(),
        hint: "ink_ab".into(),
        hash: [hash; 32],
        scopes: Scopes::all(),
        expires_at: bed.now() + secs(60),
        created_at: bed.now(),
    };
    let make = async |hash| {
        let key = Some(key_for(&bed, "token", 201));
        PersonalTokenRepository::create(&bed.store, &ctx(), token(hash), key).await.unwrap()
    };
    done(make(1).await);
    assert_eq!(make(2).await, kept(201));
    assert_eq!(PersonalTokenRepository::list(&bed.store, &ctx(), None).await.unwrap().len(), 1);
}

async fn an_answer_can_be_looked_up_before_the_effect_is_tried(bed: Bed) {
    let ada = bed.user("ada").await;
    let find = async |scope: &str, fingerprint| {
        bed.store.find_answer(&ctx(), scope, "key", [fingerprint; 32]).await.map_err(|error| error.code())
    };
    assert_eq!(find("user:1", 1).await, Ok(None));
    let post = done(create(&bed, bed.draft(ada.id), key(&bed, 1)).await.unwrap());
    assert_eq!(find("user:1", 1).await, Ok(Some((key(&bed, 1).render)(&post).unwrap())));
    assert_eq!(find("user:1", 2).await, Err(Code::IdempotencyKeyReused));
    assert_eq!(find("user:2", 1).await, Ok(None));
    bed.clock.advance(secs(60));
    assert_eq!(find("user:1", 1).await, Ok(None));
}
