//! A database that only reads, or has no room.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::{Db, Health, PostgresOptions};
use inkstone_testkit::services::Postgres;

use crate::bed::{Bed, texts};

#[tokio::test]
async fn a_database_that_only_reads_is_known_and_left_by_itself() {
    let bed = Bed::new();
    bed.add("one").await.unwrap();
    let name = bed.database.name();
    bed.sql(&format!("alter database {name} set default_transaction_read_only = on"));
    // The setting is for new connections.
    bed.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
    );
    let refused = loop {
        // The first may find that its connection is gone.
        let error = bed.add("two").await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        if matches!(bed.db.health(), Health::ReadOnly { .. }) {
            break error;
        }
    };
    assert!(refused.to_string().contains("Reading goes on"), "{refused}");
    assert_eq!(bed.texts().await, ["one"]);
    assert!(matches!(bed.db.health(), Health::ReadOnly { .. }), "reads say nothing about writes");
    bed.db.recover().await.unwrap_err();
    Postgres::shared().sql("postgres", &format!("alter database {name} set default_transaction_read_only = off"));
    Postgres::shared()
        .sql("postgres", &format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"));
    while bed.db.recover().await.is_err() {}
    assert_eq!(bed.db.health(), Health::Sound);
    bed.add("two").await.unwrap();
}

#[tokio::test]
async fn a_server_without_a_place_for_us_says_so() {
    let bed = Bed::new();
    let name = bed.database.name();
    Postgres::shared().sql("postgres", &format!("alter database {name} connection limit 0"));
    Postgres::shared().sql("postgres", "do $$ begin if not exists (select from pg_roles where rolname = 'guest') then create role guest login; end if; end $$");
    let address = Postgres::shared().url(name).replace("inkstone:", "guest:");
    let options = PostgresOptions::new(address.parse().unwrap(), Arc::new(SystemClock));
    let db = Db::connect(options).unwrap();
    assert_eq!(texts(&db).await.unwrap_err().code(), Code::Overloaded);
}
