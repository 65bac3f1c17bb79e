//! The presentation layer: controllers, and the HTTP conventions that all of them share.
//!
//! A controller extracts ([`extract`]), calls one service method and answers with a
//! [`representation::Representation`]. Everything else that HTTP asks for happens around it, in
//! [`middleware`]: request ids, deadlines, security headers, rate limits, problem details.
//!
//! To add a route: write the handler next to its kind in `v1` or `v2`, let it take
//! [`extract::Call`], [`extract::PathId`], [`extract::QueryReader`] or [`extract::ObjectReader`],
//! return [`problem::Result`], and mount it in that version's router.

pub mod app;
mod compress;
pub mod cursor;
pub mod extract;
pub mod health;
pub mod metrics;
pub mod middleware;
pub mod operations;
pub mod problem;
pub mod representation;
pub mod settings;

pub use app::{App, AppParts, Authenticate, Edge};
pub use settings::Settings;
