//! Who may see, write, publish and delete posts.
//!
//! Everybody sees what is published. Authors see and change their own drafts; publishing and
//! changing what is published takes [`Permission::PostPublishOwn`]; other people's posts take
//! [`Permission::PostManageAny`]. Who may not see a draft gets "not found", never "forbidden".

use crate::access::{Caller, Permission, Permit};
use crate::error::{Code, Error, Result};
use crate::users::UserId;

use super::{NewPost, Post, PostChange, Status};

/// Whether `caller` may see `post`.
pub fn may_see(caller: &Caller, post: &Post) -> bool {
    post.status == Status::Published
        || caller.can_see(Permission::PostManageAny)
        || (caller.can_see(Permission::PostDraftOwn) && caller.user_id().is_some_and(|user| post.is_by(user)))
}

/// Among whose drafts `caller` may look: everybody's (`None`) or one person's.
///
/// # Errors
/// For callers without drafts.
pub fn whose_drafts(caller: &Caller) -> Result<Option<UserId>> {
    if caller.can_see(Permission::PostManageAny) {
        return Ok(None);
    }
    match caller {
        Caller::User(signed_in) if caller.can_see(Permission::PostDraftOwn) => Ok(Some(signed_in.user)),
        Caller::Anonymous => Err(Error::refused(Code::Unauthenticated, "Drafts need an access token.")),
        _ => Err(Error::refused(Code::Forbidden, "Your role or your token does not let you see drafts.")),
    }
}

/// Allows `new`, or says why not.
pub fn create(caller: &Caller, new: NewPost) -> Result<Permit<NewPost>> {
    caller.require(Permission::PostDraftOwn)?;
    if new.status == Status::Published {
        caller.require(Permission::PostPublishOwn)?;
    }
    let own = caller.user_id().is_some_and(|user| new.authors.contains(&user));
    if !own {
        caller.require(Permission::PostManageAny)?;
    }
    Ok(Permit::grant(new, caller))
}

/// Allows `change` to `post`, or says why not.
pub fn change(caller: &Caller, post: &Post, change: PostChange) -> Result<Permit<PostChange>> {
    touch(caller, post)?;
    if change.status == Status::Published && post.status == Status::Draft && !caller.can(Permission::PostManageAny) {
        caller.require(Permission::PostPublishOwn)?;
    }
    // Giving a post away, or slipping it under somebody's name, is for editors.
    if let (Some(authors), Some(user)) = (&change.authors, caller.user_id())
        && !authors.contains(&user)
    {
        caller.require(Permission::PostManageAny)?;
    }
    Ok(Permit::grant(change, caller))
}

/// Allows deleting `post`, or says why not.
pub fn delete(caller: &Caller, post: &Post) -> Result<Permit<()>> {
    touch(caller, post)?;
    Ok(Permit::grant((), caller))
}

/// Whether `caller` may change `post` in any way.
fn touch(caller: &Caller, post: &Post) -> Result<()> {
    if caller.can(Permission::PostManageAny) {
        return Ok(());
    }
    if !may_see(caller, post) {
        // A write-only token of the author may not see the draft, but it exists for them all the same.
        let own = caller.user_id().is_some_and(|user| post.is_by(user));
        if !own {
            return Err(match caller {
                Caller::Anonymous => Error::refused(Code::Unauthenticated, "This needs an access token."),
                _ => Error::not_found("post"),
            });
        }
    }
    let needed = match post.status {
        Status::Draft => Permission::PostDraftOwn,
        Status::Published => Permission::PostPublishOwn,
    };
    if caller.user_id().is_some_and(|user| post.is_by(user)) {
        return caller.require(needed);
    }
    caller.require(Permission::PostManageAny)
}
