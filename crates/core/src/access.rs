//! Who may do what: roles, permissions, scopes, callers and permits.
//!
//! The table in [`Role::permissions`] is the whole of role-based access; the rules for one's own
//! things stand in each resource's `policy`. A policy turns caller, action and resource into a
//! [`Permit`], and a write cannot be called without one.

use crate::error::{Code, Error, Result};
use crate::users::UserId;

/// What a person is on this blog. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads what is public and keeps an account.
    Reader,
    /// Writes drafts, which somebody else publishes.
    Contributor,
    /// Writes and publishes posts of their own.
    Author,
    /// Looks after everybody's posts and tags.
    Editor,
    /// Looks after the site and its people.
    Administrator,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Role; 5] = [Role::Reader, Role::Contributor, Role::Author, Role::Editor, Role::Administrator];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Contributor => "contributor",
            Self::Author => "author",
            Self::Editor => "editor",
            Self::Administrator => "administrator",
        }
    }

    /// The role with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The table: who may do what.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{
            AccountManage, PostDraftOwn, PostManageAny, PostPublishOwn, TagCreate, TagManage, UserManage,
        };
        match self {
            Self::Reader => &[AccountManage],
            Self::Contributor => &[AccountManage, PostDraftOwn],
            Self::Author => &[AccountManage, PostDraftOwn, PostPublishOwn, TagCreate],
            Self::Editor => &[AccountManage, PostDraftOwn, PostPublishOwn, TagCreate, PostManageAny, TagManage],
            Self::Administrator => {
                &[AccountManage, PostDraftOwn, PostPublishOwn, TagCreate, PostManageAny, TagManage, UserManage]
            }
        }
    }
}

/// One thing that a role can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See and change one's own account, tokens and sessions.
    AccountManage,
    /// Create drafts; read, change and delete one's own.
    PostDraftOwn,
    /// Publish, change and delete published posts of one's own.
    PostPublishOwn,
    /// Read, change, publish and delete everybody's posts.
    PostManageAny,
    /// Create tags (also by naming a new one on a post).
    TagCreate,
    /// Rename and delete tags.
    TagManage,
    /// Create accounts, change roles, disable people.
    UserManage,
}

impl Permission {
    /// The scope that a token must carry to use this permission.
    pub fn scope(self) -> Scope {
        match self {
            Self::AccountManage => Scope::Account,
            Self::PostDraftOwn | Self::PostPublishOwn | Self::PostManageAny => Scope::Posts,
            Self::TagCreate | Self::TagManage => Scope::Tags,
            Self::UserManage => Scope::Users,
        }
    }
}

/// What a token may be used for. Scopes only narrow: a token never allows more than its owner's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Read what the owner may read, drafts included.
    Read,
    /// Write posts.
    Posts,
    /// Write tags.
    Tags,
    /// Manage the owner's account.
    Account,
    /// Manage people.
    Users,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Posts, Scope::Tags, Scope::Account, Scope::Users];

    /// The stable text, as it stands in tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Posts => "posts:write",
            Self::Tags => "tags:write",
            Self::Account => "account",
            Self::Users => "users:write",
        }
    }

    /// The scope with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// All of them: what a person has who signed in with a password.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether `scope` is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// What both sets have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The scopes one by one, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }

    /// Space-separated, as OAuth writes scopes (RFC 6749 §3.3).
    pub fn to_text(self) -> String {
        self.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Reads space-separated scopes.
    ///
    /// # Errors
    /// The first word that is no scope.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        text.split_ascii_whitespace().map(|word| Scope::parse(word).ok_or_else(|| word.to_owned())).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// Whoever calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// An account, by session or by token.
    User(SignedIn),
    /// The operator at the machine: commands and imports. May do everything.
    Operator,
}

/// An account that has proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Whose account.
    pub user: UserId,
    /// The account's role at this moment.
    pub role: Role,
    /// What the token at hand may be used for.
    pub scopes: Scopes,
    /// How they proved it.
    pub credential: Credential,
}

/// What a signed-in caller showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An access token of this session.
    Session(i64),
    /// This personal access token.
    PersonalToken(i64),
}

impl Caller {
    /// The account, if there is one.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User(signed_in) => Some(signed_in.user),
            Self::Anonymous | Self::Operator => None,
        }
    }

    /// Whether role and scopes together allow `permission`.
    pub fn can(&self, permission: Permission) -> bool {
        match self {
            Self::Anonymous => false,
            Self::User(caller) => {
                caller.role.permissions().contains(&permission) && caller.scopes.contains(permission.scope())
            }
            Self::Operator => true,
        }
    }

    /// Whether the caller may see what `permission` would let them change. Needs the role and the
    /// read scope only, so that a read-only token sees its owner's drafts.
    pub fn can_see(&self, permission: Permission) -> bool {
        match self {
            Self::Anonymous => false,
            Self::User(caller) => {
                caller.role.permissions().contains(&permission) && caller.scopes.contains(Scope::Read)
            }
            Self::Operator => true,
        }
    }

    /// Requires `permission`.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] for nobody in particular, [`Code::InsufficientScope`] for a token
    /// that was made for less, [`Code::Forbidden`] for somebody whose role does not allow it.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.can(permission) {
            return Ok(());
        }
        Err(match self {
            Self::Anonymous => Error::refused(Code::Unauthenticated, "This needs an access token."),
            Self::User(caller) if !caller.scopes.contains(permission.scope()) => Error::LacksScope(permission.scope()),
            _ => Error::refused(Code::Forbidden, "Your role does not allow this."),
        })
    }
}

/// A change that a policy has allowed. Only policies in this crate can make one, and every
/// repository write takes one, so a write that nobody allowed does not compile.
#[derive(Debug, Clone)]
pub struct Permit<T> {
    change: T,
    actor: Actor,
}

impl<T> Permit<T> {
    /// Minted by policies only.
    pub(crate) fn grant(change: T, caller: &Caller) -> Self {
        Self { change, actor: Actor::of(caller) }
    }

    /// What was allowed.
    pub fn change(&self) -> &T {
        &self.change
    }

    /// Who will be held to account.
    pub fn actor(&self) -> Actor {
        self.actor
    }
}

/// Who did it, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Nobody who is known (a failed login).
    Anonymous,
    /// An account.
    User(UserId),
    /// The operator at the machine.
    Operator,
}

impl Actor {
    /// The actor behind a caller.
    pub fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Anonymous => Self::Anonymous,
            Caller::User(signed_in) => Self::User(signed_in.user),
            Caller::Operator => Self::Operator,
        }
    }

    /// The stable text of the kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User(_) => "user",
            Self::Operator => "operator",
        }
    }

    /// The account, if there is one.
    pub fn user_id(self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Anonymous | Self::Operator => None,
        }
    }
}
