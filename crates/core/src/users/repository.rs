//! The port to the store of accounts.

use std::sync::Arc;

use async_trait::async_trait;

use crate::access::Permit;
use crate::context::Context;
use crate::error::Result;
use crate::idempotency::{Idempotency, Written};
use crate::page::{Page, Position};

use super::{NewUser, User, UserChange, UserId, UserKey};

/// Decides on a change while the account is locked.
pub type Decide = Arc<dyn Fn(&User) -> Result<Permit<UserChange>> + Send + Sync>;

/// Which accounts to list, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserQuery {
    /// Only those that [`User::is_public`].
    pub public_only: bool,
    /// Where to begin.
    pub position: Position,
    /// How many.
    pub limit: u32,
}

/// The store of accounts.
#[async_trait]
pub trait UserRepository: Send + Sync {
    /// Looks an account up.
    async fn find(&self, ctx: &Context, key: &UserKey) -> Result<Option<User>>;
    /// One page, by id.
    async fn list(&self, ctx: &Context, query: &UserQuery) -> Result<Page<User>>;
    /// How many there are.
    async fn count(&self, ctx: &Context, public_only: bool) -> Result<u64>;
    /// Makes an account. `first_only`: only if there is none yet that can sign in
    /// ([`crate::Code::Conflict`] otherwise).
    ///
    /// # Errors
    /// `Invalid` with `Taken` at `/handle` or `/email`.
    async fn create(
        &self,
        ctx: &Context,
        new: Permit<NewUser>,
        first_only: bool,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Written<User>>;
    /// Changes an account under lock.
    async fn change(
        &self,
        ctx: &Context,
        id: UserId,
        decide: Decide,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Written<User>>;
}
