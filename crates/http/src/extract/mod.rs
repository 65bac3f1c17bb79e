//! From request to typed values: one small module for each part of a request, all of them
//! strict, all of them answering with a [`crate::problem::Problem`].

pub mod accept;
pub mod body;
pub mod call;
pub mod client;
pub mod conditional;
pub mod fields;
pub mod idempotency;
pub mod json;
pub mod known;
pub mod path;
pub mod query;

pub use body::ObjectReader;
pub use call::Call;
pub use known::Known;
pub use path::{PathId, PathSlug};
pub use query::QueryReader;
