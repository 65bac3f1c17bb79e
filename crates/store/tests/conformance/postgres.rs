//! Beds on PostgreSQL: a database of its own, directly and through PgBouncer.

use std::sync::{Arc, OnceLock};

use inkstone_core::clock::SystemEntropy;
use inkstone_store::Store;
use inkstone_store::db::{Db, PostgresOptions};
use inkstone_testkit::services::{PgBouncer, Postgres};

use crate::bed::{Bed, TestClock};
use crate::database::Database;

/// A fresh store.
pub(crate) async fn fresh() -> Bed {
    bed(Database::migrated().await, |options, _| options)
}

/// A fresh store behind PgBouncer in transaction mode, with a schema that is ahead.
pub(crate) async fn pooled() -> Bed {
    static BOUNCER: OnceLock<PgBouncer> = OnceLock::new();
    let settings = [("default_pool_size", "3"), ("server_idle_timeout", "1")];
    let bouncer = BOUNCER.get_or_init(|| PgBouncer::start(Postgres::shared().port(), &settings));
    bed(crate::ahead::postgres().await, |options, name| PostgresOptions {
        address: bouncer.url(name).parse().unwrap(),
        pooler: true,
        ..options
    })
}

fn bed(database: Database, alter: impl FnOnce(PostgresOptions, &str) -> PostgresOptions) -> Bed {
    let clock = Arc::new(TestClock::default());
    let options = alter(database.options(clock.clone()), database.name());
    let db = Db::connect(PostgresOptions { readers: 2, ..options }).unwrap();
    let store = Store::new(db, clock.clone(), Arc::new(SystemEntropy));
    Bed { store, clock, keep: Box::new(database) }
}
