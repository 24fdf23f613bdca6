//! Standing permission for one Integration to run one Task profile version until a date (S0-05, S2-25).

use fhir::ResourceType;
use fhir::request::ExportOf;

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
    /// The EHR launches it through Hilum and says which patient (LN-01).
    Ehr {},
    /// A person signs in, is shown the patients the tenant's rule gives them, and picks one (CX-09).
    Standalone {},
    /// No patient at all: bulk export of one population, for class `analytics` alone (S1-12).
    Export(ExportRule),
}

/// Whose records an approval lets be exported: the members of one Group, or every patient's.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRule {
    /// `Group/[id]` or `all-patients`.
    pub of: ExportOf,
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

/// The decision of the first of two approvers; nothing is in force by it.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct FirstApproval {
    /// Who; neither the requester nor the second approver.
    pub by: PersonId,
    /// When.
    pub at: Millis,
    /// The latest end they agreed to.
    pub until: Millis,
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
    /// The first approver, where it takes two (S1-12); absent in what was written before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<FirstApproval>,
    /// When it was put in force, whatever became of it since; absent in what never was, or was decided before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Millis>,
}

impl Approval {
    /// Whether it is in force at `now`. Whether its digest still fits is the caller's to compare.
    #[must_use]
    pub fn in_force(&self, now: Millis) -> bool {
        matches!(&self.status, ApprovalStatus::Approved { at, until, .. } if *at <= now && now < *until)
    }

    /// Whether it was ever in force.
    #[must_use]
    pub fn was_approved(&self) -> bool {
        self.approved_at.is_some() || matches!(self.status, ApprovalStatus::Approved { .. })
    }

    /// Whether two people approved it who are not each other and not the requester (S1-12).
    #[must_use]
    pub fn is_by_two(&self) -> bool {
        match (&self.status, &self.first) {
            (ApprovalStatus::Approved { by, .. }, Some(first)) => {
                first.by != *by && first.by != self.requested_by && *by != self.requested_by
            }
            _ => false,
        }
    }

    /// Whose records it lets be exported, if it is for an export and for nothing else.
    #[must_use]
    pub fn export(&self) -> Option<&ExportOf> {
        match self.terms.launch.as_slice() {
            [LaunchMode::Export(rule)] => Some(&rule.of),
            _ => None,
        }
    }
}

#[test]
fn an_export_is_one_population_and_two_people() {
    let mode = |text: &str| serde_json::from_str::<LaunchMode>(text);
    let group = mode(r#"{"mode":"export","of":"Group/G1"}"#).unwrap();
    assert_eq!(serde_json::to_string(&group).unwrap(), r#"{"mode":"export","of":"Group/G1"}"#);
    for bad in
        [r#"{"mode":"export"}"#, r#"{"mode":"export","of":"*"}"#, r#"{"mode":"export","of":"Group/G1","also":1}"#]
    {
        assert!(mode(bad).is_err(), "{bad}");
    }
    let person = |name: &str| name.parse::<PersonId>().unwrap();
    let approved = |by: &str| ApprovalStatus::Approved { by: person(by), at: 0, until: 10 };
    let first = |by: &str| Some(FirstApproval { by: person(by), at: 0, until: 10 });
    let mut approval = Approval {
        id: ApprovalId([1; 16]),
        tenant: "mercy".parse().unwrap(),
        integration: "cohorts".parse().unwrap(),
        task: TaskRef { name: "quality".parse().unwrap(), version: 1 },
        terms: Terms { launch: vec![group.clone()], token_seconds: 300, budgets: Budgets::hourly(1) },
        justification: "why".into(),
        requested_by: person("o@x"),
        requested_at: 0,
        digest: String::new(),
        status: approved("b@x"),
        first: first("a@x"),
        approved_at: None,
    };
    assert!(approval.is_by_two());
    assert_eq!(approval.export().map(ToString::to_string).as_deref(), Some("Group/G1"));
    approval.terms.launch = vec![group, LaunchMode::Ticket {}];
    assert_eq!(approval.export(), None, "for nothing else");
    for (by, earlier) in [("b@x", None), ("b@x", first("b@x")), ("b@x", first("o@x")), ("o@x", first("a@x"))] {
        (approval.status, approval.first) = (approved(by), earlier);
        assert!(!approval.is_by_two());
    }
    (approval.status, approval.first) = (ApprovalStatus::Requested, first("a@x"));
    assert!(!approval.is_by_two() && !approval.in_force(5));
}
