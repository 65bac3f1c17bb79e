//! The one door to identity. One file per kind of deed; this one has what they share, and
//! finding out who calls.

use std::sync::Arc;

use inkstone_core::Context;
use inkstone_core::access::{Actor, Credential, SignedIn};
use inkstone_core::audit::{AuditRepository, Entry};
use inkstone_core::clock::{SharedClock, SharedEntropy};
use inkstone_core::error::{Code, Error, Result};
use inkstone_core::idempotency::{AnswerRepository, Idempotency, StoredAnswer};
use inkstone_core::identity::{
    KeyRepository, PasswordRepository, PersonalTokenRepository, SecretRepository, SessionRepository,
};
use inkstone_core::users::{User, UserRepository};
use jiff::Timestamp;

use crate::keys::KeyRing;
use crate::password::{Hasher, HashingStats};
use crate::settings::{IdentitySettings, later};
use crate::tokens::{self, Expected, SecretKind};

mod passwords;
mod personal;
mod sessions;
mod setup;

pub use sessions::TokenPair;
pub use setup::FirstAdministrator;

/// What identity is made of.
pub struct IdentityParts {
    /// Passwords, and the counters of failed sign-ins.
    pub passwords: Arc<dyn PasswordRepository>,
    /// Sessions and refresh tokens.
    pub sessions: Arc<dyn SessionRepository>,
    /// Personal access tokens.
    pub tokens: Arc<dyn PersonalTokenRepository>,
    /// Signing keys.
    pub keys: Arc<dyn KeyRepository>,
    /// Small secrets of the installation.
    pub secrets: Arc<dyn SecretRepository>,
    /// Accounts.
    pub users: Arc<dyn UserRepository>,
    /// The audit log, for what no other write records.
    pub audit: Arc<dyn AuditRepository>,
    /// Answers that were given under idempotency keys.
    pub answers: Arc<dyn AnswerRepository>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Every number.
    pub settings: IdentitySettings,
}

/// Signing in and out, tokens, keys, passwords and the first set-up.
///
/// Cheap to share behind an `Arc`; needs a Tokio runtime.
pub struct IdentityService {
    passwords: Arc<dyn PasswordRepository>,
    sessions: Arc<dyn SessionRepository>,
    tokens: Arc<dyn PersonalTokenRepository>,
    secrets: Arc<dyn SecretRepository>,
    users: Arc<dyn UserRepository>,
    audit: Arc<dyn AuditRepository>,
    answers: Arc<dyn AnswerRepository>,
    clock: SharedClock,
    entropy: SharedEntropy,
    settings: Arc<IdentitySettings>,
    ring: KeyRing,
    hasher: Hasher,
    throttle_secret: tokio::sync::OnceCell<Vec<u8>>,
}

impl IdentityService {
    /// Puts the parts together. Call [`Self::ensure_keys`] before the first sign-in.
    pub fn new(parts: IdentityParts) -> Self {
        let IdentityParts {
            passwords,
            sessions,
            tokens,
            keys,
            secrets,
            users,
            audit,
            answers,
            clock,
            entropy,
            settings,
        } = parts;
        let settings = Arc::new(settings);
        Self {
            ring: KeyRing::new(keys, clock.clone(), entropy.clone(), settings.clone()),
            hasher: Hasher::new(settings.hashing, clock.clone(), entropy.clone()),
            throttle_secret: tokio::sync::OnceCell::new(),
            passwords,
            sessions,
            tokens,
            secrets,
            users,
            audit,
            answers,
            clock,
            entropy,
            settings,
        }
    }

    /// Who stands behind a bearer token: an access token or a personal token. Account, role and
    /// session are those of this moment, so logging out and disabling work at once.
    ///
    /// # Errors
    /// `Unauthenticated` for every token that is not good, whatever is wrong with it.
    pub async fn authenticate(&self, ctx: &Context, bearer: &str) -> Result<SignedIn> {
        match SecretKind::Personal.recognise(bearer) {
            Some(hash) => self.authenticate_personal(ctx, hash).await,
            None => self.authenticate_access(ctx, bearer).await,
        }
    }

