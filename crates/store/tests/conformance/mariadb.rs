//! Beds on MariaDB: a database of its own.

use std::sync::Arc;

use inkstone_core::clock::SystemEntropy;
use inkstone_store::Store;
use inkstone_store::db::{Db, MariaDbOptions};

use crate::bed::{Bed, TestClock};
use crate::mariadb_database::Database;

/// A fresh store.
pub(crate) async fn fresh() -> Bed {
    let clock = Arc::new(TestClock::default());
    let database = Database::migrated().await;
    let options = MariaDbOptions { readers: 2, ..database.options(clock.clone()) };
    let store = Store::new(Db::connect_mariadb(options), clock.clone(), Arc::new(SystemEntropy));
    Bed { store, clock, keep: Box::new(database) }
}
