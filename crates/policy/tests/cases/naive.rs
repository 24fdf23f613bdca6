//! Random resources with planted references: `policy` never releases what the naive second opinion refuses.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Map, Value, json};
use testkit::naive::{self, Session};
use testkit::world::{PUBLIC, UPSTREAM, World};

pub const SCOPES: &str = "patient/Observation.rs?category=vital-signs patient/Condition.rs patient/Patient.rs patient/Encounter.rs \
    patient/MedicationRequest.rs patient/Appointment.rs patient/Coverage.rs patient/Task.rs patient/Practitioner.rs";

pub fn session() -> Session<'static> {
    Session {
        patient: "P1",
        upstream: UPSTREAM,
        clauses: &[
            ("Observation", &[("category", "vital-signs")]),
            ("Condition", &[]),
            ("Patient", &[]),
            ("Encounter", &[]),
            ("MedicationRequest", &[]),
            ("Appointment", &[]),
            ("Coverage", &[]),
            ("Task", &[]),
            ("Practitioner", &[]),
        ],
        shared: &["Practitioner", "Organization", "Location", "Medication"],
    }
}

fn reference() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        4 => Just("Patient/P1".to_owned()),
        2 => Just("Patient/P2".to_owned()),
        1 => Just("Patient/P12".to_owned()),
        1 => Just("Patient/P1/_history/3".to_owned()),
        1 => Just(format!("{UPSTREAM}/Patient/P1")),
        1 => Just(format!("{UPSTREAM}/Patient/P2")),
        1 => Just("https://elsewhere/Patient/P1".to_owned()),
        1 => Just("Practitioner/PRA".to_owned()),
        1 => Just("Group/G12".to_owned()),
        1 => Just("Observation/O2".to_owned()),
        1 => Just("#p".to_owned()),
        1 => "[Pp]atient/P1[/ ?#]?",
        1 => "(https://ehr/r4/?)?[A-Z][a-z]{3,7}/[A-Z0-9.]{1,4}(/_history/[0-9])?",
    ];
    prop_oneof![
        8 => text.clone().prop_map(|text| json!({"reference": text})),
        2 => text.prop_map(|text| json!({"reference": text, "display": "Two", "identifier": {"value": "mrn2"}})),
        1 => Just(json!({"display": "Two"})),
        1 => Just(json!({"identifier": {"system": "mrn", "value": "mrn2"}})),
        1 => Just(json!({})),
        1 => Just(json!(null)),
    ]
}

fn element() -> impl Strategy<Value = (String, Value)> {
    let name = prop_oneof![
        Just("subject"),
        Just("patient"),
        Just("beneficiary"),
        Just("for"),
        Just("performer"),
        Just("focus"),
        Just("encounter"),
        Just("derivedFrom"),
        Just("note"),
        Just("extension"),
        Just("contained"),
        Just("participant"),
        Just("subscriber"),
        Just("link"),
    ];
    (name, reference(), reference(), 0..6u8).prop_map(|(name, a, b, shape)| {
        let value = match (name, shape) {
            ("extension", _) => json!([{"url": "x", "valueReference": a}]),
            ("note", _) => json!([{"authorReference": a, "text": "t"}]),
            ("contained", 0) => json!([{"resourceType": "Patient", "id": "p"}]),
            ("contained", 1) => json!([{"resourceType": "Condition", "id": "p", "subject": a}]),
            ("contained", 2) => json!([{"resourceType": "Practitioner", "id": "p"}]),
            ("contained", 3) => json!({"resourceType": "Practitioner", "id": "p"}),
            ("contained", _) => json!([{"resourceType": "Device", "id": "p", "patient": b}]),
            ("participant", _) => json!([{"actor": a}, {"actor": b}]),
            ("link", _) => json!([{"other": a}]),
            (_, 0) => json!([a, b]),
            (_, 1) => json!([[a], {"x": b}]),
            (_, 2) => json!({"reference": a}),
            (_, 3) => json!({"x": {"resourceType": "Patient", "link": b}}),
            _ => a,
        };
        (name.to_owned(), value)
    })
}

