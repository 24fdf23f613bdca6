//! b.15 and p11: what a released resource may say of others.

use serde_json::{Value, json as value};
use testkit::world::World;

use crate::fixture::*;

fn masked() -> Value {
    value!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]})
}

fn shown(scopes: &str, rest: &str) -> Value {
    let released = World::new(scopes).released("Observation/O1", &observation("O1", &(subject("Patient/P1") + rest)));
    assert_eq!(released.status(), 200, "{rest}");
    json(&released)
}

fn hidden(scopes: &str, rest: &str) -> bool {
    let released = World::new(scopes).released("Observation/O1", &observation("O1", &(subject("Patient/P1") + rest)));
    released.status() == 404
}

#[test]
fn p11_references_to_other_patients_are_masked() {
    for other in [
        "Patient/P2",
        "Patient/P12",
        "Patient/P2/_history/1",
        "https://ehr/r4/Patient/P2",
        "https://elsewhere/Patient/P1",
        "https://pep/fhir/Patient/P2",
        "Patient/P1/",
        " Patient/P1",
        "patient/P1",
        "Patient/P1?x",
        "Patient?identifier=mrn2",
        "urn:uuid:0",
        "#nobody",
        "",
        "P2",
    ] {
        let rest = format!(
            r#","performer":[{{"reference":"{other}","type":"Patient","identifier":{{"value":"mrn2"}},"display":"Two"}},{{"reference":"Practitioner/PRA"}}]"#
        );
        assert_eq!(shown(KOBS, &rest)["performer"], value!([masked(), {"reference": "Practitioner/PRA"}]), "{other}");
    }
    // CT-08: wherever it stands.
    let rest = r#","extension":[{"url":"m","extension":[{"url":"n","valueReference":{"reference":"Patient/P2","display":"Two"}}]}],"status_":{"deep":[{"x":{"reference":"Patient/P2"}}]},"note":[{"authorReference":{"display":"Two"},"text":"t"}]"#;
    let body = shown(KOBS, rest);
    assert_eq!(body["extension"][0]["extension"][0]["valueReference"], masked());
    assert_eq!(body["status_"]["deep"][0]["x"], masked());
    assert_eq!(body["note"][0]["authorReference"], masked());
}

#[test]
fn ct_07_other_instances_lose_identifier_and_display() {
    let rest = r#","derivedFrom":[{"identifier":{"value":"i"},"reference":"Observation/O2","display":"d"},{"display":"d","reference":"Observation/O1"}],
        "encounter":{"reference":"https://ehr/r4/Encounter/E2","display":"E","_display":{"id":"x"},"type":"Encounter"},
        "specimen":{"display":"d","identifier":{"value":"i"},"reference":"https://elsewhere/Specimen/1"},
        "device":{"reference" : "Device/1" , "display" : "d" }"#;
    let body = shown(KOBS, rest);
    assert_eq!(
        body["derivedFrom"],
        value!([{"reference": "Observation/O2"}, {"display": "d", "reference": "Observation/O1"}])
    );
    assert_eq!(body["encounter"], value!({"reference": "https://pep/fhir/Encounter/E2", "type": "Encounter"}));
    assert_eq!(body["specimen"], value!({"reference": "https://elsewhere/Specimen/1"}));
    assert_eq!(body["device"], value!({"reference": "Device/1"}));
    // The session's own patient keeps them.
    let own = observation(
        "O1",
        r#","subject":{"reference":"https://ehr/r4/Patient/P1","display":"One","identifier":{"value":"mrn1"}}"#,
    );
    assert_eq!(
        json(&World::new(KOBS).released("Observation/O1", &own))["subject"],
        value!({"reference": "https://pep/fhir/Patient/P1", "display": "One", "identifier": {"value": "mrn1"}})
    );
}

#[test]
fn p11_references_without_a_reference_are_masked() {
    let rest = r#","performer":[{"display":"Two"},{"identifier":{"value":"mrn2"}},{"extension":[{"url":"x","valueCode":"y"}]}],"code":{"coding":[{"display":"kept"}]}"#;
    let body = shown(KOBS, rest);
    assert_eq!(body["performer"], value!([masked(), masked(), {"extension": [{"url": "x", "valueCode": "y"}]}]));
    assert_eq!(body["code"]["coding"][0]["display"], "kept", "a Coding is no reference");
}

