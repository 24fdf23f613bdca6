//! What the gate writes into the ledger about one request.

use std::net::SocketAddr;
use std::sync::Arc;

use domain::audit::{AuditRecord, Kind, Outcome, Phase, Phi};
use domain::{Reason, Session, Subject, TenantId};
use policy::{Released, WritePermit};

use super::head::Head;
use super::organisation::Judgement;
use crate::clock::{RandomError, random};
use crate::error::Refusal;
use crate::hex::hex;
use crate::registry::{self, Standing};

/// Longest request text kept in a record.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Longest `User-Agent` kept.
const AGENT_BYTES_MAX: usize = 256;

/// What every record of one request shares.
#[derive(Clone)]
pub struct Trace {
    line: Arc<Line>,
    judgement: Judgement,
}

/// What was asked, and who asked it.
#[derive(Clone)]
struct Line {
    tenant: String,
    request_id: [u8; 16],
    request: String,
    peer: String,
    agent: String,
}

impl Trace {
    /// Starts a request's trace.
    pub fn new(tenant: &TenantId, below: &str, head: &Head<'_>, peer: SocketAddr) -> Result<Self, RandomError> {
        let mut request = format!("{} {below}", head.method_name);
        if let Some(query) = head.query {
            request.push('?');
            request.push_str(query);
        }
        cut(&mut request, REQUEST_BYTES_MAX);
        let mut agent = head.agent.to_owned();
        cut(&mut agent, AGENT_BYTES_MAX);
        let (tenant, peer) = (tenant.as_str().to_owned(), peer.to_string());
        Ok(Self::of(Line { tenant, request_id: random()?, request, peer, agent }))
    }

    /// The trace of one entry of a batch: the same request, and the entry's own line.
    pub fn entry(&self, line: &str) -> Self {
        let mut request = format!("{} > {line}", self.line.request);
        cut(&mut request, REQUEST_BYTES_MAX);
        Self::of(Line { request, ..Line::clone(&self.line) })
    }

    fn of(line: Line) -> Self {
        Self { line: Arc::new(line), judgement: Judgement::default() }
    }

    /// The same trace, once the organisation's policies have spoken.
    pub(super) fn judged(&self, judgement: Judgement) -> Self {
        Self { line: Arc::clone(&self.line), judgement }
    }

    /// What the organisation's policies said.
    pub(super) fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// The sealed part every record of this request starts with.
    pub fn phi(&self, session: &Session) -> Phi {
        let Line { request, peer, agent, .. } = &*self.line;
        Phi {
            patients: match &session.subject {
                Subject::Patient(id) => vec![id.as_str().to_owned()],
                // A surrogate is nobody: who it stands for was not looked up yet.
                Subject::Surrogate(_) | Subject::Cohort => Vec::new(),
            },
            request: request.clone(),
            peer: peer.clone(),
            agent: agent.clone(),
            scope: session.scopes.to_string(),
            ..Phi::default()
        }
    }

    fn record(&self, kind: Kind, outcome: Outcome, session: &Session, standing: Option<&Standing>) -> AuditRecord {
        let mut record = AuditRecord::new(&self.line.tenant, kind, outcome, self.line.request_id);
        record.actor.integration = session.integration.as_str().to_owned();
        record.actor.session = Some(session.id);
        record.actor.jti = session.jti.clone();
        record.decision.task = session.task.to_string();
        record.decision.approval = Some(session.approval);
        record.decision.purpose_of_use = session.purpose_of_use.clone();
        record.phi = self.phi(session);
        if let Some(standing) = standing {
            record.decision.digest = standing.approval.digest.clone();
            record.phi.attributes = attributes(session, standing);
            record.phi.attributes.extend(self.judgement.attributes());
            record.phi.attributes.sort();
        }
        record
    }

    /// A request refused before the upstream was asked, or whose session ended meanwhile.
    pub fn denied(&self, session: &Session, standing: Option<&Standing>, refusal: &Refusal) -> AuditRecord {
        let mut record = self.record(Kind::FhirDenied, Outcome::Denied, session, standing);
        record.decision.reason = refusal.reason.code().to_owned();
        record.object.status = refusal.status.as_u16();
        record.phi.note = refusal.says.clone();
        record
    }

    /// What is about to be changed, before it is.
    pub fn intended(&self, session: &Session, standing: &Standing, permit: &WritePermit) -> AuditRecord {
        let mut record = self.record(kind(permit.interaction_name()), Outcome::Success, session, Some(standing));
        record.phase = Phase::Intent;
        record.decision.clauses = permit.clauses().to_vec();
        record.object.kind = permit.kind().name().to_owned();
        record.object.interaction = permit.interaction_name().to_owned();
        record.phi.resources = permit.targets();
        record
    }

