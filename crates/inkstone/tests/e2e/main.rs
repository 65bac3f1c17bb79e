//! End to end: the real binary, real sockets, a real database file. Every answer that any of
//! these tests sees is held against `inkstone_testkit::laws`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod browser;
mod caching;
mod clock;
mod cluster;
mod concurrency;
mod contract;
mod copy;
mod crash;
mod damage;
mod disk;
mod docs;
mod faults;
mod fields;
mod fleet;
mod golden;
mod hostile;
mod identity;
mod layers;
mod naughty;
mod once;
mod permissions;
mod posts;
mod proxies;
mod replicas;
mod search;
mod shared_cache;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::access::Caller;
use inkstone_core::clock::{Clock as _, SystemClock, SystemEntropy};
use inkstone_core::{Context, Deadline};
use inkstone_store::Store;
use inkstone_store::db::{Db, MariaDbOptions, PostgresOptions, ServerAddress, SqliteOptions};
use inkstone_testkit::Inkstone;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_inkstone");

/// A server on a new data directory.
pub(crate) fn start() -> Inkstone {
    Inkstone::start(BINARY)
}

/// The store behind a server that has stopped.
pub(crate) fn open_store(server: &Inkstone) -> Store {
    let Some(url) = server.database_url() else { return open_file(&server.data_dir().join("inkstone.db")) };
    let clock = Arc::new(SystemClock);
    let db = match url.parse().unwrap() {
        ServerAddress::Postgres(address) => Db::connect(PostgresOptions::new(*address, clock.clone())).unwrap(),
        ServerAddress::MariaDb(address) => Db::connect_mariadb(MariaDbOptions::new(address, clock.clone())),
    };
    Store::new(db, clock, Arc::new(SystemEntropy))
}

/// The store in a file.
pub(crate) fn open_file(database: &Path) -> Store {
    let clock = Arc::new(SystemClock);
    Store::new(Db::open(SqliteOptions::new(database, clock.clone())).unwrap(), clock, Arc::new(SystemEntropy))
}

/// What an operator asks the store with, within a minute.
pub(crate) fn context() -> Context {
    Context::new(Caller::Operator, "test", Deadline::at(SystemClock.instant() + Duration::from_mins(1)))
}