#[test]
fn ct_04_contained_resources_are_judged() {
    let contained = |inner: &str| format!(r#","contained":[{inner}]"#);
    for inner in [
        r#"{"resourceType":"Patient","id":"p"}"#,
        r#"{"resourceType":"Condition","id":"c"}"#,
        r#"{"resourceType":"Practitioner","id":"c"}"#,
        r#"{"resourceType":"Bundle","id":"b"}"#,
        r#"{"id":"x"}"#,
        r#"{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/P2"}}"#,
        r#"{"resourceType":"Observation","id":"o","subject":{"display":"Two"}}"#,
        r#"{"resourceType":"Observation","id":"o","focus":[{"reference":"Patient/P2"}]}"#,
        r#"{"resourceType":"Observation","id":"o","contained":[]}"#,
        r#"{"resourceType":"Observation","id":"o","x":{"resourceType":"Patient","id":"P2"}}"#,
        "7",
    ] {
        assert!(hidden(KOBS, &contained(inner)), "{inner}");
    }
    assert!(hidden(KOBS, r#","contained":{"resourceType":"Observation","id":"o"}"#));
    assert!(hidden(KOBS, r#","extension":[{"url":"x","resource":{"resourceType":"Patient","id":"P2"}}]"#));
    let rest = contained(
        r##"{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/P1"},"performer":[{"reference":"#","display":"d"}]}"##,
    ) + r##","hasMember":[{"reference":"#o","display":"mine"},{"reference":"#gone","display":"d"}]"##;
    let body = shown(KOBS, &rest);
    assert_eq!(body["hasMember"], value!([{"reference": "#o", "display": "mine"}, masked()]));
    assert!(!hidden(
        "patient/Observation.rs patient/Practitioner.r",
        &contained(r#"{"resourceType":"Practitioner","id":"c"}"#)
    ));
    assert!(hidden("patient/*.rs", &contained(r#"{"resourceType":"Patient","id":"p"}"#)));
    // The slice of a scope holds for contained resources too.
    assert!(hidden(KVIT, &(category("vital-signs") + &contained(r#"{"resourceType":"Observation","id":"o"}"#))));
}

#[test]
fn ct_10_subjects_are_grammar_exact() {
    for subject_text in [
        "Patient/P1/",
        " Patient/P1",
        "patient/P1",
        "Patient/P1?x",
        "Patient/P1#x",
        "P1",
        "/Patient/P1",
        "Patient/P12",
        "https://ehr/r4/x/Patient/P1",
    ] {
        let released = World::new(KOBS).released("Observation/O1", &observation("O1", &subject(subject_text)));
        assert_eq!(released.status(), 404, "{subject_text}");
    }
    for subject_value in [
        r#"[{"reference":"Patient/P1"},{"reference":"Patient/P2"}]"#,
        r#""Patient/P1""#,
        "null",
        "[]",
        "{}",
        "7",
        r#"{"reference":["Patient/P1"]}"#,
        r#"{"reference":null,"display":"One"}"#,
    ] {
        let body = observation("O1", &format!(r#","subject":{subject_value}"#));
        assert_eq!(World::new(KOBS).released("Observation/O1", &body).status(), 404, "{subject_value}");
    }
}

#[test]
fn bi_08_urls_become_ours_or_go() {
    let attachment = |url: &str| {
        let body = format!(
            r#"{{"resourceType":"DocumentReference","id":"D1","status":"current","subject":{{"reference":"Patient/P1"}},
            "meta":{{"source":"https://ehr/r4/Device/9"}},"content":[{{"attachment":{{"contentType":"text/plain","url":"{url}","title":"t"}}}}]}}"#
        );
        let released = World::new("patient/DocumentReference.r").released("DocumentReference/D1", &body);
        assert_eq!(released.status(), 200);
        let body = json(&released);
        assert_eq!(body["meta"]["source"], "https://pep/fhir/Device/9");
        body["content"][0]["attachment"].clone()
    };
    let with = |url: &str| value!({"contentType": "text/plain", "url": url, "title": "t"});
    let without = value!({"contentType": "text/plain", "title": "t"});
    assert_eq!(attachment("Binary/B1"), with("Binary/B1"));
    assert_eq!(attachment("https://ehr/r4/Binary/B1"), with("https://pep/fhir/Binary/B1"));
    for url in [
        "https://bucket.example/x?sig=1",
        "//evil/x",
        "http://ehr/r4/Binary/B1",
        "data:text/plain,x",
        "../x",
        "https://ehr/r4/Patient/P2",
        "Patient/P2",
    ] {
        assert_eq!(attachment(url), without, "{url}");
    }
    let photo = r#"{"resourceType":"Patient","id":"P1","photo":[{"url":"https://cdn.example/p2.jpg"}],"text":{"status":"generated","div":"<div><a href='https://ehr/r4/Patient/P1'>x</a></div>"}}"#;
    let released = World::new(KPAT).released("Patient/P1", photo);
    let text = String::from_utf8_lossy(released.body()).into_owned();
    assert!(!text.contains("cdn.example") && !text.contains("https://ehr"), "{text}");
}

#[test]
fn urls_that_name_another_patient_lose_the_id() {
    let rest = r#","extension":[{"url":"x","valueUri":"https://ehr/r4/Patient/P2"},{"url":"x","valueUri":"https://ehr/r4/Patient/P2/$everything"},{"url":"y","valueUri":"Patient/P2"},{"url":"z","valueString":"Patient/family informed"},{"url":"w","valueUri":"https://ehr/r4/Patient/P1"}]"#;
    let body = shown(KOBS, rest);
    let values: Vec<_> = body["extension"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e.get("valueUri").or(e.get("valueString")).unwrap().clone())
        .collect();
    assert_eq!(
        values,
        [
            value!("https://pep/fhir/Patient"),
            value!("https://pep/fhir/Patient"),
            value!("Patient"),
            value!("Patient/family informed"),
            value!("https://pep/fhir/Patient/P1")
        ]
    );
}

#[test]
fn gl_01_gl_02_groups_and_lists() {
    let world = World::new(KALL);
    assert!(ids(&world.released("Group?member=Patient/P1", &bundle(&["G12"], ""))).is_empty());
    let list = r#"{"resourceType":"List","id":"L1","status":"current","mode":"working","subject":{"reference":"Patient/P1"},"entry":[{"item":{"reference":"Observation/O1"}},{"item":{"reference":"Observation/O2","display":"Two's"}}]}"#;
    let released = world.released("List/L1", list);
    assert_eq!(json(&released)["entry"][1]["item"], value!({"reference": "Observation/O2"}));
    let other = list.replace("Observation/O2", "Patient/P2");
    assert_eq!(world.released("List/L1", &other).status(), 404);
}

#[test]
fn odd_forms_of_a_reference_tell_nothing_either() {
    let rest = r#","x":{"reference":["Patient/P2","Patient/P1"]},"y":{"Reference":"Patient/P2"},"z":{"\u0072eference":"Patient\/P2"},"performer":[{"reference":"Patient\/P1","display":"me"}]"#;
    let body = shown(KOBS, rest);
    assert_eq!(body["x"], value!({"reference": ["Patient", "Patient/P1"]}));
    assert_eq!(body["y"], value!({"Reference": "Patient"}));
    assert_eq!(body["z"], masked());
    assert_eq!(body["performer"][0]["display"], "me");
    let body = shown(KOBS, r#","extension":[{"url":"x","valueUri":"https://pep/fhir/Patient/P2"}]"#);
    assert_eq!(body["extension"][0]["valueUri"], "https://pep/fhir/Patient");
}

#[test]
fn an_id_is_no_hiding_place() {
    let inner = r#"{"resourceType":"Observation","id":{"reference":"Patient/P2"}}"#;
    assert!(hidden(KOBS, &format!(r#","contained":[{inner}]"#)));
    let rest = r#","extension":[{"id":{"reference":"Patient/P2"},"url":"x"}]"#;
    assert_eq!(shown(KOBS, rest)["extension"][0]["id"], masked());
}

#[test]
fn many_contained_resources_are_no_way_to_slow_it() {
    let inner: Vec<_> = (0..200).map(|n| format!(r#"{{"resourceType":"Observation","id":"o{n}"}}"#)).collect();
    assert!(hidden(KOBS, &format!(r#","contained":[{}]"#, inner.join(","))));
    assert!(!hidden(KOBS, &format!(r#","contained":[{}]"#, inner[..100].join(","))));
}

#[test]
fn patient_links_and_practitioners_of_the_own_patient() {
    let body = r#"{"resourceType":"Patient","id":"P1","link":[{"other":{"reference":"Patient/P0","display":"older"},"type":"replaces"}],"generalPractitioner":[{"reference":"Practitioner/PRA","display":"Who"}],"managingOrganization":{"display":"Org"}}"#;
    let shown = json(&World::new(KPAT).released("Patient/P1", body));
    assert_eq!(shown["link"][0]["other"], masked());
    assert_eq!(shown["generalPractitioner"], value!([{"reference": "Practitioner/PRA"}]));
    assert_eq!(shown["managingOrganization"], masked());
}

#[test]
fn fm_07_what_is_not_edited_leaves_as_it_came() {
    let rest = r#", "valueQuantity" : { "value" : 1.10e+02 , "unit":"\u00b0C" },"component":[ ],
        "performer" : [ {"reference":"Patient/P2"} ]"#;
    let body = observation("O1", &(subject("Patient/P1") + rest));
    let released = World::new(KOBS).released("Observation/O1", &body);
    let masked =
        r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#;
    assert_eq!(String::from_utf8_lossy(released.body()), body.replace(r#"{"reference":"Patient/P2"}"#, masked));
}
