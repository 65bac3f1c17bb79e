//! Accounts.

use std::sync::Arc;

use inkstone_core::access::{Role, Scopes};
use inkstone_core::events::Entity;
use inkstone_core::identity::{NewPersonalToken, PasswordRepository, PersonalTokenRepository, SessionRepository};
use inkstone_core::users::{
    Bio, DisplayName, Email, Handle, NewUser, User, UserChange, UserId, UserKey, UserRepository, WebUrl,
};
use inkstone_core::{Code, Error, FaultCode};
use inkstone_store::db::Statement;
use serde_json::{Value as Json, json};

use crate::bed::*;

conformance! {
    what_is_created_is_found_under_every_key
    handles_and_addresses_are_unique
    a_change_that_changes_nothing_leaves_no_trace
    a_change_names_the_profile_only_if_it_shows
    the_first_account_is_made_once
    disabling_ends_sessions_and_tokens
    the_audit_log_tells_who_became_what
    a_new_password_ends_sessions_only
    lists_show_public_profiles_or_all
    refused_changes_leave_no_trace
}

fn new_user(bed: &Bed, handle: &str, email: Option<&str>, hash: Option<&str>) -> NewUser {
    NewUser {
        handle: Handle::try_from(handle.to_owned()).unwrap(),
        email: email.map(|email| Email::try_from(email.to_owned()).unwrap()),
        display_name: DisplayName::try_from("Ada L.".to_owned()).unwrap(),
        role: Role::Author,
        password_hash: hash.map(str::to_owned),
        created_at: bed.now(),
    }
}

async fn find(bed: &Bed, key: UserKey) -> Option<User> {
    UserRepository::find(&bed.store, &ctx(), &key).await.unwrap()
}

async fn what_is_created_is_found_under_every_key(bed: Bed) {
    let created = bed.store.create_user(new_user(&bed, "ada", Some("Ada@Example.org"), None), false).await.unwrap();
    assert_eq!(created.email.as_ref().unwrap().as_str(), "Ada@Example.org");
    for key in [UserKey::Id(created.id), UserKey::Handle("ada".into()), UserKey::Email("ada@example.org".into())] {
        assert_eq!(find(&bed, key).await.as_ref(), Some(&created));
    }
    for key in [UserKey::Id(UserId(99)), UserKey::Handle("Ada".into()), UserKey::Email("Ada@Example.org".into())] {
        assert_eq!(find(&bed, key).await, None);
    }
    let events = bed.events_after(0).await;
    assert_eq!(events.len(), 1);
    assert!(same_entities(&events[0].entities, &[Entity::User(created.id), Entity::Users]));
}

async fn handles_and_addresses_are_unique(bed: Bed) {
    let ada = bed.store.create_user(new_user(&bed, "ada", Some("ada@example.org"), None), false).await.unwrap();
    let error = bed.store.create_user(new_user(&bed, "ada", Some("ADA@example.org"), None), false).await.unwrap_err();
    let both = [("/handle".to_owned(), FaultCode::Taken), ("/email".to_owned(), FaultCode::Taken)];
    assert_eq!(faults(&error), both);

    let bob = bed.user("bob").await;
    let change =
        UserChange { handle: Some(ada.handle.clone()), email: Some(ada.email.clone()), ..UserChange::default() };
    let error = bed.change_user(bob.id, change.clone()).await.unwrap_err();
    assert_eq!(faults(&error), both);
    assert_eq!(bed.change_user(ada.id, change).await.unwrap(), ada, "one's own are not taken");
}

async fn a_change_that_changes_nothing_leaves_no_trace(bed: Bed) {
    let ada = bed.user("ada").await;
    let (seq, audit) = (bed.latest().await, bed.audit().await.len());
    bed.clock.advance(secs(5));
    let change = UserChange { display_name: Some(ada.display_name.clone()), ..UserChange::default() };
    assert_eq!(bed.change_user(ada.id, change).await.unwrap(), ada);
    assert_eq!((bed.latest().await, bed.audit().await.len()), (seq, audit));
}

async fn a_change_names_the_profile_only_if_it_shows(bed: Bed) {
    let ada = bed.user("ada").await;
    let steps: Vec<(UserChange, Vec<Entity>)> = vec![
        (
            UserChange {
                display_name: Some(DisplayName::try_from("A. L.".to_owned()).unwrap()),
                bio: Some(Bio::try_from("Words".to_owned()).unwrap()),
                avatar_url: Some(Some(WebUrl::try_from("https://example.org/a.png".to_owned()).unwrap())),
                ..UserChange::default()
            },
            vec![Entity::User(ada.id), Entity::Users],
        ),
        (
            UserChange {
                email: Some(Some(Email::try_from("ada@example.org".to_owned()).unwrap())),
                ..UserChange::default()
            },
            vec![],
        ),
        (UserChange { role: Some(Role::Editor), ..UserChange::default() }, vec![]),
        (UserChange { role: Some(Role::Reader), ..UserChange::default() }, vec![Entity::User(ada.id), Entity::Users]),
        (UserChange { avatar_url: Some(None), ..UserChange::default() }, vec![Entity::User(ada.id)]),
    ];
    let mut version = 1;
    for (change, entities) in steps {
        let seq = bed.latest().await;
        bed.clock.advance(secs(1));
        let changed = bed.change_user(ada.id, change).await.unwrap();
        version += 1;
        assert_eq!((changed.version, changed.updated_at), (version, bed.now()));
        assert_eq!(find(&bed, UserKey::Id(ada.id)).await, Some(changed));
        let events = bed.events_after(seq).await;
        assert_eq!(events.len(), 1);
        assert!(same_entities(&events[0].entities, &entities), "{:?} {entities:?}", events[0].entities);
    }
}

