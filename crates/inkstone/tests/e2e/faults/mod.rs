//! What clients feel when a dependency fails: real servers behind the fault proxy, a fleet at work,
//! its history checked afterwards, and the permission matrix asked while the fault holds.
//!
//! To add a fault: begin a [`trial::Trial`], inject it between [`Trial::strikes`](trial::Trial::strikes)
//! and [`Trial::heals`](trial::Trial::heals), and give it a row in `docs/operations/failure-modes.md`.

mod away;
mod clock;
mod failover;
mod full_disk;
mod load;
mod mariadb;
mod postgres;
mod redis;
mod replica;
pub(crate) mod smoke;
mod starved;
pub(crate) mod trial;
