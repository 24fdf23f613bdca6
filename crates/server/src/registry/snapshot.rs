//! The registry as one immutable value in memory. The FHIR path reads nothing else; a new one replaces it whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::{
    Approval, ApprovalId, Integration, IntegrationId, Limits, Millis, PhiAccess, Reason, RoleName, RoleRefusal,
    ServiceRole, Subject, TaskName, TaskProfile, TaskRef, TenantId,
};
use fhir::ResourceType;
use orgpolicy::Policies;
use policy::{Filters, TenantRules};
use store::{ApprovalRow, FilterRow, FilterState, IntegrationRow, PolicyRow, RegistryRows, RoleRow};

use super::digest;
use super::policies::{self, TenantPolicies};
use crate::settings::TenantSettings;

/// The largest page asked of an upstream.
const COUNT_MAX: u32 = 200;

/// An approval that is in force and whose digest still fits its integration, profile and terms.
#[derive(Clone, Debug)]
pub struct Standing {
    /// For whom.
    pub integration: Arc<Integration>,
    /// The approval.
    pub approval: Arc<Approval>,
    /// What it allows.
    pub profile: Arc<TaskProfile>,
    /// What narrows it further, if the integration names a role.
    pub role: Option<Arc<ServiceRole>>,
}

impl Standing {
    /// The budgets that hold for its sessions.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.approval.terms.budgets.limits(self.integration.class)
    }

    /// Whether the integration's role lets it have sessions at all.
    ///
    /// # Errors
    /// What the role asks for that is not so.
    pub fn admits(&self) -> Result<(), RoleRefusal> {
        self.role.as_ref().map_or(Ok(()), |role| role.admits(&self.integration))
    }

    /// Whether its sessions are told of patients under surrogates only.
    #[must_use]
    pub fn is_de_identified(&self) -> bool {
        self.role.as_ref().is_some_and(|role| role.phi_access == PhiAccess::DeIdentifiedOnly)
    }

    /// Whether a session is told of its patient as the role asks now. One that knows the patient cannot forget it, so it is over;
    /// one under surrogates stays so whatever the role says.
    #[must_use]
    pub fn suits(&self, subject: &Subject) -> bool {
        !self.is_de_identified() || matches!(subject, Subject::Surrogate(_))
    }
}

/// An object with the revision a later write must name.
#[derive(Clone, Debug)]
pub(crate) struct Held<T> {
    pub value: Arc<T>,
    pub revision: u64,
}

#[derive(Clone, Debug)]
struct HeldApproval {
    held: Held<Approval>,
    /// Whether its digest is that of what it approves, computed whenever either side changes.
    fits: bool,
}

/// A search parameter whose filter an upstream ignored: tenant, type, parameter.
pub(crate) type Mark = (TenantId, ResourceType, String);

/// Everything a decision may look up, as it stood at one feed number.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    integrations: HashMap<IntegrationId, Held<Integration>>,
    profiles: HashMap<TenantId, HashMap<TaskRef, Arc<TaskProfile>>>,
    approvals: HashMap<ApprovalId, HeldApproval>,
    by_integration: HashMap<IntegrationId, Vec<ApprovalId>>,
    base: HashMap<TenantId, TenantRules>,
    rules: HashMap<TenantId, Arc<TenantRules>>,
    policies: HashMap<TenantId, TenantPolicies>,
    roles: HashMap<TenantId, BTreeMap<RoleName, Held<ServiceRole>>>,
    filters: Vec<FilterRow>,
    /// As the store has them.
    stored: Vec<FilterRow>,
    /// Marks that the store has not taken yet; they count here all the same.
    marks: BTreeSet<Mark>,
    feed: u64,
}

impl Snapshot {
    /// The snapshot of these rows.
    pub(crate) fn build(tenants: &[TenantSettings], rows: RegistryRows) -> Self {
        let mut out = Self { feed: rows.feed, ..Self::default() };
        for tenant in tenants {
            out.base.insert(tenant.id.clone(), base_rules(tenant));
        }
        out.put_profiles(rows.profiles);
        out.put_roles(rows.roles);
        for row in rows.integrations {
            out.put_integration(row);
        }
        for row in rows.approvals {
            out.put_approval(row);
        }
        out.put_filters(rows.filters);
        out.put_policies(rows.policies);
        out
    }

