//! Tables of Consents and what they let go.

use fhir::json::Document;
use serde_json::{Value as Json, json};

use super::*;

pub(super) const BASE: &str = "https://ehr.mercy.example/fhir";
/// 2026-11-24T12:00:00Z.
const NOW: Millis = 1_795_521_600_000;

pub(super) fn read(consents: &[Json]) -> Consents {
    let texts: Vec<String> = consents.iter().map(Json::to_string).collect();
    let documents: Vec<Document<'_>> = texts.iter().map(|text| Document::parse(text.as_bytes()).unwrap()).collect();
    Consents::read(documents.iter().map(Document::root), &"P1".parse().unwrap(), BASE)
}

pub(super) fn denies(consents: &Consents, context: &ConsentContext<'_>, resource: &Json) -> bool {
    let text = resource.to_string();
    let document = Document::parse(text.as_bytes()).unwrap();
    let kind = resource["resourceType"].as_str().unwrap_or("Basic").parse().unwrap();
    consents.denies(context, kind, resource["id"].as_str().unwrap_or(""), document.root())
}

pub(super) fn treatment() -> ConsentContext<'static> {
    ConsentContext { now: NOW, purpose_of_use: "TREAT", actions: &["access", "disclose"] }
}

/// An active privacy Consent of P1 with this provision.
pub(super) fn consent(provision: Json) -> Json {
    json!({
        "resourceType": "Consent", "id": "C1", "status": "active", "patient": {"reference": "Patient/P1"},
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "provision": provision,
    })
}

/// The same with some members replaced; null takes one away.
pub(super) fn with(mut consent: Json, changes: Json) -> Json {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Json::Null => consent.as_object_mut().unwrap().remove(name),
            value => consent.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    consent
}

pub(super) fn class(name: &str) -> Json {
    json!([{"system": "http://hl7.org/fhir/resource-types", "code": name}])
}

pub(super) fn labels(codes: &[&str]) -> Json {
    codes
        .iter()
        .map(|code| json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}))
        .collect()
}

fn confidentiality(code: &str) -> Json {
    json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": code}])
}