    async fn authenticate_access(&self, ctx: &Context, token: &str) -> Result<SignedIn> {
        let refuse = |reason: &'static str| {
            tracing::debug!(reason, "access token refused");
            not_good()
        };
        let kid = tokens::claimed_key(token).map_err(|rejected| refuse(rejected.0))?;
        let keys = self.ring.knowing(ctx, &kid).await?;
        let key = keys.verifying(&kid).ok_or_else(|| refuse("unknown key"))?;
        let now = self.clock.now();
        let expected = Expected {
            issuer: &self.settings.issuer,
            audience: &self.settings.audience,
            now: now.as_second(),
            leeway_secs: self.settings.leeway_secs(),
        };
        let token = tokens::verify(token, key, expected).map_err(|rejected| refuse(rejected.0))?;
        let live = self.sessions.find_live(ctx, token.session, now).await?;
        let (session, user) = live.ok_or_else(|| refuse("its session or account has ended"))?;
        if session.user != token.user || user.id != token.user || user.disabled {
            return Err(refuse("its session is somebody else's"));
        }
        Ok(SignedIn {
            user: user.id,
            role: user.role,
            scopes: token.scopes.intersection(session.scopes),
            credential: Credential::Session(session.id),
        })
    }

    async fn authenticate_personal(&self, ctx: &Context, hash: [u8; 32]) -> Result<SignedIn> {
        let now = self.clock.now();
        let Some((token, user)) = self.tokens.find_live(ctx, hash, now).await? else {
            tracing::debug!("personal token refused");
            return Err(not_good());
        };
        if user.disabled || token.user != user.id {
            return Err(not_good());
        }
        let noted_lately = token.last_used_at.is_some_and(|at| later(at, self.settings.touch_interval) > now);
        if !noted_lately && let Err(error) = self.tokens.touch(ctx, token.id, now).await {
            // Reading must go on when the store can only be read.
            tracing::warn!(error = %error, token.id = token.id, "the use of a personal token was not noted");
        }
        Ok(SignedIn {
            user: user.id,
            role: user.role,
            scopes: token.scopes,
            credential: Credential::PersonalToken(token.id),
        })
    }

    /// Makes sure that there is a key to sign with and one that follows it.
    pub async fn ensure_keys(&self, ctx: &Context) -> Result<()> {
        let Err(error) = self.ring.advance(ctx, self.clock.now()).await else { return Ok(()) };
        let is_usable = error.is_retryable() && self.ring.reload(ctx).await.is_ok_and(|keys| keys.signing().is_some());
        if !is_usable {
            return Err(error);
        }
        tracing::warn!(error = %error, "signing keys are to change, but cannot for now; those that are there are used");
        Ok(())
    }

    /// Takes the step in the keys' life that is due at `now`, if one is; whether this call took
    /// it. For the worker, some times a day; any number of processes may call it at once.
    pub async fn rotate_if_due(&self, ctx: &Context, now: Timestamp) -> Result<bool> {
        self.ring.advance(ctx, now).await
    }

    /// Reads the keys again, because an event says that they changed.
    pub async fn reload_keys(&self, ctx: &Context) -> Result<()> {
        self.ring.reload(ctx).await.map(drop)
    }

    /// The public keys as a JSON Web Key Set (RFC 7517). Costs nothing most of the time.
    pub async fn jwks(&self, ctx: &Context) -> Result<serde_json::Value> {
        Ok(self.ring.current(ctx).await?.published().clone())
    }

    /// How busy the hashing pool is.
    pub fn hashing_stats(&self) -> HashingStats {
        self.hasher.stats()
    }

    /// The settings in use.
    pub fn settings(&self) -> &IdentitySettings {
        &self.settings
    }

    /// The answer that was given to this request before, if it came with a key.
    async fn kept_answer<T>(&self, ctx: &Context, once: Option<&Idempotency<T>>) -> Result<Option<StoredAnswer>> {
        match once {
            None => Ok(None),
            Some(once) => self.answers.find_answer(ctx, &once.scope, &once.key, once.fingerprint).await,
        }
    }

    /// Records what no other write records. The deed itself is done by then, so a failure is
    /// logged and not handed on.
    async fn note(&self, ctx: &Context, action: &'static str, subject: String) {
        let entry = Entry { actor: Actor::of(&ctx.caller), action, subject, details: serde_json::json!({}) };
        if let Err(error) = self.audit.record(ctx, entry).await {
            tracing::error!(error = %error, action, "an audit entry was lost");
        }
    }
}

/// What every token gets that is not good, whatever is wrong with it.
fn not_good() -> Error {
    Error::refused(Code::Unauthenticated, "The token is unknown, expired or revoked.")
}

fn subject_of(user: &User) -> String {
    format!("user:{}", user.id)
}
