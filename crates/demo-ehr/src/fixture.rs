//! The resources of the enforcement catalogue: two patients, and every trap that joins them, under short names.

use serde_json::{Value, json};

/// `P1`, `P2`, `P12` and the catalogue's resources around them: `O1`, `O1L`, `O2`, `OPF`, `OEX`, `A12`, `G12`, `PV12`, ….
/// `P1` is the patient whose session a test opens; `OMV` has two versions; `ODEL` is for [`crate::DemoEhr::deleted`].
#[must_use]
pub fn fixture() -> Vec<Value> {
    let mut all = patients();
    all.extend(observations());
    all.extend(charts());
    all.extend(between());
    all
}

fn to(kind: &str, id: &str) -> Value {
    json!({"reference": format!("{kind}/{id}")})
}

fn patients() -> Vec<Value> {
    let patient = |id: &str, family: &str, birth: &str| {
        json!({"resourceType": "Patient", "id": id, "active": true, "birthDate": birth,
            "name": [{"use": "official", "family": family, "given": ["Canary"]}],
            "identifier": [{"system": "urn:mrn", "value": format!("mrn-{}", id.to_lowercase())}]})
    };
    let linked = |mut patient: Value, other: &str, kind: &str| {
        if let Some(members) = patient.as_object_mut() {
            members.insert("link".to_owned(), json!([{"other": to("Patient", other), "type": kind}]));
        }
        patient
    };
    vec![
        linked(patient("P1", "Eins", "1980-01-01"), "P0", "replaces"),
        patient("P2", "Zwei", "1990-02-02"),
        patient("P12", "Zwoelf", "1970-12-12"),
        linked(patient("P0", "Eins", "1980-01-01"), "P1", "replaced-by"),
        json!({"resourceType": "Practitioner", "id": "PRA", "name": [{"family": "Arzt", "given": ["Ada"]}]}),
        json!({"resourceType": "Organization", "id": "ORG1", "name": "Clinic"}),
        json!({"resourceType": "Location", "id": "LOC1", "name": "Room 1", "status": "active"}),
        json!({"resourceType": "Medication", "id": "MED1", "code": {"text": "aspirin"}}),
    ]
}

fn observation(id: &str, category: &str, subject: Value) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
        "effectiveDateTime": "2026-01-05T10:00:00Z", "performer": [to("Practitioner", "PRA")], "subject": subject,
        "valueQuantity": {"value": 72, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}})
}

fn set(mut resource: Value, key: &str, value: Value) -> Value {
    if let Some(members) = resource.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
    resource
}

fn without(mut resource: Value, key: &str) -> Value {
    if let Some(members) = resource.as_object_mut() {
        members.remove(key);
    }
    resource
}

fn observations() -> Vec<Value> {
    let vital = |id: &str, subject: Value| observation(id, "vital-signs", subject);
    let (one, two) = (to("Patient", "P1"), to("Patient", "P2"));
    let contained =
        json!([{"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:mrn", "value": "mrn-p1"}]}]);
    vec![
        vital("O1", one.clone()),
        observation("O1L", "laboratory", one.clone()),
        observation("O1S", "social-history", one.clone()),
        vital("O2", two.clone()),
        vital("O12", to("Patient", "P12")),
        set(vital("OPF", two.clone()), "performer", json!([one])),
        set(vital("OFO", two.clone()), "focus", json!([one])),
        vital("OAB", json!({"reference": "{base}/Patient/P1"})),
        vital("OEX", json!({"reference": "https://elsewhere/fhir/Patient/P1"})),
        vital("OVR", json!({"reference": "Patient/P1/_history/3"})),
        vital("OID", json!({"identifier": {"system": "urn:mrn", "value": "mrn-p1"}})),
        without(vital("ONO", Value::Null), "subject"),
        set(vital("OCT", json!({"reference": "#p"})), "contained", contained),
        vital("OMV", two.clone()),
        vital("OMV", one.clone()),
        vital("ODEL", two),
        set(vital("OHM", one), "hasMember", json!([to("Observation", "O1"), to("Observation", "O2")])),
    ]
}

