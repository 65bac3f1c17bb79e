//! Signing in, staying signed in, signing out.

use std::net::IpAddr;

use inkstone_core::Context;
use inkstone_core::access::{Permission, Scopes};
use inkstone_core::error::{Code, Error, Result};
use inkstone_core::identity::{Rotation, Session};
use inkstone_core::users::UserId;
use jiff::Timestamp;

use crate::settings::{later, whole_secs};
use crate::tokens::{self, Claims, SecretKind, base64url};

use super::passwords::bad_credentials;
use super::{IdentityService, not_good};

/// What a sign-in or a refresh gives.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// A JWT for `Authorization: Bearer`.
    pub access_token: String,
    /// How long it lives.
    pub expires_in_secs: i64,
    /// Gives the next pair, once.
    pub refresh_token: String,
    /// How long it can be used.
    pub refresh_expires_in_secs: i64,
    /// What the access token may be used for.
    pub scopes: Scopes,
    /// The session both belong to.
    pub session: i64,
    /// Whose session it is.
    pub user: UserId,
}

impl std::fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenPair")
            .field("session", &self.session)
            .field("user", &self.user)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl IdentityService {
    /// Begins a session for whoever knows handle (or e-mail address) and password. `scopes`
    /// narrows what its tokens may be used for; without it they may do all that the account may.
    /// `address` is the client's, as far as it is known.
    ///
    /// # Errors
    /// `BadCredentials` whatever is wrong (unknown, disabled, no password, wrong password);
    /// `RateLimited` after too many failures; `Overloaded` when too many sign in at once.
    pub async fn login(
        &self,
        ctx: &Context,
        login: &str,
        password: &str,
        scopes: Option<Scopes>,
        address: Option<IpAddr>,
    ) -> Result<TokenPair> {
        let user = self.check_password(ctx, login, password, address).await?;
        let now = self.clock.now();
        let (refresh_token, hash) = SecretKind::Refresh.mint(&*self.entropy)?;
        let session_expires_at = later(now, self.settings.refresh_absolute);
        let token_expires_at = later(now, self.settings.refresh_idle).min(session_expires_at);
        let scopes = scopes.unwrap_or_else(Scopes::all);
        let begun = self.sessions.begin(ctx, &user, scopes, hash, token_expires_at, session_expires_at, now).await?;
        // The account changed while its password was looked at: what was proven is not true any more.
        let session = begun.ok_or_else(bad_credentials)?;
        tracing::info!(user.id = user.id.0, session.id = session.id, "signed in");
        self.pair(ctx, &session, refresh_token, token_expires_at, now).await
    }

    /// Exchanges a refresh token for the next pair. Each can be used once: when one comes twice,
    /// somebody has a copy, and the whole session ends (RFC 9700 §4.14.2).
    ///
    /// # Errors
    /// `Unauthenticated` for every token that is not good.
    pub async fn refresh(&self, ctx: &Context, refresh_token: &str) -> Result<TokenPair> {
        let hash = SecretKind::Refresh.recognise(refresh_token).ok_or_else(not_good)?;
        let now = self.clock.now();
        let (next, next_hash) = SecretKind::Refresh.mint(&*self.entropy)?;
        let next_expires_at = later(now, self.settings.refresh_idle);
        match self.sessions.rotate(ctx, hash, next_hash, next_expires_at, now).await? {
            Rotation::Rotated(live) => {
                let (session, _) = *live;
                self.pair(ctx, &session, next, next_expires_at, now).await
            }
            Rotation::Reused(session) => {
                tracing::warn!(
                    user.id = session.user.0,
                    session.id = session.id,
                    "a refresh token came twice; its session has been ended"
                );
                Err(not_good())
            }
            Rotation::Refused => {
                tracing::debug!("refresh token refused");
                Err(not_good())
            }
        }
    }

    /// Ends the session that a refresh token belongs to. A token that belongs to none is no
    /// error (RFC 7009 §2.2): what was asked for is so.
    pub async fn logout(&self, ctx: &Context, refresh_token: &str) -> Result<()> {
        let Some(hash) = SecretKind::Refresh.recognise(refresh_token) else { return Ok(()) };
        if self.sessions.end_by_token(ctx, hash, self.clock.now()).await? {
            tracing::info!("signed out");
        }
        Ok(())
    }

    /// The caller's live sessions, newest first.
    pub async fn sessions(&self, ctx: &Context) -> Result<Vec<Session>> {
        ctx.caller.require(Permission::AccountManage)?;
        match ctx.caller.user_id() {
            Some(user) => self.sessions.list(ctx, user, self.clock.now()).await,
            None => Ok(Vec::new()),
        }
    }

    /// Ends one of the caller's sessions.
    ///
    /// # Errors
    /// `NotFound` if it is not theirs or not alive.
    pub async fn end_session(&self, ctx: &Context, session: i64) -> Result<()> {
        ctx.caller.require(Permission::AccountManage)?;
        let missing = || Error::not_found("session");
        let user = ctx.caller.user_id().ok_or_else(missing)?;
        if !self.sessions.end(ctx, user, session, self.clock.now()).await? {
            return Err(missing());
        }
        tracing::info!(user.id = user.0, session.id = session, "session ended");
        Ok(())
    }

    async fn pair(
        &self,
        ctx: &Context,
        session: &Session,
        refresh_token: String,
        refresh_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<TokenPair> {
        // No token outlives the session that it belongs to.
        let until = |at: Timestamp| at.min(session.expires_at).as_second().saturating_sub(now.as_second()).max(0);
        let expires_in_secs =
            until(later(now, self.settings.access_token_lifetime)).min(whole_secs(self.settings.access_token_lifetime));
        let mut jti = [0_u8; 16];
        self.entropy.fill(&mut jti)?;
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            sub: session.user.to_string(),
            aud: self.settings.audience.clone(),
            exp: now.as_second().saturating_add(expires_in_secs),
            iat: now.as_second(),
            nbf: None,
            jti: base64url(&jti),
            client_id: self.settings.client_id.clone(),
            scope: session.scopes.to_text(),
            sid: session.id.to_string(),
        };
        let keys = self.ring.current(ctx).await?;
        let (kid, key) =
            keys.signing().ok_or_else(|| Error::internal("there is no key to sign with: call ensure_keys first"))?;
        Ok(TokenPair {
            access_token: tokens::sign(&claims, kid, key)?,
            expires_in_secs,
            refresh_token,
            refresh_expires_in_secs: until(refresh_expires_at),
            scopes: session.scopes,
            session: session.id,
            user: session.user,
        })
    }
}

/// What a caller who may not change credentials is told.
pub(super) fn needs_session() -> Error {
    Error::refused(Code::Forbidden, "This needs a sign-in with a password; a personal token is not enough.")
}
