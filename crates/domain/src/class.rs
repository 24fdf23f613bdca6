//! Classes of integration, and the rules of each that no configuration can relax (DESIGN, "Class rules").

use crate::scope::{Level, RequestedScope, ResourceMatch, Scope, ScopeWord};

/// Longest life of any access token, in seconds (S1-16).
pub const TOKEN_SECONDS_MAX: u32 = 900;
/// Longest life of a token that holds a `system/` scope, in seconds (SMART Backend Services; BE-05).
pub const SYSTEM_TOKEN_SECONDS_MAX: u32 = 300;

/// What kind of integration this is. Absent in a registration means `clinical-ai` (S1-07).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// AI at work on one patient: `patient/` scopes only.
    #[default]
    ClinicalAi,
    /// An application with a signed-in clinician: `user/` scopes.
    ClinicianApp,
    /// Population analytics: `system/` scopes by name.
    Analytics,
    /// A patient's own application.
    PatientApp,
    /// May only mint launch tickets; holds no FHIR scope.
    Launcher,
}

/// Whether a person takes part in the start of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// One is signed in.
    Person,
    /// Nobody is there.
    Unattended,
}

impl Presence {
    fn takes_part(self) -> bool {
        self == Self::Person
    }
}

/// A scope its class may never hold; `Display` says what to ask for instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClassRefusal {
    /// The level belongs to another class.
    #[error("`{scope}`: a {class} integration holds {allowed} scopes only")]
    Level {
        /// The offending scope as written.
        scope: String,
        /// The class, as written in manifests.
        class: &'static str,
        /// What it may hold.
        allowed: &'static str,
    },
    /// `*` instead of a named type (S0-04, S1-20).
    #[error("`{scope}`: name the resource types; a wildcard is never granted to {class}")]
    Wildcard {
        /// The offending scope as written.
        scope: String,
        /// The class.
        class: &'static str,
    },
    /// `offline_access`, or `online_access` where no person takes part (S1-18).
    #[error("`{scope}`: a {class} integration gets no refresh token; start a new session instead")]
    Refresh {
        /// The offending scope as written.
        scope: String,
        /// The class.
        class: &'static str,
    },
}

impl Class {
    /// As written in manifests and on the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClinicalAi => "clinical-ai",
            Self::ClinicianApp => "clinician-app",
            Self::Analytics => "analytics",
            Self::PatientApp => "patient-app",
            Self::Launcher => "launcher",
        }
    }

    /// Whether this class may ever hold `scope` (S0-04, S1-07, S1-10, S1-11, S1-20).
    ///
    /// # Errors
    /// The rule that forbids it, naming the scope.
    pub fn check_scope(self, scope: &Scope) -> Result<(), ClassRefusal> {
        let (level, allowed) = match self {
            Self::ClinicalAi => (Some(Level::Patient), "patient/"),
            Self::PatientApp => (Some(Level::Patient), "patient/"),
            Self::ClinicianApp => (None, "patient/ and user/"),
            Self::Analytics => (Some(Level::System), "system/"),
            Self::Launcher => {
                return Err(ClassRefusal::Level { scope: scope.to_string(), class: self.as_str(), allowed: "no FHIR" });
            }
        };
        let level_fits = match level {
            Some(level) => scope.level == level,
            None => scope.level != Level::System,
        };
        if !level_fits {
            return Err(ClassRefusal::Level { scope: scope.to_string(), class: self.as_str(), allowed });
        }
        if scope.resource == ResourceMatch::Every && self != Self::PatientApp {
            return Err(ClassRefusal::Wildcard { scope: scope.to_string(), class: self.as_str() });
        }
        Ok(())
    }

    /// Whether asking for `item` at the token endpoint makes the whole request `invalid_scope` (DESIGN, "Tokens").
    ///
    /// # Errors
    /// The rule that forbids it, naming the scope.
    pub fn check_request(self, item: &RequestedScope, person: Presence) -> Result<(), ClassRefusal> {
        match item {
            RequestedScope::Fhir(scope) => self.check_scope(scope),
            RequestedScope::Word(ScopeWord::OfflineAccess) if self != Self::PatientApp => {
                Err(ClassRefusal::Refresh { scope: "offline_access".into(), class: self.as_str() })
            }
            RequestedScope::Word(ScopeWord::OnlineAccess) if !person.takes_part() => {
                Err(ClassRefusal::Refresh { scope: "online_access".into(), class: self.as_str() })
            }
            _ => Ok(()),
        }
    }

    /// How many people must approve, the requester not among them: two where whole populations are concerned (S1-12).
    #[must_use]
    pub fn approvers(self) -> u8 {
        match self {
            Self::Analytics => 2,
            _ => 1,
        }
    }

    /// Longest token life this class may be given, in seconds.
    #[must_use]
    pub fn token_seconds_max(self) -> u32 {
        match self {
            Self::Analytics => SYSTEM_TOKEN_SECONDS_MAX,
            _ => TOKEN_SECONDS_MAX,
        }
    }
}

#[test]
fn class_rules_hold_for_every_class() {
    let scope = |text: &str| text.parse::<Scope>().unwrap();
    for (class, text, allowed) in [
        (Class::ClinicalAi, "patient/Observation.rs", true),
        (Class::ClinicalAi, "patient/*.rs", false),
        (Class::ClinicalAi, "patient/*.read", false),
        (Class::ClinicalAi, "user/Observation.rs", false),
        (Class::ClinicalAi, "system/Observation.rs", false),
        (Class::ClinicianApp, "user/Observation.rs", true),
        (Class::ClinicianApp, "system/Observation.rs", false),
        (Class::Analytics, "system/Observation.rs", true),
        (Class::Analytics, "system/*.rs", false),
        (Class::Analytics, "patient/Observation.rs", false),
        (Class::PatientApp, "patient/*.rs", true),
        (Class::Launcher, "patient/Patient.r", false),
    ] {
        assert_eq!(class.check_scope(&scope(text)).is_ok(), allowed, "{class:?} {text}");
    }
    for (class, word, person, allowed) in [
        (Class::ClinicalAi, ScopeWord::OfflineAccess, Presence::Person, false),
        (Class::ClinicalAi, ScopeWord::OnlineAccess, Presence::Person, true),
        (Class::ClinicalAi, ScopeWord::OnlineAccess, Presence::Unattended, false),
        (Class::ClinicianApp, ScopeWord::OfflineAccess, Presence::Person, false),
        (Class::PatientApp, ScopeWord::OfflineAccess, Presence::Person, true),
    ] {
        let item = RequestedScope::Word(word);
        assert_eq!(class.check_request(&item, person).is_ok(), allowed, "S1-18 {class:?} {word:?} {person:?}");
    }
    assert_eq!(Class::default(), Class::ClinicalAi, "S1-07");
}
