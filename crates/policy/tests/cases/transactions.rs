//! b.13: transactions, judged entry by entry and sent whole or not at all.

use domain::Reason;
use fhir::request::{Body, Conditions, Method, Raw};
use policy::{Decision, UpstreamAnswer, UpstreamBody, UpstreamCall, Verb};
use serde_json::{Value, json};
use testkit::naive;
use testkit::world::{Ran, World, answer, run};

use crate::fixture::*;
use crate::writes::{KW, sent_body, versioned};

const ALL: &str = "patient/Observation.cruds patient/Encounter.cruds patient/Patient.rs patient/DocumentReference.cruds \
    patient/Binary.crud patient/Condition.cruds";

fn decide(world: &World, prefer: Option<&str>, entries: &[Value]) -> Result<Decision, String> {
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string();
    let body = Some(Body { media: Some("application/fhir+json"), bytes: bundle.as_bytes() });
    let raw =
        Raw { body, conditions: Conditions { prefer, ..Conditions::default() }, ..Raw::plain(Method::Post, "/", None) };
    let interaction = fhir::request::read(&raw).map_err(|why| why.what)?;
    if let fhir::request::Interaction::Bundle(submission) = &interaction {
        submission.whole().map_err(|why| why.what.clone())?;
    }
    Ok(world.decide(interaction, None))
}

fn get(url: &str) -> Value {
    json!({"request": {"method": "GET", "url": url}})
}

fn delete(url: &str) -> Value {
    json!({"request": {"method": "DELETE", "url": url}})
}

fn write(method: &str, url: &str, resource: &str) -> Value {
    json!({"resource": naive::read(resource.as_bytes()).unwrap(), "request": {"method": method, "url": url}})
}

fn named(name: &str, mut entry: Value) -> Value {
    entry["fullUrl"] = name.into();
    entry
}

fn stored(path: &str) -> UpstreamAnswer {
    match path.split_once('/') {
        Some((_, "O1")) => answer(200, versioned(&resource("O1")).as_bytes()),
        Some((_, "O2")) => answer(200, versioned(&resource("O2")).as_bytes()),
        _ => answer(404, b"{}"),
    }
}

/// An upstream that knows O1 and O2 and answers the transaction with `entries`.
fn upstream(entries: Value) -> impl FnMut(&UpstreamCall) -> UpstreamAnswer {
    move |call| match call.verb {
        Verb::Get => stored(&call.path),
        _ => answer(
            200,
            json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}).to_string().as_bytes(),
        ),
    }
}

fn go(world: &World, entries: &[Value], answers: Value) -> Ran {
    run(decide(world, None, entries).unwrap(), &mut upstream(answers))
}

fn refused(ran: &Ran, reason: Reason, what: &str) {
    assert_eq!(ran.refused(), Some(reason), "{what}");
    assert_eq!(ran.writes().count(), 0, "{what}");
}

fn mine() -> String {
    r#"{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/P1"}}"#.into()
}

fn ok(id: &str) -> Value {
    json!({"response": {"status": "201 Created", "location": format!("Observation/{id}/_history/1"), "etag": "W/\"1\""}})
}