pub(super) fn purposes(codes: &[&str]) -> Json {
    codes
        .iter()
        .map(|code| json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": code}))
        .collect()
}

fn actions(codes: &[&str]) -> Json {
    let coding = |code| json!({"system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": code});
    codes.iter().map(|code| json!({"coding": [coding(*code)]})).collect()
}

pub(super) fn observation() -> Json {
    json!({"resourceType": "Observation", "id": "O1", "subject": {"reference": "Patient/P1"},
           "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
           "component": [{"code": {"coding": [{"system": "http://loinc.org", "code": "75622-1"}]}}]})
}

fn condition() -> Json {
    json!({"resourceType": "Condition", "id": "D1"})
}

fn labelled(security: Json) -> Json {
    with(observation(), json!({"meta": {"security": security}}))
}

/// Puts each criterion into a denial and into a permit below a denial: (name, criterion, resource, what the denial
/// denies, what the permit lets go).
fn check(rows: Vec<(&str, Json, Json, bool, bool)>) {
    for (name, criterion, resource, denied, permitted) in rows {
        let deny = read(&[consent(with(criterion.clone(), json!({"type": "deny"})))]);
        assert_eq!(denies(&deny, &treatment(), &resource), denied, "{name}, denied");
        let exception = with(criterion, json!({"type": "permit"}));
        let permit = read(&[consent(json!({"type": "deny", "provision": [exception]}))]);
        assert_eq!(!denies(&permit, &treatment(), &resource), permitted, "{name}, permitted");
    }
}

#[test]
fn s3_10_a_criterion_that_cannot_be_told_denies_and_does_not_permit() {
    let data =
        |meaning: &str, reference: &str| json!({"data": [{"meaning": meaning, "reference": {"reference": reference}}]});
    let code = |system: &str, code: &str| json!({"code": [{"coding": [{"system": system, "code": code}]}]});
    let both = |mut a: Json, b: Json| {
        a.as_array_mut().unwrap().extend(b.as_array().unwrap().iter().cloned());
        a
    };
    let psy = || labelled(labels(&["PSY"]));
    check(vec![
        ("no criterion", json!({}), observation(), true, true),
        ("class", json!({"class": class("Observation")}), observation(), true, true),
        ("another class", json!({"class": class("Condition")}), observation(), false, false),
        (
            "one of two classes",
            json!({"class": both(class("Condition"), class("Observation"))}),
            observation(),
            true,
            true,
        ),
        (
            "a profile",
            json!({"class": [{"system": "urn:ietf:rfc:3986", "code": "http://p"}]}),
            observation(),
            true,
            false,
        ),
        ("no class code", json!({"class": [{"display": "labs"}]}), observation(), true, false),
        ("an empty list", json!({"class": []}), observation(), true, false),
        ("running", json!({"period": {"start": "2026-01-01", "end": "2027-01-01"}}), observation(), true, true),
        ("period over", json!({"period": {"start": "2020-01-01", "end": "2021-01-01"}}), observation(), false, false),
        ("period to come", json!({"period": {"start": "2027-01-01"}}), observation(), false, false),
        ("today, somewhere", json!({"period": {"start": "2026-11-25"}}), observation(), true, false),
        ("no such period", json!({"period": {"end": "whenever"}}), observation(), true, false),
        ("purpose", json!({"purpose": purposes(&["TREAT"])}), observation(), true, true),
        ("another purpose", json!({"purpose": purposes(&["HMARKT"])}), observation(), false, false),
        ("a case of the purpose", json!({"purpose": purposes(&["ETREAT"])}), observation(), true, false),
        ("one of two purposes", json!({"purpose": purposes(&["TREAT", "HPAYMT"])}), observation(), true, false),
        (
            "a purpose of the house",
            json!({"purpose": [{"system": "http://h", "code": "x"}]}),
            observation(),
            true,
            false,
        ),
        ("our actions", json!({"action": actions(&["access", "disclose"])}), observation(), true, true),
        ("one of our actions", json!({"action": actions(&["access"])}), observation(), true, false),
        ("another action", json!({"action": actions(&["correct"])}), observation(), false, false),
        ("an unknown action", json!({"action": actions(&["behold"])}), observation(), true, false),
        ("an action in words", json!({"action": [{"text": "reading"}]}), observation(), true, false),
        ("an actor", json!({"actor": [{"reference": {"reference": "Organization/1"}}]}), observation(), true, false),
        ("data period", json!({"dataPeriod": {"end": "2000"}}), observation(), true, false),
        ("an element of R5", json!({"resourceType": class("Condition")}), observation(), true, false),
        ("the instance", data("instance", "Observation/O1"), observation(), true, true),
        ("the instance by URL", data("instance", &format!("{BASE}/Observation/O1")), observation(), true, true),
        ("another base", data("instance", "https://other.example/Observation/O1"), observation(), true, false),
        ("one version", data("instance", "Observation/O1/_history/2"), observation(), true, false),
        ("another instance", data("instance", "Observation/O2"), observation(), false, false),
        ("another type", data("instance", "Condition/O1"), observation(), false, false),
        ("related", data("related", "Observation/O2"), observation(), true, false),
        ("by author", data("authoredby", "Practitioner/1"), observation(), true, false),
        (
            "a logical reference",
            json!({"data": [{"meaning": "instance", "reference": {"identifier": {}}}]}),
            observation(),
            true,
            false,
        ),
        (
            "an instance without id",
            data("instance", "Observation/O1"),
            with(observation(), json!({"id": null})),
            true,
            false,
        ),
        ("main code", code("http://loinc.org", "8867-4"), observation(), true, true),
        ("code deep inside", code("http://loinc.org", "75622-1"), observation(), true, false),
        ("code of another system", code("http://snomed.info/sct", "8867-4"), observation(), true, false),
        ("no such code", code("http://loinc.org", "1-1"), observation(), false, false),
        ("a code in words", json!({"code": [{"text": "HIV"}]}), observation(), true, false),
        ("label", json!({"securityLabel": labels(&["PSY"])}), psy(), true, true),
        ("no label", json!({"securityLabel": labels(&["PSY"])}), observation(), false, false),
        ("another label", json!({"securityLabel": labels(&["HIV"])}), psy(), false, false),
        ("one of two labels named", json!({"securityLabel": labels(&["HIV", "PSY"])}), psy(), true, true),
        (
            "one of two labels borne",
            json!({"securityLabel": labels(&["PSY"])}),
            labelled(labels(&["PSY", "HIV"])),
            true,
            false,
        ),
        ("a label of the family", json!({"securityLabel": labels(&["BH"])}), psy(), true, false),
        ("a label unheard of", json!({"securityLabel": labels(&["PSY"])}), labelled(labels(&["NEW"])), true, false),
        (
            "label and level",
            json!({"securityLabel": labels(&["PSY"])}),
            labelled(both(labels(&["PSY"]), confidentiality("R"))),
            true,
            true,
        ),
        ("level", json!({"securityLabel": confidentiality("R")}), labelled(confidentiality("R")), true, true),
        ("a lower level", json!({"securityLabel": confidentiality("R")}), labelled(confidentiality("N")), true, true),
        ("a higher level", json!({"securityLabel": confidentiality("R")}), labelled(confidentiality("V")), true, false),
        (
            "an old name",
            json!({"securityLabel": [{"system": "http://hl7.org/fhir/v3/ActCode", "code": "PSY"}]}),
            psy(),
            true,
            true,
        ),
        ("no system", json!({"securityLabel": [{"code": "PSY"}]}), psy(), true, true),
        ("an unreadable label", json!({"securityLabel": labels(&["PSY"])}), labelled(json!(["PSY"])), true, false),
        ("too many labels", json!({"securityLabel": labels(&["HIV"])}), labelled(labels(&["PSY"; 17])), true, false),
        ("a label of the house", json!({"securityLabel": [{"system": "http://h", "code": "x"}]}), psy(), false, false),
        (
            "two criteria",
            json!({"class": class("Observation"), "purpose": purposes(&["HMARKT"])}),
            observation(),
            false,
            false,
        ),
        (
            "a modifier",
            json!({"class": class("Condition"), "modifierExtension": [{"url": "u"}]}),
            observation(),
            true,
            false,
        ),
        ("a modifier inside", json!({"actor": [{"modifierExtension": [{"url": "u"}]}]}), observation(), true, false),
        (
            "an extension",
            json!({"class": class("Observation"), "extension": [{"url": "u"}], "id": "1"}),
            observation(),
            true,
            true,
        ),
    ]);
}

#[test]
fn s3_10_exceptions_hold_below_their_parent() {
    let deny_but = |exceptions: Json| consent(json!({"type": "deny", "provision": exceptions}));
    let permit_but = |exceptions: Json| consent(json!({"type": "permit", "provision": exceptions}));
    let observations = |inner: Json| with(json!({"type": "permit", "class": class("Observation")}), inner);
    let psy = json!({"type": "deny", "securityLabel": labels(&["PSY"])});
    let labelled = labelled(labels(&["PSY"]));
    let opt_out = |root: Json| {
        let policy =
            json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]});
        with(consent(root), json!({"policyRule": policy}))
    };
    let deep = |depth: usize| {
        (1..depth).fold(json!({"type": "permit"}), |inner, _| json!({"type": "permit", "provision": [inner]}))
    };
    for (name, consents, resource, expected) in [
        ("none", vec![], observation(), false),
        ("no provision", vec![with(consent(json!({})), json!({"provision": null}))], observation(), false),
        ("a bare permit", vec![consent(json!({"type": "permit"}))], observation(), false),
        ("a permit that does not match", vec![consent(observations(json!({})))], condition(), false),
        ("deny all, permit class", vec![deny_but(json!([observations(json!({}))]))], observation(), false),
        ("deny all, permit another class", vec![deny_but(json!([observations(json!({}))]))], condition(), true),
        ("permit, deny label", vec![permit_but(json!([psy]))], labelled.clone(), true),
        ("permit, deny another label", vec![permit_but(json!([psy]))], observation(), false),
        (
            "exception of the exception",
            vec![deny_but(json!([observations(json!({"provision": [psy]}))]))],
            labelled.clone(),
            true,
        ),
        ("beside it", vec![deny_but(json!([observations(json!({"provision": [psy]}))]))], observation(), false),
        (
            "and one more",
            vec![permit_but(json!([with(psy.clone(), json!({"provision": [observations(json!({}))]}))]))],
            labelled.clone(),
            false,
        ),
        ("a denial beside a permit", vec![deny_but(json!([observations(json!({})), psy]))], labelled.clone(), true),
        (
            "a denial below a permit for somebody",
            vec![consent(json!({"type": "permit", "actor": [{}], "provision": [psy]}))],
            labelled.clone(),
            true,
        ),
        (
            "a permit below a denial for somebody",
            vec![consent(json!({"type": "deny", "actor": [{}], "provision": [observations(json!({}))]}))],
            observation(),
            false,
        ),
        ("two, one denies", vec![permit_but(json!([])), consent(json!({"type": "deny"}))], observation(), true),
        ("a root without type", vec![consent(json!({"class": class("Observation")}))], observation(), true),
        ("a root without type, beside it", vec![consent(json!({"class": class("Observation")}))], condition(), false),
        ("opt-out", vec![with(opt_out(json!({})), json!({"provision": null}))], observation(), true),
        ("opt-out, permit", vec![opt_out(observations(json!({})))], observation(), false),
        ("opt-out, permit, beside it", vec![opt_out(observations(json!({})))], condition(), true),
        ("sixteen deep", vec![consent(deep(16))], observation(), false),
        ("seventeen deep", vec![consent(deep(17))], observation(), true),
        ("Consents too", vec![consent(json!({"type": "deny"}))], json!({"resourceType": "Consent", "id": "C1"}), true),
    ] {
        assert_eq!(denies(&read(&consents), &treatment(), &resource), expected, "{name}");
    }
}

