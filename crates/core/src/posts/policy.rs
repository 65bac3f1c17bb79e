//! Who may see, write, publish and delete posts.
//!
//! Everybody sees what is published. Authors see and change their own drafts; publishing and
//! changing what is published takes [`Permission::PostPublishOwn`]; other people's posts, and
//! putting a post under other people's names, take [`Permission::PostManageAny`]. Who may not
//! see a draft gets "not found", never "forbidden".

use crate::access::{Caller, Permission, Permit};
use crate::error::{Code, Error, Result};
use crate::users::UserId;

use super::{NewPost, Post, PostChange, PostFilter, Status};

/// Whether `caller` may see `post`.
pub fn may_see(caller: &Caller, post: &Post) -> bool {
    post.status == Status::Published
        || caller.can_see(Permission::PostManageAny)
        || (caller.can_see(Permission::PostDraftOwn) && is_own(caller, post))
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

/// Narrows what is asked for to what `caller` may see: published posts, unless drafts are asked
/// for by somebody who has some.
///
/// # Errors
/// As for [`whose_drafts`].
pub fn narrow(caller: &Caller, filter: PostFilter) -> Result<PostFilter> {
    let status = filter.status.unwrap_or(Status::Published);
    let only_by = match status {
        Status::Published => None,
        Status::Draft => whose_drafts(caller)?,
    };
    Ok(PostFilter { status: Some(status), only_by, ..filter })
}

/// Whether `caller` may make a post with this status under these names, or why not.
pub fn may_create(caller: &Caller, status: Status, authors: &[UserId]) -> Result<()> {
    caller.require(Permission::PostDraftOwn)?;
    if status == Status::Published {
        caller.require(Permission::PostPublishOwn)?;
    }
    if caller.user_id().is_none_or(|user| authors.iter().any(|author| *author != user)) {
        require_any(caller, "Only editors name other people as authors.")?;
    }
    Ok(())
}

/// Allows `new`, or says why not.
pub fn create(caller: &Caller, new: NewPost) -> Result<Permit<NewPost>> {
    may_create(caller, new.status, &new.authors)?;
    Ok(Permit::grant(new, caller))
}

/// Allows `change` to `post`, or says why not.
pub fn change(caller: &Caller, post: &Post, change: PostChange) -> Result<Permit<PostChange>> {
    touch(caller, post)?;
    if change.status == Status::Published && post.status == Status::Draft && !caller.can(Permission::PostManageAny) {
        caller.require(Permission::PostPublishOwn)?;
    }
    // Giving a post away, or putting it under somebody's name, is for editors.
    if change.authors.as_ref().is_some_and(|authors| !authors.iter().eq(post.authors.iter().map(|author| &author.id))) {
        require_any(caller, "Only editors change who wrote a post.")?;
    }
    Ok(Permit::grant(change, caller))
}

/// Allows deleting `post`, or says why not.
pub fn delete(caller: &Caller, post: &Post) -> Result<Permit<()>> {
    touch(caller, post)?;
    Ok(Permit::grant((), caller))
}

/// Whether `caller` may bring posts in from elsewhere, with a past: the operator only.
pub fn may_import(caller: &Caller) -> Result<()> {
    match caller {
        Caller::Operator => Ok(()),
        Caller::Anonymous => caller.require(Permission::PostManageAny),
        Caller::User(_) => Err(Error::refused(Code::Forbidden, "Only the operator imports posts.")),
    }
}

/// Allows importing `new`, or says why not.
pub fn import(caller: &Caller, new: NewPost) -> Result<Permit<NewPost>> {
    may_import(caller)?;
    Ok(Permit::grant(new, caller))
}

/// Allows `change` to `post` by importing it again, or says why not.
pub fn reimport(caller: &Caller, change: PostChange) -> Result<Permit<PostChange>> {
    may_import(caller)?;
    Ok(Permit::grant(change, caller))
}

fn is_own(caller: &Caller, post: &Post) -> bool {
    caller.user_id().is_some_and(|user| post.is_by(user))
}

/// Whether `caller` may change `post` in any way.
fn touch(caller: &Caller, post: &Post) -> Result<()> {
    if caller.can(Permission::PostManageAny) {
        return Ok(());
    }
    let needed = match (is_own(caller, post), post.status) {
        (true, Status::Draft) => Permission::PostDraftOwn,
        (true, Status::Published) => Permission::PostPublishOwn,
        (false, _) => Permission::PostManageAny,
    };
    // A token that may write but not read changes its owner's drafts all the same.
    if !may_see(caller, post) && !caller.can(needed) && *caller != Caller::Anonymous {
        return Err(Error::not_found("post"));
    }
    caller.require(needed)
}

/// Requires [`Permission::PostManageAny`], and tells people with lesser roles what it is about.
fn require_any(caller: &Caller, detail: &'static str) -> Result<()> {
    caller.require(Permission::PostManageAny).map_err(|error| match (error.code(), caller) {
        (Code::Forbidden, Caller::User(signed_in))
            if !signed_in.role.permissions().contains(&Permission::PostManageAny) =>
        {
            Error::refused(Code::Forbidden, detail)
        }
        _ => error,
    })
}
