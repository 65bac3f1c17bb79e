//! Where a PostgreSQL database is, and how the way there is kept private.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::hosts::each;

/// How long the network may swallow what was sent before the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(10);

/// A parsed `postgres://user:password@host:port,host:port/database?option=value`.
///
/// Beside the options of libpq that tokio-postgres knows: `sslmode` is `disable` or `verify-full`,
/// the latter by default for hosts that are not this machine; `sslrootcert` names a file of
/// certificates (PEM) to trust instead of the system's. Of several hosts, the one that accepts
/// writes is used, unless `target_session_attrs` says otherwise.
#[derive(Clone)]
pub struct PostgresAddress {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
}

/// Why an address cannot be used. Never holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAddress(pub(in crate::db) String);

/// The keys are the same if the addresses are, since they come from what stands there.
impl PartialEq for PostgresAddress {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.tls.is_some() == other.tls.is_some()
    }
}

impl Eq for PostgresAddress {}

impl PostgresAddress {
    /// As tokio-postgres wants it.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The keys of the other side, if the connection is encrypted.
    pub(super) fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// The same servers, whether or not they take writes.
    #[must_use]
    pub fn for_reading(mut self) -> Self {
        self.config.target_session_attrs(TargetSessionAttrs::Any);
        self
    }

    /// Each of its hosts by itself, as the one that takes writes.
    pub fn hosts(&self) -> Vec<Self> {
        let alone = |mut config: Config| {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            Self { config, tls: self.tls.clone() }
        };
        each(&self.config).into_iter().map(alone).collect()
    }

    /// Whether `text` is meant for PostgreSQL.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }
}

/// Without the password and the options.
impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        for (place, host) in self.config.get_hosts().iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match host {
                Host::Tcp(name) => f.write_str(name)?,
                Host::Unix(path) => write!(f, "{}", path.display())?,
            }
            let ports = self.config.get_ports();
            if let Some(port) = ports.get(place).or_else(|| ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({self})")
    }
}

impl FromStr for PostgresAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if !Self::is_meant(text) {
            return Err(BadAddress("must begin with postgres:// (or be empty, for SQLite)".to_owned()));
        }
        let (rest, asked) = Asked::split(text)?;
        let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| BadAddress(reason(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(BadAddress("names no host".to_owned()));
        }
        if config.get_dbname().is_none() {
            return Err(BadAddress("names no database: postgres://host/database".to_owned()));
        }
        let encrypt = asked.encrypt.unwrap_or_else(|| {
            !(config.get_hosts().iter().all(is_here) && config.get_hostaddrs().iter().all(IpAddr::is_loopback))
        });
        let tls = if encrypt { Some(keys(asked.roots)?) } else { None };
        config.ssl_mode(if encrypt { SslMode::Require } else { SslMode::Disable });
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any && !asked.any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_application_name().is_none() {
            config.application_name("inkstone");
        }
        config.keepalives_idle(SILENCE).tcp_user_timeout(SILENCE);
        Ok(Self { config, tls })
    }
}

/// What stands in the address for us rather than for tokio-postgres.
#[derive(Default)]
struct Asked {
    encrypt: Option<bool>,
    roots: Option<PathBuf>,
    /// `target_session_attrs=any` was said.
    any: bool,
}

