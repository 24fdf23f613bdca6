//! Client authentication: one `private_key_jwt`, checked against the registration as it stands now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ClientAuth, Environment, Integration, IntegrationId, Keys, Millis};
use oauth::assertion::{Expected, REFUSAL};
use oauth::request::ClientProof;
use oauth::{ErrorCode, KeySet, VerifiedAssertion};
use parking_lot::RwLock;
use store::{StoreError, Thumbprint, UsedAssertion};

use super::http::Refused;
use super::{Service, Tenant};
use crate::broker::Broker;
use crate::registry::Snapshot;

/// Parsed key sets kept; as many as the largest installation has integrations (DESIGN, "Numbers").
const SETS_MAX: usize = 10_000;

/// Keys remembered as claimed; forgetting them costs one look into the store each.
const CLAIMED_MAX: usize = 40_000;

/// Why nobody was let in. The caller gets [`refused`] for all but the last.
#[derive(Debug)]
pub(super) enum NotAuthenticated {
    /// For the operator's log.
    Because(&'static str),
    /// The name is a client's of another tenant (S1-33). Whether it was that client is not known.
    OtherTenant(IntegrationId),
    /// The signature is right, but the key belongs to another integration or environment (S1-33, S2-15).
    ForeignKey(Box<Caller>),
    /// Whose key it is could not be found out.
    Store(StoreError),
}

impl From<&'static str> for NotAuthenticated {
    fn from(why: &'static str) -> Self {
        Self::Because(why)
    }
}

/// A client that proved itself; its assertion is still to be used up.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) integration: Arc<Integration>,
    pub(super) assertion: VerifiedAssertion,
}

impl Caller {
    /// What the store must never accept again.
    pub(super) fn used(&self) -> UsedAssertion {
        UsedAssertion {
            issuer: self.assertion.client.clone(),
            jti: self.assertion.jti.clone(),
            expires_at: self.assertion.forget_at,
        }
    }
}

/// The one refusal for every cause (PF-26).
pub(super) fn refused() -> Refused {
    Refused::new(ErrorCode::InvalidClient, REFUSAL)
}

type Parsed = (String, Arc<KeySet>);
type Claim = (IntegrationId, Environment, [u8; 32]);

/// Key sets of clients: parsed once, fetched by the broker.
pub(super) struct Clients {
    broker: Broker,
    parsed: RwLock<HashMap<IntegrationId, Parsed>>,
    /// Keys behind a `jwks_url` that the store has given to these integrations.
    claimed: RwLock<HashSet<Claim>>,
    /// Keys of nobody, for the work an unknown client costs.
    nobody: Option<KeySet>,
}

impl Clients {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, parsed: RwLock::default(), claimed: RwLock::default(), nobody: nobody() }
    }

    async fn keys(
        &self,
        id: &IntegrationId,
        auth: &ClientAuth,
        kid: &str,
        algorithm: oauth::Algorithm,
    ) -> Option<Arc<KeySet>> {
        match &auth.keys {
            Keys::Jwks(text) => self.inline(id, text),
            Keys::JwksUrl(url) => self.broker.client_keys().get(url, kid, algorithm).await,
            Keys::Absent => None,
        }
    }

    fn inline(&self, id: &IntegrationId, text: &str) -> Option<Arc<KeySet>> {
        if let Some((known, keys)) = self.parsed.read().get(id)
            && known == text
        {
            return Some(Arc::clone(keys));
        }
        let keys = Arc::new(KeySet::parse(text.as_bytes()).ok()?);
        let mut parsed = self.parsed.write();
        if parsed.len() >= SETS_MAX {
            parsed.clear();
        }
        parsed.insert(id.clone(), (text.to_owned(), Arc::clone(&keys)));
        Some(keys)
    }
}

fn nobody() -> Option<KeySet> {
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).ok()?;
    let (x, y) = key.public_key().as_ref().get(1..)?.split_at_checked(48)?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let set = serde_json::json!({"keys": [{"kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": "nobody"}]});
    KeySet::parse(set.to_string().as_bytes()).ok()
}

impl Service {
    /// Who sent this, if the proof holds. `Err` is what the operator sees; the caller gets [`refused`].
    pub(super) async fn authenticate(
        &self,
        tenant: &Tenant,
        snapshot: &Snapshot,
        proof: &ClientProof,
        now: Millis,
    ) -> Result<Caller, NotAuthenticated> {
        let assertion = oauth::assertion::read(proof.assertion.as_bytes()).map_err(|_| "assertion malformed")?;
        let named = assertion.client().parse::<IntegrationId>().ok().and_then(|id| snapshot.integration(&id));
        // A client of another tenant is nobody here (S1-33).
        let known = named.filter(|integration| integration.tenant == tenant.id && integration.usable(now));
        let Some(integration) = known.map(Arc::clone) else {
            if let Some(keys) = &self.clients.nobody {
                assertion.waste(keys);
            }
            let elsewhere = named.filter(|integration| integration.tenant != tenant.id);
            return Err(elsewhere.map_or(NotAuthenticated::Because("client unknown or switched off"), |integration| {
                NotAuthenticated::OtherTenant(integration.id.clone())
            }));
        };
        if proof.client_id.as_deref().is_some_and(|named| named != integration.id.as_str()) {
            return Err("client_id differs from the assertion".into());
        }
        let (endpoint, issuer) = (&tenant.token_endpoint, &tenant.endpoints.issuer);
        assertion.precheck(&integration.auth, endpoint, issuer, now).map_err(|_| "assertion refused")?;
        let keys = self
            .clients
            .keys(&integration.id, &integration.auth, assertion.kid(), assertion.algorithm())
            .await
            .ok_or("no key set")?;
        let expected = Expected {
            client: integration.id.as_str(),
            auth: &integration.auth,
            keys: &keys,
            token_endpoint: endpoint,
            issuer,
        };
        let assertion = assertion.verify(&expected, now).map_err(|_| "assertion refused")?;
        let caller = Caller { integration, assertion };
        match self.owns_key(&caller).await {
            Ok(true) => Ok(caller),
            Ok(false) => Err(NotAuthenticated::ForeignKey(Box::new(caller))),
            Err(why) => Err(NotAuthenticated::Store(why)),
        }
    }

    /// Whether the key is this integration's alone. Keys by value were claimed when they were registered; one behind a `jwks_url` is
    /// claimed by the first who proves to hold it, and remembered here, so that a request writes nothing for it a second time.
    async fn owns_key(&self, caller: &Caller) -> Result<bool, StoreError> {
        let Caller { integration, assertion } = caller;
        if matches!(integration.auth.keys, Keys::Jwks(_)) {
            return Ok(true);
        }
        let claim = (integration.id.clone(), integration.environment, assertion.thumbprint);
        if self.clients.claimed.read().contains(&claim) {
            return Ok(true);
        }
        let thumbprint = Thumbprint(URL_SAFE_NO_PAD.encode(assertion.thumbprint));
        if !self.store.claim_key(&thumbprint, integration).await? {
            return Ok(false);
        }
        let mut claimed = self.clients.claimed.write();
        if claimed.len() >= CLAIMED_MAX {
            claimed.clear();
        }
        claimed.insert(claim);
        Ok(true)
    }
}
