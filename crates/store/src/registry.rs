//! Integrations, task profiles, approvals and filter states as rows. Every write is one [`Change`]: one transaction,
//! compare-and-swap on each object's revision, one feed number at its end.

use domain::{Approval, ApprovalStatus, Environment, Integration, IntegrationStatus, Millis, TaskProfile, TenantId};

use crate::engine::{Bind, Row, Statement, Tx};
use crate::feed::{self, FeedKind};
use crate::grants;
use crate::registrations;
use crate::roles::{self, PutRole, RoleRow};
use crate::{Store, StoreError};

/// An integration with the revision a later write must name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IntegrationRow {
    /// The integration.
    pub integration: Integration,
    /// Grows with every write.
    pub revision: u64,
}

/// An approval with the revision a later write must name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApprovalRow {
    /// The approval.
    pub approval: Approval,
    /// Grows with every write.
    pub revision: u64,
}

/// What is known of an upstream's filtering by one parameter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FilterState {
    /// Its capability statement says so.
    Declared,
    /// `hilum check` proved it with two test patients.
    Proved,
    /// It returned a foreign match.
    Poisoned,
}

impl FilterState {
    /// As written in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Proved => "proved",
            Self::Poisoned => "poisoned",
        }
    }
}

/// One filter state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilterRow {
    /// Of which tenant's upstream.
    pub tenant: TenantId,
    /// Resource type.
    pub kind: String,
    /// Search parameter.
    pub param: String,
    /// What is known.
    pub state: FilterState,
}

/// A tenant's policies, as text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyRow {
    /// Whose.
    pub tenant: TenantId,
    /// The Cedar text.
    pub text: String,
    /// Grows with every write, from 1.
    pub revision: u64,
}

/// Policies to put in force, the first (`expected` is `None`) or after others.
#[derive(Clone, Debug)]
pub struct PutPolicy {
    /// Whose.
    pub tenant: TenantId,
    /// The Cedar text.
    pub text: String,
    /// The revision it replaces.
    pub expected: Option<u64>,
}

/// Everything the in-memory snapshot is built from, read in one transaction.
#[derive(Clone, Debug, Default)]
pub struct RegistryRows {
    /// The feed number these rows stand at.
    pub feed: u64,
    /// All integrations.
    pub integrations: Vec<IntegrationRow>,
    /// All task profile versions.
    pub profiles: Vec<(TenantId, TaskProfile)>,
    /// All approvals.
    pub approvals: Vec<ApprovalRow>,
    /// All filter states.
    pub filters: Vec<FilterRow>,
    /// Policies of the tenants that have their own.
    pub policies: Vec<PolicyRow>,
    /// All roles.
    pub roles: Vec<RoleRow>,
}

/// An RFC 7638 thumbprint (SHA-256, base64url).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Thumbprint(pub String);

/// An integration to insert (`expected` is `None`) or replace.
#[derive(Clone, Debug)]
pub struct PutIntegration {
    /// What to write.
    pub integration: Integration,
    /// Its keys, each claimed for this integration and environment for ever.
    pub thumbprints: Vec<Thumbprint>,
    /// The revision it replaces.
    pub expected: Option<u64>,
}

/// An approval to insert (`expected` is `None`) or replace.
#[derive(Clone, Debug)]
pub struct PutApproval {
    /// What to write.
    pub approval: Approval,
    /// The revision it replaces.
    pub expected: Option<u64>,
}

/// Objects to write together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Task profile versions; an equal one may exist already.
    pub profiles: Vec<(TenantId, TaskProfile)>,
    /// Integrations.
    pub integrations: Vec<PutIntegration>,
    /// Approvals.
    pub approvals: Vec<PutApproval>,
    /// Filter states; the last writer wins.
    pub filters: Vec<FilterRow>,
    /// Policies.
    pub policies: Vec<PutPolicy>,
    /// Roles.
    pub roles: Vec<PutRole>,
}

impl Change {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
            && self.integrations.is_empty()
            && self.approvals.is_empty()
            && self.filters.is_empty()
            && self.policies.is_empty()
            && self.roles.is_empty()
    }
}

