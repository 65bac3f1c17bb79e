//! A world to test in: the service on the store in memory, a clock to turn, callers.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inkstone_core::access::{Caller, Credential, Role, Scopes, SignedIn};
use inkstone_core::clock::{Clock, SystemEntropy};
use inkstone_core::identity::KeyState;
use inkstone_core::users::{Bio, DisplayName, Email, Handle, User, UserId};
use inkstone_core::{Code, Context, Deadline, Error};
use inkstone_identity::{IdentityParts, IdentityService, IdentitySettings, PasswordContext, TokenPair};
use inkstone_testkit::HandClock;
use serde_json::Value;

use crate::fakes::Fake;

/// Long, and of nobody's making.
pub(crate) const PASSWORD: &str = "plum gravel sextant nineteen";

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Arc<Fake>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) identity: Arc<IdentityService>,
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn days(days: u64) -> Duration {
    secs(days * 86_400)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(IdentitySettings::default()).await
    }

    pub(crate) async fn with(settings: IdentitySettings) -> Self {
        let clock = HandClock::new();
        let store = Arc::new(Fake::default());
        let identity = service(&store, &clock, settings);
        let world = Self { store, clock, identity };
        world.identity.ensure_keys(&world.operator()).await.unwrap();
        world
    }

    /// Another process on the same store.
    pub(crate) fn beside(&self) -> Self {
        let identity = service(&self.store, &self.clock, self.identity.settings().clone());
        Self { identity, ..self.clone() }
    }

    pub(crate) fn ctx(&self, caller: Caller) -> Context {
        let deadline = Deadline::at(self.clock.instant() + secs(600));
        Context::new(caller, "test", deadline)
    }

    pub(crate) fn anybody(&self) -> Context {
        self.ctx(Caller::Anonymous)
    }

    pub(crate) fn operator(&self) -> Context {
        self.ctx(Caller::Operator)
    }

    /// The context of whoever holds this bearer token.
    pub(crate) async fn bearing(&self, token: &str) -> Context {
        self.ctx(Caller::User(self.identity.authenticate(&self.anybody(), token).await.unwrap()))
    }

    pub(crate) fn add(&self, handle: &str, role: Role, hash: Option<String>) -> UserId {
        let mut state = self.store.state();
        let now = self.clock.now();
        let user = User {
            id: UserId(i64::try_from(state.users.len()).unwrap() + 1),
            handle: Handle::try_from(handle.to_owned()).unwrap(),
            email: Some(Email::try_from(format!("{handle}@Example.org")).unwrap()),
            display_name: DisplayName::try_from(format!("{handle} the tester")).unwrap(),
            bio: Bio::default(),
            avatar_url: None,
            role,
            disabled: false,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let id = user.id;
        state.users.push((user, hash));
        id
    }

    /// An account with [`PASSWORD`].
    pub(crate) async fn person(&self, handle: &str, role: Role) -> UserId {
        let hash = self.identity.hash_password(&self.operator(), PASSWORD, PasswordContext::default()).await.unwrap();
        self.add(handle, role, Some(hash))
    }

    pub(crate) async fn login(&self, handle: &str) -> TokenPair {
        self.identity.login(&self.anybody(), handle, PASSWORD, None, None).await.unwrap()
    }

    pub(crate) async fn login_code(&self, login: &str, password: &str, address: &str) -> Option<Code> {
        let address = Some(address.parse().unwrap());
        code(self.identity.login(&self.anybody(), login, password, None, address).await)
    }

    pub(crate) async fn accepts(&self, bearer: &str) -> bool {
        match self.identity.authenticate(&self.anybody(), bearer).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.code(), Code::Unauthenticated, "{error}");
                false
            }
        }
    }

    /// Signs any header and claims with one of the store's keys.
    pub(crate) fn forge(&self, state: KeyState, header: &Value, claims: &Value) -> String {
        let keys = self.store.state().keys.clone();
        let key = keys.iter().find(|key| key.state == state).unwrap();
        signed(&key.pkcs8, header, claims)
    }
}

fn service(store: &Arc<Fake>, clock: &Arc<HandClock>, settings: IdentitySettings) -> Arc<IdentityService> {
    Arc::new(IdentityService::new(IdentityParts {
        passwords: store.clone(),
        sessions: store.clone(),
        tokens: store.clone(),
        keys: store.clone(),
        secrets: store.clone(),
        users: store.clone(),
        audit: store.clone(),
        answers: store.clone(),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
        settings,
    }))
}

pub(crate) fn signed_in(user: UserId, role: Role, scopes: Scopes) -> Caller {
    Caller::User(SignedIn { user, role, scopes, credential: Credential::Session(1) })
}

/// The code of an error; nothing for a success.
pub(crate) fn code<T>(result: Result<T, Error>) -> Option<Code> {
    result.err().map(|error| error.code())
}

pub(crate) fn signed(pkcs8: &[u8], header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let signature = Ed25519KeyPair::from_pkcs8(pkcs8).unwrap().sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Header and claims of a token.
pub(crate) fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}
