//! A schema as a release after this one may leave it: this program starts on it, and everything holds.
//! What every table has more, `inkstone_testkit::expansion` says.

use std::sync::{Arc, LazyLock};

use inkstone_core::clock::SystemClock;
use inkstone_store::copy::tables;
use inkstone_store::db::SqliteOptions;
use inkstone_store::migrate::{self, EXPANDS, Migration, Migrator};
use inkstone_testkit::expansion::ahead;
use inkstone_testkit::services::Postgres;
use inkstone_testkit::wait_until;
use tokio::sync::OnceCell;

use crate::bed::Bed;
use crate::database::Database;

/// These migrations and those of a later release.
fn further(own: &[Migration]) -> Vec<Migration> {
    let names: Vec<&str> = tables().iter().map(|(table, _)| *table).collect();
    let first = u32::try_from(own.len()).unwrap() + 1;
    let more = ahead(&names).into_iter().zip(first..);
    let more = more.map(|(sql, number)| Migration { number, name: "ahead", needs: EXPANDS, sql: String::leak(sql) });
    own.iter().copied().chain(more).collect()
}

/// A fresh store in a file that is ahead.
pub(crate) fn sqlite() -> Bed {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(directory.path().join("blog.db"), Arc::new(SystemClock));
        let further = further(migrate::SQLITE);
        // The last connection to be closed puts everything into the file.
        assert_eq!(Migrator::of(&further).run(&options).unwrap().len(), further.len());
        std::fs::read(&options.path).unwrap()
    });
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("blog.db"), &*FILE).unwrap();
    crate::sqlite::make(directory, None)
}

/// A database that is ahead.
pub(crate) async fn postgres() -> Database {
    static TEMPLATE: OnceCell<Database> = OnceCell::const_new();
    let make = || async {
        let template = Database::empty();
        let options = template.options(Arc::new(SystemClock));
        migrate::postgres::run_of(&further(migrate::postgres::MIGRATIONS), &options).await.unwrap();
        assert!(migrate::postgres::run(&options).await.unwrap().is_empty(), "this program works on it");
        let others = format!("select count(*) from pg_stat_activity where datname = '{}'", template.name());
        let is_free = move || Postgres::shared().sql("postgres", &others) == "0";
        tokio::task::spawn_blocking(|| wait_until("nobody uses the template", is_free)).await.unwrap();
        template
    };
    Database::copy_of(TEMPLATE.get_or_init(make).await.name())
}
