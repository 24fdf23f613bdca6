//! An OpenID Connect provider on loopback that answers as a test wants: well, wrongly, slowly, or too much.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use server::clock::Clock;
use server::identity::IdentityProvider;
use server::outbound::Outbound;
use server::settings::{ClaimSettings, OidcAuth, OidcSettings, OutboundSettings};

pub const NOW: i64 = 1_800_000_000_000;
pub const SECONDS: i64 = NOW / 1_000;
pub const REDIRECT: &str = "https://gate.example/mercy/oauth/callback";

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of the provider.
pub struct ProviderKey(pub RsaKeyPair);

impl ProviderKey {
    pub fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let der = self.0.public_key().as_ref();
        let n = &der[der.len() - 5 - 256..der.len() - 5];
        json!({ "kty": "RSA", "n": b64(n), "e": "AQAB", "kid": kid, "use": "sig", "alg": "RS256" })
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", b64(signature))
    }
}

/// What a path answers.
#[derive(Clone)]
pub struct Served {
    pub status: u16,
    pub cache: &'static str,
    pub body: String,
    pub delay: Duration,
}

/// One token request as it came in.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub authorization: Option<String>,
    pub form: BTreeMap<String, String>,
}

pub struct Provider {
    pub issuer: String,
    served: Arc<Mutex<BTreeMap<String, Served>>>,
    hits: Arc<Mutex<BTreeMap<String, u64>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub dir: tempfile::TempDir,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let issuer = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let served = Arc::new(Mutex::new(BTreeMap::<String, Served>::new()));
        let hits = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::clone(&served), Arc::clone(&hits), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let handler = service_fn(move |request: Request<Incoming>| {
                        let (served, hits, asked) = shared.clone();
                        async move { Ok::<_, Infallible>(answer(request, &served, &hits, &asked).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), handler).await;
                });
            }
        });
        let provider = Self { issuer, served, hits, asked, dir: tempfile::tempdir().unwrap() };
        std::fs::write(provider.secret(), "s3cret/+=\n").unwrap();
        provider.serve("/.well-known/openid-configuration", 200, "max-age=600", &provider.document().to_string());
        provider
    }

    pub fn secret(&self) -> std::path::PathBuf {
        self.dir.path().join("secret")
    }

    pub fn document(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"), "end_session_endpoint": at("/logout"), "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"], "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    pub fn serve(&self, path: &str, status: u16, cache: &'static str, body: &str) {
        self.serve_after(path, status, cache, body, Duration::from_millis(5));
    }

    pub fn serve_after(&self, path: &str, status: u16, cache: &'static str, body: &str, delay: Duration) {
        let served = Served { status, cache, body: body.to_owned(), delay };
        self.served.lock().unwrap().insert(path.to_owned(), served);
    }

    pub fn keys(&self, keys: &[Value]) {
        self.serve("/jwks", 200, "max-age=600", &json!({ "keys": keys }).to_string());
    }

    pub fn token(&self, id_token: &str) {
        let body = json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 60, "id_token": id_token });
        self.serve("/token", 200, "no-store", &body.to_string());
    }

    pub fn hits(&self, path: &str) -> u64 {
        self.hits.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    pub fn asked(&self) -> Asked {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }

    pub fn settings(&self) -> OidcSettings {
        OidcSettings {
            issuer: self.issuer.clone(),
            client_id: "hilum at idp".into(),
            auth: OidcAuth::Secret(self.secret()),
            scopes: vec!["profile".into()],
            claims: ClaimSettings {
                fhir_user: Some("fhirUser".into()),
                patient: Some("patient".into()),
                roles: vec![
                    ("groups".into(), "hilum-ops".into(), domain::Role::Operator),
                    ("groups".into(), "hilum-privacy".into(), domain::Role::PrivacyOfficer),
                ],
            },
            acr: Vec::new(),
            amr: Vec::new(),
        }
    }

    pub fn open(&self, settings: &OidcSettings, clock: &Clock) -> IdentityProvider {
        server::listen::install_crypto();
        let outbound = OutboundSettings { allow_private: ["127.0.0.1".to_owned()].into(), ca: None };
        let outbound = Outbound::new(&outbound).unwrap();
        IdentityProvider::open(settings, outbound, clock.clone()).unwrap().below("https://ehr.example/fhir")
    }
}

async fn answer(
    request: Request<Incoming>,
    served: &Mutex<BTreeMap<String, Served>>,
    hits: &Mutex<BTreeMap<String, u64>>,
    asked: &Mutex<Vec<Asked>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    *hits.lock().unwrap().entry(path.clone()).or_default() += 1;
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if path == "/token" {
        asked.lock().unwrap().push(Asked { authorization, form: form(&body) });
    }
    let found = served.lock().unwrap().get(&path).cloned();
    let Some(found) = found else { return Response::builder().status(404).body(Full::default()).unwrap() };
    tokio::time::sleep(found.delay).await;
    let response = Response::builder().status(found.status).header("content-type", "application/json");
    response.header("cache-control", found.cache).body(Full::new(Bytes::from(found.body))).unwrap()
}

/// The parameters of a form or query.
pub fn form(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

/// A private key file for `private_key_jwt`.
pub fn key_file(path: &std::path::Path) {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = key.as_der().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    std::fs::write(path, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
}
