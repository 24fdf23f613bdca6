//! The built-in profile, identifier by identifier of 45 CFR 164.514(b)(2)(i).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use deid::{Original, Refusal, SurrogateError, Surrogates};
use serde_json::{Value, json};
use support::{out, safe_harbor, with};

/// What is put in, and what leaves of it.
fn check(table: &[(Value, Value)]) {
    let profile = safe_harbor();
    for (given, expected) in table {
        assert_eq!(out(&profile, &given.to_string()), *expected, "{given}");
    }
}

fn patient(element: &str, value: Value) -> Value {
    json!({"resourceType": "Patient", element: value})
}

#[test]
fn a_names_do_not_leave() {
    check(&[
        (patient("name", json!([{"use": "official", "family": "Smith", "given": ["Ann"]}])), json!({})),
        (
            patient("contact", json!([{"name": {"family": "Smith"}, "gender": "male"}])),
            json!({"contact": [{"gender": "male"}]}),
        ),
        (patient("text", json!({"status": "generated", "div": "<div>Ann Smith</div>"})), json!({})),
        (
            json!({"resourceType": "Observation", "subject": {"display": "Ann Smith"}, "status": "final"}),
            json!({"status": "final"}),
        ),
        (json!({"resourceType": "Organization", "name": "Smith & Sons", "active": true}), json!({"active": true})),
    ]);
}

#[test]
fn b_places_are_states_and_countries_and_three_digits() {
    let address = |value| patient("address", json!([value]));
    check(&[
        (
            address(
                json!({"use": "home", "text": "1 Main St, Boston", "line": ["1 Main St"], "city": "Boston", "district": "Suffolk", "state": "MA", "postalCode": "02134-1234", "country": "US", "period": {"start": "2001-02-03"}}),
            ),
            json!({"address": [{"use": "home", "state": "MA", "postalCode": "021", "country": "US", "period": {"start": "2001"}}]}),
        ),
        (address(json!({"postalCode": "03601"})), json!({"address": [{"postalCode": "000"}]})),
        (address(json!({"postalCode": "2333 ZA", "country": "NL"})), json!({"address": [{"country": "NL"}]})),
        (address(json!({"postalCode": "10115", "country": "DE"})), json!({"address": [{"country": "DE"}]})),
        (address(json!({"state": "Springfield, MA", "country": "Springfield"})), json!({})),
        (
            json!({"resourceType": "Location", "position": {"longitude": -83.69, "latitude": 42.25}, "mode": "instance"}),
            json!({"mode": "instance"}),
        ),
        (patient("extension", json!([{"url": "http://x/geo", "valueDecimal": 42.1}])), json!({})),
    ]);
}

