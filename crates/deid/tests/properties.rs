//! Whatever is put in: no planted text leaves, the output is strict JSON with R4 elements only, and the same each time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use deid::{Profile, SeededSurrogates};
use fhir::ResourceType;
use fhir::elements::{Complex, Datatype, Element, Primitive};
use fhir::json::{Document, Kind, Value};
use proptest::prelude::*;
use serde_json::{Map, json};
use support::{safe_harbor, with};

/// Paths wide and narrow, most of which lead to texts.
const PATHS: [&str; 14] = [
    "Resource",
    "Patient",
    "Observation.value",
    "Resource.meta",
    "Resource.text | Resource.contained",
    "nodesByType('string') | nodesByType('boolean')",
    "nodesByType('Extension')",
    "nodesByType('Reference')",
    "nodesByType('Coding')",
    "nodesByType('CodeableConcept').where(text = 'zanzibar')",
    "nodesByType('Address')",
    "nodesByType('Quantity')",
    "nodesByName('identifier') | nodesByName('code')",
    "nodesByName('period')",
];

const CANARY: &str = "zanzibar";

/// Draws for one resource: a short stream of bytes, read over and over.
struct Draws<'d> {
    bytes: &'d [u8],
    at: usize,
}

impl Draws<'_> {
    fn next(&mut self) -> u8 {
        self.at += 1;
        let byte = self.bytes.get(self.at % self.bytes.len().max(1)).copied().unwrap_or(0);
        byte.wrapping_add((self.at / self.bytes.len().max(1)) as u8)
    }

    fn one_in(&mut self, count: u8) -> bool {
        self.next().is_multiple_of(count)
    }
}

/// A text with the canary, in one of the forms that texts have.
fn canary(draws: &mut Draws<'_>) -> String {
    match draws.next() % 9 {
        0 => CANARY.to_owned(),
        1 => format!("2015-02-07T13:28:17{CANARY}"),
        2 => format!("http://{CANARY}.example/r4/Patient/1"),
        3 => format!("Patient/{CANARY}"),
        4 => format!("mg/{{{CANARY}}}"),
        5 => format!("{CANARY}@example.org"),
        6 => format!("urn:uuid:{CANARY}"),
        7 => format!("http://loinc.org#{CANARY}"),
        _ => CANARY.to_uppercase(),
    }
}

/// Any value for an element: mostly of its datatype, at times of another.
fn value(datatype: Datatype, draws: &mut Draws<'_>, depth: u32) -> serde_json::Value {
    if draws.one_in(29) {
        return match draws.next() % 4 {
            0 => json!([canary(draws)]),
            1 => json!({"nested": {"deeper": canary(draws)}, "text": canary(draws)}),
            2 => json!(12),
            _ => json!(null),
        };
    }
    match datatype {
        Datatype::Primitive(Primitive::Boolean) => json!(draws.one_in(2)),
        Datatype::Primitive(Primitive::Decimal) => json!(f64::from(draws.next()) / 4.0),
        Datatype::Primitive(Primitive::Integer | Primitive::UnsignedInt | Primitive::PositiveInt) => {
            json!(draws.next())
        }
        Datatype::Primitive(Primitive::Uri) if draws.one_in(3) => json!("http://snomed.info/sct"),
        Datatype::Primitive(_) => json!(canary(draws)),
        Datatype::Complex(place) => object(place, draws, depth + 1),
        Datatype::Resource => json!({"resourceType": "Patient", "id": canary(draws), "gender": canary(draws)}),
    }
}

fn object(place: Complex, draws: &mut Draws<'_>, depth: u32) -> serde_json::Value {
    let mut members = Map::new();
    if depth > 4 {
        return json!({});
    }
    for (wire, Element { repeats, datatype, name }) in place.elements() {
        // Open choices have fifty members, and extensions stand everywhere: some of each are enough.
        let rare = wire != *name || matches!(*name, "extension" | "id") || depth > 2;
        if *name == "modifierExtension" && !draws.one_in(64) || rare && !draws.one_in(6) {
            continue;
        }
        let one = value(*datatype, draws, depth);
        let many = *repeats != (draws.one_in(31));
        members.insert(wire.to_owned(), if many { json!([one]) } else { one });
        if draws.one_in(16) {
            members.insert(format!("_{wire}"), json!({"id": canary(draws), "extension": [{"url": canary(draws)}]}));
        }
    }
    members.insert(canary(draws), json!(canary(draws)));
    members.into()
}

