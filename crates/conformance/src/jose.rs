//! Keys, signed tokens and forged ones: everything about them can be set, since most of what is sent here must be refused.
//!
//! Written from RFC 7515, 7518, 7638 and 9449 alone: a mistake the server makes in its own JOSE code is not repeated here.

use std::collections::BTreeMap;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

/// Base64url without padding.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes behind base64url without padding.
#[must_use]
pub fn unbase64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// Random text of 32 bytes, for `jti`, `state`, verifiers.
#[must_use]
pub fn nonce() -> String {
    let mut bytes = [0_u8; 32];
    // The source of aws-lc-rs ends the process rather than fail; a short text would only weaken a test.
    let _ = SystemRandom::new().fill(&mut bytes);
    base64url(&bytes)
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A private key with the names it goes by.
pub struct Key {
    pair: Pair,
    /// `alg` it signs with unless told otherwise.
    pub alg: String,
    /// `kid` it is registered under.
    pub kid: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}, [sealed])", self.kid)
    }
}

impl Key {
    /// A new key for `alg` (`ES256`, `ES384`, or RSA for anything else).
    ///
    /// # Errors
    /// What failed.
    pub fn generate(alg: &str) -> Result<Self, String> {
        let failed = |_| "a key cannot be made".to_owned();
        let pair = match alg {
            "ES256" => Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?),
            "ES384" => Pair::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(failed)?),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?)),
        };
        Self { pair, alg: alg.to_owned(), kid: String::new() }.named(None)
    }

    /// Reads a PKCS#8 PEM file: P-256 signs ES256, P-384 ES384, RSA RS384, unless `alg` says otherwise.
    ///
    /// # Errors
    /// In words that never quote the key.
    pub fn read(pem: &[u8], alg: Option<&str>, kid: Option<&str>) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| "no PKCS#8 private key in PEM".to_owned())?;
        let der = der.secret_pkcs8_der();
        let (pair, usual) = if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der) {
            (Pair::P384(pair), "ES384")
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            (Pair::P256(pair), "ES256")
        } else if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            (Pair::Rsa(Box::new(pair)), "RS384")
        } else {
            return Err("the key is neither P-256, P-384 nor RSA".into());
        };
        Self { pair, alg: alg.unwrap_or(usual).to_owned(), kid: String::new() }.named(kid)
    }

    /// Without a name of its own a key is called by its thumbprint (RFC 7638).
    fn named(mut self, kid: Option<&str>) -> Result<Self, String> {
        self.kid = match kid {
            Some(kid) => kid.to_owned(),
            None => self.thumbprint().ok_or("the public key cannot be read")?,
        };
        Ok(self)
    }

    /// The members of the public key that RFC 7638 §3.2 hashes.
    fn public(&self) -> Option<Value> {
        match &self.pair {
            Pair::P256(pair) => point("P-256", 32, pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", 48, pair.public_key().as_ref()),
            Pair::Rsa(pair) => {
                let (n, e) = rsa_public(pair.public_key().as_ref())?;
                Some(json!({ "kty": "RSA", "n": base64url(n), "e": base64url(e) }))
            }
        }
    }

    /// RFC 7638. §3.3 wants the members in lexicographic order; how `serde_json` orders them depends on who else uses it.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        let public = self.public()?;
        let members: BTreeMap<&String, &Value> = public.as_object()?.iter().collect();
        Some(base64url(&sha256(serde_json::to_string(&members).ok()?.as_bytes())))
    }

    /// The public JWK, bare: as in a DPoP header.
    #[must_use]
    pub fn bare_jwk(&self) -> Value {
        self.public().unwrap_or(Value::Null)
    }

    /// The public JWK with its `kid`, for a key set.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.bare_jwk();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".into(), self.kid.clone().into());
            members.insert("alg".into(), self.alg.clone().into());
            members.insert("use".into(), "sig".into());
        }
        jwk
    }

    /// Whether it is an RSA key.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        matches!(self.pair, Pair::Rsa(_))
    }

    /// The signature of `input` by `alg`; RSA keys can sign by several.
    ///
    /// # Errors
    /// When the key cannot sign so.
    pub fn sign_as(&self, alg: &str, input: &[u8]) -> Result<Vec<u8>, String> {
        let random = SystemRandom::new();
        let failed = |_| format!("this key cannot sign by {alg}");
        match &self.pair {
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&random, input).map(|signature| signature.as_ref().to_vec()).map_err(failed)
            }
            Pair::Rsa(pair) => {
                let encoding: &'static dyn signature::RsaEncoding = match alg {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PKCS1_SHA384,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, input, &mut out).map_err(failed)?;
                Ok(out)
            }
        }
    }
}

