//! Who somebody is: passwords, signing keys, access tokens, sessions and personal tokens.
//!
//! A review surface of its own. [`IdentityService`] is the only door; it talks to the store
//! through the ports of `inkstone_core::identity`, and every secret that leaves through it is
//! stored only as a hash. What a caller may then *do* is not decided here but by the policies in
//! `inkstone_core`.
//!
//! Where things are: [`password`] (rules, the bounded hashing pool), [`keys`] (rotation and the
//! published key set), [`tokens`] (the forms of tokens, and checking access tokens),
//! [`throttle`] (what failed sign-ins cost), and one file per kind of deed under `service`.
//!
//! To add a kind of opaque secret: add it to [`tokens::SecretKind`] with a prefix of its own, and
//! a row to the cross-type table in `tests/identity/access.rs`.

pub mod keys;
pub mod password;
mod service;
mod settings;
pub mod throttle;
pub mod tokens;

pub use password::{HashingSettings, HashingStats, PasswordContext};
pub use service::{FirstAdministrator, IdentityParts, IdentityService, TokenPair};
pub use settings::IdentitySettings;
pub use throttle::ThrottleSettings;
