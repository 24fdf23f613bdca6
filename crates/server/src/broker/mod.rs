//! The broker: the only part that holds upstream credentials and the only way a request leaves for an upstream.
//!
//! `send` takes a `Permit` and gives an `Answered`: there is no other way to call an upstream's FHIR API on someone's behalf.
//! Credentials never leave this folder; what holds one prints `[sealed]`.

mod backend;
mod check;
mod client_keys;
mod ehr;
mod ends;
mod export;
mod granted;
mod grants;
mod key_file;
mod list;
mod signer;
mod upstream;

use std::collections::HashMap;
use std::sync::Arc;

use domain::TenantId;
use policy::{Answered, Authority, Permit, UpstreamAnswer, UpstreamCall, WritePermit};

pub use self::check::{CheckReport, FilterProof, FilterVerdict, IfMatch, Page};
pub use self::client_keys::ClientKeys;
pub(crate) use self::client_keys::{acceptable, life};
use self::ehr::Ehr;
pub use self::ehr::{EhrBegun, EhrLaunched, EhrPending, EhrRefused};
pub use self::export::{Begun, ExportFileBody, ExportStatus};
pub use self::granted::{GrantState, Revocation, Revocations, UpstreamGrant};
use self::grants::Grants;
pub use self::grants::HoldGrantError;
pub(crate) use self::key_file::KeyFile;
pub use self::list::Listed;
pub use self::signer::{KeyFileError, Signer};
pub use self::upstream::DiscoveryError;
use self::upstream::{Own, Upstream};
use crate::audit::Intended;
use crate::clock::Clock;
use crate::keys::KeyRing;
use crate::outbound::{Lease, OpenOutboundError, Outbound};
use crate::settings::{OutboundSettings, TenantSettings};
use crate::spool::{Spool, Spools};

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenBrokerError {
    /// Outgoing connections cannot be set up.
    #[error(transparent)]
    Outbound(#[from] OpenOutboundError),
    /// A key file cannot be used.
    #[error("tenant `{tenant}`: {why}")]
    Key {
        /// Whose.
        tenant: TenantId,
        /// What is wrong.
        why: KeyFileError,
    },
    /// A token file cannot be read.
    #[error("tenant `{tenant}`: token file `{file}` holds no bearer token")]
    Token {
        /// Whose.
        tenant: TenantId,
        /// The file.
        file: String,
    },
    /// One key is used for two connections: no key is ever in two sets.
    #[error("tenant `{tenant}`: the key of `ehr` is another connection's too")]
    SharedKey {
        /// Whose.
        tenant: TenantId,
    },
    /// Sessions that the EHR launches would use its ids and tokens at another server.
    #[error("tenant `{tenant}`: `ehr.fhir` is `{url}`, which is not its `upstream.fhir`: they must be one server")]
    OtherEhr {
        /// Whose.
        tenant: TenantId,
        /// The EHR's.
        url: String,
    },
    /// A URL in the upstream's settings is not one Hilum calls.
    #[error("tenant `{tenant}`: `{url}` is not an acceptable url")]
    Url {
        /// Whose.
        tenant: TenantId,
        /// Which.
        url: String,
    },
}

/// The broker; cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>, Option<Spools>);

/// Where an answer may be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Room {
    /// In memory alone.
    Memory,
    /// In a spool, if it is large and a list.
    Spool,
}

/// An answer to a permitted call.
pub struct Sent {
    /// The answer with its permit.
    pub answered: Answered,
    /// Its body, where that was spooled.
    pub spool: Option<Spool>,
    /// Its share of the process's memory.
    pub lease: Option<Lease>,
}

/// An answer as an upstream gave it.
struct Taken {
    answer: UpstreamAnswer,
    spool: Option<Spool>,
    lease: Option<Lease>,
}

impl From<UpstreamAnswer> for Taken {
    fn from(answer: UpstreamAnswer) -> Self {
        Self { answer, spool: None, lease: None }
    }
}

struct Inner {
    tenants: HashMap<TenantId, Arc<Upstream>>,
    ehrs: HashMap<TenantId, Arc<Ehr>>,
    /// Tokens of sessions that EHRs launched; without a key ring there are none.
    grants: Option<Arc<Grants>>,
    client_keys: ClientKeys,
    outbound: Outbound,
}

impl Broker {
    /// A broker for `tenants`. Key and token files are read once here, so that a wrong one stops the start.
    ///
    /// # Errors
    /// [`OpenBrokerError`] naming the tenant.
    pub fn new(
        tenants: &[TenantSettings],
        outbound: &OutboundSettings,
        keys: KeyRing,
        clock: Clock,
    ) -> Result<Self, OpenBrokerError> {
        Self::build(tenants, outbound, Some(keys), clock)
    }

    /// As [`Broker::new`], for those who have no key ring (`hilum check`).
    ///
    /// # Errors
    /// As [`Broker::new`].
    pub fn open(
        tenants: &[TenantSettings],
        outbound: &OutboundSettings,
        clock: Clock,
    ) -> Result<Self, OpenBrokerError> {
        Self::build(tenants, outbound, None, clock)
    }