    /// The feed number it stands at.
    #[must_use]
    pub fn feed(&self) -> u64 {
        self.feed
    }

    pub(crate) fn reach(&mut self, feed: u64) {
        self.feed = feed;
    }

    /// One integration, whatever its status.
    #[must_use]
    pub fn integration(&self, id: &IntegrationId) -> Option<&Arc<Integration>> {
        self.integrations.get(id).map(|held| &held.value)
    }

    /// The approval with what it approves, if it is in force at `now`.
    ///
    /// # Errors
    /// [`Reason::IntegrationInactive`] or [`Reason::ApprovalMissing`]; anything that does not fit is the latter.
    pub fn standing(&self, approval: &ApprovalId, now: Millis) -> Result<Standing, Reason> {
        let HeldApproval { held, fits } = self.approvals.get(approval).ok_or(Reason::ApprovalMissing)?;
        let approval = &held.value;
        let integration = self.integration(&approval.integration).ok_or(Reason::ApprovalMissing)?;
        if !integration.usable(now) {
            return Err(Reason::IntegrationInactive);
        }
        if !fits || !approval.in_force(now) || integration.tenant != approval.tenant {
            return Err(Reason::ApprovalMissing);
        }
        // Written past the API, an approval of one may look like one of two (S1-12).
        if integration.class.approvers() > 1 && !approval.is_by_two() {
            return Err(Reason::ApprovalMissing);
        }
        let profile = self.profile(&approval.tenant, &approval.task).ok_or(Reason::ApprovalMissing)?;
        let role = self.role_of(integration).ok_or(Reason::ApprovalMissing)?;
        Ok(Standing {
            integration: Arc::clone(integration),
            approval: Arc::clone(approval),
            profile: Arc::clone(profile),
            role: role.cloned(),
        })
    }

    /// The standing of the newest version of a task that was ever approved for an integration of this tenant, if it is in force.
    /// Where it is not, no older one comes back: whoever ends an approval means the end, and not the terms of the year before.
    #[must_use]
    pub fn approved_task(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        task: &TaskName,
        now: Millis,
    ) -> Option<Standing> {
        self.newest(integration, now, |approval| approval.tenant == *tenant && approval.task.name == *task)
    }

    /// Whether a client of this tenant that is in use is registered with this web origin.
    #[must_use]
    pub fn has_origin(&self, tenant: &TenantId, origin: &str) -> bool {
        self.integrations.values().any(|held| {
            let client = &held.value;
            client.tenant == *tenant
                && client.status == domain::IntegrationStatus::Active
                && client.origins.iter().any(|known| known == origin)
        })
    }

    /// The standing of each task of an integration, as [`Snapshot::approved_task`] finds them, by name.
    #[must_use]
    pub fn approved_tasks(&self, tenant: &TenantId, integration: &IntegrationId, now: Millis) -> Vec<Standing> {
        let names: BTreeSet<TaskName> =
            self.approvals_of(integration).into_iter().map(|held| held.value.task.name.clone()).collect();
        names.iter().filter_map(|name| self.approved_task(tenant, integration, name, now)).collect()
    }

    /// The same for the one population that an integration may export.
    #[must_use]
    pub fn approved_export(&self, tenant: &TenantId, integration: &IntegrationId, now: Millis) -> Option<Standing> {
        self.newest(integration, now, |approval| approval.tenant == *tenant && approval.export().is_some())
    }

    fn newest(&self, integration: &IntegrationId, now: Millis, is: impl Fn(&Approval) -> bool) -> Option<Standing> {
        let all = self.approvals_of(integration).into_iter().map(|held| &held.value);
        let newest = all
            .filter(|approval| approval.was_approved() && is(approval))
            .max_by_key(|approval| (approval.task.version, approval.requested_at, approval.id))?;
        self.standing(&newest.id, now).ok()
    }

    /// The policies in force for a tenant: its own, else those that are shipped. `None` if they cannot be read, and then
    /// nothing is allowed.
    #[must_use]
    pub fn policies(&self, tenant: &TenantId) -> Option<&Arc<Policies>> {
        match self.policies.get(tenant) {
            Some(own) => own.parsed.as_ref(),
            None => policies::shipped(),
        }
    }

    /// A tenant's own policies, with the revision a later write must name.
    pub(crate) fn own_policies(&self, tenant: &TenantId) -> Option<&TenantPolicies> {
        self.policies.get(tenant)
    }

