//! JWK Sets (RFC 7517): public EC P-256/P-384 and RSA keys, chosen by `kid` and by what fits the algorithm.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::jose::Algorithm;
use crate::json::read_object;

/// Largest JWK Set read: 64 KiB holds [`KEYS_MAX`] RSA keys with certificate chains cut off.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;
/// Most keys in one set; a rotation needs two.
pub const KEYS_MAX: usize = 32;
/// Longest `kid`.
pub const KID_BYTES_MAX: usize = 256;
/// Smallest RSA modulus in bits (FAPI 2.0, NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2_048;
/// Largest the library verifies.
const RSA_BITS_MAX: usize = 8_192;

/// Members that only private or symmetric keys have (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why text is no JWK Set that Hilum registers or uses; `Display` is for the operator who registers it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidKeySet {
    /// Over [`KEY_SET_BYTES_MAX`] or [`KEYS_MAX`].
    #[error("the JWK Set is too large")]
    Size,
    /// Not an object with an array `keys` of objects with unique members.
    #[error("not a JWK Set: an object with an array `keys` of objects is needed")]
    Form,
    /// A private or symmetric member is present. The text must be treated as a leaked secret.
    #[error("the JWK Set holds private or symmetric key material; register public keys only")]
    Private,
    /// An RSA modulus outside 2048 to 8192 bits or a small or even exponent.
    #[error("an RSA key must have 2048 to 8192 bits and an odd exponent of at least 65537")]
    Weak,
    /// Coordinates, modulus or exponent are not base64url integers of the right length, or no point on the curve.
    #[error("a key is malformed")]
    Key,
    /// No key of a supported kind.
    #[error("no EC P-256, EC P-384 or RSA signature key with a `kid` in the JWK Set")]
    Empty,
}

enum Material {
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Rsa { sha256: ParsedPublicKey, sha384: ParsedPublicKey, pss: ParsedPublicKey },
}

/// One public key: of a set, or the one a DPoP proof names.
pub struct PublicKey {
    /// Empty for a key that is of no set.
    kid: String,
    /// `alg`, when the key names one.
    algorithm: Option<String>,
    material: Material,
    thumbprint: [u8; 32],
    spki: Vec<u8>,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// A key on its own, with or without a `kid`: the `jwk` of a DPoP proof (RFC 9449 §4.2).
    ///
    /// # Errors
    /// The rule it breaks; [`InvalidKeySet::Empty`] for a kind of key that is not supported or not for signatures.
    pub(crate) fn alone(item: &Map<String, Value>) -> Result<Self, InvalidKeySet> {
        if PRIVATE_MEMBERS.iter().any(|name| item.contains_key(*name)) {
            return Err(InvalidKeySet::Private);
        }
        read_material(item)?.ok_or(InvalidKeySet::Empty)
    }

    /// `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// RFC 7638 thumbprint (SHA-256): the same key has the same one, whatever its `kid` (S1-33).
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        self.thumbprint
    }

    /// Its `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) in DER: what a certificate of the same key holds.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether its type and its own `alg` fit `algorithm` (RFC 8725 §3.1: decided before the key is used).
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = matches!(
            (&self.material, algorithm),
            (Material::P256(_), Algorithm::Es256)
                | (Material::P384(_), Algorithm::Es384)
                | (Material::Rsa { .. }, Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Ps256)
        );
        kind && self.algorithm.as_deref().is_none_or(|named| named == algorithm.as_str())
    }

    /// Whether `signature` over `message` is by this key with `algorithm`.
    #[must_use]
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        // A zero r or s is never a signature; stated here so that it does not hang on one library's care (NEG-115).
        let raw_ecdsa = |half: usize| {
            signature.len() == 2 * half && signature.chunks_exact(half).all(|part| part.iter().any(|byte| *byte != 0))
        };
        match (&self.material, algorithm) {
            (Material::P256(key), Algorithm::Es256) => raw_ecdsa(32) && key.verify_sig(message, signature).is_ok(),
            (Material::P384(key), Algorithm::Es384) => raw_ecdsa(48) && key.verify_sig(message, signature).is_ok(),
            (Material::Rsa { sha256, .. }, Algorithm::Rs256) => sha256.verify_sig(message, signature).is_ok(),
            (Material::Rsa { sha384, .. }, Algorithm::Rs384) => sha384.verify_sig(message, signature).is_ok(),
            (Material::Rsa { pss, .. }, Algorithm::Ps256) => pss.verify_sig(message, signature).is_ok(),
            _ => false,
        }
    }
}

