//! One key of the ring: what it is for, how it is made, and what it becomes once unwrapped.

use std::sync::Arc;

use vault::{KEY_BYTES, KeyName, SealKey, TagKey};
use zeroize::Zeroizing;

use super::KeyError;
use super::identity::IdentitySigner;
use super::token::TokenSigner;
use crate::clock::random;

/// What a key does. One key never does two of these.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Purpose {
    TokenSign,
    SealRow,
    SealPage,
    RowTag,
    AuditSeal,
    AuditTag,
    LedgerSign,
    IdentitySign,
}

impl Purpose {
    const ALL: [Self; 8] = [
        Self::TokenSign,
        Self::SealRow,
        Self::SealPage,
        Self::RowTag,
        Self::AuditSeal,
        Self::AuditTag,
        Self::LedgerSign,
        Self::IdentitySign,
    ];

    /// As stored; part of the wrapping, so never renamed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TokenSign => "token-es256",
            Self::SealRow => "seal-row",
            Self::SealPage => "seal-page",
            Self::RowTag => "row-tag",
            Self::AuditSeal => "audit-seal",
            Self::AuditTag => "audit-tag",
            Self::LedgerSign => "ledger-ed25519",
            Self::IdentitySign => "identity-rs256",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

/// Which key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Name {
    pub(super) tenant: String,
    pub(super) purpose: Purpose,
    pub(super) kid: String,
}

impl Name {
    /// The id of the row: unique over all tenants and purposes.
    pub(super) fn stored_kid(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.purpose.name(), self.kid)
    }

    pub(super) fn from_row(tenant: String, purpose: Purpose, stored_kid: &str) -> Self {
        let kid = stored_kid.rsplit_once('/').map_or(stored_kid, |(_, kid)| kid).to_owned();
        Self { tenant, purpose, kid }
    }

    pub(super) fn as_key_name(&self) -> KeyName<'_> {
        KeyName { tenant: &self.tenant, purpose: self.purpose.name(), kid: &self.kid }
    }
}

/// A key ready for use.
pub(super) enum Material {
    Token(Arc<TokenSigner>),
    Identity(Arc<IdentitySigner>),
    Seal(SealKey),
    Tag(Box<TagKey>),
    Ledger(Zeroizing<[u8; KEY_BYTES]>),
}

/// New key bytes for a purpose, in the form [`Material::read`] takes.
pub(super) fn generate(purpose: Purpose) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match purpose {
        Purpose::TokenSign => TokenSigner::generate().map_err(|_| KeyError::Crypto),
        Purpose::IdentitySign => IdentitySigner::generate().map_err(|_| KeyError::Crypto),
        _ => {
            let secret = Zeroizing::new(random::<KEY_BYTES>().map_err(|_| KeyError::Crypto)?);
            Ok(Zeroizing::new(secret.to_vec()))
        }
    }
}

impl Material {
    pub(super) fn read(purpose: Purpose, kid: &str, secret: &[u8]) -> Result<Self, KeyError> {
        if purpose == Purpose::TokenSign {
            return Ok(Self::Token(Arc::new(TokenSigner::read(kid, secret).map_err(|_| KeyError::Crypto)?)));
        }
        if purpose == Purpose::IdentitySign {
            return Ok(Self::Identity(Arc::new(IdentitySigner::read(kid, secret).map_err(|_| KeyError::Crypto)?)));
        }
        let secret: &[u8; KEY_BYTES] = secret.try_into().map_err(|_| KeyError::Crypto)?;
        Ok(match purpose {
            Purpose::RowTag | Purpose::AuditTag => Self::Tag(Box::new(TagKey::new(secret))),
            Purpose::LedgerSign => Self::Ledger(Zeroizing::new(*secret)),
            _ => Self::Seal(SealKey::new(secret).map_err(|_| KeyError::Crypto)?),
        })
    }

    pub(super) fn seal_key(&self) -> Result<&SealKey, KeyError> {
        if let Self::Seal(key) = self { Ok(key) } else { Err(KeyError::Crypto) }
    }

    pub(super) fn tag_key(&self) -> Result<&TagKey, KeyError> {
        if let Self::Tag(key) = self { Ok(key) } else { Err(KeyError::Crypto) }
    }

    pub(super) fn ledger_key(&self) -> Result<ledger::SigningKey, KeyError> {
        let Self::Ledger(seed) = self else { return Err(KeyError::Crypto) };
        ledger::SigningKey::from_seed(seed).map_err(|_| KeyError::Crypto)
    }
}

/// The sealing key of one tenant's records in one month.
pub struct MonthKey {
    kid: String,
    key: Arc<Material>,
}

impl std::fmt::Debug for MonthKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MonthKey({}, [sealed])", self.kid)
    }
}

impl MonthKey {
    pub(super) fn new(kid: &str, key: Arc<Material>) -> Result<Self, KeyError> {
        key.seal_key()?;
        Ok(Self { kid: kid.to_owned(), key })
    }

    /// Its id, e.g. `202611`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Seals the PHI of one record; `aad` is the record's clear part.
    ///
    /// # Errors
    /// [`KeyError::Crypto`].
    pub fn seal(&self, nonce: &[u8; vault::NONCE_BYTES], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.seal_key()?.seal(nonce, aad, plain).map_err(|_| KeyError::Crypto)
    }

    /// Opens the PHI of one record.
    ///
    /// # Errors
    /// [`KeyError::Open`] when record or key is not the one sealed.
    pub fn open(
        &self,
        nonce: &[u8; vault::NONCE_BYTES],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(self.key.seal_key()?.open(nonce, aad, sealed)?)
    }
}
