//! Comparing passwords without telling anything, and changing them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::Context;
use inkstone_core::access::{Caller, Credential};
use inkstone_core::error::{Code, Error, Result};
use inkstone_core::idempotency::{Idempotency, StoredAnswer, Written};
use inkstone_core::users::{self, User, UserChange, UserId, UserKey};
use jiff::Timestamp;

use crate::password::rules::{self, MAX_BYTES, PasswordContext};
use crate::throttle::Attempt;

use super::IdentityService;
use super::sessions::needs_session;

/// The longest login: an e-mail address (RFC 5321 §4.5.3.1.3).
const MAX_LOGIN_BYTES: usize = 254;

impl IdentityService {
    /// Checks a new password and hashes it, for an account about to be made.
    ///
    /// # Errors
    /// `Invalid` at `/password` with `TooShort`, `TooLong` or `Guessable`.
    pub async fn hash_password(&self, ctx: &Context, password: &str, context: PasswordContext<'_>) -> Result<String> {
        let password =
            rules::check(password, context, &self.settings.site_name).map_err(|fault| Error::Invalid(vec![fault]))?;
        let turn = self.hasher.turn(ctx).await?;
        Ok(self.hasher.hash(turn, password).await?.0)
    }

    /// Gives an account a new password, as its operator; ends all its sessions.
    ///
    /// # Errors
    /// `Forbidden` for everybody but the operator; as [`Self::hash_password`].
    pub async fn set_password(&self, ctx: &Context, user: UserId, new: &str) -> Result<()> {
        if ctx.caller != Caller::Operator {
            return Err(Error::refused(Code::Forbidden, "Only the operator sets the passwords of others."));
        }
        let user = self.user(ctx, user).await?;
        self.replace_password(ctx, &user, new, None).await?;
        // Whoever was locked out by guesses can come in with the new one.
        let secret = self.throttle_secret(ctx).await?;
        let names = [Some(user.handle.as_str().to_owned()), user.email.as_ref().map(users::Email::folded)];
        let keys: Vec<String> =
            names.into_iter().flatten().map(|name| Attempt::new(secret, &name, None).login).collect();
        self.passwords.clear_failures(ctx, &keys).await
    }

    /// Replaces the caller's own password; ends all their sessions, this one too. Whoever repeats
    /// it under the same key, after signing in again, gets the answer of the first time.
    ///
    /// # Errors
    /// `Forbidden` for personal tokens; `BadCredentials` and `RateLimited` as for a sign-in; as
    /// [`Self::hash_password`]; those of idempotency keys.
    pub async fn change_password(
        &self,
        ctx: &Context,
        current: &str,
        new: &str,
        address: Option<IpAddr>,
        once: Option<Idempotency<User>>,
    ) -> Result<Written<()>> {
        let id = match &ctx.caller {
            Caller::User(caller) if matches!(caller.credential, Credential::Session(_)) => caller.user,
            Caller::User(_) | Caller::Operator => return Err(needs_session()),
            Caller::Anonymous => return Err(super::not_good()),
        };
        let user = self.user(ctx, id).await?;
        users::policy::change(&ctx.caller, &user, UserChange::default())?;
        if let Some(answer) = self.kept_answer(ctx, once.as_ref()).await? {
            return self.confirm(ctx, &user, new, address, answer).await;
        }
        // First what is wrong with the new one, so that a typo there costs no guess at the old.
        rules::check(new, context_of(&user), &self.settings.site_name).map_err(|fault| Error::Invalid(vec![fault]))?;
        let proven = self.check_password(ctx, user.handle.as_str(), current, address).await?;
        if proven.id != id {
            return Err(bad_credentials());
        }
        match self.replace_password(ctx, &user, new, once).await? {
            Written::Done(_) => Ok(Written::Done(())),
            Written::Replayed(answer) => self.confirm(ctx, &user, new, address, answer).await,
        }
    }

    /// Gives the answer to a change that was made before, if it was to this password. The record
    /// cannot say so: what is made from a password to compare it quickly is as good as the password
    /// to a thief. The account can, for the price of a sign-in, and as rarely.
    async fn confirm(
        &self,
        ctx: &Context,
        user: &User,
        new: &str,
        address: Option<IpAddr>,
        answer: StoredAnswer,
    ) -> Result<Written<()>> {
        match self.check_password(ctx, user.handle.as_str(), new, address).await {
            Ok(proven) if proven.id == user.id => Ok(Written::Replayed(answer)),
            Err(error) if error.code() != Code::BadCredentials => Err(error),
            _ => Err(Error::refused(
                Code::IdempotencyKeyReused,
                "This idempotency key was used before, and the account has another password than this one now.",
            )),
        }
    }

