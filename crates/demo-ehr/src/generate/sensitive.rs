//! Documents in every form a gate must tell apart, labelled records, and a consent.
//!
//! They are made last and without drawing numbers, so that all that a seed made before stays as it was; and they belong
//! to pat-003 to pat-007, so that the charts of the first two, which demonstrations count, stay too.

use serde_json::{Value, json};

use super::{LOINC, Maker, concept, hl7, patient_id, reference};
use crate::base64;
use crate::time::{self, DAY};

/// Everything of this file.
pub(super) fn records(maker: &mut Maker) {
    let at = maker.now - 4 * DAY;
    documents(maker, at);
    labelled(maker, at);
    consent(maker, at);
}

/// A DocumentReference of a patient with one attachment.
fn document(maker: &mut Maker, id: &str, patient: usize, attachment: Value, at: i64) {
    let document = json!({
        "resourceType": "DocumentReference", "id": id, "status": "current",
        "type": concept(LOINC, "18842-5", "Discharge summary"),
        "category": [{"coding": [{"system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category", "code": "clinical-note"}]}],
        "subject": reference("Patient", &patient_id(patient)), "date": time::instant(at),
        "author": [reference("Practitioner", "prac-01")],
        "content": [{"attachment": attachment}]
    });
    maker.put(document, at);
}

/// A Binary; with `context`, one whose owner it names itself.
fn binary(maker: &mut Maker, id: &str, content_type: &str, content: &str, context: Option<usize>, at: i64) {
    let mut binary = json!({
        "resourceType": "Binary", "id": id, "contentType": content_type, "data": base64::encode(content.as_bytes())
    });
    if let (Some(members), Some(patient)) = (binary.as_object_mut(), context) {
        members.insert("securityContext".to_owned(), reference("Patient", &patient_id(patient)));
    }
    maker.put(binary, at);
}

fn documents(maker: &mut Maker, at: i64) {
    let by_url = |kind: &str, url: &str| json!({"contentType": kind, "url": url, "title": "Discharge summary"});
    for patient in [4, 5, 6] {
        let id = format!("bin-ward-{patient:03}");
        let text = format!("Discharge summary of {}. Synthetic text for demonstration only.\n", patient_id(patient));
        // Only the document that refers to it says whose it is.
        let context = (patient == 5).then_some(patient);
        binary(maker, &id, "text/plain", &text, context, at);
        document(maker, &format!("doc-ward-{patient:03}"), patient, by_url("text/plain", &format!("Binary/{id}")), at);
    }
    for patient in [3, 4, 7] {
        let text = format!("Inline note of {}. Synthetic text for demonstration only.\n", patient_id(patient));
        let inline =
            json!({"contentType": "text/plain", "data": base64::encode(text.as_bytes()), "title": "Inline note"});
        document(maker, &format!("doc-inline-{patient:03}"), patient, inline, at);
    }
    // An absolute URL of this server, a page that a browser would run, and a document that refers to another's content.
    document(maker, "doc-absolute-005", 5, by_url("text/plain", "{base}/Binary/bin-ward-005"), at);
    let page = "<!DOCTYPE html><html><body><script>document.title = 'ran'</script>Synthetic page</body></html>";
    binary(maker, "bin-page-006", "text/html", page, Some(6), at);
    document(maker, "doc-page-006", 6, by_url("text/html", "Binary/bin-page-006"), at);
    document(maker, "doc-foreign-004", 4, by_url("text/plain", "Binary/bin-ward-005"), at);
}

/// Observations and a Condition with security labels: restricted, very restricted, and of a sensitive kind.
fn labelled(maker: &mut Maker, at: i64) {
    let label = |system: &str, code: &str| json!({"system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code});
    let confidential = |code: &str| label("v3-Confidentiality", code);
    let observation = |id: &str, patient: usize, text: &str| {
        json!({
            "resourceType": "Observation", "id": id, "status": "final",
            "category": [hl7("observation-category", "survey")],
            "code": concept(LOINC, "44249-1", "PHQ-9 quick depression assessment panel"),
            "subject": reference("Patient", &patient_id(patient)),
            "effectiveDateTime": time::instant(at), "valueString": text
        })
    };
    let condition = json!({
        "resourceType": "Condition", "id": "cond-psych-005",
        "clinicalStatus": hl7("condition-clinical", "active"),
        "code": concept(super::SNOMED, "370143000", "Major depressive disorder"),
        "subject": reference("Patient", &patient_id(5)), "recordedDate": time::date(at)
    });
    for (resource, labels) in [
        (observation("obs-restricted-004", 4, "Restricted finding"), vec![confidential("R")]),
        (observation("obs-very-restricted-005", 5, "Very restricted finding"), vec![confidential("V")]),
        (observation("obs-normal-006", 6, "Finding labelled normal"), vec![confidential("N")]),
        (observation("obs-psych-007", 7, "Score of 11"), vec![label("v3-ActCode", "PSY")]),
        (condition, vec![confidential("R"), label("v3-ActCode", "PSY")]),
    ] {
        maker.put_labelled(resource, at, &labels);
    }
}

/// What pat-005 allows: treatment, but no psychiatric records.
fn consent(maker: &mut Maker, at: i64) {
    let consent = json!({
        "resourceType": "Consent", "id": "consent-005", "status": "active",
        "scope": hl7("consentscope", "patient-privacy"),
        "category": [concept(LOINC, "59284-0", "Patient Consent")],
        "patient": reference("Patient", &patient_id(5)), "dateTime": time::instant(at),
        "organization": [reference("Organization", "org-mercy")],
        "policyRule": hl7("v3-ActCode", "OPTIN"),
        "provision": {"type": "permit", "provision": [{
            "type": "deny",
            "securityLabel": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]
        }]}
    });
    maker.put(consent, at);
}
