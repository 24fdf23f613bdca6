//! SMART scopes as this EHR grants and enforces them: whole types only, in both spellings (SMART 2.2, "Scopes").

/// Whose records a scope opens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Level {
    /// Those of the patient in context.
    Patient,
    /// All that the person sees, which is everything here.
    User,
}

/// A scope for FHIR resources.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Scope {
    pub(super) level: Level,
    /// A type, or `*`.
    kind: String,
    /// A subsequence of `cruds`.
    actions: String,
}

impl Scope {
    /// Reads one. Those with a query are none: this EHR does not narrow by it, and so must not grant it (SC-18).
    pub(super) fn read(text: &str) -> Option<Self> {
        let (level, rest) = text.split_once('/')?;
        let (kind, actions) = rest.split_once('.')?;
        let level = match level {
            "patient" => Level::Patient,
            "user" => Level::User,
            _ => return None,
        };
        if kind != "*" && kind.parse::<fhir::ResourceType>().is_err() {
            return None;
        }
        let actions = match actions {
            "read" => "rs",
            "write" => "cud",
            "*" => "cruds",
            other => other,
        };
        let mut left = "cruds".chars();
        let ordered = !actions.is_empty() && actions.chars().all(|action| left.any(|next| next == action));
        ordered.then(|| Self { level, kind: kind.to_owned(), actions: actions.to_owned() })
    }

    /// Whether it lets this be done with this type.
    pub(super) fn covers(&self, kind: &str, action: char) -> bool {
        (self.kind == "*" || self.kind == kind) && self.actions.contains(action)
    }
}

/// How an app starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    /// From the EHR, with a handle.
    Ehr,
    /// On its own.
    Alone,
}

/// Of the scopes asked for, each once, those that this EHR grants. Others are left out, which the token answer tells.
pub(super) fn granted(asked: &str, start: Start) -> Vec<String> {
    let mut granted: Vec<String> = Vec::new();
    for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
        let known = match scope {
            "openid" | "fhirUser" | "profile" | "online_access" | "offline_access" | "launch/patient" => true,
            "launch" | "launch/encounter" => start == Start::Ehr,
            other => Scope::read(other).is_some(),
        };
        if known && !granted.iter().any(|own| own == scope) {
            granted.push(scope.to_owned());
        }
    }
    granted
}

/// Whether a chart must be open for these.
pub(super) fn need_patient(granted: &[String]) -> bool {
    granted
        .iter()
        .any(|scope| scope == "launch/patient" || Scope::read(scope).is_some_and(|scope| scope.level == Level::Patient))
}

#[test]
fn scopes_are_read_whole_or_not_granted() {
    for (text, valid) in [
        ("patient/Observation.rs", true),
        ("patient/*.cruds", true),
        ("user/Patient.read", true),
        ("user/*.*", true),
        ("patient/Observation.sr", false),
        ("patient/Observation.", false),
        ("patient/Observation.rr", false),
        ("patient/Observation.rs?category=laboratory", false),
        ("patient/Nonsense.rs", false),
        ("system/Patient.rs", false),
        ("Patient.rs", false),
    ] {
        assert_eq!(Scope::read(text).is_some(), valid, "`{text}`");
    }
    let asked = "openid launch launch/patient  patient/*.rs patient/*.rs system/*.rs email";
    assert_eq!(granted(asked, Start::Ehr), ["openid", "launch", "launch/patient", "patient/*.rs"]);
    assert_eq!(granted(asked, Start::Alone), ["openid", "launch/patient", "patient/*.rs"]);
    assert!(Scope::read("user/*.write").unwrap().covers("Task", 'u'));
    assert!(!Scope::read("user/Task.write").unwrap().covers("Task", 'r'));
    assert!(!Scope::read("user/Task.cud").unwrap().covers("Patient", 'u'));
}