    /// One role.
    pub(crate) fn role(&self, tenant: &TenantId, name: &RoleName) -> Option<&Held<ServiceRole>> {
        self.roles.get(tenant)?.get(name)
    }

    /// All roles of a tenant, by name.
    pub(crate) fn roles(&self, tenant: &TenantId) -> impl Iterator<Item = (&RoleName, &Held<ServiceRole>)> {
        self.roles.get(tenant).into_iter().flatten()
    }

    /// The role that an integration names, if it names one. `None`: the one it names is not there, and it may do nothing.
    pub(crate) fn role_of(&self, integration: &Integration) -> Option<Option<&Arc<ServiceRole>>> {
        match &integration.role {
            None => Some(None),
            Some(name) => self.role(&integration.tenant, name).map(|held| Some(&held.value)),
        }
    }

    /// What a tenant's decisions need of its upstream.
    #[must_use]
    pub fn rules(&self, tenant: &TenantId) -> Option<&Arc<TenantRules>> {
        self.rules.get(tenant)
    }

    /// One profile version.
    #[must_use]
    pub fn profile(&self, tenant: &TenantId, task: &TaskRef) -> Option<&Arc<TaskProfile>> {
        self.profiles.get(tenant)?.get(task)
    }

    /// All profile versions of a tenant, by name and version.
    pub(crate) fn profiles(&self, tenant: &TenantId) -> Vec<&Arc<TaskProfile>> {
        let mut out: Vec<_> = self.profiles.get(tenant).into_iter().flat_map(HashMap::values).collect();
        out.sort_by_key(|profile| profile.reference());
        out
    }

    /// All integrations of a tenant, by id.
    pub(crate) fn integrations(&self, tenant: &TenantId) -> Vec<&Held<Integration>> {
        let mut out: Vec<_> = self.integrations.values().filter(|held| held.value.tenant == *tenant).collect();
        out.sort_by(|a, b| a.value.id.cmp(&b.value.id));
        out
    }

    /// An integration of this tenant, with its revision.
    pub(crate) fn held_integration(&self, tenant: &TenantId, id: &IntegrationId) -> Option<&Held<Integration>> {
        self.integrations.get(id).filter(|held| held.value.tenant == *tenant)
    }

    /// An approval of this tenant, with its revision.
    pub(crate) fn held_approval(&self, tenant: &TenantId, id: &ApprovalId) -> Option<&Held<Approval>> {
        self.approvals.get(id).map(|approval| &approval.held).filter(|held| held.value.tenant == *tenant)
    }

    /// Whether its digest fits what it approves now.
    pub(crate) fn fits(&self, id: &ApprovalId) -> bool {
        self.approvals.get(id).is_some_and(|approval| approval.fits)
    }

    /// All approvals of an integration, newest request last.
    pub(crate) fn approvals_of(&self, integration: &IntegrationId) -> Vec<&Held<Approval>> {
        let ids = self.by_integration.get(integration).into_iter().flatten();
        let mut out: Vec<_> = ids.filter_map(|id| self.approvals.get(id)).map(|approval| &approval.held).collect();
        out.sort_by_key(|held| (held.value.requested_at, held.value.id));
        out
    }

    /// All approvals of a tenant, newest request first.
    pub(crate) fn approvals(&self, tenant: &TenantId) -> Vec<&Held<Approval>> {
        let all = self.approvals.values().map(|approval| &approval.held);
        let mut out: Vec<_> = all.filter(|held| held.value.tenant == *tenant).collect();
        out.sort_by_key(|held| (std::cmp::Reverse(held.value.requested_at), held.value.id));
        out
    }

    /// What is known of a tenant's filters.
    pub(crate) fn filters(&self, tenant: &TenantId) -> impl Iterator<Item = &FilterRow> {
        self.filters.iter().filter(move |filter| filter.tenant == *tenant)
    }

    pub(crate) fn put_profiles(&mut self, profiles: Vec<(TenantId, TaskProfile)>) {
        for (tenant, profile) in profiles {
            self.profiles.entry(tenant).or_default().insert(profile.reference(), Arc::new(profile));
        }
        let all: Vec<_> = self.approvals.keys().copied().collect();
        self.judge(&all);
    }

