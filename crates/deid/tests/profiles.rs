//! Rule files: read whole or refused with the rule named; what they keep, and what they cannot widen.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use deid::{InvalidProfile, Profile, Standing};
use serde_json::{Value, json};
use support::{digest, out};

fn file(head: Value, rules: Value) -> String {
    let mut all = json!({"fhirVersion": "R4", "processingErrors": "skip", "fhirPathRules": rules});
    all.as_object_mut().unwrap().extend(head.as_object().unwrap().clone());
    all.to_string()
}

fn parse(head: Value, rules: Value) -> Result<Profile, InvalidProfile> {
    Profile::parse(file(head, rules).as_bytes(), digest)
}

fn base() -> Value {
    json!({"base": "safe-harbor"})
}

fn limited() -> Value {
    json!({"profile": "limited-data-set", "agreement": "DUA-2026-17"})
}

fn expert() -> Value {
    json!({"profile": "expert-determination", "attestation": {"expert": "Dana Lee", "date": "2026-03-01", "record": "REC-9"}})
}

fn example() -> String {
    json!({"resourceType": "Patient", "id": "p1", "gender": "female", "active": true, "birthDate": "1974-12-25",
        "name": [{"use": "official", "family": "Smith", "given": ["Ann", "B"]}],
        "telecom": [{"system": "phone", "value": "555-1"}, {"system": "url", "value": "http://a"}],
        "address": [{"use": "home", "line": ["1 Main St"], "city": "Boston", "state": "MA", "postalCode": "02134", "country": "US"}],
        "maritalStatus": {"coding": [{"system": "http://h.example/m", "code": "X-1", "display": "Odd"}], "text": "Odd"}})
    .to_string()
}

#[test]
fn a_profile_on_safe_harbor_only_narrows() {
    for (rules, expected) in [
        (json!([]), json!({})),
        (json!([{"path": "Patient.gender", "method": "keep"}]), json!({"gender": "female"})),
        (
            json!([{"path": "Patient.gender", "method": "redact"}, {"path": "Patient.address | Resource.id", "method": "redact"}, {"path": "Patient", "method": "keep"}]),
            json!({"active": true, "birthDate": "1974"}),
        ),
        // The first rule that leads to it decides, also from above.
        (
            json!([{"path": "Patient.address", "method": "redact"}, {"path": "Patient.address.state", "method": "keep"}, {"path": "nodesByType('boolean')", "method": "keep"}]),
            json!({"active": true}),
        ),
        (
            json!([{"path": "Patient.address.where(use = 'work')", "method": "redact"}, {"path": "nodesByType('Address').state", "method": "keepKnown"}]),
            json!({"address": [{"state": "MA"}]}),
        ),
        (
            json!([{"path": "Patient.address.where(use = 'home')", "method": "redact"}, {"path": "nodesByType('Address').state", "method": "keepKnown"}]),
            json!({}),
        ),
        (json!([{"path": "nodesByName('birthDate')", "method": "generalize"}]), json!({"birthDate": "1974"})),
    ] {
        let profile = parse(base(), rules.clone()).unwrap();
        assert_eq!(profile.standing, Standing::SafeHarbor);
        assert_eq!(out(&profile, &example()), expected, "{rules}");
    }
}

