//! What a launch is about: who sits before the screen, and which chart is open.

use std::fmt;

use serde_json::Value;

/// The context of a launch (SMART 2.2, "Launch context arrives with your access_token").
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchContext {
    /// Id of the Practitioner who is signed in.
    pub practitioner: String,
    /// Id of the Patient whose chart is open.
    pub patient: Option<String>,
    /// Id of the Encounter that is open.
    pub encounter: Option<String>,
    /// Further resources, each an object with `reference`, `canonical` or `identifier`.
    pub fhir_context: Vec<Value>,
    /// Whether the app must show whose chart it shows.
    pub need_patient_banner: bool,
    /// What the app was started for.
    pub intent: Option<String>,
}

impl LaunchContext {
    /// This person with this chart open.
    #[must_use]
    pub fn new(practitioner: &str, patient: &str) -> Self {
        Self { patient: Some(patient.to_owned()), ..Self::of(practitioner) }
    }

    /// The same, with this encounter open.
    #[must_use]
    pub fn encounter(mut self, id: &str) -> Self {
        self.encounter = Some(id.to_owned());
        self
    }

    /// This person with no chart open.
    #[must_use]
    pub fn of(practitioner: &str) -> Self {
        Self {
            practitioner: practitioner.to_owned(),
            patient: None,
            encounter: None,
            fhir_context: Vec::new(),
            need_patient_banner: true,
            intent: None,
        }
    }
}

/// Why nothing is launched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LaunchError {
    /// No app is registered under this id.
    Client(String),
    /// The app has no launch URL.
    NotLaunchable(String),
    /// This resource is not here, or not the patient's.
    Resource(String),
    /// The random source failed, or there are too many launches under way.
    Unable,
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(id) => write!(f, "no app is registered as `{id}`"),
            Self::NotLaunchable(id) => write!(f, "`{id}` has no launch URL"),
            Self::Resource(reference) => write!(f, "`{reference}` is not here, or not this patient's"),
            Self::Unable => write!(f, "no launch can be made now"),
        }
    }
}

impl std::error::Error for LaunchError {}
