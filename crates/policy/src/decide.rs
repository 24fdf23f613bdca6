//! `decide`: the only maker of a [`Permit`]. Missing data, unknown input and doubt are refusals.

mod search;

use domain::{Actions, Approval, Integration, Millis, Reason, Session, Subject, TaskProfile};
use fhir::request::Interaction;
use fhir::{Id, ResourceType};

use crate::cursor::PageCursor;
use crate::grants::{Grants, suggestion};
use crate::permit::{Permit, Plan, Shape, UpstreamCall};
use crate::rules::TenantRules;

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
}

/// The answer to an [`Ask`].
#[must_use]
#[derive(Debug)]
pub enum Decision {
    /// No; the upstream is not contacted.
    Deny(Denial),
    /// Yes, with one upstream call and what its answer must satisfy.
    Permit(Permit),
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
        Ok(plan) => Decision::Permit(Permit(Box::new(plan))),
        Err(denial) => Decision::Deny(denial),
    }
}

fn plan(ask: Ask<'_>) -> Result<Plan, Denial> {
    check_standing(&ask)?;
    let Subject::Patient(patient) = &ask.session.subject else {
        return Err(Denial::new(
            Reason::ScopeInsufficient,
            "this session has no patient, so it reaches no patient data",
        ));
    };
    let patient = patient.clone();
    let grants = Grants::new(ask.integration, ask.profile, ask.session, ask.rules);
    let Ask { rules, session, interaction, page, now, .. } = ask;
    let frame = Frame { rules, session, patient, grants, now };
    match interaction {
        Interaction::Capabilities => Err(Denial::new(
            Reason::NotSupported,
            "the gate answers `metadata` itself and never asks the upstream for it",
        )),
        Interaction::Read { kind, id, view } => {
            frame.check_scope(kind, Actions::READ)?;
            if kind == ResourceType::PATIENT && id != frame.patient {
                return Err(other_patient());
            }
            frame.check_type(kind)?;
            let call = UpstreamCall { path: format!("{kind}/{id}"), query: String::new() };
            Ok(frame.plan(kind, call, Shape::Read { id }, view, Actions::READ, None))
        }
        Interaction::Search(search) => search::plan(frame, search),
        Interaction::Page { kind, .. } => page_plan(frame, kind, page),
    }
}

/// Whether anything at all may be asked now: integration, approval and session belong together and are alive.
fn check_standing(ask: &Ask<'_>) -> Result<(), Denial> {
    let Ask { now, integration, approval, profile, session, .. } = ask;
    if !integration.usable(*now) {
        return Err(Denial::new(Reason::IntegrationInactive, "the integration is suspended, ended or expired"));
    }
    let session_fits = session.integration == integration.id
        && session.tenant == integration.tenant
        && session.epoch == integration.epoch
        && *now < session.expires_at;
    if !session_fits {
        return Err(Denial::new(Reason::SessionEnded, "the session is over; start a new one"));
    }
    let approval_fits = approval.in_force(*now)
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

fn page_plan(frame: Frame<'_>, kind: ResourceType, cursor: Option<PageCursor>) -> Result<Plan, Denial> {
    frame.check_scope(kind, Actions::SEARCH)?;
    frame.check_type(kind)?;
    let cursor = cursor
        .filter(|cursor| {
            cursor.session == frame.session.id
                && cursor.scope == frame.session.scopes.to_string()
                && cursor.kind == kind
                && frame.now < cursor.expires_at
        })
        .ok_or_else(|| {
            Denial::new(Reason::PageInvalid, "this page link belongs to another session or is too old; search again")
        })?;
    if let Some(param) = cursor.narrowed_by
        && frame.rules.filters.is_poisoned(kind, param)
    {
        return Err(search::unproved(kind, param));
    }
    let call = UpstreamCall { path: cursor.path.clone(), query: cursor.query.clone() };
    let shape = Shape::Search {
        empty: false,
        narrowed_by: cursor.narrowed_by,
        includes: cursor.includes,
        applied: String::new(),
        page: Some(cursor.clone()),
    };
    Ok(frame.plan(kind, call, shape, cursor.view, Actions::SEARCH, None))
}

/// What every interaction of one ask is judged within.
struct Frame<'a> {
    rules: &'a TenantRules,
    session: &'a Session,
    patient: Id,
    grants: Grants,
    now: Millis,
}

impl Frame<'_> {
    /// p1: without the letter for the type nothing is said about data.
    fn check_scope(&self, kind: ResourceType, action: Actions) -> Result<(), Denial> {
        if self.grants.covering(kind, &[action]).next().is_some() {
            return Ok(());
        }
        let scope = suggestion(kind);
        Err(Denial {
            reason: Reason::ScopeInsufficient,
            says: format!("no scope of this session covers this; ask for `{scope}` if the task's profile has it"),
            scope: Some(scope),
        })
    }

    /// S2-04 and p4.
    fn check_type(&self, kind: ResourceType) -> Result<(), Denial> {
        if !self.grants.expects(kind) {
            return Err(Denial::new(
                Reason::TypeUnexpected,
                format!("the integration is not registered to touch `{kind}`"),
            ));
        }
        if !self.grants.releasable(kind) {
            return Err(Denial::new(
                Reason::TypeNotShared,
                format!("`{kind}` belongs to no single patient and is not shared here"),
            ));
        }
        Ok(())
    }

    fn plan(
        self,
        kind: ResourceType,
        call: UpstreamCall,
        shape: Shape,
        view: fhir::request::View,
        action: Actions,
        remark: Option<Reason>,
    ) -> Plan {
        let mut clauses: Vec<u32> = self.grants.covering(kind, &[action]).map(|clause| clause.index).collect();
        clauses.dedup();
        Plan {
            call,
            shape,
            kind,
            view,
            patient: self.patient,
            grants: self.grants,
            upstream_base: self.rules.upstream_base.clone(),
            public_base: self.rules.public_base.clone(),
            session: self.session.id,
            scope: self.session.scopes.to_string(),
            page_expires_at: self.session.expires_at.min(self.now.saturating_add(crate::cursor::LIFE_MILLIS)),
            clauses,
            remark,
        }
    }
}
