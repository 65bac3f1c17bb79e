//! The conventions of the edge, each through a tiny router of its own: no store, no sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access_log;
mod bodies;
mod conditional;
mod edge;
mod idempotency;
mod operations;
mod problems;
mod queries;
mod rate_limits;
mod representations;
mod support;
mod transport;
