//! Who may see and change accounts. Profiles of those who write are public; everything else is
//! one's own, or the administrator's.

use crate::access::{Caller, Permission, Permit};
use crate::error::{Code, Error, Result};

use super::{NewUser, User, UserChange, UserId};

/// Whether `caller` may see the profile of `user`.
pub fn may_see(caller: &Caller, user: &User) -> bool {
    user.is_public() || caller.user_id() == Some(user.id) || caller.can_see(Permission::UserManage)
}

/// Whether `caller` may see the accounts behind the profiles, or why not.
pub fn list_accounts(caller: &Caller) -> Result<()> {
    if caller.can_see(Permission::UserManage) {
        return Ok(());
    }
    caller.require(Permission::UserManage)
}

/// Whose account `caller` may see in full: their own.
pub fn own_account(caller: &Caller) -> Result<UserId> {
    match caller {
        Caller::User(signed_in)
            if caller.can_see(Permission::AccountManage) || caller.can(Permission::AccountManage) =>
        {
            Ok(signed_in.user)
        }
        Caller::User(_) => Err(Error::refused(Code::Forbidden, "This needs a token with the scope read or account.")),
        Caller::Anonymous => Err(Error::refused(Code::Unauthenticated, "This needs an access token.")),
        Caller::Operator => Err(Error::refused(Code::Forbidden, "The operator has no account.")),
    }
}

/// Allows making an account, or says why not.
pub fn create(caller: &Caller, new: NewUser) -> Result<Permit<NewUser>> {
    caller.require(Permission::UserManage)?;
    Ok(Permit::grant(new, caller))
}

/// Allows the first account, which nobody can be there to allow: the caller has proven to hold
/// the one-time set-up secret, and the store makes sure that there is nobody yet.
pub fn create_first(caller: &Caller, new: NewUser) -> Permit<NewUser> {
    Permit::grant(new, caller)
}

/// Allows a change to an account, or says why not.
pub fn change(caller: &Caller, user: &User, change: UserChange) -> Result<Permit<UserChange>> {
    let own = caller.user_id() == Some(user.id);
    if !own {
        caller.require(Permission::UserManage)?;
    }
    if own {
        caller.require(Permission::AccountManage)?;
        if change.role.is_some() || change.disabled.is_some() {
            return Err(Error::refused(Code::Forbidden, "Nobody changes their own role or status."));
        }
    }
    Ok(Permit::grant(change, caller))
}
