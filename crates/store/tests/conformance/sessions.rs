//! Sessions and the rotation of their refresh tokens.

use inkstone_core::access::{Scope, Scopes};
use inkstone_core::identity::{Rotation, SecretHash, Session, SessionRepository};
use inkstone_core::users::{User, UserChange, UserId, UserKey, UserRepository};

use crate::bed::*;

conformance! {
    a_session_begins_and_is_found
    an_account_that_changed_since_it_proved_itself_gets_no_session
    a_token_is_used_up_by_its_rotation
    a_used_token_ends_its_family
    of_two_concurrent_rotations_one_wins_and_the_family_dies
    what_is_expired_or_unknown_is_refused
    a_token_never_outlives_its_session
    ending_is_for_ones_own_living_sessions
    logging_out_takes_the_token
    lists_show_the_living_newest_first
}

async fn begin(bed: &Bed, user: UserId, token: SecretHash) -> Session {
    let user = UserRepository::find(&bed.store, &ctx(), &UserKey::Id(user)).await.unwrap().unwrap();
    try_begin(bed, &user, token).await.unwrap()
}

async fn try_begin(bed: &Bed, user: &User, token: SecretHash) -> Option<Session> {
    let scopes = [Scope::Read, Scope::Posts].into_iter().collect();
    let (now, hour, day) = (bed.now(), bed.now() + secs(3600), bed.now() + secs(86_400));
    bed.store.begin(&ctx(), user, scopes, token, hour, day, now).await.unwrap()
}

async fn rotate(bed: &Bed, token: SecretHash, next: SecretHash) -> Rotation {
    bed.store.rotate(&ctx(), token, next, bed.now() + secs(3600), bed.now()).await.unwrap()
}

fn rotated(rotation: Rotation) -> (Session, User) {
    match rotation {
        Rotation::Rotated(pair) => *pair,
        other => panic!("{other:?}"),
    }
}

async fn live(bed: &Bed, session: i64) -> Option<(Session, User)> {
    SessionRepository::find_live(&bed.store, &ctx(), session, bed.now()).await.unwrap()
}

async fn actions(bed: &Bed) -> Vec<(String, String)> {
    let entries = bed.audit().await.into_iter().skip(1); // the account's own
    entries.map(|(actor, action, _)| (actor, action)).collect()
}

async fn a_session_begins_and_is_found(bed: Bed) {
    let ada = bed.user("ada").await;
    let session = begin(&bed, ada.id, [1; 32]).await;
    assert_eq!(session.scopes, [Scope::Posts, Scope::Read].into_iter().collect::<Scopes>());
    assert_eq!(live(&bed, session.id).await, Some((session.clone(), ada.clone())));
    assert_eq!(actions(&bed).await, [(format!("user:{}", ada.id), "login.succeeded".to_owned())]);
    bed.clock.advance(secs(86_400));
    assert_eq!(live(&bed, session.id).await, None);
    assert_eq!(live(&bed, 999).await, None);
}

