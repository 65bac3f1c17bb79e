//! What a cache with a shared tier behind it promises: on real servers, started by the tests, and in
//! a simulation of everything that can happen between two nodes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod conformance;
mod faults;
mod lacks;
mod nodes;
mod quota;
mod reach;
mod servers;
mod simulation;
mod support;
