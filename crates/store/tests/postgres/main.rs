//! What is PostgreSQL's own: its schema, its plans, its migrations, and the executor's arm.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod backend;
mod database;
mod executor;
mod failover;
mod fitting;
mod groups;
mod lines;
mod migrations;
mod plans;
mod replicas;
mod schema;
#[path = "../server/mod.rs"]
mod server;
#[path = "../schema/sqlite.rs"]
mod sqlite;
mod tls;
mod trouble;

use server::bed;
