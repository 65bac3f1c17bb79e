//! The cache that several processes share: where it is, and who asks it.

use std::path::Path;
use std::time::Duration;

use inkstone_cache::{Access, Address, Credentials, Identity, Part};

use super::{GIB, Reader, SharedCache};

const URL: &str = "cache.shared.url";
const SECRET: &str = "cache.shared.secret";
const AUTHORITIES: &str = "cache.shared.tls.authorities";
const CERTIFICATE: &str = "cache.shared.tls.certificate";
const KEY: &str = "cache.shared.tls.key";
const SENTINEL_USER: &str = "cache.shared.sentinel.user";
const SENTINEL_SECRET: &str = "cache.shared.sentinel.secret";

/// What is wrong with an address is said without the address itself, which may hold a password.
pub(super) fn read(reader: &mut Reader) -> Option<SharedCache> {
    let url = reader.text(URL);
    let timeout = reader.duration("cache.shared.timeout", Duration::from_millis(5)..=Duration::from_secs(5));
    let access = access(reader);
    if url.is_empty() {
        return None;
    }
    if reader.size("cache.max_bytes", 0..=1024 * GIB) == 0 {
        reader.fault(URL, "needs a cache in memory in front of it, but cache.max_bytes is 0");
    }
    match Address::new(&url, &access?) {
        Ok(address) => Some(SharedCache { address, timeout }),
        Err(error) => {
            let setting = match error.part {
                Part::Address => URL,
                Part::Password => SECRET,
                Part::Sentinel => SENTINEL_SECRET,
                Part::Authorities => AUTHORITIES,
                Part::Identity => CERTIFICATE,
            };
            reader.fault(setting, error.to_string());
            None
        }
    }
}

/// Everything beside the address; none if something about it is wrong.
fn access(reader: &mut Reader) -> Option<Access> {
    let password = Some(reader.text(SECRET)).filter(|text| !text.is_empty());
    let (user, secret) = (reader.text(SENTINEL_USER), reader.text(SENTINEL_SECRET));
    let names_nobody = user.is_empty() && secret.is_empty();
    let sentinel = (!names_nobody).then_some(Credentials { user, password: secret });
    let files = [AUTHORITIES, CERTIFICATE, KEY].map(|setting| (setting, reader.path(setting)));
    let mut is_readable = true;
    let [authorities, certificate, key] = files.map(|(setting, path)| {
        let read = contents(path.as_deref()?);
        read.map_err(|why| {
            is_readable = false;
            reader.fault(setting, why);
        })
        .ok()
    });
    if !is_readable {
        return None;
    }
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            reader.fault(KEY, format!("must be set as well, since {CERTIFICATE} is"));
            return None;
        }
        (None, Some(_)) => {
            reader.fault(CERTIFICATE, format!("must be set as well, since {KEY} is"));
            return None;
        }
    };
    Some(Access { password, sentinel, authorities, identity })
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}