async fn the_first_account_is_made_once(bed: Bed) {
    // An imported author cannot sign in, so the installation still waits to be set up.
    bed.user("imported").await;
    assert!(!bed.store.any_can_sign_in(&ctx()).await.unwrap());
    let admin = bed.store.create_user(new_user(&bed, "admin", None, Some("hash")), true).await.unwrap();
    assert!(bed.store.any_can_sign_in(&ctx()).await.unwrap());
    let error = bed.store.create_user(new_user(&bed, "second", None, Some("hash")), true).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert_eq!(find(&bed, UserKey::Handle("second".into())).await, None);
    bed.change_user(admin.id, UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    assert!(!bed.store.any_can_sign_in(&ctx()).await.unwrap());
}

/// A session and a personal token, and whether they are alive.
async fn sign_in(bed: &Bed, user: UserId) -> i64 {
    let (now, later) = (bed.now(), bed.now() + secs(3600));
    let proven = find(bed, UserKey::Id(user)).await.unwrap();
    let session = bed.store.begin(&ctx(), &proven, Scopes::all(), [1; 32], later, later, now).await.unwrap();
    let new = NewPersonalToken {
        user,
        name: "ci".into(),
        hint: "ink_ab".into(),
        hash: [2; 32],
        scopes: Scopes::all(),
        expires_at: later,
        created_at: now,
    };
    PersonalTokenRepository::create(&bed.store, &ctx(), new, None).await.unwrap();
    session.unwrap().id
}

async fn alive(bed: &Bed, session: i64) -> (bool, bool) {
    let session = SessionRepository::find_live(&bed.store, &ctx(), session, bed.now()).await.unwrap();
    let token = PersonalTokenRepository::find_live(&bed.store, &ctx(), [2; 32], bed.now()).await.unwrap();
    (session.is_some(), token.is_some())
}

async fn disabling_ends_sessions_and_tokens(bed: Bed) {
    let ada = bed.user("ada").await;
    let session = sign_in(&bed, ada.id).await;
    assert_eq!(alive(&bed, session).await, (true, true));
    bed.change_user(ada.id, UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    assert_eq!(alive(&bed, session).await, (false, false));
    bed.change_user(ada.id, UserChange { disabled: Some(false), ..UserChange::default() }).await.unwrap();
    assert_eq!(alive(&bed, session).await, (false, false), "enabling brings nothing back to life");
}

async fn the_audit_log_tells_who_became_what(bed: Bed) {
    static DETAILS: Statement = Statement {
        name: "test.details",
        sql: "select details from audit_log where action = 'user.update' order by id",
    };
    let ada = bed.user("ada").await;
    bed.change_user(ada.id, UserChange { role: Some(Role::Editor), ..UserChange::default() }).await.unwrap();
    bed.change_user(ada.id, UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    bed.change_user(ada.id, UserChange { disabled: Some(false), ..UserChange::default() }).await.unwrap();
    let details: Vec<String> = bed.rows(&DETAILS).await;
    let details: Vec<Json> = details.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let from = ada.role.as_str();
    assert_eq!(
        details,
        [
            json!({ "changed": ["role"], "role": { "from": from, "to": "editor" } }),
            json!({ "changed": ["disabled"], "disabled": true }),
            json!({ "changed": ["disabled"], "disabled": false }),
        ]
    );
}

async fn a_new_password_ends_sessions_only(bed: Bed) {
    let ada = bed.user("ada").await;
    let session = sign_in(&bed, ada.id).await;
    let changed =
        bed.change_user(ada.id, UserChange { password_hash: Some("new".into()), ..UserChange::default() }).await;
    assert_eq!(changed.unwrap().version, 2);
    assert_eq!(alive(&bed, session).await, (false, true));
    let record = PasswordRepository::find(&bed.store, &ctx(), "ada").await.unwrap().unwrap();
    assert_eq!(record.hash.as_deref(), Some("new"));
}

async fn lists_show_public_profiles_or_all(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    bed.change_user(bob.id, UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    let cyd = bed.user("cyd").await;
    bed.change_user(cyd.id, UserChange { role: Some(Role::Reader), ..UserChange::default() }).await.unwrap();
    for (public_only, expected) in [(true, vec![ada.id]), (false, vec![ada.id, bob.id, cyd.id])] {
        let query = inkstone_core::users::repository::UserQuery {
            public_only,
            position: inkstone_core::page::Position::Start,
            limit: 10,
        };
        let page = UserRepository::list(&bed.store, &ctx(), &query).await.unwrap();
        assert_eq!(page.items.iter().map(|user| user.id).collect::<Vec<_>>(), expected);
        let count = UserRepository::count(&bed.store, &ctx(), public_only).await.unwrap();
        assert_eq!(count, expected.len() as u64);
    }
}

async fn refused_changes_leave_no_trace(bed: Bed) {
    let ada = bed.user("ada").await;
    let (seq, audit) = (bed.latest().await, bed.audit().await.len());
    let decide = Arc::new(|_: &User| Err(Error::refused(Code::Forbidden, "No.")));
    let error = UserRepository::change(&bed.store, &ctx(), ada.id, decide, None).await.unwrap_err();
    assert_eq!(error.code(), Code::Forbidden);
    let error = bed.change_user(UserId(99), UserChange::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!((bed.latest().await, bed.audit().await.len()), (seq, audit));
    assert_eq!(find(&bed, UserKey::Id(ada.id)).await, Some(ada));
}