#[test]
fn ba_03_20_one_refusal_refuses_the_whole() {
    let world = World::new(ALL);
    let create = || write("POST", "Observation", &mine());
    let foreign = mine().replace("P1", "P2");
    for (id, entry, reason) in [
        ("BA-03", get("Patient/P2"), Reason::OtherPatient),
        ("BA-03 search", get("Observation?patient=P2"), Reason::OtherPatient),
        ("BA-03 create", write("POST", "Observation", &foreign), Reason::WriteRefused),
        ("BA-20", write("PUT", "Observation/O2", &observation("O2", &subject("Patient/P1"))), Reason::NotFound),
        ("absent", write("PUT", "Observation/O9", &observation("O9", &subject("Patient/P1"))), Reason::NotFound),
        ("foreign delete", delete("Observation/O2"), Reason::NotFound),
        ("absent delete", delete("Observation/O9"), Reason::NotFound),
        ("foreign read", get("Observation/O2"), Reason::NotFound),
        ("absent read", get("Observation/O9"), Reason::NotFound),
        ("foreign version", get("Observation/O2/_history/1"), Reason::NotSupported),
        (
            "no scope",
            write("POST", "Immunization", r#"{"resourceType":"Immunization","patient":{"reference":"Patient/P1"}}"#),
            Reason::ScopeInsufficient,
        ),
        ("history", get("Observation/O1/_history"), Reason::NotSupported),
        ("everything", get("Patient/P1/$everything"), Reason::NotSupported),
    ] {
        for entries in [[create(), entry.clone()], [entry.clone(), create()]] {
            refused(&go(&world, &entries, json!([])), reason, id);
        }
    }
    // Foreign and absent are the same bytes.
    let bytes = |url: &str| go(&world, &[create(), get(url)], json!([])).released().into_body();
    assert_eq!(bytes("Observation/O2"), bytes("Observation/O9"));
}

#[test]
fn bundles_that_cannot_be_read_as_one() {
    let world = World::new(ALL);
    let create = |name: &str| named(name, write("POST", "Observation", &mine()));
    let mut with = write("POST", "Observation", &mine());
    for (id, entries) in [
        ("BA-07", vec![create("urn:uuid:1"), create("urn:uuid:1")]),
        ("BA-09", vec![write("POST", "Condition", &mine())]),
        ("BA-16", vec![write("POST", "Bundle", r#"{"resourceType":"Bundle","type":"batch"}"#)]),
        ("BA-16", vec![write("POST", "Parameters", r#"{"resourceType":"Parameters"}"#)]),
        (
            "BA-11",
            vec![{
                with["request"]["ifNoneExist"] = "identifier=1".into();
                with.clone()
            }],
        ),
        (
            "BA-11",
            vec![
                json!({"resource": {"resourceType": "Observation", "id": "O1"}, "request": {"method": "PUT", "url": "Observation/O1", "ifNoneMatch": "*"}}),
            ],
        ),
        ("conditional", vec![write("PUT", "Observation?identifier=1", &mine())]),
        ("conditional", vec![delete("Observation?patient=P1")]),
        ("itself", vec![write("POST", "/", r#"{"resourceType":"Observation"}"#)]),
        ("metadata", vec![get("metadata")]),
        ("no request", vec![json!({"resource": {"resourceType": "Observation"}})]),
        ("method", vec![json!({"request": {"method": "post", "url": "Observation"}})]),
        ("id", vec![write("PUT", "Observation/O1", &observation("O2", &subject("Patient/P1")))]),
        ("absolute", vec![get("https://ehr/r4/Patient/P2")]),
        ("body of a read", vec![write("GET", "Observation/O1", &mine())]),
        ("BA-19", (0..201).map(|_| get("Observation/O1")).collect()),
    ] {
        assert!(decide(&world, None, &entries).is_err(), "{id}");
    }
    refused(&go(&world, &[], json!([])), Reason::RequestInvalid, "empty");
    let put = || write("PUT", "Observation/O1", &observation("O1", &subject("Patient/P1")));
    refused(&go(&world, &[put(), delete("Observation/O1")], json!([])), Reason::RequestInvalid, "twice");
}

#[test]
fn ba_04_entries_refer_to_what_others_create() {
    let world = World::new(ALL);
    let encounter = r#"{"resourceType":"Encounter","id":"x","status":"planned","subject":{"reference":"Patient/P1"}}"#;
    let observation = r#"{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/P1"},"encounter":{"reference":"urn:uuid:e"},"valueQuantity":{"value":1.10}}"#;
    let entries = [
        named("urn:uuid:e", write("POST", "Encounter", encounter)),
        named("urn:uuid:o", write("POST", "Observation", observation)),
    ];
    let answers = json!([
        {"resource": {"resourceType": "Encounter", "id": "new", "subject": {"reference": "Patient/P1"}}, "response": {"status": "201", "location": "Encounter/new/_history/1"}},
        {"resource": {"resourceType": "Observation", "id": "O7", "subject": {"reference": "Patient/P1"}, "encounter": {"reference": "Encounter/new", "display": "Hidden"}},
         "response": {"status": "201 Created", "location": "https://ehr/r4/Observation/O7/_history/1", "outcome": {"resourceType": "OperationOutcome", "issue": [{"diagnostics": "Patient/P2"}]}}},
    ]);
    let ran = go(&world, &entries, answers);
    let sent: Value = serde_json::from_str(&sent_body(&ran)).unwrap();
    assert_eq!(sent["entry"][0]["fullUrl"], "urn:uuid:e");
    assert_eq!(sent["entry"][0]["resource"]["id"], Value::Null);
    assert_eq!(sent["entry"][1]["resource"]["encounter"]["reference"], "urn:uuid:e");
    assert_eq!(sent["entry"][1]["request"], json!({"method": "POST", "url": "Observation"}));
    let released = ran.released();
    let body = json(&released);
    assert_eq!(body["entry"][0]["response"]["location"], "https://pep/fhir/Encounter/new/_history/1");
    assert_eq!(body["entry"][1]["resource"]["encounter"], json!({"reference": "Encounter/new"}));
    assert!(!body.to_string().contains("P2"), "BA-18: {body}");
    let unproved = json!([{"response": {"status": "201", "location": "Encounter/E2/_history/1"}}, {"response": {"status": "201"}}]);
    let body = json(&go(&world, &entries, unproved).released());
    assert_eq!(body["entry"][0]["response"].get("location"), None, "by its word alone: {body}");
    // A name nobody bears, one that is no urn, and a Patient's place for something else.
    for (name, reference) in [
        ("urn:uuid:e", "urn:uuid:f"),
        ("https://ehr/r4/Encounter/E2", "https://ehr/r4/Encounter/E2"),
        ("Encounter/E2", "Encounter/E2"),
        ("urn:uuid:e", "URN:UUID:E"),
    ] {
        let entries = [
            named(name, write("POST", "Encounter", encounter)),
            write("POST", "Observation", &observation.replace("urn:uuid:e", reference)),
        ];
        refused(&go(&world, &entries, json!([])), Reason::WriteRefused, reference);
    }
    let entries = [
        named("urn:uuid:e", write("POST", "Encounter", encounter)),
        write("POST", "Observation", &mine().replace("Patient/P1", "urn:uuid:e")),
    ];
    refused(&go(&world, &entries, json!([])), Reason::WriteRefused, "an Encounter is no subject");
}

#[test]
fn searches_keep_their_own_parameters_whatever_the_slices() {
    let scopes = "patient/Observation.cruds?category=vital-signs patient/Observation.rs?code=1234-5";
    let entries = [
        get("Observation?status=final&date=ge2020&_elements=status&patient=P1"),
        write("POST", "Observation", &(mine().replace('}', "") + &format!("}}{}}}", category("vital-signs")))),
    ];
    let world = World::new(scopes);
    let one = naive::read(observation("O1", &(subject("Patient/P1") + &category("vital-signs"))).as_bytes()).unwrap();
    let lab = naive::read(observation("O1L", &(subject("Patient/P1") + &category("laboratory"))).as_bytes()).unwrap();
    let answers = json!([
        {"resource": {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": "https://ehr/r4?_p=2"}], "total": 9, "entry": [{"resource": one.clone()}, {"resource": lab}]}, "response": {"status": "200 OK"}},
        ok("O7"),
    ]);
    let ran = go(&world, &entries, answers);
    let sent: Value = serde_json::from_str(&sent_body(&ran)).unwrap();
    let url = sent["entry"][0]["request"]["url"].as_str().unwrap().to_owned();
    assert!(
        url.starts_with("Observation?")
            && url.contains("status=final")
            && url.contains("date=ge2020")
            && url.contains("patient="),
        "{url}"
    );
    assert!(!url.contains("_elements") && !url.contains("category"), "{url}");
    let body = json(&ran.released());
    let found: Vec<&Value> = body["entry"][0]["resource"]["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["resource"]["id"])
        .filter(|id| id.is_string())
        .collect();
    assert_eq!(found, ["O1"], "{body}");
    assert!(!body.to_string().contains("_p=2"));
    let next = |body: &Value| body["entry"][0]["resource"]["link"].to_string().contains(r#""next""#);
    assert!(!next(&body), "a short page that leads on would tell why it is short");
    let whole = json!([
        {"resource": {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": "https://ehr/r4?_p=2"}], "entry": [{"resource": one}]}, "response": {"status": "200 OK"}},
        ok("O7"),
    ]);
    let body = json(&go(&world, &entries, whole).released());
    assert!(next(&body) && !body.to_string().contains("_p=2"), "{body}");
}

#[test]
fn ba_17_answers_that_do_not_fit_are_unknown() {
    let world = World::new(ALL);
    let entries = [
        write("POST", "Observation", &mine()),
        write("PUT", "Observation/O1", &observation("O1", &subject("Patient/P1"))),
    ];
    let put = json!({"resource": {"resourceType": "Observation", "id": "O1", "subject": {"reference": "Patient/P1"}}, "response": {"status": "200 OK"}});
    for (id, answers) in [
        ("short", json!([ok("O7")])),
        ("long", json!([ok("O7"), put, put])),
        ("no status", json!([ok("O7"), {}])),
        ("failed", json!([ok("O7"), {"response": {"status": "412 Precondition Failed"}}])),
        ("odd status", json!([ok("O7"), {"response": {"status": "2000"}}])),
        ("odd status", json!([ok("O7"), {"response": {"status": "20"}}])),
        ("not a list", json!({"response": {}})),
    ] {
        let ran = go(&world, &entries, answers);
        assert_eq!(ran.refused(), Some(Reason::OutcomeUnknown), "{id}");
        assert_eq!(ran.released().status(), 500, "{id}");
    }
    // Reordered: an entry is told by its own request and by what it holds.
    let body = json(&go(&world, &entries, json!([put, ok("O7")])).released());
    assert!(body["entry"][1]["resource"].is_null(), "{body}");
    // WR-38 within a transaction.
    let other = json!({"resource": naive::read(resource("O2").as_bytes()).unwrap(), "response": {"status": "201"}});
    let released = go(&world, &entries, json!([other, put])).released();
    assert!(!String::from_utf8_lossy(released.body()).contains("P2"));
    assert_eq!(released.findings().len(), 1);
    for (status, expected) in [
        (409, 412),
        (412, 412),
        (422, 422),
        (400, 422),
        (500, 500),
        (503, 500),
        (504, 500),
        (202, 500),
        (404, 404),
        (401, 502),
    ] {
        let ran = run(decide(&world, None, &entries).unwrap(), &mut |call| match call.verb {
            Verb::Get => stored(&call.path),
            _ => answer(status, br#"{"resourceType":"OperationOutcome","issue":[{"diagnostics":"Patient/P2"}]}"#),
        });
        let released = ran.released();
        assert_eq!(released.status(), expected, "{status}");
        assert!(!String::from_utf8_lossy(released.body()).contains("P2"));
    }
}

#[test]
fn prefer_counts_for_every_entry() {
    let world = World::new(ALL);
    let entries = [write("POST", "Observation", &mine())];
    let answers = json!([{"resource": {"resourceType": "Observation", "id": "O7", "subject": {"reference": "Patient/P1"}, "status": "final"}, "response": {"status": "201"}}]);
    for (prefer, shows) in [
        (None, true),
        (Some("return=minimal"), false),
        (Some("return=OperationOutcome"), false),
        (Some("return=representation"), true),
    ] {
        let body = json(&run(decide(&world, prefer, &entries).unwrap(), &mut upstream(answers.clone())).released());
        assert_eq!(body["entry"][0]["resource"].is_object(), shows, "{prefer:?} {body}");
    }
}

#[test]
fn updates_and_deletes_carry_the_versions_that_were_judged() {
    let world = World::new(KW);
    let mut put = write("PUT", "Observation/O1", &observation("O1", &subject("Patient/P1")));
    put["request"]["ifMatch"] = "W/\"7\"".into();
    let answers = json!([{"response": {"status": "200"}}]);
    let ran = go(&world, &[put.clone()], answers.clone());
    let sent: Value = serde_json::from_str(&sent_body(&ran)).unwrap();
    assert_eq!(sent["entry"][0]["request"], json!({"method": "PUT", "url": "Observation/O1", "ifMatch": "W/\"7\""}));
    put["request"]["ifMatch"] = "W/\"6\"".into();
    refused(&go(&world, &[put], answers.clone()), Reason::VersionConflict, "BA-11");
    let patch = json!({"resource": {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": "W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9zdGF0dXMiLCJ2YWx1ZSI6ImFtZW5kZWQifV0="}, "request": {"method": "PATCH", "url": "Observation/O1"}});
    let ran = go(&world, &[patch], answers.clone());
    let sent: Value = serde_json::from_str(&sent_body(&ran)).unwrap();
    assert_eq!(
        (&sent["entry"][0]["request"]["method"], &sent["entry"][0]["resource"]["status"]),
        (&json!("PUT"), &json!("amended"))
    );
    let ran = go(&world, &[delete("Observation/O1")], answers);
    assert!(
        matches!(&ran.writes().next().unwrap().body, Some(UpstreamBody::Resource(body)) if body.contains(r#""method":"DELETE","url":"Observation/O1","ifMatch":"W/\"7\"""#))
    );
}
