//! Who may create, rename and delete tags. Everybody sees them.

use crate::access::{Caller, Permission, Permit};
use crate::error::Result;

use super::{NewTag, TagChange};

/// Allows making a tag, or says why not.
pub fn create(caller: &Caller, new: NewTag) -> Result<Permit<NewTag>> {
    caller.require(Permission::TagCreate)?;
    Ok(Permit::grant(new, caller))
}

/// Allows a change to a tag, or says why not.
pub fn change(caller: &Caller, change: TagChange) -> Result<Permit<TagChange>> {
    caller.require(Permission::TagManage)?;
    Ok(Permit::grant(change, caller))
}

/// Allows deleting a tag, or says why not.
pub fn delete(caller: &Caller) -> Result<Permit<()>> {
    caller.require(Permission::TagManage)?;
    Ok(Permit::grant((), caller))
}
