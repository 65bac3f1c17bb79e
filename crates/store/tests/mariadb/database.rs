//! Databases on one real server for the whole test process.

use std::sync::Arc;

use inkstone_core::clock::{SharedClock, SystemClock};
use inkstone_store::db::MariaDbOptions;
use inkstone_store::migrate;
use inkstone_testkit::services::MariaDb;

/// A database that goes with its test: hundreds of them would fill the disk.
pub(crate) struct Database(String);

impl Database {
    /// One without tables.
    pub(crate) fn empty() -> Self {
        Self(MariaDb::shared().database())
    }

    /// One with the tables of a blog.
    pub(crate) async fn migrated() -> Self {
        let database = Self::empty();
        migrate::mariadb::run(&database.options(Arc::new(SystemClock))).await.unwrap();
        database
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn options(&self, clock: SharedClock) -> MariaDbOptions {
        MariaDbOptions::new(MariaDb::shared().url(self.name()).parse().unwrap(), clock)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            MariaDb::shared().sql("mysql", &format!("drop database {}", self.0));
        }
    }
}
