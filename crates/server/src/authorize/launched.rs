//! What establishes the patient of a session that nobody attends: a launch ticket, or a proved care relationship.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::audit::{Kind, Outcome};
use domain::{LaunchKind, LaunchMode, Millis, Reason};
use fhir::Id;
use oauth::ErrorCode;
use oauth::details::FhirTask;
use store::UsedAssertion;

use super::client::{Caller, refused};
use super::http::Refused;
use super::probe::NotProved;
use super::shown;
use super::token::{
    Denied, Launch, RELATIONSHIP_REFUSED, TICKET_REFUSED, not_approved, relationship_rule, store_failed,
};
use super::trace::{self, Trace};
use super::{Service, TICKET_ENCOUNTER, TICKET_PATIENT, Tenant, handles};
use crate::audit::Lane;

impl Service {
    pub(super) async fn by_ticket(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ticket: &str,
        now: Millis,
    ) -> Result<Launch, Denied> {
        let invalid = || Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, TICKET_REFUSED);
        let hash = handles::hash(ticket).ok_or_else(invalid)?;
        let found = self.store.find_ticket(&hash).await.map_err(|why| store_failed(&why))?;
        let ticket = found.filter(|found| found.used_at.is_none()).ok_or_else(invalid)?.ticket;
        let fits = ticket.tenant == tenant.id && ticket.integration == caller.integration.id && now < ticket.expires_at;
        if !fits {
            return Err(invalid());
        }
        let patient = self.opened(tenant, TICKET_PATIENT, &ticket.patient_sealed)?;
        let encounter = match &ticket.encounter_sealed {
            Some(sealed) => Some(self.opened(tenant, TICKET_ENCOUNTER, sealed)?),
            None => None,
        };
        let standing = self
            .registry
            .snapshot()
            .approved_task(&tenant.id, &caller.integration.id, &ticket.task, now)
            .filter(|standing| standing.approval.terms.launch.contains(&LaunchMode::Ticket {}))
            .ok_or_else(|| not_approved(ticket.task.as_str(), "launch tickets"))?;
        shown::admitted(&standing).map_err(|denied| denied.at(&standing, &patient))?;
        let kind = LaunchKind::Ticket;
        let patient = Some(patient);
        Ok(Launch {
            kind,
            standing,
            patient,
            encounter,
            ticket: Some(hash),
            details: None,
            evidence: None,
            person: None,
            b2b: None,
        })
    }

    pub(super) async fn by_relationship(
        &self,
        tenant: &Tenant,
        trace: &Trace,
        caller: &Caller,
        details: &FhirTask,
        used: &mut UsedAssertion,
        now: Millis,
    ) -> Result<Launch, Denied> {
        let standing = self
            .registry
            .snapshot()
            .approved_task(&tenant.id, &caller.integration.id, &details.task, now)
            .ok_or_else(|| not_approved(details.task.as_str(), "a care relationship"))?;
        let rule = relationship_rule(&standing.approval)
            .cloned()
            .ok_or_else(|| not_approved(details.task.as_str(), "a care relationship"))?;
        let patient = &details.patient;
        let by_role = shown::admitted(&standing).and_then(|()| shown::may_name_patient(&standing));
        by_role.map_err(|denied| denied.at(&standing, patient))?;
        // The upstream is asked on the caller's word, so the word must be spent first: a replayed assertion asks nothing.
        self.spend(used).await.map_err(|denied| denied.at(&standing, patient))?;
        let tag = self
            .keys
            .row_tag(tenant.id.as_str(), patient.as_str())
            .map_err(|_| Denied::unavailable("the keys failed"))?;
        let limits = standing.limits();
        if let Err(budget) = self.look_ups.count(&caller.integration.id, tag, &limits, now) {
            let denied = Denied { refused: Refused::budget(budget), ..Denied::unavailable("") };
            return Err(Denied { reason: Reason::BudgetSpent, ..denied }.at(&standing, patient));
        }
        let slot = self
            .audit
            .reserve(Lane::Release)
            .map_err(|_| Denied::unavailable("too many requests are being worked on"))?;
        let proof = self.relationship(tenant, &standing, &rule, patient, now).await;
        let outcome = match &proof {
            Ok(_) => Outcome::Success,
            Err(NotProved::Nothing) => Outcome::Denied,
            Err(NotProved::Failed) => Outcome::Failed,
        };
        let mut record = trace.record(Kind::RelationshipCheck, outcome, &caller.integration, caller.jti());
        trace::stands_on(&mut record, &standing);
        record.object.kind = rule.evidence.name().to_owned();
        record.phi.patients = vec![patient.to_string()];
        record.phi.resources = proof.iter().map(|evidence| evidence.resource.clone()).collect();
        record.phi.attributes.push(("relationship.search".into(), rule.search.clone()));
        if proof.is_err() {
            record.decision.reason = Reason::GrantInvalid.code().to_owned();
        }
        let recorded = self.audit.append(slot, record).await;
        if recorded.is_err() {
            let refused = trace::unrecorded();
            return Err(
                Denied { reason: Reason::RecordFailed, refused, ..Denied::unavailable("") }.at(&standing, patient)
            );
        }
        let evidence = proof.map_err(|_| {
            Denied::new(Reason::GrantInvalid, ErrorCode::InvalidGrant, RELATIONSHIP_REFUSED).at(&standing, patient)
        })?;
        Ok(Launch {
            kind: LaunchKind::Relationship,
            patient: Some(patient.clone()),
            encounter: None,
            ticket: None,
            details: Some(details.clone()),
            evidence: Some(evidence.resource),
            person: None,
            b2b: None,
            standing,
        })
    }

    /// Uses the assertion up before the upstream is asked. What `issue` uses up later is a name derived from it.
    pub(super) async fn spend(&self, used: &mut UsedAssertion) -> Result<(), Denied> {
        let fresh = self.store.use_assertion(used.clone()).await.map_err(|why| store_failed(&why))?;
        let derived = digest::digest(&digest::SHA256, used.jti.as_bytes());
        used.jti = format!("spent {}", URL_SAFE_NO_PAD.encode(derived));
        if fresh {
            return Ok(());
        }
        Err(Denied { refused: refused(), ..Denied::new(Reason::ClientInvalid, ErrorCode::InvalidClient, "") })
    }

    fn opened(&self, tenant: &Tenant, label: &str, sealed: &[u8]) -> Result<Id, Denied> {
        let plain = self.keys.open_row(tenant.id.as_str(), label, sealed).ok();
        let id = plain.and_then(|plain| String::from_utf8(plain).ok()?.parse().ok());
        id.ok_or_else(|| Denied::unavailable("a stored value does not open"))
    }
}
