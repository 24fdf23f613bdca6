//! b.5 and b.6: what a search infers from or brings along.

use domain::Reason;
use testkit::world::World;

use crate::fixture::*;

fn query(scopes: &str, target: &str) -> Vec<String> {
    sent(&World::new(scopes).permit(target))
}

fn got(scopes: &str, target: &str, names: &[&str]) -> Vec<String> {
    ids(&World::new(scopes).released(target, &bundle(names, "")))
}

#[test]
fn in_01_in_02_includes_follow_the_grants() {
    assert_eq!(
        query(KPO, "Observation?_include=Observation:patient"),
        ["patient=Patient/P1", "_include=Observation:patient"]
    );
    assert_eq!(got(KPO, "Observation?_include=Observation:patient", &["O1", "P1:include"]), ["O1", "P1"]);
    // IN-02, IN-14: dropped, and the self link shows it.
    for target in ["Observation?_include=Observation:patient", "Observation?_include=Observation:subject:Patient"] {
        assert_eq!(query(KOBS, target), ["patient=Patient/P1"]);
        let released = World::new(KOBS).released(target, &bundle(&["O1", "P1:include"], ""));
        assert_eq!(ids(&released), ["O1"], "{target}");
        assert_eq!(link(&released, "self").unwrap(), "https://pep/fhir/Observation?patient=Patient/P1");
    }
}

#[test]
fn in_03_included_resources_are_judged_by_themselves() {
    let target = "Observation?_include=Observation:performer";
    let names = ["O1", "P2:include", "PRA:include", "P1:include"];
    // P1 is no performer of O1: what nothing released leads to did not come along (IN-11).
    assert_eq!(got(KPO, target, &names), ["O1"]);
    let scopes = "patient/Observation.rs patient/Practitioner.r";
    assert_eq!(got(scopes, target, &names), ["O1"]);
    let performed = bundle(&names, "").replace(
        r#""id":"O1","#,
        r#""id":"O1","performer":[{"reference":"Practitioner/PRA"},{"reference":"Patient/P2"}],"#,
    );
    assert_eq!(ids(&World::new(scopes).released(target, &performed)), ["O1", "PRA"]);
    let mut world = World::new("patient/Observation.rs patient/Practitioner.r");
    world.rules.shared.clear();
    assert_eq!(sent(&world.permit(target)), ["patient=Patient/P1"], "not shared, not asked for");
    assert_eq!(ids(&world.released(target, &bundle(&names, ""))), ["O1"]);
}

#[test]
fn in_04_to_in_07_reverse_includes() {
    let target = "Patient?_revinclude=Observation:subject";
    assert_eq!(query(KPO, target), ["_id=P1", "_revinclude=Observation:subject"]);
    assert_eq!(got(KPO, target, &["P1", "O1:include", "O2:include", "OPF:include"]), ["P1", "O1"]);
    // IN-06
    let kpc = "patient/Patient.rs patient/Observation.c";
    assert_eq!(query(kpc, target), ["_id=P1"]);
    assert_eq!(got(kpc, target, &["P1", "O1:include"]), ["P1"]);
    // IN-07
    assert_eq!(got(&format!("{KVIT} {KPAT}"), target, &["P1", "O1:include", "O1L:include"]), ["P1", "O1"]);
    // IN-17
    assert_eq!(query(KPO, "Patient?_revinclude=Group:member"), ["_id=P1"]);
    assert_eq!(got(KALL, "Patient?_revinclude=Group:member", &["P1", "G12:include"]), ["P1"]);
    // IN-20
    assert_eq!(got(KPO, "Patient?_include=Patient:link", &["P1", "P2:include"]), ["P1"]);
    // IN-22: r or s.
    for scopes in ["patient/Observation.s patient/Patient.r", "patient/Observation.s patient/Patient.s"] {
        assert_eq!(got(scopes, "Observation?_include=Observation:patient", &["O1", "P1:include"]), ["O1", "P1"]);
    }
}

#[test]
fn in_09_odd_includes_are_refused() {
    let world = World::new(KPO);
    for target in [
        "Observation?_include=*",
        "Observation?_include:recurse=Observation:has-member",
        "Patient?_revinclude:recurse=Observation:subject",
        "Observation?_include=Condition:subject",
    ] {
        assert!(unreadable(&world, target), "{target}");
    }
}

#[test]
fn in_15_shared_medication() {
    let target = "MedicationRequest?_include=MedicationRequest:medication";
    let scopes = "patient/MedicationRequest.rs patient/Medication.r";
    let released = World::new(scopes).released(target, &bundle(&["M1", "MED1:include"], ""));
    assert_eq!(ids(&released), ["M1", "MED1"]);
    // p11: released in the same answer, so its display stays; alone it goes.
    assert_eq!(json(&released)["entry"][0]["resource"]["medicationReference"]["display"], "x");
    let released = World::new(scopes).released(target, &bundle(&["M1"], ""));
    assert_eq!(
        json(&released)["entry"][0]["resource"]["medicationReference"],
        serde_json::json!({"reference": "Medication/MED1"})
    );
}

#[test]
fn unasked_types_do_not_come_along() {
    assert_eq!(got(KPO, "Observation?patient=P1", &["O1", "P1:include", "P1:match"]), ["O1"]);
}

// S1-26
#[test]
fn ch_09_inference_is_403_where_a_type_is_not_granted_and_400_elsewhere() {
    let refused = |scopes: &str, target: &str| match World::new(scopes).get(target) {
        Ok(policy::Decision::Deny(denial)) => denial.reason,
        other => panic!("{target}: {other:?}"),
    };
    for (scopes, target, expected) in [
        (KOBS, "Observation?patient.name=Smith", Reason::InferenceRefused), // CH-01
        (KPAT, "Patient?_has:Condition:patient:code=HIV", Reason::InferenceRefused), // CH-09
        (
            "patient/Patient.rs patient/Observation.rs?code=1",
            "Patient?_has:Observation:patient:code=2",
            Reason::NotSupported,
        ),
        (
            "patient/Observation.rs patient/Practitioner.rs",
            "Observation?performer:Practitioner.name=x",
            Reason::NotSupported,
        ),
        (KOBS, "Observation?patient:Patient.identifier=mrn2", Reason::InferenceRefused), // CH-14
        (KPO, "Patient?_has:Group:member:_id=G12", Reason::InferenceRefused),            // CH-12
    ] {
        assert_eq!(refused(scopes, target), expected, "{target}");
    }
}
