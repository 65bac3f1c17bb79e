//! Who asks a shared tier, and how to know that it is the right one: what belongs to an address but
//! need not, or cannot, stand in it.

use std::fmt;

/// A name and a password. Shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user; empty for the one that a server takes everybody for who names none.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A certificate of our own, for servers that ask who is there.
#[derive(Clone)]
pub struct Identity {
    /// The chain, as PEM.
    pub certificate: Vec<u8>,
    /// Its key, as PEM.
    pub key: Vec<u8>,
}

/// What belongs to an address beside its text.
#[derive(Clone, Default)]
pub struct Access {
    /// The password of the user whom the address names, or of the default one.
    pub password: Option<String>,
    /// Who asks the sentinels, which know other users than the servers that they watch.
    pub sentinel: Option<Credentials>,
    /// The authorities to trust, as PEM; none: those of the system.
    pub authorities: Option<Vec<u8>>,
    /// Who we are over TLS.
    pub identity: Option<Identity>,
}

/// Which part of an [`Address`](crate::Address) is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The address itself.
    Address,
    /// [`Access::password`].
    Password,
    /// [`Access::sentinel`].
    Sentinel,
    /// [`Access::authorities`].
    Authorities,
    /// [`Access::identity`].
    Identity,
}

/// What is wrong with an address. Never repeats what may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AddressError {
    /// Where.
    pub part: Part,
    message: String,
}

impl AddressError {
    /// `message` goes on where the name of the setting ends.
    pub(crate) fn new(part: Part, message: impl Into<String>) -> Self {
        Self { part, message: message.into() }
    }
}
