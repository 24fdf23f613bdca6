//! Client authentication: one `private_key_jwt`, checked against the registration as it stands now.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ClientAuth, Integration, IntegrationId, Keys, Millis};
use oauth::assertion::{Expected, REFUSAL};
use oauth::request::ClientProof;
use oauth::{ErrorCode, KeySet, VerifiedAssertion};
use parking_lot::RwLock;
use store::UsedAssertion;

use super::http::Refused;
use super::{Service, Tenant};
use crate::broker::Broker;
use crate::registry::Snapshot;

/// Parsed key sets kept; as many as the largest installation has integrations (DESIGN, "Numbers").
const SETS_MAX: usize = 10_000;

/// A client that proved itself; its assertion is still to be used up.
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

/// Key sets of clients: parsed once, fetched by the broker.
pub(super) struct Clients {
    broker: Broker,
    parsed: RwLock<HashMap<IntegrationId, Parsed>>,
    /// Keys of nobody, for the work an unknown client costs.
    nobody: Option<KeySet>,
}

impl Clients {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker, parsed: RwLock::default(), nobody: nobody() }
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
    ) -> Result<Caller, &'static str> {
        let assertion = oauth::assertion::read(proof.assertion.as_bytes()).map_err(|_| "assertion malformed")?;
        let known = assertion
            .client()
            .parse::<IntegrationId>()
            .ok()
            .and_then(|id| snapshot.integration(&id))
            // A client of another tenant is nobody here (S1-33).
            .filter(|integration| integration.tenant == tenant.id && integration.usable(now));
        let Some(integration) = known.map(Arc::clone) else {
            if let Some(keys) = &self.clients.nobody {
                assertion.waste(keys);
            }
            return Err("client unknown or switched off");
        };
        if proof.client_id.as_deref().is_some_and(|named| named != integration.id.as_str()) {
            return Err("client_id differs from the assertion");
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
        Ok(Caller { integration, assertion })
    }
}
