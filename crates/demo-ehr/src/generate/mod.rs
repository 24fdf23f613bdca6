//! Generates a hospital: the same seed, number of patients and `now` always make the same resources.

mod clinical;
mod people;
mod sensitive;
mod shared;
mod tables;

use serde_json::{Value, json};

use crate::random::Random;
use crate::time::{self, DAY, MINUTE};

/// Practitioners of a generated hospital.
const PRACTITIONERS: usize = 8;
/// Locations of a generated hospital.
const LOCATIONS: usize = 4;

const SNOMED: &str = "http://snomed.info/sct";
const LOINC: &str = "http://loinc.org";
const UCUM: &str = "http://unitsofmeasure.org";

/// Every resource of a generated hospital.
pub(crate) fn hospital(seed: u64, patients: usize, now: i64) -> Vec<Value> {
    let mut maker = Maker { random: Random::new(seed), now, out: Vec::with_capacity(patients * 45) };
    people::organisation(&mut maker);
    for index in 1..=patients {
        let patient = people::patient(&mut maker, index);
        clinical::chart(&mut maker, index, &patient);
    }
    shared::between_patients(&mut maker);
    sensitive::records(&mut maker);
    maker.out
}

/// The resources made so far, and what it takes to make more.
struct Maker {
    random: Random,
    now: i64,
    out: Vec<Value>,
}

impl Maker {
    /// Adds a resource last touched at `updated`.
    fn put(&mut self, resource: Value, updated: i64) {
        self.put_labelled(resource, updated, &[]);
    }

    /// Adds a resource with security labels.
    fn put_labelled(&mut self, mut resource: Value, updated: i64, labels: &[Value]) {
        let mut meta = json!({"versionId": "1", "lastUpdated": time::instant(updated)});
        if let (Some(meta), false) = (meta.as_object_mut(), labels.is_empty()) {
            meta.insert("security".to_owned(), json!(labels));
        }
        if let Some(members) = resource.as_object_mut() {
            members.insert("meta".to_owned(), meta);
        }
        self.out.push(resource);
    }

    /// A moment within working hours, between `least` and `most` days ago (negative: ahead), on a quarter of an hour.
    fn moment(&mut self, least: i64, most: i64) -> i64 {
        let day = self.now.div_euclid(DAY) - self.random.between(least, most);
        day * DAY + self.random.between(32, 66) * 15 * MINUTE
    }

    /// Reference to one of the practitioners, with its display.
    fn practitioner(&mut self) -> Value {
        let number = 1 + self.random.below(PRACTITIONERS as u64);
        reference("Practitioner", &format!("prac-{number:02}"))
    }

    /// Reference to one of the locations.
    fn location(&mut self) -> Value {
        let number = 1 + self.random.below(LOCATIONS as u64);
        reference("Location", &format!("loc-{number}"))
    }
}

/// `pat-001`.
fn patient_id(index: usize) -> String {
    format!("pat-{index:03}")
}

fn reference(kind: &str, id: &str) -> Value {
    json!({"reference": format!("{kind}/{id}")})
}

/// A CodeableConcept of one coding.
fn concept(system: &str, code: &str, text: &str) -> Value {
    json!({"coding": [{"system": system, "code": code, "display": text}], "text": text})
}

/// A CodeableConcept from an HL7 terminology code system.
fn hl7(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code}]})
}

/// A decimal of tenths, as FHIR wants it.
fn tenths(number: i64) -> Value {
    json!(f64::from(i32::try_from(number).unwrap_or(0)) / 10.0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const NOW: i64 = 1_795_398_735_000;

    #[test]
    fn one_seed_makes_one_hospital() {
        assert_eq!(hospital(1, 50, NOW), hospital(1, 50, NOW));
        assert_ne!(hospital(1, 50, NOW), hospital(2, 50, NOW));
        assert_ne!(hospital(1, 50, NOW), hospital(1, 50, NOW + DAY));
    }

    #[test]
    fn a_hospital_has_every_kind_and_no_dangling_reference() {
        let all = hospital(1, 50, NOW);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for resource in &all {
            let (kind, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
            *counts.entry(kind).or_default() += 1;
            assert!(kind.parse::<fhir::ResourceType>().is_ok() && fhir::Id::fits(id), "`{kind}/{id}`");
            assert!(ids.insert(format!("{kind}/{id}")), "`{kind}/{id}` twice");
        }
        for kind in [
            "Patient",
            "Condition",
            "Observation",
            "Encounter",
            "Appointment",
            "MedicationRequest",
            "AllergyIntolerance",
            "DocumentReference",
            "Binary",
            "Practitioner",
            "PractitionerRole",
            "Organization",
            "Location",
            "CareTeam",
            "Group",
            "RelatedPerson",
            "AuditEvent",
            "Provenance",
            "List",
            "Consent",
        ] {
            assert!(counts.get(kind).is_some_and(|count| *count > 0), "no `{kind}`: {counts:?}");
        }
        assert!(counts["Patient"] >= 50);
        let mut references = Vec::new();
        all.iter().for_each(|resource| collect(resource, &mut references));
        for reference in references {
            assert!(ids.contains(&reference), "`{reference}` dangles");
        }
    }

    #[test]
    fn documents_labels_and_a_consent_come_after_what_was_there() {
        let all = hospital(1, 50, NOW);
        let first = all.iter().position(|resource| resource["id"] == "bin-ward-004").unwrap();
        assert_eq!(all[first - 1]["id"], "pat-002-old", "nothing stands between the old and the new");
        let new = &all[first..];
        let charts = ["pat-001", "pat-002"].map(|id| format!("Patient/{id}"));
        assert!(
            new.iter().all(|resource| !charts.iter().any(|chart| resource["subject"]["reference"] == chart.as_str()))
        );
        for code in ["R", "V", "PSY"] {
            let labelled = |resource: &Value| {
                resource["meta"]["security"].as_array().is_some_and(|labels| labels.iter().any(|l| l["code"] == code))
            };
            assert!(new.iter().any(labelled), "{code}");
        }
        let urls = new.iter().filter_map(|resource| resource.pointer("/content/0/attachment/url")?.as_str());
        for id in urls.filter_map(|url| url.rsplit_once("Binary/")).map(|(_, id)| id) {
            assert!(new.iter().any(|resource| resource["resourceType"] == "Binary" && resource["id"] == id), "`{id}`");
        }
        let bare = |resource: &&Value| resource["resourceType"] == "Binary" && resource["securityContext"].is_null();
        assert!(
            new.iter().filter(bare).count() == 2
                && new.iter().any(|r| !r["content"][0]["attachment"]["data"].is_null())
        );
    }

    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(members) => {
                found.extend(members.get("reference").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| collect(member, found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_patient_has_a_booked_appointment_within_thirty_days_or_a_past_one() {
        let all = hospital(1, 50, NOW);
        let booked = all.iter().filter(|r| r["resourceType"] == "Appointment" && r["status"] == "booked");
        let mut ahead = 0;
        for appointment in booked {
            let start = time::span(appointment["start"].as_str().unwrap()).unwrap().start;
            assert!(start > NOW - DAY && start < NOW + 31 * DAY);
            ahead += 1;
        }
        assert!(ahead >= 25, "{ahead} booked");
    }
}