    fn build(
        tenants: &[TenantSettings],
        settings: &OutboundSettings,
        keys: Option<KeyRing>,
        clock: Clock,
    ) -> Result<Self, OpenBrokerError> {
        let outbound = Outbound::new(settings)?;
        let mut upstreams = HashMap::with_capacity(tenants.len());
        let mut ehrs = HashMap::new();
        let mut known = Vec::new();
        for tenant in tenants {
            let upstream = Upstream::open(tenant, outbound.clone(), clock.clone())?;
            known.extend(upstream.public_keys());
            upstreams.insert(tenant.id.clone(), Arc::new(upstream));
        }
        for tenant in tenants {
            let Some(ehr) = Ehr::open(tenant, settings, outbound.clone(), clock.clone())? else { continue };
            let keys = ehr.public_keys();
            if keys.iter().any(|key| known.contains(key)) {
                return Err(OpenBrokerError::SharedKey { tenant: tenant.id.clone() });
            }
            known.extend(keys);
            ehrs.insert(tenant.id.clone(), ehr);
        }
        let grants = keys.map(|keys| Arc::new(Grants::new(keys, ehrs.clone(), clock.clone())));
        let client_keys = ClientKeys::new(outbound.clone(), clock);
        Ok(Self(Arc::new(Inner { tenants: upstreams, ehrs, grants, client_keys, outbound }), None))
    }

    /// Makes the permitted call. A failure is an answer too (502, 503 or 504 without a body), so that what follows, `verify`
    /// and `record`, runs for it as for any other.
    pub async fn send(&self, tenant: &TenantId, permit: Permit) -> Answered {
        self.send_held(tenant, permit, Room::Memory).await.answered
    }

    /// As [`Broker::send`], with the answer's share of the process's memory: drop it once the body is gone.
    pub async fn send_held(&self, tenant: &TenantId, permit: Permit, room: Room) -> Sent {
        let spools = self.1.as_ref().filter(|_| room == Room::Spool && permit.takes_long());
        let Taken { answer, spool, lease } = self.call(tenant, permit.authority(), permit.call(), spools).await;
        Sent { answered: permit.answered(answer), spool, lease }
    }

    /// Makes a change whose intent is on record. It is sent once: whether it was done is not tried out by doing it again.
    pub async fn write_held(&self, tenant: &TenantId, intended: Intended<WritePermit>) -> Sent {
        let permit = intended.into_permit();
        let Taken { answer, spool, lease } = self.call(tenant, permit.authority(), permit.call(), None).await;
        Sent { answered: permit.answered(answer), spool, lease }
    }

    /// Makes a call with the token that its permit names: where that is the session's own, there is no other.
    async fn call(
        &self,
        tenant: &TenantId,
        authority: Authority,
        call: &UpstreamCall,
        spools: Option<&Spools>,
    ) -> Taken {
        let Some(upstream) = self.upstream(tenant) else { return failed(503).into() };
        let own = match (authority, &self.0.grants) {
            (Authority::Tenant, _) => None,
            (Authority::Session(session), Some(grants)) => Some(Own { grants, tenant, session }),
            (Authority::Session(_), None) => return failed(401).into(),
        };
        upstream.call(own.as_ref(), call, spools).await
    }

    /// A share of the process's memory for what is kept of earlier answers; none where there is no room.
    #[must_use]
    pub fn keep(&self, tenant: &TenantId, bytes: usize) -> Option<Lease> {
        self.upstream(tenant)?.keep(bytes)
    }

    /// The same broker with a place for answers that are too large for memory.
    #[must_use]
    pub fn spooling(self, spools: Spools) -> Self {
        Self(self.0, Some(spools))
    }

    /// Where large answers are kept.
    pub(crate) fn spools(&self) -> Option<&Spools> {
        self.1.as_ref()
    }

    /// Public keys of the assertions by which Hilum authenticates to this tenant's upstream, as a JWK Set; empty without such.
    #[must_use]
    pub fn jwks(&self, tenant: &TenantId) -> Option<String> {
        Some(self.upstream(tenant)?.jwks())
    }

    /// The one way out of this process.
    pub(crate) fn outbound(&self) -> &Outbound {
        &self.0.outbound
    }

    /// Keys of clients that are registered by URL.
    #[must_use]
    pub fn client_keys(&self) -> &ClientKeys {
        &self.0.client_keys
    }

    /// Compares the upstream's own SMART discovery document, if it has one, with what is registered (S1-01).
    ///
    /// # Errors
    /// [`DiscoveryError`] when they differ or the document cannot be read.
    pub async fn check_discovery(&self, tenant: &TenantId) -> Result<(), DiscoveryError> {
        let upstream = self.upstream(tenant).ok_or(DiscoveryError::Unreachable)?;
        upstream.check_discovery().await
    }

    /// Proves what the upstream does with two test patients; see [`CheckReport`]. `None` for an unknown tenant.
    pub async fn check(&self, tenant: &TenantId, a: &fhir::Id, b: &fhir::Id) -> Option<CheckReport> {
        Some(check::run(self.upstream(tenant)?, a, b).await)
    }

    /// Tries whether the upstream honours `If-Match`, by an update of the test patient `a` that must not take effect.
    pub async fn check_if_match(&self, tenant: &TenantId, a: &fhir::Id) -> IfMatch {
        match self.upstream(tenant) {
            Some(upstream) => check::if_match(upstream, a).await,
            None => IfMatch::NotTried,
        }
    }

    fn ehr(&self, tenant: &TenantId) -> Option<&Arc<Ehr>> {
        self.0.ehrs.get(tenant)
    }

    fn upstream(&self, tenant: &TenantId) -> Option<&Upstream> {
        self.0.tenants.get(tenant).map(AsRef::as_ref)
    }
}

/// An answer that stands for a failed call.
fn failed(status: u16) -> UpstreamAnswer {
    UpstreamAnswer { status, ..UpstreamAnswer::default() }
}
