//! Copying one database to another, of whatever kinds: nothing is lost, nothing is changed, and
//! what goes wrong on the way can be made good by doing it again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bed;
#[path = "../postgres/database.rs"]
mod database;
mod faults;
mod mariadb;
#[path = "../mariadb/database.rs"]
mod mariadb_database;
mod round_trip;
mod schema;
