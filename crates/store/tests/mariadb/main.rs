//! What is MariaDB's own: its schema, its words, its migrations, and the executor's arm.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bed;
mod database;
mod executor;
mod fitting;
mod migrations;
mod order;
mod pages;
mod schema;
#[path = "../schema/sqlite.rs"]
mod sqlite;
mod statements;
mod trouble;
