//! What `hilum check` and `hilum audit verify` need of the parts, without a running server.

use domain::TenantId;
use ledger::VerifyingKey;
use store::{Change, FilterRow, FilterState, Store};
use vault::RootKey;

use super::StartError;
use crate::broker::{Broker, CheckReport, DiscoveryError, FilterVerdict};
use crate::clock::Clock;
use crate::identity::{DiscoveryProblem, IdentityProvider};
use crate::keys::KeyRing;
use crate::outbound::Outbound;
use crate::settings::{OidcSettings, OutboundSettings, Settings};

/// Why the upstream could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A part does not open.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The tenant is not configured.
    #[error("the configuration has no such tenant")]
    Tenant,
    /// Its discovery document contradicts the configuration (S1-01).
    #[error("the upstream's discovery document: {0}")]
    Discovery(#[from] DiscoveryError),
    /// The identity provider does not answer or does not fit.
    #[error("{0}")]
    Identity(String),
    /// The findings cannot be written down.
    #[error("store: {0}")]
    Store(String),
}

/// What was learned of one upstream, and what the gate will make of it.
#[derive(Debug, serde::Serialize)]
pub struct Checked {
    /// The findings.
    #[serde(flatten)]
    pub report: CheckReport,
    /// Filters now counted as proved.
    pub proved: usize,
    /// Filters now refused because the upstream ignores them.
    pub refused: usize,
}

impl Checked {
    /// Whether the upstream was reached and ignores nothing.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.report.patients_readable && self.refused == 0
    }
}

/// How far a check goes beyond reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    /// Write nothing down.
    pub dry: bool,
    /// Also try `If-Match` by an update of the first test patient.
    pub if_match: bool,
}

/// Proves with two test patients what `tenant`'s upstream filters by, and writes it down unless the extent is dry.
///
/// # Errors
/// [`CheckError`].
pub async fn check(
    settings: &Settings,
    tenant: &TenantId,
    first: &fhir::Id,
    second: &fhir::Id,
    extent: Extent,
) -> Result<Checked, CheckError> {
    crate::listen::install_crypto();
    let clock = Clock::system();
    let broker = Broker::open(&settings.tenants, &settings.outbound, clock.clone()).map_err(StartError::from)?;
    broker.check_discovery(tenant).await?;
    let mut report = broker.check(tenant, first, second).await.ok_or(CheckError::Tenant)?;
    if extent.if_match {
        report.if_match = broker.check_if_match(tenant, first).await;
    }
    let row = |kind: &str, param: &str, state| FilterRow {
        tenant: tenant.clone(),
        kind: kind.to_owned(),
        param: param.to_owned(),
        state,
    };
    let filters: Vec<FilterRow> = report
        .filters
        .iter()
        .filter_map(|proof| match proof.verdict {
            // Nothing is proved with a patient that is not there; what was seen to be ignored is ignored all the same.
            FilterVerdict::Filters if !report.patients_readable => None,
            FilterVerdict::Filters => Some(row(proof.kind, proof.param, FilterState::Proved)),
            FilterVerdict::Ignores => Some(row(proof.kind, proof.param, FilterState::Poisoned)),
            FilterVerdict::Vacuous | FilterVerdict::Unsupported | FilterVerdict::Failed => None,
        })
        .collect();
    let count = |state| filters.iter().filter(|filter| filter.state == state).count();
    let (proved, refused) = (count(FilterState::Proved), count(FilterState::Poisoned));
    if !extent.dry && !filters.is_empty() {
        let store = Store::open(&settings.store_url).await.map_err(StartError::from)?;
        let change = Change { filters, ..Change::default() };
        let written = store.apply(&change, clock.now()).await.map_err(|why| CheckError::Store(why.to_string()))?;
        written.map_err(|why| CheckError::Store(format!("{why:?}")))?;
        store.close().await;
    }
    Ok(Checked { report, proved, refused })
}

/// Whether an identity provider answers and offers what Hilum needs: what will not work, if anything.
///
/// # Errors
/// [`CheckError`] when it cannot be reached, is another's, or our credential there cannot be read.
pub async fn check_identity(
    outbound: &OutboundSettings,
    identity: &OidcSettings,
) -> Result<Vec<DiscoveryProblem>, CheckError> {
    crate::listen::install_crypto();
    let outbound = Outbound::new(outbound).map_err(|why| CheckError::Identity(why.to_string()))?;
    let provider = IdentityProvider::open(identity, outbound, Clock::system())
        .map_err(|why| CheckError::Identity(why.to_string()))?;
    provider.check().await.map_err(|why| CheckError::Identity(why.to_string()))
}

/// The public key that the ledger's frames and checkpoints are signed with.
///
/// # Errors
/// [`StartError`] when the store or the keys do not open.
pub async fn ledger_key(settings: &Settings, root: &RootKey) -> Result<VerifyingKey, StartError> {
    use ledger::Signer as _;
    let store = Store::open(&settings.store_url).await?;
    let tenants: Vec<TenantId> = settings.tenants.iter().map(|tenant| tenant.id.clone()).collect();
    let keys = KeyRing::open(root, &store, &tenants, Clock::system().now()).await?;
    let key = keys.ledger_signer()?.verifying_key();
    store.close().await;
    Ok(key)
}
