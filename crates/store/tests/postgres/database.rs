//! Databases on one real server for the whole test process.

use std::sync::Arc;

use inkstone_core::clock::{SharedClock, SystemClock};
use inkstone_store::db::PostgresOptions;
use inkstone_store::migrate;
use inkstone_testkit::services::Postgres;
use inkstone_testkit::wait_until;
use tokio::sync::OnceCell;

/// A database that goes with its test: hundreds of them would fill the disk.
pub(crate) struct Database(String);

impl Database {
    /// One without tables.
    pub(crate) fn empty() -> Self {
        Self(Postgres::shared().database())
    }

    /// One with the tables of a blog: a copy of one that was migrated once.
    pub(crate) async fn migrated() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let make = || async {
            let mut template = Self::empty();
            migrate::postgres::run(&template.options(Arc::new(SystemClock))).await.unwrap();
            // The server may not have noticed yet that the migration has hung up.
            let others = format!("select count(*) from pg_stat_activity where datname = '{}'", template.0);
            let is_free = move || Postgres::shared().sql("postgres", &others) == "0";
            tokio::task::spawn_blocking(|| wait_until("nobody uses the template", is_free)).await.unwrap();
            std::mem::take(&mut template.0)
        };
        Self::copy_of(TEMPLATE.get_or_init(make).await)
    }

    /// A copy of one that nobody is connected to.
    pub(crate) fn copy_of(template: &str) -> Self {
        Self(Postgres::shared().database_from(template))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn options(&self, clock: SharedClock) -> PostgresOptions {
        PostgresOptions::new(Postgres::shared().url(&self.0).parse().unwrap(), clock)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            Postgres::shared().sql("postgres", &format!("drop database {} with (force)", self.0));
        }
    }
}
