//! The patient's own Consents and security labels, from the upstream to the answer (S3-10).
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
use serde_json::{Value, json};
use server::settings::ConsentSource;
use support::{Gate, fixture};

const SCOPES: &str = "patient/Patient.rs patient/Observation.rs patient/Condition.rs";

fn denies(patient: &str, id: &str, kind: &str) -> Value {
    json!({ "resourceType": "Consent", "id": id, "status": "active",
        "patient": { "reference": format!("Patient/{patient}") },
        "provision": { "type": "permit", "provision": [{ "type": "deny",
            "class": [{ "system": "http://hl7.org/fhir/resource-types", "code": kind }] }] } })
}

fn labelled() -> Value {
    json!({ "resourceType": "Observation", "id": "OPSY", "status": "final", "code": { "text": "score" },
        "meta": { "security": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY" }] },
        "subject": { "reference": "Patient/P1" } })
}

/// A gate that asks for Consents, before an upstream that holds these resources too.
async fn start(more: Vec<Value>) -> Gate {
    let mut all = fixture::resources();
    all.extend(more);
    Gate::start_with(|_| DemoEhr::from_resources(all), |tenant| tenant.upstream.consent = ConsentSource::Upstream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_patient_denies_is_as_if_absent() {
    let gate = start(vec![denies("P1", "c1", "Condition"), denies("P2", "c2", "Observation")]).await;
    let token = gate.token_with_operations(SCOPES).await;
    let absent = gate.get(&token, "Condition/none").await;
    for path in ["Condition/C1", "Condition/C1/_history", "Condition/C1/_history/1"] {
        let reply = gate.get(&token, path).await;
        assert_eq!((reply.status, &reply.body), (404, &absent.body), "{path}");
    }
    assert!(gate.get(&token, "Condition").await.entries().is_empty());
    assert!(gate.get(&token, "Patient?_revinclude=Condition:subject").await.entries() == ["Patient/P1"]);
    let everything = gate.get(&token, "Patient/P1/$everything?_count=100").await;
    assert!(!everything.text().contains("Condition/C1") && everything.entries().contains(&"Observation/O1".to_owned()));
    let inferred = gate.get(&token, "Patient?_has:Condition:subject:code=38341003").await;
    assert_eq!((inferred.status, inferred.entries().len()), (200, 0), "what is denied is not inferred from either");
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200, "and what another patient denies does not count");
    // Another session of the other patient.
    let other = gate.token_for("P2", SCOPES).await;
    assert_eq!(gate.get(&other, "Observation/O2").await.status, 404);
    assert_eq!(gate.get(&other, "Condition/C2").await.status, 200);
}

/// An upstream that does not say what the patient wants is asked for nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consents_that_cannot_be_known_are_503() {
    let gate = start(vec![denies("P1", "c1", "Condition")]).await;
    for fault in [
        Fault::Status(500),
        Fault::Status(401),
        Fault::Status(202),
        Fault::MalformedJson,
        Fault::Html,
        Fault::OutcomeWith200,
        Fault::BundleType("history".into()),
        Fault::Subsetted,
        Fault::NextLink("http://elsewhere/fhir?page=2".into()),
        Fault::CutOff,
        Fault::SlowHeaders(Duration::from_secs(5)),
    ] {
        gate.upstream.faults.clear();
        gate.upstream.faults.on_path("Consent", fault.clone());
        let token = gate.token_with_operations(SCOPES).await;
        gate.upstream.requests.clear();
        for path in ["Observation/O1", "Observation"] {
            let reply = gate.get(&token, path).await;
            assert_eq!(reply.status, 503, "{fault:?} {path}: {}", reply.text());
        }
        let asked = gate.upstream.requests.all();
        assert!(asked.iter().all(|request| format!("{request:?}").contains("Consent")), "{fault:?}");
    }
}

/// An answer counts for a minute and for its session alone; a failure counts at once and is not remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_consents_counts_for_a_minute() {
    let gate = start(vec![denies("P1", "c1", "Condition")]).await;
    let token = gate.token(SCOPES).await;
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200);
    gate.upstream.faults.on_path("Consent", Fault::Status(500));
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200);
    assert_eq!(gate.get(&token, "Condition/C1").await.status, 404);
    let other = gate.token(SCOPES).await;
    assert_eq!(gate.get(&other, "Observation/O1").await.status, 503, "another session asks for itself");
    gate.clock.advance(60_001);
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 503, "what is stale is not known");
    gate.upstream.faults.clear();
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200);
    assert_eq!(gate.get(&token, "Condition/C1").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_needs_the_tasks_permit() {
    let gate = start(vec![labelled()]).await;
    let token = gate.token_with_operations(SCOPES).await;
    let absent = gate.get(&token, "Observation/none").await;
    for path in ["Observation/OPSY", "Observation/OPSY/_history", "Observation/OPSY/_history/1"] {
        let reply = gate.get(&token, path).await;
        assert_eq!((reply.status, &reply.body), (404, &absent.body), "{path}");
    }
    for path in ["Observation?_count=100", "Patient/P1/$everything?_count=100", "Observation/$lastn?max=9"] {
        let reply = gate.get(&token, path).await;
        assert!(reply.status == 200 && !reply.text().contains("OPSY"), "{path}");
        assert!(!reply.text().contains("OperationOutcome"), "{path}: nothing says that something was left out");
    }
    let found = gate.get(&token, "Observation?_security=PSY&_count=1").await;
    assert!(found.entries().is_empty() && found.link("next").is_none());
    let session = gate.session_of("P1", SCOPES, |profile| profile.labels = ["PSY".to_owned()].into()).await;
    assert!(gate.server.parts.registry.reached(session.feed).await);
    let permitted = gate.sign(&session, |_| {});
    assert_eq!(gate.get(&permitted, "Observation/OPSY").await.status, 200);
    let named = gate.token(&format!("{SCOPES} patient/Observation.r?_security=PSY")).await;
    assert_eq!(gate.get(&named, "Observation/OPSY").await.status, 200);
}

/// What is refused by the request alone is refused before the upstream hears of anything, Consents included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_asks_for_no_consents() {
    let gate = start(Vec::new()).await;
    let token = gate.token(SCOPES).await;
    gate.upstream.faults.on(Fault::Status(500));
    for path in
        ["Patient/P2", "Encounter/E1", "Observation?patient=P2", "Patient/P1/$everything", "Patient/P2/Observation"]
    {
        let reply = gate.get(&token, path).await;
        assert_eq!((reply.status, gate.upstream.requests.count()), (403, 0), "{path}: {}", reply.text());
    }
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 503, "what is not refused needs them");
}
