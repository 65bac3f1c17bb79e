//! What identity keeps: sessions, tokens, keys, passwords, secrets.

mod keys;
mod passwords;
mod secrets;
mod sessions;
mod tokens;

use crate::db::{Statement, Variant};

pub(crate) use sessions::end_all_of as end_sessions_of;
pub(crate) use tokens::end_all_of as end_personal_tokens_of;

pub(crate) const STATEMENTS: &[&[&Statement]] =
    &[keys::STATEMENTS, passwords::STATEMENTS, secrets::STATEMENTS, sessions::STATEMENTS, tokens::STATEMENTS];

pub(crate) const MARIADB: &[&[Variant]] = &[passwords::MARIADB, secrets::MARIADB];