    /// What leaves, or the refusal that leaves in its place; after a change, what became of it.
    pub fn released(
        &self,
        session: &Session,
        standing: &Standing,
        released: &Released,
        wrote: bool,
        digest: Option<&str>,
    ) -> AuditRecord {
        let (kind, outcome) = match released.status() {
            200..=299 => (kind(released.interaction_name()), Outcome::Success),
            _ if wrote => (kind(released.interaction_name()), Outcome::Failed),
            404 => (Kind::FhirDenied, Outcome::Denied),
            _ => (Kind::FhirError, Outcome::Failed),
        };
        let mut record = self.record(kind, outcome, session, Some(standing));
        if wrote {
            record.phase = Phase::Outcome;
        }
        record.decision.reason = released.reason().map_or_else(String::new, |reason| reason.code().to_owned());
        record.decision.clauses = released.clauses().to_vec();
        let counts = released.counts();
        record.object.kind = released.kind().name().to_owned();
        record.object.interaction = released.interaction_name().to_owned();
        record.object.released = counts.released;
        record.object.filtered = counts.filtered;
        record.object.status = released.status();
        record.object.bytes = released.spooled().unwrap_or(released.body().len() as u64);
        if let Some(digest) = digest {
            record.object.digest = digest.to_owned();
        } else if counts.released > 0 {
            record.object.digest = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, released.body()).as_ref());
        }
        record.phi.resources = released.resources().to_vec();
        record.phi.attributes.push(("upstream.status".to_owned(), released.upstream_status().to_string()));
        record
    }
}

impl Trace {
    /// A step of an export: its job, and no patient unless its lines say so.
    pub fn exported(&self, session: &Session, standing: &Standing, step: &'static str, job: &str) -> AuditRecord {
        let mut record = self.record(Kind::FhirExport, Outcome::Success, session, Some(standing));
        record.object.interaction = step.to_owned();
        record.phi.attributes.push(("export.job".to_owned(), job.to_owned()));
        record.phi.attributes.sort();
        record
    }

    /// What was asked for, path and query.
    pub fn target(&self) -> &str {
        self.line.request.split_once(' ').map_or("", |(_, target)| target)
    }
}

/// The second record of a change of which it is not known what became, from the first.
pub fn lost(intended: &AuditRecord) -> AuditRecord {
    let mut record = intended.clone();
    record.phase = Phase::Outcome;
    record.outcome = Outcome::Failed;
    record.decision.reason = Reason::OutcomeUnknown.code().to_owned();
    record.object.status = 500;
    record
}

/// The kind of record an interaction makes.
fn kind(interaction: &str) -> Kind {
    match interaction {
        "read" | "vread" | "binary" => Kind::FhirRead,
        "history" => Kind::FhirHistory,
        "everything" | "lastn" => Kind::FhirOperation,
        "create" => Kind::FhirCreate,
        "update" => Kind::FhirUpdate,
        "patch" => Kind::FhirPatch,
        "delete" => Kind::FhirDelete,
        "transaction" => Kind::FhirTransaction,
        _ => Kind::FhirSearch,
    }
}

/// What the decision looked at, sorted by name (S2-21): the sealed part explains itself years later.
fn attributes(session: &Session, standing: &Standing) -> Vec<(String, String)> {
    let Standing { integration, approval, role, .. } = standing;
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let mut out = vec![
        pair("approval.digest", approval.digest.clone()),
        pair("approval.justification", approval.justification.clone()),
        pair("integration.class", integration.class.as_str().to_owned()),
        pair("integration.environment", integration.environment.as_str().to_owned()),
        pair("integration.epoch", integration.epoch.to_string()),
        pair("integration.purpose", integration.purpose.clone()),
        pair("session.expires_at", session.expires_at.to_string()),
        pair("session.purpose_of_use", session.purpose_of_use.clone()),
        pair("session.task", session.task.to_string()),
    ];
    out.push(pair("session.bound", session.confirmation.is_some().to_string()));
    out.push(pair("session.launch", session.launch.as_str().to_owned()));
    // Whom it acts for is in every record (UD-12).
    out.extend(session.act.members().map(|(name, value)| (format!("act.{name}"), value.to_owned())));
    if let (Some(name), Some(role)) = (&integration.role, role) {
        out.push(pair("role.name", name.to_string()));
        out.push(pair("role.digest", registry::role_digest(role)));
    }
    out
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
}
