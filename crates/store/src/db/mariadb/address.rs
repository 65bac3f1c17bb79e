//! Where a MariaDB or MySQL database is, and how the way there is kept private.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mysql_async::{Opts, OptsBuilder, SslOpts};
use rustls::pki_types::CertificateDer;

use crate::db::BadAddress;
use crate::db::server::{Privacy, in_brackets, is_here};

/// The most that MariaDB and MySQL let `max_allowed_packet` be, in bytes.
const LONGEST_PACKET: usize = 1 << 30;

/// What is said of a socket in place of a host.
const NO_SOCKETS: &str = "names a socket: MariaDB and MySQL are spoken to over TCP only, on this machine too: \
                          mysql://user:password@127.0.0.1:3306/database";

/// How long the network may say nothing before it is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// A parsed `mysql://user:password@host:port,host:port/database?option=value`, or `mariadb://` with the
/// same.
///
/// The options are those of [`PostgresAddress`](crate::db::PostgresAddress): `sslmode` is `disable`
/// or `verify-full`, the latter by default for hosts that are not this machine; `sslrootcert` names
/// a file of certificates (PEM) to trust instead of the system's. Of several hosts, the first that takes
/// writes is used.
#[derive(Clone, PartialEq, Eq)]
pub struct MariaDbAddress {
    /// The way to each host; at least one.
    hosts: Vec<Opts>,
}

impl MariaDbAddress {
    /// Whether `text` is meant for MariaDB or MySQL.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("mysql://") || text.starts_with("mariadb://")
    }

    /// As mysql_async wants it, host by host: no statement is kept by the driver, which keeps too few.
    pub(super) fn hosts(&self) -> &[Opts] {
        &self.hosts
    }
}

/// Without the password and the options.
impl fmt::Display for MariaDbAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mysql://")?;
        if let Some(user) = self.hosts.first().and_then(Opts::user) {
            write!(f, "{user}@")?;
        }
        for (place, opts) in self.hosts.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}:{}", in_brackets(opts.ip_or_hostname()), opts.tcp_port())?;
        }
        write!(f, "/{}", self.hosts.first().and_then(Opts::db_name).unwrap_or_default())
    }
}

impl fmt::Debug for MariaDbAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MariaDbAddress({self})")
    }
}

impl FromStr for MariaDbAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let Some(rest) = text.strip_prefix("mysql://").or_else(|| text.strip_prefix("mariadb://")) else {
            return Err(BadAddress("must begin with mysql:// or mariadb://".to_owned()));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut privacy = Privacy::default();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            if option.starts_with("socket=") || option.starts_with("unix_socket=") {
                return Err(BadAddress(NO_SOCKETS.to_owned()));
            }
            if !privacy.take(option)? {
                // Its value could be a password.
                return Err(BadAddress("knows the options sslmode and sslrootcert, and no other".to_owned()));
            }
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts: Vec<_> = hosts.split(',').map(|host| way_to(user, host, database)).collect::<Result<_, _>>()?;
        let keys = privacy.trusted(hosts.iter().all(|(host, _)| is_here(host)))?.map(keys);
        let hosts = hosts.into_iter().map(|(host, opts)| {
            let opts = OptsBuilder::from_opts(opts)
                .ip_or_hostname(host)
                .ssl_opts(keys.clone())
                .prefer_socket(false)
                .stmt_cache_size(0)
                .client_found_rows(true)
                // What the server may send, which sends a row however long it is.
                .max_allowed_packet(Some(LONGEST_PACKET))
                .tcp_keepalive(Some(SILENCE));
            opts.into()
        });
        Ok(Self { hosts: hosts.collect() })
    }
}

/// The name of one host, and how to get there; `user` is what stands before it, up to the `@`.
fn way_to(user: &str, host: &str, database: &str) -> Result<(String, Opts), BadAddress> {
    if host.is_empty() {
        return Err(BadAddress("names no host".to_owned()));
    }
    if host.starts_with('/') || host.to_ascii_lowercase().starts_with("%2f") {
        return Err(BadAddress(NO_SOCKETS.to_owned()));
    }
    // What it says of an address that it does not understand could hold the password.
    let opts = Opts::from_url(&format!("mysql://{user}{host}/{database}"))
        .map_err(|_| BadAddress("cannot be understood: mysql://user:password@host:port/database".to_owned()))?;
    if opts.db_name().is_none_or(str::is_empty) {
        return Err(BadAddress("names no database: mysql://host/database".to_owned()));
    }
    Ok((opts.ip_or_hostname().trim_start_matches('[').trim_end_matches(']').to_owned(), opts))
}

