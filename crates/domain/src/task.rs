//! Task profiles: named, versioned minimum scope sets (S1-21).

use std::collections::BTreeSet;
use std::fmt;

use fhir::ResourceType;

use crate::id::TaskName;
use crate::scope::ScopeSet;

/// A task profile by name and version, e.g. `scheduling@1`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
pub struct TaskRef {
    /// The profile's name.
    pub name: TaskName,
    /// The version; versions are immutable once written.
    pub version: u32,
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// One immutable version of a task profile.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct TaskProfile {
    /// Its name.
    pub name: TaskName,
    /// Its version, from 1.
    pub version: u32,
    /// What the task is for, in a sentence that a privacy officer reads.
    pub purpose: String,
    /// HL7 v3 PurposeOfUse code, e.g. `TREAT`, `HOPERAT`; goes into tokens and records.
    pub purpose_of_use: String,
    /// The most any session on this task may hold.
    pub scopes: ScopeSet,
}

impl TaskProfile {
    /// Name and version together.
    #[must_use]
    pub fn reference(&self) -> TaskRef {
        TaskRef { name: self.name.clone(), version: self.version }
    }

    /// Types the scopes name.
    #[must_use]
    pub fn types(&self) -> BTreeSet<ResourceType> {
        self.scopes
            .0
            .iter()
            .filter_map(|scope| match scope.resource {
                crate::scope::ResourceMatch::One(kind) => Some(kind),
                crate::scope::ResourceMatch::Every => None,
            })
            .collect()
    }
}
