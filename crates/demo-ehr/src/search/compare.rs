//! Compares one element with one search value: the rules of FHIR R4 search by kind of parameter.

use fhir::params::{ParamKind, SearchParam};
use serde_json::Value;

use crate::time::{self, Span};

/// Longest search value compared; a longer one matches nothing.
const VALUE_BYTES_MAX: usize = 4096;

/// Elements of a resource at a path; arrays are walked.
pub(crate) fn elements<'a>(resource: &'a Value, path: &[&str]) -> Vec<&'a Value> {
    let mut found = Vec::new();
    walk(resource, path, &mut found);
    found
}

fn walk<'a>(value: &'a Value, path: &[&str], found: &mut Vec<&'a Value>) {
    if let Value::Array(items) = value {
        items.iter().for_each(|item| walk(item, path, found));
        return;
    }
    let Some((first, rest)) = path.split_first() else {
        found.push(value);
        return;
    };
    if let Some(member) = value.get(*first) {
        walk(member, rest, found);
    }
}

/// Whether a resource matches one parameter: any element against any of the comma-separated values.
pub(crate) fn matches(
    resource: &Value,
    parameter: &SearchParam,
    modifier: Option<&str>,
    values: &str,
    base: &str,
) -> bool {
    if values.len() > VALUE_BYTES_MAX {
        return false;
    }
    let found: Vec<(&Value, bool)> = parameter
        .paths
        .iter()
        .flat_map(|path| elements(resource, path.elements).into_iter().map(|element| (element, path.patient_only)))
        .collect();
    if modifier == Some("missing") {
        return found.is_empty() == (values == "true");
    }
    let hit = split_or(values).iter().any(|value| found.iter().any(|e| element(*e, parameter, modifier, value, base)));
    if modifier == Some("not") { !hit } else { hit }
}

/// Splits an OR list at unescaped commas and un-escapes its items.
fn split_or(values: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut characters = values.chars();
    while let Some(character) = characters.next() {
        let Some(last) = items.last_mut() else { break };
        match character {
            '\\' => last.extend(characters.next()),
            ',' => items.push(String::new()),
            other => last.push(other),
        }
    }
    items
}

fn element(element: (&Value, bool), parameter: &SearchParam, modifier: Option<&str>, value: &str, base: &str) -> bool {
    let (element, patient_only) = element;
    match parameter.kind {
        ParamKind::Token => token(element, value),
        ParamKind::Reference if modifier == Some("identifier") => {
            element.get("identifier").is_some_and(|identifier| token(identifier, value))
        }
        ParamKind::Reference => {
            of_target(element, parameter, base) && reference(element, patient_only, modifier, value, base)
        }
        ParamKind::String => text(element, modifier, value),
        ParamKind::Date => date(element, value),
        ParamKind::Quantity => quantity(element, value),
        ParamKind::Uri => element.as_str() == Some(value),
        ParamKind::Number | ParamKind::Composite | ParamKind::Special => false,
    }
}

fn token(element: &Value, wanted: &str) -> bool {
    let (system, code) = match wanted.split_once('|') {
        Some((system, code)) => (Some(system), code),
        None => (None, wanted),
    };
    match element {
        Value::String(text) => code == text,
        Value::Bool(flag) => code == if *flag { "true" } else { "false" },
        Value::Object(members) => {
            if let Some(Value::Array(codings)) = members.get("coding") {
                return codings.iter().any(|coding| token(coding, wanted));
            }
            let own_system = members.get("system").and_then(Value::as_str);
            let own_code = members.get("code").or_else(|| members.get("value")).and_then(Value::as_str);
            let system_fits = match system {
                None => true,
                Some("") => own_system.is_none(),
                Some(system) => own_system == Some(system),
            };
            system_fits && (own_code == Some(code) || (code.is_empty() && system.is_some_and(|s| !s.is_empty())))
        }
        _ => false,
    }
}

/// `Type/id` of a reference to this server, without version; other references stay as they are.
pub(crate) fn local(reference: &str, base: &str) -> String {
    let relative = reference.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).unwrap_or(reference);
    relative.split_once("/_history/").map_or(relative, |(before, _)| before).to_owned()
}

/// Whether the reference points to a type the parameter is for: `location=` never finds a patient.
fn of_target(element: &Value, parameter: &SearchParam, base: &str) -> bool {
    let own = element.get("reference").and_then(Value::as_str).map(|text| local(text, base));
    let kind = own.as_deref().and_then(|text| text.split_once('/')).and_then(|(kind, _)| kind.parse().ok());
    kind.is_none_or(|kind| parameter.targets.is_empty() || parameter.targets.contains(&kind))
}

fn reference(element: &Value, patient_only: bool, modifier: Option<&str>, wanted: &str, base: &str) -> bool {
    let Some(own) = element.get("reference").and_then(Value::as_str).or_else(|| element.as_str()) else { return false };
    let own = local(own, base);
    let wanted = local(wanted, base);
    let own_id = own.split_once('/');
    if patient_only && own_id.is_none_or(|(kind, _)| kind != "Patient") {
        return false;
    }
    match modifier {
        Some(kind) => own_id.is_some_and(|(own_kind, id)| own_kind == kind && (id == wanted || own == wanted)),
        None => own == wanted || own_id.is_some_and(|(_, id)| id == wanted),
    }
}

fn text(element: &Value, modifier: Option<&str>, wanted: &str) -> bool {
    match element {
        Value::String(own) if modifier == Some("exact") => own == wanted,
        Value::String(own) => {
            let (own, wanted) = (own.to_lowercase(), wanted.to_lowercase());
            if modifier == Some("contains") { own.contains(&wanted) } else { own.starts_with(&wanted) }
        }
        Value::Array(items) => items.iter().any(|item| text(item, modifier, wanted)),
        Value::Object(members) => members
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "use" | "period" | "extension" | "type"))
            .any(|(_, member)| text(member, modifier, wanted)),
        _ => false,
    }
}

