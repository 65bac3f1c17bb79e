//! The store: repositories in SQL over a small executor.
//!
//! [`db`] runs statements, [`migrate`] brings the schema up to date, and each resource has a
//! module that implements its repository port from `inkstone-core`.
//!
//! To add a repository: write its statements as named constants, list them in `STATEMENTS` for
//! the tests that prepare each and look at its plan, and implement the port with one
//! [`db::Db::read`] or [`db::Db::write`] a method.

pub mod copy;
pub mod db;
pub mod migrate;

mod audit;
mod idempotency;
mod identity;
mod leases;
mod outbox;
mod posts;
mod purge;
mod redirects;
mod statements;
mod store;
mod tags;
mod users;

pub use purge::Retention;
pub use statements::statements;
pub use store::Store;
