//! Keys of the process: made once, stored wrapped under the root key, used here alone.
//!
//! Signing, sealing and tagging keys are different keys. What is asked for by time (audit month and tag keys) is made ahead of
//! need, and [`KeyRing::ensure`] makes what is missing. Two nodes that make one key at once both end with the one the store kept.

mod identity;
mod material;
mod token;

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Millis, TenantId};
use parking_lot::RwLock;
use store::{Store, WrappedKey};
use vault::RootKey;

use crate::clock::random;
pub use identity::IdentitySigner;
pub use material::MonthKey;
use material::{Material, Name, Purpose};
pub use token::{PublicKey, SignTokenError, TokenSigner};

/// Tenant name of operator and boot events, and of the node's own keys.
pub const SYSTEM: &str = "_system";
/// A retired token key stays in the JWK Set for the longest life of a token it signed, plus as much again for clocks and caches.
const RETIRED_SHOWN_MS: i64 = 2 * 900_000;
/// Key id of purposes that have one key only.
const SINGLE: &str = "1";
/// Day length, to look into next month and next year.
const DAY_MS: i64 = 86_400_000;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No such key: an unknown tenant, or a month whose key was destroyed.
    #[error("no {purpose} key `{kid}` for `{tenant}`")]
    Missing {
        /// Whose.
        tenant: String,
        /// Which.
        purpose: &'static str,
        /// Which one.
        kid: String,
    },
    /// A stored key does not open: another root key, or changed bytes.
    #[error("the stored {purpose} key `{kid}` of `{tenant}` does not open with this root key")]
    Unwrap {
        /// Whose.
        tenant: String,
        /// Which.
        purpose: String,
        /// Which one.
        kid: String,
    },
    /// The crypto library or the random source refused.
    #[error("the crypto library refused")]
    Crypto,
    /// The sealed value does not open.
    #[error(transparent)]
    Open(#[from] vault::OpenError),
    /// The store failed.
    #[error("the key store failed: {0}")]
    Store(String),
}

/// All keys of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyRing([sealed])")
    }
}

struct Inner {
    root: RootKey,
    store: Store,
    tenants: Vec<String>,
    held: RwLock<Held>,
    making: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    /// Each tenant's keys, oldest first: what is looked for is nearly always among the newest.
    keys: HashMap<String, Vec<HeldKey>>,
    /// Token signers per tenant, newest last; `retired_at` where the key no longer signs.
    tokens: HashMap<String, Vec<HeldSigner>>,
}

/// A key by its purpose and id.
struct HeldKey {
    purpose: Purpose,
    kid: String,
    material: Arc<Material>,
}

impl Held {
    fn find(&self, tenant: &str, purpose: Purpose, kid: &str) -> Option<&Arc<Material>> {
        let keys = self.keys.get(tenant)?;
        keys.iter().rev().find(|key| key.purpose == purpose && key.kid == kid).map(|key| &key.material)
    }
}

/// A token signer, and when it stopped signing.
type HeldSigner = (Arc<TokenSigner>, Option<Millis>);

impl KeyRing {
    /// Opens the stored keys and makes what is missing for these tenants, `_system` and this month and the next.
    ///
    /// # Errors
    /// [`KeyError`] when a stored key does not open, or the store or the crypto library fails.
    pub async fn open(root: &RootKey, store: &Store, tenants: &[TenantId], now: Millis) -> Result<Self, KeyError> {
        let ring = Self::load(root, store, tenants, now).await?;
        ring.ensure(now).await?;
        Ok(ring)
    }

