//! Whether the cache that several processes share does all that will be asked of it.

use std::time::Duration;

use inkstone_cache::{Lack, Need, RemoteError};
use inkstone_core::clock::SharedClock;

use super::Finding;
use crate::config::Config;

const CHECK: &str = "shared cache";
/// How long each step may take, connecting included: more than a request gives it.
const PATIENCE: Duration = Duration::from_secs(5);
/// What everything begins with that is put there, as the rights of its user have it.
const PREFIX: &str = "inkstone:doctor:";

/// Nothing that it lacks is vital, so nothing here fails.
pub(super) fn examine(config: &Config, clock: &SharedClock) -> Vec<Finding> {
    let Some(shared) = &config.cache.shared else { return Vec::new() };
    let address = &shared.address;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::warn(CHECK, error.to_string(), "see that there is memory left")],
    };
    let lacks = runtime.block_on(async {
        let remote = address.open(PATIENCE, clock.clone());
        inkstone_cache::examine(&*remote, PREFIX, PATIENCE).await
    });
    if lacks.is_empty() {
        return vec![Finding::ok(CHECK, format!("{address} answers and does all that is needed"))];
    }
    let finding = |Lack { need, error }: &Lack| {
        let message = format!("{address} {}: {error}; until then {}", need.lack(), need.without());
        Finding::warn(CHECK, message, advice(*need, error))
    };
    lacks.iter().map(finding).collect()
}

fn advice(need: Need, error: &RemoteError) -> &'static str {
    let why = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    match error {
        RemoteError::Denied(_) if says(&["WRONGPASS", "NOAUTH", "credentials"]) => {
            "see that cache.shared.url names the right user, and cache.shared.secret its password (for sentinels: \
             cache.shared.sentinel)"
        }
        RemoteError::Denied(_) => "give its user the rights that docs/operations.md lists (ACL SETUSER)",
        RemoteError::Unreachable(_) if says(&["UnknownIssuer", "BadSignature"]) => {
            "see that cache.shared.tls.authorities names the file of who signed its certificate"
        }
        RemoteError::Unreachable(_) if says(&["not valid for name"]) => {
            "use a name or an address that its certificate has, or have it made for this one; sentinels and clusters \
             name their servers themselves (announce-hostnames, cluster-announce-hostname)"
        }
        RemoteError::Unreachable(_) if says(&["ertificate"]) => "look at its certificate with openssl s_client",
        RemoteError::Unreachable(_) if says(&["broken pipe", "reset"]) => {
            "if it asks for a certificate of ours (tls-auth-clients), name one with cache.shared.tls.certificate"
        }
        _ if need == Need::Answer => {
            "see that it runs and can be reached from here, and that TLS is meant or not meant"
        }
        _ => "see its log and its memory",
    }
}
