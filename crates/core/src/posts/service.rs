//! What can be done with posts.

use std::sync::Arc;

use crate::clock::SharedClock;

use super::PostRepository;

/// Posts, as every presentation uses them.
#[derive(Clone)]
pub struct PostService {
    posts: Arc<dyn PostRepository>,
    clock: SharedClock,
}
