//! Transactions are done as a whole, batches entry by entry, and both can be answered falsely.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use common::{get, post, send, small, start, with};
use demo_ehr::{Fault, Running};
use serde_json::{Value, json};

fn bundle(kind: &str, entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": kind, "entry": entries})
}

fn entry(method: &str, url: &str, resource: Value) -> Value {
    json!({"request": {"method": method, "url": url}, "resource": resource})
}

fn request(method: &str, url: &str) -> Value {
    json!({"request": {"method": method, "url": url}})
}

fn observation(id: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "amended", "subject": {"reference": "Patient/P1"}})
}

/// A read, an update, a create with a temporary name that another refers to, and a delete.
fn mixed() -> Vec<Value> {
    let mut encounter = entry("POST", "Encounter", json!({"resourceType": "Encounter", "status": "planned"}));
    encounter["fullUrl"] = json!("urn:uuid:e");
    let mut binary =
        entry("POST", "Binary", json!({"resourceType": "Binary", "contentType": "text/plain", "data": "Zm9v"}));
    binary["fullUrl"] = json!("urn:uuid:b");
    let document = json!({"resourceType": "DocumentReference", "status": "current", "subject": {"reference": "Patient/P1"},
        "context": {"encounter": [{"reference": "urn:uuid:e"}]}, "content": [{"attachment": {"url": "urn:uuid:b", "title": "urn:uuid:b"}}]});
    vec![
        request("GET", "Observation?_id=O1,O2"),
        entry("PUT", "Observation/O1", observation("O1")),
        entry("POST", "DocumentReference", document),
        encounter,
        binary,
        request("DELETE", "Observation/O2"),
    ]
}

