//! How the way to a server is kept private: what an address says of it, and who is trusted.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::BadAddress;

/// The options of an address that are about it.
#[derive(Default)]
pub(in crate::db) struct Privacy {
    encrypt: Option<bool>,
    roots: Option<PathBuf>,
}

impl Privacy {
    /// Takes an option in, such as `sslmode=disable`. False if it is about something else.
    pub(in crate::db) fn take(&mut self, option: &str) -> Result<bool, BadAddress> {
        match option.split_once('=') {
            Some(("sslmode", "disable")) => self.encrypt = Some(false),
            Some(("sslmode", "verify-full")) => self.encrypt = Some(true),
            Some(("sslmode", _)) => {
                let why = "sslmode must be verify-full or disable: anything between encrypts \
                           without knowing for whom. sslrootcert names the certificates to trust";
                return Err(BadAddress(why.to_owned()));
            }
            Some(("sslrootcert", path)) => {
                let path = percent_decode_str(path).decode_utf8();
                let path = path.map_err(|_| BadAddress("sslrootcert is not UTF-8".to_owned()))?;
                self.roots = Some(path.into_owned().into());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Who is trusted to say who the server is, at least one; none if nothing is encrypted, which is so
    /// where everything `is_here`, unless something else was said.
    pub(in crate::db) fn trusted(self, is_here: bool) -> Result<Option<Vec<CertificateDer<'static>>>, BadAddress> {
        if !self.encrypt.unwrap_or(!is_here) {
            return Ok(None);
        }
        let mut certificates = match self.roots {
            Some(path) => {
                let unreadable =
                    |error: &dyn fmt::Display| BadAddress(format!("sslrootcert {}: {error}", path.display()));
                let read = CertificateDer::pem_file_iter(&path).map_err(|error| unreadable(&error))?;
                read.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&error))?
            }
            None => rustls_native_certs::load_native_certs().certs,
        };
        // One that cannot be used would fail every connection.
        certificates.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
        if certificates.is_empty() {
            let why = "there are no certificates to trust: name a file with sslrootcert, or install ca-certificates";
            return Err(BadAddress(why.to_owned()));
        }
        Ok(Some(certificates))
    }
}

/// Whether nothing leaves this machine on the way to a host.
pub(in crate::db) fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
