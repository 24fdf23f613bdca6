//! The audit record: one leaf of the ledger. A clear part for search and review, a sealed part for PHI.
//!
//! Field list: `spec/audit.md` §5.1. The encoding (deterministic CBOR, RFC 8949 §4.2) is in `audit/cbor.rs`.

pub mod cbor;
mod names;

use crate::id::{ApprovalId, SessionId};

/// What happened.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Kind {
    /// A FHIR read.
    FhirRead,
    /// A FHIR search, or a page of one.
    FhirSearch,
    /// A FHIR request refused before or after the upstream call.
    FhirDenied,
    /// The upstream failed or broke the contract.
    FhirError,
    /// An access token was issued.
    TokenIssue,
    /// A token request was refused.
    TokenDenied,
    /// A token was revoked (RFC 7009).
    TokenRevoke,
    /// A token was introspected (RFC 7662).
    TokenIntrospect,
    /// A launch ticket was minted.
    LaunchMint,
    /// A launch ticket was refused.
    LaunchDenied,
    /// A relationship look-up at the upstream.
    RelationshipCheck,
    /// A session was ended.
    SessionEnd,
    /// A registry object was written, approved, suspended or ended.
    RegistryChange,
    /// An API request by a person was refused.
    RegistryDenied,
    /// The audit log itself was read.
    AuditRead,
    /// Something a person must look at; `decision.reason` says what.
    Alert,
    /// The process started or stopped (tenant `_system`).
    Boot,
    /// Keys were made or rotated.
    KeyChange,
    /// Several unauthenticated refusals counted together.
    Flood,
    /// A FHIR instance history.
    FhirHistory,
    /// A FHIR create.
    FhirCreate,
    /// A FHIR update.
    FhirUpdate,
    /// A FHIR patch.
    FhirPatch,
    /// A FHIR delete.
    FhirDelete,
    /// A FHIR operation.
    FhirOperation,
    /// A FHIR transaction; its writes are among the sealed resources.
    FhirTransaction,
    /// A step of a bulk export.
    FhirExport,
    /// The upstream's own token of a session that is over was revoked there, or not (S1-32); `decision.reason` says which.
    UpstreamRevoke,
    /// A person allowed or denied an app, or its request was refused before they were asked.
    Authorize,
    /// A person signed in, or was not let in.
    SignIn,
    /// A person signed out.
    SignOut,
    /// Patients were shown to a person who picks one.
    PatientsShown,
    /// The EHR launched an app, or tried to.
    EhrLaunch,
}

/// Which step of an action a record is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// The whole action in one record.
    Done,
    /// Written before an action.
    Intent,
    /// What became of an intent.
    Outcome,
    /// Before the next part of a stream leaves: whose records it holds.
    Open,
    /// A stream has ended: its counts and its digest.
    Close,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// As asked.
    Success,
    /// Refused.
    Denied,
    /// Failed.
    Failed,
}

/// Who acted. Clear: workforce and service identity is needed for review and is not the patient's PHI.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Actor {
    /// `client_id`, empty when unknown.
    pub integration: String,
    /// A person's id, empty for machines.
    pub person: String,
    /// The session, where there is one.
    pub session: Option<SessionId>,
    /// `jti` of the token or assertion, empty when none.
    pub jti: String,
    /// The person's roles, comma separated.
    pub roles: String,
}

/// Why it was allowed or refused. Clear: names of profile and clause index only, never a granular scope's value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DecisionPart {
    /// Stable code of the reason ([`crate::Reason::code`]) or of the alert; empty when allowed without remark.
    pub reason: String,
    /// `scheduling@1`, empty when none.
    pub task: String,
    /// The approval.
    pub approval: Option<ApprovalId>,
    /// The approval's digest, hexadecimal (the policy and attributes that allowed it are bound by it).
    pub digest: String,
    /// HL7 v3 PurposeOfUse.
    pub purpose_of_use: String,
    /// Indexes into the session's scope clauses that allowed it.
    pub clauses: Vec<u32>,
}

/// What was touched, in numbers and type names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObjectPart {
    /// Resource type or registry noun; empty when none.
    pub kind: String,
    /// `read`, `search`, `page`, `token`, …
    pub interaction: String,
    /// Resources released.
    pub released: u32,
    /// Resources held back.
    pub filtered: u32,
    /// Bytes of the released body.
    pub bytes: u64,
    /// SHA-256 of the released body, hexadecimal; empty when nothing was released.
    pub digest: String,
    /// HTTP status answered.
    pub status: u16,
}

/// What is sealed: anything that is or may be PHI, and the attributes the decision looked at.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Phi {
    /// Patients concerned, as ids; also tagged.
    pub patients: Vec<String>,
    /// Released resources, `Type/id` or `Type/id/_history/v`.
    pub resources: Vec<String>,
    /// The request as received (method, path, query), cut to 4 KiB.
    pub request: String,
    /// Peer address.
    pub peer: String,
    /// `User-Agent`, cut to 256 bytes.
    pub agent: String,
    /// The scope string, so that a record explains itself.
    pub scope: String,
    /// Attributes the decision looked at, `name=value`, sorted.
    pub attributes: Vec<(String, String)>,
    /// Free text.
    pub note: String,
}

impl std::fmt::Debug for Phi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phi([sealed])")
    }
}

/// Everything one ledger entry says. The writer adds index, node, boot and time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditRecord {
    /// Tenant id, or `_system`.
    pub tenant: String,
    /// What happened.
    pub kind: Kind,
    /// Which step.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Outcome,
    /// Ties together all records of one request.
    pub request_id: [u8; 16],
    /// Who.
    pub actor: Actor,
    /// Why.
    pub decision: DecisionPart,
    /// What.
    pub object: ObjectPart,
    /// The sealed part.
    pub phi: Phi,
}

impl AuditRecord {
    /// A record with only what every record has; the rest is filled in by the maker.
    #[must_use]
    pub fn new(tenant: &str, kind: Kind, outcome: Outcome, request_id: [u8; 16]) -> Self {
        Self {
            tenant: tenant.to_owned(),
            kind,
            phase: Phase::Done,
            outcome,
            request_id,
            actor: Actor::default(),
            decision: DecisionPart::default(),
            object: ObjectPart::default(),
            phi: Phi::default(),
        }
    }
}
