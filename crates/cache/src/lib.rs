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
//! [`Tiered`] puts a tier behind it that many processes share: `redis` or `memcached`, both behind the
//! small port [`Remote`]. What comes from there is authentic (`envelope`) and judged by what this
//! process itself knows of the changes (`history`); the reasons stand in
//! `docs/decisions/0012-shared-cache.md`.
//!
//! To add one more kind of shared tier, implement [`Remote`] and give it an [`Address`].

mod access;
mod address;
mod counts;
mod envelope;
mod flight;
mod gcra;
mod history;
mod lacks;
mod memcached;
mod memory;
mod redis;
mod remote;
mod stamps;
mod tiered;
mod trust;

pub use access::{Access, AddressError, Credentials, Identity, Part};
pub use address::Address;
pub use counts::SharedStats;
pub use lacks::{Lack, Need, Notice, examine};
pub use memory::{MemoryCache, Settings};
pub use remote::{Remote, RemoteError, Taken};
pub use tiered::{MAX_FORM_BYTES, QUEUE, Tiered, TieredParts};
