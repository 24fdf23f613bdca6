//! A TLS server on loopback that answers whatever a test wants: the key host of a client.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use server::settings::OutboundSettings;

pub const ONLY_13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
pub const JSON: &str = "application/json";

/// Status, headers, body.
type Served = (u16, Vec<(&'static str, String)>, String);

pub struct Host {
    pub url: String,
    hits: Arc<AtomicU64>,
    answer: Arc<Mutex<Served>>,
    pub outbound: OutboundSettings,
    _dir: tempfile::TempDir,
}

impl Host {
    pub async fn start(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hits = Arc::new(AtomicU64::new(0));
        let answer = Arc::new(Mutex::new((200, vec![], String::new())));
        let (counted, served) = (Arc::clone(&hits), Arc::clone(&answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted, served) = (acceptor.clone(), Arc::clone(&counted), Arc::clone(&served));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let handler = service_fn(move |_: Request<Incoming>| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let (status, headers, body) = served.lock().unwrap().clone();
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        let response = response.body(Full::new(Bytes::from(body))).unwrap();
                        async move {
                            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), handler)
                        .await;
                });
            }
        });
        let outbound = OutboundSettings { allow_private: ["localhost".to_owned()].into(), ca: Some(ca) };
        Self { url: format!("https://localhost:{port}/jwks.json"), hits, answer, outbound, _dir: dir }
    }

    pub fn serve(&self, status: u16, kind: &str, cache: &str, body: &str) {
        let headers = vec![("content-type", kind.to_owned()), ("cache-control", cache.to_owned())];
        *self.answer.lock().unwrap() = (status, headers, body.to_owned());
    }

    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }
}
