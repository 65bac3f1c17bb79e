//! An account as a row.

use inkstone_core::access::Role;
use inkstone_core::users::{Bio, DisplayName, Email, Handle, User, WebUrl};
use inkstone_core::{Error, Result};

use crate::db::{FromRow, Row};
use crate::store::stored;

/// The columns of an account under the alias `u`, in the order that [`read`] expects.
macro_rules! columns {
    () => {
        "u.id, u.handle, u.email, u.display_name, u.bio, u.avatar_url, u.role, u.disabled, u.version,
               u.created_at, u.updated_at"
    };
}
pub(crate) use columns;

/// How many columns that are.
pub(crate) const COLUMNS: usize = 11;

pub(crate) struct UserRow(pub(crate) User);

impl FromRow for UserRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        read(row, 0).map(Self)
    }
}

/// Reads an account whose columns begin at `first`.
pub(crate) fn read(row: &Row<'_>, first: usize) -> Result<User> {
    let role = row.str(first + 6)?;
    Ok(User {
        id: row.get(first)?,
        handle: stored("handle", Handle::try_from(row.text(first + 1)?))?,
        email: row.opt_text(first + 2)?.map(|email| stored("email", Email::try_from(email))).transpose()?,
        display_name: stored("display name", DisplayName::try_from(row.text(first + 3)?))?,
        bio: stored("bio", Bio::try_from(row.text(first + 4)?))?,
        avatar_url: row.opt_text(first + 5)?.map(|url| stored("avatar", WebUrl::try_from(url))).transpose()?,
        role: Role::parse(role).ok_or_else(|| Error::internal("stored role is not known"))?,
        disabled: row.bool(first + 7)?,
        version: row.int(first + 8)?,
        created_at: row.time(first + 9)?,
        updated_at: row.time(first + 10)?,
    })
}