#[test]
fn c_dates_are_years_and_old_ages_one() {
    check(&[
        (patient("birthDate", json!("1974-12-25")), json!({"birthDate": "1974"})),
        (patient("birthDate", json!("1937-01-01")), json!({"birthDate": "1937"})),
        (patient("birthDate", json!("1936-12-31")), json!({"birthDate": "1936"})),
        (patient("birthDate", json!("1911-12-31")), json!({"birthDate": "1936"})),
        (patient("birthDate", json!("Christmas 1974")), json!({})),
        (patient("birthDate", json!(1974)), json!({})),
        (patient("deceasedDateTime", json!("2015-02-14T13:42:00+10:00")), json!({"deceasedDateTime": "2015"})),
        (
            patient("meta", json!({"lastUpdated": "2015-02-14T13:42:00Z", "versionId": "3", "source": "http://ehr"})),
            json!({}),
        ),
        (
            patient("_birthDate", json!({"extension": [{"url": "http://x", "valueDateTime": "1974-12-25T14:35:45Z"}]})),
            json!({}),
        ),
        (
            json!({"resourceType": "Observation", "effectivePeriod": {"start": "2013-04-02", "end": "2013-04-05"}}),
            json!({"effectivePeriod": {"start": "2013", "end": "2013"}}),
        ),
        // The person must have been alive then.
        (json!({"resourceType": "Condition", "onsetDateTime": "1931-05-01"}), json!({})),
        (
            json!({"resourceType": "Condition", "onsetAge": {"value": 52, "unit": "years", "system": "http://unitsofmeasure.org", "code": "a"}}),
            json!({"onsetAge": {"value": 52, "unit": "years", "system": "http://unitsofmeasure.org", "code": "a"}}),
        ),
        (
            json!({"resourceType": "Condition", "onsetAge": {"value": 93, "comparator": "<", "unit": "a", "system": "http://unitsofmeasure.org", "code": "a"}}),
            json!({"onsetAge": {"value": 90, "comparator": ">=", "unit": "a", "system": "http://unitsofmeasure.org", "code": "a"}}),
        ),
        (
            json!({"resourceType": "Observation", "valueQuantity": {"value": 1100, "system": "http://unitsofmeasure.org", "code": "mo"}}),
            json!({"valueQuantity": {"value": 90, "comparator": ">=", "system": "http://unitsofmeasure.org", "code": "mo"}}),
        ),
        (json!({"resourceType": "Condition", "onsetAge": {"value": 93, "unit": "winters"}}), json!({})),
        (
            json!({"resourceType": "Condition", "onsetAge": {"value": 93}}),
            json!({"onsetAge": {"value": 90, "comparator": ">="}}),
        ),
        (
            json!({"resourceType": "Observation", "valueQuantity": {"value": 95, "unit": "years", "system": "http://unitsofmeasure.org", "code": "mo"}}),
            json!({"valueQuantity": {"value": 90, "comparator": ">=", "unit": "years", "system": "http://unitsofmeasure.org", "code": "mo"}}),
        ),
        (
            json!({"resourceType": "Observation", "valueQuantity": {"value": 9.5, "system": "http://unitsofmeasure.org", "code": "10.a"}}),
            json!({"valueQuantity": {"system": "http://unitsofmeasure.org", "code": "10.a"}}),
        ),
        (json!({"resourceType": "Observation", "valueInteger": 97}), json!({})),
        (
            json!({"resourceType": "Task", "status": "ready", "input": [{"valueInteger": 97}, {"valueDecimal": 97.5}, {"valueBoolean": true}]}),
            json!({"status": "ready", "input": [{"valueBoolean": true}]}),
        ),
        (json!({"resourceType": "Parameters", "parameter": [{"name": "age", "valueInteger": 97}]}), json!({})),
        (json!({"resourceType": "Observation", "valueInteger": 12}), json!({"valueInteger": 12})),
        (
            json!({"resourceType": "FamilyMemberHistory", "bornDate": "1900-01-01", "deceasedAge": {"value": 99, "system": "http://unitsofmeasure.org", "code": "a"}}),
            json!({"bornDate": "1936", "deceasedAge": {"value": 90, "comparator": ">=", "system": "http://unitsofmeasure.org", "code": "a"}}),
        ),
        (
            json!({"resourceType": "Condition", "onsetRange": {"low": {"value": 85, "unit": "years"}, "high": {"value": 95, "unit": "years"}}}),
            json!({"onsetRange": {"low": {"value": 85, "unit": "years"}, "high": {"value": 90, "comparator": ">=", "unit": "years"}}}),
        ),
        (
            json!({"resourceType": "MedicationRequest", "dosageInstruction": [{"timing": {"event": ["2015-02-07T13:28:17Z"], "repeat": {"frequency": 2, "period": 1, "periodUnit": "d", "dayOfWeek": ["mon"], "timeOfDay": ["08:00:00"], "when": ["HS"]}}}]}),
            json!({"dosageInstruction": [{"timing": {"event": ["2015"], "repeat": {"frequency": 2, "period": 1, "periodUnit": "d", "when": ["HS"]}}}]}),
        ),
        (
            json!({"resourceType": "Appointment", "status": "booked", "start": "2013-12-10T09:00:00Z"}),
            json!({"status": "booked"}),
        ),
    ]);
}

