//! Personal access tokens: a secret with a name, scopes and an end, that stands for its owner.

use inkstone_core::Context;
use inkstone_core::access::{Caller, Credential, Permission, Scopes};
use inkstone_core::error::{Code, Error, Fault, FaultCode, Result};
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::identity::{NewPersonalToken, PersonalToken};
use inkstone_core::text;
use inkstone_core::users::{UserId, UserKey};

use crate::settings::later;
use crate::tokens::{SecretKind, hint};

use super::IdentityService;
use super::sessions::needs_session;

/// The longest life of a personal token.
const MAX_DAYS: u32 = 366;
/// The longest name.
const MAX_NAME_CHARS: usize = 100;
/// The most live tokens of one account.
const MAX_LIVE: usize = 100;

impl IdentityService {
    /// Makes a personal token for `user` and gives back its secret, which nobody can see again.
    /// People make their own, out of a session, with scopes that it has; the operator makes anybody's.
    ///
    /// # Errors
    /// `Forbidden`, also for personal tokens: what one has made would live on when it is revoked.
    /// `Invalid` at `/name`, `/scopes`, `/expires_in_days`; `Conflict` when the account has too many.
    pub async fn create_personal_token(
        &self,
        ctx: &Context,
        user: UserId,
        name: &str,
        scopes: Scopes,
        expires_in_days: u32,
    ) -> Result<(PersonalToken, String)> {
        self.create_personal_token_once(ctx, user, name, scopes, expires_in_days, None).await?.done()
    }

    /// The same for a request that may come with an idempotency key. The answer that is kept
    /// under it is made of the token alone: its secret is stored nowhere, not even for that.
    ///
    /// # Errors
    /// As [`Self::create_personal_token`], and those of idempotency keys.
    pub async fn create_personal_token_once(
        &self,
        ctx: &Context,
        user: UserId,
        name: &str,
        scopes: Scopes,
        expires_in_days: u32,
        once: Option<Idempotency<PersonalToken>>,
    ) -> Result<Written<(PersonalToken, String)>> {
        may_create(&ctx.caller, user, scopes)?;
        check(name, scopes, expires_in_days)?;
        // Before they are counted: the last one that fitted is no reason to refuse its repetition.
        if let Some(answer) = self.kept_answer(ctx, once.as_ref()).await? {
            return Ok(Written::Replayed(answer));
        }
        let now = self.clock.now();
        let expires_at = later(now, std::time::Duration::from_secs(u64::from(expires_in_days) * 86_400));
        let owner = self.users.find(ctx, &UserKey::Id(user)).await?.filter(|owner| !owner.disabled);
        let owner = owner.ok_or_else(|| Error::not_found("user"))?;
        let alive = |token: &&PersonalToken| token.revoked_at.is_none() && token.expires_at > now;
        if self.tokens.list(ctx, Some(owner.id)).await?.iter().filter(alive).count() >= MAX_LIVE {
            return Err(Error::refused(Code::Conflict, format!("An account has at most {MAX_LIVE} live tokens.")));
        }
        let (secret, hash) = SecretKind::Personal.mint(&*self.entropy)?;
        let new = NewPersonalToken {
            user: owner.id,
            name: name.to_owned(),
            hint: hint(SecretKind::Personal, &secret),
            hash,
            scopes,
            expires_at,
            created_at: now,
        };
        let token = match self.tokens.create(ctx, new, once).await? {
            Written::Done(token) => token,
            Written::Replayed(answer) => return Ok(Written::Replayed(answer)),
        };
        tracing::info!(user.id = owner.id.0, token.id = token.id, "personal token created");
        Ok(Written::Done((token, secret)))
    }

    /// The personal tokens of `user`, or everybody's: one's own, or for those who manage people.
    pub async fn personal_tokens(&self, ctx: &Context, user: Option<UserId>) -> Result<Vec<PersonalToken>> {
        may_manage(&ctx.caller, user)?;
        self.tokens.list(ctx, user).await
    }

    /// Ends a personal token of `user`, or anybody's: one's own, or for those who manage people.
    ///
    /// # Errors
    /// `NotFound` if there is no such token alive.
    pub async fn revoke_personal_token(&self, ctx: &Context, user: Option<UserId>, id: i64) -> Result<()> {
        may_manage(&ctx.caller, user)?;
        if !self.tokens.revoke(ctx, user, id, self.clock.now()).await? {
            return Err(Error::not_found("personal token"));
        }
        tracing::info!(token.id = id, "personal token revoked");
        Ok(())
    }
}

fn may_create(caller: &Caller, owner: UserId, scopes: Scopes) -> Result<()> {
    if *caller == Caller::Operator {
        return Ok(());
    }
    caller.require(Permission::AccountManage)?;
    let Caller::User(caller) = caller else { return Err(only_own()) };
    if caller.user != owner {
        return Err(only_own());
    }
    if !matches!(caller.credential, Credential::Session(_)) {
        return Err(needs_session());
    }
    if scopes.intersection(caller.scopes) != scopes {
        return Err(Error::refused(Code::Forbidden, "A token cannot have scopes that the session lacks."));
    }
    Ok(())
}

fn check(name: &str, scopes: Scopes, expires_in_days: u32) -> Result<()> {
    let mut faults = Vec::new();
    if let Err(fault) = text::check_line(name, 1, MAX_NAME_CHARS) {
        faults.push(fault.under("/name"));
    }
    if scopes.iter().next().is_none() {
        faults.push(Fault::at("/scopes", FaultCode::Required, "At least one scope."));
    }
    if !(1..=MAX_DAYS).contains(&expires_in_days) {
        let detail = format!("From 1 to {MAX_DAYS} days.");
        faults.push(Fault::at("/expires_in_days", FaultCode::OutOfRange, detail));
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
}

fn may_manage(caller: &Caller, user: Option<UserId>) -> Result<()> {
    let own = user.is_some() && caller.user_id() == user;
    caller.require(if own { Permission::AccountManage } else { Permission::UserManage })
}

fn only_own() -> Error {
    Error::refused(Code::Forbidden, "Personal tokens are made by their owners.")
}
