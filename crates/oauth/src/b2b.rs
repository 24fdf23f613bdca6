//! `hl7-b2b`: for whom and why a client acts, as its own assertion says (HL7 UDAP Security, "B2B Authorization Extension Object", UD-11).
//!
//! All of it is the client's word; what it may do with it is decided elsewhere. Members that are not known are ignored, and not kept.

use serde_json::{Map, Value};

/// Longest single text: a ledger attribute keeps 256 bytes, so that none is cut there.
pub const TEXT_BYTES_MAX: usize = 240;
/// Most purposes of use.
pub const PURPOSES_MAX: usize = 20;
/// Most consent policies, and most consent references: each is an attribute of one ledger record.
pub const CONSENTS_MAX: usize = 5;
/// HL7 v3 ActReason, whose PurposeOfUse codes these are (UD-13).
const ACT_REASON: &str = "urn:oid:2.16.840.1.113883.5.8#";

/// The codes below PurposeOfUse in HL7 v3 ActReason. What is not among them says nothing here, and is refused (NEG-241).
#[rustfmt::skip]
const PURPOSES: [&str; 59] = [
    "HMARKT", "HOPERAT", "CAREMGT", "DONAT", "FRAUD", "GOV", "HACCRED", "HCOMPL", "HDECD", "HDIRECT", "HDM", "HLEGAL", "HOUTCOMS",
    "HPRGRP", "HQUALIMP", "HSYSADMIN", "LABELING", "METAMGT", "MEMADMIN", "MILCDM", "PATADMIN", "PATSFTY", "PERFMSR", "RECORDMGT",
    "SYSDEV", "HTEST", "TRAIN", "HPAYMT", "CLMATTCH", "COVAUTH", "COVERAGE", "ELIGDTRM", "ELIGVER", "ENROLLM", "MILDCRG", "REMITADV",
    "HRESCH", "BIORCH", "CLINTRCH", "CLINTRCHNPC", "CLINTRCHPC", "PRECLINTRCH", "DSRCH", "POARCH", "TRANSRCH", "PATRQT", "FAMRQT",
    "PWATRNY", "SUPNWK", "PUBHLTH", "DISASTER", "THREAT", "TREAT", "CLINTRL", "COC", "ETREAT", "BTG", "ERTREAT", "POPHLTH",
];

/// Why the object is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidB2b {
    /// `extensions` or the object in it is no object.
    #[error("`extensions` and its `hl7-b2b` must be objects")]
    Form,
    /// Another version.
    #[error("`version` must be \"1\"")]
    Version,
    /// A text is empty, too long or no text.
    #[error("`{0}` must be a text of 1 to 240 bytes")]
    Text(&'static str),
    /// `organization_id` is missing or no URI.
    #[error("`organization_id` must be a URI")]
    Organization,
    /// `purpose_of_use` is missing, empty or not a list of codes of HL7 v3 PurposeOfUse.
    #[error("`purpose_of_use` must be a list of codes of HL7 v3 PurposeOfUse")]
    Purpose,
    /// A consent list is malformed, or there is a reference without a policy.
    #[error("`consent_policy` must be a list of URIs, and `consent_reference` one of URLs beside it")]
    Consent,
}

/// What a client says of itself in one assertion.
#[derive(Clone, Eq, PartialEq)]
pub struct B2b {
    /// The person behind the client, by name. In no token.
    pub subject_name: Option<String>,
    /// The same by an identifier, e.g. an NPI as a URI.
    pub subject_id: Option<String>,
    /// In which role.
    pub subject_role: Option<String>,
    /// The organisation, a URI.
    pub organization_id: String,
    /// The same by name.
    pub organization_name: Option<String>,
    /// What the data is wanted for: codes of HL7 v3 PurposeOfUse, at least one.
    pub purposes: Vec<String>,
    /// The consent policies it goes by, URIs.
    pub consent_policy: Vec<String>,
    /// The consents themselves, URLs.
    pub consent_reference: Vec<String>,
}

impl std::fmt::Debug for B2b {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("B2b([sealed])")
    }
}

