//! Where a shared tier is, as operators write it.
//!
//! | address | what is there |
//! |---|---|
//! | `redis://user:password@host:6379/0` | one Redis or Valkey (`valkey://`) |
//! | `redis+sentinel://user:password@host:26379,host:26379/mymaster/0` | the master that these sentinels name |
//! | `redis+cluster://user:password@host:6379,host:6379` | a cluster, known by some of its nodes |
//! | `memcached://user:password@host:11211,host:11211` | Memcached; entries are spread over the servers |
//!
//! `rediss://`, `rediss+sentinel://` and `rediss+cluster://` are the same over TLS, sentinels
//! included. What cannot be done as it is written is refused; nothing is passed over.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use inkstone_core::clock::SharedClock;
use percent_encoding::percent_decode_str;

use crate::access::{Access, AddressError, Credentials, Part};
use crate::memcached::Memcached;
use crate::redis::{Hosts, Redis, Servers, Tls};
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
    Memcached { servers: Vec<String>, credentials: Option<Credentials> },
}

/// What an address begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    One,
    Sentinel,
    Cluster,
    Memcached,
}

impl Scheme {
    /// The kind, and whether it is spoken to over TLS.
    fn of(text: &str) -> Option<(Self, bool)> {
        Some(match text {
            "redis" | "valkey" => (Self::One, false),
            "rediss" | "valkeys" => (Self::One, true),
            "redis+sentinel" | "valkey+sentinel" => (Self::Sentinel, false),
            "rediss+sentinel" | "valkeys+sentinel" => (Self::Sentinel, true),
            "redis+cluster" | "valkey+cluster" => (Self::Cluster, false),
            "rediss+cluster" | "valkeys+cluster" => (Self::Cluster, true),
            "memcached" => (Self::Memcached, false),
            _ => return None,
        })
    }

    fn default_port(self) -> u16 {
        match self {
            Self::One | Self::Cluster => 6379,
            Self::Sentinel => 26379,
            Self::Memcached => 11211,
        }
    }
}

impl Address {
    /// The tier at this address, with what belongs to it beside its text.
    ///
    /// # Errors
    /// Whatever is wrong with it, or cannot be done: which part, and in words that go on where the
    /// name of the setting ends.
    pub fn new(text: &str, access: &Access) -> Result<Self, AddressError> {
        let parts = Parts::of(text)?;
        let credentials = parts.credentials(access.password.as_deref())?;
        if access.sentinel.is_some() && parts.scheme != Scheme::Sentinel {
            return Err(AddressError::new(Part::Sentinel, "is for addresses that name sentinels (redis+sentinel://)"));
        }
        if access.sentinel.as_ref().is_some_and(|sentinel| sentinel.password.is_empty()) {
            return Err(AddressError::new(Part::Sentinel, "names a user without a password"));
        }
        let tls = tls(parts.has_tls, parts.scheme, access)?;
        let kind = match parts.scheme {
            Scheme::Memcached => {
                parts.no_path("Memcached has no databases")?;
                let is_nameless = credentials.as_ref().is_some_and(|credentials| credentials.user.is_empty());
                if is_nameless {
                    return Err(wrong("has a password without a user"));
                }
                let servers = parts.hosts.iter().map(|(host, port)| joined(host, *port)).collect();
                Kind::Memcached { servers, credentials }
            }
            Scheme::One | Scheme::Sentinel | Scheme::Cluster => {
                Kind::Redis(Box::new(parts.servers(credentials, tls, access.sentinel.as_ref())?))
            }
        };
        Ok(Self { shown: parts.shown, kind })
    }

    /// The tier at this address. Nothing is connected yet, so nothing can fail. `patience` is how
    /// long one answer may take; `clock` is asked where the tier has none of its own.
    pub fn open(&self, patience: Duration, clock: SharedClock) -> Arc<dyn Remote> {
        match &self.kind {
            Kind::Redis(servers) => Arc::new(Redis::new((**servers).clone(), self.shown.clone(), patience)),
            Kind::Memcached { servers, credentials } => {
                let (servers, credentials, shown) = (servers.clone(), credentials.clone(), self.shown.clone());
                Arc::new(Memcached::new(servers, credentials, shown, clock, patience))
            }
        }
    }
}

fn wrong(message: impl Into<String>) -> AddressError {
    AddressError::new(Part::Address, message)
}

/// How it is spoken to over TLS, if it is. What is said about TLS where there is none is refused:
/// whoever said it believes that there is.
fn tls(is_wanted: bool, scheme: Scheme, access: &Access) -> Result<Option<Tls>, AddressError> {
    let said = [(Part::Authorities, access.authorities.is_some()), (Part::Identity, access.identity.is_some())];
    if let Some((part, _)) = said.into_iter().find(|(_, is_said)| *is_said && !is_wanted) {
        return Err(AddressError::new(
            part,
            match scheme {
                Scheme::Memcached => "is for TLS, which is not spoken to Memcached",
                Scheme::One | Scheme::Sentinel | Scheme::Cluster => {
                    "is for TLS, but the address does not ask for it: it begins with rediss"
                }
            },
        ));
    }
    if !is_wanted {
        return Ok(None);
    }
    let holds = |pem: &[u8], what: &str| String::from_utf8_lossy(pem).contains(what);
    if access.authorities.as_ref().is_some_and(|pem| !holds(pem, "-----BEGIN CERTIFICATE-----")) {
        return Err(AddressError::new(Part::Authorities, "holds no certificate (PEM)"));
    }
    if let Some(identity) = &access.identity {
        if !holds(&identity.certificate, "-----BEGIN CERTIFICATE-----") {
            return Err(AddressError::new(Part::Identity, "holds no certificate (PEM)"));
        }
        if !holds(&identity.key, "PRIVATE KEY-----") {
            return Err(AddressError::new(Part::Identity, "has no private key (PEM)"));
        }
    }
    Ok(Some(Tls { authorities: access.authorities.clone(), identity: access.identity.clone() }))
}

