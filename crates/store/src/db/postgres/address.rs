//! Where a PostgreSQL database is, and how the way there is kept private.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::db::BadAddress;
use crate::db::server::{Privacy, in_brackets, is_here};

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
                Host::Tcp(name) => f.write_str(&in_brackets(name))?,
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
            return Err(BadAddress("must begin with postgres://".to_owned()));
        }
        let Options { rest, privacy, any } = Options::split(text)?;
        let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| BadAddress(reason(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(BadAddress("names no host".to_owned()));
        }
        if config.get_dbname().is_none() {
            return Err(BadAddress("names no database: postgres://host/database".to_owned()));
        }
        let is_here = config.get_hosts().iter().all(stays) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        let tls = privacy.trusted(is_here)?.map(keys).transpose()?;
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any && !any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_application_name().is_none() {
            config.application_name("inkstone");
        }
        config.keepalives_idle(SILENCE).tcp_user_timeout(SILENCE);
        Ok(Self { config, tls })
    }
}

/// An address, taken apart.
struct Options {
    /// What tokio-postgres is to know.
    rest: String,
    privacy: Privacy,
    /// `target_session_attrs=any` was said.
    any: bool,
}

impl Options {
    fn split(text: &str) -> Result<Self, BadAddress> {
        let (mut privacy, mut any) = (Privacy::default(), false);
        let (head, query) = text.split_once('?').unwrap_or((text, ""));
        let mut kept = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            if option.starts_with("password=") {
                let why = "the password belongs before the host: postgres://user:password@host/database";
                return Err(BadAddress(why.to_owned()));
            }
            if privacy.take(option)? {
                continue;
            }
            any |= option == "target_session_attrs=any";
            kept.push(option);
        }
        let rest = if kept.is_empty() { head.to_owned() } else { format!("{head}?{}", kept.join("&")) };
        Ok(Self { rest, privacy, any })
    }
}

/// Whether nothing leaves this machine on the way to a host.
fn stays(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => is_here(name),
    }
}

fn keys(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, BadAddress> {
    let mut trusted = RootCertStore::empty();
    trusted.add_parsable_certificates(certificates);
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
        assert_eq!(parse("postgres://a@[::1]:7/blog").unwrap().to_string(), "postgres://a@[::1]:7/blog");
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