fn point(curve: &str, size: usize, bytes: &[u8]) -> Option<Value> {
    let (x, y) = bytes.get(1..)?.split_at_checked(size)?;
    Some(json!({ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y) }))
}

/// Modulus and exponent of a DER `RSAPublicKey` (RFC 8017 A.1.1), without leading zeros.
fn rsa_public(der: &[u8]) -> Option<(&[u8], &[u8])> {
    fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (head, rest) = der.split_first()?;
        let (first, rest) = rest.split_first()?;
        if *head != tag {
            return None;
        }
        if *first < 0x80 {
            return rest.split_at_checked(usize::from(*first));
        }
        let (length, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
        let length = length.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        rest.split_at_checked(length)
    }
    let (body, _) = element(der, 0x30)?;
    let (n, after) = element(body, 0x02)?;
    let (e, _) = element(after, 0x02)?;
    let plain = |number: &[u8]| number.iter().take_while(|byte| **byte == 0).count();
    Some((n.get(plain(n)..)?, e.get(plain(e)..)?))
}

/// A token in the making; every part can be spoilt before it is signed, and the result after.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
}

impl Draft {
    /// A draft of these objects; anything else counts as empty.
    #[must_use]
    pub fn new(header: &Value, claims: &Value) -> Self {
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        Self { header: members(header), claims: members(claims) }
    }

    /// Sets a header member; `Null` removes it.
    #[must_use]
    pub fn header(mut self, name: &str, value: Value) -> Self {
        put(&mut self.header, name, value);
        self
    }

    /// Sets a claim; `Null` removes it.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        put(&mut self.claims, name, value);
        self
    }

    /// What is signed.
    #[must_use]
    pub fn input(&self) -> String {
        let (header, claims) = (Value::Object(self.header.clone()), Value::Object(self.claims.clone()));
        input_of(&header.to_string(), &claims.to_string())
    }

    /// Signed with `key` by the `alg` of the header.
    ///
    /// # Errors
    /// When the key cannot sign so.
    pub fn sign(&self, key: &Key) -> Result<String, String> {
        let alg = self.header.get("alg").and_then(Value::as_str).unwrap_or(&key.alg).to_owned();
        let input = self.input();
        let signature = key.sign_as(&alg, input.as_bytes())?;
        Ok(join(&input, &signature))
    }

    /// The key's own `alg` and `kid` in the header, signed.
    ///
    /// # Errors
    /// When the key cannot sign so.
    pub fn sign_honestly(self, key: &Key) -> Result<String, String> {
        self.header("alg", key.alg.clone().into()).header("kid", key.kid.clone().into()).sign(key)
    }

    /// "Signed" with an HMAC over `secret`: the algorithm confusion of RFC 8725 §2.1.
    #[must_use]
    pub fn sign_hmac(self, alg: &str, secret: &[u8]) -> String {
        let draft = self.header("alg", alg.into());
        let algorithm = if alg == "HS384" { hmac::HMAC_SHA384 } else { hmac::HMAC_SHA256 };
        let input = draft.input();
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
        join(&input, tag.as_ref())
    }
}

fn put(members: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

/// Header and claims as they stand, encoded: for JSON that no writer would write.
#[must_use]
pub fn input_of(header: &str, claims: &str) -> String {
    format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()))
}

/// The compact form.
#[must_use]
pub fn join(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", base64url(signature))
}

/// The raw `r || s` of an ECDSA signature as DER `ECDSA-Sig-Value`, which JWS does not use (RFC 7518 §3.4).
#[must_use]
pub fn der_signature(raw: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let mut digits: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
        if digits.first().is_none_or(|first| *first >= 0x80) {
            digits.insert(0, 0);
        }
        let mut out = vec![0x02, u8::try_from(digits.len()).unwrap_or(0)];
        out.append(&mut digits);
        out
    };
    let (r, s) = raw.split_at_checked(raw.len() / 2).unwrap_or((raw, &[]));
    let body = [integer(r), integer(s)].concat();
    let mut out = vec![0x30, u8::try_from(body.len()).unwrap_or(0)];
    out.extend(body);
    out
}