/// The parts of an address.
struct Parts<'a> {
    scheme: Scheme,
    has_tls: bool,
    userinfo: &'a str,
    hosts: Vec<(String, u16)>,
    path: Vec<&'a str>,
    shown: String,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, AddressError> {
        const LIKE_THIS: &str = "must be an address such as \"redis://cache.example:6379\" or \"memcached://a,b\"";
        let (scheme_text, rest) = text.split_once("://").ok_or_else(|| wrong(LIKE_THIS))?;
        let (scheme, has_tls) = Scheme::of(scheme_text).ok_or_else(|| match scheme_text {
            "memcacheds" => wrong("is Memcached over TLS, which is not spoken here"),
            _ => wrong(format!("{scheme_text:?} is no kind of cache")),
        })?;
        if rest.contains(['?', '#']) {
            // Libraries take some of it, such as "#insecure", as leave not to look at certificates.
            return Err(wrong("has no options after \"?\" or \"#\"; in a password they are written %3F and %23"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(wrong("has an \"@\" behind a \"/\"; in a password that is written %2F"));
        }
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let hosts = hosts.split(',').map(|host| with_port(host, scheme.default_port()));
        let hosts = hosts.collect::<Option<Vec<_>>>().ok_or_else(|| wrong(LIKE_THIS))?;
        let at = if userinfo.is_empty() { "" } else { "…@" };
        let all: Vec<String> = hosts.iter().map(|(host, port)| joined(host, *port)).collect();
        let shown = format!("{scheme_text}://{at}{}", all.join(","));
        let path = path.split('/').filter(|part| !part.is_empty()).collect();
        Ok(Self { scheme, has_tls, userinfo, hosts, path, shown })
    }

    /// Who asks. A name without a password would be passed over by the server in silence, and the
    /// default user asked instead.
    fn credentials(&self, password: Option<&str>) -> Result<Option<Credentials>, AddressError> {
        let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(wrong("has a user or a password that is not UTF-8")),
        };
        let (user, in_address) = match self.userinfo.split_once(':') {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (decoded(self.userinfo)?, String::new()),
        };
        match (in_address.is_empty(), password) {
            (false, Some(_)) => Err(AddressError::new(Part::Password, "is set, and the address has a password too")),
            (true, Some("")) => Err(AddressError::new(Part::Password, "is empty")),
            (true, Some(password)) => Ok(Some(Credentials { user, password: password.to_owned() })),
            (false, None) => Ok(Some(Credentials { user, password: in_address })),
            (true, None) if user.is_empty() => Ok(None),
            (true, None) => Err(wrong("names a user without a password")),
        }
    }

    fn no_path(&self, why: &str) -> Result<(), AddressError> {
        if self.path.is_empty() {
            Ok(())
        } else {
            Err(wrong(format!("ends with {:?}, but {why}", self.path.join("/"))))
        }
    }

    fn servers(
        &self,
        credentials: Option<Credentials>,
        tls: Option<Tls>,
        sentinel: Option<&Credentials>,
    ) -> Result<Servers, AddressError> {
        let part = if tls.is_some() { Part::Authorities } else { Part::Address };
        // Nothing but certificates can be wrong any more, and these are no secret.
        let unusable = |error: redis::RedisError| AddressError::new(part, format!("cannot be used: {error}"));
        let mut hosts = Hosts { servers: self.hosts.clone(), credentials, database: 0, tls };
        match self.scheme {
            Scheme::Sentinel => {
                let master = match self.path[..] {
                    [master] => master,
                    [master, number] => {
                        hosts.database = database(number)?;
                        master
                    }
                    _ => return Err(wrong("must name the master: redis+sentinel://host:26379/mymaster")),
                };
                Servers::sentinel(&hosts, master, sentinel).map_err(unusable)
            }
            Scheme::Cluster => {
                self.no_path("a cluster has no databases")?;
                Servers::cluster(&hosts).map_err(unusable)
            }
            Scheme::One | Scheme::Memcached => {
                if hosts.servers.len() > 1 {
                    return Err(wrong("names one host; several are redis+sentinel:// or redis+cluster://"));
                }
                match self.path[..] {
                    [] => {}
                    [number] => hosts.database = database(number)?,
                    _ => return Err(wrong("ends with the number of a database, or with the host")),
                }
                Servers::one(&hosts).map_err(unusable)
            }
        }
    }
}

fn database(text: &str) -> Result<i64, AddressError> {
    let number: Result<u32, _> = text.parse();
    number.map(i64::from).map_err(|_| wrong(format!("has no database {text:?}: databases are numbers")))
}

/// The host, without brackets, and its port; none if it is empty or the port is no port.
fn with_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The other way round.
fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::new(text, &Access::default())
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
mod tests;
