//! What an identity provider's claims say of a person, by the tenant's configuration. A claim that is there and cannot be read refuses.

use domain::{Millis, Role};
use fhir::ResourceType;
use fhir::references::{self, Reference};
use oauth::id_token::IdToken;
use serde_json::{Map, Value};

use super::error::SignInError;
use super::pending::Sealed;
use crate::settings::OidcSettings;

/// Longest name shown, in characters; a longer one is cut.
const NAME_CHARS_MAX: usize = 120;
/// Most values looked at in one claim: people are in a few hundred groups at most.
const VALUES_MAX: usize = 2_000;
/// What a person can be in FHIR (SMART App Launch, "fhirUser").
const KINDS: [&str; 5] = ["Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Person"];

/// A person's own FHIR resource.
#[derive(Clone, Debug, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FhirUser {
    /// One of Practitioner, PractitionerRole, Patient, RelatedPerson, Person.
    pub kind: ResourceType,
    /// Its id.
    pub id: fhir::Id,
}

impl std::fmt::Display for FhirUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl From<FhirUser> for String {
    fn from(user: FhirUser) -> Self {
        user.to_string()
    }
}

impl TryFrom<String> for FhirUser {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text, &[]).ok_or("not a person's FHIR resource")
    }
}

impl FhirUser {
    /// Reads `Type/id`, or an absolute URL below one of `bases`.
    #[must_use]
    pub fn parse(text: &str, bases: &[String]) -> Option<Self> {
        let (kind, id) = match references::parse(text) {
            Reference::Relative { kind, id, version: None } => (kind, id),
            Reference::Absolute { base, kind, id, version: None } if bases.iter().any(|ours| ours == base) => {
                (kind, id)
            }
            _ => return None,
        };
        if !KINDS.contains(&kind.name()) {
            return None;
        }
        Some(Self { kind, id: id.parse().ok()? })
    }
}

/// Why a person gets none of the roles that their claims name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolesRefused {
    /// Operator and privacy officer at once: who asks would also approve (DESIGN, "State").
    Conflict,
}

/// A person who has signed in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedIn {
    /// The provider.
    pub issuer: String,
    /// The person there: unique with the issuer, never reused.
    pub subject: String,
    /// For people.
    pub name: Option<String>,
    /// Their FHIR resource.
    pub fhir_user: Option<FhirUser>,
    /// For class `patient-app`: the one Patient they are.
    pub patient: Option<fhir::Id>,
    /// Their roles in the administration.
    pub roles: Vec<Role>,
    /// Why there are none, where claims name some. Worth an alert.
    pub roles_refused: Option<RolesRefused>,
    /// When they proved who they are; where the provider does not say, when it issued the token.
    pub auth_time: Millis,
    /// How, as one level.
    pub acr: Option<String>,
    /// How, by methods.
    pub amr: Vec<String>,
    /// Their session at the provider, by which a back-channel logout may name them.
    pub sid: Option<String>,
    /// The ID token, for signing out at the provider.
    pub id_token_hint: Sealed,
}

/// Reads what is configured out of a verified token.
pub(super) fn read(
    settings: &OidcSettings,
    bases: &[String],
    token: IdToken,
    text: &str,
) -> Result<SignedIn, SignInError> {
    let claims = &token.claims;
    let named = &settings.claims;
    let fhir_user = match configured(claims, named.fhir_user.as_deref()) {
        None => None,
        Some(value) => {
            let user = value.as_str().and_then(|text| FhirUser::parse(text, bases));
            Some(user.ok_or(SignInError::Claim("fhirUser"))?)
        }
    };
    let patient = match configured(claims, named.patient.as_deref()) {
        None => None,
        Some(value) => {
            let id = value.as_str().and_then(|text| text.parse().ok());
            Some(id.ok_or(SignInError::Claim("the patient"))?)
        }
    };
    let (roles, roles_refused) = roles(claims, &named.roles)?;
    Ok(SignedIn {
        issuer: settings.issuer.clone(),
        subject: token.subject,
        name: ["name", "preferred_username"].iter().find_map(|name| shown(claims.get(*name))),
        fhir_user,
        patient,
        roles,
        roles_refused,
        auth_time: token.auth_time.unwrap_or(token.issued_at).saturating_mul(1_000),
        acr: token.acr,
        amr: token.amr,
        sid: token.sid,
        id_token_hint: Sealed::new(text.to_owned()),
    })
}

/// A name as it may be shown: no control characters, no marks that turn text around, not too long.
fn shown(value: Option<&Value>) -> Option<String> {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String =
        value?.as_str()?.chars().filter(|c| !c.is_control() && !turns(*c)).take(NAME_CHARS_MAX).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn configured<'a>(claims: &'a Map<String, Value>, name: Option<&str>) -> Option<&'a Value> {
    lookup(claims, name?).filter(|value| !value.is_null())
}

