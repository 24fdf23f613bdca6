//! A change before it is written: planned against a snapshot, with every mistake found, then written whole or not at all.

use domain::audit::Outcome;
use domain::{
    Approval, ApprovalId, ApprovalStatus, Integration, IntegrationId, IntegrationStatus, Millis, PersonId, TaskProfile,
    TaskRef, TenantId, Terms,
};
use store::{ApprovalRow, Change, IntegrationRow, PutApproval, PutIntegration, Thumbprint};

use super::snapshot::Snapshot;
use super::{digest, rules};

/// Most requests of one integration that may wait for a decision.
const WAITING_MAX: usize = 20;

/// What one line of a plan does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    /// `create`, `update`, `unchanged`, `suspend`, `request`.
    pub action: &'static str,
    /// To what, e.g. `integration scheduler-1`.
    pub what: String,
}

/// A request for approval, as a person writes it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub integration: IntegrationId,
    pub task: TaskRef,
    pub terms: Terms,
    pub justification: String,
    pub by: PersonId,
    /// The id it gets, should it be new.
    pub id: ApprovalId,
}

/// When an equal request that was decided already stands in the way of a new one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Again {
    /// A person asks again on purpose.
    Ask,
    /// A manifest is applied again: what was rejected or switched off stays so.
    Leave,
}

/// A change in the making.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The registry as it would stand.
    pub snapshot: Snapshot,
    /// What to write.
    pub change: Change,
    /// What it does, in words.
    pub lines: Vec<Line>,
    now: Millis,
}

/// Mistakes that keep a step out of the plan.
pub(crate) type Mistakes = Vec<String>;

impl Plan {
    pub(crate) fn new(snapshot: &Snapshot, now: Millis) -> Self {
        Self { snapshot: snapshot.clone(), change: Change::default(), lines: Vec::new(), now }
    }

    pub(super) fn line(&mut self, action: &'static str, what: String) {
        self.lines.push(Line { action, what });
    }

    /// A profile version: new, or equal to the one there is.
    pub(crate) fn task(&mut self, tenant: &TenantId, profile: TaskProfile) -> Result<(), Mistakes> {
        let mistakes = rules::profile(&profile);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let reference = profile.reference();
        match self.snapshot.profile(tenant, &reference) {
            Some(old) if **old == profile => self.line("unchanged", format!("task {reference}")),
            Some(_) => {
                return Err(vec![format!(
                    "task {reference} exists with other content; a version never changes, write the next"
                )]);
            }
            None => {
                self.line("create", format!("task {reference}"));
                self.snapshot.put_profiles(vec![(tenant.clone(), profile.clone())]);
                self.change.profiles.push((tenant.clone(), profile));
            }
        }
        Ok(())
    }

    /// A registration, new or changed; a change of anything an approval covers suspends that approval with it.
    pub(crate) fn integration(&mut self, mut new: Integration, keys: Vec<Thumbprint>) -> Result<(), Mistakes> {
        let mistakes = rules::integration(&new, self.now);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        if let Some(name) = &new.role
            && self.snapshot.role(&new.tenant, name).is_none()
        {
            return Err(vec![format!("`role`: there is no role `{name}` in this tenant; apply it first")]);
        }
        let id = new.id.clone();
        if self.change.integrations.iter().any(|put| put.integration.id == id) {
            return Err(vec![format!("integration {id} is there twice")]);
        }
        let Some(held) = self.snapshot.held_integration(&new.tenant, &id).cloned() else {
            if self.snapshot.integration(&id).is_some() {
                return Err(vec![format!("the id `{id}` is taken; ids are unique over all tenants (S1-33)")]);
            }
            new.status = IntegrationStatus::Active;
            new.epoch = 1;
            self.line("create", format!("integration {id}"));
            self.put(new, keys, None);
            return Ok(());
        };
        let old = held.value;
        if old.status == IntegrationStatus::Ended {
            return Err(vec![format!("integration {id} has ended for good; register another id")]);
        }
        (new.status, new.epoch) = (old.status, old.epoch);
        if new == *old {
            self.line("unchanged", format!("integration {id}"));
            return Ok(());
        }
        let changed = changed(&old, &new);
        if changed.is_empty() {
            self.line("update", format!("integration {id}"));
            self.put(new, keys, Some(held.revision));
            return Ok(());
        }
        new.epoch += 1;
        self.line("update", format!("integration {id}: {}", changed.join(", ")));
        self.put(new, keys, Some(held.revision));
        self.changed(&id, &format!("the integration changed: {}", changed.join(", ")));
        Ok(())
    }

