//! Client authentication: what a request offers, judged against the one method of its registration as it stands now (S1-30, S2-08).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{AuthMethod, ClientAuth, Environment, Integration, IntegrationId, Keys, Millis};
use oauth::assertion::{Expected, REFUSAL};
use oauth::request::ClientProof;
use oauth::{ErrorCode, KeySet, VerifiedAssertion};
use parking_lot::RwLock;
use serde_json::{Map, Value};
use store::{StoreError, Thumbprint, UsedAssertion};
use subtle::{Choice, ConstantTimeEq as _};

use super::certificate;
use super::http::{Challenge, Refused};
use super::{Service, Tenant};
use crate::broker::Broker;
use crate::clock::random;
use crate::listen::ClientCertificate;
use crate::registry::Snapshot;

/// Parsed key sets kept; as many as the largest installation has integrations (DESIGN, "Numbers").
const SETS_MAX: usize = 10_000;

/// How long the name of an authentication without an assertion is kept: longer than any request takes.
const NAME_MILLIS: Millis = 60_000;

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
    /// The secret is right, but its time as an exception is over (S2-14).
    SecretExpired(IntegrationId),
    /// Something of ours failed.
    Failed(&'static str),
}

impl From<&'static str> for NotAuthenticated {
    fn from(why: &'static str) -> Self {
        Self::Because(why)
    }
}

/// By what a client proved itself.
enum Proved {
    /// By an assertion, which is still to be used up.
    Assertion(VerifiedAssertion),
    /// By what can be shown again and again: a secret, a certificate, or nothing but its name. The fresh name stands where an assertion's
    /// would, so that every request has one in store and ledger.
    Again(UsedAssertion),
}

/// A client that proved itself.
pub(super) struct Caller {
    pub(super) integration: Arc<Integration>,
    proof: Proved,
    certificate: Option<[u8; 32]>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("integration", &self.integration.id).finish_non_exhaustive()
    }
}

impl Caller {
    /// The name of this one authentication, for records.
    pub(super) fn jti(&self) -> &str {
        match &self.proof {
            Proved::Assertion(assertion) => &assertion.jti,
            Proved::Again(used) => &used.jti,
        }
    }

    /// What the store must never accept again.
    pub(super) fn used(&self) -> UsedAssertion {
        match &self.proof {
            Proved::Assertion(assertion) => UsedAssertion {
                issuer: assertion.client.clone(),
                jti: assertion.jti.clone(),
                expires_at: assertion.forget_at,
            },
            Proved::Again(used) => used.clone(),
        }
    }

    /// `x5t#S256` of the certificate on this connection, whatever the client authenticated by (RFC 8705 §3.1).
    pub(super) fn certificate(&self) -> Option<[u8; 32]> {
        self.certificate
    }

    /// The claims of its assertion, if it sent one; what they say beyond the client's name is its own word.
    pub(super) fn assertion_claims(&self) -> Option<&Map<String, Value>> {
        match &self.proof {
            Proved::Assertion(assertion) => Some(&assertion.claims),
            Proved::Again(_) => None,
        }
    }
}

/// The one refusal for every cause (PF-26).
pub(super) fn refused() -> Refused {
    Refused::new(ErrorCode::InvalidClient, REFUSAL)
}

