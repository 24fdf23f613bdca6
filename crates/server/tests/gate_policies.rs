//! An organisation's own policies at the gate: they narrow, at once, and every record names them (S2-02, S2-10, S2-12).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use demo_ehr::{DemoEhr, Fault};
use serde_json::json;
use server::audit::{Filter, PhiAccess};
use store::{Change, PutPolicy};
use support::{Gate, fixture};

const GRANTED: &str = "@id(\"granted\") permit (principal, action, resource);\n";
const KALL: &str = "patient/*.rs";

/// Puts policies in force, as another process would.
async fn put(gate: &Gate, text: &str, expected: Option<u64>) {
    let put = PutPolicy { tenant: "mercy".parse().unwrap(), text: text.to_owned(), expected };
    let change = Change { policies: vec![put], ..Change::default() };
    let feed = gate.store().apply(&change, support::NOW).await.unwrap().unwrap();
    for _ in 0..50 {
        if gate.server.parts.registry.reached(feed).await {
            return;
        }
    }
    panic!("the registry does not reach {feed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_narrow_at_once_and_upstream_is_not_asked() {
    let gate = Gate::start().await;
    let token = gate.token(KALL).await;
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200, "the shipped ones permit what is granted");

    let no_observations = "@id(\"none\") forbid (principal, action, resource == Type::\"Observation\");";
    put(&gate, &format!("{GRANTED}{no_observations}"), None).await;
    for path in ["Observation/O1", "Observation?patient=P1", "Observation/O1/_history", "Observation/O1/_history/1"] {
        let reply = gate.get(&token, path).await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(!reply.text().contains("none") && reply.text().contains("policies of this organisation"), "{path}");
    }
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 200);
    let with = gate.get(&token, "Patient?_id=P1&_revinclude=Observation:subject").await;
    assert!(with.status != 200 || with.entries() == ["Patient/P1"], "{}: {}", with.status, with.text());

    let only_reading = "@id(\"no-search\") forbid (principal, action == Action::\"search\", resource);";
    put(&gate, &format!("{GRANTED}{only_reading}"), Some(1)).await;
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200, "what was decided before is decided again");
    assert_eq!(gate.get(&token, "Observation?patient=P1").await.status, 403);
    let body = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Observation?patient=P1"}},{"request":{"method":"GET","url":"Observation/O1"}}]}"#;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let batch = gate.send("POST", "", &headers, body).await.json();
    let status = |at: usize| batch["entry"][at]["response"]["status"].as_str().unwrap_or_default().to_owned();
    assert!(status(0).starts_with("403") && status(1).starts_with("200"), "{batch}");

    let filter = Filter { tenant: Some("mercy".into()), limit: 100, ..Filter::default() };
    let found = gate.server.parts.audit.search(filter, PhiAccess::Sealed).await.unwrap();
    assert_eq!(found.records.iter().filter(|record| record.reason == "policy").count(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_permits_nothing_or_is_broken_allows_nothing() {
    let gate = Gate::start().await;
    let token = gate.token(KALL).await;
    put(&gate, "", None).await;
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 403, "empty grants nothing");
    put(&gate, "@id(\"a\") permit (principal, action, resource) when { principal.gone };", Some(1)).await;
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 403, "written by another version, unreadable here");
    put(
        &gate,
        &format!(
            "{GRANTED}@id(\"far\") forbid (principal, action, resource) \
        unless {{ context.request.address.isInRange(ip(\"127.0.0.0/8\")) }};"
        ),
        Some(2),
    )
    .await;
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 200);
    put(
        &gate,
        &format!(
            "{GRANTED}@id(\"near\") forbid (principal, action, resource) \
        when {{ context.request.address.isInRange(ip(\"127.0.0.0/8\")) }};"
        ),
        Some(3),
    )
    .await;
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 403);
}

