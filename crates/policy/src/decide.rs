//! `decide`: the only maker of a [`Permit`]. Missing data, unknown input and doubt are refusals.

mod consents;
mod hops;
mod page;
mod record;
mod search;
mod slices;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{Actions, Approval, Integration, Millis, Operation, Reason, Session, Subject, TaskProfile};
use fhir::request::{Interaction, SubmissionKind, View};
use fhir::{Id, ResourceType};

pub use self::consents::ask_consents;
pub(crate) use self::search::in_order;
use crate::consent::Consents;
use crate::context::{Authority, Context};
use crate::cursor::{LIFE_MILLIS, PageCursor};
use crate::grants::{Grants, suggestion};
use crate::permit::{Permit, Plan, UpstreamCall, WritePermit};
use crate::proof::BinaryProof;
use crate::rules::TenantRules;
use crate::shape::Shape;

/// One interaction, asked by one session at one time.
pub struct Ask<'a> {
    /// The time of the decision.
    pub now: Millis,
    /// The tenant's rules.
    pub rules: &'a TenantRules,
    /// The integration as registered now.
    pub integration: &'a Integration,
    /// The approval as it stands now; the caller has compared its digest.
    pub approval: &'a Approval,
    /// The profile version the approval is for.
    pub profile: &'a TaskProfile,
    /// What the verified token says.
    pub session: &'a Session,
    /// What is asked.
    pub interaction: Interaction,
    /// The opened page token; `None` when the interaction is no page, or its seal did not open.
    pub page: Option<PageCursor>,
    /// The opened proofs of link that came with the request, by their sealed text.
    pub proofs: BTreeMap<String, BinaryProof>,
    /// What the session's patient has consented to, or [`Consents::none`] where the tenant asks nobody.
    pub consents: Consents,
    /// What else must agree to the release of each resource; `None` if nothing does.
    pub guard: Option<Arc<dyn Guard>>,
}

/// A rule about single resources that is made elsewhere, by an organisation's own policies. It only narrows.
pub trait Guard: Send + Sync {
    /// Whether a resource of this type with these codes of security labels may be released. A label that cannot be read
    /// is an empty code.
    fn releases(&self, kind: ResourceType, labels: &BTreeSet<String>) -> bool;
}

/// The answer to an [`Ask`].
#[must_use]
#[derive(Debug)]
pub enum Decision {
    /// No; the upstream is not contacted.
    Deny(Denial),
    /// Yes, with one upstream call and what its answer must satisfy.
    Permit(Permit),
    /// Yes, with one call that changes something upstream; its intent must be on record first.
    Write(WritePermit),
}

/// A refusal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// For the caller: what would help. Names no foreign id.
    pub says: String,
    /// The scope to ask for, for `WWW-Authenticate`.
    pub scope: Option<String>,
}

impl Denial {
    pub(crate) fn new(reason: Reason, says: impl Into<String>) -> Self {
        Self { reason, says: says.into(), scope: None }
    }
}

/// Judges one interaction: class ∩ integration ∩ approval ∩ profile ∩ scope ∩ compartment.
pub fn decide(ask: Ask<'_>) -> Decision {
    match plan(ask) {
        Ok(Go::Ask(plan)) => Decision::Permit(Permit(Box::new(plan))),
        Ok(Go::Write(plan)) => Decision::Write(WritePermit(Box::new(plan))),
        Err(denial) => Decision::Deny(denial),
    }
}

/// Whether the first call asks or writes.
enum Go {
    Ask(Plan),
    Write(Plan),
}

fn plan(ask: Ask<'_>) -> Result<Go, Denial> {
    check_standing(ask.now, ask.integration, ask.approval, ask.profile, ask.session)?;
    let Subject::Patient(patient) = &ask.session.subject else {
        return Err(Denial::new(
            Reason::ScopeInsufficient,
            "this session has no patient, so it reaches no patient data",
        ));
    };
    let Ask { rules, session, integration, profile, interaction, page, now, proofs, consents, guard, .. } = ask;
    let cx = Context {
        patient: patient.clone(),
        grants: Grants::new(integration, profile, session, rules, guard),
        upstream_base: rules.upstream_base.clone(),
        public_base: rules.public_base.clone(),
        session: session.id,
        authority: Authority::of(session),
        scope: session.scopes.to_string(),
        purpose_of_use: session.purpose_of_use.clone(),
        now,
        links_expire_at: session.expires_at.min(now.saturating_add(LIFE_MILLIS)),
        page: page.as_ref().map_or(1, PageCursor::number),
        consents,
        proofs,
        names: BTreeMap::new(),
    };
    let frame = Frame { rules, profile, cx: Arc::new(cx) };
    match interaction {
        Interaction::Bundle(submission) if submission.kind == SubmissionKind::Transaction => {
            write::transaction(&frame, submission)
        }
        Interaction::Write(write) => write::single(&frame, write),
        other => frame.read(other, page).map(Go::Ask),
    }
}

