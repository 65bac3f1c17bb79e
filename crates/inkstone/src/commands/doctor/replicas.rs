//! Whether the replicas of the database answer, how far they are, and whether they are its replicas at all.

use std::sync::Arc;

use inkstone_core::Context;
use inkstone_core::events::{ChangeFeed as _, Mark};
use inkstone_core::progress::Progress;
use inkstone_store::Store;
use inkstone_store::db::{Replica, Replicas};

use super::{DATABASE_DEADLINE, Finding};
use crate::compose::{Ambient, Database, operator_context, replicas};
use crate::config::Config;
use crate::failure::Result;

const CHECK: &str = "replica";

/// What it takes to find out.
struct Examination {
    /// Whether it is known that no more than one host takes writes: else the one that was found may be the wrong one.
    is_primary_sure: bool,
    store: Store,
    ctx: Context,
    progress: Arc<Progress>,
    replicas: Arc<Replicas>,
}

/// A line for each replica. `is_primary_sure` is false where several hosts take writes.
///
/// # Errors
/// When there cannot be a pool of connections to one of them.
pub(super) async fn examine(config: &Config, ambient: &Ambient, is_primary_sure: bool) -> Result<Vec<Finding>> {
    let progress = Arc::new(Progress::new(ambient.clock.instant()));
    let Some(replicas) = replicas(config, ambient, progress.clone())? else { return Ok(Vec::new()) };
    let store =
        Store::new(Database::of(config, &ambient.clock).open()?, ambient.clock.clone(), ambient.entropy.clone());
    let ctx = operator_context(&ambient.clock, "doctor", DATABASE_DEADLINE);
    let examination = Examination { is_primary_sure, store, ctx, progress, replicas };
    let findings = examination.findings(config, ambient).await;
    examination.replicas.close().await?;
    examination.store.db().close().await?;
    Ok(findings)
}

impl Examination {
    async fn findings(&self, config: &Config, ambient: &Ambient) -> Vec<Finding> {
        let Ok(latest) = self.newest().await else {
            let advice = "see to the database first";
            let names = self.replicas.stats().replicas.into_iter().map(|replica| replica.name);
            let say = |name| Finding::warn(CHECK, format!("{name} has no primary to be compared with"), advice);
            return names.map(say).collect();
        };
        self.progress.know(latest);
        self.replicas.look().await;
        let mut findings = Vec::new();
        for replica in self.replicas.stats().replicas {
            findings.push(match &replica.trouble {
                Some(trouble) if replica.is_other => self.other(&replica.name, trouble),
                Some(trouble) => Finding::warn(
                    CHECK,
                    format!(
                        "{} cannot be read: {}",
                        replica.name,
                        refusal(config, ambient, &replica.name).await.as_ref().unwrap_or(trouble)
                    ),
                    "see that it runs, that store.replicas names it, and that its user may use the database",
                ),
                None => self.compare(&replica, latest).await,
            });
        }
        findings
    }

    /// Compares one that can be read with the primary, which was at `latest` a moment ago.
    async fn compare(&self, replica: &Replica, latest: Mark) -> Finding {
        let (name, position) = (&replica.name, replica.position);
        if position == latest.change_seq {
            return Finding::ok(CHECK, format!("{name} has every change"));
        }
        // Asked after the replica: whatever that has, the primary has by now.
        let by_now = self.newest().await.unwrap_or(latest).change_seq;
        if position > by_now {
            return Finding::warn(
                CHECK,
                format!("{name} shows change {position}, which the primary, at {by_now}, does not have"),
                format!(
                    "ask again; if it stays so, either a commit waits for a synchronous standby (pg_stat_activity: \
                     SyncRep), or one of the two follows a former primary: {}",
                    self.how_to_mend()
                ),
            );
        }
        // The same question once more, of the last change that both have.
        // Where that was removed meanwhile, nothing can be compared.
        if let Ok(mark) = self.mark(position).await
            && mark.at.is_some()
        {
            self.progress.start_over(position);
            self.progress.know(mark);
            self.replicas.look().await;
            let again = self.replicas.stats().replicas.into_iter().find(|other| other.name == *name);
            if let Some(trouble) = again.filter(|replica| replica.is_other).and_then(|replica| replica.trouble) {
                return self.other(name, &trouble);
            }
        }
        if position > latest.change_seq {
            return Finding::ok(CHECK, format!("{name} has every change"));
        }
        Finding::warn(
            CHECK,
            format!("{name} is at change {position} of {by_now}"),
            "ask again; if it stays so, see on it whether it receives (pg_stat_wal_receiver) and replays",
        )
    }

    fn other(&self, name: &str, trouble: &str) -> Finding {
        Finding::fail(
            CHECK,
            format!("{name} is not read: {trouble}"),
            format!("see that store.replicas names a replica of this database; if it does, {}", self.how_to_mend()),
        )
    }

    /// What to do when this one and the primary have different histories.
    fn how_to_mend(&self) -> &'static str {
        if self.is_primary_sure {
            "first make sure that store.url leads to the server that was promoted last; then build this one anew from that \
             (pg_rewind, pg_basebackup)"
        } else {
            "build nothing anew yet: several hosts take writes (see hosts), and this one may have acknowledged changes that \
             the one it was compared with lacks"
        }
    }

    async fn newest(&self) -> inkstone_core::Result<Mark> {
        self.mark(self.store.latest_change(&self.ctx).await?).await
    }

    /// The change of this number as the primary made it.
    async fn mark(&self, change_seq: i64) -> inkstone_core::Result<Mark> {
        let found = self.store.changes_after(&self.ctx, change_seq - 1, 1).await?;
        let mark = found.first().map(Mark::of).filter(|mark| mark.change_seq == change_seq);
        Ok(mark.unwrap_or(Mark { change_seq, at: None }))
    }
}

/// What it, or the way to it, says to a connection; nothing where there is one.
async fn refusal(config: &Config, ambient: &Ambient, name: &str) -> Option<String> {
    let address = config.store.replicas.iter().find(|address| address.to_string() == name)?;
    let failure = Database::alone(config, address, &ambient.clock).exists().await.err()?;
    Some(failure.for_doctor().0)
}
