//! Whether of several hosts in `store.url` one takes writes, and no more than one.

use futures_util::future::join_all;
use inkstone_core::events::ChangeFeed as _;
use inkstone_store::Store;

use super::{DATABASE_DEADLINE, Finding};
use crate::compose::{Ambient, Database, hosts, operator_context};
use crate::config::Config;

const CHECK: &str = "hosts";

/// A line, if there are several. That none takes writes is said of the database itself.
pub(super) async fn examine(config: &Config, ambient: &Ambient) -> Option<Finding> {
    let hosts = hosts(config, &ambient.clock);
    let asked = join_all(hosts.into_iter().map(|host| takes_writes(host, ambient))).await;
    let count = asked.len();
    let writable: Vec<String> = asked.into_iter().flatten().collect();
    match writable.as_slice() {
        [] => None,
        [host] => Some(Finding::ok(CHECK, format!("of {count}, {host} alone takes writes"))),
        several => Some(Finding::fail(
            CHECK,
            format!("{} all take writes: each node writes to the first that it finds", several.join(" and ")),
            "if these are different servers, and not two ways to one, stop all but the one that was promoted last, at \
             once; what the others took is in no history but their own. Fence an old primary before another \
             is promoted, and make it a replica (pg_rewind) before it starts again",
        )),
    }
}

/// The name of a host, if it takes writes.
async fn takes_writes(host: Database, ambient: &Ambient) -> Option<String> {
    let name = host.to_string();
    let store = Store::new(host.open().ok()?, ambient.clock.clone(), ambient.entropy.clone());
    let ctx = operator_context(&ambient.clock, "doctor", DATABASE_DEADLINE);
    let answered = store.latest_change(&ctx).await;
    // Nothing was written, so that nothing can be lost by it.
    let _closed = store.db().close().await;
    answered.ok().map(|_| name)
}
