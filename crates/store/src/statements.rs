//! The table of all statements, for the tests that prepare each and look at its plan.

use crate::db::Statement;
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
