//! What can be done with tags.

use std::sync::Arc;

use crate::clock::SharedClock;

use super::TagRepository;

/// Tags, as every presentation uses them.
#[derive(Clone)]
pub struct TagService {
    tags: Arc<dyn TagRepository>,
    clock: SharedClock,
}