fn resource(kind: ResourceType, draws: &mut Draws<'_>) -> String {
    let mut value = object(Complex::resource(kind).unwrap(), draws, 0);
    value["resourceType"] = json!(kind.name());
    value.as_object_mut().unwrap().retain(|name, _| name != "modifierExtension" && name != "implicitRules");
    let text = value.to_string();
    // Escaped, it is the same text.
    if draws.one_in(4) { text.replace("zanz", "\\u007aanz") } else { text }
}

/// Whether `value` is what R4 says of a `place`: known elements of the right form, nothing empty, no null.
fn is_r4(place: Complex, value: Value<'_>) -> bool {
    value.is_object()
        && value.members().next().is_some()
        && value.members().all(|(key, value)| {
            if key.is("resourceType") {
                return value.is_string();
            }
            let Some(element) = place.element(&key.text()) else { return false };
            let one = |value: Value<'_>| match element.datatype {
                Datatype::Primitive(Primitive::Boolean) => matches!(value.kind(), Kind::True | Kind::False),
                Datatype::Primitive(
                    Primitive::Decimal | Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt,
                ) => value.kind() == Kind::Number,
                Datatype::Primitive(_) => value.as_str().is_some_and(|text| !text.is_empty()),
                Datatype::Complex(inner) => is_r4(inner, value),
                Datatype::Resource => {
                    let kind = value.get_str("resourceType").and_then(|name| name.parse().ok());
                    kind.and_then(Complex::resource).is_some_and(|inner| is_r4(inner, value))
                }
            };
            match element.repeats {
                true => value.is_array() && value.elements().next().is_some() && value.elements().all(one),
                false => one(value),
            }
        })
}

fn holds(profile: &Profile, kind: ResourceType, text: &str) -> Result<usize, TestCaseError> {
    let done = with(profile, text, &mut SeededSurrogates::new(3));
    let again = with(profile, text, &mut SeededSurrogates::new(3));
    let (Ok(done), Ok(again)) = (&done, &again) else {
        // What is refused is refused each time, and is only what cannot be anything else.
        prop_assert!(done.is_err() && again.is_err());
        return Ok(0);
    };
    prop_assert_eq!(&done.bytes, &again.bytes);
    prop_assert_eq!(done.report, again.report);
    let shown = std::str::from_utf8(&done.bytes).unwrap();
    prop_assert!(!shown.to_lowercase().contains(CANARY), "{}: {}", kind, shown);
    let document = Document::parse(&done.bytes);
    prop_assert!(document.is_ok(), "{}", shown);
    let document = document.unwrap();
    prop_assert!(is_r4(Complex::resource(kind).unwrap(), document.root()), "{}", shown);
    prop_assert!(serde_json::from_slice::<serde_json::Value>(&done.bytes).is_ok());
    let counts = done.report.counts;
    Ok(counts.kept + counts.known + counts.generalized + counts.surrogates)
}

#[test]
fn no_planted_text_leaves_any_type_of_resource() {
    let profile = safe_harbor();
    let mut left = 0;
    for (at, kind) in (0_u8..).zip(ResourceType::all()) {
        for start in 0..4_u8 {
            let bytes: Vec<u8> =
                (0..251_u8).map(|n| n.wrapping_mul(37).wrapping_add(at).wrapping_add(start * 64)).collect();
            let text = resource(kind, &mut Draws { bytes: &bytes, at: 0 });
            left += holds(&profile, kind, &text).unwrap();
        }
    }
    assert!(left > 1_000, "{left} values left: too few to mean anything");
}

/// Texts with the canary, by the names of their elements.
fn where_left(value: Value<'_>, name: &str, found: &mut Vec<String>) {
    if value.as_str().is_some_and(|text| text.to_lowercase().contains(CANARY)) {
        found.push(name.to_owned());
    }
    value.members().for_each(|(key, value)| where_left(value, &key.text(), found));
    value.elements().for_each(|value| where_left(value, name, found));
}