#[test]
fn d_to_k_contact_points_and_numbers_do_not_leave() {
    check(&[
        (
            patient(
                "telecom",
                json!([{"system": "phone", "value": "555-1234"}, {"system": "email", "value": "a@b.c"}]),
            ),
            json!({}),
        ),
        (
            patient("identifier", json!([{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "444-22-2222"}])),
            json!({}),
        ),
        (
            json!({"resourceType": "Coverage", "status": "active", "subscriberId": "X1", "dependent": "0", "order": 1, "class": [{"value": "B37FC"}]}),
            json!({"status": "active", "order": 1}),
        ),
        (
            json!({"resourceType": "Account", "identifier": [{"value": "654321"}], "status": "active"}),
            json!({"status": "active"}),
        ),
        (
            json!({"resourceType": "Practitioner", "qualification": [{"identifier": [{"value": "LIC"}], "period": {"start": "1995-01-01"}}]}),
            json!({"qualification": [{"period": {"start": "1995"}}]}),
        ),
        (
            json!({"resourceType": "Observation", "subject": {"identifier": {"value": "MRN1"}}, "status": "final"}),
            json!({"status": "final"}),
        ),
    ]);
}

#[test]
fn l_to_o_devices_and_addresses_on_the_net_do_not_leave() {
    check(&[
        (
            json!({"resourceType": "Device", "status": "active", "serialNumber": "S1", "lotNumber": "L1", "distinctIdentifier": "D1", "udiCarrier": [{"deviceIdentifier": "U1", "entryType": "manual"}], "url": "http://device/1"}),
            json!({"status": "active"}),
        ),
        (
            json!({"resourceType": "AuditEvent", "action": "E", "agent": [{"requestor": true, "network": {"address": "10.0.0.1", "type": "2"}}]}),
            json!({"action": "E", "agent": [{"requestor": true}]}),
        ),
        (
            json!({"resourceType": "Endpoint", "status": "active", "address": "https://x.example"}),
            json!({"status": "active"}),
        ),
    ]);
}

#[test]
fn p_and_q_pictures_and_documents_do_not_leave() {
    check(&[
        (patient("photo", json!([{"contentType": "image/gif", "data": "R0lG", "size": 4}])), json!({})),
        (json!({"resourceType": "Binary", "contentType": "image/png", "data": "R0lG"}), json!({})),
        (
            json!({"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": {"data": "aGk=", "title": "Smith"}}]}),
            json!({"status": "current"}),
        ),
        (json!({"resourceType": "MolecularSequence", "coordinateSystem": 0, "observedSeq": "ACGT"}), json!({})),
    ]);
}

#[test]
fn r_ids_and_references_are_surrogates() {
    let profile = safe_harbor();
    let shown = out(
        &profile,
        &json!({"resourceType": "Observation", "id": "o1", "subject": {"reference": "Patient/p1", "type": "Patient"},
            "focus": [{"reference": "Patient/p1/_history/3"}, {"reference": "https://other/r4/Patient/p1"}, {"reference": "#p"}, {"reference": "Patient?identifier=x|1"}],
            "hasMember": [{"reference": "Observation/o1"}]})
        .to_string(),
    );
    let id = shown["id"].as_str().unwrap();
    let subject = shown["subject"]["reference"].as_str().unwrap();
    assert_eq!(shown["focus"].as_array().unwrap().len(), 2);
    assert_eq!(shown["focus"][0]["reference"].as_str(), Some(subject));
    let other = shown["focus"][1]["reference"].as_str().unwrap();
    assert!(other.starts_with("Patient/") && other != subject, "another server's patient is another");
    assert_eq!(shown["hasMember"][0]["reference"], json!(format!("Observation/{id}")));
    assert!(fhir::Id::fits(id) && id.len() == 36 && subject.len() == "Patient/".len() + 36);
}

#[test]
fn free_text_contained_resources_and_local_codes_do_not_leave() {
    check(&[
        (
            json!({"resourceType": "Condition", "note": [{"text": "Smith", "time": "2013"}], "code": {"text": "Smith's", "coding": [
                {"system": "http://snomed.info/sct", "code": "38341003", "display": "Hypertension", "version": "x", "userSelected": true},
                {"system": "http://hospital.example/codes", "code": "SMITH"},
                {"system": "http://snomed.info/sct", "code": "SMITH"},
                {"code": "SMITH", "display": "Smith"}]}}),
            json!({"code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003", "userSelected": true}]}}),
        ),
        (patient("contained", json!([{"resourceType": "Patient", "id": "x"}])), json!({})),
        (patient("gender", json!("Smith")), json!({})),
        (patient("language", json!("en-US")), json!({"language": "en-US"})),
        (patient("nickname", json!("Smith")), json!({})),
        (patient("active", json!("true")), json!({})),
        (patient("name", json!({"family": "Smith"})), json!({})),
        (
            json!({"resourceType": "Observation", "valueQuantity": {"value": 72.10, "unit": "beats/minute", "system": "http://unitsofmeasure.org", "code": "/min"}}),
            json!({"valueQuantity": {"value": 72.10, "unit": "beats/minute", "system": "http://unitsofmeasure.org", "code": "/min"}}),
        ),
        (json!({"resourceType": "Observation", "valueQuantity": {"value": 3, "unit": "Smiths"}}), json!({})),
        (json!({"resourceType": "Observation", "valueString": "Smith"}), json!({})),
    ]);
}

