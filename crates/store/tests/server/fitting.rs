//! Which databases are taken for a blog's, and what is said of the others.

use inkstone_core::Code;

use crate::backend::{self, runner};

use super::migrations::{place, tables};

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    for (theirs, table) in [
        ("create table users (id bigint)", "users"),
        ("create table schema_migrations (version bigint, dirty boolean)", "schema_migrations"),
    ] {
        let (database, options) = place();
        backend::sql(database.name(), theirs);
        for refused in [runner::run(&options).await.map(drop), runner::fit(&options).await.map(drop)] {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), Code::Conflict, "{error}");
            assert!(
                error.to_string().contains(&format!("something else than a blog: it has a table {table}")),
                "{error}"
            );
        }
        assert_eq!(tables(&database), table);
    }
}