fn charts() -> Vec<Value> {
    let mut all = Vec::new();
    for number in ["1", "2"] {
        let patient = to("Patient", &format!("P{number}"));
        all.push(json!({"resourceType": "Encounter", "id": format!("E{number}"), "status": "finished",
            "class": {"code": "AMB"}, "subject": patient, "participant": [{"individual": to("Practitioner", "PRA")}]}));
        all.push(json!({"resourceType": "Condition", "id": format!("C{number}"), "subject": patient,
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]},
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-category", "code": "problem-list-item"}]}],
            "encounter": to("Encounter", &format!("E{number}"))}));
        all.push(json!({"resourceType": "MedicationRequest", "id": format!("M{number}"), "status": "active",
            "intent": "order", "subject": patient, "medicationReference": to("Medication", "MED1")}));
        all.push(json!({"resourceType": "AllergyIntolerance", "id": format!("AL{number}"), "patient": patient, "code": {"text": "peanut"}}));
        all.push(json!({"resourceType": "DocumentReference", "id": format!("D{number}"), "status": "current", "subject": patient,
            "content": [{"attachment": {"contentType": "text/plain", "url": format!("Binary/B{number}")}}]}));
        all.push(
            json!({"resourceType": "Binary", "id": format!("B{number}"), "contentType": "text/plain", "data": "Zm9v"}),
        );
        all.push(json!({"resourceType": "Task", "id": format!("T{number}"), "status": "requested", "intent": "order", "for": patient}));
        all.push(json!({"resourceType": "Appointment", "id": format!("A{number}"), "status": "booked",
            "start": "2026-02-01T09:00:00Z", "end": "2026-02-01T09:30:00Z",
            "participant": [{"actor": patient, "status": "accepted"}, {"actor": to("Practitioner", "PRA"), "status": "accepted"},
                {"actor": to("Location", "LOC1"), "status": "accepted"}]}));
    }
    all.push(json!({"resourceType": "Binary", "id": "BX", "contentType": "text/plain", "data": "YmFy"}));
    all.push(json!({"resourceType": "RelatedPerson", "id": "RP1", "patient": to("Patient", "P1"), "name": [{"family": "Mutter"}]}));
    all
}

/// What P1 and P2 have in common.
fn between() -> Vec<Value> {
    let (one, two) = (to("Patient", "P1"), to("Patient", "P2"));
    let accepted = |actor: &Value| json!({"actor": actor, "status": "accepted"});
    vec![
        json!({"resourceType": "Group", "id": "G12", "type": "person", "actual": true, "member": [{"entity": one}, {"entity": two}]}),
        json!({"resourceType": "List", "id": "L1", "status": "current", "mode": "working", "subject": one,
            "entry": [{"item": to("Observation", "O1")}, {"item": to("Observation", "O2")}]}),
        json!({"resourceType": "Appointment", "id": "A12", "status": "booked", "start": "2026-02-02T09:00:00Z",
            "end": "2026-02-02T09:30:00Z", "participant": [accepted(&one), accepted(&two), accepted(&to("Practitioner", "PRA"))]}),
        json!({"resourceType": "Coverage", "id": "CV", "status": "active", "subscriber": one, "beneficiary": two, "payor": [to("Organization", "ORG1")]}),
        json!({"resourceType": "AuditEvent", "id": "AE12", "type": {"code": "rest"}, "recorded": "2026-01-06T00:00:00Z",
            "agent": [{"who": to("Practitioner", "PRA"), "requestor": true}], "source": {"observer": to("Organization", "ORG1")},
            "entity": [{"what": one}, {"what": two}]}),
        json!({"resourceType": "Provenance", "id": "PV12", "recorded": "2026-01-06T00:00:00Z",
            "target": [to("Observation", "O1"), to("Observation", "O2")], "agent": [{"who": to("Practitioner", "PRA")}]}),
        json!({"resourceType": "CarePlan", "id": "CP1", "status": "active", "intent": "plan", "subject": one,
            "contained": [{"resourceType": "Patient", "id": "x", "name": [{"family": "Zwei", "given": ["Canary"]}]}],
            "activity": [{"reference": to("Observation", "O2")}]}),
    ]
}

#[test]
fn the_catalogue_is_whole() {
    let ehr = crate::DemoEhr::from_resources(fixture());
    assert!(fixture().len() > ehr.len(), "a version is its own entry");
    for id in [
        "O1", "O1L", "O2", "O12", "OPF", "OFO", "OAB", "OEX", "OVR", "OID", "ONO", "OCT", "OMV", "ODEL", "P0", "P1",
        "P2", "P12", "E1", "E2", "C1", "C2", "M1", "M2", "MED1", "D1", "D2", "B1", "B2", "BX", "G12", "L1", "A12",
        "CV", "AE12", "PV12", "T1", "T2", "RP1", "CP1",
    ] {
        assert_eq!(fixture().iter().filter(|r| r["id"] == id).count(), 1 + usize::from(id == "OMV"), "`{id}`");
    }
}
