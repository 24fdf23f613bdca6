//! The holder of a DPoP key: proofs for tests, good ones and spoiled ones.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub struct Holder {
    pair: EcdsaKeyPair,
    jti: AtomicU64,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Holder {
    pub fn new() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), jti: AtomicU64::new(0) }
    }

    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])})
    }

    pub fn thumbprint(&self) -> [u8; 32] {
        let jwk = self.jwk();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap()
    }

    pub fn jkt(&self) -> String {
        b64(self.thumbprint())
    }

    pub fn head(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()})
    }

    /// Claims of a new proof; `now` in milliseconds.
    pub fn claims(&self, method: &str, url: &str, now: i64, nonce: Option<&str>, token: Option<&str>) -> Value {
        let jti = format!("d-{}", self.jti.fetch_add(1, Ordering::SeqCst));
        let mut claims = json!({"jti": jti, "htm": method, "htu": url, "iat": now / 1_000});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        if let Some(token) = token {
            claims["ath"] = json!(b64(digest(&SHA256, token.as_bytes())));
        }
        claims
    }

    pub fn sign(&self, head: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", b64(head.to_string()), b64(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", b64(signature))
    }

    /// What NEG-220 spoils in a proof of these claims, whoever it is sent to; each by its name.
    pub fn spoiled(&self, claims: &dyn Fn() -> Value) -> Vec<(&'static str, String)> {
        let head = |name: &str, value: Value| {
            let mut head = self.head();
            head[name] = value;
            self.sign(&head, &claims())
        };
        let claim = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            self.sign(&self.head(), &claims)
        };
        let mut private = self.jwk();
        private["d"] = json!(b64([7; 32]));
        let hmac = {
            let head = json!({"typ": "dpop+jwt", "alg": "HS256", "jwk": self.jwk()});
            let input = format!("{}.{}", b64(head.to_string()), b64(claims().to_string()));
            let key = hmac::Key::new(hmac::HMAC_SHA256, self.jwk()["x"].as_str().unwrap().as_bytes());
            format!("{input}.{}", b64(hmac::sign(&key, input.as_bytes())))
        };
        let unsigned = {
            let head = json!({"typ": "dpop+jwt", "alg": "none", "jwk": self.jwk()});
            format!("{}.{}.", b64(head.to_string()), b64(claims().to_string()))
        };
        let good = claims();
        let url = good["htu"].as_str().unwrap();
        let iat = good["iat"].as_i64().unwrap();
        let without = |name: &str| {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            self.sign(&self.head(), &claims)
        };
        vec![
            ("no JWT", "proof".into()),
            ("empty", String::new()),
            ("typ", head("typ", json!("JWT"))),
            ("private", head("jwk", private)),
            ("another key named", head("jwk", Self::new().jwk())),
            ("no key", head("jwk", Value::Null)),
            ("HS256", hmac),
            ("none", unsigned),
            ("htm", claim("htm", json!("PUT"))),
            ("htu path", claim("htu", json!(format!("{url}/x")))),
            ("htu host", claim("htu", json!(url.replacen("gate.", "evil.", 1)))),
            ("old", claim("iat", json!(iat - 61))),
            ("future", claim("iat", json!(iat + 61))),
            ("no iat", without("iat")),
            ("no jti", without("jti")),
            ("no htm", without("htm")),
            ("no htu", without("htu")),
        ]
    }
}
