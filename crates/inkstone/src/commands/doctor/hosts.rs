//! Whether of several hosts in `store.url` one takes writes, and no more than one.

use futures_util::future::join_all;
use inkstone_core::events::ChangeFeed as _;
use inkstone_store::Store;
use inkstone_store::db::PostgresAddress;

use super::{DATABASE_DEADLINE, Finding};
use crate::compose::{Ambient, Database, hosts, operator_context};
use crate::config::Config;
use crate::failure::Result;

const CHECK: &str = "hosts";

/// What a host does.
enum Found {
    TakesWrites,
    /// It answers, as a replica does.
    OnlyReads,
    /// It does neither; why, in words.
    IsOfNoUse(String),
}

/// A line, if there are several. That none takes writes is said of the database itself.
pub(super) async fn examine(config: &Config, ambient: &Ambient) -> Option<Finding> {
    let hosts = hosts(config);
    let found = join_all(hosts.iter().map(|host| ask(host, config, ambient))).await;
    let (mut writable, mut useless) = (Vec::new(), Vec::new());
    for (host, found) in hosts.iter().zip(found) {
        match found {
            Found::TakesWrites => writable.push(host.to_string()),
            Found::OnlyReads => {}
            Found::IsOfNoUse(why) => useless.push(format!("{host} cannot take over: {why}")),
        }
    }
    let count = hosts.len();
    match writable.as_slice() {
        [] => None,
        [host] if useless.is_empty() => Some(Finding::ok(CHECK, format!("of {count}, {host} alone takes writes"))),
        [host] => Some(Finding::warn(
            CHECK,
            format!("of {count}, {host} takes writes; {}", useless.join("; ")),
            "see to it, or start it if it does not run, and look that it follows the one that takes writes. One that took \
             writes itself before must not come back writable: make it a replica (pg_rewind) first",
        )),
        several => Some(Finding::fail(
            CHECK,
            format!("{} all take writes: each node writes to the first that it finds", several.join(" and ")),
            "if these are different servers, and not two ways to one, stop all but the one that was promoted last, at \
             once; what the others took is in no history but their own. Fence an old primary before another \
             is promoted, and make it a replica (pg_rewind) before it starts again",
        )),
    }
}

async fn ask(host: &PostgresAddress, config: &Config, ambient: &Ambient) -> Found {
    if takes_writes(host, config, ambient).await.is_ok() {
        return Found::TakesWrites;
    }
    match Database::alone(config, &host.clone().for_reading(), &ambient.clock).exists().await {
        Ok(true) => Found::OnlyReads,
        Ok(false) => Found::IsOfNoUse("it holds no blog".to_owned()),
        Err(failure) => Found::IsOfNoUse(failure.for_doctor().0),
    }
}

async fn takes_writes(host: &PostgresAddress, config: &Config, ambient: &Ambient) -> Result<()> {
    let database = Database::alone(config, host, &ambient.clock);
    let store = Store::new(database.open()?, ambient.clock.clone(), ambient.entropy.clone());
    let ctx = operator_context(&ambient.clock, "doctor", DATABASE_DEADLINE);
    let answered = store.latest_change(&ctx).await;
    // Nothing was written, so that nothing can be lost by it.
    let _closed = store.db().close().await;
    Ok(answered.map(drop)?)
}
