//! The stable numbers and names of kinds, phases and outcomes: numbers in the ledger, names for people and the API.

use super::{Kind, Outcome, Phase};

/// Number, name and value of every kind. Numbers are on disk for ten years: never change or reuse one.
const KINDS: &[(u8, &str, Kind)] = &[
    (1, "fhir.read", Kind::FhirRead),
    (2, "fhir.search", Kind::FhirSearch),
    (3, "fhir.denied", Kind::FhirDenied),
    (4, "fhir.error", Kind::FhirError),
    (5, "token.issue", Kind::TokenIssue),
    (6, "token.denied", Kind::TokenDenied),
    (7, "token.revoke", Kind::TokenRevoke),
    (8, "token.introspect", Kind::TokenIntrospect),
    (9, "launch.mint", Kind::LaunchMint),
    (10, "launch.denied", Kind::LaunchDenied),
    (11, "relationship.check", Kind::RelationshipCheck),
    (12, "session.end", Kind::SessionEnd),
    (13, "registry.change", Kind::RegistryChange),
    (14, "registry.denied", Kind::RegistryDenied),
    (15, "audit.read", Kind::AuditRead),
    (16, "alert", Kind::Alert),
    (17, "boot", Kind::Boot),
    (18, "key.change", Kind::KeyChange),
    (19, "flood", Kind::Flood),
    (20, "fhir.history", Kind::FhirHistory),
    (21, "fhir.create", Kind::FhirCreate),
    (22, "fhir.update", Kind::FhirUpdate),
    (23, "fhir.patch", Kind::FhirPatch),
    (24, "fhir.delete", Kind::FhirDelete),
    (25, "fhir.operation", Kind::FhirOperation),
    (26, "fhir.transaction", Kind::FhirTransaction),
    (27, "fhir.export", Kind::FhirExport),
    (28, "upstream.revoke", Kind::UpstreamRevoke),
    (29, "authorize", Kind::Authorize),
    (30, "sign-in", Kind::SignIn),
    (31, "sign-out", Kind::SignOut),
    (32, "patients.shown", Kind::PatientsShown),
    (33, "ehr.launch", Kind::EhrLaunch),
];

impl Kind {
    /// Its number in the ledger.
    #[must_use]
    pub fn code(self) -> u8 {
        KINDS.iter().find(|(_, _, kind)| *kind == self).map_or(0, |(code, _, _)| *code)
    }

    /// Its name, e.g. `fhir.read`.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, _, kind)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// The kind of a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        KINDS.iter().find(|(number, _, _)| *number == code).map(|(_, _, kind)| *kind)
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known, _)| *known == name).map(|(_, _, kind)| *kind)
    }
}

impl Phase {
    const ALL: [Self; 5] = [Self::Done, Self::Intent, Self::Outcome, Self::Open, Self::Close];

    /// Its number in the ledger.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Intent => 1,
            Self::Outcome => 2,
            Self::Open => 3,
            Self::Close => 4,
        }
    }

    /// The phase of a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.code() == code)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Open => "open",
            Self::Close => "close",
        }
    }
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Success, Self::Denied, Self::Failed];

    /// Its number in the ledger.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Denied => 1,
            Self::Failed => 2,
        }
    }

    /// The outcome of a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.code() == code)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// The outcome of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

#[test]
fn every_number_and_name_is_one_kind() {
    for (code, name, kind) in KINDS {
        assert_eq!((kind.code(), kind.name()), (*code, *name));
        assert_eq!((Kind::from_code(*code), Kind::from_name(name)), (Some(*kind), Some(*kind)));
    }
    assert_eq!(Kind::from_code(0), None);
    assert_eq!(Outcome::from_name("denied"), Some(Outcome::Denied));
    for phase in Phase::ALL {
        assert_eq!(Phase::from_code(phase.code()), Some(phase), "{}", phase.name());
    }
    assert_eq!(Phase::from_code(5), None);
}
