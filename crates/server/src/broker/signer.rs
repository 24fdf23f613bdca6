//! The private key of a SMART Backend Services connection: read from its file, used to sign assertions, never shown.

use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA384};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Largest key file.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// Smallest RSA modulus, in bytes (2048 bits).
const RSA_BYTES_MIN: usize = 256;

/// Why a key file cannot be used. Never quotes its content.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("key file `{0}` cannot be read")]
    Read(String),
    /// It is not a PKCS#8 PEM file with a P-384 or RSA key.
    #[error("key file `{0}` holds no PKCS#8 private key of kind P-384 or RSA (2048 bits or more)")]
    Kind(String),
}

enum Key {
    Es384(EcdsaKeyPair),
    Rs384(RsaKeyPair),
}

/// A signer with its public half.
pub struct Signer {
    key: Key,
    kid: String,
    jwk: Value,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({}, [sealed])", self.kid)
    }
}

impl Signer {
    /// Reads a PEM file: P-384 signs ES384, RSA signs RS384 (S0-10).
    ///
    /// # Errors
    /// [`KeyFileError`], which names the file and never quotes it.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let name = || path.display().to_string();
        let text = Zeroizing::new(std::fs::read(path).map_err(|_| KeyFileError::Read(name()))?);
        if text.len() > FILE_BYTES_MAX {
            return Err(KeyFileError::Kind(name()));
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| KeyFileError::Kind(name()))?;
        Self::from_pkcs8(der.secret_pkcs8_der()).ok_or_else(|| KeyFileError::Kind(name()))
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der) {
            let point = key.public_key().as_ref().to_vec();
            let (x, y) = point.get(1..)?.split_at_checked(48)?;
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let kid = thumbprint(&format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#));
            let jwk = json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y, "alg": "ES384", "use": "sig",
                "key_ops": ["verify"], "kid": kid });
            return Some(Self { key: Key::Es384(key), kid, jwk });
        }
        let key = RsaKeyPair::from_pkcs8(der).ok()?;
        let (n, e) = rsa_public(key.public_key().as_ref())?;
        if n.len() < RSA_BYTES_MIN {
            return None;
        }
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        let kid = thumbprint(&format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#));
        let jwk = json!({ "kty": "RSA", "n": n, "e": e, "alg": "RS384", "use": "sig",
            "key_ops": ["verify"], "kid": kid });
        Some(Self { key: Key::Rs384(key), kid, jwk })
    }

    /// Its public half.
    #[must_use]
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// A compact JWS over `claims`.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let algorithm = match &self.key {
            Key::Es384(_) => "ES384",
            Key::Rs384(_) => "RS384",
        };
        let header = json!({ "alg": algorithm, "kid": self.kid, "typ": "JWT" });
        let input = oauth::jose::signing_input(&header, claims);
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Es384(key) => key.sign(&random, input.as_bytes()).ok()?.as_ref().to_vec(),
            Key::Rs384(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA384, &random, input.as_bytes(), &mut signature).ok()?;
                signature
            }
        };
        Some(oauth::jose::finish(input, &signature))
    }
}

/// RFC 7638.
fn thumbprint(canonical: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// Modulus and exponent of a DER `RSAPublicKey` (RFC 8017 A.1.1), without leading zeros.
fn rsa_public(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, rest) = element(der, 0x30)?;
    let (n, after) = element(body, 0x02)?;
    let (e, end) = element(after, 0x02)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let plain = |number: &'_ [u8]| number.iter().take_while(|byte| **byte == 0).count();
    Some((n.get(plain(n)..)?, e.get(plain(e)..)?))
}

/// One DER element with this tag: its content and what follows.
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
    if length.len() > 3 {
        return None;
    }
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[test]
fn s0_10_rsa_signs_rs384_and_p384_signs_es384() {
    use aws_lc_rs::encoding::AsDer as _;
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap().as_der().unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    for (der, name) in [(rsa.as_ref(), "RS384"), (p384.as_ref(), "ES384")] {
        let signer = Signer::from_pkcs8(der).unwrap();
        let set = json!({ "keys": [signer.jwk()] }).to_string();
        let set = oauth::KeySet::parse(set.as_bytes()).unwrap();
        let jws = oauth::jose::UnverifiedJws::parse(&signer.sign(&json!({ "iss": "x" })).unwrap()).unwrap();
        assert_eq!(jws.header.algorithm.as_str(), name);
        let key = set.choose(jws.header.kid.as_deref().unwrap(), jws.header.algorithm).unwrap();
        assert!(key.verify(jws.header.algorithm, jws.signed(), jws.signature()), "{name}");
        assert_eq!(URL_SAFE_NO_PAD.encode(key.thumbprint()), key.kid(), "the kid is the thumbprint");
        assert!(format!("{signer:?}").contains("[sealed]"));
    }
    assert!(Signer::from_pkcs8(b"nonsense").is_none());
}
