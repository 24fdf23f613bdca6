//! One patient's chart: encounters, conditions, observations, appointments, prescriptions, allergies and documents.

use serde_json::{Value, json};

use super::tables::{ALLERGIES, CONDITIONS, LABS, MEDICATIONS, SERVICES, VITALS};
use super::{LOINC, Maker, SNOMED, UCUM, concept, hl7, patient_id, reference, tenths};
use crate::base64;
use crate::time::{self, DAY, MINUTE};

/// Everything in a patient's chart; `index` is in every id.
pub(super) fn chart(maker: &mut Maker, index: usize, patient: &Value) {
    let subject = patient_reference(index, patient);
    let encounters = maker.random.between(2, 4);
    for number in 1..=encounters {
        let start = maker.moment(3, 720);
        let encounter = encounter(maker, index, number, &subject, start);
        vitals(maker, index, number, &subject, &encounter, start);
        if number <= 2 {
            labs(maker, index, number, &subject, &encounter, start);
        }
    }
    smoking(maker, index, &subject);
    conditions(maker, index, &subject);
    appointments(maker, index, &subject);
    medications(maker, index, &subject);
    allergies(maker, index, &subject);
    document(maker, index, &subject, patient);
    care_team(maker, index, &subject);
}

fn patient_reference(index: usize, patient: &Value) -> Value {
    let name = |pointer: &str| patient.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let display = format!("{} {}", name("/name/0/given/0"), name("/name/0/family"));
    json!({"reference": format!("Patient/{}", patient_id(index)), "display": display})
}

fn encounter(maker: &mut Maker, index: usize, number: i64, subject: &Value, start: i64) -> Value {
    let id = format!("enc-{index:03}-{number}");
    let (code, text) = maker.random.pick(&SERVICES);
    let (practitioner, location) = (maker.practitioner(), maker.location());
    let encounter = json!({
        "resourceType": "Encounter", "id": id, "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB", "display": "ambulatory"},
        "type": [concept(SNOMED, code, text)],
        "subject": subject,
        "participant": [{"individual": practitioner}],
        "period": {"start": time::instant(start), "end": time::instant(start + 30 * MINUTE)},
        "location": [{"location": location}],
        "serviceProvider": reference("Organization", "org-mercy")
    });
    maker.put(encounter, start + 40 * MINUTE);
    reference("Encounter", &id)
}

struct Measured<'a> {
    id: String,
    category: &'a str,
    code: Value,
    subject: &'a Value,
    encounter: &'a Value,
    at: i64,
}

/// An Observation without its value.
fn observation(maker: &mut Maker, measured: Measured<'_>) -> Value {
    let practitioner = maker.practitioner();
    json!({
        "resourceType": "Observation", "id": measured.id, "status": "final",
        "category": [hl7("observation-category", measured.category)],
        "code": measured.code, "subject": measured.subject, "encounter": measured.encounter,
        "effectiveDateTime": time::instant(measured.at), "issued": time::instant(measured.at + 10 * MINUTE),
        "performer": [practitioner]
    })
}

fn with(mut resource: Value, key: &str, value: Value) -> Value {
    if let Some(members) = resource.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
    resource
}

fn quantity(value: Value, unit: &str) -> Value {
    json!({"value": value, "unit": unit, "system": UCUM, "code": unit})
}

fn vitals(maker: &mut Maker, index: usize, number: i64, subject: &Value, encounter: &Value, at: i64) {
    for (position, (code, text, unit, low, high)) in VITALS.into_iter().enumerate() {
        let id = format!("obs-{index:03}-{number}-v{position}");
        let code = concept(LOINC, code, text);
        let value = tenths(maker.random.between(low, high));
        let made = observation(maker, Measured { id, category: "vital-signs", code, subject, encounter, at });
        maker.put(with(made, "valueQuantity", quantity(value, unit)), at + 10 * MINUTE);
    }
    let id = format!("obs-{index:03}-{number}-bp");
    let code = concept(LOINC, "85354-9", "Blood pressure panel with all children optional");
    let (upper, lower) = (maker.random.between(104, 158), maker.random.between(62, 96));
    let made = observation(maker, Measured { id, category: "vital-signs", code, subject, encounter, at });
    let components = json!([
        {"code": concept(LOINC, "8480-6", "Systolic blood pressure"), "valueQuantity": quantity(json!(upper), "mm[Hg]")},
        {"code": concept(LOINC, "8462-4", "Diastolic blood pressure"), "valueQuantity": quantity(json!(lower), "mm[Hg]")}
    ]);
    maker.put(with(made, "component", components), at + 10 * MINUTE);
}