    /// Switches an integration off, on, or off for good; what it was issued before ends with the epoch.
    pub(crate) fn status(
        &mut self,
        held: &super::snapshot::Held<Integration>,
        status: IntegrationStatus,
        by: &PersonId,
    ) {
        let mut new = Integration::clone(&held.value);
        let id = new.id.clone();
        new.status = status;
        new.epoch += 1;
        self.put(new, Vec::new(), Some(held.revision));
        if status == IntegrationStatus::Ended {
            for held in self
                .snapshot
                .approvals_of(&id)
                .into_iter()
                .map(|held| (held.value.clone(), held.revision))
                .collect::<Vec<_>>()
            {
                let (approval, revision) = held;
                if live(&approval.status) || matches!(approval.status, ApprovalStatus::Suspended { .. }) {
                    let mut new = kept(&approval);
                    new.status = ApprovalStatus::Ended { by: by.clone(), at: self.now };
                    self.put_approval(new, Some(revision));
                }
            }
        }
    }

    pub(super) fn put(&mut self, integration: Integration, thumbprints: Vec<Thumbprint>, expected: Option<u64>) {
        let row = IntegrationRow { integration: integration.clone(), revision: expected.unwrap_or(0) + 1 };
        self.snapshot.put_integration(row);
        self.change.integrations.push(PutIntegration { integration, thumbprints, expected });
    }

    pub(crate) fn put_approval(&mut self, approval: Approval, expected: Option<u64>) {
        let row = ApprovalRow { approval: approval.clone(), revision: expected.unwrap_or(0) + 1 };
        self.snapshot.put_approval(row);
        self.change.approvals.push(PutApproval { approval, expected });
    }

    /// Suspends what was approved on other terms; a request nobody has decided yet is asked anew as it now stands.
    pub(super) fn changed(&mut self, id: &IntegrationId, reason: &str) {
        let theirs: Vec<_> =
            self.snapshot.approvals_of(id).into_iter().map(|held| (held.value.clone(), held.revision)).collect();
        for (approval, revision) in theirs {
            let mut new = kept(&approval);
            match approval.status {
                ApprovalStatus::Approved { .. } => {
                    new.status = ApprovalStatus::Suspended { reason: reason.to_owned(), at: self.now };
                    self.line("suspend", format!("approval {} of {} for {id}", approval.id, approval.task));
                }
                ApprovalStatus::Requested => {
                    let Some(digest) = self.digest(&approval) else { continue };
                    new.digest = digest;
                    // Whoever approved it first approved something else.
                    new.first = None;
                }
                _ => continue,
            }
            self.put_approval(new, Some(revision));
        }
    }

    /// The hash of what an approval would approve now.
    pub(crate) fn digest(&self, approval: &Approval) -> Option<String> {
        let integration = self.snapshot.integration(&approval.integration)?;
        let role = self.snapshot.role_of(integration)?;
        let profile = self.snapshot.profile(&approval.tenant, &approval.task)?;
        Some(digest::subject(integration, role.map(|role| &**role), profile, &approval.terms))
    }

