//! The RS256 keys that sign ID tokens (SMART requires RS256; RFC 7518 §3.3), one for each tenant, made when first needed: an RSA key
//! takes long to make, and a tenant without launches of people needs none.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Millis, TenantId};
use zeroize::Zeroizing;

use super::material::{Material, Name, Purpose};
use super::{KeyError, KeyRing, PublicKey, SINGLE, SignTokenError};

/// Signs ID tokens of one tenant.
pub struct IdentitySigner {
    kid: String,
    key: RsaKeyPair,
    random: SystemRandom,
}

impl std::fmt::Debug for IdentitySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentitySigner({}, [sealed])", self.kid)
    }
}

impl IdentitySigner {
    /// A new private key, PKCS#8.
    pub(super) fn generate() -> Result<Zeroizing<Vec<u8>>, SignTokenError> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SignTokenError)?;
        let document: Pkcs8V1Der<'_> = key.as_der().map_err(|_| SignTokenError)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    pub(super) fn read(kid: &str, pkcs8: &[u8]) -> Result<Self, SignTokenError> {
        let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| SignTokenError)?;
        Ok(Self { kid: format!("id-{kid}"), key, random: SystemRandom::new() })
    }

    /// Its `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its public part as a JWK (RFC 7517).
    #[must_use]
    pub fn to_jwk(&self) -> serde_json::Value {
        let public = self.key.public_key();
        let (n, e) = numbers(public.as_ref()).unwrap_or_default();
        serde_json::json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid,
            "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
        })
    }

    /// Signs a JWS signing input.
    ///
    /// # Errors
    /// [`SignTokenError`] when the crypto library refuses.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignTokenError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature).map_err(|_| SignTokenError)?;
        Ok(signature)
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017, appendix A.1.1), as the library writes it: two positive numbers in one sequence.
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = value(0x30, der)?;
    let (modulus, after) = value(2, sequence)?;
    let (exponent, end) = value(2, after)?;
    let positive = |number: &[u8]| number.iter().position(|byte| *byte != 0);
    let (m, e) = (positive(modulus)?, positive(exponent)?);
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    Some((modulus.get(m..)?, exponent.get(e..)?))
}

/// The content of the DER value with this tag that `bytes` begin with, and what follows it.
fn value(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(2)?;
    let (found, first) = (head.first()?, *head.get(1)?);
    if *found != tag {
        return None;
    }
    if first < 0x80 {
        return rest.split_at_checked(first.into());
    }
    let (length, rest) = rest.split_at_checked((first & 0x7f).into())?;
    let length = length.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?;
    rest.split_at_checked(length)
}

impl KeyRing {
    /// The key that signs this tenant's ID tokens; the first call makes it.
    ///
    /// # Errors
    /// [`KeyError`] for an unknown tenant, or when the store or the crypto library fails.
    pub async fn identity_signer(&self, tenant: &TenantId, now: Millis) -> Result<Arc<IdentitySigner>, KeyError> {
        if let Some(signer) = self.held_identity(tenant) {
            return Ok(signer);
        }
        let missing = || KeyError::Missing {
            tenant: tenant.to_string(),
            purpose: Purpose::IdentitySign.name(),
            kid: SINGLE.to_owned(),
        };
        if !self.knows(tenant.as_str()) {
            return Err(missing());
        }
        let _one_at_a_time = self.0.making.lock().await;
        // Another node, or whoever held the lock, may have made it.
        self.reload().await?;
        if self.held_identity(tenant).is_none() {
            let name = Name { tenant: tenant.to_string(), purpose: Purpose::IdentitySign, kid: SINGLE.to_owned() };
            self.make(&name, now).await?;
            self.reload().await?;
        }
        self.held_identity(tenant).ok_or_else(missing)
    }

    fn held_identity(&self, tenant: &TenantId) -> Option<Arc<IdentitySigner>> {
        match self.get(tenant.as_str(), Purpose::IdentitySign, SINGLE).ok()?.as_ref() {
            Material::Identity(signer) => Some(Arc::clone(signer)),
            _ => None,
        }
    }

    /// This tenant's JWK Set (RFC 7517): the public keys of access tokens and of ID tokens.
    ///
    /// # Errors
    /// As [`KeyRing::identity_signer`].
    pub async fn jwks(&self, tenant: &TenantId, now: Millis) -> Result<String, KeyError> {
        let identity = self.identity_signer(tenant, now).await?;
        let mut keys: Vec<_> = self.token_keys(tenant).iter().map(PublicKey::to_jwk).collect();
        keys.push(identity.to_jwk());
        Ok(serde_json::json!({ "keys": keys }).to_string())
    }
}

#[test]
fn an_id_token_key_is_published_as_it_signs() {
    let pkcs8 = IdentitySigner::generate().unwrap();
    let signer = IdentitySigner::read("1", &pkcs8).unwrap();
    let set = serde_json::json!({ "keys": [signer.to_jwk()] }).to_string();
    let keys = oauth::KeySet::parse(set.as_bytes()).unwrap();
    let key = keys.keys().first().unwrap();
    assert!(key.verify(oauth::Algorithm::Rs256, b"message", &signer.sign(b"message").unwrap()), "OI-04");
    assert!(!key.verify(oauth::Algorithm::Rs256, b"other", &signer.sign(b"message").unwrap()));
    assert!(!format!("{signer:?}").contains("BEGIN") && format!("{signer:?}").contains("[sealed]"));
}