/// What the newest record of this kind says of the decision, by name.
async fn said(gate: &Gate, kind: &str, name: &str) -> Option<String> {
    let filter = Filter { tenant: Some("mercy".into()), limit: 100, ..Filter::default() };
    let found = gate.server.parts.audit.search(filter, PhiAccess::Open).await.unwrap();
    let record = found.records.iter().find(|record| record.kind == kind).unwrap();
    let pairs = serde_json::to_value(record).unwrap()["phi"]["attributes"].clone();
    let pair = pairs.as_array().unwrap().iter().find(|pair| pair[0] == name)?;
    Some(pair[1].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_reads_labels_holds_back_what_bears_them() {
    let mut all = fixture::resources();
    let low = json!({ "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "L" });
    all.push(json!({ "resourceType": "Observation", "id": "OLOW", "status": "final", "code": { "text": "score" },
        "meta": { "security": [low] }, "subject": { "reference": "Patient/P1" } }));
    let gate = Gate::start_with(|_| DemoEhr::from_resources(all), |_| {}).await;
    let token = gate.token("patient/Observation.rs").await;
    assert_eq!(gate.get(&token, "Observation/OLOW").await.status, 200, "no rule of the gate holds it back");
    assert_eq!(said(&gate, "fhir.read", "policy.ids").await.as_deref(), Some("hilum-granted"));

    let labels = "@id(\"low\") forbid (principal, action, resource) when { context.answer.labels.contains(\"L\") };";
    put(&gate, &format!("{GRANTED}{labels}"), None).await;
    let absent = gate.get(&token, "Observation/none").await;
    let held = gate.get(&token, "Observation/OLOW").await;
    assert_eq!((held.status, &held.body), (404, &absent.body), "as if it were not there");
    assert_eq!(said(&gate, "fhir.denied", "policy.withheld").await.as_deref(), Some("low"));
    let found = gate.get(&token, "Observation?_count=100").await;
    let entries = found.entries();
    assert_eq!(found.status, 200);
    assert!(entries.contains(&"Observation/O1".to_owned()) && !entries.contains(&"Observation/OLOW".to_owned()));
    assert_eq!(said(&gate, "fhir.search", "policy.withheld").await.as_deref(), Some("low"));
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200);
    assert_eq!(said(&gate, "fhir.read", "policy.withheld").await, None, "nothing was held back from this one");
    assert_eq!(said(&gate, "fhir.read", "policy.ids").await.as_deref(), Some("granted"));
}

/// What is refused anyway keeps its reason, so that its alert is not lost behind a policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_without_policies_keeps_its_reason() {
    let gate = Gate::start().await;
    let token = gate.token("patient/Patient.rs").await;
    let reasons = async |path: &str| (gate.get(&token, path).await.status, gate.codes().await.pop().unwrap());
    let before = reasons("Observation/O1").await;
    assert_eq!(before.0, 403);
    put(&gate, "", None).await;
    assert_eq!(reasons("Observation/O1").await, before);
    assert_eq!(reasons("Patient/P1").await, (403, "policy".to_owned()));
}

async fn write(
    gate: &Gate,
    token: &str,
    method: &str,
    path: &str,
    kind: &str,
    body: &serde_json::Value,
) -> support::Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json"), ("prefer", kind)];
    gate.send(method, path, &headers, &body.to_string()).await
}

fn observation() -> serde_json::Value {
    json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" },
        "subject": { "reference": "Patient/P1" } })
}

/// What a transaction may write does not come along with what it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_along_must_be_allowed_for_reading() {
    let gate = Gate::start().await;
    let token = gate.token("patient/Patient.rs patient/Observation.cruds").await;
    let both = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "resource": observation(), "request": { "method": "POST", "url": "Observation" } },
        { "request": { "method": "GET", "url": "Patient?_id=P1&_revinclude=Observation:subject" } } ] });
    let minimal = "return=minimal";
    let before = write(&gate, &token, "POST", "", minimal, &both).await;
    assert!(before.status == 200 && before.text().contains("\"O1\""), "{}", before.text());
    for (revision, unread) in [
        "forbid (principal, action in Action::\"reads\", resource == Type::\"Observation\");",
        "forbid (principal, action == Action::\"search\", resource == Type::\"Observation\");",
    ]
    .into_iter()
    .enumerate()
    {
        let expected = (revision > 0).then_some(revision as u64);
        put(&gate, &format!("{GRANTED}@id(\"unread\") {unread}"), expected).await;
        for prefer in [minimal, "return=representation"] {
            let after = write(&gate, &token, "POST", "", prefer, &both).await;
            assert!(!after.text().contains("\"O1\""), "{unread}: {}", after.text());
        }
    }
}

