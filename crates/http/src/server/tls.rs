//! HTTPS with a certificate from files, which may change while the server runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has no certificate or key in PEM form.
    #[error("{} is not a PEM file of the expected kind: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate file has no certificate.
    #[error("{} has no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key are of a kind that is not supported, or do not belong together.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A certificate chain and its key, kept fresh from two PEM files. Clones share one certificate.
#[derive(Clone)]
pub struct Certificate {
    inner: Arc<Files>,
}

struct Files {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    /// Of both files as they were last read, so that what is broken is reported once.
    last_read: Mutex<Option<[u8; 32]>>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain", &self.inner.chain).finish_non_exhaustive()
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Certificate {
    /// Reads the chain (the server's own certificate first) and its private key (PKCS#8, PKCS#1 or SEC1).
    pub fn load(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, CertificateError> {
        let (chain, key) = (chain.into(), key.into());
        let (chain_bytes, key_bytes) = (read(&chain)?, read(&key)?);
        let certified = certify(&chain, &chain_bytes, &key, &key_bytes)?;
        let last_read = Mutex::new(Some(digest(&chain_bytes, &key_bytes)));
        let current = ArcSwap::from_pointee(certified);
        Ok(Self { inner: Arc::new(Files { chain, key, current, last_read }) })
    }

    /// Reads the files again and takes what they hold, if it changed. New connections get it; those that are open
    /// stay as they are. `Ok(false)`: nothing changed since the last look, be it good or broken.
    ///
    /// Blocks on the file system. For a SIGHUP handler; a running server also calls it by itself.
    ///
    /// # Errors
    /// When the files cannot be used. The certificate in use stays in use.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        let Files { chain, key, current, last_read } = &*self.inner;
        let bytes = read(chain).and_then(|chain_bytes| Ok((chain_bytes, read(key)?)));
        let digest_now = bytes.as_ref().ok().map(|(chain_bytes, key_bytes)| digest(chain_bytes, key_bytes));
        {
            let mut last_read = last_read.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut *last_read, digest_now) == digest_now {
                return Ok(false);
            }
        }
        let (chain_bytes, key_bytes) = bytes?;
        current.store(Arc::new(certify(chain, &chain_bytes, key, &key_bytes)?));
        Ok(true)
    }

    /// Looks at the files again and again. Never returns.
    pub(super) async fn keep_fresh(self, every: Duration) {
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval.tick().await;
        loop {
            interval.tick().await;
            let certificate = self.clone();
            let path = self.inner.chain.display();
            match tokio::task::spawn_blocking(move || certificate.reload()).await {
                Ok(Ok(true)) => tracing::info!(tls.certificate = %path, "the new certificate is in use"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::error!(tls.certificate = %path, %error, "the new certificate is not usable; the old one stays in use");
                }
                Err(error) => tracing::error!(%error, "reading the certificate failed"),
            }
        }
    }

    /// TLS 1.2 and 1.3 with this certificate, HTTP/2 and HTTP/1.1 by ALPN.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.inner.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

fn certify(chain: &Path, chain_bytes: &[u8], key: &Path, key_bytes: &[u8]) -> Result<CertifiedKey, CertificateError> {
    let of_pem = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Pem { path, source }
    };
    let certificates =
        CertificateDer::pem_slice_iter(chain_bytes).collect::<Result<Vec<_>, _>>().map_err(of_pem(chain))?;
    if certificates.is_empty() {
        return Err(CertificateError::Empty { path: chain.to_owned() });
    }
    let key = PrivateKeyDer::from_pem_slice(key_bytes).map_err(of_pem(key))?;
    Ok(CertifiedKey::from_der(certificates, key, &aws_lc_rs::default_provider())?)
}

fn digest(chain: &[u8], key: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((chain.len() as u64).to_be_bytes());
    hasher.update(chain);
    hasher.update(key);
    hasher.finalize().into()
}