async fn an_account_that_changed_since_it_proved_itself_gets_no_session(bed: Bed) {
    let proven = bed.user("ada").await;
    let password = UserChange { password_hash: Some("new".into()), ..UserChange::default() };
    let changed = bed.change_user(proven.id, password).await.unwrap();
    assert_eq!(try_begin(&bed, &proven, [1; 32]).await, None, "of an old password");
    let disabled =
        bed.change_user(proven.id, UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    for user in [&changed, &disabled] {
        assert_eq!(try_begin(&bed, user, [1; 32]).await, None, "of an account that was shut out");
    }
    assert!(actions(&bed).await.iter().all(|(_, action)| action != "login.succeeded"));
    assert!(matches!(rotate(&bed, [1; 32], [2; 32]).await, Rotation::Refused));
}

async fn a_token_is_used_up_by_its_rotation(bed: Bed) {
    let ada = bed.user("ada").await;
    let session = begin(&bed, ada.id, [1; 32]).await;
    bed.clock.advance(secs(900));
    let (seen, user) = rotated(rotate(&bed, [1; 32], [2; 32]).await);
    assert_eq!(seen, Session { last_used_at: bed.now(), ..session });
    assert_eq!(user, ada);
    assert_eq!(live(&bed, seen.id).await.unwrap().0, seen);
    rotated(rotate(&bed, [2; 32], [3; 32]).await);
    rotated(rotate(&bed, [3; 32], [4; 32]).await);
}

async fn a_used_token_ends_its_family(bed: Bed) {
    let ada = bed.user("ada").await;
    let session = begin(&bed, ada.id, [1; 32]).await;
    let other = begin(&bed, ada.id, [9; 32]).await;
    rotated(rotate(&bed, [1; 32], [2; 32]).await);
    let Rotation::Reused(ended) = rotate(&bed, [1; 32], [3; 32]).await else { panic!("not noticed") };
    assert_eq!((ended.id, ended.revoked_at), (session.id, Some(bed.now())));
    assert_eq!(rotate(&bed, [2; 32], [4; 32]).await, Rotation::Refused);
    assert_eq!(rotate(&bed, [3; 32], [5; 32]).await, Rotation::Refused, "nothing was given out");
    assert_eq!(live(&bed, session.id).await, None);
    assert!(live(&bed, other.id).await.is_some(), "another login is another family");
    assert_eq!(actions(&bed).await.last().unwrap().1, "refresh.reused");
}

async fn of_two_concurrent_rotations_one_wins_and_the_family_dies(bed: Bed) {
    let ada = bed.user("ada").await;
    for round in 0..8_u8 {
        let first = [round; 32];
        let session = begin(&bed, ada.id, first).await;
        let attempts: Vec<_> = [100 + round, 200 + round]
            .into_iter()
            .map(|next| {
                let (store, now) = (bed.store.clone(), bed.now());
                tokio::spawn(
                    async move { store.rotate(&ctx(), first, [next; 32], now + secs(3600), now).await.unwrap() },
                )
            })
            .collect();
        let (mut wins, mut reuses) = (0, 0);
        for attempt in attempts {
            match attempt.await.unwrap() {
                Rotation::Rotated(_) => wins += 1,
                Rotation::Reused(_) => reuses += 1,
                Rotation::Refused => {}
            }
        }
        assert_eq!((wins, reuses), (1, 1));
        assert_eq!(live(&bed, session.id).await, None);
        for next in [100 + round, 200 + round] {
            assert_eq!(rotate(&bed, [next; 32], [255; 32]).await, Rotation::Refused);
        }
    }
}

async fn what_is_expired_or_unknown_is_refused(bed: Bed) {
    let ada = bed.user("ada").await;
    let session = begin(&bed, ada.id, [1; 32]).await;
    assert_eq!(rotate(&bed, [9; 32], [2; 32]).await, Rotation::Refused);
    bed.clock.advance(secs(3600));
    assert_eq!(rotate(&bed, [1; 32], [2; 32]).await, Rotation::Refused, "the token has expired");
    assert!(live(&bed, session.id).await.is_some(), "which ends nothing");

    let session = begin(&bed, ada.id, [3; 32]).await;
    bed.change_user(ada.id, UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    assert_eq!(rotate(&bed, [3; 32], [4; 32]).await, Rotation::Refused);
    assert_eq!(live(&bed, session.id).await, None);
}

async fn a_token_never_outlives_its_session(bed: Bed) {
    let ada = bed.user("ada").await;
    begin(&bed, ada.id, [1; 32]).await;
    let far = bed.now() + secs(10 * 86_400);
    rotated(bed.store.rotate(&ctx(), [1; 32], [2; 32], far, bed.now()).await.unwrap());
    bed.clock.advance(secs(86_399));
    rotated(bed.store.rotate(&ctx(), [2; 32], [3; 32], far, bed.now()).await.unwrap());
    bed.clock.advance(secs(1));
    assert_eq!(rotate(&bed, [3; 32], [4; 32]).await, Rotation::Refused);
    assert_eq!(rotate(&bed, [1; 32], [4; 32]).await, Rotation::Refused, "a dead family has nothing to lose");
}

async fn ending_is_for_ones_own_living_sessions(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let session = begin(&bed, ada.id, [1; 32]).await;
    assert!(!bed.store.end(&ctx(), bob.id, session.id, bed.now()).await.unwrap());
    assert!(live(&bed, session.id).await.is_some());
    assert!(bed.store.end(&ctx(), ada.id, session.id, bed.now()).await.unwrap());
    assert!(!bed.store.end(&ctx(), ada.id, session.id, bed.now()).await.unwrap());
    assert_eq!(live(&bed, session.id).await, None);
    let ended = actions(&bed).await.into_iter().filter(|(_, action)| action == "session.ended").count();
    assert_eq!(ended, 1);
}

async fn logging_out_takes_the_token(bed: Bed) {
    let ada = bed.user("ada").await;
    let session = begin(&bed, ada.id, [1; 32]).await;
    assert!(!bed.store.end_by_token(&ctx(), [9; 32], bed.now()).await.unwrap());
    assert!(bed.store.end_by_token(&ctx(), [1; 32], bed.now()).await.unwrap());
    assert!(!bed.store.end_by_token(&ctx(), [1; 32], bed.now()).await.unwrap());
    assert_eq!(live(&bed, session.id).await, None);
    assert_eq!(rotate(&bed, [1; 32], [2; 32]).await, Rotation::Refused);
    assert_eq!(actions(&bed).await.last().unwrap().1, "logout");
}

async fn lists_show_the_living_newest_first(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let first = begin(&bed, ada.id, [1; 32]).await;
    let second = begin(&bed, ada.id, [2; 32]).await;
    let third = begin(&bed, ada.id, [3; 32]).await;
    begin(&bed, bob.id, [4; 32]).await;
    bed.store.end(&ctx(), ada.id, second.id, bed.now()).await.unwrap();
    let listed = SessionRepository::list(&bed.store, &ctx(), ada.id, bed.now()).await.unwrap();
    assert_eq!(listed, [third, first]);
}
