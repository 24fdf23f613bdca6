//! Creates, updates and deletes as HAPI answers them, and as a hostile upstream would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use std::time::Duration;

use common::{get, post, send, small, start, with};
use demo_ehr::Fault;
use serde_json::{Value, json};

fn observation(id: Option<&str>) -> Value {
    let mut made = json!({"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/P1"}});
    if let Some(id) = id {
        made["id"] = id.into();
    }
    made
}

#[tokio::test]
async fn a_create_answers_what_was_stored_and_where() {
    let ehr = start(small()).await;
    let sent = json!({"resourceType": "Observation", "id": "mine", "status": "final", "meta": {"versionId": "77", "profile": ["urn:p"]},
        "subject": {"reference": "Patient/P1"}});
    let answer = post(&ehr, "Observation", &sent).await;
    let stored = answer.json();
    let id = stored["id"].as_str().unwrap();
    let place = format!("{}/Observation/{id}/_history/1", ehr.base_url);
    assert_eq!(
        (answer.status, answer.header("location"), answer.header("etag")),
        (201, Some(place.as_str()), Some("W/\"1\""))
    );
    assert!(answer.header("last-modified").is_some() && id != "mine");
    assert_eq!(
        (stored["meta"]["versionId"].as_str(), stored["meta"]["profile"][0].as_str()),
        (Some("1"), Some("urn:p"))
    );
    assert_eq!(get(&ehr, &format!("Observation/{id}")).await.json(), stored);
    assert_eq!(ehr.resource("Observation", id), Some(stored));
    for (prefer, says) in
        [("return=minimal", ""), ("respond-async, return=OperationOutcome", "OperationOutcome"), ("x", "final")]
    {
        let answer = with("POST", &ehr, "Observation", &[("prefer", prefer)], &sent).await;
        assert!(answer.status == 201 && answer.header("location").is_some());
        assert!(answer.text().contains(says) && says.is_empty() == answer.text().is_empty(), "{prefer}");
    }
    let seen = ehr.requests.last().unwrap();
    assert_eq!((seen.header("prefer"), seen.json()), (Some("x"), Some(sent)));
    assert_eq!(ehr.requests.writes().len(), 4);
}

#[tokio::test]
async fn an_update_makes_the_next_version_when_if_match_fits() {
    let ehr = start(small()).await;
    for (tag, status) in [("W/\"2\"", 412), ("W/\"1\"", 200), ("W/\"1\"", 412), ("\"2\"", 200), ("*", 200)] {
        let answer = with("PUT", &ehr, "Observation/O1", &[("if-match", tag)], &observation(Some("O1"))).await;
        assert_eq!(answer.status, status, "{tag}");
        if status == 412 {
            assert!(answer.text().contains("Patient/P") && answer.header("etag").is_none());
        }
    }
    let answer = with("PUT", &ehr, "Observation/O1", &[], &observation(Some("O1"))).await;
    assert_eq!((answer.status, answer.header("etag"), answer.header("location")), (200, Some("W/\"5\""), None));
    assert_eq!(answer.json()["meta"]["versionId"], "5");
    assert_eq!(ehr.versions("Observation", "O1").len(), 5);

    let created = with("PUT", &ehr, "Observation/own-id", &[], &observation(Some("own-id"))).await;
    let place = format!("{}/Observation/own-id/_history/1", ehr.base_url);
    assert_eq!((created.status, created.header("location")), (201, Some(place.as_str())));
    let absent =
        with("PUT", &ehr, "Observation/absent", &[("if-match", "W/\"1\"")], &observation(Some("absent"))).await;
    assert_eq!(absent.status, 412);
    let back = with("PUT", &ehr, "Observation/ODEL", &[], &observation(Some("ODEL"))).await;
    assert_eq!((back.status, back.header("etag")), (201, Some("W/\"3\"")));
}

#[tokio::test]
async fn a_delete_is_a_version_that_nobody_reads() {
    let ehr = start(small()).await;
    let url = format!("{}/Observation/O1", ehr.base_url);
    assert_eq!(send("DELETE", &url, &[("if-match", "W/\"9\"")], "").await.status, 412);
    let answer = send("DELETE", &url, &[("if-match", "W/\"1\"")], "").await;
    assert_eq!((answer.status, answer.header("etag"), answer.header("location")), (200, Some("W/\"2\""), None));
    assert_eq!(answer.json()["resourceType"], "OperationOutcome");
    assert_eq!(get(&ehr, "Observation/O1").await.status, 410);
    let again = send("DELETE", &url, &[("prefer", "return=minimal")], "").await;
    assert_eq!((again.status, again.text().as_str(), ehr.versions("Observation", "O1").len()), (204, "", 2));
    assert!(ehr.resource("Observation", "O1").is_none());
}