impl Asked {
    fn split(text: &str) -> Result<(String, Self), BadAddress> {
        let mut asked = Self::default();
        let Some((head, query)) = text.split_once('?') else { return Ok((text.to_owned(), asked)) };
        let mut kept = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", "disable")) => asked.encrypt = Some(false),
                Some(("sslmode", "verify-full")) => asked.encrypt = Some(true),
                Some(("sslmode", _)) => {
                    let why = "sslmode must be verify-full or disable: anything between encrypts \
                               without knowing for whom. sslrootcert names the certificates to trust";
                    return Err(BadAddress(why.to_owned()));
                }
                Some(("password", _)) => {
                    let why = "the password belongs before the host: postgres://user:password@host/database";
                    return Err(BadAddress(why.to_owned()));
                }
                Some(("sslrootcert", path)) => {
                    let path = percent_decoded(path).ok_or_else(|| BadAddress("sslrootcert is not UTF-8".into()))?;
                    asked.roots = Some(path.into());
                }
                found => {
                    asked.any |= found == Some(("target_session_attrs", "any"));
                    kept.push(pair);
                }
            }
        }
        let rest = if kept.is_empty() { head.to_owned() } else { format!("{head}?{}", kept.join("&")) };
        Ok((rest, asked))
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// Whether nothing leaves this machine on the way to a host.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn keys(roots: Option<PathBuf>) -> Result<Arc<ClientConfig>, BadAddress> {
    let mut trusted = RootCertStore::empty();
    let certificates = match roots {
        Some(path) => {
            let unreadable = |error: &dyn fmt::Display| BadAddress(format!("sslrootcert {}: {error}", path.display()));
            let read = CertificateDer::pem_file_iter(&path).map_err(|error| unreadable(&error))?;
            read.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&error))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    trusted.add_parsable_certificates(certificates);
    if trusted.is_empty() {
        let why = "there are no certificates to trust: name a file with sslrootcert, or install ca-certificates";
        return Err(BadAddress(why.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BadAddress(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(trusted).with_no_client_auth()))
}

/// What is wrong, in words that hold no value.
fn reason(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("cannot be understood{}", source.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresAddress, String> {
        text.parse().map_err(|BadAddress(why)| why)
    }

    #[test]
    fn the_way_out_of_the_machine_is_encrypted_and_verified_unless_forbidden() {
        for here in ["postgres://localhost/blog", "postgres://127.0.0.1:5433/blog", "postgresql://[::1]/blog"] {
            assert!(parse(here).unwrap().tls().is_none(), "{here}");
        }
        for there in [
            "postgres://db.example/blog",
            "postgres://localhost,db.example/blog",
            "postgres://10.0.0.1/blog",
            "postgres://localhost/blog?hostaddr=10.0.0.1",
        ] {
            let address = parse(there).unwrap();
            assert!(address.tls().is_some() && address.config().get_ssl_mode() == SslMode::Require, "{there}");
        }
        let open = parse("postgres://db.example/blog?connect_timeout=3&sslmode=disable").unwrap();
        assert!(open.tls().is_none() && open.config().get_ssl_mode() == SslMode::Disable);
        assert_eq!(open.config().get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert!(parse("postgres://db.example/blog?sslmode=require").unwrap_err().contains("verify-full"));
        let missing = parse("postgres://db.example/blog?sslrootcert=/no/such%20file").unwrap_err();
        assert!(missing.contains("/no/such file"), "{missing}");
    }

    #[test]
    fn of_several_hosts_the_one_that_writes_is_meant() {
        let address = parse("postgres://a@localhost:1,127.0.0.1:2/blog").unwrap();
        assert_eq!(address.config().get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(address.to_string(), "postgres://a@localhost:1,127.0.0.1:2/blog");
        let any = parse("postgres://localhost:1,localhost:2/blog?target_session_attrs=any").unwrap();
        assert_eq!(any.config().get_target_session_attrs(), TargetSessionAttrs::Any);
        let one = parse("postgres://localhost/blog").unwrap();
        assert_eq!(one.config().get_target_session_attrs(), TargetSessionAttrs::Any);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for wrong in [
            "mysql://ada:sesame@h/blog",
            "postgres://ada:sesame@h:seven/blog",
            "postgres://ada:sesame@h",
            "postgres://ada:sesame@h/blog?colour=blue",
            "postgres://ada:sesame@h/blog?sslmode=prefer",
            "postgres:///blog",
            "postgres://ada@localhost/blog?password=sesame",
        ] {
            let why = parse(wrong).unwrap_err();
            assert!(!why.contains("sesame") && !why.is_empty(), "{why}");
        }
        let address = parse("postgres://ada:sesame@localhost/blog").unwrap();
        assert!(!format!("{address} {address:?}").contains("sesame"));
    }
}
