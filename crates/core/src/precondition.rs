//! What a change expects of the thing it changes (RFC 9110 §13).
//!
//! Only the presentation knows how the entity tag of a representation is made, and only the
//! store can look while nobody else writes. So the presentation hands in a predicate, and the
//! services ask it under lock, after the policy: who may not change a thing learns nothing
//! about its version.

use std::sync::Arc;

use crate::error::{Code, Error, Result};

/// Asked about the present state of a thing, while it is locked.
pub type Predicate<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

/// An expectation that comes with a change.
pub enum Precondition<T> {
    /// None was stated, and none is needed.
    Unconditional,
    /// None was stated, but this change needs one.
    Required,
    /// The present state must satisfy this.
    Matches(Predicate<T>),
}

impl<T> Precondition<T> {
    /// The expectation that `predicate` holds.
    pub fn matches(predicate: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self::Matches(Arc::new(predicate))
    }

    /// Compares the expectation with the present state.
    ///
    /// # Errors
    /// [`Code::PreconditionRequired`] where none was stated but one is needed,
    /// [`Code::PreconditionFailed`] where `present` is not what was expected.
    pub fn check(&self, present: &T) -> Result<()> {
        match self {
            Self::Unconditional => Ok(()),
            Self::Required => Err(Error::refused(
                Code::PreconditionRequired,
                "Name the version that this change is based on: send its ETag in If-Match.",
            )),
            Self::Matches(predicate) if predicate(present) => Ok(()),
            Self::Matches(_) => Err(Error::refused(
                Code::PreconditionFailed,
                "It has changed since you fetched it. Fetch it again and repeat the change on what you see.",
            )),
        }
    }
}

// By hand, because the derived one would ask for `T: Clone`.
impl<T> Clone for Precondition<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Unconditional => Self::Unconditional,
            Self::Required => Self::Required,
            Self::Matches(predicate) => Self::Matches(Arc::clone(predicate)),
        }
    }
}

impl<T> std::fmt::Debug for Precondition<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unconditional => "Unconditional",
            Self::Required => "Required",
            Self::Matches(_) => "Matches(..)",
        })
    }
}
