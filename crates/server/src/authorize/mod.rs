//! The authorization server: who may start a session for which patient, and the tokens that carry it.
//!
//! Every answer that carries or refuses a token is `no-store`; every refusal after authentication is recorded, and one that
//! cannot be recorded is 503. The rules themselves are in `oauth` and `domain`; this folder brings them the world.

mod alarm;
mod bind;
mod certificate;
mod client;
mod documents;
mod export;
mod http;
mod launch;
mod probe;
mod question;
mod shown;
mod token;
mod tokens;
mod trace;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use domain::{Millis, Reason, Session, TenantId};
use oauth::discovery::Endpoints;
use store::Store;

use self::alarm::Alarms;
use self::certificate::Authorities;
pub(crate) use self::certificate::canonical_name;
use self::client::Clients;
use self::probe::LookUps;
pub use self::tokens::{TokenRefusal, VerifiedTokens};
use crate::audit::Audit;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::keys::KeyRing;
use crate::registry::{Registry, Snapshot, Standing};
use crate::settings::TenantSettings;
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
    clients: Clients,
    look_ups: LookUps,
    alarms: Alarms,
    surrogates: SurrogateTable,
}

/// One tenant as the authorization server sees it.
struct Tenant {
    id: TenantId,
    name: String,
    endpoints: Endpoints,
    token_endpoint: String,
    /// Who vouches for the certificates of its clients.
    authorities: Option<Authorities>,
}

impl Authorize {
    /// An authorization server for `tenants`.
    #[must_use]
    pub fn new(
        tenants: &[TenantSettings],
        store: Store,
        registry: Registry,
        keys: KeyRing,
        audit: Audit,
        broker: Broker,
        clock: Clock,
    ) -> Self {
        let tokens = Arc::new(VerifiedTokens::new(tenants, keys.clone()));
        let tenants = tenants
            .iter()
            .map(|settings| {
                let endpoints = Endpoints { issuer: settings.issuer(), fhir_base: settings.fhir_base() };
                let tenant = Tenant {
                    id: settings.id.clone(),
                    name: settings.name.clone(),
                    token_endpoint: settings.token_endpoint(),
                    authorities: settings.client_ca.clone().map(Authorities::new),
                    endpoints,
                };
                (settings.id.to_string(), tenant)
            })
            .collect();
        let clients = Clients::new(broker.clone());
        let (look_ups, alarms) = (LookUps::default(), Alarms::default());
        let surrogates = SurrogateTable::new(store.clone(), keys.clone());
        let service = Service {
            tenants,
            store,
            registry,
            keys,
            audit,
            broker,
            clock,
            tokens,
            clients,
            look_ups,
            alarms,
            surrogates,
        };
        Self(Arc::new(service))
    }

    /// The verifier of access tokens, for the gate.
    #[must_use]
    pub fn tokens(&self) -> Arc<VerifiedTokens> {
        Arc::clone(&self.0.tokens)
    }

    /// Everything below `/{tenant}/oauth`, the broker's public keys and the discovery documents.
    pub fn router(&self) -> Router {
        let public = |document| get(document).options(documents::preflight);
        Router::new()
            .route("/{tenant}/oauth/token", post(token::token))
            .route("/{tenant}/oauth/revoke", post(question::revoke))
            .route("/{tenant}/oauth/introspect", post(question::introspect))
            .route("/{tenant}/oauth/launch", post(launch::launch))
            .layer(axum::middleware::map_response(http::no_store))
            .route("/{tenant}/oauth/jwks", get(documents::jwks).options(documents::preflight))
            .route("/{tenant}/broker/upstream/jwks", get(documents::broker_jwks).options(documents::preflight))
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
