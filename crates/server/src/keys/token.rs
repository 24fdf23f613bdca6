//! The ES256 keys that sign access tokens (RFC 7518 §3.4), one at a time per tenant.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Signing failed in the crypto library.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("signing failed")]
pub struct SignTokenError;

/// The public part of a token key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicKey {
    /// `kid` of tokens it verifies.
    pub kid: String,
    /// The P-256 point, uncompressed: `04 || x || y`.
    pub point: Vec<u8>,
}

impl PublicKey {
    /// The key as a JWK (RFC 7517).
    #[must_use]
    pub fn to_jwk(&self) -> serde_json::Value {
        let (x, y) = self.point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}

/// Signs access tokens of one tenant.
pub struct TokenSigner {
    public: PublicKey,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenSigner({}, [sealed])", self.public.kid)
    }
}

impl TokenSigner {
    /// The JOSE name of the algorithm.
    pub const ALG: &'static str = "ES256";

    /// A new private key, PKCS#8.
    pub(super) fn generate() -> Result<Zeroizing<Vec<u8>>, SignTokenError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Ok(Zeroizing::new(document.map_err(|_| SignTokenError)?.as_ref().to_vec()))
    }

    pub(super) fn read(kid: &str, pkcs8: &[u8]) -> Result<Self, SignTokenError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| SignTokenError)?;
        let public = PublicKey { kid: kid.to_owned(), point: key.public_key().as_ref().to_vec() };
        Ok(Self { public, key, random: SystemRandom::new() })
    }

    /// Its `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// Its public part.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a JWS signing input; the answer is `r || s`.
    ///
    /// # Errors
    /// [`SignTokenError`] when the crypto library refuses.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignTokenError> {
        let signature = self.key.sign(&self.random, message).map_err(|_| SignTokenError)?;
        signature.as_ref().try_into().map_err(|_| SignTokenError)
    }
}
