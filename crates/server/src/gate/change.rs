//! Changes: from the record of the intent to the record of the outcome, whatever becomes of whoever asked.
//!
//! A request ends where its client goes away. What has been sent upstream does not: so a change is a task of its own, which the
//! request only waits for, and which the end of the process waits for too.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use domain::audit::AuditRecord;
use domain::{Reason, TenantId};
use futures_util::FutureExt as _;
use policy::{Released, Verdict, WritePermit};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::budget::Place;
use super::work::{self, Job};
use super::{Answer, Caller, Gate, absent, record};
use crate::audit::{Audit, Intended, Lane, Recorded, Slot};
use crate::broker::{Broker, Sent};
use crate::error::Refusal;
use crate::keys::KeyRing;
use crate::outbound::Lease;
use crate::registry::Registry;

/// Longest wait for changes at the end of the process: the longest time that an upstream may be given (300 s), and what the
/// records around it take.
const ENDED_WITHIN: Duration = Duration::from_secs(330);

/// The changes under way.
pub(super) struct Changes(watch::Sender<UnderWay>);

#[derive(Default)]
struct UnderWay {
    count: usize,
    closed: bool,
}

/// One of them; counted until it is dropped, and so also where it panics.
struct Counted(watch::Sender<UnderWay>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| under_way.count = under_way.count.saturating_sub(1));
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(UnderWay::default()))
    }
}

impl Changes {
    /// Starts one; none is started once the process ends.
    pub(super) fn start<F>(&self, change: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let started = self.0.send_if_modified(|under_way| {
            under_way.count += usize::from(!under_way.closed);
            !under_way.closed
        });
        let counted = started.then(|| Counted(self.0.clone()))?;
        Some(tokio::spawn(async move {
            let _counted = counted;
            change.await
        }))
    }

    /// Takes no more of them, and waits for those under way.
    pub(super) async fn close(&self) {
        self.0.send_modify(|under_way| under_way.closed = true);
        let mut seen = self.0.subscribe();
        let ended = seen.wait_for(|under_way| under_way.count == 0);
        if tokio::time::timeout(ENDED_WITHIN, ended).await.is_err() {
            let left = self.0.borrow().count;
            tracing::error!(left, "changes are still under way; the ledger will have their intents without outcomes");
        }
    }
}

/// What a change needs beyond the request that asked for it.
struct Change {
    audit: Audit,
    broker: Broker,
    keys: KeyRing,
    registry: Registry,
    tenant: TenantId,
    trace: record::Trace,
    caller: Caller,
}

impl Gate {
    /// Makes a change; `outcome` is the place of its second record.
    pub(super) async fn change(&self, job: &Job<'_>, outcome: Slot, permit: WritePermit, place: Place) -> Answer {
        let Job { tenant, trace, caller, .. } = *job;
        // An end that came meanwhile counts before anything is changed.
        let alive = self.alive(&self.registry.snapshot(), &caller.session);
        if let Err(refusal) = alive.and_then(|_| self.still_ruled(job)) {
            return self.deny(trace, caller, refusal).await;
        }
        let Ok(intent) = self.audit.reserve(Lane::Release) else { return work::overloaded() };
        let record = trace.intended(&caller.session, &caller.standing, &permit);
        let change = Change {
            audit: self.audit.clone(),
            broker: self.broker.clone(),
            keys: self.keys.clone(),
            registry: self.registry.clone(),
            tenant: tenant.settings.id.clone(),
            trace: trace.clone(),
            caller: caller.clone(),
        };
        let audit = self.audit.clone();
        let changed =
            made_and_recorded(audit, [intent, outcome], record, permit, |intended| change.make(intended, place));
        let Some(changing) = self.changes.start(changed) else { return work::overloaded() };
        let (recorded, shown, _lease) = match changing.await {
            Ok(Ok(changed)) => changed,
            Ok(Err(refusal)) => return Answer::unrecorded(refusal),
            Err(_) => return Answer::unrecorded(unknown()),
        };
        // An end that came while the upstream was answering: what was changed is recorded as changed, and not shown.
        if let Err(refusal) = self.alive(&self.registry.snapshot(), &caller.session) {
            return self.deny(trace, caller, refusal).await;
        }
        if recorded.released().reason() == Some(Reason::NotFound) {
            absent::next_tick(self.clock.now()).await;
        }
        match shown {
            Shown::Whole => Answer::released(recorded, None, None),
            Shown::Bare => Answer::bare(recorded),
        }
    }
}

/// What a change came to: what may leave, its record, and its share of the process's memory.
type Made = (Released, AuditRecord, Shown, Option<Lease>);

/// Whether the answer to a change has its body: one that was made is answered as made, whatever the budget says.
#[derive(Clone, Copy)]
enum Shown {
    Whole,
    /// Status and headers, as if for `return=minimal`.
    Bare,
}

