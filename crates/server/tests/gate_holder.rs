//! Tokens that are bound to a client certificate, over real TLS (RFC 8705 §3; NEG-226, RS-04, NEG-008).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

#[path = "authorize_common/certificates.rs"]
mod certificates;
mod support;

use std::path::Path;
use std::sync::Arc;

use certificates::{Held, self_signed};
use domain::Confirmation;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use server::settings::TlsFiles;
use support::Gate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PATIENT: &str = "patient/Patient.rs";

fn identity(folder: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["gate.test".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join("tls.pem"), key: folder.join("tls.key") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

/// Shows a certificate, with whatever key.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A client that trusts the gate and shows `certificate`, signing with the key of `key`.
fn client(gate: &CertificateDer<'static>, certificate: Option<&Held>, key: Option<&Held>) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(gate.clone()).unwrap();
    let builder =
        ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]).with_root_certificates(roots);
    let config = match certificate.zip(key) {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.key.serialize_der()).unwrap();
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
            let certified = CertifiedKey::new(certificate.shown.chain.to_vec(), key);
            builder.with_client_cert_resolver(Arc::new(Shows(Arc::new(certified))))
        }
    };
    Arc::new(config)
}

/// Status line and headers of one answer on a connection of its own.
async fn get(gate: &Gate, client: &Arc<ClientConfig>, token: &str, more: &str) -> std::io::Result<String> {
    let tcp = TcpStream::connect(gate.server.public).await?;
    let name = ServerName::try_from("gate.test").unwrap();
    let mut tls = TlsConnector::from(Arc::clone(client)).connect(name, tcp).await?;
    let request = format!(
        "GET /mercy/fhir/Patient/P1 HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer {token}\r\n{more}Connection: close\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    let read = tls.read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.is_empty() { read.and(Err(std::io::ErrorKind::UnexpectedEof.into())) } else { Ok(text) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neg_226_a_bound_token_opens_nothing_without_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    server::listen::install_crypto();
    let (files, trusted) = identity(folder.path());
    let gate = Gate::start_by_tls(files).await;
    let (owner, thief) = (self_signed(|_| {}), self_signed(|_| {}));
    let mut session = gate.session("P1", PATIENT).await;
    let free = gate.sign(&session, |_| {});
    session.confirmation = Some(Confirmation::Mtls(owner.shown.sha256));
    let bound = gate.sign(&session, |_| {});
    session.confirmation = Some(Confirmation::Dpop([7; 32]));
    let by_dpop = gate.sign(&session, |_| {});
    let bare = client(&trusted, None, None);
    let holder = client(&trusted, Some(&owner), Some(&owner));
    let other = client(&trusted, Some(&thief), Some(&thief));
    for (config, token, status, why) in [
        (&holder, &bound, "200", "the holder"),
        (&holder, &bound, "200", "the holder again, by a resumed TLS session"),
        (&bare, &bound, "401", "no certificate (RS-04)"),
        (&other, &bound, "401", "another certificate"),
        (&holder, &by_dpop, "401", "a certificate is no DPoP proof"),
        (&bare, &free, "200", "a bearer token"),
        (&other, &free, "200", "a certificate beside a bearer token changes nothing"),
    ] {
        let answer = get(&gate, config, token, "").await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{why}: {answer}");
        let challenged = answer.to_ascii_lowercase().contains("error=\"invalid_token\"");
        assert_eq!(challenged, status == "401", "{why}: {answer}");
    }
    for header in ["Client-Cert", "X-SSL-Client-Cert", "X-Client-Cert", "X-Forwarded-Client-Cert"] {
        use base64::Engine as _;
        let der = base64::engine::general_purpose::STANDARD.encode(&owner.shown.chain[0]);
        let answer = get(&gate, &bare, &bound, &format!("{header}: :{der}:\r\n")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "NEG-008 {header}: {answer}");
    }
    // Whoever has the certificate, which is no secret, but not its key.
    let forged = client(&trusted, Some(&owner), Some(&thief));
    assert!(get(&gate, &forged, &bound, "").await.is_err(), "the handshake proves possession");
    let denied = server::audit::Filter { limit: 100, ..Default::default() };
    let found = gate.server.parts.audit.search(denied, server::audit::PhiAccess::Open).await.unwrap().records;
    assert!(
        found.iter().filter(|record| record.reason == "token-invalid").count() >= 4,
        "each is recorded with its session"
    );
}
