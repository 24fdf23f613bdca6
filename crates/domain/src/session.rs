//! Sessions: one Integration on one Task for one subject, from launch to end (S1-38).

use crate::id::{ApprovalId, IntegrationId, Millis, SessionId, TenantId};
use crate::scope::ScopeSet;
use crate::task::TaskRef;

/// Whose data a session is about.
#[derive(Clone, Eq, PartialEq)]
pub enum Subject {
    /// Exactly one patient.
    Patient(fhir::Id),
    /// Exactly one patient, by the surrogate that stands for them in a de-identified session. Nothing is decided by it: who
    /// it is must be looked up first, and whoever forgets to reaches no data.
    Surrogate(fhir::Id),
    /// A population; class `analytics` only.
    Cohort,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Patient(_) => f.write_str("Patient([sealed])"),
            Self::Surrogate(_) => f.write_str("Surrogate([sealed])"),
            Self::Cohort => f.write_str("Cohort"),
        }
    }
}

/// What established the subject.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchKind {
    /// A launch ticket.
    Ticket,
    /// A proved care relationship.
    Relationship,
    /// None: the session is of a population.
    Export,
}

/// What a verified access token says of its session; liveness is looked up apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// `sid`.
    pub id: SessionId,
    /// `tenant`.
    pub tenant: TenantId,
    /// `client_id`.
    pub integration: IntegrationId,
    /// The integration's epoch when the token was issued.
    pub epoch: u64,
    /// The approval it runs under.
    pub approval: ApprovalId,
    /// `task`.
    pub task: TaskRef,
    /// `purpose_of_use`.
    pub purpose_of_use: String,
    /// `patient`.
    pub subject: Subject,
    /// `scope`.
    pub scopes: ScopeSet,
    /// `exp`, in milliseconds.
    pub expires_at: Millis,
    /// Feed number the issuing node had reached when it committed the session; a node behind it waits or answers 503.
    pub feed: u64,
    /// `jti`.
    pub jti: String,
}
