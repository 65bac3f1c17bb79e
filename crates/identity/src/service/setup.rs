//! The first administrator: nobody is there to allow it, so a secret on the terminal does.

use inkstone_core::Context;
use inkstone_core::access::{Caller, Role};
use inkstone_core::error::{Code, Error, Fault, Result};
use inkstone_core::idempotency::{Idempotency, Written};
use inkstone_core::users::{self, DisplayName, Email, Handle, NewUser, User};
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use crate::password::rules::{self, PasswordContext};
use crate::settings::later;
use crate::tokens::SecretKind;

use super::{IdentityService, subject_of};

/// The name under which the store keeps the hash of the secret and its end.
const SECRET_NAME: &str = "setup";

/// Who the first administrator is to be, as somebody typed it.
#[derive(Clone, Default)]
pub struct FirstAdministrator {
    /// Their handle.
    pub handle: String,
    /// Their address, if they give one.
    pub email: Option<String>,
    /// Their name; the handle where it is missing.
    pub display_name: Option<String>,
    /// Their password.
    pub password: String,
}

impl std::fmt::Debug for FirstAdministrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstAdministrator").finish_non_exhaustive()
    }
}

impl IdentityService {
    /// Whether the installation waits for its first administrator: no account can sign in.
    pub async fn needs_setup(&self, ctx: &Context) -> Result<bool> {
        Ok(!self.passwords.any_can_sign_in(ctx).await?)
    }

    /// A fresh one-time secret for [`Self::complete_setup`], to be shown to the operator alone;
    /// one that was shown before is void. `None` as soon as any account can sign in.
    pub async fn begin_setup(&self, ctx: &Context) -> Result<Option<String>> {
        if ctx.caller != Caller::Operator {
            return Err(Error::refused(Code::Forbidden, "Only the operator begins the set-up."));
        }
        if !self.needs_setup(ctx).await? {
            self.end_setup(ctx).await?;
            return Ok(None);
        }
        let (secret, hash) = SecretKind::Setup.mint(&*self.entropy)?;
        let expires_at = later(self.clock.now(), self.settings.setup_lifetime);
        let mut kept = hash.to_vec();
        kept.extend(expires_at.as_second().to_be_bytes());
        self.secrets.put(ctx, SECRET_NAME, kept).await?;
        self.note(ctx, "setup.begun", "site".to_owned()).await;
        Ok(Some(secret))
    }

    /// Removes a secret that is good for nothing any more. A node that starts may do without while the database
    /// takes no changes.
    async fn end_setup(&self, ctx: &Context) -> Result<()> {
        if self.secrets.get(ctx, SECRET_NAME).await?.is_none() {
            return Ok(());
        }
        match self.secrets.remove(ctx, SECRET_NAME).await {
            Err(error) if error.is_retryable() => {
                tracing::warn!(error = %error, "the secret of the set-up, which is over, cannot be removed for now");
                Ok(())
            }
            removed => removed.map(drop),
        }
    }

    /// Makes the first administrator. Works once: whoever else holds the secret at the same time
    /// is refused by the store.
    ///
    /// # Errors
    /// `Unauthenticated` for a secret that is not good; `Invalid` with all faults; `Conflict` when
    /// somebody can sign in already.
    pub async fn complete_setup(&self, ctx: &Context, secret: &str, first: FirstAdministrator) -> Result<User> {
        self.complete_setup_once(ctx, secret, first, None).await?.done()
    }

    /// The same for a request that may come with an idempotency key. Its fingerprint is made from
    /// a password, but also from the secret, which nobody can guess.
    ///
    /// # Errors
    /// As [`Self::complete_setup`], and those of idempotency keys.
    pub async fn complete_setup_once(
        &self,
        ctx: &Context,
        secret: &str,
        first: FirstAdministrator,
        once: Option<Idempotency<User>>,
    ) -> Result<Written<User>> {
        // The first time has used the secret up.
        if let Some(answer) = self.kept_answer(ctx, once.as_ref()).await? {
            return Ok(Written::Replayed(answer));
        }
        if !self.is_setup_secret(ctx, secret).await? {
            tracing::warn!("set-up refused: the secret is not good");
            // Only while there is something to guess: else anybody could fill the log for ever.
            if self.secrets.get(ctx, SECRET_NAME).await?.is_some() {
                self.note(ctx, "setup.refused", "site".to_owned()).await;
            }
            return Err(Error::refused(
                Code::Unauthenticated,
                "The set-up secret is wrong, used or expired. Unless somebody can sign in already, a restart of the server \
                 gives a new one.",
            ));
        }
        let (new, password) = self.first_account(first)?;
        let turn = self.hasher.turn(ctx).await?;
        let (hash, _) = self.hasher.hash(turn, password).await?;
        let new = NewUser { password_hash: Some(hash), ..new };
        let permit = users::policy::create_first(&ctx.caller, new);
        let user = match self.users.create(ctx, permit, true, once).await? {
            Written::Done(user) => user,
            Written::Replayed(answer) => return Ok(Written::Replayed(answer)),
        };
        // From here on the store refuses a second one whether or not the secret is gone.
        if let Err(error) = self.secrets.remove(ctx, SECRET_NAME).await {
            tracing::warn!(error = %error, "the used set-up secret was not removed");
        }
        self.note(ctx, "setup.completed", subject_of(&user)).await;
        tracing::info!(user.id = user.id.0, "the first administrator was made");
        Ok(Written::Done(user))
    }

    async fn is_setup_secret(&self, ctx: &Context, secret: &str) -> Result<bool> {
        let Some(hash) = SecretKind::Setup.recognise(secret) else { return Ok(false) };
        let Some(kept) = self.secrets.get(ctx, SECRET_NAME).await? else { return Ok(false) };
        let Some((kept_hash, end)) = kept.split_first_chunk::<32>() else { return Ok(false) };
        let Ok(end) = <[u8; 8]>::try_from(end) else { return Ok(false) };
        let alive = Timestamp::from_second(i64::from_be_bytes(end)).is_ok_and(|end| self.clock.now() < end);
        Ok(alive && bool::from(kept_hash.ct_eq(&hash)))
    }

    /// Reads all fields, and says all that is wrong with them at once.
    fn first_account(&self, first: FirstAdministrator) -> Result<(NewUser, secrecy::zeroize::Zeroizing<String>)> {
        let FirstAdministrator { handle, email, display_name, password } = first;
        let display_name = display_name.unwrap_or_else(|| handle.clone());
        let context = PasswordContext { handle: &handle, email: email.as_deref(), display_name: &display_name };
        let password = rules::check(&password, context, &self.settings.site_name);
        let at = |pointer: &'static str| move |fault: Fault| fault.under(pointer);
        let handle = Handle::try_from(handle).map_err(at("/handle"));
        let email = email.map(Email::try_from).transpose().map_err(at("/email"));
        let display_name = DisplayName::try_from(display_name).map_err(at("/display_name"));
        match (handle, email, display_name, password) {
            (Ok(handle), Ok(email), Ok(display_name), Ok(password)) => {
                let created_at = self.clock.now();
                let role = Role::Administrator;
                Ok((NewUser { handle, email, display_name, role, password_hash: None, created_at }, password))
            }
            (handle, email, display_name, password) => Err(Error::Invalid(
                [handle.err(), email.err(), display_name.err(), password.err()].into_iter().flatten().collect(),
            )),
        }
    }
}
