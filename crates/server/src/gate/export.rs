//! Bulk export: who may not have it is refused by the path alone, and a person looks at it (S1-13).

use domain::{Class, Reason};
use fhir::request::{Bulk, InvalidKind, InvalidRequest, Submission, asks_export};

use super::work::Job;
use super::{Answer, Caller, Gate, absent, record};
use crate::error::Refusal;

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
        match bulk {
            Bulk::KickOff(_) => self.refuse_export(job.trace, job.caller, refused()).await,
            // Whoever has no job learns nothing of anybody's.
            Bulk::Status { .. } | Bulk::Cancel { .. } | Bulk::File { .. } => self.no_job(job).await,
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
        self.deny(trace, caller, Refusal::new(Reason::NotFound, "no such resource for this session")).await
    }
}
