//! Beds on SQLite: a file in a directory of its own.

use std::sync::Arc;

use inkstone_core::clock::SystemEntropy;
use inkstone_store::db::{Db, SqliteOptions};
use inkstone_store::{Store, migrate};

use crate::bed::{Bed, TestClock};

/// A fresh store. Its threads and its directory go with the bed.
pub(crate) fn fresh() -> Bed {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let options = SqliteOptions { readers: 2, ..SqliteOptions::new(directory.path().join("blog.db"), clock.clone()) };
    migrate::run(&options).unwrap();
    let store = Store::new(Db::open(options).unwrap(), clock.clone(), Arc::new(SystemEntropy));
    Bed { store, clock, keep: Box::new(directory) }
}
