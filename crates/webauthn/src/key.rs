//! Public keys of authenticators: COSE (RFC 9052 §7, RFC 9053), the three kinds that are asked for.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use minicbor::Decoder;
use minicbor::data::Type;

/// Signature algorithms that are asked for, best first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// P-256: what almost every authenticator does.
    Es256,
    /// RSA, PKCS#1 v1.5: what the TPM behind Windows Hello does.
    Rs256,
}

impl Algorithm {
    /// All of them, in the order they are asked for.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// Its COSE number.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }
}

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidKey {
    /// It is no COSE key, or holds a parameter that it must not (§6.5.1.1).
    #[error("not a COSE key of the form that is allowed")]
    Form,
    /// Its algorithm was not asked for.
    #[error("an algorithm that was not asked for")]
    Algorithm,
    /// The point is not on the curve, or the modulus is too short.
    #[error("not a key of that algorithm")]
    Material,
}

impl From<minicbor::decode::Error> for InvalidKey {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Form
    }
}

enum Material {
    Parsed(ParsedPublicKey),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

/// A key that signatures can be checked with.
pub struct PublicKey {
    algorithm: Algorithm,
    material: Material,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?})", self.algorithm)
    }
}

/// Shortest RSA modulus, in bytes (2048 bits).
const MODULUS_MIN: usize = 256;
/// Longest: 4096 bits; beyond it a signature would only cost time.
const MODULUS_MAX: usize = 512;

#[derive(Default)]
struct Parameters<'a> {
    kty: Option<i64>,
    alg: Option<i64>,
    curve: Option<i64>,
    first: Option<&'a [u8]>,
    second: Option<&'a [u8]>,
    third: Option<&'a [u8]>,
}

impl PublicKey {
    /// Reads a COSE key: every label once, none but those of its kind, nothing behind it.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let mut decoder = Decoder::new(bytes);
        let entries = decoder.map()?.filter(|entries| *entries <= 5).ok_or(InvalidKey::Form)?;
        let mut found = Parameters::default();
        for _ in 0..entries {
            let fresh = match decoder.i64()? {
                1 => found.kty.replace(decoder.i64()?).is_none(),
                3 => found.alg.replace(decoder.i64()?).is_none(),
                -1 if decoder.datatype()? == Type::Bytes => found.first.replace(decoder.bytes()?).is_none(),
                -1 => found.curve.replace(decoder.i64()?).is_none(),
                -2 => found.second.replace(decoder.bytes()?).is_none(),
                -3 => found.third.replace(decoder.bytes()?).is_none(),
                _ => false,
            };
            if !fresh {
                return Err(InvalidKey::Form);
            }
        }
        if decoder.position() != bytes.len() {
            return Err(InvalidKey::Form);
        }
        found.key()
    }

    /// Which.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` over `message` is by this key.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Parsed(key) => key.verify_sig(message, signature).is_ok(),
            Material::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
        }
    }
}

impl Parameters<'_> {
    fn key(self) -> Result<PublicKey, InvalidKey> {
        let alg = self.alg.ok_or(InvalidKey::Form)?;
        let algorithm = Algorithm::ALL.into_iter().find(|known| known.number() == alg).ok_or(InvalidKey::Algorithm)?;
        let material = match (algorithm, self) {
            // kty EC2, crv P-256.
            (
                Algorithm::Es256,
                Self { kty: Some(2), curve: Some(1), first: None, second: Some(x), third: Some(y), .. },
            ) if x.len() == 32 && y.len() == 32 => {
                let mut point = vec![0x04];
                point.extend_from_slice(x);
                point.extend_from_slice(y);
                let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.as_slice());
                Material::Parsed(key.map_err(|_| InvalidKey::Material)?)
            }
            // kty OKP, crv Ed25519.
            (
                Algorithm::EdDsa,
                Self { kty: Some(1), curve: Some(6), first: None, second: Some(x), third: None, .. },
            ) if x.len() == 32 => {
                Material::Parsed(ParsedPublicKey::new(&ED25519, x).map_err(|_| InvalidKey::Material)?)
            }
            // kty RSA.
            (
                Algorithm::Rs256,
                Self { kty: Some(3), curve: None, first: Some(n), second: Some(e), third: None, .. },
            ) => {
                if !(MODULUS_MIN..=MODULUS_MAX).contains(&n.len()) || e.is_empty() || e.len() > 8 {
                    return Err(InvalidKey::Material);
                }
                Material::Rsa(RsaPublicKeyComponents { n: n.to_vec(), e: e.to_vec() })
            }
            _ => return Err(InvalidKey::Form),
        };
        Ok(PublicKey { algorithm, material })
    }
}
