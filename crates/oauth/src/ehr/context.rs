//! Launch context beside the patient: SMART App Launch 2.2, "Launch context arrives with your access_token" (CX-03 to CX-05).

use std::collections::BTreeSet;

use fhir::references::{Reference, parse};
use fhir::{Id, ResourceType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{InvalidAnswer, id, is_endpoint};

/// Most items of `fhirContext`; a launch names a study and its few images.
const ITEMS_MAX: usize = 64;
/// Longest `intent`, `type` or `role`.
const WORD_BYTES_MAX: usize = 256;
/// Longest canonical URL.
const CANONICAL_BYTES_MAX: usize = 2_048;
/// Longest text within an identifier.
const IDENTIFIER_BYTES_MAX: usize = 1_024;
/// The role of an item that names none.
const LAUNCH: &str = "launch";

/// What else a launch says.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchContext {
    /// `encounter`.
    #[serde(with = "super::id_text")]
    pub encounter: Option<Id>,
    /// `need_patient_banner`; `None` where the EHR does not say.
    pub banner: Option<bool>,
    /// `smart_style_url`, https.
    pub style_url: Option<String>,
    /// `intent`.
    pub intent: Option<String>,
    /// `fhirContext`.
    pub items: Vec<ContextItem>,
}

/// Names records of a patient.
impl std::fmt::Debug for LaunchContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaunchContext([sealed])")
    }
}

/// One item of `fhirContext`, as it is written in a token answer.
// INVARIANT: one of reference, canonical and identifier is there; each by its grammar.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct ContextItem {
    /// `Type/id`, relative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// A canonical URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<String>,
    /// A FHIR Identifier: `system` and `value` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Map<String, Value>>,
    /// The type of what is named.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What it is for; absent is `launch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

impl std::fmt::Debug for ContextItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContextItem([sealed])")
    }
}

impl LaunchContext {
    pub(super) fn read(
        members: &Map<String, Value>,
        patient: Option<&Id>,
        plain: &BTreeSet<String>,
    ) -> Result<Self, InvalidAnswer> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let word = |text: &&str| (1..=WORD_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        Ok(Self {
            encounter: id(members, "encounter").map_err(|()| InvalidAnswer::Encounter)?,
            banner: members.get("need_patient_banner").and_then(Value::as_bool),
            style_url: text("smart_style_url").filter(|url| is_endpoint(url, plain)).map(str::to_owned),
            intent: text("intent").filter(word).map(str::to_owned),
            items: items(members, patient)?,
        })
    }
}

fn items(members: &Map<String, Value>, patient: Option<&Id>) -> Result<Vec<ContextItem>, InvalidAnswer> {
    let items = match members.get("fhirContext") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= ITEMS_MAX => items,
        Some(_) => return Err(InvalidAnswer::Context),
    };
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        out.extend(read_item(item, patient).ok_or(InvalidAnswer::Context)?);
    }
    Ok(out)
}

/// `None` for one that is malformed, `Some(None)` for one that is left out: a Patient who is not the session's. One session, one
/// patient, and no name of any other.
#[expect(clippy::option_option, reason = "left out and malformed are two answers")]
fn read_item(item: &Value, patient: Option<&Id>) -> Option<Option<ContextItem>> {
    let members = item.as_object()?;
    let role = optional(members, "role", WORD_BYTES_MAX, is_uri_or_code)?;
    let kind = optional(members, "type", WORD_BYTES_MAX, |text| text.parse::<ResourceType>().is_ok())?;
    let canonical = optional(members, "canonical", CANONICAL_BYTES_MAX, is_uri)?;
    let identifier = match members.get("identifier") {
        None => None,
        Some(Value::Object(identifier)) => Some(read_identifier(identifier)?),
        Some(_) => return None,
    };
    let reference = optional(members, "reference", CANONICAL_BYTES_MAX, |_| true)?;
    let named = match reference.as_deref().map(parse) {
        None => None,
        Some(Reference::Relative { kind, id, version: None }) => Some((kind, id)),
        Some(_) => return None,
    };
    if reference.is_none() && canonical.is_none() && identifier.is_none() {
        return None;
    }
    let stated = kind.as_deref().and_then(|kind| kind.parse::<ResourceType>().ok());
    if named.zip(stated).is_some_and(|((named, _), stated)| named != stated) {
        return None;
    }
    let about = named.map(|(kind, _)| kind).or(stated);
    // Those are members of their own, where they are what the launch is about.
    let special = about.is_some_and(|kind| kind == ResourceType::PATIENT || kind == ResourceType::ENCOUNTER);
    if special && role.as_deref().unwrap_or(LAUNCH) == LAUNCH {
        return None;
    }
    if about == Some(ResourceType::PATIENT) {
        let own = named.zip(patient).is_some_and(|((_, id), patient)| id == patient.as_str());
        if !own {
            return Some(None);
        }
    }
    Some(Some(ContextItem { reference, canonical, identifier, kind, role }))
}

/// `None` for a member of another form.
#[expect(clippy::option_option, reason = "absent and malformed are two answers")]
fn optional(
    members: &Map<String, Value>,
    name: &str,
    most: usize,
    fits: impl Fn(&str) -> bool,
) -> Option<Option<String>> {
    match members.get(name) {
        None => Some(None),
        Some(Value::String(text)) if (1..=most).contains(&text.len()) && fits(text) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

/// Roles are `launch` or absolute URIs (CX-05).
fn is_uri_or_code(text: &str) -> bool {
    text == LAUNCH || is_uri(text)
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(letters)
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'))
}

/// What identifies: `system` and `value`. The rest (assigner, period, extensions) may name anybody and is left out.
fn read_identifier(identifier: &Map<String, Value>) -> Option<Map<String, Value>> {
    let system = optional(identifier, "system", IDENTIFIER_BYTES_MAX, is_uri)?;
    let value = optional(identifier, "value", IDENTIFIER_BYTES_MAX, |text| !text.chars().any(char::is_control))??;
    let mut out = Map::new();
    if let Some(system) = system {
        out.insert("system".to_owned(), Value::String(system));
    }
    out.insert("value".to_owned(), Value::String(value));
    Some(out)
}