async fn statuses(ehr: &Running, kind: &str, entries: &[Value]) -> Vec<String> {
    let answer = post(ehr, "", &bundle(kind, entries)).await.json();
    let entries = answer["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["response"]["status"].as_str().unwrap_or("?").to_owned()).collect()
}

#[tokio::test]
async fn a_transaction_is_done_in_its_own_order_and_answered_in_that_of_its_entries() {
    let ehr = start(small()).await;
    let answer = post(&ehr, "", &bundle("transaction", &mixed())).await;
    let told = answer.json();
    assert_eq!((answer.status, told["type"].as_str()), (200, Some("transaction-response")));
    let of = |index: usize, key: &str| told["entry"][index]["response"][key].as_str().unwrap_or("-").to_owned();
    let lines: Vec<String> = (0..6).map(|index| format!("{} {}", of(index, "status"), of(index, "etag"))).collect();
    assert_eq!(
        lines,
        [
            "200 OK -",
            "200 OK W/\"2\"",
            "201 Created W/\"1\"",
            "201 Created W/\"1\"",
            "201 Created W/\"1\"",
            "200 OK W/\"2\""
        ]
    );
    assert!(of(2, "location").starts_with("DocumentReference/") && of(2, "location").ends_with("/_history/1"));
    assert_eq!((of(5, "location").as_str(), of(0, "location").as_str()), ("-", "-"));
    let found = &told["entry"][0]["resource"];
    assert_eq!((found["type"].as_str(), found["total"].as_u64()), (Some("searchset"), Some(1)), "after the delete");
    assert_eq!(found["entry"][0]["resource"]["status"], "amended", "after the update");
    let (document, encounter) = (&told["entry"][2]["resource"], &told["entry"][3]["resource"]);
    let (e, b) = (encounter["id"].as_str().unwrap(), told["entry"][4]["resource"]["id"].as_str().unwrap());
    assert_eq!(document["context"]["encounter"][0]["reference"], format!("Encounter/{e}"));
    assert_eq!(document["content"][0]["attachment"]["url"], format!("Binary/{b}"));
    assert_eq!(document["content"][0]["attachment"]["title"], "urn:uuid:b");
    assert_eq!(get(&ehr, &format!("Encounter/{e}")).await.json(), *encounter);
    assert_eq!(get(&ehr, "Observation/O2").await.status, 410);
    let minimal = [("prefer", "return=minimal")];
    let told = with(
        "POST",
        &ehr,
        "",
        &minimal,
        &bundle("transaction", &[entry("PUT", "Observation/O1", observation("O1")), request("GET", "Patient/P1")]),
    )
    .await
    .json();
    assert!(told["entry"][0]["resource"].is_null() && told["entry"][1]["resource"]["id"] == "P1");
}

#[tokio::test]
async fn a_transaction_that_fails_leaves_nothing() {
    let ehr = start(small()).await;
    let before = get(&ehr, "Observation?_count=50").await.json()["entry"].clone();
    let stale = json!({"request": {"method": "PUT", "url": "Observation/O1L", "ifMatch": "W/\"7\""}, "resource": observation("O1L")});
    let conditional = json!({"request": {"method": "POST", "url": "Observation", "ifNoneExist": "_id=O1"}, "resource": observation("x")});
    for (spoiler, status) in [
        (stale, 412),
        (conditional, 412),
        (entry("PUT", "Observation/OMV", observation("other")), 400),
        (entry("PUT", "Observation/O1", observation("O1")), 400),
        (entry("PUT", "Observation?_id=O1", observation("O1")), 412),
        (request("PUT", "Observation/OMV"), 400),
        (request("DELETE", "Observation/none"), 404),
        (request("GET", "Observation/none"), 404),
        (request("PATCH", "Observation/OMV"), 405),
        (request("POST", "Nonsense"), 404),
        (json!({"resource": observation("O1")}), 400),
    ] {
        let mut entries = mixed();
        entries.push(spoiler.clone());
        let answer = post(&ehr, "", &bundle("transaction", &entries)).await;
        assert_eq!(
            (answer.status, answer.json()["resourceType"].as_str()),
            (status, Some("OperationOutcome")),
            "{spoiler}"
        );
        assert_eq!(get(&ehr, "Observation?_count=50").await.json()["entry"], before, "{spoiler}");
        assert_eq!(get(&ehr, "Encounter").await.json()["total"], 0, "{spoiler}");
    }
    for body in ["", "{", "{}", r#"{"resourceType":"Bundle","type":"collection"}"#] {
        assert_eq!(send("POST", &ehr.base_url, &[], body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn entries_of_a_batch_stand_for_themselves() {
    let ehr = start(small()).await;
    let entries = [
        request("GET", "Observation/none"),
        entry("PUT", "Observation/O1", observation("O1")),
        entry("PUT", "Observation/OMV", observation("other")),
        request("DELETE", "Observation/O2"),
        request("GET", &format!("{}/Patient/P1", ehr.base_url)),
        request("GET", "Observation/O1/_history"),
    ];
    assert_eq!(
        statuses(&ehr, "batch", &entries).await,
        ["404 Not Found", "200 OK", "400 Bad Request", "200 OK", "200 OK", "200 OK"]
    );
    let told = post(&ehr, "", &bundle("batch", &entries)).await.json();
    assert_eq!(told["type"], "batch-response");
    assert!(told["entry"][0]["response"]["outcome"]["issue"][0]["diagnostics"].as_str().unwrap().contains("Patient/P"));
    assert_eq!(told["entry"][5]["resource"]["type"], "history");
    assert_eq!(ehr.requests.writes().len(), 2);
}

#[tokio::test]
async fn answers_to_transactions_can_lie() {
    let entries = [
        entry("PUT", "Observation/O1", observation("O1")),
        entry("PUT", "Observation/O1L", observation("O1L")),
        request("GET", "Patient/P1"),
    ];
    let under = async |fault: Fault| {
        let ehr = start(small()).await;
        ehr.faults.on(fault);
        let answer = post(&ehr, "", &bundle("transaction", &entries)).await;
        assert_eq!(ehr.versions("Observation", "O1").len(), 2, "the writes are done");
        answer
    };
    assert_eq!(under(Fault::ResponseShort(2)).await.entries(), ["Observation/O1"]);
    assert_eq!(under(Fault::ResponseReversed).await.entries(), ["Patient/P1", "Observation/O1L", "Observation/O1"]);
    assert_eq!(
        under(Fault::WriteAnswersOther("Observation/O2".into())).await.entries(),
        ["Observation/O2", "Observation/O2", "Patient/P1"]
    );
    assert_eq!(under(Fault::OtherResource("Patient/P2".into())).await.entries().last().unwrap(), "Patient/P2");
    let told = under(Fault::WriteLocation("Patient/P2".into())).await.json();
    assert_eq!(told["entry"][0]["response"]["location"], "Patient/P2/_history/2");
    let told = under(Fault::ResponseOutcome("see Patient/P2".into())).await.json();
    assert_eq!(told["entry"][2]["response"]["outcome"]["issue"][0]["diagnostics"], "see Patient/P2");
    assert!(!told["entry"][2]["resource"].is_null());
    let told = under(Fault::WriteOutcome("see Patient/P2".into())).await.json();
    assert!(told["entry"][0]["resource"].is_null() && told["entry"][0]["response"]["outcome"].is_object());
    let told = under(Fault::ForeignSubject("Patient/P2".into())).await.json();
    assert_eq!(told["entry"][1]["resource"]["subject"]["reference"], "Patient/P2");
    let told = under(Fault::BundleType("batch-response".into())).await.json();
    assert_eq!(told["type"], "batch-response");
}

#[tokio::test]
async fn faults_of_writes_meet_transactions_too() {
    let ehr = start(small()).await;
    let stale = json!({"request": {"method": "PUT", "url": "Observation/O1", "ifMatch": "W/\"7\""}, "resource": observation("O1")});
    ehr.faults.only(Fault::IgnoreIfMatch);
    assert_eq!(statuses(&ehr, "transaction", &[stale]).await, ["200 OK"]);
    ehr.faults.only(Fault::RewriteSubject("Patient/P2".into()));
    statuses(&ehr, "transaction", &[entry("PUT", "Observation/O1", observation("O1"))]).await;
    assert_eq!(ehr.resource("Observation", "O1").unwrap()["subject"]["reference"], "Patient/P2");
    ehr.faults.only(Fault::WriteConflict);
    assert_eq!(post(&ehr, "", &bundle("transaction", &mixed())).await.status, 409);
    let found = bundle("batch", &[request("GET", "Observation?patient=P1")]);
    ehr.faults.only(Fault::ForeignMatch("Patient/P2".into()));
    ehr.faults.on(Fault::ForeignSubject("Patient/P2".into()));
    let told = post(&ehr, "", &found).await.json();
    let inner = told["entry"][0]["resource"]["entry"].as_array().unwrap();
    assert!(inner.iter().any(|entry| entry["resource"]["id"] == "P2"));
    assert_eq!(inner[0]["resource"]["subject"]["reference"], "Patient/P2");
}