/// Whether anything at all may be asked now: integration, approval and session belong together and are alive.
pub(crate) fn check_standing(
    now: Millis,
    integration: &Integration,
    approval: &Approval,
    profile: &TaskProfile,
    session: &Session,
) -> Result<(), Denial> {
    if !integration.usable(now) {
        return Err(Denial::new(Reason::IntegrationInactive, "the integration is suspended, ended or expired"));
    }
    let session_fits = session.integration == integration.id
        && session.tenant == integration.tenant
        && session.epoch == integration.epoch
        && now < session.expires_at;
    if !session_fits {
        return Err(Denial::new(Reason::SessionEnded, "the session is over; start a new one"));
    }
    let approval_fits = approval.in_force(now)
        && approval.id == session.approval
        && approval.integration == integration.id
        && approval.tenant == integration.tenant
        && approval.task == session.task
        && profile.reference() == session.task;
    if !approval_fits {
        return Err(Denial::new(Reason::ApprovalMissing, "no approval in force covers this task"));
    }
    Ok(())
}

/// p2: one answer whether or not that patient exists.
fn other_patient() -> Denial {
    Denial::new(
        Reason::OtherPatient,
        "this session is for one patient, and the request names another; each patient needs a session of its own",
    )
}

/// What every interaction of one ask is judged within.
struct Frame<'a> {
    rules: &'a TenantRules,
    profile: &'a TaskProfile,
    cx: Arc<Context>,
}

impl Frame<'_> {
    /// Everything that asks and changes nothing.
    fn read(&self, interaction: Interaction, page: Option<PageCursor>) -> Result<Plan, Denial> {
        match interaction {
            Interaction::Capabilities => Err(Denial::new(
                Reason::NotSupported,
                "the gate answers `metadata` itself and never asks the upstream for it",
            )),
            Interaction::Read { kind, id, view } => {
                self.check_instance(kind, &id)?;
                let call = UpstreamCall::get(format!("{kind}/{id}"), "");
                Ok(self.plan("read", kind, call, Shape::Read { id }, view, Actions::READ))
            }
            Interaction::Vread { kind, id, version, view } => {
                self.check_instance(kind, &id)?;
                // What is not the session's now, or no longer shown, was not its before either (see `verify::past`).
                let now = UpstreamCall::get(format!("{kind}/{id}"), "");
                let after = Some(UpstreamCall::get(format!("{kind}/{id}/_history/{version}"), ""));
                Ok(self.plan("vread", kind, now, Shape::Vread { id, version, after }, view, Actions::READ))
            }
            Interaction::History(history) => record::history(self, history),
            Interaction::Everything(everything) => record::everything(self, everything),
            Interaction::Binary { id, proof, raw, view } => record::binary(self, id, proof.as_deref(), raw, view),
            Interaction::Search(search) => search::plan(self, search),
            Interaction::Page { kind, .. } => page::plan(self, kind, page),
            Interaction::Write(_) | Interaction::Bundle(_) => {
                Err(Denial::new(Reason::NotSupported, "each entry of a batch is decided by itself"))
            }
            Interaction::Bulk(_) => {
                Err(Denial::new(Reason::ExportRefused, "a session for one patient exports nothing"))
            }
        }
    }

    /// p1, p2 and p4 for one instance, by its name alone.
    fn check_instance(&self, kind: ResourceType, id: &Id) -> Result<(), Denial> {
        self.check_scope(kind, Actions::READ)?;
        if kind == ResourceType::PATIENT && *id != self.cx.patient {
            return Err(other_patient());
        }
        self.check_type(kind)
    }

    /// p1: without the letter for the type nothing is said about data.
    fn check_scope(&self, kind: ResourceType, action: Actions) -> Result<(), Denial> {
        if self.cx.grants.covering(kind, &[action]).next().is_some() {
            return Ok(());
        }
        let scope = suggestion(kind, action);
        Err(Denial {
            reason: Reason::ScopeInsufficient,
            says: format!("no scope of this session covers this; ask for `{scope}` if the task's profile has it"),
            scope: Some(scope),
        })
    }

    /// S2-04 and p4.
    fn check_type(&self, kind: ResourceType) -> Result<(), Denial> {
        if !self.cx.grants.expects(kind) {
            return Err(Denial::new(
                Reason::TypeUnexpected,
                format!("the integration is not registered to touch `{kind}`"),
            ));
        }
        if !self.cx.grants.releasable(kind) {
            return Err(Denial::new(
                Reason::TypeNotShared,
                format!("`{kind}` belongs to no single patient and is not shared here"),
            ));
        }
        Ok(())
    }

    /// S1-36: an operation is used only where the task's profile lists it.
    fn check_operation(&self, operation: Operation) -> Result<(), Denial> {
        if self.profile.operations.contains(&operation) {
            return Ok(());
        }
        Err(Denial::new(
            Reason::OperationRefused,
            format!("the task's profile does not list the operation `{}`", operation.code()),
        ))
    }

    fn plan(
        &self,
        interaction: &'static str,
        kind: ResourceType,
        call: UpstreamCall,
        shape: Shape,
        view: View,
        action: Actions,
    ) -> Plan {
        let mut clauses: Vec<u32> = self.cx.grants.covering(kind, &[action]).map(|clause| clause.index).collect();
        clauses.dedup();
        Plan { call, shape, kind, view, cx: Arc::clone(&self.cx), interaction, clauses, remark: None, steps: 1 }
    }
}
