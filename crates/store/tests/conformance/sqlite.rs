//! Beds on SQLite: a file in a directory of its own.

use std::path::Path;
use std::sync::Arc;

use inkstone_core::clock::SystemEntropy;
use inkstone_store::db::{Db, FaultHook, SqliteOptions};
use inkstone_store::{Store, migrate};
use tempfile::TempDir;

use crate::bed::{Bed, TestClock};

/// A fresh store. Its threads and its directory go with the bed.
pub(crate) fn fresh() -> Bed {
    let directory = tempfile::tempdir().unwrap();
    make(directory, None)
}

/// A store in `directory`, whose steps fail as `faults` says.
pub(crate) fn make(directory: TempDir, faults: Option<FaultHook>) -> Bed {
    let bed = make_in(directory.path(), faults);
    Bed { keep: Box::new(directory), ..bed }
}

/// A store in a directory that somebody else keeps.
pub(crate) fn make_in(directory: &Path, faults: Option<FaultHook>) -> Bed {
    let clock = Arc::new(TestClock::default());
    let path = directory.join("blog.db");
    let options = SqliteOptions { readers: 2, faults, ..SqliteOptions::new(path, clock.clone()) };
    migrate::run(&options).unwrap();
    let store = Store::new(Db::open(options).unwrap(), clock.clone(), Arc::new(SystemEntropy));
    Bed { store, clock, keep: Box::new(()) }
}
