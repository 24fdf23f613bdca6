//! Who may ask: tokens, their liveness on every request, and what the ledger does to an answer (S1-03, S1-05, S1-09).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod support;

use serde_json::json;
use support::Gate;

const KOBS: &str = "patient/Observation.rs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tk_01_no_token_is_401_with_a_challenge_without_error() {
    let gate = Gate::start().await;
    let challenge = "Bearer resource_metadata=\"http://gate.test/.well-known/oauth-protected-resource/mercy/fhir\"";
    for path in ["Observation/O1", "Patient", "Observation?access_token=x", "StructureDefinition/x"] {
        let reply = gate.send("GET", path, &[], "").await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, challenge), "{path}");
        assert_eq!(reply.json()["issue"][0]["code"], "login");
    }
    assert_eq!(gate.upstream.requests.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tk_02_to_04_every_wrong_claim_is_401() {
    let gate = Gate::start().await;
    let session = gate.session("P1", KOBS).await;
    assert_eq!(gate.get(&gate.sign(&session, |_| {}), "Observation/O1").await.status, 200);
    let claims = [
        "iss",
        "aud",
        "sub",
        "client_id",
        "jti",
        "iat",
        "exp",
        "scope",
        "patient",
        "sid",
        "task",
        "purpose_of_use",
        "tenant",
        "apr",
        "epo",
        "fed",
    ];
    for claim in claims {
        let token = gate.sign(&session, |payload| {
            payload.as_object_mut().unwrap().remove(claim).unwrap_or_else(|| panic!("no claim {claim}"));
        });
        let reply = gate.get(&token, "Observation/O1").await;
        assert!([401, 403].contains(&reply.status), "S1-03 without {claim}: {}", reply.status);
        assert_eq!(reply.status, if claim == "patient" { reply.status } else { 401 }, "{claim}");
    }
    for (claim, value) in [
        ("iss", json!("http://gate.test/other")),
        ("aud", json!("http://gate.test/other/fhir")),
        ("aud", json!(["http://gate.test/mercy/fhir", "x"])),
        ("exp", json!(1)),
        ("tenant", json!("other")),
        ("sub", json!("someone-else")),
    ] {
        let token = gate.sign(&session, |payload| payload[claim] = value.clone());
        let reply = gate.get(&token, "Observation/O1").await;
        assert_eq!(reply.status, 401, "TK-03 {claim}={value}");
        assert!(reply.header("www-authenticate").contains("invalid_token"));
    }
    // S1-09: the patient cannot be altered without the key.
    let good = gate.sign(&session, |_| {});
    let other = gate.sign(&session, |payload| payload["patient"] = json!("P2"));
    let forged = {
        let mut parts: Vec<&str> = good.split('.').collect();
        parts[1] = other.split('.').nth(1).unwrap();
        parts.join(".")
    };
    assert_eq!(gate.get(&forged, "Observation/O2").await.status, 401, "S1-09");
    for garbage in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", &"a".repeat(20_000)] {
        assert!([400, 401, 431].contains(&gate.get(garbage, "Observation/O1").await.status), "TK-02");
    }
    assert_eq!(gate.upstream.requests.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_05_an_end_takes_effect_on_the_next_request() {
    let gate = Gate::start().await;
    let session = gate.session("P1", KOBS).await;
    let token = gate.sign(&session, |_| {});
    assert_eq!(gate.get(&token, "Observation/O1").await.status, 200);
    assert!(gate.end(&session).await);
    let reply = gate.get(&token, "Observation/O1").await;
    assert_eq!(reply.status, 401, "session end");
    assert!(reply.header("www-authenticate").contains("invalid_token"));
    // The end of a session is no other session's.
    let other = gate.token(KOBS).await;
    assert_eq!(gate.get(&other, "Observation/O1").await.status, 200);
    // Time ends it too (TK-02), even though its verification is cached.
    gate.clock.advance(900_001);
    assert_eq!(gate.get(&other, "Observation/O1").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_04_403_names_the_scope_to_ask_for() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    let reply = gate.get(&token, "Condition/C1").await;
    assert_eq!(reply.status, 403);
    let challenge = reply.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope") && challenge.contains("patient/Condition.r"), "{challenge}");
    assert_eq!(reply.json()["issue"][0]["code"], "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_and_absent_instances_spend_a_budget() {
    let gate = Gate::start().await;
    let mut session = gate.session("P1", KOBS).await;
    session.jti = "budget".into();
    let token = gate.sign(&session, |_| {});
    let spent = support::ABSENT_BUDGET;
    for _ in 0..spent {
        assert_eq!(gate.get(&token, "Observation/O2").await.status, 404);
    }
    let reply = gate.get(&token, "Observation/O1").await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), "", "waiting does not help");
    let codes = gate.codes().await;
    assert_eq!(
        codes.iter().filter(|code| *code == "absent-budget-spent").count(),
        2,
        "one alert for the session, and the refusal"
    );
}

/// S0-07, S3-15: one record per authenticated request, successes and refusals alike, and none of it opens the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s0_07_every_authenticated_request_is_one_record() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    let before = gate.codes().await.len();
    for path in [
        "Observation/O1",
        "Observation/O2",
        "Observation?patient=P1",
        "Condition/C1",
        "Patient/P2",
        "$export",
        "Observation?bad=1",
    ] {
        let _ = gate.get(&token, path).await;
    }
    // And the alert that goes with an export.
    assert_eq!(gate.codes().await.len(), before + 8);
}

/// The request path works from memory: with the database gone, verified sessions go on until the store counts as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_path_opens_no_database_connection() {
    let gate = Gate::start().await;
    let token = gate.token(KOBS).await;
    gate.store().close().await;
    for path in ["Observation/O1", "Observation?patient=P1"] {
        assert_eq!(gate.get(&token, path).await.status, 200, "{path}");
    }
    assert_eq!(gate.get(&token, "Observation/O2").await.status, 404);
}

/// A session that another node has just started, under an approval this node has not heard of, waits for the feed and works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_another_node_is_judged_by_what_the_wait_brought() {
    let gate = Gate::start().await;
    for _ in 0..4 {
        let session = gate.session_elsewhere("P1", KOBS).await;
        let token = gate.sign(&session, |_| {});
        let mut reply = gate.get(&token, "Observation/O1").await;
        // On a busy machine the wait may end too early: then it says so, and the same token works a moment later.
        for _ in 0..30 {
            if reply.status != 503 {
                break;
            }
            assert!(reply.text().contains("catching up"), "{}", reply.text());
            reply = gate.get(&token, "Observation/O1").await;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}
