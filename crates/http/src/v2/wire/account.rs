//! What is one's own: the account, its sessions and its tokens.

use inkstone_core::identity::{PersonalToken, Session};
use serde::Serialize;
use utoipa::ToSchema;

use super::UserBody;
use crate::wire::{Narrow, Timed, time};

/// One's own account: the profile and what is private of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountBody {
    /// The public part.
    #[serde(flatten)]
    pub profile: UserBody,
    /// The e-mail address.
    #[schema(max_length = 254, format = Email, example = "ada@example.org")]
    pub email: Option<String>,
    /// The role.
    #[schema(value_type = RoleWord, example = "author")]
    pub role: &'static str,
    /// What the token at hand may be used for.
    #[schema(value_type = Vec<ScopeWord>, max_items = 5, example = json!(["read", "posts:write"]))]
    pub scopes: Vec<&'static str>,
    /// When the account changed last.
    #[schema(value_type = Timed)]
    pub updated_at: String,
}

impl Narrow for AccountBody {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "handle",
        "display_name",
        "bio",
        "avatar_url",
        "created_at",
        "links",
        "email",
        "role",
        "scopes",
        "updated_at",
    ];
}

/// What a person may do here; each role includes those before it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "names the values for the API reference")]
pub(crate) enum RoleWord {
    /// Reads.
    Reader,
    /// Writes drafts.
    Contributor,
    /// Publishes posts of their own.
    Author,
    /// Looks after everybody's posts and tags.
    Editor,
    /// Looks after the site and its people.
    Administrator,
}

/// What a token may be used for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Scope)]
#[expect(dead_code, reason = "names the values for the API reference")]
pub(crate) enum ScopeWord {
    /// Read what its owner may read.
    #[serde(rename = "read")]
    Read,
    /// Write posts.
    #[serde(rename = "posts:write")]
    Posts,
    /// Write tags.
    #[serde(rename = "tags:write")]
    Tags,
    /// Manage the owner's account.
    #[serde(rename = "account")]
    Account,
    /// Manage people.
    #[serde(rename = "users:write")]
    Users,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody {
    /// Its number.
    #[schema(minimum = 1, example = 11)]
    pub id: i64,
    /// Whether it is the one that asks.
    #[schema(example = true)]
    pub current: bool,
    /// When it began.
    #[schema(value_type = Timed)]
    pub created_at: String,
    /// When it was last refreshed.
    #[schema(value_type = Timed)]
    pub last_used_at: String,
    /// When it ends.
    #[schema(value_type = Timed)]
    pub expires_at: String,
}

impl Narrow for SessionBody {
    const FIELDS: &'static [&'static str] = &["id", "current", "created_at", "last_used_at", "expires_at"];
}

impl SessionBody {
    /// Shows `session`.
    pub(crate) fn of(session: &Session, current: bool) -> Self {
        Self {
            id: session.id,
            current,
            created_at: time(session.created_at),
            last_used_at: time(session.last_used_at),
            expires_at: time(session.expires_at),
        }
    }
}

/// A personal access token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PersonalToken)]
pub(crate) struct TokenBody {
    /// Its number.
    #[schema(minimum = 1, example = 5)]
    pub id: i64,
    /// What it is for.
    #[schema(min_length = 1, max_length = 100, example = "deploy script")]
    pub name: String,
    /// How it begins, to recognise it by.
    #[schema(max_length = 32, example = "ink_pat_k3Xv")]
    pub hint: String,
    /// What it may be used for.
    #[schema(value_type = Vec<ScopeWord>, max_items = 5, example = json!(["read", "posts:write"]))]
    pub scopes: Vec<&'static str>,
    /// When it was made.
    #[schema(value_type = Timed)]
    pub created_at: String,
    /// When it ends.
    #[schema(value_type = Timed)]
    pub expires_at: String,
    /// When it was last used, to the hour.
    #[schema(value_type = Option<Timed>)]
    pub last_used_at: Option<String>,
    /// The token itself: shown in the answer that creates it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub token: Option<String>,
}

/// Without `token`, which no list shows.
impl Narrow for TokenBody {
    const FIELDS: &'static [&'static str] =
        &["id", "name", "hint", "scopes", "created_at", "expires_at", "last_used_at"];
}

impl TokenBody {
    /// Shows `token`; `secret` only when it was just made.
    pub(crate) fn of(token: &PersonalToken, secret: Option<String>) -> Self {
        Self {
            id: token.id,
            name: token.name.clone(),
            hint: token.hint.clone(),
            scopes: token.scopes.iter().map(inkstone_core::access::Scope::as_str).collect(),
            created_at: time(token.created_at),
            expires_at: time(token.expires_at),
            last_used_at: token.last_used_at.map(time),
            token: secret,
        }
    }
}
