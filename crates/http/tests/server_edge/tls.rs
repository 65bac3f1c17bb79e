//! HTTPS: the protocol by ALPN, and certificates that change on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Running, eventually, read_to_end, short, start_with};
use http::{Request, StatusCode};
use inkstone_http::server::{Certificate, CertificateError, Cut};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new certificate and key.
    fn issue(&self) -> CertificateDer<'static> {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.path("key.pem"), issued.signing_key.serialize_pem()).unwrap();
        std::fs::write(self.path("chain.pem"), issued.cert.pem()).unwrap();
        issued.cert.der().clone()
    }

    fn load(&self) -> Result<Certificate, CertificateError> {
        Certificate::load(self.path("chain.pem"), self.path("key.pem"))
    }
}

async fn connect(
    server: &Running,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, server.connect().await).await
}

async fn until_trusted(server: &Running, trusted: &CertificateDer<'static>) {
    let connecting = async { while connect(server, trusted, &[]).await.is_err() {} };
    tokio::time::timeout(Duration::from_mins(1), connecting).await.expect("the server takes the certificate");
}

fn start_tls(certificate: Certificate) -> Running {
    start_with(short(), Some(certificate), |options| options.certificate_poll_interval = Duration::from_millis(20))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpn_chooses_the_protocol() {
    let files = Files::new();
    let trusted = files.issue();
    let server = start_tls(files.load().unwrap());

    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = connect(&server, &trusted, alpn).await.unwrap();
        client.write_all(b"GET /peer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("127.0.0.1 true 1"), "{answer}");
    }

    let client = connect(&server, &trusted, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(connection);
    let (response, _) = client.send_request(Request::get("https://localhost/").body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_stall_or_fail_are_closed() {
    let files = Files::new();
    files.issue();
    let server = start_tls(files.load().unwrap());
    let mut stalled = server.connect_many(50, &[0x16, 3, 1, 2, 0]).await;
    for client in &mut stalled {
        read_to_end(client).await;
    }
    assert_eq!(server.stats.cut(Cut::TlsHandshake), 50);
    let mut plain = server.connect().await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(!read_to_end(&mut plain).await.contains("200"));
    eventually("the failure is counted", || server.stats.tls_failures() == 1).await;
    eventually("all are closed", || server.stats.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let files = Files::new();
    let first = files.issue();
    let server = start_tls(files.load().unwrap());
    connect(&server, &first, &[]).await.unwrap();

    let second = files.issue();
    until_trusted(&server, &second).await;
    assert!(connect(&server, &first, &[]).await.is_err(), "the old one is gone");

    std::fs::write(files.path("chain.pem"), "broken").unwrap();
    for _ in 0..20 {
        connect(&server, &second, &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let third = files.issue();
    until_trusted(&server, &third).await;
}

fn replace(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn reload_says_what_happened_once() {
    let files = Files::new();
    files.issue();
    let certificate = files.load().unwrap();
    assert!(!certificate.reload().unwrap(), "nothing changed");
    files.issue();
    assert!(certificate.reload().unwrap());
    assert!(!certificate.reload().unwrap());

    // A key that does not belong to the certificate.
    let other = Files::new();
    other.issue();
    let key = std::fs::read_to_string(other.path("key.pem")).unwrap();
    replace(&files.path("key.pem"), &key);
    assert!(matches!(certificate.reload(), Err(CertificateError::Unusable(_))));
    assert!(!certificate.reload().unwrap(), "reported once");

    std::fs::remove_file(files.path("key.pem")).unwrap();
    assert!(matches!(certificate.reload(), Err(CertificateError::Read { .. })));
    assert!(!certificate.reload().unwrap(), "reported once");

    files.issue();
    replace(&files.path("chain.pem"), "");
    assert!(matches!(certificate.reload(), Err(CertificateError::Empty { .. } | CertificateError::Pem { .. })));
    files.issue();
    assert!(certificate.reload().unwrap(), "it recovers");
}
