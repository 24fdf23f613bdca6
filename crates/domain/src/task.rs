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

/// A FHIR operation that a task may be allowed to use; every other is refused to everybody (S1-36).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// `Patient/[id]/$everything`: all of the session's patient that its scopes cover.
    Everything,
    /// `Observation/$lastn`: of each code the last observations.
    LastN,
}

impl Operation {
    /// Its code, without the dollar sign.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::LastN => "lastn",
        }
    }
}

/// Whether tokens of a task must be bound to a key of their holder.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SenderConstraint {
    /// A bearer token will do.
    #[default]
    Optional,
    /// By DPoP (RFC 9449) or by a client certificate (RFC 8705 §3).
    Required,
}

impl SenderConstraint {
    /// Whether this is what a profile without a word of it means.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::Optional
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
    /// Operations it may use. Empty means none; absent in what was written before there were any, which keeps its hash.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub operations: BTreeSet<Operation>,
    /// Codes of security labels whose resources it may see, e.g. `R`, `PSY`; a labelled resource needs its code here or
    /// in a scope's `_security`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Whether its tokens must be bound to a key. Absent in what was written before they could be.
    #[serde(default, skip_serializing_if = "SenderConstraint::is_default")]
    pub sender_constraint: SenderConstraint,
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