/// A change is no way to look at what may not be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_shows_nothing_that_may_not_be_read() {
    let gate = Gate::start().await;
    let token = gate.token("patient/Observation.cruds").await;
    let patch = json!({ "resourceType": "Parameters", "parameter": [{ "name": "operation", "part": [
        { "name": "type", "valueCode": "replace" }, { "name": "path", "valueString": "Observation.status" },
        { "name": "value", "valueCode": "amended" } ] }] });
    assert_eq!(write(&gate, &token, "PATCH", "Observation/O1", "return=minimal", &patch).await.status, 200);
    let unread = "@id(\"unread\") forbid (principal, action in Action::\"reads\", resource == Type::\"Observation\");";
    put(&gate, &format!("{GRANTED}{unread}"), None).await;
    let made = write(&gate, &token, "POST", "Observation", "return=minimal", &observation()).await;
    assert_eq!(made.status, 201, "what may only be written is written: {}", made.text());
    for (method, path, prefer, body) in [
        ("PATCH", "Observation/O1", "return=minimal", &patch),
        ("PATCH", "Observation/O1", "return=representation", &patch),
        ("POST", "Observation", "return=representation", &observation()),
    ] {
        let reply = write(&gate, &token, method, path, prefer, body).await;
        assert_eq!(reply.status, 403, "{method} {prefer}: {}", reply.text());
    }
    assert_eq!(said(&gate, "fhir.denied", "policy.ids").await.as_deref(), Some("unread"));
    assert_eq!(said(&gate, "fhir.denied", "policy.outcome").await.as_deref(), Some("deny"));
}

/// What was asked under other policies does not leave, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_come_meanwhile_count() {
    let gate = Gate::start_with(|ehr| ehr, |tenant| tenant.upstream.timeout = Duration::from_secs(60)).await;
    let token = gate.token("patient/Observation.cruds").await;
    gate.upstream.faults.only(Fault::SlowHeaders(Duration::from_secs(3)));
    let asked = gate.get(&token, "Observation/O1");
    let changed = async {
        while gate.upstream.requests.count() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        put(&gate, &format!("{GRANTED}// Another text.\n"), None).await;
    };
    let (reply, ()) = tokio::join!(asked, changed);
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(!reply.text().contains("\"O1\""), "{}", reply.text());
    gate.upstream.faults.clear();
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200, "asked again, it is judged by those in force");
}

/// S1-35: what policies do not permit is not offered either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_offers_what_policies_permit() {
    let gate = Gate::start().await;
    let token = gate.token_with_operations("patient/Patient.rs patient/Observation.cruds patient/Condition.rs").await;
    let offered = async || {
        let statement = gate.get(&token, "metadata").await.json();
        let resources = statement["rest"][0]["resource"].as_array().unwrap().clone();
        let codes = |resource: &serde_json::Value| {
            let all = resource["interaction"].as_array().unwrap().clone();
            all.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let types = resources.iter().map(|one| (one["type"].as_str().unwrap().to_owned(), codes(one)));
        (types.collect::<std::collections::BTreeMap<_, _>>(), statement.to_string())
    };
    let (before, text) = offered().await;
    assert_eq!(before["Observation"], "read vread history-instance search-type create update patch delete");
    assert!(text.contains("Condition:subject") && text.contains("Observation-lastn"), "{text}");
    let forbids = "@id(\"a\") forbid (principal, action, resource == Type::\"Condition\");\
        @id(\"b\") forbid (principal, action in Action::\"writes\", resource);\
        @id(\"c\") forbid (principal, action in [Action::\"lastn\", Action::\"history\"], resource);";
    put(&gate, &format!("{GRANTED}{forbids}"), None).await;
    let (after, text) = offered().await;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["Observation", "Patient"]);
    assert_eq!(after["Observation"], "read vread search-type");
    assert!(!text.contains("Condition:subject") && !text.contains("Observation-lastn"), "{text}");
    put(&gate, "", Some(1)).await;
    assert!(offered().await.0.is_empty());
}
