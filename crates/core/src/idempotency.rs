//! Repeating a request without repeating its effect.
//!
//! The first answer is stored in the same transaction as the effect, so that after a crash
//! either both are there or neither is. (IETF draft-ietf-httpapi-idempotency-key-header-07.)

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::context::Context;
use crate::error::{Error, Result};

/// An answer as bytes, to be given again word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status code.
    pub status: u16,
    /// Header names (lower case) and values that belong to the answer itself.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Makes the first answer out of what was written; called inside the transaction.
pub type Render<T> = Arc<dyn Fn(&T) -> Result<StoredAnswer> + Send + Sync>;

/// A key that came with a write, and how to answer it.
#[derive(Clone)]
pub struct Idempotency<T> {
    /// Whose key it is: two callers may use the same key for different things.
    pub scope: String,
    /// The key, at most 255 characters.
    pub key: String,
    /// SHA-256 over method, path and body: the same key with another fingerprint is an error. It is
    /// stored, so nothing goes into it that could be guessed from it, such as a password.
    pub fingerprint: [u8; 32],
    /// Until when the answer is kept.
    pub expires_at: Timestamp,
    /// How to answer.
    pub render: Render<T>,
}

impl<T> std::fmt::Debug for Idempotency<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").field("scope", &self.scope).field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a write gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Written<T> {
    /// It was done now.
    Done(T),
    /// It had been done before under the same key; this was the answer.
    Replayed(StoredAnswer),
}

impl<T> Written<T> {
    /// What was written by somebody who sent no key.
    ///
    /// # Errors
    /// `Internal` for an answer under a key: nobody asked for one.
    pub fn done(self) -> Result<T> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Replayed(_) => Err(Error::internal("answered from an idempotency record that nobody asked for")),
        }
    }
}

/// Where answers are looked up before the effect is tried: for effects that use up what they need,
/// so that trying them again would be refused for another reason.
#[async_trait]
pub trait AnswerRepository: Send + Sync {
    /// The answer that was given to this request under this key, if it is kept.
    ///
    /// # Errors
    /// `IdempotencyKeyReused` if the key came with another request.
    async fn find_answer(
        &self,
        ctx: &Context,
        scope: &str,
        key: &str,
        fingerprint: [u8; 32],
    ) -> Result<Option<StoredAnswer>>;
}