#[test]
fn what_may_mean_something_else_is_refused_or_dropped() {
    let profile = safe_harbor();
    let refused = |value: Value| with(&profile, &value.to_string(), &mut deid::SeededSurrogates::new(1)).map(|_| ());
    let extension = json!([{"url": "http://x", "valueBoolean": true}]);
    assert_eq!(refused(patient("modifierExtension", extension.clone())), Err(Refusal::Modified));
    assert_eq!(refused(patient("implicitRules", json!("http://x"))), Err(Refusal::Modified));
    assert_eq!(refused(json!({"resourceType": "Smith"})), Err(Refusal::NotUnderstood));
    check(&[(
        patient("contact", json!([{"gender": "male", "modifierExtension": extension}, {"gender": "female"}])),
        json!({"contact": [{"gender": "female"}]}),
    )]);
}

#[test]
fn entries_of_a_bundle_find_each_other_still() {
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": [
        {"fullUrl": "urn:uuid:0F1E", "resource": {"resourceType": "Patient", "id": "a", "gender": "male"}},
        {"fullUrl": "https://ehr/Observation/b", "resource": {"resourceType": "Observation", "status": "final", "subject": {"reference": "urn:uuid:0f1e"}}},
    ]});
    let shown = out(&safe_harbor(), &bundle.to_string());
    assert_eq!(shown["entry"][0]["fullUrl"], shown["entry"][1]["resource"]["subject"]["reference"]);
    assert!(shown["entry"][1]["fullUrl"].is_null());
    assert_eq!(shown["entry"][0]["resource"]["meta"]["security"][0]["code"], "PSEUDED");
}

#[test]
fn a_label_joins_those_that_are_there() {
    let given = patient(
        "meta",
        json!({"profile": ["http://x"], "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}),
    );
    check(&[(
        given,
        json!({"meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}}),
    )]);
}

/// A table that fails at the call given.
struct Failing(usize);

impl Surrogates for Failing {
    fn surrogate(&mut self, _: Original<'_>) -> Result<fhir::Id, SurrogateError> {
        self.0 = self.0.checked_sub(1).ok_or(SurrogateError)?;
        "s".parse().map_err(|_| SurrogateError)
    }
}

/// A table that is none.
struct Same;

impl Surrogates for Same {
    fn surrogate(&mut self, original: Original<'_>) -> Result<fhir::Id, SurrogateError> {
        let (Original::Instance { id, .. } | Original::Code(id)) = original;
        id.parse().map_err(|_| SurrogateError)
    }
}

#[test]
fn a_surrogate_is_another_id() {
    for given in [
        json!({"resourceType": "Patient", "id": "p"}),
        json!({"resourceType": "Observation", "subject": {"reference": "Patient/p"}}),
        json!({"resourceType": "Observation", "subject": {"reference": "urn:uuid:1"}}),
    ] {
        assert_eq!(
            with(&safe_harbor(), &given.to_string(), &mut Same).map(|_| ()),
            Err(Refusal::Surrogates),
            "{given}"
        );
    }
}

#[test]
fn without_surrogates_there_is_no_data() {
    let profile = safe_harbor();
    let given = json!({"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p"}, "focus": [{"reference": "urn:uuid:1"}]});
    for calls in 0..3 {
        assert_eq!(
            with(&profile, &given.to_string(), &mut Failing(calls)).map(|_| ()),
            Err(Refusal::Surrogates),
            "{calls}"
        );
    }
    assert!(with(&profile, &given.to_string(), &mut Failing(3)).is_ok());
}
