//! Standing permission for one Integration to run one Task profile version until a date (S0-05, S2-25).

use fhir::ResourceType;

use crate::budget::Budgets;
use crate::id::{ApprovalId, IntegrationId, Millis, PersonId, TenantId};
use crate::task::TaskRef;

/// Longest an approval may last: 400 days, so that every one is decided again each year (S2-25).
pub const APPROVAL_MILLIS_MAX: Millis = 400 * 24 * 3600 * 1000;

/// What may establish the patient of a session under an approval (DESIGN, "How a session starts").
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LaunchMode {
    /// A registered launcher mints a one-time ticket.
    Ticket {},
    /// The agent names the patient and Hilum proves a care relationship first.
    Relationship(RelationshipRule),
}

/// How a care relationship is proved: an upstream search bound to the approval, whose results pass `verify`.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct RelationshipRule {
    /// The evidence's type, e.g. `Appointment`; no integration may be able to write it.
    pub evidence: ResourceType,
    /// Search with `{patient}` bound as a typed id, e.g. `patient=Patient/{patient}&status=booked&location=Location/7`.
    pub search: String,
    /// The element that dates the evidence, e.g. `start`.
    pub dated_by: String,
    /// Largest distance of that date from now, in days, in either direction.
    pub days_max: u32,
}

/// What is asked of the approver, beside the integration and the profile themselves.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Ways a session may start; empty means none.
    pub launch: Vec<LaunchMode>,
    /// Access token life in seconds, at most the class's maximum.
    pub token_seconds: u32,
    /// Limits.
    pub budgets: Budgets,
}

/// Where an approval stands.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum ApprovalStatus {
    /// Waits for a privacy officer.
    Requested,
    /// In force until `until`.
    Approved {
        /// Who approved; never the requester.
        by: PersonId,
        /// When.
        at: Millis,
        /// When it ends by the clock.
        until: Millis,
    },
    /// Something its hash covers changed, or a person switched it off.
    Suspended {
        /// Why, for people.
        reason: String,
        /// When.
        at: Millis,
    },
    /// Refused by a privacy officer.
    Rejected {
        /// Who.
        by: PersonId,
        /// When.
        at: Millis,
    },
    /// Ended for good.
    Ended {
        /// Who.
        by: PersonId,
        /// When.
        at: Millis,
    },
}

/// A request for approval and what became of it.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Approval {
    /// Its id; tokens carry it.
    pub id: ApprovalId,
    /// In which tenant.
    pub tenant: TenantId,
    /// For which integration.
    pub integration: IntegrationId,
    /// For which profile version.
    pub task: TaskRef,
    /// On which terms.
    pub terms: Terms,
    /// Why, in the requester's words (S3-02).
    pub justification: String,
    /// Who asked.
    pub requested_by: PersonId,
    /// When.
    pub requested_at: Millis,
    /// SHA-256 over everything that may change its risk (see `approval::subject_digest`), hexadecimal.
    pub digest: String,
    /// Where it stands.
    pub status: ApprovalStatus,
}

impl Approval {
    /// Whether it is in force at `now`. Whether its digest still fits is the caller's to compare.
    #[must_use]
    pub fn in_force(&self, now: Millis) -> bool {
        matches!(&self.status, ApprovalStatus::Approved { at, until, .. } if *at <= now && now < *until)
    }
}