#[test]
fn what_a_profile_cannot_do_is_an_error_that_names_the_rule() {
    for (head, rule, says) in [
        (base(), json!({"path": "Patient.name", "method": "keep"}), "keeps more"),
        (base(), json!({"path": "Patient.birthDate", "method": "keep"}), "keeps more"),
        (base(), json!({"path": "nodesByType('Address').city", "method": "keep"}), "keeps more"),
        (base(), json!({"path": "nodesByType('Extension')", "method": "keep"}), "keeps more"),
        (base(), json!({"path": "nodesByType('markdown')", "method": "keepKnown"}), "keeps more"),
        (base(), json!({"path": "Patient.name.family", "method": "substitute", "replaceWith": "X"}), "keeps more"),
        (base(), json!({"path": "nodesByType('date')", "method": "dateShift"}), "but its year"),
        (base(), json!({"path": "Resource.id", "method": "cryptoHash"}), "use `surrogate`"),
        (base(), json!({"path": "Patient.name", "method": "encrypt"}), "use `surrogate`"),
        (base(), json!({"path": "Condition.onset as Age", "method": "perturb"}), "not supported"),
        (base(), json!({"path": "Patient.nmae", "method": "redact"}), "no element"),
        (base(), json!({"path": "Patient.name.first()", "method": "redact"}), "not supported"),
        (base(), json!({"path": "Patient.name", "method": "surrogate"}), "does nothing"),
        (base(), json!({"path": "Patient.gender", "method": "generalize"}), "does nothing"),
        (base(), json!({"path": "Patient.name"}), "no `method`"),
        (base(), json!({"method": "redact"}), "is empty"),
        (base(), json!({"path": "Patient.name", "method": "redact", "cases": {}}), "no member"),
        (base(), json!({"path": "Patient.name", "method": "redact", "replaceWith": "x"}), "belongs to"),
        (limited(), json!({"path": "Patient.name", "method": "keep"}), "keeps more"),
        (limited(), json!({"path": "nodesByType('Address').line", "method": "keep"}), "keeps more"),
        (limited(), json!({"path": "nodesByType('date')", "method": "dateShift"}), "not supported"),
        (expert(), json!({"path": "Resource.id", "method": "cryptoHash"}), "use `surrogate`"),
    ] {
        let rules = json!([{"path": "Patient.active", "method": "keep"}, rule]);
        match parse(head, rules.clone()) {
            Err(InvalidProfile::Rule { number: 2, says: said, .. }) => assert!(said.contains(says), "{rule}: {said}"),
            other => panic!("{rule}: {other:?}"),
        }
    }
}