/// [`refused`], with the challenge of the scheme that was tried (RFC 6749 §5.2, NEG-070).
pub(super) fn refused_by(proof: &ClientProof) -> Refused {
    let challenge = if proof.by_basic() { Challenge::Basic } else { Challenge::Bearer };
    Refused { challenge, ..refused() }
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

    /// Those of a client whose certificate speaks for it.
    async fn keys_of(
        &self,
        integration: &Integration,
        certificate: &ClientCertificate,
        now: Millis,
    ) -> Option<Arc<KeySet>> {
        match &integration.auth.keys {
            Keys::Jwks(text) => self.inline(&integration.id, text),
            Keys::JwksUrl(url) => {
                let wanted = |keys: &KeySet| certificate::key_among(certificate, keys, now).is_some();
                self.broker.client_keys().having(url, &wanted).await
            }
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
    /// Who sent this, if the proof holds by the one method that is registered for it. `Err` is what the operator sees; the caller gets
    /// [`refused_by`].
    pub(super) async fn authenticate(
        &self,
        tenant: &Tenant,
        snapshot: &Snapshot,
        proof: &ClientProof,
        certificate: Option<&ClientCertificate>,
        now: Millis,
    ) -> Result<Caller, NotAuthenticated> {
        match proof {
            ClientProof::Assertion { client_id, assertion } => {
                self.by_assertion(tenant, snapshot, client_id.as_deref(), assertion, certificate, now).await
            }
            ClientProof::Secret { client_id, sha256 } => {
                by_secret(tenant, snapshot, client_id, sha256, certificate, now)
            }
            ClientProof::Named { client_id } => self.by_name(tenant, snapshot, client_id, certificate, now).await,
        }
    }

    async fn by_assertion(
        &self,
        tenant: &Tenant,
        snapshot: &Snapshot,
        client_id: Option<&str>,
        assertion: &str,
        certificate: Option<&ClientCertificate>,
        now: Millis,
    ) -> Result<Caller, NotAuthenticated> {
        let assertion = oauth::assertion::read(assertion.as_bytes()).map_err(|_| "assertion malformed")?;
        let known = registered(tenant, snapshot, assertion.client(), now).and_then(|integration| {
            let fits = integration.auth.method == AuthMethod::PrivateKeyJwt;
            if fits { Ok(integration) } else { Err("an assertion is not its method".into()) }
        });
        let integration = match known {
            Ok(integration) => integration,
            Err(why) => {
                if let Some(keys) = &self.clients.nobody {
                    assertion.waste(keys);
                }
                return Err(why);
            }
        };
        if client_id.is_some_and(|named| named != integration.id.as_str()) {
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
        let thumbprint = assertion.thumbprint;
        let certificate = certificate.map(|certificate| certificate.sha256);
        self.owned(Caller { integration, proof: Proved::Assertion(assertion), certificate }, thumbprint).await
    }

    /// A name alone: its certificate speaks for it, or it is a public client. The certificate's chain is built whoever is named, so that
    /// a name that is nobody's costs the same.
    async fn by_name(
        &self,
        tenant: &Tenant,
        snapshot: &Snapshot,
        client_id: &str,
        certificate: Option<&ClientCertificate>,
        now: Millis,
    ) -> Result<Caller, NotAuthenticated> {
        let vouched = match (&tenant.authorities, certificate) {
            (Some(authorities), Some(certificate)) => authorities.vouch_for(certificate, now),
            _ => false,
        };
        let integration = registered(tenant, snapshot, client_id, now)?;
        let caller = again(Arc::clone(&integration), certificate, now)?;
        match (&integration.auth.method, certificate) {
            (AuthMethod::None, _) => Ok(caller),
            (AuthMethod::TlsClientAuth(subject), Some(certificate)) => {
                if !vouched {
                    return Err("no authority of the tenant vouches for the certificate".into());
                }
                if !certificate::names(certificate, subject) {
                    return Err("the certificate names somebody else".into());
                }
                Ok(caller)
            }
            (AuthMethod::SelfSignedTlsClientAuth, Some(presented)) => {
                let keys = self.clients.keys_of(&integration, presented, now).await.ok_or("no key set")?;
                let key =
                    certificate::key_among(presented, &keys, now).ok_or("not the certificate of one registered key")?;
                self.owned(caller, key.thumbprint()).await
            }
            (AuthMethod::TlsClientAuth(_) | AuthMethod::SelfSignedTlsClientAuth, None) => Err("no certificate".into()),
            (AuthMethod::PrivateKeyJwt | AuthMethod::ClientSecretBasic(_), _) => Err("no proof but a name".into()),
        }
    }

    /// The caller, if the key it used is this integration's alone.
    async fn owned(&self, caller: Caller, thumbprint: [u8; 32]) -> Result<Caller, NotAuthenticated> {
        match self.owns_key(&caller.integration, thumbprint).await {
            Ok(true) => Ok(caller),
            Ok(false) => Err(NotAuthenticated::ForeignKey(Box::new(caller))),
            Err(why) => Err(NotAuthenticated::Store(why)),
        }
    }

    /// Whether the key is this integration's alone. Keys by value were claimed when they were registered; one behind a `jwks_url` is
    /// claimed by the first who proves to hold it, and remembered here, so that a request writes nothing for it a second time.
    async fn owns_key(&self, integration: &Integration, thumbprint: [u8; 32]) -> Result<bool, StoreError> {
        if matches!(integration.auth.keys, Keys::Jwks(_)) {
            return Ok(true);
        }
        let claim = (integration.id.clone(), integration.environment, thumbprint);
        if self.clients.claimed.read().contains(&claim) {
            return Ok(true);
        }
        let thumbprint = Thumbprint(URL_SAFE_NO_PAD.encode(thumbprint));
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

/// The registration behind a name, if it may be used here and now.
fn registered(
    tenant: &Tenant,
    snapshot: &Snapshot,
    name: &str,
    now: Millis,
) -> Result<Arc<Integration>, NotAuthenticated> {
    let named = name.parse::<IntegrationId>().ok().and_then(|id| snapshot.integration(&id)).ok_or("client unknown")?;
    if named.tenant != tenant.id {
        // A client of another tenant is nobody here (S1-33).
        return Err(NotAuthenticated::OtherTenant(named.id.clone()));
    }
    if !named.usable(now) {
        return Err("client switched off".into());
    }
    Ok(Arc::clone(named))
}

/// A secret by HTTP Basic, for the few that are registered with one until a date (S2-08, S2-14).
fn by_secret(
    tenant: &Tenant,
    snapshot: &Snapshot,
    client_id: &str,
    sha256: &[[u8; 32]],
    certificate: Option<&ClientCertificate>,
    now: Millis,
) -> Result<Caller, NotAuthenticated> {
    let known = registered(tenant, snapshot, client_id, now);
    let registered = known.as_ref().ok().and_then(|integration| match &integration.auth.method {
        AuthMethod::ClientSecretBasic(secret) => crate::hex::read(&secret.sha256),
        _ => None,
    });
    // Whoever has no secret is compared with one that nobody knows, in the same time.
    let expected = registered.unwrap_or([0; 32]);
    let same = sha256.iter().fold(Choice::from(0), |same, given| same | given.ct_eq(&expected));
    let integration = known?;
    let AuthMethod::ClientSecretBasic(secret) = &integration.auth.method else {
        return Err("a secret is not its method".into());
    };
    if registered.is_none() || !bool::from(same) {
        return Err("wrong secret".into());
    }
    if now >= secret.until {
        return Err(NotAuthenticated::SecretExpired(integration.id.clone()));
    }
    again(integration, certificate, now)
}

/// A caller whose proof can be shown again: it gets a fresh name that is kept as long as an assertion's.
fn again(
    integration: Arc<Integration>,
    certificate: Option<&ClientCertificate>,
    now: Millis,
) -> Result<Caller, NotAuthenticated> {
    let name: [u8; 16] = random().map_err(|_| NotAuthenticated::Failed("the random source failed"))?;
    let used = UsedAssertion {
        issuer: integration.id.to_string(),
        jti: format!("once {}", URL_SAFE_NO_PAD.encode(name)),
        expires_at: now.saturating_add(NAME_MILLIS),
    };
    let certificate = certificate.map(|certificate| certificate.sha256);
    Ok(Caller { integration, proof: Proved::Again(used), certificate })
}
