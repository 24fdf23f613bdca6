//! Keys and assertions for the tests of this crate.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeSet;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{AssertionAudience, ClientAuth, Keys};
use oauth::KeySet;
use oauth::assertion::{Expected, InvalidAssertion, VerifiedAssertion};
use serde_json::{Value, json};

pub const NOW: i64 = 1_800_000_000_000;
pub const SECONDS: i64 = NOW / 1_000;
pub const TOKEN_ENDPOINT: &str = "https://gate.example/mercy/oauth/token";
pub const ISSUER: &str = "https://gate.example/mercy";

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn es384() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()
}

pub fn es384_der(key: &EcdsaKeyPair) -> EcdsaKeyPair {
    let pkcs8 = key.to_pkcs8v1().unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8.as_ref()).unwrap()
}

pub fn es256() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

pub fn rsa() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}

pub fn ec_jwk(key: &EcdsaKeyPair, kid: &str) -> Value {
    let point = key.public_key().as_ref();
    let half = (point.len() - 1) / 2;
    let curve = if half == 32 { "P-256" } else { "P-384" };
    json!({"kty": "EC", "crv": curve, "x": b64(&point[1..=half]), "y": b64(&point[half + 1..]), "kid": kid})
}

/// Modulus of the DER `RSAPublicKey` of a 2048-bit key with exponent 65537.
pub fn modulus(key: &RsaKeyPair) -> Vec<u8> {
    let der = key.public_key().as_ref();
    der[der.len() - 5 - 256..der.len() - 5].to_vec()
}

pub fn rsa_jwk(key: &RsaKeyPair, kid: &str) -> Value {
    json!({"kty": "RSA", "n": b64(modulus(key)), "e": "AQAB", "kid": kid})
}

pub fn rsa_der(key: &RsaKeyPair) -> Vec<u8> {
    AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref().to_vec()
}

pub fn claims() -> Value {
    json!({"iss": "agent-1", "sub": "agent-1", "aud": TOKEN_ENDPOINT, "exp": SECONDS + 300, "iat": SECONDS, "jti": "j-1"})
}

pub fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "kid": "k1", "typ": "JWT"})
}

pub fn join(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64(header.to_string()), b64(claims.to_string()))
}

pub fn sign_ec(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let input = join(header, claims);
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", b64(signature))
}

pub fn sign_rsa(key: &RsaKeyPair, header: &Value, claims: &Value) -> String {
    let input = join(header, claims);
    let mut signature = vec![0; key.public_modulus_len()];
    let padding: &dyn aws_lc_rs::signature::RsaEncoding = match header["alg"].as_str().unwrap() {
        "RS384" => &RSA_PKCS1_SHA384,
        "PS256" => &RSA_PSS_SHA256,
        _ => &RSA_PKCS1_SHA256,
    };
    key.sign(padding, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
    format!("{input}.{}", b64(signature))
}

pub fn inline() -> ClientAuth {
    ClientAuth {
        method: Default::default(),
        keys: Keys::Jwks(String::new()),
        algorithms: BTreeSet::new(),
        audience: AssertionAudience::Both,
    }
}

pub fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

pub fn check(assertion: &str, auth: &ClientAuth, keys: &KeySet) -> Result<VerifiedAssertion, InvalidAssertion> {
    let expected = Expected { client: "agent-1", auth, keys, token_endpoint: TOKEN_ENDPOINT, issuer: ISSUER };
    oauth::assertion::read(assertion.as_bytes())?.verify(&expected, NOW)
}
