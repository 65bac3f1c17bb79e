//! Every security event leaves a line, and no line says who somebody is or what they know.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Once;

use inkstone_core::access::{Role, Scopes};
use inkstone_identity::FirstAdministrator;
use tracing::field::{Field, Visit};
use tracing::span;

use crate::world::{PASSWORD, World};

thread_local! {
    /// What was logged on this thread: each test has its own.
    static NOTES: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes every event down. For the whole process: a subscriber for one thread only misses events
/// whose callsite another thread has looked at first.
struct Notebook;

impl tracing::Subscriber for Notebook {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("inkstone")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        NOTES.with_borrow_mut(|notes| writeln!(notes, "{}", line.0).unwrap());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

#[tokio::test]
async fn security_events_are_logged_without_personal_data_or_secrets() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing::subscriber::set_global_default(Notebook).unwrap());

    let world = World::new().await;
    let identity = &world.identity;
    let (anybody, operator) = (world.anybody(), world.operator());
    let setup = identity.begin_setup(&operator).await.unwrap().unwrap();
    let first = FirstAdministrator {
        handle: "zelda-canary".to_owned(),
        email: Some("canary@example.org".to_owned()),
        display_name: Some("Canary Bird".to_owned()),
        password: PASSWORD.to_owned(),
    };
    identity.complete_setup(&anybody, "ink_setup_canary", first.clone()).await.unwrap_err();
    let user = identity.complete_setup(&anybody, &setup, first).await.unwrap();
    let address = Some("203.0.113.77".parse().unwrap());
    for _ in 0..7 {
        identity.login(&anybody, "canary@example.org", "canary-guess", None, address).await.unwrap_err();
    }
    let pair = identity.login(&anybody, "zelda-canary", PASSWORD, None, None).await.unwrap();
    let next = identity.refresh(&anybody, &pair.refresh_token).await.unwrap();
    let ctx = world.bearing(&next.access_token).await;
    let (token, secret) = identity.create_personal_token(&ctx, user.id, "canary name", Scopes::all(), 1).await.unwrap();
    identity.authenticate(&anybody, &secret).await.unwrap();
    identity.revoke_personal_token(&ctx, Some(user.id), token.id).await.unwrap();
    identity.authenticate(&anybody, &secret).await.unwrap_err();
    identity.authenticate(&anybody, "canary.canary.canary").await.unwrap_err();
    identity.refresh(&anybody, &pair.refresh_token).await.unwrap_err();
    identity.change_password(&ctx, PASSWORD, "quarry lantern oblique ninety", None, None).await.unwrap();
    let other = world.add("other", Role::Reader, None);
    identity.set_password(&operator, other, PASSWORD).await.unwrap();
    let pair = world.login("other").await;
    identity.logout(&anybody, &pair.refresh_token).await.unwrap();

    let log = NOTES.with_borrow(String::clone);
    for event in [
        "signing keys changed",
        "set-up refused",
        "the first administrator was made",
        "sign-in failed",
        "sign-in refused without a look",
        "signed in",
        "a refresh token came twice",
        "personal token created",
        "personal token revoked",
        "personal token refused",
        "access token refused",
        "password changed",
        "signed out",
    ] {
        assert!(log.contains(event), "{event} is missing in\n{log}");
    }
    let secrets = [&setup, &pair.refresh_token, &pair.access_token, &next.access_token, &secret];
    let personal = ["canary", "zelda", "Canary", "203.0.113", PASSWORD, "quarry", "argon2id", "other@"];
    for word in secrets.into_iter().map(String::as_str).chain(personal) {
        assert!(!log.contains(word), "{word} is in\n{log}");
    }
}
