//! Whether the replicas of the database answer, and how far they are.

use std::sync::Arc;

use inkstone_core::events::ChangeFeed as _;
use inkstone_core::progress::Progress;
use inkstone_store::Store;

use super::{DATABASE_DEADLINE, Finding};
use crate::compose::{Ambient, Database, operator_context, replicas};
use crate::config::Config;
use crate::failure::Result;

const CHECK: &str = "replica";

/// A line for each replica.
///
/// # Errors
/// When there cannot be a pool of connections to one of them.
pub(super) async fn examine(config: &Config, ambient: &Ambient) -> Result<Vec<Finding>> {
    let progress = Arc::new(Progress::new(ambient.clock.instant()));
    let Some(replicas) = replicas(config, ambient, progress.clone())? else { return Ok(Vec::new()) };
    let store =
        Store::new(Database::of(config, &ambient.clock).open()?, ambient.clock.clone(), ambient.entropy.clone());
    let ctx = operator_context(&ambient.clock, "doctor", DATABASE_DEADLINE);
    // What is wrong with the primary is said elsewhere; the replicas are looked at all the same.
    let latest = store.latest_change(&ctx).await.unwrap_or(0);
    replicas.look().await;
    let mut findings = Vec::new();
    for replica in replicas.stats().replicas {
        findings.push(match replica.trouble {
            Some(trouble) => Finding::warn(
                CHECK,
                format!(
                    "{} cannot be read: {}",
                    replica.name,
                    refusal(config, ambient, &replica.name).await.unwrap_or(trouble)
                ),
                "see that it runs, that store.replicas names it, and that its user may use the database",
            ),
            None if replica.position < latest => Finding::warn(
                CHECK,
                format!("{} is at change {} of {latest}", replica.name, replica.position),
                "ask again; if it stays so, see on it whether it receives (pg_stat_wal_receiver) and replays",
            ),
            None => Finding::ok(CHECK, format!("{} has every change", replica.name)),
        });
    }
    replicas.close().await?;
    store.db().close().await?;
    Ok(findings)
}

/// What it, or the way to it, says to a connection; nothing where there is one.
async fn refusal(config: &Config, ambient: &Ambient, name: &str) -> Option<String> {
    let address = config.store.replicas.iter().find(|address| address.to_string() == name)?;
    let failure = Database::replica(config, address, &ambient.clock).exists().await.err()?;
    Some(failure.parts().0)
}
