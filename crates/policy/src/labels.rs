//! Security labels (`meta.security`): which of them keep a resource back, and what lets it go all the same (S3-10).
//!
//! R4 "Security Labels" leaves the meaning of a label to policy; this is ours. A label that asks for care is an order to
//! hold back: a plain scope on the type does not answer it, only a clause or a task profile that names the label does.

use std::collections::BTreeSet;

use domain::Filter;
use fhir::ResourceType;
use fhir::json::{Document, Value, quote_into};

use crate::criteria;

/// One label as the resource bears it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Label {
    /// As written; none if the label has none.
    pub(crate) system: Option<String>,
    /// As written; empty if the label could not be read, and then nothing permits it.
    pub(crate) code: String,
}

/// The HL7 v3 code system a label is from, whichever of its names it goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Vocabulary {
    /// v3-Confidentiality: `U` to `V`.
    Confidentiality,
    /// v3-ActCode: sensitivities, obligations, refrains.
    ActCode,
    /// v3-ActReason: purposes of use, `HTEST`.
    ActReason,
    /// Any other.
    Other,
}

/// Confidentiality codes from unrestricted to normal: what an ordinary record is labelled with.
const UNRESTRICTED: [&str; 4] = ["U", "L", "M", "N"];

impl Vocabulary {
    /// Reads a system URI: the name of today, those of STU3 and DSTU2, and the OID, with or without `urn:oid:`. A
    /// slash at the end, another case or `https` are mistakes that people make, and must not set a label free.
    pub(crate) fn of(system: &str) -> Self {
        let system = system.trim().trim_end_matches('/').to_ascii_lowercase();
        let name = match system.strip_prefix("http://").or_else(|| system.strip_prefix("https://")) {
            Some(rest) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                if host != "hl7.org" && !host.ends_with(".hl7.org") {
                    return Self::Other;
                }
                let last = path.rsplit('/').next().unwrap_or("");
                let last = last.split('|').next().unwrap_or("");
                last.strip_prefix("v3-").unwrap_or(last)
            }
            None => system.strip_prefix("urn:oid:").unwrap_or(&system),
        };
        match name {
            "confidentiality" | "2.16.840.1.113883.5.25" => Self::Confidentiality,
            "actcode" | "2.16.840.1.113883.5.4" => Self::ActCode,
            "actreason" | "2.16.840.1.113883.5.8" => Self::ActReason,
            _ => Self::Other,
        }
    }
}

impl Label {
    /// What stands for a label that cannot be read.
    fn unreadable() -> Self {
        Self { system: None, code: String::new() }
    }

    fn is_restricted(&self) -> bool {
        let free = UNRESTRICTED.contains(&self.code.as_str());
        match self.system.as_deref().map(Vocabulary::of) {
            _ if self.code.is_empty() => true,
            // R, V and whatever comes to be added above them.
            Some(Vocabulary::Confidentiality) => !free,
            // None of its codes is harmless on a resource: each is a sensitivity (PSY, HIV), a refrain (NORDSCLCD), an
            // obligation (DEID) or a law. One that is new to us is no exception.
            Some(Vocabulary::ActCode) => true,
            // Purposes of use and `HTEST` say what data is for, not that it is delicate.
            Some(Vocabulary::ActReason) => false,
            // v3-ObservationValue (SUBSETTED) and codes of the house: only what reads as restricted is taken so.
            Some(Vocabulary::Other) => matches!(self.code.as_str(), "R" | "V"),
            // Without a system it may be from either of the first two, so what is free in neither is restricted.
            None => !free,
        }
    }
}

/// Every label of a resource; one that cannot be read has an empty code.
pub(crate) fn all(resource: Value<'_>) -> Vec<Label> {
    let Some(meta) = resource.get("meta") else { return Vec::new() };
    if !meta.is_object() {
        return vec![Label::unreadable()];
    }
    match meta.get("security") {
        None => Vec::new(),
        Some(security) if security.is_array() => security.elements().map(read).collect(),
        Some(_) => vec![Label::unreadable()],
    }
}