/// Why a change was refused; nothing of it took effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChangeRefusal {
    /// An object has changed since it was read, or the id exists in this or another tenant; the id.
    Stale(String),
    /// A key belongs to another integration, or to this one in another environment; its thumbprint.
    KeyTaken(Thumbprint),
    /// This version of the profile exists with other content; `name@version`.
    ProfileExists(String),
}

const INTEGRATIONS: Statement<0> = Statement::new("SELECT body, revision FROM integration");
const ONE_INTEGRATION: Statement<1> = Statement::new("SELECT body, revision FROM integration WHERE id = $1");
const ONE_APPROVAL: Statement<1> = Statement::new("SELECT body, revision FROM approval WHERE id = $1");
const PROFILES: Statement<0> = Statement::new("SELECT tenant, body FROM task_profile ORDER BY tenant, name, version");
const APPROVALS: Statement<0> = Statement::new("SELECT body, revision FROM approval");
const FILTERS: Statement<0> = Statement::new("SELECT tenant, kind, param, state FROM filter_state");
const INSERT_INTEGRATION: Statement<5> = Statement::new(
    "INSERT INTO integration (id, tenant, status, epoch, revision, body) VALUES ($1, $2, $3, $4, 1, $5)
     ON CONFLICT (id) DO NOTHING RETURNING id",
);
const UPDATE_INTEGRATION: Statement<6> = Statement::new(
    "UPDATE integration SET status = $3, epoch = $4, revision = revision + 1, body = $5
     WHERE id = $1 AND tenant = $2 AND revision = $6 AND epoch <= $4 RETURNING id",
);
const CLAIM: Statement<4> = Statement::new(
    "INSERT INTO key_thumbprint (thumbprint, integration, tenant, environment) VALUES ($1, $2, $3, $4)
     ON CONFLICT (thumbprint) DO NOTHING",
);
const CLAIMED: Statement<4> = Statement::new(
    "SELECT 1 FROM key_thumbprint WHERE thumbprint = $1 AND integration = $2 AND tenant = $3 AND environment = $4",
);
const INSERT_PROFILE: Statement<4> = Statement::new(
    "INSERT INTO task_profile (tenant, name, version, body) VALUES ($1, $2, $3, $4)
     ON CONFLICT (tenant, name, version) DO NOTHING RETURNING name",
);
const FIND_PROFILE: Statement<3> =
    Statement::new("SELECT body FROM task_profile WHERE tenant = $1 AND name = $2 AND version = $3");
const INSERT_APPROVAL: Statement<12> = Statement::new(
    "INSERT INTO approval (id, tenant, integration, task, version, status, requested_by, approved_by, until, digest,
                           revision, body, first_approved_by)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $12)
     ON CONFLICT (id) DO NOTHING RETURNING id",
);
const UPDATE_APPROVAL: Statement<9> = Statement::new(
    "UPDATE approval SET status = $3, approved_by = $4, until = $5, digest = $6, revision = revision + 1, body = $7,
                         first_approved_by = $9
     WHERE id = $1 AND tenant = $2 AND revision = $8 RETURNING id",
);
const PUT_FILTER: Statement<5> = Statement::new(
    "INSERT INTO filter_state (tenant, kind, param, state, changed_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (tenant, kind, param) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at",
);
const POLICIES: Statement<0> = Statement::new(
    "SELECT tenant, body, revision FROM policy
     WHERE revision = (SELECT max(revision) FROM policy AS other WHERE other.tenant = policy.tenant)",
);
const INSERT_POLICY: Statement<4> = Statement::new(
    "INSERT INTO policy (tenant, revision, body)
     SELECT $1, $3, $2 WHERE $4 = (SELECT coalesce(max(revision), 0) FROM policy WHERE tenant = $1)
     ON CONFLICT (tenant, revision) DO NOTHING RETURNING tenant",
);
const MARK: Statement<3> = Statement::new(
    "INSERT INTO ledger_mark (node, last, at) VALUES ($1, $2, $3)
     ON CONFLICT (node) DO UPDATE SET last = excluded.last, at = excluded.at WHERE excluded.last > ledger_mark.last",
);
const MARKS: Statement<0> = Statement::new("SELECT node, last FROM ledger_mark ORDER BY node");