fn labs(maker: &mut Maker, index: usize, number: i64, subject: &Value, encounter: &Value, at: i64) {
    for (position, (code, text, unit, low, high)) in LABS.into_iter().enumerate() {
        if maker.random.chance(30) {
            continue;
        }
        let id = format!("obs-{index:03}-{number}-l{position}");
        let code = concept(LOINC, code, text);
        let value = tenths(maker.random.between(low, high));
        let made = observation(maker, Measured { id, category: "laboratory", code, subject, encounter, at: at + DAY });
        let made =
            with(made, "referenceRange", json!([{"low": {"value": tenths(low)}, "high": {"value": tenths(high)}}]));
        maker.put(with(made, "valueQuantity", quantity(value, unit)), at + DAY + 60 * MINUTE);
    }
}

fn smoking(maker: &mut Maker, index: usize, subject: &Value) {
    let at = maker.moment(3, 700);
    let encounter = reference("Encounter", &format!("enc-{index:03}-1"));
    let code = concept(LOINC, "72166-2", "Tobacco smoking status");
    let id = format!("obs-{index:03}-smoking");
    let made =
        observation(maker, Measured { id, category: "social-history", code, subject, encounter: &encounter, at });
    let answer = if maker.random.chance(20) {
        concept(SNOMED, "449868002", "Smokes tobacco daily")
    } else {
        concept(SNOMED, "266919005", "Never smoked tobacco")
    };
    maker.put(with(made, "valueCodeableConcept", answer), at);
}

