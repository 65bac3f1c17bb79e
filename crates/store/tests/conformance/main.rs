//! What every store must do, whichever database is beneath: each test takes a bed, which is a
//! fresh store with a clock that stands still until it is told to move.
//!
//! To add a test: write an `async fn` over a [`bed::Bed`] and name it in its module's list (one
//! that is not named is dead code, which does not pass the lints). To add a database: write a
//! function that makes a bed, and name it in [`conformance`].

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

/// Makes a module's functions tests on every database.
macro_rules! conformance {
    ($($test:ident)+) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::sqlite::fresh()).await;
                }
            )+
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::postgres::fresh().await).await;
                }
            )+
        }
        mod on_a_sqlite_ahead {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::ahead::sqlite()).await;
                }
            )+
        }
        mod on_mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::mariadb::fresh().await).await;
                }
            )+
        }
        // Both at once: each of them alone changes nothing.
        mod on_pgbouncer_before_a_postgres_ahead {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::postgres::pooled().await).await;
                }
            )+
        }
    };
}

mod ahead;
mod bed;
#[path = "../postgres/database.rs"]
mod database;
mod housekeeping;
mod idempotency;
mod keys;
mod leases;
mod lists;
mod mariadb;
#[path = "../mariadb/database.rs"]
mod mariadb_database;
mod outbox;
mod paging;
mod passwords;
mod postgres;
mod posts;
mod publication;
mod search;
mod sessions;
mod slugs;
mod sqlite;
mod sweep;
mod tags;
mod tokens;
mod tombstones;
mod users;