pub fn any_resource() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        5 => Just("Observation"), 2 => Just("Condition"), 1 => Just("Patient"), 1 => Just("Encounter"), 1 => Just("MedicationRequest"),
        2 => Just("Appointment"), 1 => Just("Coverage"), 1 => Just("Task"), 1 => Just("Practitioner"), 1 => Just("Procedure"),
    ];
    let id = prop_oneof![Just("X1"), Just("P1"), Just("P2")];
    // The owner's element first, so that enough are released to learn something.
    (kind, id, any::<bool>(), any::<bool>(), proptest::collection::vec(element(), 0..5)).prop_map(
        |(kind, id, own, vital, elements)| {
            let mut members: Map<String, Value> = elements.into_iter().collect();
            if own {
                let name = match kind {
                    "Coverage" => "beneficiary",
                    "Task" => "for",
                    _ => "subject",
                };
                members.insert(name.into(), json!({"reference": "Patient/P1"}));
                if kind == "Coverage" {
                    members.insert("subscriber".into(), json!({"reference": "Patient/P1"}));
                }
            }
            if vital {
                members.insert("category".into(), json!([{"coding": [{"code": "vital-signs"}]}]));
            }
            members.insert("resourceType".into(), kind.into());
            members.insert("id".into(), id.into());
            Value::Object(members)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn reads_never_release_what_the_naive_refuses(resource in any_resource()) {
        let world = World::new(SCOPES);
        let target = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let Ok(policy::Decision::Permit(permit)) = world.get(&target) else { return Ok(()) };
        let text = resource.to_string();
        let released = testkit::world::release(permit, text.as_bytes());
        if released.status() == 200 {
            prop_assert!(naive::may_release(&session(), &resource), "{text}");
            let body = naive::read(released.body()).unwrap();
            prop_assert_eq!(naive::leak(&session(), &body), None, "{}", text);
        } else {
            prop_assert_eq!(released.counts().released, 0);
        }
    }

    #[test]
    fn searches_release_no_foreign_resource(resources in proptest::collection::vec(any_resource(), 0..6)) {
        let world = World::new(SCOPES);
        let entries: Vec<_> = resources.iter().map(|resource| json!({"resource": resource})).collect();
        let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": 9, "entry": entries}).to_string();
        let released = world.released("Observation?_include=Observation:subject&_include=Observation:performer", &bundle);
        prop_assert_eq!(released.status(), 200);
        let body = naive::read(released.body()).unwrap();
        prop_assert_eq!(naive::leak(&session(), &body), None, "{}", bundle);
        prop_assert!(body.get("total").is_none());
        let mut shown = 0;
        for entry in body["entry"].as_array().into_iter().flatten() {
            let resource = &entry["resource"];
            if resource["resourceType"] == "OperationOutcome" {
                continue;
            }
            shown += 1;
            let url = format!("{PUBLIC}/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
            prop_assert_eq!(entry["fullUrl"].as_str(), Some(url.as_str()));
        }
        prop_assert_eq!(shown, released.counts().released);
        let fit = resources.iter().filter(|resource| naive::may_release(&session(), resource)).count();
        prop_assert!(usize::try_from(shown).unwrap() <= fit);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let world = World::new(SCOPES);
        let released = testkit::world::release(world.permit("Observation/O1"), &bytes);
        prop_assert!(matches!(released.status(), 404 | 502));
    }
}

/// A foreign reference below a random path of elements, some of their names escaped.
fn planted() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("performer"),
        Just("extension"),
        Just("valueReference"),
        Just("note"),
        Just("component"),
        Just("code"),
        Just("coding"),
        Just("identifier"),
        Just("assigner"),
        Just("meta"),
        Just("x"),
        Just("\\u0070erformer"),
    ];
    let reference = prop_oneof![
        Just(r#"{"reference":"Patient/P2"}"#),
        Just(r#"{"reference":"Patient/P2","display":"Two","identifier":{"value":"mrn2"}}"#),
        Just(r#"{"\u0072eference":"Patient\/P2","display":"Two"}"#),
        Just(r#"{"reference":"https:\/\/ehr/r4/Patient/P2/_history/7","type":"Patient"}"#),
        Just(r#"{"display":"Two","reference":"Observation/O9"}"#),
        Just(
            r##"{"identifier":{"value":"mrn2"},"extension":[{"url":"u","valueReference":{"reference":"Patient/P2"}}],"reference":"#gone"}"##
        ),
    ];
    (proptest::collection::vec((name, any::<bool>()), 1..6), reference).prop_map(|(path, reference)| {
        path.iter().rev().fold(reference.to_owned(), |inner, (name, list)| {
            if *list {
                format!(r#"{{"{name}":[7,{inner}]}}"#)
            } else {
                format!(r#"{{"{name}":{inner},"{name}2":null}}"#)
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn planted_references_never_come_through(planted in planted()) {
        let own = r#"{"resourceType":"Observation","id":"O1","category":[{"coding":[{"code":"vital-signs"}]}],"subject":{"reference":"Patient/P1"},"hasMember":"#;
        let body = format!("{own}{planted}}}");
        let released = World::new(SCOPES).released("Observation/O1", &body);
        prop_assert_eq!(released.status(), 200, "{}", body);
        let text = String::from_utf8_lossy(released.body()).into_owned();
        prop_assert!(naive::read(text.as_bytes()).is_some(), "{text}");
        for word in ["P2", "Two", "mrn2"] {
            prop_assert!(!text.contains(word), "{body}\n{text}");
        }
    }
}

#[test]
fn the_generator_is_worth_its_time() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let world = World::new(SCOPES);
    let mut released = 0;
    for _ in 0..500 {
        let resource = any_resource().new_tree(&mut runner).unwrap().current();
        let target = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        if let Ok(policy::Decision::Permit(permit)) = world.get(&target) {
            released += u32::from(testkit::world::release(permit, resource.to_string().as_bytes()).status() == 200);
        }
    }
    assert!((20..480).contains(&released), "{released} of 500 were released: the comparison would be hollow");
}
