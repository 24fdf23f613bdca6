//! What the authorization server writes into the ledger.

use domain::audit::{AuditRecord, Kind, Outcome};
use domain::{Actor, Integration, Reason, Session, Subject};
use http::StatusCode;

use super::Service;
use super::http::{Origin, Refused};
use super::people::Person;
use crate::audit::Lane;
use crate::clock::random;
use crate::registry::{Standing, role_digest};

/// Longest asked scope kept in a record.
const SCOPE_BYTES_MAX: usize = 4 * 1024;

/// What all records of one request share.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    tenant: String,
    request_id: [u8; 16],
    request: &'static str,
    from: Origin,
}

impl Trace {
    /// Starts the trace of a request, e.g. `POST oauth/token`.
    pub(super) fn new(tenant: &str, request: &'static str, from: Origin) -> Result<Self, Refused> {
        let request_id = random().map_err(|_| Refused::unavailable("the random source failed"))?;
        Ok(Self { tenant: tenant.to_owned(), request_id, request, from })
    }

    /// A record about what `integration` did.
    pub(super) fn record(&self, kind: Kind, outcome: Outcome, integration: &Integration, jti: &str) -> AuditRecord {
        let mut record = AuditRecord::new(&self.tenant, kind, outcome, self.request_id);
        record.actor.integration = integration.id.as_str().to_owned();
        record.actor.jti = jti.to_owned();
        record.object.interaction = self.request.rsplit('/').next().unwrap_or_default().to_owned();
        record.phi.request = self.request.to_owned();
        record.phi.peer = self.from.peer.to_string();
        record.phi.agent = self.from.agent.clone();
        record.phi.attributes = vec![
            ("integration.class".into(), integration.class.as_str().to_owned()),
            ("integration.epoch".into(), integration.epoch.to_string()),
        ];
        record
    }

    /// A record about what a person did, where no integration is known or meant.
    pub(super) fn personal(&self, kind: Kind, outcome: Outcome) -> AuditRecord {
        let mut record = AuditRecord::new(&self.tenant, kind, outcome, self.request_id);
        record.object.interaction = self.request.rsplit('/').next().unwrap_or_default().to_owned();
        record.phi.request = self.request.to_owned();
        record.phi.peer = self.from.peer.to_string();
        record.phi.agent = self.from.agent.clone();
        record
    }

    /// In which tenant.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// What was asked, e.g. `POST oauth/token`.
    pub(super) fn request(&self) -> &'static str {
        self.request
    }

    /// The kind of the record that refuses it.
    pub(super) fn refused_kind(&self) -> Kind {
        match self.request {
            "POST oauth/launch" => Kind::LaunchDenied,
            "POST oauth/revoke" => Kind::TokenRevoke,
            "POST oauth/introspect" => Kind::TokenIntrospect,
            "POST oauth/par" => Kind::Authorize,
            _ => Kind::TokenDenied,
        }
    }

    /// Where it came from.
    pub(super) fn from(&self) -> &Origin {
        &self.from
    }
}

/// Adds the approval a decision rests on.
pub(super) fn stands_on(record: &mut AuditRecord, standing: &Standing) {
    record.decision.task = standing.approval.task.to_string();
    record.decision.approval = Some(standing.approval.id);
    record.decision.digest = standing.approval.digest.clone();
    record.decision.purpose_of_use = standing.profile.purpose_of_use.clone();
    record.phi.attributes.push(("approval.justification".into(), standing.approval.justification.clone()));
    if let Some((name, role)) = standing.integration.role.as_ref().zip(standing.role.as_ref()) {
        record.phi.attributes.push(("role.digest".into(), role_digest(role)));
        record.phi.attributes.push(("role.name".into(), name.to_string()));
    }
}

/// Adds the session a record is about.
pub(super) fn about(record: &mut AuditRecord, session: &Session) {
    record.actor.session = Some(session.id);
    record.decision.task = session.task.to_string();
    record.decision.approval = Some(session.approval);
    record.decision.purpose_of_use = session.purpose_of_use.clone();
    if let Subject::Patient(patient) = &session.subject {
        record.phi.patients = vec![patient.to_string()];
    }
    record.phi.scope = session.scopes.to_string();
}

/// Adds whom a session acts for (UD-12). A patient who uses an app is named in the sealed part alone.
pub(super) fn acting(record: &mut AuditRecord, person: Option<&Person>, act: &Actor) {
    if let Some(person) = person {
        record.actor.person = person.recorded();
    }
    let said = act.members().map(|(name, value)| (format!("act.{name}"), value.to_owned()));
    record.phi.attributes.extend(said);
}

/// Adds what was answered instead.
pub(super) fn refusal(record: &mut AuditRecord, reason: Reason, refused: &Refused) {
    record.decision.reason = reason.code().to_owned();
    record.object.status = refused.status.as_u16();
    record.phi.note = refused.error.description.clone();
}

/// Adds the scope as asked, cut.
pub(super) fn asked(record: &mut AuditRecord, scope: Option<&str>) {
    if let Some(scope) = scope {
        let end = scope.floor_char_boundary(SCOPE_BYTES_MAX);
        record.phi.attributes.push(("scope.asked".into(), scope.get(..end).unwrap_or_default().to_owned()));
    }
}

impl Service {
    /// Makes a record durable in the lane for refusals and answers, or says that it is not.
    pub(super) async fn write(&self, record: AuditRecord) -> Result<(), Refused> {
        let slot = self.audit.reserve(Lane::Denial).map_err(|_| overloaded())?;
        self.audit.append(slot, record).await.map(drop).map_err(|_| unrecorded())
    }
}

/// The ledger's queue is full.
pub(super) fn overloaded() -> Refused {
    Refused::unavailable("too many requests are being worked on; try again")
}

/// The record could not be made durable.
pub(super) fn unrecorded() -> Refused {
    let mut refused = Refused::unavailable("the audit record could not be made durable");
    refused.status = StatusCode::SERVICE_UNAVAILABLE;
    refused
}
