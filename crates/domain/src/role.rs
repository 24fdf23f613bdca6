//! Roles of AI services (`ai_service_roles`): what an integration that names one may not do, whatever else allows it
//! (S4-05 … S4-10). A role only narrows: nothing is granted because a role says so.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::id::{EnvironmentName, InvalidName, Permission};
use crate::integration::Integration;

/// The permission without which a role keeps its integrations from FHIR. Every other is stored and grants nothing yet.
pub const DATA_READ: &str = "data:read";

/// Most permissions in one role: the example has two each.
pub const PERMISSIONS_MAX: usize = 100;

/// A role as its organisation wrote it; its name stands beside it. Part of the hash of each approval it narrows.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRole {
    /// What its services may ask for at all; empty is nothing.
    pub permissions: BTreeSet<Permission>,
    /// In which form they are told of patients.
    #[serde(default)]
    pub phi_access: PhiAccess,
    /// The longest life of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<Timeout>,
    /// Whether one proof of who is asking is too few.
    #[serde(default, rename = "mfa_required")]
    pub mfa: Mfa,
    /// Whether data may be had in bulk.
    #[serde(default, rename = "data_export")]
    pub export: Export,
    /// The only environment in which its services may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
}

/// In which form a role's services are told of patients. A role that says nothing of it gets the narrower one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhiAccess {
    /// As the upstream has it, within everything else that narrows it.
    Identified,
    /// Without the identifiers of 45 CFR 164.514(b)(2), under surrogates.
    #[default]
    DeIdentifiedOnly,
}

impl PhiAccess {
    /// As written in roles and tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identified => "identified",
            Self::DeIdentifiedOnly => "de-identified-only",
        }
    }
}

/// Whether a service must prove twice who it is (S4-08): by its key, and by its channel or workload.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(from = "bool", into = "bool")]
pub enum Mfa {
    /// Twice.
    Required,
    /// The role does not ask for it.
    #[default]
    NotRequired,
}

impl From<bool> for Mfa {
    fn from(yes: bool) -> Self {
        if yes { Self::Required } else { Self::NotRequired }
    }
}

impl From<Mfa> for bool {
    fn from(mfa: Mfa) -> Self {
        mfa == Mfa::Required
    }
}

/// Whether a service may have data in bulk (S4-09).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(from = "bool", into = "bool")]
pub enum Export {
    /// The role does not keep it from that.
    #[default]
    Allowed,
    /// No export, no file, no answer that does not fit into memory.
    Refused,
}

impl From<bool> for Export {
    fn from(yes: bool) -> Self {
        if yes { Self::Allowed } else { Self::Refused }
    }
}

impl From<Export> for bool {
    fn from(export: Export) -> Self {
        export == Export::Allowed
    }
}

/// A length of time as roles write it: `90s`, `15m`, `8h`.
// INVARIANT: within the bounds below; made by `parse` alone.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timeout(u32);

impl Timeout {
    /// Shorter than this no agent gets anything done.
    pub const SECONDS_MIN: u32 = 30;
    /// The longest that a tenant may let any session last (DESIGN, "How a session ends").
    pub const SECONDS_MAX: u32 = 8 * 3_600;

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl FromStr for Timeout {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid =
            InvalidName { noun: "session timeout", rule: "a whole number with `s`, `m` or `h`, from 30s to 8h" };
        let (digits, unit) = match (text.strip_suffix('s'), text.strip_suffix('m'), text.strip_suffix('h')) {
            (Some(digits), _, _) => (digits, 1),
            (_, Some(digits), _) => (digits, 60),
            (_, _, Some(digits)) => (digits, 3_600),
            _ => return Err(invalid),
        };
        // `+5m` and `015m` are read by some and refused by others.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        let number: u32 = digits.parse().ok().filter(|_| plain).ok_or(invalid)?;
        let seconds = number.checked_mul(unit).ok_or(invalid)?;
        if (Self::SECONDS_MIN..=Self::SECONDS_MAX).contains(&seconds) { Ok(Self(seconds)) } else { Err(invalid) }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds.is_multiple_of(3_600) => write!(f, "{}h", seconds / 3_600),
            seconds if seconds.is_multiple_of(60) => write!(f, "{}m", seconds / 60),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

impl serde::Serialize for Timeout {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timeout {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| serde::de::Error::custom(format!("`{text}`: {why}")))
    }
}

/// What a role keeps an integration from. `Display` is for the caller, who learns what its role asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RoleRefusal {
    /// The permission for this place is not among the role's.
    #[error("the role of this integration does not hold the permission `data:read`")]
    Permission,
    /// A second proof is asked for (S4-08).
    #[error("the role of this integration asks for two proofs of who is asking, and a second one is not offered here")]
    Mfa,
    /// It runs elsewhere (S4-10).
    #[error("the role of this integration is for another environment than the one it is registered for")]
    Environment,
    /// It is an export (S4-09).
    #[error("the role of this integration refuses exports: `$everything`, files and answers too large for memory")]
    Export,
}

