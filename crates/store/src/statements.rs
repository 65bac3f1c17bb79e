//! The table of all statements, for the tests that prepare each and look at its plan.

use crate::db::{Statement, Variant};
use crate::{audit, idempotency, identity, leases, migrate, outbox, posts, purge, redirects, tags, users};

/// Every statement that a repository runs, each once.
pub fn statements() -> Vec<&'static Statement> {
    let single = [
        audit::STATEMENTS,
        idempotency::STATEMENTS,
        leases::STATEMENTS,
        migrate::STATEMENTS,
        outbox::STATEMENTS,
        purge::STATEMENTS,
        redirects::STATEMENTS,
    ];
    let grouped = [identity::STATEMENTS, posts::STATEMENTS, posts::LISTS, tags::STATEMENTS, users::STATEMENTS];
    single.into_iter().chain(grouped.into_iter().flatten().copied()).flatten().copied().collect()
}

/// What MariaDB runs instead of the statement of this name, if that is something else.
pub(crate) fn mariadb_variant(name: &str) -> Option<&'static Variant> {
    mariadb_variants().find(|variant| variant.name == name)
}

/// All of what MariaDB runs instead of a statement.
pub(crate) fn mariadb_variants() -> impl Iterator<Item = &'static Variant> {
    let single = [outbox::MARIADB, posts::MARIADB, purge::MARIADB, redirects::MARIADB, tags::MARIADB];
    single.into_iter().chain(identity::MARIADB.iter().copied()).flatten()
}
