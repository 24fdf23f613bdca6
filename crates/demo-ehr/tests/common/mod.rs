//! A client small enough to see exactly what this upstream sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, dead_code, missing_docs)]

use std::time::Duration;

use bytes::Bytes;
use demo_ehr::{DemoEhr, Running};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

pub const NOW: i64 = 1_795_398_735_000;

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    /// Absent when the body broke off.
    pub body: Option<Bytes>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body.as_ref().unwrap()).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_ref().unwrap()).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `Type/id` of the entries.
    pub fn entries(&self) -> Vec<String> {
        let bundle = self.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let name = |entry: &Value, key: &str| entry["resource"][key].as_str().unwrap_or("?").to_owned();
        entries.iter().map(|e| format!("{}/{}", name(e, "resourceType"), name(e, "id"))).collect()
    }

    pub fn link(&self, relation: &str) -> Option<String> {
        let bundle = self.json();
        let links = bundle["link"].as_array()?;
        links.iter().find(|l| l["relation"] == relation).and_then(|l| l["url"].as_str()).map(str::to_owned)
    }
}

pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = tokio::time::timeout(Duration::from_secs(20), client.request(request)).await.unwrap().unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

pub async fn get(running: &Running, path: &str) -> Answer {
    send("GET", &format!("{}/{path}", running.base_url), &[], "").await
}

pub async fn post(running: &Running, path: &str, body: &Value) -> Answer {
    with("POST", running, path, &[], body).await
}

/// A request with a JSON body.
pub async fn with(method: &str, running: &Running, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/fhir+json"));
    send(method, &format!("{}/{path}", running.base_url), &headers, &body.to_string()).await
}

pub async fn start(ehr: DemoEhr) -> Running {
    ehr.start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

/// Two patients and a few resources between them.
pub fn small() -> DemoEhr {
    let observation = |id: &str, patient: &str, category: &str, date: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final",
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "subject": {"reference": format!("Patient/{patient}")}, "effectiveDateTime": date,
            "performer": [{"reference": "Practitioner/PRA"}], "valueQuantity": {"value": 70}})
    };
    DemoEhr::from_resources(vec![
        json!({"resourceType": "Patient", "id": "P1", "name": [{"family": "One", "given": ["Ana"]}], "birthDate": "1980-05-01"}),
        json!({"resourceType": "Patient", "id": "P2", "name": [{"family": "Two", "given": ["Bo"]}], "birthDate": "1990-05-01"}),
        json!({"resourceType": "Practitioner", "id": "PRA", "name": [{"family": "Doc"}]}),
        observation("O1", "P1", "vital-signs", "2026-01-05"),
        observation("O1L", "P1", "laboratory", "2026-02-05"),
        observation("O2", "P2", "vital-signs", "2026-03-05"),
        json!({"resourceType": "Observation", "id": "OAB", "status": "final", "subject": {"reference": "{base}/Patient/P1"}}),
        json!({"resourceType": "Observation", "id": "OMV", "status": "final", "subject": {"reference": "Patient/P2"}}),
        json!({"resourceType": "Observation", "id": "OMV", "status": "final", "subject": {"reference": "Patient/P1"}}),
        json!({"resourceType": "Observation", "id": "ODEL", "status": "final", "subject": {"reference": "Patient/P2"}}),
    ])
    .deleted("Observation", "ODEL")
}