impl B2b {
    /// Whether `purpose`, a code of HL7 v3 PurposeOfUse, is among those asserted (UD-12).
    #[must_use]
    pub fn is_for(&self, purpose: &str) -> bool {
        self.purposes.iter().any(|said| said == purpose)
    }
}

/// Reads `extensions["hl7-b2b"]` of an assertion's claims; `None` if it says nothing of the kind.
///
/// # Errors
/// The rule it breaks.
pub fn read(claims: &Map<String, Value>) -> Result<Option<B2b>, InvalidB2b> {
    let Some(extensions) = claims.get("extensions") else { return Ok(None) };
    let extensions = extensions.as_object().ok_or(InvalidB2b::Form)?;
    let Some(said) = extensions.get("hl7-b2b") else { return Ok(None) };
    let said = said.as_object().ok_or(InvalidB2b::Form)?;
    if said.get("version").and_then(Value::as_str) != Some("1") {
        return Err(InvalidB2b::Version);
    }
    let organization_id = text(said, "organization_id")?.filter(|id| is_uri(id)).ok_or(InvalidB2b::Organization)?;
    let purposes = said.get("purpose_of_use").and_then(purposes).ok_or(InvalidB2b::Purpose)?;
    let consents = |name: &str, fits: fn(&str) -> bool| match said.get(name) {
        None => Ok(Vec::new()),
        Some(list) => uris(list, fits).ok_or(InvalidB2b::Consent),
    };
    let (consent_policy, consent_reference) =
        (consents("consent_policy", is_uri)?, consents("consent_reference", is_url)?);
    if consent_policy.is_empty() && !consent_reference.is_empty() {
        return Err(InvalidB2b::Consent);
    }
    Ok(Some(B2b {
        subject_name: text(said, "subject_name")?,
        subject_id: text(said, "subject_id")?,
        subject_role: text(said, "subject_role")?,
        organization_id,
        organization_name: text(said, "organization_name")?,
        purposes,
        consent_policy,
        consent_reference,
    }))
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

fn text(said: &Map<String, Value>, name: &'static str) -> Result<Option<String>, InvalidB2b> {
    match said.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if is_text(text) => Ok(Some(text.clone())),
        Some(_) => Err(InvalidB2b::Text(name)),
    }
}

/// A URI as RFC 3986 §3 has it, as far as it can be told without knowing the scheme.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let first = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    is_text(text) && first && named && !rest.is_empty() && rest.bytes().all(plain)
}

/// An absolute URL with a host. It is recorded and never fetched.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    is_uri(text)
        && rest.is_some_and(|rest| rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'['))
}

fn uris(list: &Value, fits: fn(&str) -> bool) -> Option<Vec<String>> {
    let list = list.as_array().filter(|list| (1..=CONSENTS_MAX).contains(&list.len()))?;
    list.iter().map(|one| one.as_str().filter(|uri| fits(uri)).map(str::to_owned)).collect()
}