/// A parsed JWK Set.
#[derive(Debug)]
pub struct KeySet(Vec<PublicKey>);

impl KeySet {
    /// Reads a JWK Set. Keys of other kinds, other curves, for encryption or without a `kid` are left out (RFC 7517 §5); a private member
    /// anywhere, a weak key or a malformed one refuses the whole set.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeySet> {
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(InvalidKeySet::Size);
        }
        let set = read_object(text).map_err(|_| InvalidKeySet::Form)?;
        let Some(Value::Array(items)) = set.get("keys") else { return Err(InvalidKeySet::Form) };
        if items.len() > KEYS_MAX {
            return Err(InvalidKeySet::Size);
        }
        let mut members = Vec::with_capacity(items.len());
        for item in items {
            let Value::Object(item) = item else { return Err(InvalidKeySet::Form) };
            if PRIVATE_MEMBERS.iter().any(|name| item.contains_key(*name)) {
                return Err(InvalidKeySet::Private);
            }
            members.push(item);
        }
        let mut keys = Vec::with_capacity(members.len());
        for item in members {
            if let Some(key) = read_key(item)? {
                keys.push(key);
            }
        }
        if keys.is_empty() { Err(InvalidKeySet::Empty) } else { Ok(Self(keys)) }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// The one key with this `kid` that fits `algorithm`; none when there is none or more than one (CA-06).
    #[must_use]
    pub fn choose(&self, kid: &str, algorithm: Algorithm) -> Option<&PublicKey> {
        let mut fitting = self.0.iter().filter(|key| key.kid == kid && key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }

    /// The one key that a certificate with this `SubjectPublicKeyInfo` is of; none when there is none or more than one.
    #[must_use]
    pub fn with_spki(&self, spki: &[u8]) -> Option<&PublicKey> {
        let mut same = self.0.iter().filter(|key| key.spki == spki);
        match (same.next(), same.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }
}

fn member<'a>(item: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    item.get(name).and_then(Value::as_str)
}

fn read_key(item: &Map<String, Value>) -> Result<Option<PublicKey>, InvalidKeySet> {
    let Some(key) = read_material(item)? else { return Ok(None) };
    // An assertion must name its key, so a key without a usable name can never be chosen.
    let kid = member(item, "kid").filter(|kid| (1..=KID_BYTES_MAX).contains(&kid.len()));
    Ok(kid.map(|kid| PublicKey { kid: kid.to_owned(), ..key }))
}

fn read_material(item: &Map<String, Value>) -> Result<Option<PublicKey>, InvalidKeySet> {
    let for_signatures = match item.get("use") {
        None => true,
        Some(usage) => usage == "sig",
    };
    let verifies = match item.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => return Err(InvalidKeySet::Key),
    };
    if !for_signatures || !verifies {
        return Ok(None);
    }
    let algorithm = match item.get("alg") {
        None => None,
        Some(Value::String(algorithm)) => Some(algorithm.clone()),
        Some(_) => return Err(InvalidKeySet::Key),
    };
    let (material, canonical, spki) = match (member(item, "kty"), member(item, "crv")) {
        (Some("EC"), Some("P-256")) => read_point(item, "P-256", 32)?,
        (Some("EC"), Some("P-384")) => read_point(item, "P-384", 48)?,
        (Some("RSA"), _) => read_rsa(item)?,
        (Some(_), _) => return Ok(None),
        (None, _) => return Err(InvalidKeySet::Key),
    };
    let digest = digest::digest(&digest::SHA256, canonical.as_bytes());
    let thumbprint = digest.as_ref().try_into().map_err(|_| InvalidKeySet::Key)?;
    Ok(Some(PublicKey { kid: String::new(), algorithm, material, thumbprint, spki }))
}

