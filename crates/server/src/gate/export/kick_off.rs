//! Kick-off: judged, its members fixed, its intent on record and an alert raised, and only then begun.
//!
//! What has been sent does not end where its client goes away, so the rest is a task of its own, as a change is.

use std::panic::AssertUnwindSafe;

use domain::audit::{AuditRecord, Outcome, Phase};
use domain::{ExportId, Millis, Reason, TenantId};
use fhir::request::{Bulk, Interaction, KickOff};
use futures_util::FutureExt as _;
use http::StatusCode;
use policy::{ExportPermit, decide_export};
use store::wal::Receipt;
use store::{ExportRow, ExportState};

use super::stored::Stored;
use super::{export_label, failed, integration_of, owner, unknown};
use crate::audit::{Audit, Intended, Lane, Slot};
use crate::broker::{Begun, Broker};
use crate::clock::random;
use crate::error::Refusal;
use crate::gate::answer::Step;
use crate::gate::work::{self, Job};
use crate::gate::{Answer, Caller, Gate};
use crate::keys::KeyRing;

/// Jobs of one integration that are neither cancelled nor expired.
const JOBS_MAX: u64 = 10;
/// How long a job and its files can be asked for.
const KEPT: Millis = 24 * 3_600_000;

/// What the rest of a kick-off needs beyond its request.
struct Beginning {
    audit: Audit,
    broker: Broker,
    keys: KeyRing,
    tenant: TenantId,
    caller: Caller,
    id: ExportId,
    request: String,
    now: Millis,
}

impl Gate {
    pub(super) async fn kick_off(&self, job: &Job<'_>, kick_off: KickOff) -> Answer {
        let Job { tenant, rules, caller, .. } = *job;
        if let Err(over) = caller.purse.left() {
            return self.over(job.trace, caller, over).await;
        }
        let judgement = self.judge(job, &Interaction::Bulk(Bulk::KickOff(kick_off.clone())), None);
        let allowed = judgement.allowed(&caller.standing.integration);
        let trace = &job.trace.judged(judgement);
        let job = &Job { trace, ..*job };
        let integration = integration_of(allowed.as_ref(), caller);
        let plan = match decide_export(&self.export_ask(job, &integration), kick_off) {
            Err(denial) if allowed.is_some() => return self.export_denied(job, denial).await,
            Err(denial) => return self.export_not_allowed(job, Some(denial)).await,
            Ok(_) if allowed.is_none() => return self.export_not_allowed(job, None).await,
            Ok(plan) => plan,
        };
        match self.keys.store().live_exports(&caller.session.integration, self.clock.now()).await {
            Ok(live) if live < JOBS_MAX => {}
            Ok(_) => {
                let says =
                    format!("this integration has {JOBS_MAX} exports already; cancel one, or wait until one expires");
                return self.deny(trace, caller, Refusal::new(Reason::BudgetSpent, says)).await;
            }
            Err(why) => {
                tracing::error!(%why, "exports could not be counted");
                return self.deny(trace, caller, unknown()).await;
            }
        }
        let members = self.broker.ask_members(&tenant.settings.id, &plan).await;
        let permit = match plan.permit(members.as_ref()) {
            Ok(permit) => permit,
            Err(denial) => return self.deny(trace, caller, denial.into()).await,
        };
        // An end that came meanwhile counts before anything is begun.
        let alive = self.alive(&self.registry.snapshot(), &caller.session);
        if let Err(refusal) = alive.and_then(|_| self.still_ruled(job)) {
            return self.deny(trace, caller, refusal).await;
        }
        let Ok(id) = random().map(ExportId) else { return self.deny(trace, caller, unknown()).await };
        let reserved = (self.audit.reserve(Lane::Release), self.audit.reserve(Lane::Release));
        let (Ok(intent), Ok(outcome)) = reserved else { return work::overloaded() };
        let mut record = trace.exported(&caller.session, &caller.standing, "export", &id.to_string());
        record.phase = Phase::Intent;
        describe(&mut record, &permit);
        // A person looks at every job (S1-12).
        let says = format!("an export of {} begins", permit.job().of());
        if self
            .audit
            .try_alert(tenant.settings.id.as_str(), "export-started", &says, trace.phi(&caller.session))
            .await
            .is_err()
        {
            return Answer::unrecorded(work::unrecorded());
        }
        let beginning = Beginning {
            audit: self.audit.clone(),
            broker: self.broker.clone(),
            keys: self.keys.clone(),
            tenant: tenant.settings.id.clone(),
            caller: caller.clone(),
            id,
            request: format!("{}{}", rules.public_base, trace.target()),
            now: self.clock.now(),
        };
        let Some(begun) = self.changes.start(beginning.run([intent, outcome], record, permit)) else {
            return work::overloaded();
        };
        match begun.await {
            Ok(Ok(receipt)) => {
                let step = Step {
                    status: StatusCode::ACCEPTED,
                    content_location: Some(format!("{}/$bulk/{id}", rules.public_base)),
                    ..Step::default()
                };
                Answer::step(step, receipt)
            }
            Ok(Err(refusal)) => Answer::unrecorded(refusal),
            Err(_) => Answer::unrecorded(unsure()),
        }
    }
}

