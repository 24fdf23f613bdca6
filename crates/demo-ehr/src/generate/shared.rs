//! What two patients have in common: the records in which a careless gate leaks one patient to the other.
//!
//! All of them join pat-001 and pat-002, so that a demonstration and a test find them by name.

use serde_json::json;

use super::clinical::appointment;
use super::{LOINC, Maker, SNOMED, concept, hl7, reference};
use crate::time::{self, DAY, MINUTE};

/// Group, Appointment, RelatedPerson, AuditEvent, Provenance, List, Observation and an older record of a patient.
pub(super) fn between_patients(maker: &mut Maker) {
    let (one, two) = (reference("Patient", "pat-001"), reference("Patient", "pat-002"));
    let recent = maker.now - 3 * DAY;
    let instant = time::instant(recent);

    let group = json!({
        "resourceType": "Group", "id": "group-diabetes-class", "type": "person", "actual": true, "active": true,
        "name": "Tuesday diabetes class", "quantity": 2,
        "code": concept(SNOMED, "698360004", "Diabetes self management plan"),
        "member": [{"entity": one}, {"entity": two}]
    });
    maker.put(group, recent);

    let start = maker.now + 5 * DAY;
    let family =
        appointment(maker, "appt-shared", "booked", start - start.rem_euclid(15 * MINUTE), &[one.clone(), two.clone()]);
    maker.put(family, recent);

    let mother = json!({
        "resourceType": "RelatedPerson", "id": "related-mother", "active": true, "patient": two,
        "relationship": [hl7("v3-RoleCode", "MTH")], "gender": "female",
        "name": [{"family": "Shared", "given": ["Mother"]}],
        "telecom": [{"system": "phone", "value": "555-0142"}]
    });
    maker.put(mother, recent);

    let event = json!({
        "resourceType": "AuditEvent", "id": "audit-shared",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "action": "E", "recorded": instant, "outcome": "0",
        "agent": [{"who": reference("Practitioner", "prac-01"), "requestor": true}],
        "source": {"observer": reference("Organization", "org-mercy")},
        "entity": [{"what": one}, {"what": two}]
    });
    maker.put(event, recent);

    let provenance = json!({
        "resourceType": "Provenance", "id": "prov-shared", "recorded": instant,
        "target": [reference("Observation", "obs-001-1-v0"), reference("Observation", "obs-002-1-v0")],
        "agent": [{"type": hl7("provenance-participant-type", "author"), "who": reference("Practitioner", "prac-01")}]
    });
    maker.put(provenance, recent);

    let list = json!({
        "resourceType": "List", "id": "list-foreign-item", "status": "current", "mode": "working", "title": "Problems to review",
        "subject": one,
        "entry": [{"item": reference("Condition", "cond-001-1")}, {"item": reference("Condition", "cond-002-1")}]
    });
    maker.put(list, recent);

    let reported = json!({
        "resourceType": "Observation", "id": "obs-performer-is-patient", "status": "final",
        "category": [hl7("observation-category", "survey")],
        "code": concept(LOINC, "77580-9", "Caregiver reported outcome"),
        "subject": two, "performer": [one],
        "effectiveDateTime": instant, "valueString": "Reported by another patient, who cares for this one"
    });
    maker.put(reported, recent);

    let old = json!({
        "resourceType": "Patient", "id": "pat-002-old", "active": false,
        "identifier": [{"system": "https://mercy.example/mrn", "value": "MRN-000002"}],
        "name": [{"use": "old", "family": "Former", "given": ["Record"]}],
        "link": [{"other": two, "type": "replaced-by"}]
    });
    maker.put(old, recent);
}
