//! The business of Inkstone: types, rules, services, policies and ports.
//!
//! Nothing here knows of the web, of SQL or of files. What the rules need from
//! outside (a store, a cache, a clock, randomness) is a *port*: a trait that an
//! outer crate implements and the binary hands in.
//!
//! To add a resource, give it a folder with the same four rooms as [`posts`]:
//! `mod` (types), `policy` (who may), `repository` (the port), `service` (what it does).

pub mod access;
pub mod audit;
pub mod cache;
pub mod clock;
pub mod content;
pub mod context;
pub mod error;
pub mod events;
pub mod guard;
pub mod idempotency;
pub mod identity;
pub mod lease;
pub mod page;
pub mod posts;
pub mod precondition;
pub mod progress;
pub mod redirects;
pub mod search;
pub mod tags;
pub mod text;
pub mod users;

pub use context::{Context, Deadline};
pub use error::{Code, Error, Fault, FaultCode, Result};
pub use precondition::Precondition;
