//! Tenants are apart: what one has, does and suffers is nothing to another (S1-33, S2-18).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use demo_ehr::{DemoEhr, Fault, Running};
use serde_json::{Value, json};
use support::Gate;

const KPO: &str = "patient/Patient.rs patient/Observation.rs";
const KDOC: &str = "patient/DocumentReference.rs patient/Binary.r";
const MERCY: usize = 0;
const GRACE: usize = 1;

/// The same ids as in the fixture, for other people.
fn graces() -> Vec<Value> {
    let observation = |id: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "at-grace"},
            "subject": {"reference": "Patient/P1"}})
    };
    vec![
        json!({"resourceType": "Patient", "id": "P1", "name": [{"family": "Grace"}]}),
        json!({"resourceType": "Patient", "id": "P2", "name": [{"family": "Gracious"}]}),
        observation("O1"),
        observation("O1L"),
        observation("OG"),
        json!({"resourceType": "DocumentReference", "id": "D1", "status": "current", "subject": {"reference": "Patient/P1"},
            "content": [{"attachment": {"contentType": "text/plain", "url": "Binary/B1"}}]}),
        json!({"resourceType": "Binary", "id": "B1", "contentType": "text/plain", "data": "Z3JhY2U="}),
    ]
}

async fn started() -> (Gate, Running) {
    let grace = DemoEhr::from_resources(graces()).start(([127, 0, 0, 1], 0).into()).await.unwrap();
    (Gate::start_with_grace(&grace).await, grace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_ids_are_different_records() {
    let (gate, grace) = started().await;
    let mut seen = Vec::new();
    for place in [MERCY, GRACE] {
        gate.ask(place);
        let token = gate.token(KPO).await;
        let (patient, found) = (gate.get(&token, "Patient/P1").await, gate.get(&token, "Observation/O1").await);
        assert_eq!((patient.status, found.status), (200, 200));
        seen.push((patient.text(), found.text(), gate.get(&token, "Observation").await.entries()));
    }
    assert!(seen[GRACE].0.contains("Grace") && !seen[MERCY].0.contains("Grace"));
    assert!(seen[GRACE].1.contains("at-grace") && !seen[MERCY].1.contains("at-grace"));
    assert_eq!(seen[GRACE].2, ["Observation/O1", "Observation/O1L", "Observation/OG"]);
    assert!(!seen[MERCY].2.contains(&"Observation/OG".to_owned()));
    assert!(!grace.requests.is_empty() && !gate.upstream.requests.is_empty(), "each was asked for its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_tenant_issued_is_nothing_at_another() {
    let (gate, grace) = started().await;
    gate.ask(MERCY);
    let (token, documents) = (gate.token(KPO).await, gate.token(KDOC).await);
    let page = gate.get(&token, "Observation?_count=1").await.link("next").unwrap();
    let page = page.strip_prefix("http://gate.test/mercy/fhir/").unwrap().to_owned();
    let document = gate.get(&documents, "DocumentReference/D1").await.json();
    let binary = document["content"][0]["attachment"]["url"].as_str().unwrap().to_owned();
    let binary = binary.strip_prefix("http://gate.test/mercy/fhir/").unwrap().to_owned();
    assert_eq!((gate.get(&token, &page).await.status, gate.get(&documents, &binary).await.status), (200, 200));
    // A token, at the other tenant's door.
    gate.ask(GRACE);
    for path in ["Patient/P1", "Observation", "Observation/O1", page.as_str()] {
        assert_eq!(gate.get(&token, path).await.status, 401, "{path}");
    }
    assert!(grace.requests.is_empty(), "the other upstream is asked nothing");
    // Sealed links, with a token that is good there: for the same patient id, type and scope.
    let (own, own_documents) = (gate.token(KPO).await, gate.token(KDOC).await);
    let foreign = gate.get(&own, &page).await;
    assert_eq!(foreign.status, 403, "{}", foreign.text());
    let proof = gate.get(&own_documents, &binary).await;
    assert_eq!(proof.status, 403, "{}", proof.text());
    assert!(grace.requests.is_empty());
    // And its own are good.
    assert_eq!(gate.get(&own, "Observation/O1").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_names_the_other_tenant_fits_neither() {
    let (gate, grace) = started().await;
    gate.ask(MERCY);
    let session = gate.session("P1", KPO).await;
    for (claim, value) in [
        ("iss", json!("http://gate.test/grace")),
        ("aud", json!("http://gate.test/grace/fhir")),
        ("aud", json!(["http://gate.test/grace/fhir", "http://gate.test/mercy/fhir"])),
        ("tenant", json!("grace")),
    ] {
        gate.ask(MERCY);
        let token = gate.sign(&session, |payload| payload[claim] = value.clone());
        for place in [MERCY, GRACE] {
            gate.ask(place);
            assert_eq!(gate.get(&token, "Patient/P1").await.status, 401, "{claim} {place}");
        }
    }
    // Signed with the other's key, every claim as that one would have it, for a session that is not its own.
    gate.ask(GRACE);
    let token = gate.sign(&session, |payload| payload["tenant"] = json!("grace"));
    let reply = gate.get(&token, "Patient/P1").await;
    assert!(matches!(reply.status, 401 | 403), "{} {}", reply.status, reply.text());
    assert!(grace.requests.is_empty() && gate.upstream.requests.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenants_failures_are_its_own() {
    let (gate, grace) = started().await;
    grace.faults.only(Fault::IgnoreParameter("patient".into()));
    gate.ask(GRACE);
    let token = gate.token_for("P2", KPO).await;
    // Its upstream ignores the filter: what it gives of others goes, and the filter is not trusted again.
    let _ = gate.get(&token, "Observation").await;
    let again = gate.get(&token, "Observation").await;
    assert_eq!(again.status, 502, "{}", again.text());
    assert!(gate.codes().await.contains(&"upstream-ignored-filter".to_owned()));
    gate.ask(MERCY);
    let token = gate.token(KPO).await;
    assert_eq!(gate.get(&token, "Observation").await.status, 200);
    assert!(!gate.codes().await.contains(&"upstream-ignored-filter".to_owned()), "nor is it told of");
    // An upstream that is gone.
    drop(grace);
    gate.ask(GRACE);
    let lost = gate.token(KPO).await;
    let reply = gate.get(&lost, "Patient/P1").await;
    assert!(matches!(reply.status, 502..=504), "{}", reply.status);
    gate.ask(MERCY);
    assert_eq!(gate.get(&token, "Patient/P1").await.status, 200);
    // A budget that is spent.
    for at in 0..=support::ABSENT_BUDGET {
        let _ = gate.get(&token, &format!("Observation/none-{at}")).await;
    }
    assert_eq!(gate.get(&token, "Observation/none").await.status, 429);
    gate.ask(GRACE);
    assert_ne!(gate.get(&lost, "Observation/none").await.status, 429);
}
