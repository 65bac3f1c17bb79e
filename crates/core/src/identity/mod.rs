//! What identity keeps in the store: sessions, tokens, keys, throttles. Types and ports only;
//! the rules are in the crate `inkstone-identity`, which is a review surface of its own.
//!
//! Secrets arrive here hashed: a port never sees a token that somebody could use.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::access::Scopes;
use crate::context::Context;
use crate::error::Result;
use crate::idempotency::{Idempotency, Written};
use crate::users::{User, UserId};

/// SHA-256 of a secret.
pub type SecretHash = [u8; 32];

/// A session: the family of all refresh tokens that came from one login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Which.
    pub id: i64,
    /// Whose.
    pub user: UserId,
    /// What its tokens may be used for.
    pub scopes: Scopes,
    /// When it began.
    pub created_at: Timestamp,
    /// When a token was last refreshed.
    pub last_used_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// When it was ended early.
    pub revoked_at: Option<Timestamp>,
}

/// What became of an attempt to use a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The token was current; it is used up now, and the new one has taken its place.
    Rotated(Box<(Session, User)>),
    /// The token had been used before: somebody has a copy. The whole family is revoked now.
    Reused(Box<Session>),
    /// Unknown, expired, revoked, or of a disabled account.
    Refused,
}

/// Sessions and their refresh tokens.
#[async_trait]
pub trait SessionRepository: Send + Sync {
    /// Begins a session with its first refresh token and records `login.succeeded`. `user` is the
    /// account as it was when it proved who it is. `None` if it has changed since: whoever was shut
    /// out, or got another password, in the meantime gets no session out of the old one.
    #[expect(clippy::too_many_arguments, reason = "they are all of different kinds, and one caller passes them")]
    async fn begin(
        &self,
        ctx: &Context,
        user: &User,
        scopes: Scopes,
        token: SecretHash,
        token_expires_at: Timestamp,
        session_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>>;
    /// Uses `token` up and puts `next` in its place; on reuse ends the family and records
    /// `refresh.reused`. One transaction: of two concurrent calls one sees the reuse.
    async fn rotate(
        &self,
        ctx: &Context,
        token: SecretHash,
        next: SecretHash,
        next_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation>;
    /// Ends the session that `token` belongs to; whether there was one. Records `logout`.
    async fn end_by_token(&self, ctx: &Context, token: SecretHash, now: Timestamp) -> Result<bool>;
    /// Ends one session of `user`; whether it was theirs and alive. Records `session.ended`.
    async fn end(&self, ctx: &Context, user: UserId, session: i64, now: Timestamp) -> Result<bool>;
    /// The live sessions of `user`, newest first, at most 100.
    async fn list(&self, ctx: &Context, user: UserId, now: Timestamp) -> Result<Vec<Session>>;
    /// The account behind a session, if both are alive at `now`.
    async fn find_live(&self, ctx: &Context, session: i64, now: Timestamp) -> Result<Option<(Session, User)>>;
}

/// A personal access token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalToken {
    /// Which.
    pub id: i64,
    /// Whose.
    pub user: UserId,
    /// What it is for, in its owner's words.
    pub name: String,
    /// The first characters of it, to recognise it by.
    pub hint: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the hour or so.
    pub last_used_at: Option<Timestamp>,
    /// When it was ended early.
    pub revoked_at: Option<Timestamp>,
}

/// A personal access token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPersonalToken {
    /// Whose.
    pub user: UserId,
    /// What for.
    pub name: String,
    /// The first characters.
    pub hint: String,
    /// SHA-256 of the whole token.
    pub hash: SecretHash,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it is made.
    pub created_at: Timestamp,
}

/// Personal access tokens.
#[async_trait]
pub trait PersonalTokenRepository: Send + Sync {
    /// Makes one and records `token.created`.
    async fn create(
        &self,
        ctx: &Context,
        new: NewPersonalToken,
        idempotency: Option<Idempotency<PersonalToken>>,
    ) -> Result<Written<PersonalToken>>;
    /// The token with this hash and its owner, if both are alive at `now`.
    async fn find_live(&self, ctx: &Context, hash: SecretHash, now: Timestamp)
    -> Result<Option<(PersonalToken, User)>>;
    /// Those of `user` (or everybody's), newest first, at most 1000.
    async fn list(&self, ctx: &Context, user: Option<UserId>) -> Result<Vec<PersonalToken>>;
    /// Ends one (of `user`, or of anybody); whether it was alive. Records `token.revoked`.
    async fn revoke(&self, ctx: &Context, user: Option<UserId>, id: i64, now: Timestamp) -> Result<bool>;
    /// Notes that it was used. Not worth a transaction more than once an hour: see `identity`.
    async fn touch(&self, ctx: &Context, id: i64, now: Timestamp) -> Result<()>;
}

