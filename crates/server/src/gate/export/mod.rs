//! Bulk export: who may not have it is refused by the path alone, and a person looks at it (S1-13); who may, has one population
//! by an approval of its own (S1-12, S1-14, S1-15).

mod cancel;
mod file;
mod kick_off;
mod status;
mod stored;
mod stream;

use std::sync::Arc;

use domain::{Class, ExportId, Integration, Reason, Subject};
use fhir::ResourceType;
use fhir::request::{Bulk, ExportOf, InvalidKind, InvalidRequest, KickOff, Submission, asks_export};
use orgpolicy::Action;
use policy::{Denial, ExportAsk, TenantRules, decide_export};
use store::{ExportOwner, ExportRow, ExportState};

use self::stored::Stored;
pub use self::stream::Lines;
use super::work::{self, Job};
use super::{Answer, Caller, Gate, absent, record};
use crate::audit::Lane;
use crate::error::Refusal;
use crate::gate::answer::Step;
use crate::registry::Standing;

/// When to ask again where the upstream does not say, in seconds; and the bounds of what it may say.
const RETRY_AFTER_DEFAULT: u32 = 10;
const RETRY_AFTER_MAX: u32 = 300;

/// Whether a request is refused whatever else it says: it speaks of an export, and its sender is of a class without any.
pub(super) fn is_refused(below: &str, caller: &Caller) -> bool {
    asks_export(below) && caller.standing.integration.class != Class::Analytics
}

/// The refusal of whoever may export nothing.
pub(super) fn refused() -> Refusal {
    Refusal::new(
        Reason::ExportRefused,
        "bulk export is for integrations of class analytics alone, by an approval of its own",
    )
}

/// Whether a request could not be read for being an export.
pub(super) fn is_export(invalid: &InvalidRequest) -> bool {
    invalid.kind == InvalidKind::Export
}

/// Whether an entry of a Bundle asks for an export.
pub(super) fn is_within(submission: &Submission) -> bool {
    submission.entries.iter().any(|entry| entry.asks.as_ref().is_err_and(is_export))
}

/// The label under which a job's row is sealed: what stands in one row opens in no other.
fn export_label(id: &ExportId) -> String {
    format!("export_job.sealed|{id}")
}

/// A job that is the caller's, opened.
struct Found {
    id: ExportId,
    row: ExportRow,
    stored: Stored,
}

impl Gate {
    /// A refusal that is also an alert, durable before the answer leaves.
    pub(super) async fn refuse_export(&self, trace: &record::Trace, caller: &Caller, refusal: Refusal) -> Answer {
        self.alert_export(trace, caller, &refusal.says).await;
        self.deny(trace, caller, refusal).await
    }

    /// The alert alone: one for each request, however many entries of a Bundle ask for exports.
    pub(super) async fn alert_export(&self, trace: &record::Trace, caller: &Caller, says: &str) {
        let phi = trace.phi(&caller.session);
        let code = Reason::ExportRefused.code();
        Box::pin(self.audit.alert(&caller.session.tenant, code, says, phi)).await;
    }

    /// A step of an export.
    pub(super) async fn bulk(&self, job: &Job<'_>, bulk: Bulk) -> Answer {
        let of_population = is_of_population(job.caller);
        match bulk {
            Bulk::KickOff(_) if !of_population => self.refuse_export(job.trace, job.caller, refused()).await,
            Bulk::KickOff(kick_off) => Box::pin(self.kick_off(job, kick_off)).await,
            // Whoever has no job learns nothing of anybody's.
            Bulk::Status { .. } | Bulk::Cancel { .. } | Bulk::File { .. } if !of_population => self.no_job(job).await,
            Bulk::Status { job: name } => Box::pin(self.export_status(job, &name)).await,
            Bulk::Cancel { job: name } => Box::pin(self.cancel_export(job, &name)).await,
            Bulk::File { job: name, number } => Box::pin(self.export_file(job, &name, number)).await,
        }
    }

    /// "There is no such job" and "it is not yours" are one answer (S1-14), and as seldom as any other of its kind.
    pub(super) async fn no_job(&self, job: &Job<'_>) -> Answer {
        let Job { trace, caller, .. } = *job;
        let place = match caller.purse.place().await {
            Ok(place) => place,
            Err(refusal) => return self.deny(trace, caller, refusal).await,
        };
        absent::spend(&self.audit, trace, &caller.session, place);
        let answer =
            self.deny(trace, caller, Refusal::new(Reason::NotFound, "no such resource for this session")).await;
        absent::next_tick(self.clock.now()).await;
        answer
    }

