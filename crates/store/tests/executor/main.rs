//! The executor on real files: what is acknowledged is there, what is refused is not, and no
//! unit of work, caller or disk takes the others down with it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bed;
mod deadlines;
mod disk;
mod expansions;
mod groups;
mod migrations;
mod settings;
mod statements;
