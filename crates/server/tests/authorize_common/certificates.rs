//! Certificates of clients, made for a test.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData as _, SanType,
};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use server::listen::ClientCertificate;

/// Somebody who vouches for clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key.
pub struct Held {
    pub shown: ClientCertificate,
    pub key: KeyPair,
}

impl Held {
    /// The key as a JWK Set.
    pub fn jwks(&self) -> String {
        let point = self.key.der_bytes();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "c1"}]}).to_string()
    }

    /// `x5t#S256`.
    pub fn x5t(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.shown.sha256)
    }
}

/// What a client of these tests is called in its certificate.
pub const DN: &str = "CN=agent,O=Acme";
pub const DNS: &str = "agent.acme.example";
pub const URI: &str = "spiffe://acme.example/agent";

fn params() -> CertificateParams {
    let mut params = CertificateParams::new(vec![DNS.to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(URI.try_into().unwrap()));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::CommonName, "agent");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub fn shown(chain: Vec<CertificateDer<'static>>) -> ClientCertificate {
    let sha256 = digest::digest(&digest::SHA256, &chain[0]).as_ref().try_into().unwrap();
    ClientCertificate { chain: chain.into(), sha256 }
}

pub fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Held {
    let mut params = params();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Held { shown: shown(vec![certificate.der().clone()]), key }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "clients of mercy");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Held {
        let mut params = params();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Held { shown: shown(vec![certificate.der().clone()]), key }
    }
}