    async fn replace_password(
        &self,
        ctx: &Context,
        user: &User,
        new: &str,
        once: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        let hash = self.hash_password(ctx, new, context_of(user)).await?;
        let change = UserChange { password_hash: Some(hash), ..UserChange::default() };
        let caller = ctx.caller.clone();
        let decide = Arc::new(move |user: &User| users::policy::change(&caller, user, change.clone()));
        let written = self.users.change(ctx, user.id, decide, once).await?;
        if matches!(written, Written::Done(_)) {
            tracing::info!(user.id = user.id.0, "password changed");
        }
        Ok(written)
    }

    async fn user(&self, ctx: &Context, id: UserId) -> Result<User> {
        self.users.find(ctx, &UserKey::Id(id)).await?.ok_or_else(|| Error::not_found("user"))
    }

    /// The account that `login` and `password` belong to. Whatever is wrong, exactly one hash is
    /// computed, one failure is counted and one error is given.
    pub(super) async fn check_password(
        &self,
        ctx: &Context,
        login: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<User> {
        let login = login.trim().to_lowercase();
        let attempt = Attempt::new(self.throttle_secret(ctx).await?, &login, address);
        // Before the queue, so that those who are blocked do not fill it ...
        self.refuse_blocked(ctx, &attempt).await?;
        let turn = self.hasher.turn(ctx).await?;
        // ... and after it, so that those who came together do not all get through.
        self.refuse_blocked(ctx, &attempt).await?;
        let known = login.len() <= MAX_LOGIN_BYTES && !login.contains('\0');
        let record = if known { self.passwords.find(ctx, &login).await? } else { None };
        let (user, hash) = record.map_or((None, None), |record| (Some(record.user), record.hash));
        // What is too long to have been accepted is wrong without being hashed in full.
        let fits = password.len() <= MAX_BYTES;
        let normal = rules::normalise(if fits { password } else { "" });
        let (verdict, turn) = self.hasher.verify(turn, normal, hash.clone().filter(|_| fits)).await?;
        match user {
            Some(user) if verdict.matches && !user.disabled => {
                if verdict.outdated {
                    // A better hash is good to have, but no reason to keep somebody out.
                    let rehashed = match self.hasher.hash(turn, rules::normalise(password)).await {
                        Ok((stronger, _)) => {
                            self.passwords.rehash(ctx, user.id, hash.as_deref().unwrap_or_default(), stronger).await
                        }
                        Err(error) => Err(error),
                    };
                    if let Err(error) = rehashed {
                        tracing::warn!(error = %error, user.id = user.id.0, "password not rehashed");
                    }
                }
                self.passwords.clear_failures(ctx, &attempt.keys_to_clear()).await?;
                Ok(user)
            }
            user => {
                let id = user.map(|user| user.id);
                let policies = attempt.keys_with_policies(&self.settings.throttle);
                let blocked = self.passwords.record_failure(ctx, &policies, id, self.clock.now()).await?;
                drop(turn);
                tracing::info!(user.id = id.map(|id| id.0), blocked = blocked.is_some(), "sign-in failed");
                if blocked.is_some() {
                    let subject = id.map_or_else(|| "login:unknown".to_owned(), |id| format!("user:{id}"));
                    self.note(ctx, "login.blocked", subject).await;
                }
                Err(bad_credentials())
            }
        }
    }

    async fn refuse_blocked(&self, ctx: &Context, attempt: &Attempt) -> Result<()> {
        let now = self.clock.now();
        match self.passwords.blocked_until(ctx, &attempt.keys(), now).await? {
            Some(until) if until > now => {
                tracing::info!("sign-in refused without a look: too many have failed");
                Err(blocked(until, now))
            }
            _ => Ok(()),
        }
    }

    async fn throttle_secret(&self, ctx: &Context) -> Result<&[u8]> {
        let secret = self
            .throttle_secret
            .get_or_try_init(|| async {
                let mut fresh = vec![0; 32];
                self.entropy.fill(&mut fresh)?;
                self.secrets.get_or_insert(ctx, "throttle-key", fresh).await
            })
            .await?;
        Ok(secret)
    }
}

/// The names around an account.
fn context_of(user: &User) -> PasswordContext<'_> {
    PasswordContext {
        handle: user.handle.as_str(),
        email: user.email.as_ref().map(users::Email::as_str),
        display_name: user.display_name.as_str(),
    }
}

pub(super) fn bad_credentials() -> Error {
    Error::refused(Code::BadCredentials, "The name and the password do not belong together.")
}

fn blocked(until: Timestamp, now: Timestamp) -> Error {
    // Rounded up, so that whoever waits as told is let in.
    let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    Error::try_later(Code::RateLimited, "Too many sign-ins have failed. Wait before the next one.", wait)
}
