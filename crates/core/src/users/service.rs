//! What can be done with accounts and profiles.

use std::sync::Arc;

use crate::access::{Caller, Permission, Role};
use crate::clock::SharedClock;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::page::{self, Page, Position};
use crate::precondition::Precondition;

use super::{NewUser, ProfilePatch, User, UserChange, UserId, UserKey, UserQuery, UserRepository, policy};

/// People, as every presentation uses them.
#[derive(Clone)]
pub struct UserService {
    users: Arc<dyn UserRepository>,
    clock: SharedClock,
}

impl UserService {
    /// The service over a store.
    pub fn new(users: Arc<dyn UserRepository>, clock: SharedClock) -> Self {
        Self { users, clock }
    }

    /// One profile.
    ///
    /// # Errors
    /// `NotFound`, also for a profile that the caller may not see. Looking for an e-mail address
    /// takes the permission to manage people, since an address is private.
    pub async fn find(&self, ctx: &Context, key: &UserKey) -> Result<User> {
        if matches!(key, UserKey::Email(_)) && !ctx.caller.can_see(Permission::UserManage) {
            return Err(Error::not_found("user"));
        }
        let found = self.users.find(ctx, key).await?;
        found.filter(|user| policy::may_see(&ctx.caller, user)).ok_or_else(|| Error::not_found("user"))
    }

    /// One page of public profiles, by id.
    ///
    /// # Errors
    /// `BadQuery` for a limit or an offset out of range, `BadCursor` for a cursor of another list.
    pub async fn list(&self, ctx: &Context, position: Position, limit: u32) -> Result<Page<User>> {
        page::check(limit, &position, page::Kind::Id)?;
        self.users.list(ctx, &UserQuery { public_only: true, position, limit }).await
    }

    /// How many public profiles there are.
    pub async fn count(&self, ctx: &Context) -> Result<u64> {
        self.users.count(ctx, true).await
    }

    /// One page of all accounts, by id.
    ///
    /// # Errors
    /// `Unauthenticated` or `Forbidden` for whoever does not manage people; and as for [`Self::list`].
    pub async fn list_accounts(&self, ctx: &Context, position: Position, limit: u32) -> Result<Page<User>> {
        policy::list_accounts(&ctx.caller)?;
        page::check(limit, &position, page::Kind::Id)?;
        self.users.list(ctx, &UserQuery { public_only: false, position, limit }).await
    }

    /// The caller's own account.
    ///
    /// # Errors
    /// `Unauthenticated`; `Forbidden` for tokens that may neither read nor manage the account, and
    /// for the operator, who has none.
    pub async fn me(&self, ctx: &Context) -> Result<User> {
        let id = policy::own_account(&ctx.caller)?;
        self.users.find(ctx, &UserKey::Id(id)).await?.ok_or_else(|| Error::not_found("user"))
    }

    /// Changes the caller's own profile.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`, `PreconditionFailed`, `PreconditionRequired`.
    pub async fn change_own_profile(
        &self,
        ctx: &Context,
        precondition: Precondition<User>,
        patch: ProfilePatch,
    ) -> Result<User> {
        ctx.caller.require(Permission::AccountManage)?;
        let Some(id) = ctx.caller.user_id() else {
            return Err(Error::refused(Code::Forbidden, "The operator has no account."));
        };
        let ProfilePatch { display_name, bio, avatar_url } = patch;
        let change = UserChange { display_name, bio, avatar_url, ..UserChange::default() };
        self.change(ctx, id, precondition, change).await
    }

    /// Makes an account. The time of `new` is set here.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`; `Invalid` with `Taken` at `/handle` or `/email`.
    pub async fn create(&self, ctx: &Context, new: NewUser) -> Result<User> {
        let new = NewUser { created_at: self.clock.now(), ..new };
        self.users.create(ctx, policy::create(&ctx.caller, new)?, false, None).await?.done()
    }

    /// Makes the first account, for whoever has shown the one-time set-up secret. The role of
    /// `new` is set here: the first one is an administrator.
    ///
    /// # Errors
    /// `Conflict` once somebody can sign in; `Invalid` with `Taken` at `/handle` or `/email`.
    pub async fn create_first(&self, ctx: &Context, new: NewUser) -> Result<User> {
        let new = NewUser { role: Role::Administrator, created_at: self.clock.now(), ..new };
        self.users.create(ctx, policy::create_first(&ctx.caller, new), true, None).await?.done()
    }

    /// Gives somebody another role.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden` (also for one's own role), `NotFound`.
    pub async fn set_role(&self, ctx: &Context, id: UserId, role: Role) -> Result<User> {
        self.manage(ctx, id, UserChange { role: Some(role), ..UserChange::default() }).await
    }

    /// Shuts somebody out, or lets them in again. Shutting out ends every session and token of theirs.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden` (also for oneself), `NotFound`.
    pub async fn set_disabled(&self, ctx: &Context, id: UserId, disabled: bool) -> Result<User> {
        self.manage(ctx, id, UserChange { disabled: Some(disabled), ..UserChange::default() }).await
    }

    /// Sets somebody's password, already hashed (PHC string). Ends every session of theirs.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`, `NotFound`.
    pub async fn set_password_hash(&self, ctx: &Context, id: UserId, hash: String) -> Result<User> {
        self.manage(ctx, id, UserChange { password_hash: Some(hash), ..UserChange::default() }).await
    }

    async fn manage(&self, ctx: &Context, id: UserId, change: UserChange) -> Result<User> {
        ctx.caller.require(Permission::UserManage)?;
        self.change(ctx, id, Precondition::Unconditional, change).await
    }

    async fn change(
        &self,
        ctx: &Context,
        id: UserId,
        precondition: Precondition<User>,
        change: UserChange,
    ) -> Result<User> {
        let caller: Caller = ctx.caller.clone();
        let decide = Arc::new(move |user: &User| {
            let permit = policy::change(&caller, user, change.clone())?;
            precondition.check(user)?;
            Ok(permit)
        });
        self.users.change(ctx, id, decide, None).await?.done()
    }
}
