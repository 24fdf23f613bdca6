//! People: disjoint from integrations, each with roles in one tenant or over the whole installation.

use crate::id::PersonId;

/// What a person may do. Nobody is `operator` and `privacy-officer` in one tenant (DESIGN, "State").
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Registers integrations, profiles and people; requests approvals; ends sessions.
    Operator,
    /// Approves, rejects, suspends and ends approvals.
    PrivacyOfficer,
    /// Reads everything, changes nothing.
    Auditor,
}

impl Role {
    /// As written on the API and CLI.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::PrivacyOfficer => "privacy-officer",
            Self::Auditor => "auditor",
        }
    }
}

/// A person's account, without the credential.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// For people.
    pub name: String,
    /// `(tenant or None for every tenant, role)`; empty may do nothing.
    pub roles: Vec<(Option<crate::id::TenantId>, Role)>,
}