/// The codes, each once. They are written alone or as `urn:oid:2.16.840.1.113883.5.8#TREAT`.
fn purposes(list: &Value) -> Option<Vec<String>> {
    let list = list.as_array().filter(|list| (1..=PURPOSES_MAX).contains(&list.len()))?;
    let mut out: Vec<String> = Vec::new();
    for one in list {
        let text = one.as_str()?;
        let code = text.strip_prefix(ACT_REASON).unwrap_or(text);
        let known = PURPOSES.iter().find(|known| **known == code)?;
        if !out.iter().any(|said| said == known) {
            out.push((*known).to_owned());
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn whole() -> Value {
        json!({
            "version": "1", "subject_name": "Dr. Lee", "subject_id": "urn:oid:2.16.840.1.113883.4.6#1234567890",
            "subject_role": "http://nucc.org/provider-taxonomy#207R00000X", "organization_id": "https://mercy.example/org",
            "organization_name": "Mercy Health", "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#TREAT", "HOPERAT", "TREAT"],
            "consent_policy": ["urn:oid:1.2.3"], "consent_reference": ["https://mercy.example/fhir/Consent/1"], "later": {"a": 1},
        })
    }

    fn read_one(said: Value) -> Result<Option<B2b>, InvalidB2b> {
        let claims = json!({"iss": "agent", "extensions": {"hl7-b2b": said, "hl7-b2b-user": 1}});
        read(claims.as_object().unwrap())
    }

    #[test]
    fn ud_11_what_is_said_is_read() {
        let said = read_one(whole()).unwrap().unwrap();
        assert_eq!(said.purposes, ["TREAT", "HOPERAT"], "UD-13: either form is the code");
        assert!(said.is_for("TREAT") && said.is_for("HOPERAT") && !said.is_for("HRESCH") && !said.is_for(""));
        assert_eq!(said.subject_name.as_deref(), Some("Dr. Lee"));
        assert_eq!((said.organization_id.as_str(), said.consent_reference.len()), ("https://mercy.example/org", 1));
        assert_eq!(format!("{said:?}"), "B2b([sealed])");
        let least = json!({"version": "1", "organization_id": "urn:oid:1.2", "purpose_of_use": ["TREAT"]});
        let least = read_one(least).unwrap().unwrap();
        assert_eq!((least.subject_id, least.consent_policy.len()), (None, 0));
        for claims in [json!({}), json!({"extensions": {}}), json!({"extensions": {"other": 1}})] {
            assert_eq!(read(claims.as_object().unwrap()), Ok(None), "{claims}");
        }
    }

    #[test]
    fn neg_241_what_is_malformed_is_refused() {
        use InvalidB2b::*;
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let many: Vec<_> = (0..=PURPOSES_MAX).map(|_| "TREAT").collect();
        let policies: Vec<_> = (0..=CONSENTS_MAX).map(|n| format!("urn:oid:1.{n}")).collect();
        for (name, value, why) in [
            ("version", json!("2"), Version),
            ("version", json!(1), Version),
            ("version", json!(null), Version),
            ("organization_id", json!(null), Text("organization_id")),
            ("organization_id", json!("Mercy Health"), Organization),
            ("organization_id", json!("mercy"), Organization),
            ("organization_id", json!("1x:y"), Organization),
            ("organization_id", json!("urn:"), Organization),
            ("organization_id", json!("https://mercy example"), Organization),
            ("organization_id", json!(""), Text("organization_id")),
            ("organization_id", json!(format!("urn:{long}")), Text("organization_id")),
            ("purpose_of_use", json!([]), Purpose),
            ("purpose_of_use", json!(null), Purpose),
            ("purpose_of_use", json!("TREAT"), Purpose),
            ("purpose_of_use", json!(["TREAT", "BOGUS"]), Purpose),
            ("purpose_of_use", json!(["treat"]), Purpose),
            ("purpose_of_use", json!([" TREAT"]), Purpose),
            ("purpose_of_use", json!(["urn:oid:2.16.840.1.113883.5.9#TREAT"]), Purpose),
            ("purpose_of_use", json!([1]), Purpose),
            ("purpose_of_use", json!(many), Purpose),
            ("subject_name", json!(7), Text("subject_name")),
            ("subject_name", json!("a\u{7}b"), Text("subject_name")),
            ("subject_id", json!(null), Text("subject_id")),
            ("subject_role", json!(["a"]), Text("subject_role")),
            ("organization_name", json!("  "), Text("organization_name")),
            ("consent_policy", json!([]), Consent),
            ("consent_policy", json!(["no uri"]), Consent),
            ("consent_policy", json!("urn:oid:1.2"), Consent),
            ("consent_policy", json!(policies), Consent),
            ("consent_reference", json!(["urn:oid:1.2"]), Consent),
            ("consent_reference", json!(["https:///a"]), Consent),
            ("consent_reference", json!({}), Consent),
        ] {
            let mut said = whole();
            said[name] = value.clone();
            assert_eq!(read_one(said), Err(why), "{name} {value}");
        }
        for (name, why) in [
            ("version", Version),
            ("organization_id", Organization),
            ("purpose_of_use", Purpose),
            ("consent_policy", Consent),
        ] {
            let mut said = whole();
            said.as_object_mut().unwrap().remove(name);
            assert_eq!(read_one(said), Err(why), "no {name}");
        }
        for said in [json!(null), json!([]), json!("1")] {
            assert_eq!(read_one(said), Err(Form));
        }
        assert_eq!(read(json!({"extensions": []}).as_object().unwrap()), Err(Form));
    }
}
