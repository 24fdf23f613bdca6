//! As much of JOSE as an EHR needs: reading a signed assertion, the public keys of apps, and signing ID tokens.
//!
//! Small on purpose and independent of Hilum's own, so that one cannot hide a mistake of the other.

use ::base64::Engine as _;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Map, Value, json};

/// Members that only private or symmetric keys have (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Longest compact JWS read.
const COMPACT_BYTES_MAX: usize = 16 * 1024;

/// SHA-256 in base64url: PKCE's S256 (RFC 7636 §4.2).
pub(super) fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// 256 random bits as text; none when the random source fails.
pub(super) fn secret() -> Option<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// The algorithms of SMART assertions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Algorithm {
    Es384,
    Rs384,
}

/// A compact JWS whose signature is not checked yet.
pub(super) struct UnverifiedJws<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: String,
    pub(super) jku: Option<String>,
    pub(super) claims: Map<String, Value>,
    input: &'a str,
    signature: Vec<u8>,
}

impl<'a> UnverifiedJws<'a> {
    /// Reads three base64url parts with `alg`, `kid` and `typ` as SMART has them; none for anything else.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        if text.len() > COMPACT_BYTES_MAX || text.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return None;
        }
        let (input, signature) = text.rsplit_once('.')?;
        let (header, payload) = input.split_once('.')?;
        let object = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (header, claims) = (object(header)?, object(payload)?);
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        let algorithm = match text("alg")? {
            "ES384" => Algorithm::Es384,
            "RS384" => Algorithm::Rs384,
            _ => return None,
        };
        if text("typ") != Some("JWT") || ["crit", "b64"].iter().any(|name| header.contains_key(*name)) {
            return None;
        }
        let jku = match header.get("jku") {
            None => None,
            Some(Value::String(jku)) => Some(jku.clone()),
            Some(_) => return None,
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { algorithm, kid: text("kid")?.to_owned(), jku, claims, input, signature })
    }

    /// Whether one key of the set, and no other of its name and kind, made the signature (CA-06).
    pub(super) fn is_signed_by(&self, keys: &KeySet) -> bool {
        let mut fitting = keys.0.iter().filter(|key| key.kid == self.kid && key.algorithm == self.algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => key.verifies(self.input.as_bytes(), &self.signature),
            _ => false,
        }
    }
}

struct PublicKey {
    kid: String,
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Point(Vec<u8>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl PublicKey {
    fn read(key: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let (algorithm, named, material) = match (text("kty")?, text("crv")) {
            ("EC", Some("P-384")) => {
                let (x, y) = (number("x")?, number("y")?);
                if x.len() != 48 || y.len() != 48 {
                    return None;
                }
                (Algorithm::Es384, "ES384", Material::Point([vec![4], x, y].concat()))
            }
            ("RSA", None) => {
                let components = RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
                (Algorithm::Rs384, "RS384", Material::Rsa(components))
            }
            _ => return None,
        };
        let for_this = text("alg").is_none_or(|own| own == named) && text("use").is_none_or(|own| own == "sig");
        let kid = text("kid").filter(|kid| !kid.is_empty() && for_this)?;
        Some(Self { kid: kid.to_owned(), algorithm, material })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Point(point) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            Material::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA384, message, signature).is_ok(),
        }
    }
}

/// The public keys of an app.
pub(super) struct KeySet(Vec<PublicKey>);

impl KeySet {
    /// Reads a JWK Set; keys of other kinds are left out (RFC 7517 §5). None when it has no usable key, or a private one.
    pub(super) fn read(set: &Value) -> Option<Self> {
        let keys = set.get("keys")?.as_array()?;
        let keys: Vec<&Map<String, Value>> = keys.iter().map(Value::as_object).collect::<Option<_>>()?;
        if keys.iter().any(|key| PRIVATE_MEMBERS.iter().any(|name| key.contains_key(*name))) {
            return None;
        }
        let keys: Vec<PublicKey> = keys.into_iter().filter_map(PublicKey::read).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }
}

/// The key that signs ID tokens (RS256: SMART 2.2, "ID token").
pub(super) struct IdKey {
    pair: KeyPair,
    kid: String,
    jwk: Value,
}

impl IdKey {
    /// A new one; none when the random source fails.
    pub(super) fn generate() -> Option<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
        // A DER `RSAPublicKey` of 2048 bits ends with the modulus and five bytes of INTEGER 65537 (RFC 8017 A.1.1).
        let der = pair.public_key().as_ref();
        let end = der.len().checked_sub(5)?;
        let n = URL_SAFE_NO_PAD.encode(der.get(end.checked_sub(256)?..end)?);
        let kid = sha256(&format!(r#"{{"e":"AQAB","kty":"RSA","n":"{n}"}}"#));
        let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB", "use": "sig", "alg": "RS256", "kid": kid});
        Some(Self { pair, kid, jwk })
    }

    /// Its public half, as a set.
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// A compact JWS over the claims; spoilt ones have a signature that is none.
    pub(super) fn sign(&self, claims: &Value, spoilt: bool) -> Option<String> {
        let header = json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).ok()?;
        if spoilt {
            signature.reverse();
        }
        Some(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The public key of RFC 7515 A.2 with another name, for tests of what reads keys.
#[cfg(test)]
pub(super) fn test_key() -> Value {
    json!({"kty": "RSA", "kid": "k1", "n": URL_SAFE_NO_PAD.encode([0xc3; 256]), "e": "AQAB"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sets_are_public_or_nothing() {
        let key = test_key();
        assert!(KeySet::read(&json!({ "keys": [key] })).is_some());
        assert!(KeySet::read(&json!({ "keys": [{"kty": "OKP"}, key] })).is_some());
        let mut private = key.clone();
        private["d"] = "AQAB".into();
        let mut nameless = key.clone();
        nameless["kid"] = Value::Null;
        let mut encrypts = key.clone();
        encrypts["use"] = "enc".into();
        for bad in [json!({ "keys": [private, key] }), json!({ "keys": [nameless] }), json!({ "keys": [encrypts] })] {
            assert!(KeySet::read(&bad).is_none(), "{bad}");
        }
        for bad in [json!({}), json!({ "keys": [] }), json!({ "keys": [7] }), json!([key])] {
            assert!(KeySet::read(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_jws_is_read_whole_or_not_at_all() {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let with = |header: Value| format!("{}.{}.AAAA", part(header), part(json!({"iss": "app"})));
        let good = with(json!({"alg": "ES384", "kid": "k", "typ": "JWT"}));
        assert!(UnverifiedJws::read(&good).is_some());
        for bad in [
            with(json!({"alg": "none", "kid": "k", "typ": "JWT"})),
            with(json!({"alg": "HS256", "kid": "k", "typ": "JWT"})),
            with(json!({"alg": "ES384", "kid": "k"})),
            with(json!({"alg": "ES384", "typ": "JWT"})),
            with(json!({"alg": "ES384", "kid": "k", "typ": "JWT", "crit": ["b64"]})),
            with(json!({"alg": "ES384", "kid": "k", "typ": "JWT", "jku": 7})),
            good.replace('.', "=."),
            format!("{good}.AAAA"),
            "a.b".to_owned(),
            String::new(),
        ] {
            assert!(UnverifiedJws::read(&bad).is_none(), "`{bad}`");
        }
    }
}