impl ServiceRole {
    /// Whether an integration with this role may have sessions on patient data at all. Looked at when one starts and at
    /// each of its requests.
    ///
    /// # Errors
    /// The first thing the role asks for that is not so.
    pub fn admits(&self, integration: &Integration) -> Result<(), RoleRefusal> {
        if !self.permissions.iter().any(|permission| permission.as_str() == DATA_READ) {
            return Err(RoleRefusal::Permission);
        }
        // `private_key_jwt` is one proof; a channel or workload that is proved beside it does not exist yet.
        if self.mfa == Mfa::Required {
            return Err(RoleRefusal::Mfa);
        }
        // Nothing attests where an integration runs but its registration, whose keys work in one environment only (S2-09).
        match &self.environment {
            Some(environment) if environment.as_str() != integration.environment.as_str() => {
                Err(RoleRefusal::Environment)
            }
            _ => Ok(()),
        }
    }

    /// Whether data may be had in bulk.
    ///
    /// # Errors
    /// [`RoleRefusal::Export`].
    pub fn exports(&self) -> Result<(), RoleRefusal> {
        match self.export {
            Export::Allowed => Ok(()),
            Export::Refused => Err(RoleRefusal::Export),
        }
    }

    /// Every mistake that the types let through.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.permissions.len() > PERMISSIONS_MAX {
            out.push(format!("`permissions` has more than {PERMISSIONS_MAX} entries"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(body: &str) -> Result<ServiceRole, serde_json::Error> {
        serde_json::from_str(body)
    }

    #[test]
    fn s4_05_what_a_role_leaves_out_is_the_narrower_of_phi_and_no_narrowing_of_the_rest() {
        let empty = role(r#"{"permissions":[]}"#).unwrap();
        assert_eq!(empty.phi_access, PhiAccess::DeIdentifiedOnly);
        assert_eq!((empty.mfa, empty.export), (Mfa::NotRequired, Export::Allowed));
        assert_eq!((empty.session_timeout, empty.environment), (None, None));
        assert!(role("{}").is_err(), "`permissions` must be there");
        for unknown in [
            r#"{"permissions":[],"phi":"identified"}"#,
            r#"{"permissions":[],"phi_access":"deidentified"}"#,
            r#"{"permissions":[],"mfa_required":"yes"}"#,
            r#"{"permissions":["data read"]}"#,
            r#"{"permissions":["data"]}"#,
            r#"{"permissions":[],"session_timeout":15}"#,
            r#"{"permissions":[],"environment":"Isolated VPC"}"#,
        ] {
            assert!(role(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_role_is_written_as_it_was_read() {
        let text = r#"{"permissions":["data:read"],"phi_access":"de-identified-only","session_timeout":"15m","mfa_required":true,"data_export":false,"environment":"isolated-vpc"}"#;
        let read = role(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.session_timeout.map(Timeout::seconds), Some(900));
    }

    #[test]
    fn s4_07_timeouts_are_read_to_the_end_or_not_at_all() {
        for (text, seconds) in [("15m", Some(900)), ("90s", Some(90)), ("8h", Some(28_800)), ("30s", Some(30))] {
            assert_eq!(text.parse::<Timeout>().ok().map(Timeout::seconds), seconds, "`{text}`");
        }
        for text in
            ["", "m", "15", "15 m", "15M", "+15m", "-15m", "015m", "0m", "29s", "9h", "1.5h", "99999999999h", "15ms"]
        {
            assert!(text.parse::<Timeout>().is_err(), "`{text}`");
        }
        for text in ["90s", "15m", "8h"] {
            assert_eq!(text.parse::<Timeout>().unwrap().to_string(), text);
        }
    }
}
