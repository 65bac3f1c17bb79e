//! Tests go through the door: this crate starts the real binary on a database of its own, speaks
//! to it over real sockets, and holds *every* answer against the laws in [`laws`].

mod client;
pub mod laws;
mod server;

pub use client::{Answer, Client, Request};
pub use server::{Inkstone, Options, run};
