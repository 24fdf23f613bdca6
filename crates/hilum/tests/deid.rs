//! `hilum deid preview` by the built binary: what it shows, and what it says when it cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support;

use std::fs;

use serde_json::json;
use support::{hilum, hilum_fed};

#[test]
fn a_preview_shows_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| hilum(folder.path(), &[&["deid", "preview"], arguments].concat());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": [
        {"resource": {"resourceType": "Patient", "id": "p1", "birthDate": "1974-12-25", "name": [{"family": "Windsor"}]}},
        {"resource": {"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "8302-2", "display": "Height"}]}}}]});
    write("bundle.json", &serde_json::to_string_pretty(&bundle).unwrap());
    let shown = run(&["bundle.json"]).ends(0, "Patient, 1 of 2");
    assert!(
        shown.out.contains("\"family\": \"Windsor\"") && shown.out.contains("\"birthDate\": \"1974\""),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("values: 1 generalized, 1 surrogates, 1 dropped"), "{}", shown.out);

    let rows = run(&["bundle.json", "-o", "json"]).rows();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["before"], bundle["entry"][0]["resource"]);
    assert_eq!(rows[0]["after"]["birthDate"], "1974");
    assert!(rows[0]["after"]["name"].is_null() && rows[0]["values"]["dropped"] == 1);
    let id = rows[0]["after"]["id"].as_str().unwrap();
    assert_eq!(rows[1]["after"]["subject"]["reference"], format!("Patient/{id}"));
    assert_eq!(rows[1]["profile"].as_str().unwrap().len(), 64);

    let fed = hilum_fed(folder.path(), &["deid", "preview", "-", "-o", "json"], &bundle.to_string());
    assert_eq!(fed.rows(), rows, "standard input is as good as a file");
    hilum_fed(folder.path(), &["deid", "preview", "-"], "{").ends(1, "-: not strict JSON");
    run(&["--help"]).ends(0, "hilum deid preview - < patient.json");

    write("narrower.json", include_str!("../../../docs/examples/deid-narrower.json"));
    let rows = run(&["bundle.json", "--profile", "narrower.json", "-o", "json"]).rows();
    assert!(rows[0]["after"]["birthDate"].is_null());
    assert_eq!(rows[1]["after"]["code"]["coding"][0]["display"], "Body height");

    write("refused.json", r#"{"resourceType":"Patient","modifierExtension":[]}"#);
    run(&["refused.json"]).ends(1, "1 of 1 refused");
    write("wrong.json", r#"{"resourceType":"Patient","id":1,"id":2}"#);
    run(&["wrong.json"]).ends(1, "wrong.json: not strict JSON: a duplicate member");
    write("other.json", r#"{"resourceType":"Smith"}"#);
    run(&["other.json"]).ends(1, "no R4 resource type");
    run(&["none.json"]).ends(1, "cannot read none.json");
    run(&["bundle.json", "--profile", "none.json"]).ends(1, "cannot read none.json");
    write("wide.json", r#"{"base":"safe-harbor","fhirPathRules":[{"path":"Patient.name","method":"keep"}]}"#);
    run(&["bundle.json", "--profile", "wide.json"]).ends(78, "rule 1, `Patient.name`: it keeps more");
    run(&[]).ends(64, "FILE");
}
