//! What can be done with accounts and profiles.

use std::sync::Arc;

use crate::clock::SharedClock;

use super::UserRepository;

/// People, as every presentation uses them.
#[derive(Clone)]
pub struct UserService {
    users: Arc<dyn UserRepository>,
    clock: SharedClock,
}
