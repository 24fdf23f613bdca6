//! Batches and transactions through the whole server (b.13).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use demo_ehr::Fault;
use serde_json::{Value, json};
use support::{Gate, Reply};

const ALL: &str = "patient/Observation.cruds patient/Encounter.cruds patient/Patient.rs";

async fn send(gate: &Gate, token: &str, kind: &str, entries: &[Value]) -> Reply {
    let body = json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string();
    post(gate, token, "", &body).await
}

async fn post(gate: &Gate, token: &str, path: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    gate.send("POST", path, &[("authorization", &bearer), ("content-type", "application/fhir+json")], body).await
}

fn get(url: &str) -> Value {
    json!({"request": {"method": "GET", "url": url}})
}

fn observation(subject: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": subject}})
}

fn create(subject: &str) -> Value {
    json!({"resource": observation(subject), "request": {"method": "POST", "url": "Observation"}})
}

fn statuses(reply: &Reply) -> Vec<String> {
    let body = reply.json();
    let entries = body["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["response"]["status"].as_str().unwrap_or("?").to_owned()).collect()
}

fn says_nothing(reply: &Reply, what: &str) {
    for word in ["P2", "Zwei", "mrn-p2", "127.0.0.1", "HAPI"] {
        assert!(!reply.text().contains(word), "{what}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_of_a_batch_is_judged_by_itself() {
    let gate = Gate::start().await;
    let token = gate.token("patient/Observation.cruds patient/Patient.rs").await;
    let entries = [
        get("Patient/P1"),
        get("Patient/P2"),
        get("Observation/O1"),
        get("Observation/O2"),
        get("Observation/none"),
        get("Observation?_count=2"),
        get("Observation?patient=P2"),
        get("Observation/_history"),
        get("Patient/P1/$everything"),
        get("Condition/C1"),
        get("metadata"),
        get("Observation?_has:X=1"),
        create("Patient/P1"),
        create("Patient/P2"),
        json!({"request": {"method": "DELETE", "url": "Observation/O2"}}),
        json!({"request": {"method": "DELETE", "url": "Observation/O1L"}}),
        json!({"request": {"method": "POST", "url": "Observation", "ifNoneExist": "x=1"}, "resource": observation("Patient/P1")}),
        json!({"request": {"method": "POST", "url": "Condition"}, "resource": observation("Patient/P1")}),
        get("https://elsewhere/Patient/P1"),
    ];
    let reply = send(&gate, &token, "batch", &entries).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["type"], "batch-response");
    let expected = [
        "200", "403", "200", "404", "404", "200", "403", "403", "403", "403", "400", "400", "201", "403", "404", "204",
        "403", "400", "400",
    ];
    assert_eq!(statuses(&reply), expected, "BA-12 {}", reply.text());
    assert_eq!(body["entry"][3], body["entry"][4], "foreign and absent are one");
    let writes: Vec<String> =
        gate.upstream.requests.writes().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert!(writes[1].contains("DELETE") && writes[1].ends_with("Observation/O1L"));
    // The page link works within a batch and alone.
    let bundle = &body["entry"][5]["resource"];
    let next = bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next").unwrap()["url"]
        .as_str()
        .unwrap();
    let next = next.strip_prefix("http://gate.test/mercy/fhir/").unwrap().to_owned();
    let reply = send(&gate, &token, "batch", &[get(&next)]).await;
    assert_eq!(statuses(&reply), ["200"], "{}", reply.text());
    let stranger = gate.token("patient/Observation.rs").await;
    assert_ne!(statuses(&send(&gate, &stranger, "batch", &[get(&next)]).await), ["200"], "another session's page");
    // Each entry has records of its own.
    assert!(gate.codes().await.len() >= expected.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_that_are_none() {
    let gate = Gate::start().await;
    let token = gate.token(ALL).await;
    let bundle =
        |kind: &str, entries: Value| json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string();
    let many: Vec<Value> = (0..10_000).map(|_| get("Observation/O1")).collect();
    for (id, path, body, status) in [
        ("BA-19", "", bundle("batch", json!(many)), 413),
        (
            "BA-16",
            "",
            bundle(
                "batch",
                json!([{"resource": {"resourceType": "Bundle", "type": "batch"}, "request": {"method": "POST", "url": ""}}]),
            ),
            400,
        ),
        ("document", "", bundle("document", json!([])), 400),
        ("history", "", bundle("history", json!([get("Observation/O1")])), 400),
        ("empty", "", bundle("batch", json!([])), 400),
        ("empty", "", bundle("transaction", json!([])), 400),
        ("none", "", r#"{"resourceType":"Bundle","type":"batch"}"#.to_owned(), 400),
        ("dup", "", r#"{"resourceType":"Bundle","type":"batch","type":"transaction","entry":[]}"#.to_owned(), 400),
        ("BA-21", "?_format=json", bundle("batch", json!([get("Observation/O1")])), 200),
        ("BA-21", "/", bundle("batch", json!([get("Observation/O1")])), 400),
        ("Bundle as a resource", "Bundle", bundle("batch", json!([get("Observation/O1")])), 403),
    ] {
        let reply = post(&gate, &token, path, &body).await;
        assert_eq!(reply.status, status, "{id} `{path}`: {}", reply.text());
        assert!(gate.upstream.requests.writes().is_empty(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ba_03_20_a_refused_transaction_changes_nothing() {
    let gate = Gate::start().await;
    let token = gate.token(ALL).await;
    let put = |id: &str| {
        let mut resource = observation("Patient/P1");
        resource["id"] = id.into();
        json!({"resource": resource, "request": {"method": "PUT", "url": format!("Observation/{id}")}})
    };
    for (id, entry, status) in [
        ("BA-03", get("Patient/P2"), 403),
        ("WR-03", create("Patient/P2"), 403),
        ("BA-20", put("O2"), 404),
        ("absent", put("none"), 404),
        ("foreign read", get("Observation/O2"), 404),
        ("absent read", get("Observation/none"), 404),
        ("no scope", get("Condition/C1"), 403),
        ("conditional", json!({"request": {"method": "DELETE", "url": "Observation?patient=P1"}}), 403),
        (
            "BA-09",
            json!({"request": {"method": "POST", "url": "Condition"}, "resource": observation("Patient/P1")}),
            400,
        ),
    ] {
        let reply = send(&gate, &token, "transaction", &[create("Patient/P1"), entry]).await;
        assert_eq!(reply.status, status, "{id}: {}", reply.text());
        assert_eq!(reply.json()["resourceType"], "OperationOutcome");
        assert!(gate.upstream.requests.writes().is_empty(), "{id}");
    }
    let bytes = async |entry: Value| send(&gate, &token, "transaction", &[create("Patient/P1"), entry]).await.body;
    assert_eq!(bytes(get("Observation/O2")).await, bytes(get("Observation/none")).await);
}

fn linked() -> [Value; 4] {
    let encounter = json!({"resourceType": "Encounter", "status": "planned", "class": {"code": "AMB"}, "subject": {"reference": "Patient/P1"}});
    let mut of = observation("Patient/P1");
    of["encounter"] = json!({"reference": "urn:uuid:e"});
    [
        json!({"fullUrl": "urn:uuid:e", "resource": encounter, "request": {"method": "POST", "url": "Encounter"}}),
        json!({"fullUrl": "urn:uuid:o", "resource": of, "request": {"method": "POST", "url": "Observation"}}),
        get("Observation/O1"),
        get("Observation?code=8867-4"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ba_04_a_transaction_is_one_call_and_two_records() {
    let gate = Gate::start().await;
    let token = gate.token(ALL).await;
    let reply = send(&gate, &token, "transaction", &linked()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(statuses(&reply), ["201", "201", "200", "200"], "{}", reply.text());
    let body = reply.json();
    let encounter = body["entry"][0]["resource"]["id"].as_str().unwrap();
    assert_eq!(body["entry"][1]["resource"]["encounter"]["reference"], format!("Encounter/{encounter}"));
    assert!(
        body["entry"][0]["response"]["location"]
            .as_str()
            .unwrap()
            .starts_with("http://gate.test/mercy/fhir/Encounter/")
    );
    says_nothing(&reply, "BA-04");
    let writes = gate.upstream.requests.writes();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].json().unwrap()["entry"][3]["request"]["url"].as_str().unwrap().contains("patient="));
    let filter = server::audit::Filter { tenant: Some("mercy".into()), limit: 100, ..Default::default() };
    let found = gate.server.parts.audit.search(filter, server::audit::PhiAccess::Sealed).await.unwrap();
    let phases: Vec<String> =
        found.records.iter().rev().filter(|r| r.kind == "fhir.transaction").map(|r| r.phase.to_string()).collect();
    assert_eq!(phases, ["intent", "outcome"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_lies_about_a_transaction_shows_nothing_of_others() {
    let gate = Gate::start().await;
    let token = gate.token(ALL).await;
    let entries = [
        create("Patient/P1"),
        json!({"resource": linked()[0]["resource"], "request": {"method": "POST", "url": "Encounter"}}),
    ];
    for (id, fault, status) in [
        ("BA-17 short", Fault::ResponseShort(1), 500),
        ("BA-17 reversed", Fault::ResponseReversed, 200),
        ("BA-18 outcome", Fault::ResponseOutcome("Patient/P2 Zwei mrn-p2".into()), 200),
        ("BA-18 location", Fault::WriteLocation("Patient/P2".into()), 200),
        ("other", Fault::WriteAnswersOther("Observation/O2".into()), 200),
        ("rewritten", Fault::RewriteSubject("Patient/P2".into()), 200),
        ("outcome", Fault::WriteOutcome("Patient/P2 mrn-p2".into()), 200),
        ("conflict", Fault::WriteConflict, 412),
        ("cut", Fault::CutBeforeAnswer, 500),
        ("cut off", Fault::CutOff, 500),
        ("accepted", Fault::Accepted("Patient/P2".into()), 500),
        ("type", Fault::BundleType("searchset".into()), 500),
        ("trace", Fault::StackTrace("Patient/P2 mrn-p2".into()), 500),
        ("json", Fault::MalformedJson, 500),
        ("html", Fault::Html, 500),
        ("outcome 200", Fault::OutcomeWith200, 500),
        ("big", Fault::Oversized { bytes: 8 * 1024 * 1024, announced: false }, 500),
    ] {
        gate.upstream.faults.only(fault);
        let reply = send(&gate, &token, "transaction", &entries).await;
        assert_eq!(reply.status, status, "{id}: {}", reply.text());
        says_nothing(&reply, id);
        if id == "BA-17 reversed" {
            let body = reply.json();
            assert!(body["entry"][0]["resource"].is_null() && body["entry"][1]["resource"].is_null(), "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_entries_of_a_batch_count_against_the_budget() {
    let gate = Gate::start().await;
    let token = gate.token(ALL).await;
    let entries: Vec<Value> = (0..support::ABSENT_BUDGET + 3).map(|n| get(&format!("Observation/none{n}"))).collect();
    let found = statuses(&send(&gate, &token, "batch", &entries).await);
    assert_eq!(found.iter().filter(|status| *status == "404").count(), support::ABSENT_BUDGET as usize);
    assert!(found.ends_with(&["429".to_owned(), "429".to_owned(), "429".to_owned()]), "{found:?}");
}
