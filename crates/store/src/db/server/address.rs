//! Where a database is that is no file: which kind it is stands in front.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::db::{MariaDbAddress, PostgresAddress};

/// Why an address cannot be used. Never holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAddress(pub(in crate::db) String);

/// The address of a database server's database. Is shown without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// `postgres://…`
    Postgres(Box<PostgresAddress>),
    /// `mysql://…` or `mariadb://…`
    MariaDb(MariaDbAddress),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(address) => address.fmt(f),
            Self::MariaDb(address) => address.fmt(f),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if PostgresAddress::is_meant(text) {
            return text.parse().map(Box::new).map(Self::Postgres);
        }
        if MariaDbAddress::is_meant(text) {
            return text.parse().map(Self::MariaDb);
        }
        Err(BadAddress(
            "must begin with postgres:// or mysql:// (or be sqlite:, for the file in the data directory)".to_owned(),
        ))
    }
}

/// A host as it stands before a port: an address of IPv6 has colons of its own.
pub(in crate::db) fn in_brackets(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_front_says_which_database_is_meant() {
        let parse = |text: &str| text.parse::<ServerAddress>();
        assert!(matches!(parse("postgresql://localhost/blog"), Ok(ServerAddress::Postgres(_))));
        assert!(matches!(parse("mysql://localhost/blog"), Ok(ServerAddress::MariaDb(_))));
        assert_eq!(
            parse("mariadb://ada:sesame@localhost/blog").unwrap().to_string(),
            "mysql://ada@localhost:3306/blog"
        );
        let wrong = parse("oracle://ada:sesame@localhost/blog").unwrap_err().to_string();
        assert!(wrong.contains("mysql://") && !wrong.contains("sesame"), "{wrong}");
    }
}