    pub(crate) fn put_integration(&mut self, row: IntegrationRow) {
        let id = row.integration.id.clone();
        self.integrations.insert(id.clone(), Held { value: Arc::new(row.integration), revision: row.revision });
        let theirs = self.by_integration.get(&id).cloned().unwrap_or_default();
        self.judge(&theirs);
    }

    pub(crate) fn put_approval(&mut self, row: ApprovalRow) {
        let (id, integration) = (row.approval.id, row.approval.integration.clone());
        let held = Held { value: Arc::new(row.approval), revision: row.revision };
        if self.approvals.insert(id, HeldApproval { held, fits: false }).is_none() {
            self.by_integration.entry(integration).or_default().push(id);
        }
        self.judge(&[id]);
    }

    pub(crate) fn put_policies(&mut self, rows: Vec<PolicyRow>) {
        for row in rows {
            let known = self.policies.get(&row.tenant).is_some_and(|own| own.revision == row.revision);
            if !known {
                self.policies.insert(row.tenant.clone(), TenantPolicies::read(row));
            }
        }
    }

    pub(crate) fn put_roles(&mut self, rows: Vec<RoleRow>) {
        let mut theirs = Vec::new();
        for RoleRow { tenant, name, role, revision } in rows {
            let naming = self.integrations.values().map(|held| &held.value);
            let naming = naming.filter(|one| one.tenant == tenant && one.role.as_ref() == Some(&name));
            theirs.extend(naming.filter_map(|one| self.by_integration.get(&one.id)).flatten().copied());
            self.roles.entry(tenant).or_default().insert(name, Held { value: Arc::new(role), revision });
        }
        self.judge(&theirs);
    }

    pub(crate) fn put_filters(&mut self, filters: Vec<FilterRow>) {
        self.stored = filters;
        self.apply_filters();
    }

    /// Says which marks the store has not taken yet.
    pub(crate) fn set_marks(&mut self, marks: &BTreeSet<Mark>) {
        if self.marks != *marks {
            self.marks.clone_from(marks);
            self.apply_filters();
        }
    }

    fn apply_filters(&mut self) {
        self.filters.clone_from(&self.stored);
        for mark in &self.marks {
            let row = poisoned(mark);
            let same =
                |old: &&mut FilterRow| (&old.tenant, &old.kind, &old.param) == (&row.tenant, &row.kind, &row.param);
            match self.filters.iter_mut().find(same) {
                Some(old) => *old = row,
                None => self.filters.push(row),
            }
        }
        self.rules = self
            .base
            .iter()
            .map(|(tenant, base)| {
                let mut rules = base.clone();
                rules.filters = filters_of(self.filters.iter().filter(|filter| filter.tenant == *tenant));
                (tenant.clone(), Arc::new(rules))
            })
            .collect();
    }

    fn judge(&mut self, ids: &[ApprovalId]) {
        for id in ids {
            let Some(approval) = self.approvals.get(id) else { continue };
            let value = &approval.held.value;
            let fits = match (self.integration(&value.integration), self.profile(&value.tenant, &value.task)) {
                (Some(integration), Some(profile)) => self.role_of(integration).is_some_and(|role| {
                    digest::subject(integration, role.map(|role| &**role), profile, &value.terms) == value.digest
                }),
                _ => false,
            };
            if let Some(approval) = self.approvals.get_mut(id) {
                approval.fits = fits;
            }
        }
    }
}

/// The row that a mark becomes.
pub(crate) fn poisoned((tenant, kind, param): &Mark) -> FilterRow {
    FilterRow {
        tenant: tenant.clone(),
        kind: kind.name().to_owned(),
        param: param.clone(),
        state: FilterState::Poisoned,
    }
}

fn base_rules(tenant: &TenantSettings) -> TenantRules {
    TenantRules {
        upstream_base: tenant.upstream.fhir.trim_end_matches('/').to_owned(),
        public_base: tenant.fhir_base(),
        shared: tenant.upstream.shared.clone(),
        filters: Filters::default(),
        count_max: COUNT_MAX,
    }
}

fn filters_of<'a>(rows: impl Iterator<Item = &'a FilterRow>) -> Filters {
    let mut out = Filters::default();
    for row in rows {
        let Ok(kind) = row.kind.parse::<ResourceType>() else { continue };
        let entry = (kind, row.param.clone());
        match row.state {
            FilterState::Declared | FilterState::Proved => out.proved.insert(entry),
            FilterState::Poisoned => out.poisoned.insert(entry),
        };
    }
    out
}