fn environment_word(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => "production",
        Environment::Test => "test",
    }
}

fn integration_word(status: IntegrationStatus) -> &'static str {
    match status {
        IntegrationStatus::Requested => "requested",
        IntegrationStatus::Active => "active",
        IntegrationStatus::Suspended => "suspended",
        IntegrationStatus::Ended => "ended",
    }
}

fn integration_of(row: &Row) -> Result<IntegrationRow, StoreError> {
    Ok(IntegrationRow { integration: row.json(0)?, revision: row.count(1)? })
}

fn approval_of(row: &Row) -> Result<ApprovalRow, StoreError> {
    Ok(ApprovalRow { approval: row.json(0)?, revision: row.count(1)? })
}

fn filter_of(row: &Row) -> Result<FilterRow, StoreError> {
    let state = match row.text(3)?.as_str() {
        "declared" => FilterState::Declared,
        "proved" => FilterState::Proved,
        "poisoned" => FilterState::Poisoned,
        _ => return Err(StoreError::Corrupt("an unknown filter state")),
    };
    Ok(FilterRow { tenant: row.parsed(0)?, kind: row.text(1)?, param: row.text(2)?, state })
}

impl Store {
    /// Everything the snapshot is built from, as it stands at one feed number.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row no longer parses.
    pub async fn registry(&self) -> Result<RegistryRows, StoreError> {
        // The number is read first: a row committed in between is read again at the next poll, never missed.
        let mut out = RegistryRows { feed: self.feed().await?, ..RegistryRows::default() };
        for row in self.pool.read(INTEGRATIONS, []).await? {
            out.integrations.push(integration_of(&row)?);
        }
        for row in self.pool.read(PROFILES, []).await? {
            out.profiles.push((row.parsed(0)?, row.json(1)?));
        }
        for row in self.pool.read(APPROVALS, []).await? {
            out.approvals.push(approval_of(&row)?);
        }
        for row in self.pool.read(FILTERS, []).await? {
            out.filters.push(filter_of(&row)?);
        }
        out.policies = self.policies().await?;
        out.roles = self.roles().await?;
        Ok(out)
    }

    /// One integration, read again after the feed named it.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or the row no longer parses.
    pub async fn find_integration(&self, id: &str) -> Result<Option<IntegrationRow>, StoreError> {
        self.pool.read(ONE_INTEGRATION, [Bind::Text(id)]).await?.first().map(integration_of).transpose()
    }

    /// One approval, read again after the feed named it.
    ///
    /// # Errors
    /// As [`Store::find_integration`].
    pub async fn find_approval(&self, id: &str) -> Result<Option<ApprovalRow>, StoreError> {
        self.pool.read(ONE_APPROVAL, [Bind::Text(id)]).await?.first().map(approval_of).transpose()
    }

    /// All task profile versions.
    ///
    /// # Errors
    /// As [`Store::find_integration`].
    pub async fn profiles(&self) -> Result<Vec<(TenantId, TaskProfile)>, StoreError> {
        self.pool.read(PROFILES, []).await?.iter().map(|row| Ok((row.parsed(0)?, row.json(1)?))).collect()
    }

    /// All filter states.
    ///
    /// # Errors
    /// As [`Store::find_integration`].
    pub async fn filters(&self) -> Result<Vec<FilterRow>, StoreError> {
        self.pool.read(FILTERS, []).await?.iter().map(filter_of).collect()
    }

    /// The policies of the tenants that have their own.
    ///
    /// # Errors
    /// As [`Store::find_integration`].
    pub async fn policies(&self) -> Result<Vec<PolicyRow>, StoreError> {
        let policy_of =
            |row: &Row| Ok(PolicyRow { tenant: row.parsed(0)?, text: row.text(1)?, revision: row.count(2)? });
        self.pool.read(POLICIES, []).await?.iter().map(policy_of).collect()
    }