    /// The job of this name, if it is the caller's and was not cancelled; `Err` is the answer.
    async fn find_job(&self, job: &Job<'_>, name: &str) -> Result<Found, Answer> {
        let Job { trace, caller, .. } = *job;
        let Ok(id) = name.parse::<ExportId>() else { return Err(self.no_job(job).await) };
        let found = self.keys.store().find_export(&id, &owner(caller), self.clock.now()).await;
        let row = match found {
            Ok(Some(row)) if row.state != ExportState::Cancelled => row,
            Ok(_) => return Err(self.no_job(job).await),
            Err(why) => {
                tracing::error!(%why, "an export could not be looked up");
                return Err(self.deny(trace, caller, unknown()).await);
            }
        };
        let tenant = caller.session.tenant.as_str();
        let plain = self.keys.open_row(tenant, &export_label(&id), &row.sealed).ok();
        match plain.and_then(|plain| Stored::decode(&plain)) {
            Some(stored) => Ok(Found { id, row, stored }),
            None => {
                tracing::error!(%id, "an export cannot be read");
                Err(self.deny(trace, caller, unknown()).await)
            }
        }
    }

    /// What is asked for an export, of whoever is registered or what the organisation's policies leave of it.
    fn export_ask<'a>(&self, job: &'a Job<'_>, integration: &'a Integration) -> ExportAsk<'a> {
        let Job { rules, caller, .. } = *job;
        ExportAsk {
            now: self.clock.now(),
            rules,
            integration,
            approval: &caller.standing.approval,
            profile: &caller.standing.profile,
            session: &caller.session,
        }
    }

    /// The population of the caller's approval, and what of it may be exported now.
    pub(super) fn exportable(
        &self,
        caller: &Caller,
        rules: &TenantRules,
        permits: &dyn Fn(Action, ResourceType) -> bool,
    ) -> (ExportOf, Vec<ResourceType>) {
        let Standing { integration, approval, profile, .. } = &caller.standing;
        let of = approval.export().cloned().unwrap_or(ExportOf::AllPatients);
        let ask = ExportAsk { now: self.clock.now(), rules, integration, approval, profile, session: &caller.session };
        let everything = KickOff { of: of.clone(), kinds: Vec::new(), filters: Vec::new() };
        let kinds = decide_export(&ask, everything).map(|plan| plan.kinds().to_vec()).unwrap_or_default();
        (of, kinds.into_iter().filter(|kind| caller.may_export() && permits(Action::Export, *kind)).collect())
    }

    /// A refusal before anything is asked. An export of what was not approved is also an alert.
    async fn export_denied(&self, job: &Job<'_>, denial: Denial) -> Answer {
        if denial.reason == Reason::ExportRefused {
            return self.refuse_export(job.trace, job.caller, denial.into()).await;
        }
        self.denied(job, denial).await
    }

    /// What policies refuse, as the registration alone would refuse it if it did.
    async fn export_not_allowed(&self, job: &Job<'_>, as_registered: Option<Denial>) -> Answer {
        match as_registered {
            Some(denial) => self.export_denied(job, denial).await,
            None => {
                let says = "the policies of this organisation do not allow this";
                self.deny(job.trace, job.caller, Refusal::new(Reason::Policy, says)).await
            }
        }
    }

    /// A step that was taken: recorded, then answered.
    async fn stepped(&self, job: &Job<'_>, id: &ExportId, name: &'static str, step: Step) -> Answer {
        let Job { trace, caller, .. } = *job;
        let Ok(slot) = self.audit.reserve(Lane::Release) else { return work::overloaded() };
        let mut record = trace.exported(&caller.session, &caller.standing, name, &id.to_string());
        record.object.status = step.status.as_u16();
        match self.audit.append(slot, record).await {
            Ok(receipt) => Answer::step(step, receipt),
            Err(_) => Answer::unrecorded(work::unrecorded()),
        }
    }
}

/// Whether the caller has a session for a population: everybody else has no jobs.
fn is_of_population(caller: &Caller) -> bool {
    caller.standing.integration.class == Class::Analytics && caller.session.subject == Subject::Cohort
}

/// Whose a caller's jobs are.
fn owner(caller: &Caller) -> ExportOwner {
    ExportOwner {
        tenant: caller.session.tenant.clone(),
        integration: caller.session.integration.clone(),
        approval: caller.session.approval,
    }
}

/// The integration that policies leave, or as it is registered where they leave nothing.
fn integration_of(allowed: Option<&super::organisation::Allowed>, caller: &Caller) -> Arc<Integration> {
    let registered = &caller.standing.integration;
    Arc::clone(allowed.map_or(registered, |allowed| &allowed.integration))
}

fn unknown() -> Refusal {
    Refusal::new(Reason::Overloaded, "the export could not be looked up; try again")
}

/// What an upstream's failure is to the caller.
fn failed(status: u16) -> Refusal {
    match status {
        503 | 504 => {
            Refusal::new(Reason::UpstreamUnavailable, "the server behind the gate is not available; try again")
        }
        _ => Refusal::new(Reason::UpstreamBroken, "the server behind the gate does not export as it should"),
    }
}

fn retry_after(said: Option<u32>) -> u32 {
    said.unwrap_or(RETRY_AFTER_DEFAULT).clamp(1, RETRY_AFTER_MAX)
}