/// Where a signing key is in its life. Published in the JWKS as long as a row exists and it is
/// not past `retire_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Published, not yet used: everybody has time to learn it.
    Next,
    /// Signs.
    Active,
    /// Does not sign any more; still verifies until the longest token is dead.
    Retired,
}

impl KeyState {
    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    /// The state with this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retired].into_iter().find(|state| state.as_str() == text)
    }
}

/// A signing key.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its key id: the RFC 7638 thumbprint.
    pub kid: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// The private key, PKCS #8 DER.
    pub pkcs8: Vec<u8>,
    /// The public key, 32 bytes (RFC 8032).
    pub public: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it came into its present state.
    pub state_since: Timestamp,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).field("state", &self.state).finish_non_exhaustive()
    }
}

/// The signing keys.
#[async_trait]
pub trait KeyRepository: Send + Sync {
    /// All of them.
    async fn list(&self, ctx: &Context) -> Result<Vec<SigningKey>>;
    /// Replaces the whole set, if it still is what `expected_kids` (sorted, with states) says;
    /// whether it did. Records `keys.rotated` with an event for [`crate::events::Entity::Keys`].
    async fn replace(&self, ctx: &Context, expected: &[(String, KeyState)], keys: Vec<SigningKey>) -> Result<bool>;
}

/// The password of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordRecord {
    /// The account.
    pub user: User,
    /// The PHC string; none for accounts that cannot sign in with a password.
    pub hash: Option<String>,
}

/// Passwords and what guards them.
#[async_trait]
pub trait PasswordRepository: Send + Sync {
    /// The account with this handle or (folded) e-mail address, and its password.
    async fn find(&self, ctx: &Context, login: &str) -> Result<Option<PasswordRecord>>;
    /// Whether any account can sign in with a password: has one, and is not disabled. As long as
    /// none can, the installation waits to be set up.
    async fn any_can_sign_in(&self, ctx: &Context) -> Result<bool>;
    /// Replaces the hash `weak` by a stronger one of the same password, unless there is another
    /// password by now. No event, no session ends.
    async fn rehash(&self, ctx: &Context, user: UserId, weak: &str, hash: String) -> Result<()>;
    /// How long `key` (an account, an address) is blocked at `now`, if it is.
    async fn blocked_until(&self, ctx: &Context, keys: &[String], now: Timestamp) -> Result<Option<Timestamp>>;
    /// Counts a failure against each key and gives back the worst block that follows from it.
    /// Each key's policy gives, for the number of failures in its window, the seconds to block.
    /// Records `login.failed` in the same transaction.
    async fn record_failure(
        &self,
        ctx: &Context,
        keys: &[(String, ThrottlePolicy)],
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>>;
    /// Forgets the failures of these keys.
    async fn clear_failures(&self, ctx: &Context, keys: &[String]) -> Result<()>;
}

/// How failures lead to blocks: after `free` failures within `window_secs`, each further one
/// blocks for `base_secs` doubled each time, up to `max_secs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottlePolicy {
    /// Failures that cost nothing.
    pub free: u32,
    /// How long a failure counts, in seconds.
    pub window_secs: u32,
    /// The first block, in seconds.
    pub base_secs: u32,
    /// The longest block, in seconds.
    pub max_secs: u32,
}

impl ThrottlePolicy {
    /// The block after this many failures in the window, in seconds; zero for none.
    pub fn block_secs(&self, failures: u32) -> u32 {
        match failures.checked_sub(self.free) {
            None | Some(0) => 0,
            Some(over) => {
                self.base_secs.saturating_mul(1_u32.checked_shl(over - 1).unwrap_or(u32::MAX)).min(self.max_secs)
            }
        }
    }
}

/// Small secrets of the installation that all processes share: the cursor key, the set-up secret.
#[async_trait]
pub trait SecretRepository: Send + Sync {
    /// The secret of this name; made out of `fresh` if there is none yet.
    async fn get_or_insert(&self, ctx: &Context, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>>;
    /// The secret of this name.
    async fn get(&self, ctx: &Context, name: &str) -> Result<Option<Vec<u8>>>;
    /// Replaces the secret of this name.
    async fn put(&self, ctx: &Context, name: &str, value: Vec<u8>) -> Result<()>;
    /// Removes the secret of this name; whether there was one.
    async fn remove(&self, ctx: &Context, name: &str) -> Result<bool>;
}
