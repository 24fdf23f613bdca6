//! Binaries as bytes and as resources, and what a hostile upstream makes of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use common::{Answer, get, post, send, start, with};
use demo_ehr::{DemoEhr, Fault, Running};
use serde_json::json;

const FHIR: (&str, &str) = ("accept", "application/fhir+json");

async fn binaries() -> Running {
    start(DemoEhr::from_resources(vec![
        json!({"resourceType": "Binary", "id": "B1", "contentType": "text/plain", "data": "Zm9v", "securityContext": {"reference": "Patient/P1"}}),
        json!({"resourceType": "Binary", "id": "B2", "contentType": "application/pdf", "data": "AAH/"}),
    ]))
    .await
}

async fn read(ehr: &Running, path: &str, accept: (&str, &str)) -> Answer {
    send("GET", &format!("{}/{path}", ehr.base_url), &[accept], "").await
}

#[tokio::test]
async fn a_binary_is_its_bytes_unless_fhir_is_asked_for() {
    let ehr = binaries().await;
    for path in ["Binary/B1", "Binary/B1/_history/1"] {
        let resource = read(&ehr, path, FHIR).await;
        assert_eq!((resource.json()["data"].as_str(), resource.header("etag")), (Some("Zm9v"), Some("W/\"1\"")));
        for accept in ["*/*", "text/plain", "application/json"] {
            let raw = read(&ehr, path, ("accept", accept)).await;
            assert_eq!((raw.text().as_str(), raw.header("content-type")), ("foo", Some("text/plain")), "{accept}");
            assert_eq!((raw.header("etag"), raw.header("x-security-context")), (Some("W/\"1\""), Some("Patient/P1")));
        }
    }
    let raw = get(&ehr, "Binary/B2").await;
    assert_eq!((raw.body.as_deref(), raw.header("content-type")), (Some(&[0, 1, 255][..]), Some("application/pdf")));
    assert_eq!(get(&ehr, "Binary/B1?_format=json").await.json()["id"], "B1");
    assert_eq!(get(&ehr, "Binary/none").await.status, 404);
    let made =
        post(&ehr, "Binary", &json!({"resourceType": "Binary", "contentType": "text/csv", "data": "YSxi"})).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((made.status, get(&ehr, &format!("Binary/{id}")).await.text().as_str()), (201, "a,b"));
    let next = json!({"resourceType": "Binary", "id": id, "contentType": "text/csv", "data": "Yg=="});
    assert_eq!(with("PUT", &ehr, &format!("Binary/{id}"), &[], &next).await.status, 200);
    assert_eq!(get(&ehr, &format!("Binary/{id}")).await.text(), "b");
}

#[tokio::test]
async fn a_binary_can_be_something_else() {
    let ehr = binaries().await;
    ehr.faults.only(Fault::BinaryBytes(b"<script>".to_vec()));
    ehr.faults.on(Fault::BinaryType("text/html".into()));
    let raw = get(&ehr, "Binary/B1").await;
    assert_eq!((raw.text().as_str(), raw.header("content-type")), ("<script>", Some("text/html")));
    let resource = read(&ehr, "Binary/B1", FHIR).await;
    assert_eq!(resource.header("content-type"), Some("application/fhir+json;charset=utf-8"));
    assert_eq!(
        (resource.json()["contentType"].as_str(), resource.json()["data"].as_str()),
        (Some("text/html"), Some("PHNjcmlwdD4="))
    );
    ehr.faults.only(Fault::OtherResource("Binary/B2".into()));
    assert_eq!(get(&ehr, "Binary/B1").await.header("content-type"), Some("application/pdf"));
    assert_eq!(read(&ehr, "Binary/B1", FHIR).await.json()["id"], "B2");
    ehr.faults.only(Fault::ContentType("text/html".into()));
    assert_eq!(get(&ehr, "Binary/B1").await.header("content-type"), Some("text/html"));
    ehr.faults.only(Fault::Oversized { bytes: 200_000, announced: true });
    assert_eq!(get(&ehr, "Binary/B1").await.body.unwrap().len(), 200_000);
}
