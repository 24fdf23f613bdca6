//! FHIRPath Patch by type of operation, and lists against a plain model of them.

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// An operation of `type`, then parts as `name suffix value`.
fn patch(operations: &[&str]) -> Result<Patch, InvalidPatch> {
    let list: Vec<_> = operations.iter().map(|parts| format!(r#"{{"name":"operation","part":[{parts}]}}"#)).collect();
    Patch::parse_fhirpath(format!(r#"{{"resourceType":"Parameters","parameter":[{}]}}"#, list.join(",")).as_bytes())
}

fn part(name: &str, rest: &str) -> String {
    format!(r#"{{"name":"{name}",{rest}}}"#)
}

fn head(kind: &str, path: &str) -> String {
    format!(
        "{},{}",
        part("type", &format!(r#""valueCode":"{kind}""#)),
        part("path", &format!(r#""valueString":"{path}""#))
    )
}

fn add(path: &str, name: &str, value: &str) -> String {
    format!("{},{},{}", head("add", path), part("name", &format!(r#""valueString":"{name}""#)), part("value", value))
}

fn insert(path: &str, index: usize, value: &str) -> String {
    format!(
        "{},{},{}",
        head("insert", path),
        part("index", &format!(r#""valueInteger":{index}"#)),
        part("value", value)
    )
}

fn replace(path: &str, value: &str) -> String {
    format!("{},{}", head("replace", path), part("value", value))
}

fn shift(path: &str, source: usize, destination: usize) -> String {
    let (source, destination) = (format!(r#""valueInteger":{source}"#), format!(r#""valueInteger":{destination}"#));
    format!("{},{},{}", head("move", path), part("source", &source), part("destination", &destination))
}

fn check(kind: ResourceType, cases: &[(&str, String, Result<&str, PatchError>)]) {
    for (resource, operation, wanted) in cases {
        let whole = |inside: &str| match inside {
            "" => format!(r#"{{"resourceType":"{kind}"}}"#),
            inside => format!(r#"{{"resourceType":"{kind}",{inside}}}"#),
        };
        let patch = patch(&[operation]).unwrap_or_else(|why| panic!("{}: {operation}", why.what()));
        assert_eq!(patch.apply(kind, &whole(resource)), wanted.map(whole), "{resource} {operation}");
    }
}

const PATIENT: ResourceType = ResourceType::PATIENT;
const OBSERVATION: ResourceType = ResourceType::OBSERVATION;
use PatchError::{Invalid, NoTarget};

#[test]
fn fhirpath_patch_adds() {
    check(
        PATIENT,
        &[
            ("", add("Patient", "birthDate", r#""valueDate":"1930-01-01""#), Ok(r#""birthDate":"1930-01-01""#)),
            (r#""birthDate":"1920""#, add("Patient", "birthDate", r#""valueDate":"1930""#), Err(Invalid)),
            ("", add("Patient", "active", r#""valueBoolean":true"#), Ok(r#""active":true"#)),
            // A list begins, and goes on.
            ("", add("Patient", "name", r#""valueHumanName":{"text":"a"}"#), Ok(r#""name":[{"text":"a"}]"#)),
            (
                r#""name":[{"text":"a"}],"active":true"#,
                add("Patient", "name", r#""valueHumanName":{"text":"b"}"#),
                Ok(r#""name":[{"text":"a"},{"text":"b"}],"active":true"#),
            ),
            (
                r#""name":[{"given":["a"]},{"given":["b"]}]"#,
                add("Patient.name[1]", "given", r#""valueString":"c""#),
                Ok(r#""name":[{"given":["a"]},{"given":["b","c"]}]"#),
            ),
            // One of one needs no index, and one of two does.
            (r#""name":[{}]"#, add("Patient.name", "use", r#""valueCode":"usual""#), Ok(r#""name":[{"use":"usual"}]"#)),
            (r#""name":[{},{}]"#, add("Patient.name", "use", r#""valueCode":"usual""#), Err(Invalid)),
            ("", add("Patient.name", "use", r#""valueCode":"usual""#), Err(NoTarget)),
            (r#""name":[{}]"#, add("Patient.name[1]", "use", r#""valueCode":"usual""#), Err(NoTarget)),
            // What is no datatype comes in parts; a list of one is a list.
            (
                "",
                add(
                    "Patient",
                    "contact",
                    r#""part":[{"name":"name","valueHumanName":{"text":"a"}},{"name":"telecom","part":[{"name":"value","valueString":"1"}]},{"name":"telecom","valueContactPoint":{"value":"2"}}]"#,
                ),
                Ok(r#""contact":[{"name":{"text":"a"},"telecom":[{"value":"1"},{"value":"2"}]}]"#),
            ),
            (
                "",
                add(
                    "Patient",
                    "extension",
                    r#""part":[{"name":"url","valueUri":"u"},{"name":"value","valueDecimal":1.10}]"#,
                ),
                Ok(r#""extension":[{"url":"u","valueDecimal":1.10}]"#),
            ),
            ("", add("Patient", "extension", r#""valueExtension":{"url":"u"}"#), Ok(r#""extension":[{"url":"u"}]"#)),
            (
                "",
                add("Patient", "contained", r#""resource":{"resourceType":"Basic","id":"b"}"#),
                Ok(r#""contained":[{"resourceType":"Basic","id":"b"}]"#),
            ),
            // Other types, and elements that are none.
            ("", add("Patient", "birthDate", r#""valueBoolean":true"#), Err(Invalid)),
            ("", add("Patient", "active", r#""valueString":"true""#), Err(Invalid)),
            ("", add("Patient", "name", r#""valueAddress":{}"#), Err(Invalid)),
            ("", add("Patient", "name", r#""valueString":"a""#), Err(Invalid)),
            ("", add("Patient", "birthDate", r#""valueHumanName":"a""#), Err(Invalid)),
            ("", add("Patient", "contact", r#""valueHumanName":{}"#), Err(Invalid)),
            ("", add("Patient", "nmae", r#""valueHumanName":{}"#), Err(Invalid)),
            ("", add("Patient", "resourceType", r#""valueString":"Basic""#), Err(Invalid)),
            ("", add("Patient", "contact", r#""part":[{"name":"nmae","valueString":"a"}]"#), Err(Invalid)),
            (
                "",
                add(
                    "Patient",
                    "contact",
                    r#""part":[{"name":"gender","valueCode":"a"},{"name":"gender","valueCode":"b"}]"#,
                ),
                Err(Invalid),
            ),
            ("", add("Observation", "status", r#""valueCode":"final""#), Err(Invalid)),
            // Primitive extensions are left alone, so nothing is done beside one.
            (r#""_birthDate":{"id":"b"}"#, add("Patient", "birthDate", r#""valueDate":"1930""#), Err(Invalid)),
            (r#""name":[{"_given":[null]}]"#, add("Patient.name", "given", r#""valueString":"a""#), Err(Invalid)),
        ],
    );
}

#[test]
fn fhirpath_patch_inserts_and_moves() {
    let three = r#""name":[{"text":"a"}, {"text":"b"} ,{"text":"c"}]"#;
    check(
        PATIENT,
        &[
            (
                three,
                insert("Patient.name", 1, r#""valueHumanName":{"text":"x"}"#),
                Ok(r#""name":[{"text":"a"}, {"text":"x"},{"text":"b"} ,{"text":"c"}]"#),
            ),
            (
                three,
                insert("Patient.name", 3, r#""valueHumanName":{"text":"x"}"#),
                Ok(r#""name":[{"text":"a"}, {"text":"b"} ,{"text":"c"},{"text":"x"}]"#),
            ),
            (three, insert("Patient.name", 4, r#""valueHumanName":{"text":"x"}"#), Err(NoTarget)),
            ("", insert("Patient.name", 0, r#""valueHumanName":{"text":"x"}"#), Ok(r#""name":[{"text":"x"}]"#)),
            ("", insert("Patient.name", 1, r#""valueHumanName":{"text":"x"}"#), Err(NoTarget)),
            ("", insert("Patient.birthDate", 0, r#""valueDate":"1930""#), Err(Invalid)),
            (three, shift("Patient.name", 0, 2), Ok(r#""name":[{"text":"b"}, {"text":"c"} ,{"text":"a"}]"#)),
            (three, shift("Patient.name", 2, 0), Ok(r#""name":[{"text":"c"}, {"text":"a"} ,{"text":"b"}]"#)),
            (three, shift("Patient.name", 1, 1), Ok(three)),
            (three, shift("Patient.name", 3, 0), Err(NoTarget)),
            (three, shift("Patient.name", 0, 3), Err(NoTarget)),
            ("", shift("Patient.name", 0, 0), Err(NoTarget)),
            (r#""birthDate":"1930""#, shift("Patient.birthDate", 0, 0), Err(Invalid)),
        ],
    );
}

#[test]
fn fhirpath_patch_deletes_and_replaces() {
    let two = r#""name":[{"given":["a","b"]},{"given":["c"]}],"gender":"male""#;
    check(
        PATIENT,
        &[
            (two, head("delete", "Patient.gender"), Ok(r#""name":[{"given":["a","b"]},{"given":["c"]}]"#)),
            (two, head("delete", "Patient.birthDate"), Ok(two)),
            (two, head("delete", "Patient.contact[0].name.family"), Ok(two)),
            (two, head("delete", "Patient.name[2]"), Ok(two)),
            (two, head("delete", "Patient.name[0]"), Ok(r#""name":[{"given":["c"]}],"gender":"male""#)),
            (
                two,
                head("delete", "Patient.name[0].given[0]"),
                Ok(r#""name":[{"given":["b"]},{"given":["c"]}],"gender":"male""#),
            ),
            // The index counts in all that was found: the third given name is that of the second name.
            (
                two,
                replace("Patient.name.given[2]", r#""valueString":"x""#),
                Ok(r#""name":[{"given":["a","b"]},{"given":["x"]}],"gender":"male""#),
            ),
            // Nothing empty is left: the list goes, and the name that held it.
            (two, head("delete", "Patient.name[1].given"), Ok(r#""name":[{"given":["a","b"]}],"gender":"male""#)),
            (r#""active":true,"name":[{"given":["a"]}]"#, head("delete", "Patient.name.given"), Ok(r#""active":true"#)),
            (r#""name":[{"given":["a"]}]"#, head("delete", "Patient.name"), Ok("")),
            (two, head("delete", "Patient.name"), Err(Invalid)),
            (two, head("delete", "Patient.nmae"), Err(Invalid)),
            (r#""birthDate":"1930","_birthDate":{"id":"b"}"#, head("delete", "Patient.birthDate"), Err(Invalid)),
            (
                two,
                replace("Patient.gender", r#""valueCode":"other""#),
                Ok(r#""name":[{"given":["a","b"]},{"given":["c"]}],"gender":"other""#),
            ),
            (
                two,
                replace("Patient.name[0].given[1]", r#""valueString":"x""#),
                Ok(r#""name":[{"given":["a","x"]},{"given":["c"]}],"gender":"male""#),
            ),
            (two, replace("Patient.birthDate", r#""valueDate":"1930""#), Err(NoTarget)),
            (two, replace("Patient.name", r#""valueHumanName":{"text":"x"}"#), Err(Invalid)),
            (two, replace("Patient.name[1]", r#""valueAddress":{"text":"x"}"#), Err(Invalid)),
            // Inside a contained resource, whose type is its own.
            (
                r#""contained":[{"resourceType":"Observation","id":"o","valueInteger":1}]"#,
                replace("Patient.contained[0].value", r#""valueInteger":2"#),
                Ok(r#""contained":[{"resourceType":"Observation","id":"o","valueInteger":2}]"#),
            ),
        ],
    );
}

#[test]
fn fhirpath_patch_knows_choices_and_keeps_numbers() {
    check(
        OBSERVATION,
        &[
            ("", add("Observation", "value", r#""valueString":"x""#), Ok(r#""valueString":"x""#)),
            ("", add("Observation", "value", r#""valueDateTime":"2020""#), Ok(r#""valueDateTime":"2020""#)),
            ("", add("Observation", "value", r#""valueAddress":{}"#), Err(Invalid)),
            ("", add("Observation", "valueString", r#""valueString":"x""#), Err(Invalid)),
            (r#""valueQuantity":{}"#, add("Observation", "value", r#""valueString":"x""#), Err(Invalid)),
            (r#""_valueString":{"id":"v"}"#, add("Observation", "value", r#""valueString":"x""#), Err(Invalid)),
            (
                r#""valueQuantity":{"value":1.10,"unit":"mg"},"status":"final""#,
                replace("Observation.value.unit", r#""valueString":"g""#),
                Ok(r#""valueQuantity":{"value":1.10,"unit":"g"},"status":"final""#),
            ),
            (
                r#""valueQuantity":{"value":1.10}"#,
                replace("Observation.value.value", r#""valueDecimal":2.50"#),
                Ok(r#""valueQuantity":{"value":2.50}"#),
            ),
            (
                r#""valueQuantity":{"value":1.10},"status":"final""#,
                replace("Observation.value", r#""valueString":"none""#),
                Ok(r#""valueString":"none","status":"final""#),
            ),
            (r#""valueInteger":1,"status":"final""#, head("delete", "Observation.value"), Ok(r#""status":"final""#)),
            (
                r#""component":[{"valueInteger":1,"code":{}}]"#,
                head("delete", "Observation.component[0].value"),
                Ok(r#""component":[{"code":{}}]"#),
            ),
            (
                "",
                add(
                    "Observation",
                    "component",
                    r#""part":[{"name":"code","valueCodeableConcept":{"text":"a"}},{"name":"value","valueQuantity":{"value":1.10}}]"#,
                ),
                Ok(r#""component":[{"code":{"text":"a"},"valueQuantity":{"value":1.10}}]"#),
            ),
            (
                "",
                add(
                    "Observation",
                    "component",
                    r#""part":[{"name":"value","valueInteger":1},{"name":"value","valueString":"a"}]"#,
                ),
                Err(Invalid),
            ),
        ],
    );
}

#[test]
fn fhirpath_patch_is_read_strictly() {
    for path in [
        "",
        "Nothing.name",
        "name.given",
        "Patient.name.where(use='official')",
        "Patient.name.first()",
        "Patient.name[-1]",
        "Patient.name[01]",
        "Patient.name[0",
        "Patient.name[0][0]",
        "Patient..name",
        "Patient.name.",
        "Patient.name | Patient.contact",
        "Patient.`name`",
        "Patient[0].name",
        "Patient",
        "%resource.name",
        " Patient.name",
    ] {
        assert!(matches!(patch(&[&head("delete", path)]), Err(InvalidPatch::Unsupported(_))), "`{path}`");
    }
    let indexed = [insert("Patient.name[0]", 0, r#""valueHumanName":{}"#), shift("Patient.name[0]", 0, 1)];
    for operation in indexed {
        assert!(matches!(patch(&[&operation]), Err(InvalidPatch::Unsupported(_))), "{operation}");
    }
    let value = r#"{"name":"value","valueString":"a"}"#;
    for operation in [
        String::new(),
        head("remove", "Patient.name"),
        head("add", "Patient"),
        head("replace", "Patient.name"),
        format!("{},{value}", head("delete", "Patient.name")),
        format!("{},{value},{value}", head("replace", "Patient.gender")),
        format!("{},{value}", head("insert", "Patient.name")),
        format!("{},{value},{}", head("insert", "Patient.name"), part("index", r#""valueInteger":-1"#)),
        format!("{},{value},{}", head("insert", "Patient.name"), part("index", r#""valueString":"1""#)),
        replace("Patient.gender", r#""valueCode":null"#),
        replace("Patient.gender", r#""valueCode":"a","valueString":"b""#),
        replace("Patient.gender", r#""id":"a""#),
        replace("Patient.contact", r#""part":[]"#),
    ] {
        assert!(matches!(patch(&[&operation]), Err(InvalidPatch::Malformed(_))), "{operation}");
    }
    for text in [
        "[]",
        r#"{"resourceType":"Patient"}"#,
        r#"{"resourceType":"Parameters","parameter":{}}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"other","part":[{"name":"a","valueString":"a"}]}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"operation","valueString":"add"}]}"#,
    ] {
        assert!(matches!(Patch::parse_fhirpath(text.as_bytes()), Err(InvalidPatch::Malformed(_))), "{text}");
    }
    for text in [
        r#"{"resourceType":"Parameters","implicitRules":"x"}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","_valueCode":{}}]}]}"#,
    ] {
        assert!(matches!(Patch::parse_fhirpath(text.as_bytes()), Err(InvalidPatch::Unsupported(_))), "{text}");
    }
    let many = vec![head("delete", "Patient.name"); OPERATIONS_MAX + 1];
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(patch(&many), Err(InvalidPatch::TooLong(_))));
    assert!(patch(&[]).is_ok());
}

/// One change of a list, as a model of it has it; `false` if it is none.
fn model(list: &mut Vec<String>, (op, a, b): (u8, usize, usize), text: &str) -> bool {
    match op {
        0 => list.push(text.to_owned()),
        1 if a <= list.len() => list.insert(a, text.to_owned()),
        2 if a < list.len() => drop(list.remove(a)),
        // What is not there need not be deleted.
        2 => {}
        3 if a < list.len() => list[a] = text.to_owned(),
        4 if a < list.len() && b < list.len() => {
            let moved = list.remove(a);
            list.insert(b, moved);
        }
        _ => return false,
    }
    true
}

proptest! {
    #[test]
    fn fhirpath_patch_agrees_with_a_model_of_lists(
        start in proptest::collection::vec("[a-c]{1,2}", 0..4),
        changes in proptest::collection::vec((0..5u8, 0..5usize, 0..5usize), 1..8),
    ) {
        let tree = |list: &[String]| match list {
            [] => json!({"resourceType": "Patient", "name": [{"use": "usual"}]}),
            list => json!({"resourceType": "Patient", "name": [{"use": "usual", "given": list}]}),
        };
        let (mut list, mut fine, mut operations) = (start.clone(), true, Vec::new());
        for (n, change) in changes.into_iter().enumerate() {
            let (text, value) = (format!("n{n}"), format!(r#""valueString":"n{n}""#));
            fine = fine && model(&mut list, change, &text);
            let (op, a, b) = change;
            operations.push(match op {
                0 => add("Patient.name", "given", &value),
                1 => insert("Patient.name.given", a, &value),
                2 => head("delete", &format!("Patient.name.given[{a}]")),
                3 => replace(&format!("Patient.name.given[{a}]"), &value),
                _ => shift("Patient.name.given", a, b),
            });
        }
        let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
        let got = patch(&operations).unwrap().apply(PATIENT, &tree(&start).to_string());
        let got = got.map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
        prop_assert_eq!(got.ok(), fine.then(|| tree(&list)));
    }

    #[test]
    fn fhirpath_patch_never_panics(path in r"Patient(\.(name|given|extension|value|contained|contact|_id|id)(\[[0-9]{1,2}\])?){0,4}",
        name in "name|given|extension|value|contained|contact|id", value in r#""value(String|HumanName|Extension|Integer)":(1|"a"|\{\})"#) {
        let resource = r#"{"resourceType":"Patient","id":"p","name":[{"given":["a",null],"extension":[{"url":"u","valueInteger":1}]}],"contained":[{"resourceType":"Nothing"},1,[]],"contact":{}}"#;
        for operation in [add(&path, &name, &value), replace(&path, &value), head("delete", &path), insert(&path, 0, &value), shift(&path, 0, 1)] {
            if let Ok(Ok(text)) = patch(&[&operation]).map(|patch| patch.apply(PATIENT, resource)) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }
    }
}