/// Between the two records nothing returns early: a fault of ours is an outcome too.
async fn made_and_recorded<F>(
    audit: Audit,
    [intent, outcome]: [Slot; 2],
    record: AuditRecord,
    permit: WritePermit,
    make: impl FnOnce(Intended<WritePermit>) -> F,
) -> Result<(Recorded, Shown, Option<Lease>), Refusal>
where
    F: Future<Output = Option<Made>>,
{
    let lost = record::lost(&record);
    let Ok(intended) = audit.intend(intent, record, permit).await else { return Err(work::unrecorded()) };
    let Ok(Some((released, record, shown, lease))) =
        AssertUnwindSafe(async { make(intended).await }).catch_unwind().await
    else {
        if let Err(why) = audit.append(outcome, lost).await {
            tracing::error!(%why, "the outcome of a change could not be recorded");
        }
        return Err(unknown());
    };
    let recorded = audit.record(outcome, record, released).await.map_err(|_| unknown())?;
    Ok((recorded, shown, lease))
}

impl Change {
    async fn make(self, intended: Intended<WritePermit>, place: Place) -> Option<Made> {
        let Self { audit, broker, keys, registry, tenant, trace, caller } = self;
        let Sent { answered, lease, .. } = broker.write_held(&tenant, intended).await;
        let verdict = policy::verify(answered, &mut |bytes: &[u8]| keys.seal_page(&tenant, bytes).ok());
        let Verdict::Released(released) = verdict else { return None };
        work::raise(&audit, &registry, &tenant, released.findings(), || trace.phi(&caller.session)).await;
        if released.reason() == Some(Reason::NotFound) {
            absent::spend(&audit, &trace, &caller.session, place);
        }
        let mut record = trace.released(&caller.session, &caller.standing, &released, true, None);
        let mut shown = Shown::Whole;
        if let Err(over) = caller.purse.release(&released) {
            let first = over.first;
            let refusal = Refusal::from(over);
            if first {
                let phi = trace.phi(&caller.session);
                audit.alert_soon(tenant.as_str(), refusal.reason.code(), &refusal.says, phi);
            }
            shown = Shown::Bare;
            record.decision.reason = refusal.reason.code().to_owned();
            (record.object.bytes, record.object.released) = (0, 0);
            record.object.digest.clear();
        }
        Some((released, record, shown, lease))
    }
}

fn unknown() -> Refusal {
    let says = "it is not on record what became of the change; read before trying again";
    Refusal::new(Reason::OutcomeUnknown, says)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use domain::audit::{Kind, Outcome, Phase};
    use fhir::request::{Body, Method, Raw};
    use policy::Decision;
    use testkit::world::{NOW, World};

    use super::*;
    use crate::audit::{Filter, PhiAccess};
    use crate::clock::Clock;

    fn permit() -> WritePermit {
        let body = br#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}}"#;
        let body = Some(Body { media: Some("application/fhir+json"), bytes: body });
        let raw = Raw { body, ..Raw::plain(Method::Post, "/Observation", None) };
        match World::new("patient/Observation.cruds").ask(&raw) {
            Ok(Decision::Write(permit)) => permit,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_is_an_outcome_on_record() {
        let store = store::Store::open("sqlite::memory:").await.unwrap();
        let root = vault::RootKey::parse(&[1; 32]).unwrap();
        let keys = KeyRing::open(&root, &store, &["mercy".parse().unwrap()], NOW).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), "n", "gate.example", keys, Clock::fixed(NOW)).await.unwrap();
        let slots = || [Lane::Release; 2].map(|lane| audit.reserve(lane).unwrap());
        let record = || {
            let mut record = AuditRecord::new("mercy", Kind::FhirCreate, Outcome::Success, [1; 16]);
            record.phase = Phase::Intent;
            record
        };
        let made =
            made_and_recorded(audit.clone(), slots(), record(), permit(), |_| async { panic!("a fault of ours") });
        assert!(made.await.is_err_and(|refusal| refusal.reason == Reason::OutcomeUnknown));
        let made = made_and_recorded(audit.clone(), slots(), record(), permit(), |_| async { None });
        assert!(made.await.is_err_and(|refusal| refusal.reason == Reason::OutcomeUnknown));
        let filter = Filter { tenant: Some("mercy".into()), limit: 10, ..Filter::default() };
        let found = audit.search(filter, PhiAccess::Sealed).await.unwrap();
        let said = |record: &crate::audit::RecordView| (record.phase.to_string(), record.reason.clone());
        let found: Vec<_> = found.records.iter().rev().map(said).collect();
        let pair = [("intent".to_owned(), String::new()), ("outcome".to_owned(), "outcome-unknown".to_owned())];
        assert_eq!(found, [pair.clone(), pair].concat());
    }

    #[tokio::test]
    async fn the_end_waits_for_what_was_started_and_nothing_is_started_after() {
        let changes = Changes::default();
        let done = Arc::new(AtomicBool::new(false));
        let marks = Arc::clone(&done);
        let slow = async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            marks.store(true, Ordering::SeqCst);
        };
        assert!(changes.start(slow).is_some());
        let faulty = changes.start(async { panic!("a fault of ours") });
        changes.close().await;
        assert!(done.load(Ordering::SeqCst));
        assert!(faulty.unwrap().await.is_err_and(|why: tokio::task::JoinError| why.is_panic()));
        assert!(changes.start(async {}).is_none());
    }
}
