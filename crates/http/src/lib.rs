//! The presentation layer: controllers, and the HTTP conventions that all of them share.
//!
//! A controller extracts ([`extract`]), calls one service method and answers with a
//! [`representation::Representation`]. Everything else that HTTP asks for happens around it, in
//! [`middleware`]: request ids, deadlines, security headers, rate limits, problem details.
//!
//! To add a route: write the handler next to its kind in `v1` or `v2`, let it take
//! [`extract::Call`], [`extract::PathId`], [`extract::QueryReader`] or [`extract::ObjectReader`],
//! return [`problem::Result`], and mount it in that version's router.

mod answer;
pub mod app;
mod auth;
pub mod changes;
mod compress;
pub mod cursor;
pub mod extract;
mod filters;
pub mod front;
pub mod health;
mod input;
pub mod metrics;
pub mod middleware;
pub mod openapi;
pub mod operations;
mod pages;
mod params;
pub mod problem;
pub mod reader;
pub mod representation;
pub mod router;
pub mod server;
pub mod settings;
mod v1;
mod v2;
mod wire;

pub use app::{App, AppParts, Authenticate, Edge};
pub use settings::Settings;
