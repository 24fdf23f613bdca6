//! Verified access tokens: each signature is checked once, then remembered by the token's SHA-256. Liveness is never
//! remembered: the gate looks it up at every use.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use domain::{Millis, Session, TenantId};
use oauth::token::{Place, TokenKey, VerifiedToken};
use parking_lot::{Mutex, RwLock};

use crate::keys::{KeyRing, PublicKey};
use crate::settings::TenantSettings;

/// Parts of the cache, each with a lock of its own.
const SHARDS: usize = 64;
/// Tokens per part: 65,536 in all, about 1 KiB each.
const SHARD_MAX: usize = 1_024;
/// Longest bearer looked at.
const BEARER_BYTES_MAX: usize = oauth::jose::COMPACT_BYTES_MAX;

/// A bearer is no access token of this tenant. One cause for callers; operators find the request in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the access token is not valid here: malformed, expired, or issued for another place")]
pub struct TokenRefusal;

/// The issuer and audience of one tenant.
struct Home {
    issuer: String,
    audience: String,
}

/// Signing keys as bytes and parsed, so that a key is parsed once.
type Keys = (Vec<PublicKey>, Arc<[TokenKey]>);

/// The verifier with its cache.
pub struct VerifiedTokens {
    ring: KeyRing,
    homes: HashMap<TenantId, Home>,
    keys: RwLock<HashMap<TenantId, Keys>>,
    shards: Vec<Mutex<HashMap<[u8; 32], Arc<Session>>>>,
}

impl std::fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerifiedTokens([sealed])")
    }
}

impl VerifiedTokens {
    /// A verifier for `tenants`.
    #[must_use]
    pub fn new(tenants: &[TenantSettings], ring: KeyRing) -> Self {
        let home = |tenant: &TenantSettings| Home { issuer: tenant.issuer(), audience: tenant.fhir_base() };
        Self {
            ring,
            homes: tenants.iter().map(|tenant| (tenant.id.clone(), home(tenant))).collect(),
            keys: RwLock::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// What a bearer says, if its signature and claims hold at `now`. Whether its session lives is another question.
    ///
    /// # Errors
    /// [`TokenRefusal`].
    pub fn verify(&self, tenant: &TenantId, bearer: &str, now: Millis) -> Result<Arc<Session>, TokenRefusal> {
        if bearer.len() > BEARER_BYTES_MAX {
            return Err(TokenRefusal);
        }
        let hash: [u8; 32] =
            digest::digest(&digest::SHA256, bearer.as_bytes()).as_ref().try_into().map_err(|_| TokenRefusal)?;
        let shard = self.shards.get(usize::from(hash[0]) % SHARDS).ok_or(TokenRefusal)?;
        if let Some(session) = shard.lock().get(&hash).map(Arc::clone) {
            // A token of another tenant may be in the cache; here it is as foreign as before.
            let fits = session.tenant == *tenant && now < session.expires_at;
            return if fits { Ok(session) } else { Err(TokenRefusal) };
        }
        let session = Arc::new(self.open(tenant, bearer, now)?.session);
        let mut shard = shard.lock();
        if shard.len() >= SHARD_MAX {
            shard.retain(|_, session| now < session.expires_at);
            // Still full of living tokens: the one that ends first is verified again when it comes back.
            let first = shard.iter().min_by_key(|(_, session)| session.expires_at).map(|(hash, _)| *hash);
            if let Some(first) = first.filter(|_| shard.len() >= SHARD_MAX) {
                shard.remove(&first);
            }
        }
        shard.insert(hash, Arc::clone(&session));
        Ok(session)
    }

    /// Verifies without the cache, for those who need all claims.
    pub(super) fn open(&self, tenant: &TenantId, bearer: &str, now: Millis) -> Result<VerifiedToken, TokenRefusal> {
        let home = self.homes.get(tenant).ok_or(TokenRefusal)?;
        let place = Place { issuer: &home.issuer, audience: &home.audience, tenant };
        oauth::token::verify(bearer, &self.keys(tenant), &place, now).map_err(|why| {
            tracing::debug!(%tenant, %why, "an access token was refused");
            TokenRefusal
        })
    }

    fn keys(&self, tenant: &TenantId) -> Arc<[TokenKey]> {
        let current = self.ring.token_keys(tenant);
        if let Some((known, parsed)) = self.keys.read().get(tenant)
            && *known == current
        {
            return Arc::clone(parsed);
        }
        let parsed: Arc<[TokenKey]> =
            current.iter().filter_map(|key| TokenKey::new(&key.kid, &key.point).ok()).collect();
        self.keys.write().insert(tenant.clone(), (current, Arc::clone(&parsed)));
        parsed
    }
}