fn integer<'a>(item: &'a Map<String, Value>, name: &str) -> Result<(&'a str, Vec<u8>), InvalidKeySet> {
    let text = member(item, name).ok_or(InvalidKeySet::Key)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidKeySet::Key)?;
    Ok((text, bytes))
}

/// A key, the members its thumbprint is made of, and its `SubjectPublicKeyInfo`.
type Read = (Material, String, Vec<u8>);

fn read_point(item: &Map<String, Value>, curve: &str, half: usize) -> Result<Read, InvalidKeySet> {
    let (x_text, x) = integer(item, "x")?;
    let (y_text, y) = integer(item, "y")?;
    if x.len() != half || y.len() != half {
        return Err(InvalidKeySet::Key);
    }
    let mut point = Vec::with_capacity(1 + 2 * half);
    point.push(4);
    point.extend_from_slice(&x);
    point.extend_from_slice(&y);
    let material = if half == 32 {
        Material::P256(ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| InvalidKeySet::Key)?)
    } else {
        Material::P384(ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &point).map_err(|_| InvalidKeySet::Key)?)
    };
    let algorithm = if half == 32 { P256_ALGORITHM } else { P384_ALGORITHM };
    let canonical = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x_text}","y":"{y_text}"}}"#);
    Ok((material, canonical, public_key_info(algorithm, &point)))
}

fn read_rsa(item: &Map<String, Value>) -> Result<Read, InvalidKeySet> {
    let (n_text, n) = integer(item, "n")?;
    let (e_text, e) = integer(item, "e")?;
    let leading = n.first().copied().ok_or(InvalidKeySet::Key)?;
    if leading == 0 || e.first().copied().unwrap_or(0) == 0 {
        return Err(InvalidKeySet::Key);
    }
    let bits = n.len() * 8 - leading.leading_zeros() as usize;
    let exponent = e.iter().try_fold(0_u32, |sum, byte| sum.checked_mul(256).map(|sum| sum + u32::from(*byte)));
    let exponent_fits = exponent.is_some_and(|exponent| exponent >= 65_537 && exponent % 2 == 1);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || !exponent_fits {
        return Err(InvalidKeySet::Weak);
    }
    let numbers = [der(2, &positive(&n)), der(2, &positive(&e))].concat();
    let spki = public_key_info(RSA_ALGORITHM, &der(0x30, &numbers));
    let components = RsaPublicKeyComponents { n, e };
    let parsed = |scheme| components.to_parsed_public_key(scheme).map_err(|_| InvalidKeySet::Key);
    let sha256 = parsed(&RSA_PKCS1_2048_8192_SHA256)?;
    let sha384 = parsed(&RSA_PKCS1_2048_8192_SHA384)?;
    let pss = components.to_parsed_public_key(&RSA_PSS_2048_8192_SHA256).map_err(|_| InvalidKeySet::Key)?;
    Ok((Material::Rsa { sha256, sha384, pss }, format!(r#"{{"e":"{e_text}","kty":"RSA","n":"{n_text}"}}"#), spki))
}

/// `AlgorithmIdentifier` of id-ecPublicKey with secp256r1, whole (RFC 5480 §2.1.1).
const P256_ALGORITHM: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// The same with secp384r1.
const P384_ALGORITHM: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
/// rsaEncryption with NULL (RFC 3279 §2.3.1).
const RSA_ALGORITHM: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

fn public_key_info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = der(3, &[&[0], key].concat());
    der(0x30, &[algorithm, &bits].concat())
}

/// A DER value; none here is longer than an RSA key of [`RSA_BITS_MAX`].
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

/// An unsigned number's bytes as a DER integer has them.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    [sign, bytes].concat()
}

#[test]
fn a_key_is_written_as_certificates_have_it() {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    };
    for (signing, curve, half) in
        [(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32), (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48)]
    {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(half);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let set = serde_json::json!({"keys": [{"kty": "EC", "crv": curve, "x": x, "y": y, "kid": "k"}]}).to_string();
        let set = KeySet::parse(set.as_bytes()).unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        assert_eq!(set.keys()[0].spki(), der.as_ref(), "{curve}");
        assert!(set.with_spki(der.as_ref()).is_some() && set.with_spki(&der.as_ref()[1..]).is_none());
    }
}