#[test]
fn the_head_of_a_file_is_read_strictly() {
    let rules = || json!([{"path": "Patient.active", "method": "keep"}]);
    for head in [
        json!({}),
        json!({"profile": "limited-data-set"}),
        json!({"profile": "limited-data-set", "agreement": " "}),
        json!({"profile": "expert-determination"}),
        json!({"profile": "expert-determination", "attestation": {"expert": "x", "date": "yesterday", "record": "y"}}),
        json!({"profile": "identified"}),
        json!({"profile": "limited-data-set", "base": "safe-harbor", "agreement": "x"}),
        json!({"base": "safe-harbor", "fhirVersion": "Stu3"}),
        json!({"base": "safe-harbor", "processingErrors": "keep"}),
        json!({"base": "safe-harbor", "comment": ""}),
        json!({"base": "safe-harbor", "parameters": {"dateShiftKey": "123"}}),
        json!({"base": "safe-harbor", "parameters": {"enablePartialDatesForRedact": "yes"}}),
        json!({"base": "safe-harbor", "parameters": {"restrictedZipCodeTabulationAreas": ["36"]}}),
        json!({"base": "safe-harbor", "parameters": {"codeSystems": ["local"]}}),
        json!({"base": "safe-harbor", "parameters": {"displays": [{"system": "x", "code": "y"}]}}),
        json!({"base": "safe-harbor", "parameters": {"other": ""}}),
    ] {
        assert!(matches!(parse(head.clone(), rules()), Err(InvalidProfile::Member(_))), "{head}");
    }
    assert!(matches!(Profile::parse(b"[]", digest), Err(InvalidProfile::Json(None))));
    assert!(matches!(Profile::parse(br#"{"base":1,"base":2}"#, digest), Err(InvalidProfile::Json(Some(_)))));
    let one = parse(base(), rules()).unwrap().digest;
    assert_ne!(one, parse(base(), json!([])).unwrap().digest);
    assert_ne!(one, Profile::safe_harbor(digest).unwrap().digest);
}

#[test]
fn wider_profiles_say_what_they_stand_on() {
    let kept = json!([{"path": "Patient.birthDate", "method": "keep"}, {"path": "nodesByType('Address').city", "method": "keep"}, {"path": "Patient.address", "method": "keep"}]);
    let profile = parse(limited(), kept.clone()).unwrap();
    assert_eq!(profile.standing, Standing::LimitedDataSet { agreement: "DUA-2026-17".to_owned() });
    let address = json!([{"use": "home", "city": "Boston", "state": "MA", "postalCode": "02134", "country": "US"}]);
    assert_eq!(out(&profile, &example()), json!({"birthDate": "1974-12-25", "address": address}));

    let kept = json!([
        {"path": "Patient.name.given", "method": "substitute", "replaceWith": "Pat"},
        {"path": "nodesByType('Coding').display", "method": "keep"},
        {"path": "Patient.telecom.where(system = 'url').value", "method": "keep"},
    ]);
    let profile = parse(expert(), kept).unwrap();
    assert!(matches!(&profile.standing, Standing::ExpertDetermination { expert, .. } if expert == "Dana Lee"));
    assert_eq!(
        out(&profile, &example()),
        json!({"name": [{"given": ["Pat", "Pat"]}], "telecom": [{"value": "http://a"}], "maritalStatus": {"coding": [{"display": "Odd"}]}})
    );
}

#[test]
fn parameters_of_the_known_tool_are_understood() {
    let head = json!({"base": "safe-harbor", "parameters": {
        "dateShiftKey": "", "enablePartialDatesForRedact": true, "enablePartialZipCodesForRedact": true,
        "enablePartialAgesForRedact": false, "restrictedZipCodeTabulationAreas": ["021"], "codeSystems": ["http://h.example/m"]}});
    let rules = json!([
        {"path": "nodesByType('date')", "method": "redact"},
        {"path": "nodesByType('Address').postalCode", "method": "redact"},
        {"path": "nodesByType('Age').value", "method": "redact"},
        {"path": "Patient.gender", "method": "redact"},
        {"path": "Patient.maritalStatus", "method": "keep"},
    ]);
    let profile = parse(head, rules).unwrap();
    assert_eq!(
        out(&profile, &example()),
        json!({"birthDate": "1974", "address": [{"postalCode": "000"}], "maritalStatus": {"coding": [{"system": "http://h.example/m", "code": "X-1"}]}})
    );
}

#[test]
fn errors_are_raised_where_a_profile_says_so() {
    let wrong = json!({"resourceType": "Patient", "gender": "female", "birthDate": "25.12.1974"}).to_string();
    let rules = json!([{"path": "Patient", "method": "keep"}]);
    assert_eq!(out(&parse(base(), rules.clone()).unwrap(), &wrong), json!({"gender": "female"}));
    let raises = parse(json!({"base": "safe-harbor", "processingErrors": "raise"}), rules).unwrap();
    let refused = support::with(&raises, &wrong, &mut deid::SeededSurrogates::new(1)).map(|_| ());
    assert_eq!(refused, Err(deid::Refusal::NotUnderstood));
}

#[test]
fn codes_are_shown_as_the_profile_says() {
    let head = json!({"base": "safe-harbor", "parameters": {"displays": [
        {"system": "http://snomed.info/sct", "code": "38341003", "display": "Hypertension"},
        {"system": "http://h.example/m", "code": "X-1", "display": "Listed, but of no public system"}]}});
    let profile = parse(head, json!([{"path": "Resource", "method": "keep"}])).unwrap();
    let coding = |system: &str, code: &str| json!({"system": system, "code": code, "display": "Ann Smith's"});
    let given = json!({"resourceType": "Condition", "code": {"coding": [
        coding("http://snomed.info/sct", "38341003"), coding("http://snomed.info/sct", "73211009"), coding("http://h.example/m", "X-1")]}});
    let shown = json!({"coding": [
        {"system": "http://snomed.info/sct", "code": "38341003", "display": "Hypertension"},
        {"system": "http://snomed.info/sct", "code": "73211009"}]});
    assert_eq!(out(&profile, &given.to_string()), json!({"code": shown}));
}