fn keys(trusted: Vec<CertificateDer<'static>>) -> SslOpts {
    let trusted = trusted.into_iter().map(|certificate| certificate.to_vec().into()).collect();
    SslOpts::default().with_root_certs(trusted).with_disable_built_in_roots(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MariaDbAddress, String> {
        text.parse().map_err(|BadAddress(why)| why)
    }

    fn opts(text: &str) -> Opts {
        parse(text).unwrap().hosts()[0].clone()
    }

    #[test]
    fn the_way_out_of_the_machine_is_encrypted_and_verified_unless_forbidden() {
        let is_encrypted = |text: &str| opts(text).ssl_opts().is_some();
        for here in ["mysql://localhost/blog", "mariadb://127.0.0.1:3307/blog", "mysql://[::1]/blog"] {
            assert!(!is_encrypted(here), "{here}");
        }
        for there in
            ["mysql://db.example/blog", "mariadb://10.0.0.1/blog", "mysql://localhost/blog?sslmode=verify-full"]
        {
            let opts = opts(there);
            let keys = opts.ssl_opts().unwrap();
            assert!(!keys.accept_invalid_certs() && !keys.skip_domain_validation(), "{there}");
            assert!(keys.disable_built_in_roots(), "{there}");
        }
        assert!(!is_encrypted("mysql://db.example/blog?sslmode=disable"));
        assert!(parse("mysql://db.example/blog?sslmode=require").unwrap_err().contains("verify-full"));
        let missing = parse("mysql://db.example/blog?sslrootcert=/no/such%20file").unwrap_err();
        assert!(missing.contains("/no/such file"), "{missing}");
    }

    #[test]
    fn what_stands_in_it_is_understood() {
        let address = parse("mariadb://ada%40x:ses%2Fame@db.example/blog?sslmode=disable").unwrap();
        let [opts] = address.hosts() else { panic!("one host") };
        assert_eq!((opts.user(), opts.pass(), opts.db_name()), (Some("ada@x"), Some("ses/ame"), Some("blog")));
        assert_eq!((opts.ip_or_hostname(), opts.tcp_port()), ("db.example", 3306));
        assert!(opts.client_found_rows());
        assert_eq!(address.to_string(), "mysql://ada@x@db.example:3306/blog");
        assert_eq!(self::opts("mysql://[::1]:7/blog").ip_or_hostname(), "::1");
    }

    #[test]
    fn several_hosts_share_what_stands_around_them() {
        let address = parse("mysql://ada:sesame@localhost:7,[::1],127.0.0.1:8/blog").unwrap();
        let hosts: Vec<_> = address.hosts().iter().map(|opts| (opts.ip_or_hostname(), opts.tcp_port())).collect();
        assert_eq!(hosts, [("localhost", 7), ("::1", 3306), ("127.0.0.1", 8)]);
        for opts in address.hosts() {
            assert_eq!((opts.user(), opts.pass(), opts.db_name()), (Some("ada"), Some("sesame"), Some("blog")));
            assert!(opts.ssl_opts().is_none());
        }
        assert_eq!(address.to_string(), "mysql://ada@localhost:7,[::1]:3306,127.0.0.1:8/blog");
        // One that is elsewhere is enough for all to be encrypted.
        let mixed = parse("mysql://localhost,db.example/blog").unwrap();
        assert!(mixed.hosts().iter().all(|opts| opts.ssl_opts().is_some()));
    }

    #[test]
    fn a_socket_is_not_taken_for_a_host() {
        for socket in [
            "mysql://ada@%2Frun%2Fmysqld%2Fmysqld.sock/blog",
            "mysql://ada@%2frun%2fmysqld%2fmysqld.sock/blog",
            "mysql://localhost/blog?socket=/run/mysqld/mysqld.sock",
        ] {
            let why = parse(socket).unwrap_err();
            assert!(why.contains("names a socket") && why.contains("127.0.0.1"), "{socket}: {why}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for wrong in [
            "postgres://ada:sesame@h/blog",
            "mysql://ada:sesame@h:seven/blog",
            "mysql://ada:sesame@h",
            "mysql://ada:sesame@h/",
            "mysql://ada:sesame@h,,i/blog",
            "mysql://ada:sesame@h:1,i:seven/blog",
            "mysql://ada:sesame@h/blog?password=sesame",
            "mysql://ada:sesame@h/blog?sslmode=prefer",
            "mysql:///blog",
        ] {
            let why = parse(wrong).unwrap_err();
            assert!(!why.contains("sesame") && !why.is_empty(), "{wrong}: {why}");
        }
        let address = parse("mysql://ada:sesame@localhost/blog").unwrap();
        assert!(!format!("{address} {address:?}").contains("sesame"));
    }
}
