//! Listeners (S4-04, S4-20): TLS 1.3 or loopback, and certificates that change without a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use rustls_pki_types::{CertificateDer, ServerName};
use server::listen::{ListenError, Listener, install_crypto};
use server::settings::{ListenSettings, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

fn identity(folder: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(folder.join("tls.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn settings(folder: &Path) -> ListenSettings {
    let tls = TlsFiles { certificate: folder.join("tls.pem"), key: folder.join("tls.key") };
    ListenSettings { listen: ([127, 0, 0, 1], 0).into(), tls: Some(tls) }
}

async fn start(settings: &ListenSettings) -> (SocketAddr, watch::Sender<bool>) {
    let listener = Listener::bind(settings).await.unwrap();
    let address = listener.address().unwrap();
    let (stop, stopped) = watch::channel(false);
    let answer = |_: Request<Incoming>, _: SocketAddr| async { Response::new(Full::new(Bytes::from_static(b"hello"))) };
    tokio::spawn(listener.serve(answer, stopped));
    (address, stop)
}

async fn hello(
    address: SocketAddr,
    name: &str,
    trusted: &CertificateDer<'static>,
    version: &'static rustls::SupportedProtocolVersion,
) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    tls.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut text = Vec::new();
    // A peer that closes without close_notify is fine here: the answer has arrived.
    let _ = tls.read_to_end(&mut text).await;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn plaintext_is_for_loopback_alone() {
    let open = ListenSettings { listen: ([0, 0, 0, 0], 0).into(), tls: None };
    assert!(matches!(Listener::bind(&open).await.err(), Some(ListenError::Plaintext(_))));
    let loopback = ListenSettings { listen: ([127, 0, 0, 1], 0).into(), tls: None };
    assert!(Listener::bind(&loopback).await.is_ok());
}

#[tokio::test]
async fn s4_20_tls_1_2_and_plaintext_are_refused() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let trusted = identity(folder.path(), "gate.test");
    let (address, _stop) = start(&settings(folder.path())).await;
    let good = hello(address, "gate.test", &trusted, &rustls::version::TLS13).await.unwrap();
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    assert!(hello(address, "gate.test", &trusted, &rustls::version::TLS12).await.is_err(), "TLS 1.2");
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("hello"), "plaintext got an answer");
}

#[tokio::test]
async fn a_changed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let first = identity(folder.path(), "gate.test");
    let (address, _stop) = start(&settings(folder.path())).await;
    assert!(hello(address, "gate.test", &first, &rustls::version::TLS13).await.is_ok());
    std::fs::write(folder.path().join("tls.pem"), "broken").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(hello(address, "gate.test", &first, &rustls::version::TLS13).await.is_ok(), "the old one stays");
    let second = identity(folder.path(), "gate.test");
    let mut changed = false;
    for _ in 0..60 {
        changed = hello(address, "gate.test", &second, &rustls::version::TLS13).await.is_ok();
        if changed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(changed, "the new certificate is used");
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_does_not_start() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    identity(folder.path(), "gate.test");
    let other = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    std::fs::write(folder.path().join("tls.key"), other.signing_key.serialize_pem()).unwrap();
    let refused = Listener::bind(&settings(folder.path())).await.err().unwrap();
    assert!(refused.to_string().contains("do not fit"), "{refused}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let loopback = ListenSettings { listen: ([127, 0, 0, 1], 0).into(), tls: None };
    let (address, _stop) = start(&loopback).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let header = format!("GET / HTTP/1.1\r\nHost: x\r\nx: {}\r\n", "a".repeat(64 * 1024));
    let _ = tcp.write_all(header.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        !answer.contains("hello") && (answer.is_empty() || answer.contains("431") || answer.contains("400")),
        "{answer}"
    );
}