/// What is about to be exported, in the sealed part.
fn describe(record: &mut AuditRecord, permit: &ExportPermit) {
    let job = permit.job();
    let kinds: Vec<&str> = job.kinds().iter().map(|kind| kind.name()).collect();
    let members = job.members().count().map_or_else(|| "everyone".to_owned(), |count| count.to_string());
    let said = [("export.of", job.of().to_string()), ("export.types", kinds.join(",")), ("export.members", members)];
    record.phi.attributes.extend(said.map(|(name, value)| (name.to_owned(), value)));
    record.phi.attributes.sort();
}

impl Beginning {
    /// Between the two records nothing returns early: a fault of ours is an outcome too.
    async fn run(self, slots: [Slot; 2], record: AuditRecord, permit: ExportPermit) -> Result<Receipt, Refusal> {
        let [intent, outcome] = slots;
        let audit = self.audit.clone();
        let mut after = AuditRecord { phase: Phase::Outcome, ..record.clone() };
        let Ok(intended) = audit.intend(intent, record, permit).await else { return Err(work::unrecorded()) };
        let (done, place) = match AssertUnwindSafe(self.begin(intended)).catch_unwind().await {
            Ok(done) => done,
            Err(_) => (Err(unsure()), None),
        };
        match &done {
            Ok(()) => after.object.status = 202,
            Err(refusal) => {
                after.outcome = Outcome::Failed;
                after.decision.reason = refusal.reason.code().to_owned();
                after.object.status = refusal.status.as_u16();
            }
        }
        after.phi.resources.extend(place);
        let recorded = audit.append(outcome, after).await;
        done?;
        recorded.map_err(|_| unsure())
    }

    /// Begins it, and keeps where it is. What cannot be kept is cancelled again.
    async fn begin(self, intended: Intended<ExportPermit>) -> (Result<(), Refusal>, Option<String>) {
        let Self { broker, keys, tenant, caller, id, request, now, .. } = self;
        let (begun, job) = broker.begin_export(&tenant, intended).await;
        let place = match begun {
            Begun::At(place) => place,
            Begun::Not(status) => return (Err(failed(status)), None),
        };
        let stored = Stored { place: place.clone(), request, job, manifest: None };
        let sealed = stored.encode().and_then(|plain| keys.seal_row(tenant.as_str(), &export_label(&id), &plain).ok());
        let kept = match sealed {
            None => false,
            Some(sealed) => {
                let (created_at, expires_at, state) = (now, now.saturating_add(KEPT), ExportState::Accepted);
                let row = ExportRow { id, owner: owner(&caller), state, sealed, created_at, expires_at };
                let kept = keys.store().insert_export(&row).await;
                kept.inspect_err(|why| tracing::error!(%why, "an export could not be kept")).is_ok()
            }
        };
        if !kept {
            broker.cancel_export(&tenant, &place).await;
            return (Err(unknown()), Some(place));
        }
        (Ok(()), Some(place))
    }
}

fn unsure() -> Refusal {
    let says = "it is not on record what became of the export; it may have begun, and nobody can ask for its files";
    Refusal::new(Reason::OutcomeUnknown, says)
}
