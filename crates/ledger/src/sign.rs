//! Ed25519 (RFC 8032): who signs, and the check of it. An HSM signs through the same trait.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Signing failed, or a key is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("signing failed")]
pub struct SignError;

/// Something that makes Ed25519 signatures.
pub trait Signer: Send + Sync {
    /// Signs a message.
    ///
    /// # Errors
    /// [`SignError`] when the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError>;

    /// The public key.
    fn verifying_key(&self) -> VerifyingKey;
}

/// A public key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

/// A signing key in memory. Prints `[sealed]`.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey([sealed])")
    }
}

impl SigningKey {
    /// The key of a 32-byte seed.
    ///
    /// # Errors
    /// [`SignError`] when the crypto library refuses.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, SignError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SignError)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SignError)?;
        Ok(Self { pair, public: VerifyingKey(public) })
    }
}

impl Signer for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
        self.pair.sign(message).as_ref().try_into().map_err(|_| SignError)
    }

    fn verifying_key(&self) -> VerifyingKey {
        self.public
    }
}
