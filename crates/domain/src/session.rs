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
    /// The EHR's own launch context.
    Ehr,
    /// A signed-in person picked the patient, or is the patient.
    Standalone,
}

impl LaunchKind {
    /// As tokens and records write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Relationship => "relationship",
            Self::Export => "export",
            Self::Ehr => "ehr",
            Self::Standalone => "standalone",
        }
    }

    /// Reads what [`LaunchKind::as_str`] wrote.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        [Self::Ticket, Self::Relationship, Self::Export, Self::Ehr, Self::Standalone]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// Whether a person took part: such sessions may be refreshed while that person is signed in.
    #[must_use]
    pub fn has_person(self) -> bool {
        matches!(self, Self::Ehr | Self::Standalone)
    }
}

/// The key a token is bound to (`cnf`, RFC 7800): whoever presents it must prove to hold that key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Confirmation {
    /// `jkt`: RFC 7638 thumbprint of a DPoP key (RFC 9449 §6.1).
    Dpop([u8; 32]),
    /// `x5t#S256`: SHA-256 of a client certificate (RFC 8705 §3.1).
    Mtls([u8; 32]),
}

/// Whom the integration acts for (RFC 8693 `act`, with the names of HL7 SSRAA's `hl7-b2b`). Empty members are absent.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The person, as their identity provider or the asserting client names them; absent where no person takes part.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// Who says so: the identity provider's issuer, the EHR, or the client id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub iss: String,
    /// The person's FHIR resource, absolute.
    #[serde(default, rename = "fhirUser", skip_serializing_if = "String::is_empty")]
    pub fhir_user: String,
    /// The person's role, e.g. an NUCC code.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject_role: String,
    /// The organisation it acts for, a URI.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organization_id: String,
    /// The same by name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organization_name: String,
}

impl Actor {
    /// What is known of it, by the names it has in tokens; empty members are absent.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("fhirUser", &self.fhir_user),
            ("iss", &self.iss),
            ("organization_id", &self.organization_id),
            ("organization_name", &self.organization_name),
            ("sub", &self.sub),
            ("subject_role", &self.subject_role),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.as_str()))
    }
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
    /// What established the subject. A session launched by the EHR uses the EHR's own token and no other.
    pub launch: LaunchKind,
    /// `act`.
    pub act: Actor,
    /// `cnf`; `None` is a bearer token.
    pub confirmation: Option<Confirmation>,
}