#[test]
fn of_a_limited_data_set_only_places_are_texts() {
    let rules = json!({"profile": "limited-data-set", "agreement": "DUA-1", "processingErrors": "skip",
        "fhirPathRules": [{"path": "Resource", "method": "keep"}]});
    let profile = Profile::parse(rules.to_string().as_bytes(), support::digest).unwrap();
    let mut found = Vec::new();
    for (at, kind) in (0_u8..).zip(ResourceType::all()) {
        let bytes: Vec<u8> = (0..241_u8).map(|n| n.wrapping_mul(41).wrapping_add(at)).collect();
        let text = resource(kind, &mut Draws { bytes: &bytes, at: 0 });
        if let Ok(done) = with(&profile, &text, &mut SeededSurrogates::new(3)) {
            where_left(Document::parse(&done.bytes).unwrap().root(), "", &mut found);
        }
    }
    let places = ["city", "district", "postalCode"];
    assert!(found.iter().all(|name| places.contains(&name.as_str())), "{found:?}");
    assert!(!found.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_planted_text_leaves_a_drawn_resource(bytes in prop::collection::vec(any::<u8>(), 16..600), kind in 0_usize..148) {
        let kind = ResourceType::all().nth(kind).unwrap_or(ResourceType::PATIENT);
        let text = resource(kind, &mut Draws { bytes: &bytes, at: 0 });
        holds(&safe_harbor(), kind, &text)?;
    }

    /// No list of rules on the built-in profile lets a text through that it does not.
    #[test]
    fn rules_on_the_built_in_profile_only_narrow(
        bytes in prop::collection::vec(any::<u8>(), 16..300),
        kind in 0_usize..148,
        drawn in prop::collection::vec((0_usize..PATHS.len(), 0_usize..3), 1..8),
    ) {
        let mut rules = Vec::new();
        for (path, method) in drawn {
            let method = ["keep", "keepKnown", "redact"][method];
            let rule = json!({"path": PATHS[path], "method": method});
            let alone = json!({"base": "safe-harbor", "fhirPathRules": [rule]}).to_string();
            if Profile::parse(alone.as_bytes(), support::digest).is_ok() {
                rules.push(rule);
            }
        }
        let file = json!({"base": "safe-harbor", "processingErrors": "skip", "fhirPathRules": rules}).to_string();
        let profile = Profile::parse(file.as_bytes(), support::digest).unwrap();
        let kind = ResourceType::all().nth(kind).unwrap_or(ResourceType::PATIENT);
        let text = resource(kind, &mut Draws { bytes: &bytes, at: 0 });
        let narrowed = holds(&profile, kind, &text)?;
        prop_assert!(narrowed <= holds(&safe_harbor(), kind, &text)?);
    }

    #[test]
    fn files_of_rules_never_panic(text in r#"[a-zA-Z'(){}|. =\[\]"$]{0,60}"#) {
        let file = json!({"base": "safe-harbor", "fhirPathRules": [{"path": text, "method": "keep"}]}).to_string();
        let _ = Profile::parse(file.as_bytes(), support::digest);
        let _ = Profile::parse(text.as_bytes(), support::digest);
    }
}

#[test]
fn nesting_ends_somewhere() {
    let profile = safe_harbor();
    let deep = format!(
        "{}{}{}",
        r#"{"resourceType":"Composition","section":[{"#,
        r#""section":[{"#.repeat(29),
        format!(r#""mode":"working"{}"#, "}]".repeat(30)) + "}"
    );
    assert!(
        String::from_utf8(with(&profile, &deep, &mut SeededSurrogates::new(1)).unwrap().bytes)
            .unwrap()
            .contains("working")
    );
    let bundle = r#"{"resourceType":"Bundle","entry":[{"resource":"#;
    let deep = format!("{}{}{}", bundle.repeat(15), r#"{"resourceType":"Patient","gender":"male"}"#, "}]}".repeat(15));
    assert!(with(&profile, &deep, &mut SeededSurrogates::new(1)).is_ok());
}
