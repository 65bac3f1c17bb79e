//! Where a shared tier is, as operators write it.
//!
//! | address | what is there |
//! |---|---|
//! | `redis://user:password@host:6379/0` | one Redis or Valkey; `rediss://` over TLS |
//! | `redis+sentinel://user:password@host:26379,host:26379/mymaster/0` | the master that these sentinels name |
//! | `redis+cluster://user:password@host:6379,host:6379` | a cluster, known by some of its nodes |
//! | `memcached://user:password@host:11211,host:11211` | Memcached; entries are spread over the servers |

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::memcached::Memcached;
use crate::redis::{Redis, Servers};
use crate::remote::Remote;

/// Where a shared tier is, and what kind. Shows itself without its password.
#[derive(Clone)]
pub struct Address {
    shown: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Redis(Box<Servers>),
    Memcached { servers: Vec<String>, credentials: Option<(String, String)> },
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl From<redis::RedisError> for AddressError {
    fn from(error: redis::RedisError) -> Self {
        // Its text may repeat the address, password and all.
        Self(format!("is not an address of Redis: {}", error.category()))
    }
}

impl Address {
    /// The tier at this address. Nothing is connected yet, so nothing can fail. `patience` is how
    /// long one answer may take.
    pub fn open(&self, patience: Duration) -> Arc<dyn Remote> {
        match &self.kind {
            Kind::Redis(servers) => Arc::new(Redis::new((**servers).clone(), self.shown.clone(), patience)),
            Kind::Memcached { servers, credentials } => {
                Arc::new(Memcached::new(servers.clone(), credentials.clone(), self.shown.clone()))
            }
        }
    }

    /// Whether it can count for all processes: rate limits hold across nodes then.
    pub fn counts(&self) -> bool {
        matches!(self.kind, Kind::Redis(_))
    }
}

/// The parts of an address.
struct Parts<'a> {
    scheme: &'a str,
    credentials: Option<(String, String)>,
    userinfo: &'a str,
    hosts: Vec<String>,
    path: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let default_port = match scheme {
            "memcached" => 11211,
            _ if scheme.ends_with("+sentinel") => 26379,
            _ => 6379,
        };
        let hosts = hosts.split(',').map(|host| with_port(host, default_port)).collect::<Option<Vec<_>>>()?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = (!userinfo.is_empty()).then(|| {
            let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
            (decoded(user), decoded(password))
        });
        let path = path.split('/').filter(|part| !part.is_empty()).collect();
        Some(Self { scheme, credentials, userinfo, hosts, path })
    }
}

/// The host with its port; none if it is empty or the port is no port.
fn with_port(host: &str, default_port: u16) -> Option<String> {
    let after_address = host.rfind(']').map_or(0, |at| at + 1);
    match host[after_address..].rsplit_once(':') {
        Some((name, port)) if !(name.is_empty() && after_address == 0) && port.parse::<u16>().is_ok() => {
            Some(host.to_owned())
        }
        None if !host.is_empty() => Some(format!("{host}:{default_port}")),
        _ => None,
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts = Parts::of(text).ok_or_else(|| {
            AddressError("must be an address such as \"redis://cache.example:6379\" or \"memcached://a,b\"".to_owned())
        })?;
        let at = if parts.userinfo.is_empty() { "" } else { "…@" };
        let shown = format!("{}://{at}{}", parts.scheme, parts.hosts.join(","));
        let kind = match parts.scheme {
            "redis" | "rediss" | "valkey" | "valkeys" if parts.hosts.len() == 1 => {
                Kind::Redis(Box::new(Servers::one(text)?))
            }
            "redis+cluster" | "rediss+cluster" => {
                let scheme = parts.scheme.trim_end_matches("+cluster");
                let at = if parts.userinfo.is_empty() { String::new() } else { format!("{}@", parts.userinfo) };
                let nodes = parts.hosts.iter().map(|host| format!("{scheme}://{at}{host}")).collect();
                Kind::Redis(Box::new(Servers::cluster(nodes)?))
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let (master, database) = match parts.path[..] {
                    [master] => (master, 0),
                    [master, database] => {
                        let number = database.parse();
                        (master, number.map_err(|_| AddressError(format!("has no database {database:?}")))?)
                    }
                    _ => {
                        let message = "must name the master: redis+sentinel://host:26379/mymaster";
                        return Err(AddressError(message.to_owned()));
                    }
                };
                let scheme = parts.scheme.trim_end_matches("+sentinel");
                let sentinels = parts.hosts.iter().map(|host| format!("{scheme}://{host}")).collect();
                Kind::Redis(Box::new(Servers::sentinel(sentinels, master, parts.credentials, database)?))
            }
            "memcached" => Kind::Memcached { servers: parts.hosts, credentials: parts.credentials },
            "redis" | "rediss" | "valkey" | "valkeys" => {
                return Err(AddressError(
                    "names one host; several are redis+sentinel:// or redis+cluster://".to_owned(),
                ));
            }
            other => return Err(AddressError(format!("{other:?} is no kind of cache"))),
        };
        Ok(Self { shown, kind })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood_and_none_shows_its_password() {
        for (text, shown) in [
            ("redis://cache.example", "redis://cache.example:6379"),
            ("rediss://ink:p%40ss@cache.example:6380/2", "rediss://…@cache.example:6380"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("redis+sentinel://u:secret@a,b:26380/mymaster/1", "redis+sentinel://…@a:26379,b:26380"),
            ("rediss+cluster://u:secret@a:7000,b:7001", "rediss+cluster://…@a:7000,b:7001"),
            ("memcached://a,[::1]:11212", "memcached://a:11211,[::1]:11212"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("secret"), "{address:?}");
            assert_eq!(address.counts(), !text.starts_with("memcached"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_its_password() {
        for text in [
            "",
            "redis",
            "redis://",
            "redis://:6379",
            "redis://a:port",
            "redis://a,b",
            "redis+sentinel://a",
            "ftp://a",
            "redis+sentinel://a/m/x",
            "memcached://a,,b",
            "redis+cluster://u:secret@:1",
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
