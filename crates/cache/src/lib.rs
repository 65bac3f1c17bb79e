//! Keeps finished answers in memory, so that most requests never reach the database.
//!
//! [`MemoryCache`] is the tier inside the process. It is bounded by bytes, forgets by lifetime and
//! by invalidation, and lets one caller load what many ask for. What it stands on:
//!
//! * `stamps` knows when each entity was last invalidated. An entry is judged when it is looked
//!   up, so there is no index from entities to entries that could grow, leak or fall behind.
//! * `flight` lets one caller load while the others wait.
//! * The store of entries itself, with its policy of eviction, is `quick_cache`. The reasons stand
//!   in `docs/decisions/0010-cache-engine.md`.
//!
//! To add a tier (one that many processes share), implement [`inkstone_core::cache::Cache`] around
//! this one: the memory answers what it can, `join` and `put` go on to the next.

mod flight;
mod memory;
mod stamps;

pub use memory::{MemoryCache, Settings};
