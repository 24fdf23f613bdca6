//! Cancelling a job: it is over here whatever the upstream says; what that said is on record.

use domain::audit::{Outcome, Phase};
use http::StatusCode;

use super::{Found, unknown};
use crate::audit::Lane;
use crate::gate::answer::Step;
use crate::gate::work::{self, Job};
use crate::gate::{Answer, Gate};

impl Gate {
    pub(super) async fn cancel_export(&self, job: &Job<'_>, name: &str) -> Answer {
        let Job { tenant, trace, caller, .. } = *job;
        let Found { id, stored, .. } = match self.find_job(job, name).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        let reserved = (self.audit.reserve(Lane::Release), self.audit.reserve(Lane::Release));
        let (Ok(intent), Ok(outcome)) = reserved else { return work::overloaded() };
        let mut record = trace.exported(&caller.session, &caller.standing, "export-cancel", &id.to_string());
        record.phase = Phase::Intent;
        let mut after = record.clone();
        if self.audit.append(intent, record).await.is_err() {
            return Answer::unrecorded(work::unrecorded());
        }
        let refusal = match self.keys.store().cancel_export(&id).await {
            Ok(true) => None,
            Ok(false) => return self.no_job(job).await,
            Err(why) => {
                tracing::error!(%why, "an export could not be cancelled");
                Some(unknown())
            }
        };
        after.phase = Phase::Outcome;
        after.object.status = 202;
        if let Some(refusal) = &refusal {
            after.outcome = Outcome::Failed;
            after.decision.reason = refusal.reason.code().to_owned();
            after.object.status = refusal.status.as_u16();
        } else {
            let said = self.broker.cancel_export(&tenant.settings.id, &stored.place).await;
            after.phi.attributes.push(("upstream.status".to_owned(), said.to_string()));
            after.phi.attributes.sort();
        }
        let recorded = self.audit.append(outcome, after).await;
        match (refusal, recorded) {
            (Some(refusal), _) => Answer::unrecorded(refusal),
            (None, Err(_)) => Answer::unrecorded(work::unrecorded()),
            (None, Ok(receipt)) => Answer::step(Step { status: StatusCode::ACCEPTED, ..Step::default() }, receipt),
        }
    }
}
