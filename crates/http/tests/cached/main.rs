//! Answers from the cache, through a tiny router over a store that counts how often it is asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod front;
mod reader;
mod support;
