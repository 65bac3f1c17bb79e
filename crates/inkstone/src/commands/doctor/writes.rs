//! Whether a server could start on the database: it writes, makes tables, and opens no blog that is not whole.

use inkstone_core::Context;
use inkstone_store::Store;
use inkstone_store::db::Dialect;

use super::Finding;
use crate::compose::Database;
use crate::failure::{Failure, Result};

/// What keeps tables from being made there, if anything does.
pub(super) async fn no_tables(database: &Database) -> Option<Finding> {
    let failure = database.try_table().await.err()?;
    let advice = "make its user the owner of the database, and see that the server takes writes";
    Some(Finding::failed("database", failure, advice))
}

/// Says whether it is a whole blog, and takes changes.
///
/// # Errors
/// Just that, or that it cannot be asked.
pub(super) async fn require(store: &Store, ctx: &Context) -> Result<()> {
    if inkstone_store::copy::is_unfinished(store.db(), ctx).await? {
        return Err(Failure::with_hint(
            "holds an unfinished copy of another blog",
            "finish it with the `inkstone store copy` that began it: it goes on where it stopped",
        ));
    }
    // Of a file, whether there is room and who may write have been looked at, and a server may be at work on it.
    if store.db().dialect() == Dialect::Sqlite {
        return Ok(());
    }
    store.db().recover().await.map_err(|error| {
        let (what, _) = Failure::from(error).for_doctor();
        Failure::with_hint(
            what,
            "name a server that takes writes in store.url; if it is to be this one, see whether it is a replica, and \
             default_transaction_read_only (PostgreSQL) or read_only (MariaDB)",
        )
    })
}
