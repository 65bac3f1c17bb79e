//! Which databases are taken for a blog's, and what is said of the others.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::PostgresOptions;
use inkstone_store::migrate::postgres;
use inkstone_testkit::services::{PgBouncer, Postgres};

use crate::database::Database;
use crate::server::migrations::{place, tables};

/// A database that keeps its text in this encoding.
fn in_encoding(encoding: &str) -> Database {
    let database = Database::empty();
    let name = database.name();
    Postgres::shared().sql("postgres", &format!("drop database {name}"));
    let locale = "lc_collate 'C' lc_ctype 'C' template template0";
    Postgres::shared().sql("postgres", &format!("create database {name} encoding '{encoding}' {locale}"));
    database
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused_before_anything_is_made() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let database = in_encoding(encoding);
        let options = database.options(Arc::new(SystemClock));
        for refused in [
            postgres::run(&options).await.map(drop),
            postgres::fit(&options).await.map(drop),
            postgres::applied(&options).await.map(drop),
        ] {
            let error = refused.unwrap_err();
            let text = error.to_string();
            assert_eq!(error.code(), Code::Conflict, "{text}");
            assert!(text.contains(encoding) && text.contains("--encoding UTF8 --template template0"), "{text}");
        }
        assert_eq!(tables(&database), "");
    }
}

#[tokio::test]
async fn whoever_forgets_to_name_the_pooler_is_told() {
    let (database, options) = place();
    let bouncer = PgBouncer::start(Postgres::shared().port(), &[("ignore_startup_parameters", "extra_float_digits")]);
    let address = bouncer.url(database.name()).parse().unwrap();
    let error = postgres::applied(&PostgresOptions { address, ..options }).await.unwrap_err().to_string();
    assert!(error.contains("store.pooler = true"), "{error}");
}
