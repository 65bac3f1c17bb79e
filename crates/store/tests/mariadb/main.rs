//! What is MariaDB's own: its schema, its words, its migrations, and the executor's arm.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod backend;
mod database;
mod executor;
mod fitting;
mod migrations;
mod pages;
mod schema;
#[path = "../server/mod.rs"]
mod server;
#[path = "../schema/sqlite.rs"]
mod sqlite;
mod statements;
mod trouble;

use server::bed;
