//! The demonstration upstream's fixture of `spec/enforcement.md` b.0, and a few more traps; `{base}` is the upstream's base URL.

use serde_json::{Value, json};

pub const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

fn observation(id: &str, subject: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final",
        "category": [{ "coding": [{ "system": CATEGORY, "code": "vital-signs" }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": "8867-4" }] },
        "subject": { "reference": subject }, "valueQuantity": { "value": 1, "unit": "u" }
    })
}

/// Every resource the rows need.
pub fn resources() -> Vec<Value> {
    let mut all = demo_ehr::fixture();
    let mut with_condition = observation("OCC", "Patient/P1");
    with_condition["contained"] =
        json!([{ "resourceType": "Condition", "id": "c", "subject": { "reference": "Patient/P1" } }]);
    let mut derived = observation("ODR", "Patient/P1");
    derived["derivedFrom"] = json!([{ "reference": "Observation/O2", "display": "FOREIGN-DISPLAY", "identifier": { "value": "FOREIGN-ID" } }]);
    derived["extension"] =
        json!([{ "url": "urn:mother", "valueReference": { "reference": "Patient/P2", "display": "FOREIGN-DISPLAY" } }]);
    all.extend([
        with_condition,
        derived,
        observation("OSL", "Patient/P1/"),
        observation("OSP", " Patient/P1"),
        observation("OLC", "patient/P1"),
        observation("OQU", "Patient/P1?x"),
        json!({ "resourceType": "Medication", "id": "MEDP", "code": { "text": "m" },
            "extension": [{ "url": "urn:for", "valueReference": { "reference": "Patient/P2" } }] }),
        json!({ "resourceType": "CodeSystem", "id": "x", "status": "active", "content": "complete" }),
        json!({ "resourceType": "OperationOutcome", "id": "OO", "issue": [{ "severity": "error", "code": "processing", "diagnostics": "Patient/P2" }] }),
        json!({ "resourceType": "Bundle", "id": "doc", "type": "document", "entry": [] }),
    ]);
    all
}