    /// Writes a change in one transaction and returns the feed number it ended at.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails; a [`ChangeRefusal`] is a value. Neither leaves anything behind.
    pub async fn apply(&self, change: &Change, at: Millis) -> Result<Result<u64, ChangeRefusal>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let mut feed = 0;
        for (tenant, profile) in &change.profiles {
            match put_profile(&mut tx, tenant, profile).await? {
                Put::Written => {
                    let key = format!("{tenant}/{}", profile.reference());
                    feed = feed::enter(&mut tx, FeedKind::Profile, &key, at).await?;
                }
                Put::Same => {}
                Put::Refused => return Ok(Err(ChangeRefusal::ProfileExists(profile.reference().to_string()))),
            }
        }
        for put in &change.integrations {
            let id = put.integration.id.as_str();
            if !put_integration(&mut tx, put).await? {
                return Ok(Err(ChangeRefusal::Stale(id.to_owned())));
            }
            grants::over_before(&mut tx, &put.integration, at).await?;
            registrations::close(&mut tx, &put.integration.tenant, &put.integration.id, at).await?;
            for thumbprint in &put.thumbprints {
                if !claim(&mut tx, thumbprint, &put.integration).await? {
                    return Ok(Err(ChangeRefusal::KeyTaken(thumbprint.clone())));
                }
            }
            feed = feed::enter(&mut tx, FeedKind::Integration, id, at).await?;
        }
        for put in &change.approvals {
            let id = put.approval.id.to_string();
            if !put_approval(&mut tx, put).await? {
                return Ok(Err(ChangeRefusal::Stale(id)));
            }
            grants::over_with(&mut tx, &put.approval, at).await?;
            feed = feed::enter(&mut tx, FeedKind::Approval, &id, at).await?;
        }
        for filter in &change.filters {
            let binds = [
                Bind::Text(filter.tenant.as_str()),
                Bind::Text(&filter.kind),
                Bind::Text(&filter.param),
                Bind::Text(filter.state.as_str()),
                Bind::Int(at),
            ];
            tx.run(PUT_FILTER, binds).await?;
            let key = format!("{}/{}/{}", filter.tenant, filter.kind, filter.param);
            feed = feed::enter(&mut tx, FeedKind::Filter, &key, at).await?;
        }
        for put in &change.policies {
            let tenant = put.tenant.as_str();
            if !put_policy(&mut tx, put).await? {
                return Ok(Err(ChangeRefusal::Stale(format!("policies of {tenant}"))));
            }
            feed = feed::enter(&mut tx, FeedKind::Policy, tenant, at).await?;
        }
        for put in &change.roles {
            let key = format!("{}/{}", put.tenant, put.name);
            if !roles::put(&mut tx, put).await? {
                return Ok(Err(ChangeRefusal::Stale(format!("role {key}"))));
            }
            feed = feed::enter(&mut tx, FeedKind::Role, &key, at).await?;
        }
        if feed == 0 {
            feed = feed::reached(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(Ok(feed))
    }

    /// Claims a key that was seen behind a `jwks_url` for an integration; `false` when it is another's (S1-33).
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn claim_key(&self, thumbprint: &Thumbprint, integration: &Integration) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        let claimed = claim(&mut tx, thumbprint, integration).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Remembers how many records a node's ledger holds; fewer never replace more.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn mark_ledger(&self, node: &str, last: u64, at: Millis) -> Result<(), StoreError> {
        let last = i64::try_from(last).unwrap_or(i64::MAX);
        let mut tx = self.pool.begin().await?;
        tx.run(MARK, [Bind::Text(node), Bind::Int(last), Bind::Int(at)]).await?;
        tx.commit().await
    }

    /// How many records this database knows of, per node.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn ledger_marks(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.pool.read(MARKS, []).await?.iter().map(|row| Ok((row.text(0)?, row.count(1)?))).collect()
    }
}

enum Put {
    Written,
    Same,
    Refused,
}