/// The span a date, dateTime, instant or Period covers.
pub(crate) fn span_of(element: &Value) -> Option<Span> {
    match element {
        Value::String(text) => time::span(text),
        Value::Object(members) => {
            let start = members.get("start").and_then(Value::as_str).and_then(time::span);
            let end = members.get("end").and_then(Value::as_str).and_then(time::span);
            (start.is_some() || end.is_some())
                .then(|| Span { start: start.map_or(i64::MIN, |s| s.start), end: end.map_or(i64::MAX, |e| e.end) })
        }
        _ => None,
    }
}

/// Takes a two-letter comparison prefix off a value.
fn prefix(value: &str) -> (&str, &str) {
    for known in ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"] {
        if let Some(rest) = value.strip_prefix(known) {
            return (known, rest);
        }
    }
    ("eq", value)
}

fn date(element: &Value, wanted: &str) -> bool {
    let (comparison, text) = prefix(wanted);
    let (Some(own), Some(wanted)) = (span_of(element), time::span(text)) else { return false };
    let within = wanted.start <= own.start && own.end <= wanted.end;
    match comparison {
        "ne" => !within,
        "gt" => own.end > wanted.end,
        "lt" => own.start < wanted.start,
        "ge" => own.end > wanted.start,
        "le" => own.start < wanted.end,
        "sa" => own.start >= wanted.end,
        "eb" => own.end <= wanted.start,
        "ap" => own.start < wanted.end + time::DAY && own.end > wanted.start - time::DAY,
        _ => within,
    }
}

fn quantity(element: &Value, wanted: &str) -> bool {
    let mut parts = wanted.split('|');
    let (comparison, digits) = prefix(parts.next().unwrap_or(""));
    let (system, code) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let (Some(own), Ok(number)) = (element.get("value").and_then(Value::as_f64), digits.parse::<f64>()) else {
        return false;
    };
    let field = |name: &str| element.get(name).and_then(Value::as_str);
    if !system.is_empty() && field("system") != Some(system) {
        return false;
    }
    if !code.is_empty() && field("code") != Some(code) && field("unit") != Some(code) {
        return false;
    }
    // R4 §3.1.1.5.5: an equal number is equal to the precision in which it was written.
    let places = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let slack = 0.5 / 10f64.powi(i32::try_from(places).unwrap_or(0));
    match comparison {
        "ne" => (own - number).abs() > slack,
        "gt" | "sa" => own > number,
        "lt" | "eb" => own < number,
        "ge" => own >= number,
        "le" => own <= number,
        _ => (own - number).abs() <= slack,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::search::table::find;

    fn hits(resource: &Value, name: &str, modifier: Option<&str>, value: &str) -> bool {
        let kind = resource["resourceType"].as_str().unwrap();
        matches(resource, find(kind, name).unwrap(), modifier, value, "http://ehr/fhir")
    }

    #[test]
    fn each_kind_compares_as_r4_says() {
        let observation = json!({"resourceType": "Observation", "id": "o", "status": "final",
            "subject": {"reference": "Patient/P1"}, "effectiveDateTime": "2026-03-04T10:00:00Z",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "valueQuantity": {"value": 72.5, "system": "http://unitsofmeasure.org", "code": "/min"}});
        for (name, modifier, value, expected) in [
            ("patient", None, "P1", true),
            ("patient", None, "Patient/P1", true),
            ("patient", None, "http://ehr/fhir/Patient/P1", true),
            ("patient", None, "https://elsewhere/Patient/P1", false),
            ("patient", None, "P", false),
            ("patient", None, "P2,P1", true),
            ("subject", Some("Patient"), "P1", true),
            ("subject", Some("Group"), "P1", false),
            ("code", None, "8867-4", true),
            ("code", None, "http://loinc.org|8867-4", true),
            ("code", None, "http://loinc.org|", true),
            ("code", None, "|8867-4", false),
            ("code", Some("not"), "8867-4", false),
            ("status", None, "final", true),
            ("encounter", Some("missing"), "true", true),
            ("date", None, "2026-03-04", true),
            ("date", None, "ge2026-03-04", true),
            ("date", None, "gt2026-03-04", false),
            ("date", None, "lt2026-03-05", true),
            ("date", None, "le2026-03-03", false),
            ("date", None, "ne2026", false),
            ("date", None, "2026-03", true),
            ("value-quantity", None, "gt70", true),
            ("value-quantity", None, "72.5|http://unitsofmeasure.org|/min", true),
            ("value-quantity", None, "72.5||kg", false),
            ("_id", None, "o", true),
        ] {
            assert_eq!(hits(&observation, name, modifier, value), expected, "{name}:{modifier:?}={value}");
        }
    }

    #[test]
    fn strings_match_by_prefix_unless_told_otherwise() {
        let patient =
            json!({"resourceType": "Patient", "name": [{"use": "official", "family": "O'Neil, Jr", "given": ["Ana"]}]});
        assert!(hits(&patient, "name", None, "an"));
        assert!(hits(&patient, "family", None, "o'neil\\, j"));
        assert!(!hits(&patient, "family", None, "neil"));
        assert!(hits(&patient, "family", Some("contains"), "neil"));
        assert!(hits(&patient, "given", Some("exact"), "Ana"));
        assert!(!hits(&patient, "given", Some("exact"), "ana"));
        assert!(!hits(&patient, "name", None, "official"));
    }
}
