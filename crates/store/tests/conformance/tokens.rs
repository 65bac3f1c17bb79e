//! Personal access tokens.

use inkstone_core::Code;
use inkstone_core::access::{Scope, Scopes};
use inkstone_core::identity::{NewPersonalToken, PersonalToken, PersonalTokenRepository};
use inkstone_core::users::{User, UserId};

use crate::bed::*;

conformance! {
    a_token_is_found_by_its_hash_while_it_lives
    revoking_is_for_the_owner_or_for_everybodys
    use_is_noted
    lists_are_newest_first
    a_token_needs_an_account
}

fn new_token(bed: &Bed, user: UserId, hash: u8) -> NewPersonalToken {
    NewPersonalToken {
        user,
        name: "Continuous integration".into(),
        hint: "ink_1234".into(),
        hash: [hash; 32],
        scopes: [Scope::Read, Scope::Tags].into_iter().collect::<Scopes>(),
        expires_at: bed.now() + secs(3600),
        created_at: bed.now(),
    }
}

async fn create(bed: &Bed, user: UserId, hash: u8) -> PersonalToken {
    PersonalTokenRepository::create(&bed.store, &ctx(), new_token(bed, user, hash), None).await.map(done).unwrap()
}

async fn find(bed: &Bed, hash: u8) -> Option<(PersonalToken, User)> {
    PersonalTokenRepository::find_live(&bed.store, &ctx(), [hash; 32], bed.now()).await.unwrap()
}

async fn revoke(bed: &Bed, user: Option<UserId>, id: i64) -> bool {
    PersonalTokenRepository::revoke(&bed.store, &ctx(), user, id, bed.now()).await.unwrap()
}

async fn a_token_is_found_by_its_hash_while_it_lives(bed: Bed) {
    let ada = bed.user("ada").await;
    let token = create(&bed, ada.id, 1).await;
    assert_eq!(find(&bed, 1).await, Some((token, ada)));
    assert_eq!(find(&bed, 2).await, None);
    bed.clock.advance(secs(3600));
    assert_eq!(find(&bed, 1).await, None);
    let (_, action, subject) = bed.audit().await.pop().unwrap();
    assert_eq!((action.as_str(), subject.as_str()), ("token.created", "user:1"));
}

async fn revoking_is_for_the_owner_or_for_everybodys(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let (first, second) = (create(&bed, ada.id, 1).await, create(&bed, ada.id, 2).await);
    assert!(!revoke(&bed, Some(bob.id), first.id).await);
    assert!(!revoke(&bed, None, 99).await);
    assert!(find(&bed, 1).await.is_some());
    let audit = bed.audit().await.len();
    assert!(revoke(&bed, Some(ada.id), first.id).await);
    assert!(!revoke(&bed, Some(ada.id), first.id).await);
    assert!(revoke(&bed, None, second.id).await);
    assert_eq!((find(&bed, 1).await, find(&bed, 2).await), (None, None));
    assert_eq!(bed.audit().await.len(), audit + 2);
}

async fn use_is_noted(bed: Bed) {
    let ada = bed.user("ada").await;
    let token = create(&bed, ada.id, 1).await;
    assert_eq!(token.last_used_at, None);
    bed.clock.advance(secs(60));
    PersonalTokenRepository::touch(&bed.store, &ctx(), token.id, bed.now()).await.unwrap();
    assert_eq!(find(&bed, 1).await.unwrap().0.last_used_at, Some(bed.now()));
}

async fn lists_are_newest_first(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let (first, second, third) =
        (create(&bed, ada.id, 1).await, create(&bed, bob.id, 2).await, create(&bed, ada.id, 3).await);
    let list = |user| {
        let store = bed.store.clone();
        async move { PersonalTokenRepository::list(&store, &ctx(), user).await.unwrap() }
    };
    assert_eq!(list(Some(ada.id)).await, [third.clone(), first.clone()]);
    assert_eq!(list(None).await, [third, second, first]);
}

async fn a_token_needs_an_account(bed: Bed) {
    let made = PersonalTokenRepository::create(&bed.store, &ctx(), new_token(&bed, UserId(9), 1), None).await;
    let error = made.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}