async fn put_profile(tx: &mut Tx, tenant: &TenantId, profile: &TaskProfile) -> Result<Put, StoreError> {
    let body = serde_json::to_string(profile)?;
    let [tenant, name] = [Bind::Text(tenant.as_str()), Bind::Text(profile.name.as_str())];
    let version = Bind::Int(i64::from(profile.version));
    if tx.row(INSERT_PROFILE, [tenant, name, version, Bind::Text(&body)]).await?.is_some() {
        return Ok(Put::Written);
    }
    let found = tx.row(FIND_PROFILE, [tenant, name, version]).await?;
    let same = found.map(|row| row.json::<TaskProfile>(0)).transpose()?.is_some_and(|old| old == *profile);
    Ok(if same { Put::Same } else { Put::Refused })
}

async fn put_policy(tx: &mut Tx, put: &PutPolicy) -> Result<bool, StoreError> {
    let (tenant, text) = (Bind::Text(put.tenant.as_str()), Bind::Text(&put.text));
    let Ok(last) = i64::try_from(put.expected.unwrap_or(0)) else { return Ok(false) };
    let row = tx.row(INSERT_POLICY, [tenant, text, Bind::Int(last.saturating_add(1)), Bind::Int(last)]).await?;
    Ok(row.is_some())
}

async fn put_integration(tx: &mut Tx, put: &PutIntegration) -> Result<bool, StoreError> {
    let integration = &put.integration;
    let body = serde_json::to_string(integration)?;
    let epoch = i64::try_from(integration.epoch).unwrap_or(i64::MAX);
    let [id, tenant] = [Bind::Text(integration.id.as_str()), Bind::Text(integration.tenant.as_str())];
    let status = Bind::Text(integration_word(integration.status));
    let row = match put.expected {
        None => tx.row(INSERT_INTEGRATION, [id, tenant, status, Bind::Int(epoch), Bind::Text(&body)]).await?,
        Some(revision) => {
            let revision = Bind::Int(i64::try_from(revision).unwrap_or(i64::MAX));
            let binds = [id, tenant, status, Bind::Int(epoch), Bind::Text(&body), revision];
            tx.row(UPDATE_INTEGRATION, binds).await?
        }
    };
    Ok(row.is_some())
}

async fn claim(tx: &mut Tx, thumbprint: &Thumbprint, integration: &Integration) -> Result<bool, StoreError> {
    let binds = [
        Bind::Text(&thumbprint.0),
        Bind::Text(integration.id.as_str()),
        Bind::Text(integration.tenant.as_str()),
        Bind::Text(environment_word(integration.environment)),
    ];
    tx.run(CLAIM, binds).await?;
    Ok(tx.row(CLAIMED, binds).await?.is_some())
}

async fn put_approval(tx: &mut Tx, put: &PutApproval) -> Result<bool, StoreError> {
    let approval = &put.approval;
    let body = serde_json::to_string(approval)?;
    let id = approval.id.to_string();
    let (status, by, until) = match &approval.status {
        ApprovalStatus::Requested => ("requested", None, None),
        ApprovalStatus::Approved { by, until, .. } => ("approved", Some(by.as_str()), Some(*until)),
        ApprovalStatus::Suspended { .. } => ("suspended", None, None),
        ApprovalStatus::Rejected { .. } => ("rejected", None, None),
        ApprovalStatus::Ended { .. } => ("ended", None, None),
    };
    let [id, tenant] = [Bind::Text(&id), Bind::Text(approval.tenant.as_str())];
    let [status, digest, body] = [Bind::Text(status), Bind::Text(&approval.digest), Bind::Text(&body)];
    let (by, until) = (Bind::MaybeText(by), Bind::MaybeInt(until));
    let first = Bind::MaybeText(approval.first.as_ref().map(|first| first.by.as_str()));
    let row = match put.expected {
        None => {
            let integration = Bind::Text(approval.integration.as_str());
            let task = Bind::Text(approval.task.name.as_str());
            let version = Bind::Int(i64::from(approval.task.version));
            let who = Bind::Text(approval.requested_by.as_str());
            let binds = [id, tenant, integration, task, version, status, who, by, until, digest, body, first];
            tx.row(INSERT_APPROVAL, binds).await?
        }
        Some(revision) => {
            let revision = Bind::Int(i64::try_from(revision).unwrap_or(i64::MAX));
            tx.row(UPDATE_APPROVAL, [id, tenant, status, by, until, digest, body, revision, first]).await?
        }
    };
    Ok(row.is_some())
}