fn read(label: Value<'_>) -> Label {
    let Some(code) = label.get_str("code") else { return Label::unreadable() };
    match label.get("system") {
        None => Label { system: None, code: code.into_owned() },
        Some(system) => system.as_str().map_or_else(Label::unreadable, |system| Label {
            system: Some(system.into_owned()),
            code: code.into_owned(),
        }),
    }
}

/// The labels of `resource` that need an explicit permit; none for an ordinary record.
pub(crate) fn restricted(resource: Value<'_>) -> Vec<Label> {
    all(resource).into_iter().filter(Label::is_restricted).collect()
}

/// Whether `label` is permitted: a `_security` criterion of the scope clause admits this very label, or the task
/// profile lists its code.
pub(crate) fn permitted(label: &Label, filter: Option<&Filter>, permits: &BTreeSet<String>) -> bool {
    !label.code.is_empty() && (permits.contains(&label.code) || filter.is_some_and(|filter| is_named_by(label, filter)))
}

/// A clause `?_security=PSY` on a resource that bears PSY and HIV has asked for PSY alone. So the criteria are put to a
/// resource that bears this label and no other, one at a time: two of them name two labels, not one that is both.
fn is_named_by(label: &Label, filter: &Filter) -> bool {
    let mut text = br#"{"meta":{"security":[{"code":"#.to_vec();
    quote_into(&mut text, &label.code);
    if let Some(system) = &label.system {
        text.extend_from_slice(br#","system":"#);
        quote_into(&mut text, system);
    }
    text.extend_from_slice(b"}]}}");
    let Ok(bearer) = Document::parse(&text) else { return false };
    filter.pairs.iter().filter(|(name, _)| name == "_security").any(|pair| {
        // `_security` is a parameter of every type, at the same place; Basic stands for any of them.
        criteria::holds(ResourceType::BASIC, &Filter { pairs: vec![pair.clone()] }, bearer.root())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
    const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

    fn codes(resource: &str) -> Vec<String> {
        let document = Document::parse(resource.as_bytes()).unwrap();
        restricted(document.root()).into_iter().map(|label| label.code).collect()
    }

    #[test]
    fn s3_10_labels_that_ask_for_care_are_restricted() {
        for (system, code, expected) in [
            (CONFIDENTIALITY, "U", false),
            (CONFIDENTIALITY, "L", false),
            (CONFIDENTIALITY, "M", false),
            (CONFIDENTIALITY, "N", false),
            (CONFIDENTIALITY, "R", true),
            (CONFIDENTIALITY, "V", true),
            (CONFIDENTIALITY, "n", true),
            (CONFIDENTIALITY, "PSY", true),
            (CONFIDENTIALITY, "unheard-of", true),
            ("http://terminology.hl7.org/CodeSystem/v3-Confidentiality/", "R", true),
            ("https://terminology.hl7.org/CodeSystem/v3-Confidentiality", "unheard-of", true),
            ("http://terminology.hl7.org/CodeSystem/v3-Confidentiality|2.0.0", "unheard-of", true),
            ("http://hl7.org/fhir/v3/Confidentiality", "unheard-of", true),
            ("http://hl7.org/fhir/v3/Confidentiality", "N", false),
            ("urn:oid:2.16.840.1.113883.5.25", "unheard-of", true),
            ("urn:oid:2.16.840.1.113883.5.25", "N", false),
            ("2.16.840.1.113883.5.25", "V", true),
            (ACT_CODE, "PSY", true),
            (ACT_CODE, "HIV", true),
            (ACT_CODE, "TABOO", true),
            (ACT_CODE, "DEID", true),
            (ACT_CODE, "NORDSCLCD", true),
            (ACT_CODE, "N", true),
            ("http://hl7.org/fhir/v3/ActCode", "ETH", true),
            ("urn:oid:2.16.840.1.113883.5.4", "SUD", true),
            ("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST", false),
            ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "SUBSETTED", false),
            ("https://mercy.example/labels", "ward-7", false),
            ("https://mercy.example/v3-ActCode", "PSY", false),
            ("https://mercy.example/labels", "R", true),
            ("https://mercy.example/labels", "V", true),
        ] {
            let text = format!(r#"{{"meta":{{"security":[{{"system":"{system}","code":"{code}"}}]}}}}"#);
            let expected = if expected { vec![code.to_owned()] } else { vec![] };
            assert_eq!(codes(&text), expected, "`{system}` `{code}`");
        }
    }

    #[test]
    fn s3_10_labels_that_cannot_be_read_are_restricted() {
        for (resource, expected) in [
            (r"{}", vec![]),
            (r#"{"meta":{}}"#, vec![]),
            (r#"{"meta":{"security":[]}}"#, vec![]),
            (r#"{"meta":{"security":[{"code":"N"}]}}"#, vec![]),
            (r#"{"meta":{"security":[{"code":"R"}]}}"#, vec!["R"]),
            (r#"{"meta":{"security":[{"code":"PSY"}]}}"#, vec!["PSY"]),
            (r#"{"meta":{"security":[{"code":"N"},{"code":"PSY"},{"code":"R"}]}}"#, vec!["PSY", "R"]),
            (r#"{"meta":7}"#, vec![""]),
            (r#"{"meta":{"security":{"code":"N"}}}"#, vec![""]),
            (r#"{"meta":{"security":null}}"#, vec![""]),
            (r#"{"meta":{"security":["N"]}}"#, vec![""]),
            (r#"{"meta":{"security":[{"code":7}]}}"#, vec![""]),
            (r#"{"meta":{"security":[{"code":""}]}}"#, vec![""]),
            (r#"{"meta":{"security":[{"display":"normal"}]}}"#, vec![""]),
            (r#"{"meta":{"security":[{"system":[],"code":"N"}]}}"#, vec![""]),
            (r#"{"meta":{"security":[{"code":"\u0052"}]}}"#, vec!["R"]),
        ] {
            assert_eq!(codes(resource), expected, "{resource}");
        }
    }

    #[test]
    fn s3_10_a_permit_names_the_very_label() {
        let psy = || Label { system: Some(ACT_CODE.to_owned()), code: "PSY".to_owned() };
        let bare = || Label { system: None, code: "PSY".to_owned() };
        for (label, filter, permits, expected) in [
            (psy(), None, &[][..], false),
            (psy(), None, &["PSY"], true),
            (psy(), None, &["R", "psy"], false),
            (psy(), Some("_security=PSY"), &[], true),
            (psy(), Some("_security=HIV,PSY"), &[], true),
            (psy(), Some("_security=HIV"), &["R"], false),
            (psy(), Some("_security=http://terminology.hl7.org/CodeSystem/v3-ActCode|PSY"), &[], true),
            (psy(), Some("_security=http://terminology.hl7.org/CodeSystem/v3-ActCode|"), &[], true),
            (psy(), Some("_security=http://hl7.org/fhir/v3/ActCode|PSY"), &[], false),
            (psy(), Some("_security=|PSY"), &[], false),
            (bare(), Some("_security=|PSY"), &[], true),
            (psy(), Some("_security=R&_security=PSY"), &[], true),
            (psy(), Some("_tag=PSY"), &[], false),
            (psy(), Some("category=PSY"), &[], false),
            (Label { system: None, code: "a\"b,c".to_owned() }, Some("_security=a%22b%5C,c"), &[], true),
            (Label::unreadable(), Some("_security=PSY"), &["", "PSY"], false),
        ] {
            let filter = filter.map(|text| text.parse::<Filter>().unwrap());
            let permits = permits.iter().map(|code| (*code).to_owned()).collect();
            assert_eq!(permitted(&label, filter.as_ref(), &permits), expected, "{label:?} {filter:?} {permits:?}");
        }
    }
}