/// Header and claims of a compact JWS, unverified.
#[must_use]
pub fn peek(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.');
    let (header, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let read = |part: &str| serde_json::from_slice::<Value>(&unbase64url(part)?).ok();
    Some((read(header)?, read(claims)?))
}

/// Whether a key of the set made this signature; `kid` chooses when both have one.
#[must_use]
pub fn verified_by(token: &str, jwks: &Value) -> bool {
    let Some((header, _)) = peek(token) else { return false };
    let Some((input, signature)) = token.rsplit_once('.') else { return false };
    let Some(signature) = unbase64url(signature) else { return false };
    let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let kid = header.get("kid");
    let keys = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.filter(|key| kid.is_none() || key.get("kid").is_none() || key.get("kid") == kid)
        .any(|key| verifies(key, alg, input.as_bytes(), &signature).unwrap_or(false))
}

fn verifies(key: &Value, alg: &str, input: &[u8], signature: &[u8]) -> Option<bool> {
    let member = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| member(name).and_then(unbase64url);
    if member("kty")? == "RSA" {
        let parameters = match alg {
            "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
            "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
            _ => return None,
        };
        let public = RsaPublicKeyComponents { n: bytes("n")?, e: bytes("e")? };
        return Some(public.verify(parameters, input, signature).is_ok());
    }
    let parameters = match (alg, member("crv")?) {
        ("ES256", "P-256") => &signature::ECDSA_P256_SHA256_FIXED,
        ("ES384", "P-384") => &signature::ECDSA_P384_SHA384_FIXED,
        _ => return None,
    };
    let point = [vec![4], bytes("x")?, bytes("y")?].concat();
    Some(UnparsedPublicKey::new(parameters, point).verify(input, signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &Key) -> Value {
        json!({ "keys": [key.jwk()] })
    }

    #[test]
    fn an_honest_token_verifies_and_every_forgery_does_not() {
        for alg in ["ES256", "ES384", "RS256", "RS384", "PS256"] {
            let key = Key::generate(alg).unwrap();
            let draft = Draft::new(&json!({"typ": "JWT"}), &json!({"iss": "a"}));
            let honest = draft.clone().sign_honestly(&key).unwrap();
            assert!(verified_by(&honest, &set(&key)), "{alg}");
            let other = Key::generate(alg).unwrap();
            let forged = draft.clone().header("kid", key.kid.clone().into()).header("alg", alg.into());
            assert!(!verified_by(&forged.sign(&other).unwrap(), &set(&key)), "{alg}: another key");
            let (input, signature) = honest.rsplit_once('.').unwrap();
            let (header, _) = input.split_once('.').unwrap();
            let altered = format!("{header}.{}.{signature}", base64url(br#"{"iss":"b"}"#));
            assert!(!verified_by(&altered, &set(&key)), "{alg}: other claims");
            let hmac = draft.sign_hmac("HS256", set(&key).to_string().as_bytes());
            assert!(!verified_by(&hmac, &set(&key)), "{alg}: HMAC");
        }
    }

    #[test]
    fn a_der_signature_is_another_encoding_of_the_same_numbers() {
        let raw = [vec![0x80; 32], vec![0, 1], vec![2; 30]].concat();
        let der = der_signature(&raw);
        assert_eq!(der.get(..5), Some(&[0x30, 0x44, 0x02, 0x21, 0x00][..]));
        assert_eq!(der.len(), 2 + 35 + 33);
    }

    #[test]
    fn thumbprints_are_those_of_rfc_7638() {
        // RFC 7638 §3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let text = format!(r#"{{"e":"AQAB","kty":"RSA","n":"{n}"}}"#);
        assert_eq!(base64url(&sha256(text.as_bytes())), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let key = Key::generate("ES256").unwrap();
        let jwk = key.bare_jwk();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        assert_eq!(key.kid, base64url(&sha256(text.as_bytes())), "whatever order serde_json keeps members in");
    }

    #[test]
    fn the_text_of_a_token_can_be_taken_apart() {
        let token = join(&input_of(r#"{"alg":"none"}"#, r#"{"a":1}"#), b"");
        assert_eq!(peek(&token).unwrap(), (json!({"alg": "none"}), json!({"a": 1})));
        assert_eq!(peek("a.b"), None);
    }
}