/// A claim by its whole name (names may be URLs), or by a path whose dots lead into objects.
fn lookup<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    name.match_indices('.').find_map(|(at, _)| {
        let (first, rest) = (name.get(..at)?, name.get(at + 1..)?);
        lookup(claims.get(first)?.as_object()?, rest)
    })
}

fn roles(
    claims: &Map<String, Value>,
    mapping: &[(String, String, Role)],
) -> Result<(Vec<Role>, Option<RolesRefused>), SignInError> {
    let mut out = Vec::new();
    for (claim, wanted, role) in mapping {
        let holds = match configured(claims, Some(claim)) {
            None => false,
            Some(Value::String(text)) => text == wanted,
            Some(Value::Array(items)) if items.len() <= VALUES_MAX => items.iter().any(|item| item == wanted.as_str()),
            Some(_) => return Err(SignInError::Claim("roles")),
        };
        if holds && !out.contains(role) {
            out.push(*role);
        }
    }
    if out.contains(&Role::Operator) && out.contains(&Role::PrivacyOfficer) {
        return Ok((Vec::new(), Some(RolesRefused::Conflict)));
    }
    Ok((out, None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fhir_user_is_a_person_of_ours_or_nobody() {
        let bases = ["https://ehr.example/fhir".to_owned()];
        for (text, read) in [
            ("Practitioner/dr-1", Some("Practitioner/dr-1")),
            ("https://ehr.example/fhir/Patient/p1", Some("Patient/p1")),
            ("https://evil.example/fhir/Practitioner/dr-1", None),
            ("https://ehr.example/fhir/x/Practitioner/dr-1", None),
            ("Practitioner/dr-1/_history/2", None),
            ("Observation/o1", None),
            ("Device/d1", None),
            ("dr-1", None),
            ("Practitioner/", None),
            ("Practitioner/../Patient/p1", None),
            ("practitioner/dr-1", None),
        ] {
            assert_eq!(FhirUser::parse(text, &bases).map(|user| user.to_string()).as_deref(), read, "`{text}`");
        }
    }

    #[test]
    fn dots_lead_into_objects_and_whole_names_win() {
        let claims = json!({
            "https://hilum.example/fhirUser": "a", "resource_access": { "hilum": { "roles": ["x"] } },
            "a.b": 1, "a": { "b": 2, "c.d": 3 }
        });
        let claims = claims.as_object().unwrap();
        assert_eq!(lookup(claims, "https://hilum.example/fhirUser"), Some(&json!("a")));
        assert_eq!(lookup(claims, "resource_access.hilum.roles"), Some(&json!(["x"])));
        assert_eq!(lookup(claims, "a.b"), Some(&json!(1)));
        assert_eq!(lookup(claims, "a.c.d"), Some(&json!(3)));
        for absent in ["resource_access.other.roles", "a.b.c", "", ".", "x.y"] {
            assert_eq!(lookup(claims, absent), None, "{absent}");
        }
    }

    #[test]
    fn s0_05_operator_and_privacy_officer_at_once_is_no_role_at_all() {
        let map = |claim: &str, value: &str, role| (claim.to_owned(), value.to_owned(), role);
        let mapping = [
            map("groups", "ops", Role::Operator),
            map("groups", "privacy", Role::PrivacyOfficer),
            map("job", "audit", Role::Auditor),
        ];
        let of = |claims: Value| roles(claims.as_object().unwrap(), &mapping);
        assert_eq!(
            of(json!({ "groups": ["ops", "x"], "job": "audit" })),
            Ok((vec![Role::Operator, Role::Auditor], None))
        );
        assert_eq!(
            of(json!({ "groups": ["privacy", "ops"], "job": "audit" })),
            Ok((vec![], Some(RolesRefused::Conflict)))
        );
        assert_eq!(of(json!({ "groups": ["Ops", "ops "], "job": ["auditor"] })), Ok((vec![], None)));
        assert_eq!(of(json!({})), Ok((vec![], None)));
        assert_eq!(of(json!({ "groups": { "ops": true } })), Err(SignInError::Claim("roles")));
    }

    #[test]
    fn names_are_shown_without_tricks() {
        assert_eq!(shown(Some(&json!("  Dr. \u{202e}Ada\n "))).as_deref(), Some("Dr. Ada"));
        assert_eq!(shown(Some(&json!("x".repeat(500)))).map(|name| name.len()), Some(NAME_CHARS_MAX));
        for nothing in [json!(""), json!("\u{0}"), json!(1), json!(null)] {
            assert_eq!(shown(Some(&nothing)), None);
        }
    }
}
