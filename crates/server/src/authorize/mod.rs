//! The authorization server: who may start a session for which patient, and the tokens that carry it.
//!
//! Every answer that carries or refuses a token is `no-store`; every refusal after authentication is recorded, and one that
//! cannot be recorded is 503. The rules themselves are in `oauth` and `domain`; this folder brings them the world.

mod alarm;
mod b2b;
mod begin;
mod bind;
mod browser;
mod certificate;
mod client;
mod code;
mod consent;
pub(crate) mod cors;
mod documents;
mod ehr_launch;
mod expiry;
mod export;
mod grants;
mod handles;
mod http;
mod launch;
mod launched;
pub mod pages;
pub(crate) mod patients;
mod people;
mod probe;
mod question;
mod refresh;
mod register;
mod shown;
mod sign_in;
mod start;
mod token;
mod tokens;
mod trace;
mod waiting;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use domain::{Millis, Reason, Session, TenantId};
use oauth::discovery::{Endpoints, Offers};
use store::Store;

use self::alarm::Alarms;
use self::certificate::Authorities;
pub(crate) use self::certificate::canonical_name;
use self::client::Clients;
pub use self::expiry::{end_idle, end_idle_now};
pub(crate) use self::patients::PatientRule;
use self::probe::LookUps;
use self::sign_in::Tries;
pub use self::tokens::{TokenRefusal, VerifiedTokens};
use crate::audit::Audit;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::identity::{FhirUser, IdentityProvider};
use crate::keys::KeyRing;
use crate::proofs::Proofs;
use crate::registry::{Registry, Snapshot, Standing};
use crate::settings::{EhrSettings, PeopleSettings, SignIn, TenantSettings};
use crate::surrogates::SurrogateTable;

/// Label under which a session row's patient is sealed.
pub const SESSION_PATIENT: &str = "session.patient";
/// Label under which a ticket row's patient is sealed.
pub const TICKET_PATIENT: &str = "ticket.patient";
/// Label under which a ticket row's encounter is sealed.
pub const TICKET_ENCOUNTER: &str = "ticket.encounter";

/// The address a request came from, as a request extension; the listener puts it there.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The authorization server of every tenant; cheap to clone.
#[derive(Clone)]
pub struct Authorize(Arc<Service>);

/// What the handlers work with.
struct Service {
    tenants: HashMap<String, Tenant>,
    store: Store,
    registry: Registry,
    keys: KeyRing,
    audit: Audit,
    broker: Broker,
    clock: Clock,
    tokens: Arc<VerifiedTokens>,
    proofs: Arc<Proofs>,
    clients: Clients,
    look_ups: LookUps,
    alarms: Alarms,
    surrogates: SurrogateTable,
    tries: Tries,
}

/// One tenant as the authorization server sees it.
struct Tenant {
    id: TenantId,
    name: String,
    endpoints: Endpoints,
    token_endpoint: String,
    people: PeopleSettings,
    /// Where its people sign in, if that is an identity provider.
    provider: Option<IdentityProvider>,
    /// Whose patients a clinician may pick from.
    patient_rule: Option<PatientRule>,
    ehr: Option<EhrSettings>,
    /// Who vouches for the certificates of its clients.
    authorities: Option<Authorities>,
    /// The upstream's FHIR base, without a slash at its end.
    upstream: String,
    /// What its discovery documents may promise.
    offers: Offers,
}

impl Tenant {
    fn open(settings: &TenantSettings, broker: &Broker, clock: &Clock) -> Result<Self, OpenAuthorizeError> {
        let tenant = || settings.id.clone();
        let provider = match &settings.people.sign_in {
            SignIn::Oidc(oidc) => {
                let open = IdentityProvider::open(oidc, broker.outbound().clone(), clock.clone());
                let open = open.map_err(|why| OpenAuthorizeError::Identity { tenant: tenant(), why })?;
                Some(open.below(&settings.upstream.fhir))
            }
            SignIn::Nowhere | SignIn::Demo(_) => None,
        };
        let rule = settings.people.patients.as_deref().map(PatientRule::read).transpose();
        Ok(Self {
            id: tenant(),
            name: settings.name.clone(),
            endpoints: Endpoints { issuer: settings.issuer(), fhir_base: settings.fhir_base() },
            token_endpoint: settings.token_endpoint(),
            people: settings.people.clone(),
            provider,
            patient_rule: rule.map_err(|why| OpenAuthorizeError::Patients { tenant: tenant(), why })?,
            ehr: settings.ehr.clone(),
            authorities: settings.client_ca.clone().map(Authorities::new),
            upstream: settings.upstream.fhir.trim_end_matches('/').to_owned(),
            offers: settings.offers(),
        })
    }

    /// A person's resource as this tenant's clients read it.
    fn absolute(&self, user: &FhirUser) -> String {
        format!("{}/{user}", self.endpoints.fhir_base)
    }
}

/// The authorization server cannot be opened. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum OpenAuthorizeError {
    /// The identity provider's settings cannot be used.
    #[error("tenant `{tenant}`: identity provider: {why}")]
    Identity {
        /// Whose.
        tenant: TenantId,
        /// What is wrong.
        why: crate::identity::OpenIdentityError,
    },
    /// The rule for a clinician's patients cannot be used.
    #[error("tenant `{tenant}`: people.patients: {why}")]
    Patients {
        /// Whose.
        tenant: TenantId,
        /// What is wrong.
        why: String,
    },
}

