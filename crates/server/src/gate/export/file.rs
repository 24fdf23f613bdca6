//! A file of a job: who may have it as everything stands now, its opening on record, and then its lines as they are judged.

use domain::Reason;
use domain::audit::Phase;
use fhir::request::{Bulk, Interaction, KickOff};
use policy::decide_lines;

use super::stream::{Lines, Stream};
use super::{Found, failed, integration_of};
use crate::audit::Lane;
use crate::error::Refusal;
use crate::gate::work::{self, Job};
use crate::gate::{Answer, Gate};

/// The share of the process's memory that one file on its way has: a line and a block.
const HELD_BYTES: usize = 1024 * 1024;

impl Gate {
    pub(super) async fn export_file(&self, job: &Job<'_>, name: &str, number: u32) -> Answer {
        let Job { tenant, rules, caller, .. } = *job;
        let Found { id, row, stored } = match self.find_job(job, name).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        let files = stored.manifest.as_ref().map(policy::Manifest::files).unwrap_or_default();
        let Some(file) = usize::try_from(number).ok().and_then(|number| files.get(number)) else {
            return self.no_job(job).await;
        };
        // As if this file's type alone were asked for now: what was allowed at the kick-off may not be any more.
        let asked = KickOff { of: stored.job.of().clone(), kinds: vec![file.kind], filters: Vec::new() };
        let judgement = self.judge(job, &Interaction::Bulk(Bulk::KickOff(asked)), None);
        let allowed = judgement.allowed(&caller.standing.integration);
        let trace = &job.trace.judged(judgement);
        let job = &Job { trace, ..*job };
        let integration = integration_of(allowed.as_ref(), caller);
        let guard = allowed.as_ref().and_then(|allowed| allowed.guard.clone());
        let judge = match decide_lines(&self.export_ask(job, &integration), &stored.job, file.kind, guard) {
            Err(denial) if allowed.is_some() => return self.export_denied(job, denial).await,
            Err(denial) => return self.export_not_allowed(job, Some(denial)).await,
            Ok(_) if allowed.is_none() => return self.export_not_allowed(job, None).await,
            Ok(judge) => judge,
        };
        let limits = || caller.standing.limits();
        let Some(purse) = self.purses.of_export(id, row.expires_at, limits, self.clock.now()) else {
            return work::overloaded();
        };
        if let Err(over) = purse.left() {
            return self.over(trace, caller, over).await;
        }
        let Some(lease) = self.broker.keep(&tenant.settings.id, HELD_BYTES) else { return work::overloaded() };
        let Ok(slot) = self.audit.reserve(Lane::Release) else { return work::overloaded() };
        let body = match self.broker.export_file(&tenant.settings.id, &file.url).await {
            Ok(body) => body,
            Err(status) => return self.deny(trace, caller, failed(status)).await,
        };
        let alive = self.alive(&self.registry.snapshot(), &caller.session);
        if let Err(refusal) = alive.and_then(|_| self.still_ruled(job)) {
            return self.deny(trace, caller, refusal).await;
        }
        let mut record = trace.exported(&caller.session, &caller.standing, "export-file", name);
        record.phase = Phase::Open;
        record.object.kind = file.kind.name().to_owned();
        record.object.status = 200;
        record.phi.attributes.push(("export.file".to_owned(), number.to_string()));
        record.phi.attributes.sort();
        let template = record.clone();
        let Ok(opened) = self.audit.append(slot, record).await else { return Answer::unrecorded(work::unrecorded()) };
        let (lines, out) = Lines::new(self.still_exports(job));
        let stream = Stream::new(self, tenant, rules, job, template, judge, purse, lease, body, out);
        if self.changes.start(stream.run()).is_none() {
            let refusal = Refusal::new(Reason::Overloaded, "the gate is being stopped; try again");
            return Answer::unrecorded(refusal);
        }
        Answer::lines(lines, opened)
    }
}