fn conditions(maker: &mut Maker, index: usize, subject: &Value) {
    let first = maker.random.below(CONDITIONS.len() as u64);
    let count = maker.random.between(1, 4);
    for number in 1..=count {
        let place = (first + number.unsigned_abs() * 3) % CONDITIONS.len() as u64;
        let found = usize::try_from(place).ok().and_then(|place| CONDITIONS.get(place)).copied();
        let (snomed, text, icd) = found.unwrap_or_default();
        let onset = maker.moment(60, 4000);
        let (status, diagnosis) = (maker.random.chance(80), maker.random.chance(25));
        let condition = json!({
            "resourceType": "Condition", "id": format!("cond-{index:03}-{number}"),
            "clinicalStatus": hl7("condition-clinical", if status { "active" } else { "resolved" }),
            "verificationStatus": hl7("condition-ver-status", "confirmed"),
            "category": [hl7("condition-category", if diagnosis { "encounter-diagnosis" } else { "problem-list-item" })],
            "code": {"coding": [
                {"system": SNOMED, "code": snomed, "display": text},
                {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": icd}
            ], "text": text},
            "subject": subject,
            "encounter": reference("Encounter", &format!("enc-{index:03}-1")),
            "onsetDateTime": time::date(onset), "recordedDate": time::date(onset + 2 * DAY)
        });
        maker.put(condition, onset + 2 * DAY);
    }
}

fn appointments(maker: &mut Maker, index: usize, subject: &Value) {
    // Two of three patients are booked in the next 30 days; everyone has been here before.
    let ahead = !index.is_multiple_of(3);
    let mut planned = vec![(maker.moment(20, 600), "fulfilled")];
    if maker.random.chance(20) {
        planned.push((maker.moment(20, 300), "cancelled"));
    }
    if ahead {
        planned.push((maker.moment(-29, -1), "booked"));
    }
    for (number, (start, status)) in (1..).zip(planned) {
        let id = format!("appt-{index:03}-{number}");
        let appointment = appointment(maker, &id, status, start, std::slice::from_ref(subject));
        let updated = start.min(maker.now) - 2 * DAY;
        maker.put(appointment, updated);
    }
}

/// An Appointment of these patients with a practitioner at a location.
pub(super) fn appointment(maker: &mut Maker, id: &str, status: &str, start: i64, patients: &[Value]) -> Value {
    let (code, text) = maker.random.pick(&SERVICES);
    let others = [maker.practitioner(), maker.location()];
    let participants: Vec<Value> = patients
        .iter()
        .chain(others.iter())
        .map(|actor| json!({"actor": actor, "required": "required", "status": "accepted"}))
        .collect();
    json!({
        "resourceType": "Appointment", "id": id, "status": status,
        "serviceType": [concept(SNOMED, code, text)],
        "appointmentType": hl7("v2-0276", "FOLLOWUP"),
        "description": text,
        "start": time::instant(start), "end": time::instant(start + 30 * MINUTE), "minutesDuration": 30,
        "created": time::date(start.min(maker.now) - 10 * DAY),
        "participant": participants
    })
}

fn medications(maker: &mut Maker, index: usize, subject: &Value) {
    let count = maker.random.between(0, 3).max(i64::from(index <= 3));
    for number in 1..=count {
        let (code, text, dosage) = maker.random.pick(&MEDICATIONS);
        let at = maker.moment(10, 500);
        let (active, practitioner) = (maker.random.chance(75), maker.practitioner());
        let request = json!({
            "resourceType": "MedicationRequest", "id": format!("med-{index:03}-{number}"),
            "status": if active { "active" } else { "stopped" }, "intent": "order",
            "medicationCodeableConcept": concept("http://www.nlm.nih.gov/research/umls/rxnorm", code, text),
            "subject": subject, "encounter": reference("Encounter", &format!("enc-{index:03}-1")),
            "authoredOn": time::date(at), "requester": practitioner,
            "dosageInstruction": [{"text": dosage}]
        });
        maker.put(request, at);
    }
}

fn allergies(maker: &mut Maker, index: usize, subject: &Value) {
    if maker.random.chance(55) && index > 3 {
        return;
    }
    let (code, text, category, criticality) = maker.random.pick(&ALLERGIES);
    let at = maker.moment(30, 2500);
    let allergy = json!({
        "resourceType": "AllergyIntolerance", "id": format!("allergy-{index:03}"),
        "clinicalStatus": hl7("allergyintolerance-clinical", "active"),
        "verificationStatus": hl7("allergyintolerance-verification", "confirmed"),
        "type": "allergy", "category": [category], "criticality": criticality,
        "code": concept(SNOMED, code, text), "patient": subject, "recordedDate": time::date(at)
    });
    maker.put(allergy, at);
}

fn document(maker: &mut Maker, index: usize, subject: &Value, patient: &Value) {
    let at = maker.moment(3, 400);
    let family = patient.pointer("/name/0/family").and_then(Value::as_str).unwrap_or("");
    let note = format!("Visit note\n\nPatient {family} was seen today. Synthetic text for demonstration only.\n");
    let binary = json!({
        "resourceType": "Binary", "id": format!("bin-{index:03}"), "contentType": "text/plain",
        "securityContext": reference("Patient", &patient_id(index)), "data": base64::encode(note.as_bytes())
    });
    maker.put(binary, at);
    let author = maker.practitioner();
    let document = json!({
        "resourceType": "DocumentReference", "id": format!("doc-{index:03}"), "status": "current",
        "type": concept(LOINC, "11506-3", "Progress note"),
        "category": [{"coding": [{"system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category", "code": "clinical-note"}]}],
        "subject": subject, "date": time::instant(at), "author": [author],
        "content": [{"attachment": {"contentType": "text/plain", "url": format!("Binary/bin-{index:03}"), "size": note.len(), "title": "Progress note"}}],
        "context": {"encounter": [reference("Encounter", &format!("enc-{index:03}-1"))]}
    });
    maker.put(document, at);
}

fn care_team(maker: &mut Maker, index: usize, subject: &Value) {
    let members = [maker.practitioner(), maker.practitioner()];
    let at = maker.moment(30, 800);
    let team = json!({
        "resourceType": "CareTeam", "id": format!("team-{index:03}"), "status": "active", "name": "Primary care team",
        "subject": subject, "participant": members.map(|member| json!({"member": member})),
        "managingOrganization": [reference("Organization", "org-mercy")]
    });
    maker.put(team, at);
}