    /// Opens the stored keys; makes what is missing only where there are none at all. For a start that may yet be refused because
    /// the database is an old one: that must be left as it is. [`crate::audit::Audit::open`] makes the rest once it is not.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub async fn load(root: &RootKey, store: &Store, tenants: &[TenantId], now: Millis) -> Result<Self, KeyError> {
        let tenants = tenants.iter().map(ToString::to_string).chain([SYSTEM.to_owned()]).collect();
        let ring = Self(Arc::new(Inner {
            root: root.clone(),
            store: store.clone(),
            tenants,
            held: RwLock::default(),
            making: tokio::sync::Mutex::default(),
        }));
        ring.reload().await?;
        if ring.0.held.read().keys.is_empty() {
            ring.ensure(now).await?;
        }
        Ok(ring)
    }

    /// The database the keys are in.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Makes every key that `now` or the coming month needs and that is not there yet. Cheap when nothing is missing.
    ///
    /// # Errors
    /// [`KeyError`] when the store or the crypto library fails.
    pub async fn ensure(&self, now: Millis) -> Result<(), KeyError> {
        self.forget_retired(now);
        if self.missing(now).is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.0.making.lock().await;
        self.reload().await?;
        let missing = self.missing(now);
        if missing.is_empty() {
            return Ok(());
        }
        for name in missing {
            self.make(&name, now).await?;
        }
        self.reload().await
    }

    /// Drops token keys whose last token cannot live any more, so that the JWK Set does not grow.
    fn forget_retired(&self, now: Millis) {
        let gone = |retired: &Option<Millis>| retired.is_some_and(|at| now >= at.saturating_add(RETIRED_SHOWN_MS));
        if self.0.held.read().tokens.values().flatten().any(|(_, retired)| gone(retired)) {
            self.0.held.write().tokens.values_mut().for_each(|keys| keys.retain(|(_, retired)| !gone(retired)));
        }
    }

    fn missing(&self, now: Millis) -> Vec<Name> {
        let held = self.0.held.read();
        let (month, next) = (month_of(now), month_of(first_of_next_month(now)));
        let mut missing = Vec::new();
        let mut want = |tenant: &str, purpose, kid: String| {
            if held.find(tenant, purpose, &kid).is_none() {
                missing.push(Name { tenant: tenant.to_owned(), purpose, kid });
            }
        };
        for tenant in &self.0.tenants {
            for purpose in [Purpose::SealRow, Purpose::SealPage, Purpose::RowTag] {
                want(tenant, purpose, SINGLE.to_owned());
            }
            for month in [month, next] {
                want(tenant, Purpose::AuditSeal, month.to_string());
                want(tenant, Purpose::AuditTag, (month / 100).to_string());
            }
        }
        want(SYSTEM, Purpose::LedgerSign, SINGLE.to_owned());
        for tenant in self.0.tenants.iter().filter(|tenant| *tenant != SYSTEM) {
            let signs = held.tokens.get(tenant).is_some_and(|keys| keys.iter().any(|(_, retired)| retired.is_none()));
            if !signs {
                missing.push(token_name(tenant, now));
            }
        }
        missing.dedup();
        missing
    }

    /// Makes one key and stores it wrapped.
    async fn make(&self, name: &Name, now: Millis) -> Result<(), KeyError> {
        let secret = material::generate(name.purpose)?;
        let nonce = random().map_err(|_| KeyError::Crypto)?;
        let wrapped = self.0.root.wrap(&nonce, &name.as_key_name(), &secret).map_err(|_| KeyError::Crypto)?;
        let row = WrappedKey {
            tenant: name.tenant.clone(),
            purpose: name.purpose.name().to_owned(),
            kid: name.stored_kid(),
            created_at: now,
            retired_at: None,
            wrapped,
        };
        // `false` means that another node was first: its key counts, and the reload that follows brings it.
        self.0.store.insert_key(&row).await.map_err(|why| KeyError::Store(why.to_string()))?;
        Ok(())
    }

    /// Reads all keys from the store and opens those not held yet. Other nodes' new keys arrive this way.
    ///
    /// # Errors
    /// [`KeyError`] when a stored key does not open or the store fails.
    pub async fn reload(&self) -> Result<(), KeyError> {
        let mut rows = self.0.store.keys().await.map_err(|why| KeyError::Store(why.to_string()))?;
        rows.sort_by(|a, b| (a.created_at, &a.kid).cmp(&(b.created_at, &b.kid)));
        let mut fresh = Held::default();
        for row in rows {
            let Some(purpose) = Purpose::from_name(&row.purpose) else { continue };
            let name = Name::from_row(row.tenant, purpose, &row.kid);
            let known = self.0.held.read().find(&name.tenant, purpose, &name.kid).cloned();
            let material = match known {
                Some(material) => material,
                None => Arc::new(self.unwrap(&name, &row.wrapped)?),
            };
            if let Material::Token(signer) = material.as_ref() {
                fresh.tokens.entry(name.tenant.clone()).or_default().push((signer.clone(), row.retired_at));
            }
            // Of two by one name the older counts.
            if fresh.find(&name.tenant, purpose, &name.kid).is_none() {
                let Name { tenant, purpose, kid } = name;
                fresh.keys.entry(tenant).or_default().push(HeldKey { purpose, kid, material });
            }
        }
        *self.0.held.write() = fresh;
        Ok(())
    }

    fn unwrap(&self, name: &Name, wrapped: &[u8]) -> Result<Material, KeyError> {
        let failed = || KeyError::Unwrap {
            tenant: name.tenant.clone(),
            purpose: name.purpose.name().to_owned(),
            kid: name.kid.clone(),
        };
        let secret = self.0.root.unwrap(&name.as_key_name(), wrapped).map_err(|_| failed())?;
        Material::read(name.purpose, &name.kid, &secret).map_err(|_| failed())
    }

    fn get(&self, tenant: &str, purpose: Purpose, kid: &str) -> Result<Arc<Material>, KeyError> {
        let found = self.0.held.read().find(tenant, purpose, kid).cloned();
        found.ok_or_else(|| KeyError::Missing {
            tenant: tenant.to_owned(),
            purpose: purpose.name(),
            kid: kid.to_owned(),
        })
    }

    /// Whether this tenant (or `_system`) has keys here.
    #[must_use]
    pub fn knows(&self, tenant: &str) -> bool {
        self.0.tenants.iter().any(|known| known == tenant)
    }

    /// The key that signs this tenant's access tokens now.
    #[must_use]
    pub fn token_signer(&self, tenant: &TenantId) -> Option<Arc<TokenSigner>> {
        let held = self.0.held.read();
        let keys = held.tokens.get(tenant.as_str())?;
        keys.iter().rev().find(|(_, retired)| retired.is_none()).map(|(signer, _)| signer.clone())
    }

    /// The keys this tenant's access tokens may be verified with: the signing one and those retired a short while ago.
    #[must_use]
    pub fn token_keys(&self, tenant: &TenantId) -> Vec<PublicKey> {
        let held = self.0.held.read();
        let keys = held.tokens.get(tenant.as_str()).map(Vec::as_slice).unwrap_or_default();
        keys.iter().map(|(signer, _)| signer.public().clone()).collect()
    }

    /// Makes a new token key for a tenant and retires the others: they verify until no token of theirs can live.
    ///
    /// # Errors
    /// [`KeyError`] when the store or the crypto library fails.
    pub async fn rotate_token_key(&self, tenant: &TenantId, now: Millis) -> Result<String, KeyError> {
        let _one_at_a_time = self.0.making.lock().await;
        self.reload().await?;
        let old: Vec<String> = {
            let held = self.0.held.read();
            let keys = held.tokens.get(tenant.as_str()).map(Vec::as_slice).unwrap_or_default();
            keys.iter().filter(|(_, retired)| retired.is_none()).map(|(key, _)| key.kid().to_owned()).collect()
        };
        let mut name = token_name(tenant.as_str(), now);
        // Two rotations in one millisecond, here or on another node, are two keys.
        let [a, b, c, d]: [u8; 4] = random().map_err(|_| KeyError::Crypto)?;
        name.kid.push_str(&format!("-{a:02x}{b:02x}{c:02x}{d:02x}"));
        self.make(&name, now).await?;
        for kid in old.iter().filter(|kid| **kid != name.kid) {
            let old = Name { kid: kid.clone(), ..name.clone() };
            self.0.store.retire_key(&old.stored_kid(), now).await.map_err(|why| KeyError::Store(why.to_string()))?;
        }
        self.reload().await?;
        Ok(name.kid)
    }

    /// Seals a value for a database row; `label` says which column, so that a value cannot stand in another's place.
    ///
    /// # Errors
    /// [`KeyError`] for an unknown tenant or a failed random source.
    pub fn seal_row(&self, tenant: &str, label: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.seal(tenant, Purpose::SealRow, label, plain)
    }

    /// Opens what [`KeyRing::seal_row`] sealed.
    ///
    /// # Errors
    /// [`KeyError::Open`] when it is not this tenant's and label's value.
    pub fn open_row(&self, tenant: &str, label: &str, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = self.get(tenant, Purpose::SealRow, SINGLE)?;
        Ok(key.seal_key()?.open_whole(label.as_bytes(), sealed)?.to_vec())
    }

    fn seal(&self, tenant: &str, purpose: Purpose, label: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = self.get(tenant, purpose, SINGLE)?;
        let nonce = random().map_err(|_| KeyError::Crypto)?;
        key.seal_key()?.seal_whole(&nonce, label.as_bytes(), plain).map_err(|_| KeyError::Crypto)
    }

    /// Seals a page cursor into a token for a link.
    ///
    /// # Errors
    /// [`KeyError`] for an unknown tenant or a failed random source.
    pub fn seal_page(&self, tenant: &TenantId, cursor: &[u8]) -> Result<String, KeyError> {
        use base64::Engine as _;
        let sealed = self.seal(tenant.as_str(), Purpose::SealPage, "page/v1", cursor)?;
        Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a page token; `None` for anything this tenant did not seal.
    #[must_use]
    pub fn open_page(&self, tenant: &TenantId, token: &str) -> Option<Vec<u8>> {
        use base64::Engine as _;
        let sealed = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).ok()?;
        let key = self.get(tenant.as_str(), Purpose::SealPage, SINGLE).ok()?;
        Some(key.seal_key().ok()?.open_whole(b"page/v1", &sealed).ok()?.to_vec())
    }

    /// A tag of a patient that stays the same over years, for look-up in the database.
    ///
    /// # Errors
    /// [`KeyError::Missing`] for an unknown tenant.
    pub fn row_tag(&self, tenant: &str, patient: &str) -> Result<[u8; 16], KeyError> {
        Ok(self.get(tenant, Purpose::RowTag, SINGLE)?.tag_key()?.tag(format!("Patient|{patient}").as_bytes()))
    }

    /// A tag of a person who signs in, for look-up in the database and as their pairwise `sub`. No patient's tag is ever equal to one.
    ///
    /// # Errors
    /// [`KeyError::Missing`] for an unknown tenant.
    pub fn person_tag(&self, tenant: &str, issuer: &str, subject: &str) -> Result<[u8; 16], KeyError> {
        let text = format!("Person|{}|{issuer}|{subject}", issuer.len());
        Ok(self.get(tenant, Purpose::RowTag, SINGLE)?.tag_key()?.tag(text.as_bytes()))
    }

    /// A tag of what a surrogate stands for, for look-up in the database. No patient's tag is ever equal to one.
    ///
    /// # Errors
    /// [`KeyError::Missing`] for an unknown tenant.
    pub fn original_tag(&self, tenant: &str, original: &str) -> Result<[u8; 16], KeyError> {
        Ok(self.get(tenant, Purpose::RowTag, SINGLE)?.tag_key()?.tag(format!("Original|{original}").as_bytes()))
    }

    /// The ledger tag of a patient in the year of `now`.
    ///
    /// # Errors
    /// [`KeyError::Missing`] for an unknown tenant, or a year whose key is not made or was destroyed.
    pub fn patient_tag(&self, tenant: &str, upstream: &str, id: &str, now: Millis) -> Result<[u8; 16], KeyError> {
        let key = self.get(tenant, Purpose::AuditTag, &(month_of(now) / 100).to_string())?;
        Ok(key.tag_key()?.tag(patient_text(upstream, id).as_bytes()))
    }

    /// The ledger tags of a patient in every year this tenant holds a key for.
    #[must_use]
    pub fn patient_tags(&self, tenant: &str, upstream: &str, id: &str) -> Vec<[u8; 16]> {
        let held = self.0.held.read();
        let keys = held.keys.get(tenant).into_iter().flatten().filter(|key| key.purpose == Purpose::AuditTag);
        let text = patient_text(upstream, id);
        keys.filter_map(|key| Some(key.material.tag_key().ok()?.tag(text.as_bytes()))).collect()
    }

    /// Whether [`KeyRing::audit_key`] has one.
    #[must_use]
    pub fn has_audit_key(&self, tenant: &str, now: Millis) -> bool {
        self.0.held.read().find(tenant, Purpose::AuditSeal, &month_of(now).to_string()).is_some()
    }

    /// The key that seals this tenant's records of the month of `now`.
    ///
    /// # Errors
    /// [`KeyError::Missing`] when it is not made yet ([`KeyRing::ensure`]) or the tenant is unknown.
    pub fn audit_key(&self, tenant: &str, now: Millis) -> Result<MonthKey, KeyError> {
        self.audit_key_named(tenant, &month_of(now).to_string())
    }

    /// The key named in a record (`202611`); `Missing` once its month is shredded.
    ///
    /// # Errors
    /// [`KeyError::Missing`].
    pub fn audit_key_named(&self, tenant: &str, kid: &str) -> Result<MonthKey, KeyError> {
        let key = self.get(tenant, Purpose::AuditSeal, kid)?;
        MonthKey::new(kid, key)
    }

    /// The Ed25519 key that signs commits and checkpoints of this installation's logs.
    ///
    /// # Errors
    /// [`KeyError::Missing`] never after [`KeyRing::open`].
    pub fn ledger_signer(&self) -> Result<ledger::SigningKey, KeyError> {
        self.get(SYSTEM, Purpose::LedgerSign, SINGLE)?.ledger_key()
    }

    /// Its public part: what `verify` needs.
    ///
    /// # Errors
    /// [`KeyError::Missing`] never after [`KeyRing::open`].
    pub fn ledger_public(&self) -> Result<ledger::VerifyingKey, KeyError> {
        self.ledger_signer().map(|signer| ledger::Signer::verifying_key(&signer))
    }
}

/// Token key ids carry their birth, so that people can read their age; an ES256 thumbprint would not tell.
fn token_name(tenant: &str, now: Millis) -> Name {
    Name { tenant: tenant.to_owned(), purpose: Purpose::TokenSign, kid: format!("{tenant}-{now:x}") }
}

fn patient_text(upstream: &str, id: &str) -> String {
    format!("Patient|{upstream}|{id}")
}

fn at(now: Millis) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(now.div_euclid(1000)).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

/// `202611` of a time.
pub(crate) fn month_of(now: Millis) -> i32 {
    let at = at(now);
    at.year() * 100 + i32::from(u8::from(at.month()))
}

fn first_of_next_month(now: Millis) -> Millis {
    let mut later = now;
    // At most 31 steps: no month is longer.
    for _ in 0..31 {
        later += DAY_MS;
        if month_of(later) != month_of(now) {
            break;
        }
    }
    later
}

#[cfg(test)]
mod tests;
