//! The port to a cache outside of the process, as small as it can be: it holds bytes under names
//! for a while, and may lose them at any time. Everything else is done here.
//!
//! To add one more kind: implement [`Remote`], and have `tests/conformance` start a server of it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use inkstone_core::guard::Failure;

/// What went wrong with a cache outside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// There is no connection; one is being made.
    #[error("there is no connection")]
    NotConnected,
    /// There is no connection, and this is why the last attempt to make one failed.
    #[error("there is no connection: {0}")]
    Unreachable(String),
    /// It works, but does not let this user do that: a wrong password, or an ACL.
    #[error("{0}")]
    Denied(String),
    /// It answered with an error, or with something that is no answer.
    #[error("{0}")]
    Failed(String),
    /// It works, but whenever one was to be counted somebody else had counted in between.
    #[error("too many count the same at once")]
    Contended,
    /// It cannot do that at all.
    #[error("not supported")]
    Unsupported,
}

impl Failure for RemoteError {
    fn is_fault(&self) -> bool {
        // Whoever refuses answers at once: there is nothing to be spared by not asking.
        !matches!(self, Self::Unsupported | Self::Denied(_) | Self::Contended)
    }

    /// A cache is not worth a second try: the database is asked instead.
    fn is_transient(&self) -> bool {
        false
    }
}

/// A cache outside of the process.
#[async_trait]
pub trait Remote: Send + Sync + fmt::Debug {
    /// What lies under `name`.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError>;

    /// Puts something there for this long, at least a second; whatever was there is gone.
    async fn put(&self, name: &str, form: Bytes, keep: Duration) -> Result<(), RemoteError>;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), RemoteError>;

    /// Tells all who listen on `channel` that there are changes up to this one. May be lost.
    async fn announce(&self, _channel: &str, _change_seq: u64) -> Result<(), RemoteError> {
        Err(RemoteError::Unsupported)
    }

    /// Hands over what is announced on `channel`, until the connection ends.
    async fn listen(&self, _channel: &str, _hear: &(dyn Fn(u64) + Send + Sync)) -> Result<(), RemoteError> {
        Err(RemoteError::Unsupported)
    }

    /// Takes one from the quota of `name`, which holds so many and is full again after `window`.
    async fn take(&self, _name: &str, _quota: u32, _window: Duration) -> Result<Taken, RemoteError> {
        Err(RemoteError::Unsupported)
    }
}

/// Where somebody stands with a quota after one more was asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many are left.
    pub remaining: u32,
    /// How long to wait for one, where none was left.
    pub wait: Option<Duration>,
}
