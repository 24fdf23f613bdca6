//! b.8: projection is ours, and never blinds the verification.

use serde_json::{Value, json as value};
use testkit::world::World;

use crate::fixture::*;

fn full() -> String {
    observation(
        "O1",
        &(subject("Patient/P1")
            + &category("vital-signs")
            + r#","code":{"text":"c"},"text":{"status":"generated","div":"<div/>"},"valueQuantity":{"value":1.10},"meta":{"versionId":"1","tag":[{"code":"x"}]},"_status":{"id":"s"}"#),
    )
}

fn view(target: &str) -> Value {
    let released = World::new(KVIT).released(target, &full());
    assert_eq!(released.status(), 200, "{target}");
    json(&released)
}

fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn el_01_nothing_of_the_view_goes_upstream() {
    for target in [
        "Observation?patient=P1&_elements=code",
        "Observation?patient=P1&_summary=true",
        "Observation?patient=P1&_summary=text",
        "Observation?patient=P1&_format=json&_pretty=true&_total=none",
    ] {
        assert_eq!(sent(&World::new(KOBS).permit(target)), ["patient=Patient/P1"], "{target}");
    }
    assert_eq!(World::new(KOBS).permit("Observation/O1?_elements=code&_format=json").call().query, "");
    let released = World::new(KOBS).released("Observation?patient=P1&_elements=code", &bundle(&["O1", "O2"], ""));
    assert_eq!(ids(&released), ["O1"]);
    assert!(json(&released)["entry"][0]["resource"].get("subject").is_none());
    assert_eq!(link(&released, "self").unwrap(), "https://pep/fhir/Observation?patient=Patient/P1&_elements=code");
}

#[test]
fn el_03_el_05_projections_keep_what_must_be_there() {
    let all = view("Observation/O1");
    assert_eq!(names(&all).len(), 10);
    let tag = value!({"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"});
    for (target, expected) in [
        (
            "Observation/O1?_elements=value",
            &["_status", "code", "id", "meta", "resourceType", "status", "valueQuantity"][..],
        ),
        (
            "Observation/O1?_elements=subject,category",
            &["_status", "category", "code", "id", "meta", "resourceType", "status", "subject"],
        ),
        ("Observation/O1?_summary=text", &["_status", "code", "id", "meta", "resourceType", "status", "text"]),
        (
            "Observation/O1?_summary=data",
            &["_status", "category", "code", "id", "meta", "resourceType", "status", "subject", "valueQuantity"],
        ),
    ] {
        let shown = view(target);
        assert_eq!(names(&shown), expected, "{target}");
        assert_eq!(shown["meta"]["tag"], value!([{"code": "x"}, tag]), "{target}");
        assert_eq!(shown["meta"]["versionId"], "1");
    }
    let summary = view("Observation/O1?_summary=true");
    assert!(
        summary.get("text").is_none() && summary.get("subject").is_some() && summary.get("valueQuantity").is_some()
    );
    assert_eq!(view("Observation/O1?_summary=false"), all);
    let released = World::new(KVIT).released("Observation/O1?_elements=value", &full());
    assert!(String::from_utf8_lossy(released.body()).contains("1.10"), "FM-07");
    let plain = World::new(KOBS).released("Observation/O1?_elements=status", &resource("O1"));
    assert_eq!(json(&plain)["meta"]["tag"], value!([tag]), "a tag is added where there was no meta");
}

#[test]
fn el_04_el_06_el_07_other_forms_are_refused() {
    for target in [
        "Observation?_summary=count",
        "Observation?_elements=Observation.subject.display,code",
        "Observation?_elements:exclude=subject",
    ] {
        assert!(unreadable(&World::new(KOBS), target), "{target}");
    }
}

#[test]
fn el_08_subsetted_resources_without_a_subject_are_dropped() {
    let body = r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Observation","id":"O1","meta":{"tag":[{"code":"SUBSETTED"}]},"status":"final"}}]}"#;
    let released = World::new(KOBS).released("Observation?patient=P1", body);
    assert!(ids(&released).is_empty() && released.findings().is_empty());
    assert_eq!(released.counts().filtered, 1);
}