#[test]
fn s3_10_which_consents_count_and_which_cannot_be_read() {
    let deny = || consent(json!({"type": "deny"}));
    let scope = |code: &str| json!({"scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": code}]}});
    let patient = |reference: &str| json!({"patient": {"reference": reference}});
    let permit = |inner: Json| with(json!({"type": "permit"}), inner);
    for (name, resource, expected) in [
        ("ours", deny(), true),
        ("by URL", with(deny(), patient(&format!("{BASE}/Patient/P1"))), true),
        ("a version of ours", with(deny(), patient("Patient/P1/_history/1")), true),
        ("another patient's", with(deny(), patient("Patient/P2")), false),
        ("another server's", with(deny(), patient("https://other.example/Patient/P1")), false),
        ("another type's", with(deny(), patient("Group/P1")), false),
        ("another patient's, broken", with(with(deny(), patient("Patient/P2")), json!({"provision": 7})), false),
        ("nobody's", with(deny(), json!({"patient": null})), true),
        ("by identifier", with(deny(), json!({"patient": {"identifier": {"value": "7"}}})), true),
        ("draft", with(deny(), json!({"status": "draft"})), false),
        ("proposed", with(deny(), json!({"status": "proposed"})), false),
        ("rejected", with(deny(), json!({"status": "rejected"})), false),
        ("inactive", with(deny(), json!({"status": "inactive"})), false),
        ("entered in error", with(deny(), json!({"status": "entered-in-error"})), false),
        ("inactive, broken", with(deny(), json!({"status": "inactive", "provision": 7})), false),
        ("no status", with(deny(), json!({"status": null})), true),
        ("unknown status", with(deny(), json!({"status": "Active"})), true),
        ("research", with(deny(), scope("research")), false),
        ("treatment", with(deny(), scope("treatment")), false),
        ("advance directive", with(deny(), scope("adr")), false),
        ("unknown scope", with(deny(), scope("whatever")), true),
        ("scope without system", with(deny(), json!({"scope": {"coding": [{"code": "research"}]}})), true),
        ("scope in words", with(deny(), json!({"scope": {"text": "research"}})), true),
        ("no scope", with(deny(), json!({"scope": null})), true),
        ("another type", json!({"resourceType": "OperationOutcome"}), false),
        ("no type", json!({"status": "active"}), true),
        ("no resource", json!([7]), true),
        ("a provision that is none", consent(json!(7)), true),
        ("a list of provisions", consent(json!([{"type": "permit"}])), true),
        ("an unknown type", consent(json!({"type": "allow"})), true),
        ("a type that is none", consent(json!({"type": 7})), true),
        ("an exception without type", consent(permit(json!({"provision": [{}]}))), true),
        ("an exception that is none", consent(permit(json!({"provision": {"type": "permit"}}))), true),
        ("a class that is none", consent(permit(json!({"class": "Observation"}))), true),
        ("a code that is none", consent(permit(json!({"code": [{"coding": [{"code": 7}]}]}))), true),
        ("data that is none", consent(permit(json!({"data": [7]}))), true),
        ("a period that is none", consent(permit(json!({"period": []}))), true),
        ("a modifier", with(consent(permit(json!({}))), json!({"modifierExtension": [{"url": "u"}]})), true),
        (
            "a modifier elsewhere",
            with(consent(permit(json!({}))), json!({"verification": [{"modifierExtension": []}]})),
            true,
        ),
        ("rules unknown", with(consent(permit(json!({}))), json!({"implicitRules": "http://rules"})), true),
        (
            "emergencies only",
            with(consent(permit(json!({"actor": [{}]}))), json!({"category": [{"coding": [{"code": "emrgonly"}]}]})),
            true,
        ),
    ] {
        assert_eq!(denies(&read(&[resource]), &treatment(), &observation()), expected, "{name}");
    }
    assert!(denies(&Consents::unknown(), &treatment(), &observation()));
    assert!(!denies(&Consents::none(), &treatment(), &observation()));
    assert_eq!(format!("{:?}", read(&[deny()])), "Consents([sealed])");
}

#[test]
fn s3_10_too_many_deny_everything() {
    let permit = || consent(json!({"type": "permit"}));
    let wide = |count: usize| vec![json!({"type": "permit"}); count];
    for (name, consents, expected) in [
        ("a hundred", vec![permit(); 100], false),
        ("a hundred and one", vec![permit(); 101], true),
        ("those not in force are free", vec![with(permit(), json!({"status": "inactive"})); 200], false),
        ("a thousand provisions", vec![consent(json!({"type": "permit", "provision": wide(999)}))], false),
        ("one more", vec![consent(json!({"type": "permit", "provision": wide(1_000)}))], true),
        ("codes", vec![consent(json!({"type": "deny", "class": vec![class("Condition")[0].clone(); 5_001]}))], true),
    ] {
        assert_eq!(denies(&read(&consents), &treatment(), &observation()), expected, "{name}");
    }
}
