//! A throw-away certificate authority.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::Home;

/// Signs certificates for one test, and for nobody who does not trust [`Authority::file`].
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    home: Home,
}

/// A certificate and its key, as PEM. Both live as long as the directory they were issued into.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, readable only by the servers' user.
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes a new one.
    pub fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let home = Home::new("authority");
        // A name of its own: two of one name and with different keys would only confuse.
        parameters.distinguished_name.push(DnType::CommonName, format!("Only for tests {}", home.path().display()));
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("a certificate");
        home.write("ca.pem", &issuer.pem());
        Self { issuer, home }
    }

    /// The certificate that clients are told to trust, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A file with [`Authority::pem`].
    pub fn file(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }

    /// Issues a certificate for these names and addresses, as files of this authority.
    pub fn issue(&self, names: &[&str]) -> Certified {
        self.issue_into(&self.home, names)
    }

    /// Issues a certificate into the directory of a server.
    pub(crate) fn issue_into(&self, home: &Home, names: &[&str]) -> Certified {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let stem = names.join("+").replace(['*', '/', ':'], "_");
        let parameters = CertificateParams::new(names).expect("names for a certificate");
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        Certified {
            certificate: home.write(&format!("{stem}.pem"), &certificate.pem()),
            key: home.write(&format!("{stem}.key"), &key.serialize_pem()),
        }
    }

    /// Puts the authority's own certificate into the directory of a server.
    pub(crate) fn copy_into(&self, home: &Home) -> PathBuf {
        home.write("ca.pem", &self.pem())
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.home.path()
    }
}