    /// A request for approval; an equal one that waits or is in force is enough. Returns the id that stands for it.
    pub(crate) fn request(&mut self, tenant: &TenantId, asked: Asked, again: Again) -> Result<ApprovalId, Mistakes> {
        let Some(held) = self.snapshot.held_integration(tenant, &asked.integration).cloned() else {
            return Err(vec![format!("there is no integration `{}`", asked.integration)]);
        };
        let Some(profile) = self.snapshot.profile(tenant, &asked.task).cloned() else {
            return Err(vec![format!("there is no task `{}`", asked.task)]);
        };
        let integration = held.value;
        let mistakes = rules::request(&self.snapshot, &integration, &profile, &asked.terms, &asked.justification);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let Some(role) = self.snapshot.role_of(&integration).map(|role| role.cloned()) else {
            return Err(vec!["`integration`: the role it names is not there".to_owned()]);
        };
        let digest = digest::subject(&integration, role.as_deref(), &profile, &asked.terms);
        let theirs = self.snapshot.approvals_of(&integration.id);
        let equal = theirs.iter().rev().find(|held| held.value.digest == digest && held.value.task == asked.task);
        if let Some(held) = equal {
            let approval = held.value.clone();
            let enough = match &approval.status {
                ApprovalStatus::Requested => true,
                ApprovalStatus::Approved { until, .. } => self.now < *until,
                // A person decided; a manifest applied again does not ask again.
                _ => again == Again::Leave,
            };
            if enough {
                self.line("unchanged", format!("approval {} of {} for {}", approval.id, asked.task, integration.id));
                return Ok(approval.id);
            }
        }
        let waiting = theirs.iter().filter(|held| held.value.status == ApprovalStatus::Requested).count();
        if waiting >= WAITING_MAX {
            return Err(vec![format!("{WAITING_MAX} requests of {} wait for a decision already", integration.id)]);
        }
        let approval = Approval {
            id: asked.id,
            tenant: tenant.clone(),
            integration: asked.integration,
            task: asked.task,
            terms: asked.terms,
            justification: asked.justification,
            requested_by: asked.by,
            requested_at: self.now,
            digest,
            status: ApprovalStatus::Requested,
            first: None,
            approved_at: None,
        };
        self.line("request", format!("approval {} of {} for {}", approval.id, approval.task, integration.id));
        self.put_approval(approval, None);
        Ok(asked.id)
    }
}

/// The same, with the time at which it was put in force kept, if it is.
fn kept(approval: &Approval) -> Approval {
    let approved_at = match approval.status {
        ApprovalStatus::Approved { at, .. } => Some(at),
        _ => approval.approved_at,
    };
    Approval { approved_at, ..approval.clone() }
}

/// Waits for a decision, or is in force.
pub(crate) fn live(status: &ApprovalStatus) -> bool {
    matches!(status, ApprovalStatus::Requested | ApprovalStatus::Approved { .. })
}

/// How an answer's status ends a recorded deed.
pub(crate) fn outcome(status: u16) -> Outcome {
    match status {
        0..=399 => Outcome::Success,
        400..=499 => Outcome::Denied,
        _ => Outcome::Failed,
    }
}

/// Names of what changed and may change the risk.
fn changed(old: &Integration, new: &Integration) -> Vec<&'static str> {
    let mut out = Vec::new();
    let mut differs = |name: &'static str, differs: bool| {
        if differs {
            out.push(name);
        }
    };
    differs("class", old.class != new.class);
    differs("environment", old.environment != new.environment);
    differs("vendor", old.vendor != new.vendor);
    differs("purpose", old.purpose != new.purpose);
    differs("data_classes", old.data_classes != new.data_classes);
    differs("expected", old.expected != new.expected);
    differs("auth", old.auth != new.auth);
    differs("redirect_uris", old.redirect_uris != new.redirect_uris);
    differs("launches", old.launches != new.launches);
    differs("role", old.role != new.role);
    // Whatever else the hash covers: never let a change pass unnamed.
    if out.is_empty() && digest::risk(old) != digest::risk(new) {
        out.push("registration");
    }
    out
}
