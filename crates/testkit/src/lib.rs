//! Tests go through the door: this crate starts the real binary on a database of its own, speaks
//! to it over real sockets, and holds *every* answer against the laws in [`laws`].
//!
//! [`services`] starts the real servers that it depends on; [`Proxy`] stands between and injects
//! faults; a [`Fleet`] of clients writes down what it is told, and [`history`] holds what clients were told against what is there afterwards.

mod backend;
mod cgroup;
mod client;
mod clock;
mod dice;
mod disk;
pub mod expansion;
mod figures;
mod fleet;
pub mod history;
mod keeper;
pub mod laws;
mod proxy;
mod server;
pub mod services;
mod wait;

pub use cgroup::Cgroup;
pub use client::{Answer, Client, Request};
pub use clock::HandClock;
pub use dice::Dice;
pub use disk::SmallDisk;
pub use figures::{Figures, Heard};
pub use fleet::{Fleet, FleetOptions, Log};
pub use keeper::Keeper;
pub use proxy::{Counts, Fault, Proxy, Toward};
pub use server::{Inkstone, Options, run};
pub use wait::{PATIENCE, until, wait_until};
