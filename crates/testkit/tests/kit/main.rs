//! The tools of the tests, tested: real servers, the fault proxy, the history checker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod history;
mod left_behind;
mod proxy;
mod services;