#[tokio::test]
async fn what_is_no_resource_is_refused_with_too_many_words() {
    let ehr = start(small()).await;
    let json_kind = ("content-type", "application/fhir+json");
    for (method, path, headers, body, status) in [
        ("POST", "Observation", json_kind, "{\"resourceType\":", 400),
        ("POST", "Observation", json_kind, "[]", 400),
        ("POST", "Observation", json_kind, "{}", 400),
        ("POST", "Observation", json_kind, r#"{"resourceType":"Patient"}"#, 400),
        ("POST", "Observation", json_kind, r#"{"resourceType":"Observation","meta":7}"#, 422),
        ("POST", "Observation", json_kind, r#"{"resourceType":"Observation","status":null}"#, 422),
        ("PUT", "Observation/O1", json_kind, r#"{"resourceType":"Observation"}"#, 400),
        ("PUT", "Observation/O1", json_kind, r#"{"resourceType":"Observation","id":"O2"}"#, 400),
        ("POST", "Observation", ("content-type", "application/fhir+xml"), "<Observation/>", 415),
        ("POST", "Observation", ("if-none-exist", "identifier=x"), r#"{"resourceType":"Observation"}"#, 412),
        ("POST", "Nonsense", json_kind, "{}", 404),
    ] {
        let answer = send(method, &format!("{}/{path}", ehr.base_url), &[headers], body).await;
        assert_eq!(
            (answer.status, answer.json()["resourceType"].as_str()),
            (status, Some("OperationOutcome")),
            "{body}"
        );
        assert!(status == 404 || status == 412 || status == 415 || answer.text().contains("Patient/P"), "{body}");
    }
    assert_eq!(get(&ehr, "Observation?_summary=count").await.json()["total"], 5, "nothing was written");
    let mut large = observation(None);
    large["note"] = json!([{"text": "x".repeat(8 * 1024 * 1024 - 300)}]);
    assert_eq!(post(&ehr, "Observation", &large).await.status, 201);
    large["note"] = json!([{"text": "x".repeat(8 * 1024 * 1024)}]);
    assert_eq!(post(&ehr, "Observation", &large).await.status, 413);
}

#[tokio::test]
async fn writes_can_do_something_else() {
    let ehr = start(small()).await;
    let stale = [("if-match", "W/\"9\"")];
    ehr.faults.only(Fault::IgnoreIfMatch);
    assert_eq!(with("PUT", &ehr, "Observation/O1", &stale, &observation(Some("O1"))).await.status, 200);
    ehr.faults.only(Fault::RewriteSubject("Patient/P2".into()));
    assert_eq!(post(&ehr, "Observation", &observation(None)).await.json()["subject"]["reference"], "Patient/P2");
    ehr.faults.only(Fault::WriteConflict);
    assert_eq!(post(&ehr, "Observation", &observation(None)).await.status, 409);
    let theirs = json!({"resourceType": "Observation", "id": "O1", "subject": {"reference": "Patient/P2"}});
    ehr.faults.only(Fault::Raced(theirs));
    let current = format!("W/\"{}\"", ehr.versions("Observation", "O1").len());
    let raced = with("PUT", &ehr, "Observation/O1", &[("if-match", current.as_str())], &observation(Some("O1"))).await;
    assert_eq!(raced.status, 412);
    assert_eq!(ehr.resource("Observation", "O1").unwrap()["subject"]["reference"], "Patient/P2");
}

#[tokio::test]
async fn answers_to_writes_can_lie() {
    let ehr = start(small()).await;
    ehr.faults.only(Fault::WriteAnswersOther("Observation/O2".into()));
    let other = with("PUT", &ehr, "Observation/O1", &[("prefer", "return=minimal")], &observation(Some("O1"))).await;
    assert_eq!((other.json()["id"].as_str(), ehr.versions("Observation", "O1").len()), (Some("O2"), 2));
    ehr.faults.on(Fault::WriteLocation("Observation/O2".into()));
    ehr.faults.on(Fault::ForeignSubject("Patient/P2".into()));
    let both = with("PUT", &ehr, "Observation/O1", &[], &observation(Some("O1"))).await;
    let place = format!("{}/Observation/O2/_history/3", ehr.base_url);
    assert_eq!((both.header("location"), both.json()["id"].as_str()), (Some(place.as_str()), Some("O2")));
    ehr.faults.only(Fault::WriteOutcome("merged with Patient/P2".into()));
    let told = post(&ehr, "Observation", &observation(None)).await;
    assert!(told.status == 200 && told.text().contains("merged with Patient/P2"));
    ehr.faults.only(Fault::Accepted("http://ehr/status/1".into()));
    let accepted = post(&ehr, "Observation", &observation(None)).await;
    assert_eq!((accepted.status, accepted.header("content-location")), (202, Some("http://ehr/status/1")));
    assert_eq!(accepted.text(), "");
    ehr.faults.only(Fault::ForeignSubject("Patient/P2".into()));
    let foreign = with("PUT", &ehr, "Observation/O1", &[], &observation(Some("O1"))).await;
    assert_eq!(foreign.json()["subject"]["reference"], "Patient/P2");
    assert_eq!(ehr.resource("Observation", "O1").unwrap()["subject"]["reference"], "Patient/P1");
}

#[tokio::test]
async fn a_write_can_be_done_and_never_answered() {
    let ehr = start(small()).await;
    ehr.faults.only(Fault::CutBeforeAnswer);
    let mut stream = tokio::net::TcpStream::connect(ehr.base_url.split('/').nth(2).unwrap()).await.unwrap();
    let body = observation(Some("O1")).to_string();
    let request = format!(
        "PUT /fhir/Observation/O1 HTTP/1.1\r\nhost: ehr\r\ncontent-type: application/fhir+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(ehr.versions("Observation", "O1").len(), 2);
}

#[tokio::test]
async fn a_slow_answer_comes_after_the_write() {
    let ehr = start(small()).await;
    ehr.faults.only(Fault::SlowHeaders(Duration::from_secs(30)));
    let body = observation(Some("O1"));
    let asked = with("PUT", &ehr, "Observation/O1", &[], &body);
    assert!(tokio::time::timeout(Duration::from_millis(300), asked).await.is_err(), "nobody waits for it");
    assert_eq!(ehr.versions("Observation", "O1").len(), 2);
}