impl Authorize {
    /// An authorization server for `tenants`.
    ///
    /// # Errors
    /// [`OpenAuthorizeError`] says which setting cannot be used.
    pub fn new(
        tenants: &[TenantSettings],
        store: Store,
        registry: Registry,
        keys: KeyRing,
        audit: Audit,
        broker: Broker,
        clock: Clock,
    ) -> Result<Self, OpenAuthorizeError> {
        let tokens = Arc::new(VerifiedTokens::new(tenants, keys.clone()));
        let tenants = tenants
            .iter()
            .map(|settings| Ok((settings.id.to_string(), Tenant::open(settings, &broker, &clock)?)))
            .collect::<Result<_, OpenAuthorizeError>>()?;
        let clients = Clients::new(broker.clone());
        let (look_ups, alarms) = (LookUps::default(), Alarms::default());
        let surrogates = SurrogateTable::new(store.clone(), keys.clone());
        let proofs = Arc::new(Proofs::new(audit.node()));
        let service = Service {
            tenants,
            store,
            registry,
            keys,
            audit,
            broker,
            clock,
            tokens,
            proofs,
            clients,
            look_ups,
            alarms,
            surrogates,
            tries: Tries::default(),
        };
        Ok(Self(Arc::new(service)))
    }

    /// The verifier of access tokens, for the gate.
    #[must_use]
    pub fn tokens(&self) -> Arc<VerifiedTokens> {
        Arc::clone(&self.0.tokens)
    }

    /// Nonces of this process and the proofs it has seen, for the gate.
    #[must_use]
    pub fn proofs(&self) -> Arc<Proofs> {
        Arc::clone(&self.0.proofs)
    }

    /// Everything below `/{tenant}/oauth`, the broker's public keys and the discovery documents.
    pub fn router(&self) -> Router {
        let public = |document| get(document).options(documents::preflight);
        Router::new()
            .route("/{tenant}/oauth/token", post(token::token))
            .route("/{tenant}/oauth/revoke", post(question::revoke))
            .route("/{tenant}/oauth/introspect", post(question::introspect))
            .route("/{tenant}/oauth/launch", post(launch::launch))
            .route("/{tenant}/oauth/par", post(begin::push))
            .route("/{tenant}/oauth/register", post(register::register))
            .route("/{tenant}/oauth/authorize", get(begin::authorize).post(begin::authorize))
            .route("/{tenant}/oauth/continue", get(consent::proceed))
            .route("/{tenant}/oauth/patient", post(consent::pick))
            .route("/{tenant}/oauth/consent", post(consent::decide))
            .route("/{tenant}/oauth/sign-in", post(sign_in::sign_in))
            .route("/{tenant}/oauth/sign-out", post(sign_in::sign_out))
            .route("/{tenant}/oauth/signed-out", get(sign_in::signed_out))
            .route("/{tenant}/oauth/back-channel-logout", post(sign_in::back_channel))
            .route("/{tenant}/oauth/callback/idp", get(sign_in::came_back))
            .route("/{tenant}/oauth/launch/{client}", get(ehr_launch::launch))
            .route("/{tenant}/oauth/callback/ehr", get(ehr_launch::came_back))
            .route("/{tenant}/oauth/grants", get(grants::show).post(grants::revoke))
            .layer(axum::middleware::map_response(http::no_store))
            .route("/{tenant}/oauth/jwks", get(documents::jwks).options(documents::preflight))
            .route("/{tenant}/oauth/style/{name}", get(documents::style).options(documents::preflight))
            .route("/{tenant}/broker/upstream/jwks", get(documents::broker_jwks).options(documents::preflight))
            .route("/{tenant}/broker/ehr/jwks", get(documents::ehr_jwks).options(documents::preflight))
            .route("/{tenant}/broker/identity/jwks", get(documents::identity_jwks).options(documents::preflight))
            .route(
                "/{tenant}/.well-known/openid-configuration",
                get(documents::openid_configuration).options(documents::preflight),
            )
            .route("/{tenant}/fhir/.well-known/smart-configuration", public(documents::smart_configuration))
            .route(
                "/.well-known/oauth-authorization-server/{tenant}",
                get(documents::authorization_server).options(documents::preflight),
            )
            .route(
                "/.well-known/oauth-protected-resource/{tenant}/fhir",
                get(documents::protected_resource).options(documents::preflight),
            )
            .with_state(Arc::clone(&self.0))
    }
}

impl Service {
    fn tenant(&self, id: &str) -> Option<&Tenant> {
        self.tenants.get(id)
    }

    /// Whether the session behind a verified token is alive now, and under what.
    fn standing(&self, snapshot: &Snapshot, session: &Session, now: Millis) -> Result<Standing, Reason> {
        if now >= session.expires_at || self.registry.session_ended(&session.id) {
            return Err(Reason::SessionEnded);
        }
        let standing = snapshot.standing(&session.approval, now)?;
        let fits = standing.integration.id == session.integration
            && standing.integration.epoch == session.epoch
            && standing.integration.tenant == session.tenant
            && standing.approval.task == session.task
            && standing.suits(&session.subject);
        standing.admits().map_err(|_| Reason::RoleRefused)?;
        if fits { Ok(standing) } else { Err(Reason::SessionEnded) }
    }
}
