//! People: a public profile, and the private account behind it.

use jiff::Timestamp;

use crate::access::Role;
use crate::error::{Fault, FaultCode};
use crate::text;

pub mod policy;
pub mod repository;
pub mod service;

pub use repository::{UserQuery, UserRepository};
pub use service::UserService;

/// Names a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub i64);

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A person's short name in addresses and at sign-in: a slug of at most 50 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle(text::Slug);

impl Handle {
    /// The most characters.
    pub const MAX_CHARS: usize = 50;

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Makes a handle out of any name.
    pub fn from_name(name: &str) -> Self {
        let slug = text::Slug::from_text(name, "user");
        // Once more: what is cut off may leave digits alone, which get a word in front.
        let room = Self::MAX_CHARS - "user-".len();
        let cut = if slug.as_str().len() > Self::MAX_CHARS { &slug.as_str()[..room] } else { slug.as_str() };
        Self(text::Slug::from_text(cut, "user"))
    }
}

impl TryFrom<String> for Handle {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        if text.len() > Self::MAX_CHARS {
            return Err(Fault::here(FaultCode::TooLong, format!("At most {} characters.", Self::MAX_CHARS)));
        }
        text::Slug::try_from(text).map(Self)
    }
}

/// An e-mail address, kept as given; compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// The most bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
    pub const MAX_BYTES: usize = 254;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which two addresses are compared.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl TryFrom<String> for Email {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        if text.len() > Self::MAX_BYTES {
            return Err(Fault::here(FaultCode::TooLong, format!("At most {} bytes.", Self::MAX_BYTES)));
        }
        let well_formed = text.rsplit_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && local.len() <= 64
                && domain.split('.').all(|label| !label.is_empty() && label.len() <= 63)
                && domain.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '.')
                && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>(),;:\"\\[]".contains(c))
        });
        if !well_formed {
            return Err(Fault::here(FaultCode::BadFormat, "This is not an e-mail address."));
        }
        Ok(Self(text))
    }
}

/// The name shown with posts: 1 to 100 characters in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// The most characters.
    pub const MAX_CHARS: usize = 100;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DisplayName {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text::check_line(&text, 1, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// A few words about oneself in plain text: at most 2000 characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bio(String);

impl Bio {
    /// The most characters.
    pub const MAX_CHARS: usize = 2000;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Bio {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text::check_text(&text, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// An absolute `https:` or `http:` URL without credentials, at most 2048 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(String);

impl WebUrl {
    /// The most bytes.
    pub const MAX_BYTES: usize = 2048;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for WebUrl {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        if text.len() > Self::MAX_BYTES {
            return Err(Fault::here(FaultCode::TooLong, format!("At most {} bytes.", Self::MAX_BYTES)));
        }
        let refused = || Fault::here(FaultCode::BadFormat, "An absolute http or https URL without credentials.");
        let url = url::Url::parse(&text).map_err(|_| refused())?;
        let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        if !plain || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refused());
        }
        Ok(Self(text))
    }
}

/// What every post shows of its authors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRef {
    /// Who.
    pub id: UserId,
    /// Their handle.
    pub handle: String,
    /// Their name.
    pub display_name: String,
}

/// An account with its profile. What is private of it: e-mail, role, status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Their handle; unique.
    pub handle: Handle,
    /// Their address, private; unique. Imported authors have none.
    pub email: Option<Email>,
    /// Their name.
    pub display_name: DisplayName,
    /// A few words about them.
    pub bio: Bio,
    /// Their picture.
    pub avatar_url: Option<WebUrl>,
    /// Their role.
    pub role: Role,
    /// Whether they may sign in at all.
    pub disabled: bool,
    /// Grows by one with every change.
    pub version: i64,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

impl User {
    /// Whether everybody may see the profile: those who write, and are not disabled. Authors of
    /// public posts stay visible through their posts whatever becomes of the account.
    pub fn is_public(&self) -> bool {
        !self.disabled && self.role != Role::Reader
    }
}

/// An account to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Their handle.
    pub handle: Handle,
    /// Their address.
    pub email: Option<Email>,
    /// Their name.
    pub display_name: DisplayName,
    /// Their role.
    pub role: Role,
    /// The PHC string of their password, if they have one.
    pub password_hash: Option<String>,
    /// When it is made.
    pub created_at: Timestamp,
}

/// A change to an account. `None` leaves a thing as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserChange {
    /// A new handle.
    pub handle: Option<Handle>,
    /// A new address; `Some(None)` takes it away.
    pub email: Option<Option<Email>>,
    /// A new name.
    pub display_name: Option<DisplayName>,
    /// New words.
    pub bio: Option<Bio>,
    /// A new picture; `Some(None)` takes it away.
    pub avatar_url: Option<Option<WebUrl>>,
    /// A new role.
    pub role: Option<Role>,
    /// Disable or enable. Disabling ends every session and token in the same transaction.
    pub disabled: Option<bool>,
    /// A new password (PHC string). Ends every session in the same transaction.
    pub password_hash: Option<String>,
}

/// What people may change of their own profile. `None` leaves a thing as it is. Handle, address
/// and password are for signing in and need more than a token: they are not in here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfilePatch {
    /// A new name.
    pub display_name: Option<DisplayName>,
    /// New words about oneself.
    pub bio: Option<Bio>,
    /// A new picture; `Some(None)` takes it away.
    pub avatar_url: Option<Option<WebUrl>>,
}

/// Names a person from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserKey {
    /// By id.
    Id(UserId),
    /// By handle.
    Handle(String),
    /// By e-mail address, folded.
    Email(String),
}
