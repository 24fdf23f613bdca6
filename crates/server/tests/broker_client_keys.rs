//! Key sets of clients fetched by URL, over real TLS: caching, rotation, and that nothing else is followed or told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use authorize_common::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oauth::Algorithm;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use server::broker::Broker;
use server::clock::Clock;
use server::settings::OutboundSettings;

struct Host {
    url: String,
    hits: Arc<AtomicU64>,
    answer: Arc<Mutex<(u16, Vec<(&'static str, String)>, String)>>,
    outbound: OutboundSettings,
    _dir: tempfile::TempDir,
}

impl Host {
    async fn start(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
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

    fn serve(&self, status: u16, kind: &str, cache: &str, body: &str) {
        let headers = vec![("content-type", kind.to_owned()), ("cache-control", cache.to_owned())];
        *self.answer.lock().unwrap() = (status, headers, body.to_owned());
    }

    fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }
}

const ONLY_13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
const JSON: &str = "application/json";

fn named(key: &Key, kid: &str) -> String {
    key.jwks().replace("\"k1\"", &format!("\"{kid}\""))
}

async fn has(broker: &Broker, host: &Host, kid: &str) -> bool {
    let set = broker.client_keys().get(&host.url, kid, Algorithm::Es384).await;
    set.is_some_and(|set| set.choose(kid, Algorithm::Es384).is_some())
}

fn broker(outbound: &OutboundSettings, clock: &Clock) -> Broker {
    Broker::open(&[], outbound, clock.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_146_a_rotation_is_seen_after_max_age_or_by_an_unknown_kid() {
    let (host, clock, one, two) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new(), Key::new());
    let broker = broker(&host.outbound, &clock);
    host.serve(200, JSON, "max-age=60", &named(&one, "one"));
    assert!(has(&broker, &host, "one").await);
    assert!(has(&broker, &host, "one").await);
    assert_eq!(host.hits(), 1, "cached");
    host.serve(200, JSON, "max-age=60", &named(&two, "two"));
    assert!(has(&broker, &host, "two").await, "an unknown kid looks once more");
    assert!(!has(&broker, &host, "one").await, "and the removed one is gone");
    assert!(!has(&broker, &host, "three").await);
    assert_eq!(host.hits(), 2, "unknown kids are rate limited per URL");
    clock.advance(60_000);
    assert!(has(&broker, &host, "two").await);
    assert_eq!(host.hits(), 3, "not beyond its Cache-Control");
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_147_no_store_is_fetched_each_time_but_together() {
    let (host, clock, key) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new());
    let broker = broker(&host.outbound, &clock);
    host.serve(200, JSON, "no-store", &key.jwks());
    assert!(has(&broker, &host, "k1").await);
    assert!(has(&broker, &host, "k1").await);
    assert_eq!(host.hits(), 2);
    let many = futures_util::future::join_all((0..20).map(|_| has(&broker, &host, "k1"))).await;
    assert!(many.into_iter().all(|found| found));
    assert_eq!(host.hits(), 3, "coalesced");
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_150_a_dead_host_is_survived_until_the_cache_ends() {
    let (host, clock, key) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new());
    let broker = broker(&host.outbound, &clock);
    host.serve(200, JSON, "max-age=31536000", &key.jwks());
    assert!(has(&broker, &host, "k1").await);
    host.serve(500, JSON, "", "");
    clock.advance(3_599_000);
    assert!(has(&broker, &host, "k1").await);
    clock.advance(1_000);
    assert!(!has(&broker, &host, "k1").await, "NEG-148: an hour at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_142_to_145_what_is_no_key_set_is_none() {
    let (host, clock, key) = (Host::start(ONLY_13).await, Clock::fixed(NOW), Key::new());
    let private = key.jwks().replace("\"kid\"", "\"d\":\"AA\",\"kid\"");
    for (status, kind, body) in [
        (302, JSON, key.jwks()),
        (404, JSON, key.jwks()),
        (200, "text/html", key.jwks()),
        (200, JSON, "<html>".into()),
        (200, JSON, private),
        (200, JSON, format!("{}{}", key.jwks(), " ".repeat(70_000))),
    ] {
        host.serve(status, kind, "max-age=60", &body);
        assert!(!has(&broker(&host.outbound, &clock), &host, "k1").await, "{status} {kind}");
    }
    host.serve(200, JSON, "", &key.jwks());
    assert!(!has(&broker(&OutboundSettings::default(), &clock), &host, "k1").await, "NEG-140: a private address");
    let untrusted = OutboundSettings { ca: None, ..host.outbound.clone() };
    assert!(!has(&broker(&untrusted, &clock), &host, "k1").await, "an unknown authority");
    assert!(has(&broker(&host.outbound, &clock), &host, "k1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_not_spoken() {
    let (host, clock, key) = (Host::start(&[&rustls::version::TLS12]).await, Clock::fixed(NOW), Key::new());
    host.serve(200, JSON, "", &key.jwks());
    assert!(!has(&broker(&host.outbound, &clock), &host, "k1").await);
}
