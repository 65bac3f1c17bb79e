//! Identity through its one door, on an in-memory store and with a clock that the tests turn.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod access;
mod fakes;
mod keys;
mod logs;
mod passwords;
mod personal;
mod sessions;
mod setup;
mod world;
