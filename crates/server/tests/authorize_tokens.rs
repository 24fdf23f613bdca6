//! The token endpoint: tickets, relationships, scopes, replay, records.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;
#[path = "authorize_common/world.rs"]
mod world;

use authorize_common::*;
use demo_ehr::Fault;
use domain::Subject;
use domain::audit::Kind;
use serde_json::json;
use world::{World, claims_of, details, form_proof, unused};

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_becomes_one_session_for_one_patient() {
    let world = World::new().await;
    let foreign = world.launch(json!({"encounter": "Encounter/E2"})).await;
    assert_eq!(foreign.error(), (400, "invalid_request"), "another patient's encounter: {}", foreign.body);
    let minted = world.launch(json!({"encounter": "Encounter/E1"})).await;
    let ticket = minted.body["launch"].as_str().unwrap();
    let issued = world.token(&format!("launch={ticket}")).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    assert_eq!(issued.body["encounter"], "E1", "CX-03");
    let asked =
        format!("{}&token={}", world.proof(&world.agent, "agent"), issued.body["access_token"].as_str().unwrap());
    assert_eq!(world.post("/mercy/oauth/introspect", asked).await.body["encounter"], "E1", "IN-03");
    assert_eq!(issued.body["token_type"], "Bearer");
    assert_eq!(issued.body["expires_in"], 900, "NEG-170: a number, at most 900");
    assert_eq!(issued.body["patient"], "P1", "CX-03");
    assert_eq!(issued.body["scope"], "patient/Patient.rs patient/Appointment.rs");
    assert_eq!(issued.body.get("refresh_token"), None, "BE-06");
    let token = issued.body["access_token"].as_str().unwrap();
    let session = world.tokens.verify(&"mercy".parse().unwrap(), token, NOW).unwrap();
    assert_eq!(session.subject, Subject::Patient("P1".parse().unwrap()));
    assert_eq!(session.expires_at, NOW + 900_000);
    assert!(world.tokens.verify(&"other".parse().unwrap(), token, NOW).is_err(), "nothing crosses tenants");
    assert!(world.tokens.verify(&"mercy".parse().unwrap(), token, NOW + 900_000).is_err(), "expired, though cached");
    let row = world.store.find_session(&session.id).await.unwrap().unwrap();
    assert!(!row.session.patient_sealed.windows(2).any(|pair| pair == b"P1"), "the row holds no readable id");
    let record = &world.records(Kind::TokenIssue).await[0];
    assert_eq!(record.session.as_deref(), Some(session.id.to_string().as_str()));
    assert_eq!(record.task, "booking@1");
    assert_eq!(record.phi.as_ref().unwrap().patients, ["P1"]);
    assert_eq!(world.records(Kind::LaunchMint).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ln_03_a_ticket_is_redeemed_once_by_its_client_in_time() {
    let world = World::new().await;
    let ticket = world.ticket().await;
    let proof = world.proof(&world.other, "agent-2");
    let wrong =
        world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{proof}&launch={ticket}")).await;
    assert_eq!(wrong.error(), (400, "invalid_grant"), "another client");
    assert_eq!(world.token(&format!("launch={ticket}")).await.status, 200, "its refusal used nothing up");
    let used = world.token(&format!("launch={ticket}")).await;
    assert_eq!(used.error(), (400, "invalid_grant"), "used");
    let unknown = world.token(&format!("launch={}", unused("x"))).await;
    assert_eq!((unknown.error(), &unknown.body), ((400, "invalid_grant"), &used.body), "one text for all");
    assert_eq!(world.token("launch=short").await.body, used.body);
    let late = world.ticket().await;
    world.clock.advance(300_000);
    assert_eq!(world.token(&format!("launch={late}")).await.error(), (400, "invalid_grant"), "expired");
    let denied = world.records(Kind::TokenDenied).await;
    assert_eq!(denied.len(), 5);
    assert!(denied.iter().all(|record| record.reason == "grant-invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ticket_asked_twice_at_once_gives_one_session() {
    let world = World::new().await;
    let ticket = world.ticket().await;
    let rest = format!("launch={ticket}");
    let (one, two) = tokio::join!(world.token(&rest), world.token(&rest));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_107_an_assertion_is_used_once_at_whichever_endpoint() {
    let world = World::new().await;
    let assertion = form_proof(&world.agent.sign(&world.claims("agent")));
    let token = world.access().await;
    let asked = world.post("/mercy/oauth/introspect", format!("{assertion}&token={token}")).await;
    assert_eq!((asked.status.as_u16(), &asked.body["active"]), (200, &json!(true)));
    let ticket = world.ticket().await;
    let again =
        world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{assertion}&launch={ticket}")).await;
    assert_eq!(again.error(), (401, "invalid_client"));
    assert_eq!(world.token(&format!("launch={ticket}")).await.status, 200, "and the ticket is still good");
    let replayed = world.post("/mercy/oauth/introspect", format!("{assertion}&token={token}")).await;
    assert_eq!(replayed.error(), (401, "invalid_client"));
    // NEG-110: a forged request does not use the victim's jti up.
    let mut claims = world.claims("agent");
    claims["jti"] = json!("victims-next");
    let forged = form_proof(&Key::new().sign(&claims));
    let ticket = world.ticket().await;
    let refused =
        world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{forged}&launch={ticket}")).await;
    assert_eq!(refused.error(), (401, "invalid_client"));
    // NEG-108: nor does another client that used the same one.
    claims["iss"] = json!("agent-2");
    claims["sub"] = json!("agent-2");
    let others = form_proof(&world.other.sign(&claims));
    assert_eq!(world.post("/mercy/oauth/introspect", format!("{others}&token=x")).await.status, 200);
    claims["iss"] = json!("agent");
    claims["sub"] = json!("agent");
    let real = form_proof(&world.agent.sign(&claims));
    let issued =
        world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{real}&launch={ticket}")).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_100_every_failed_authentication_looks_alike() {
    let world = World::new().await;
    let mut wrong_audience = world.claims("agent");
    wrong_audience["aud"] = json!("https://gate.example/other/oauth/token");
    let mut bodies = Vec::new();
    for assertion in [
        world.agent.sign(&world.claims("nobody")),
        world.agent.sign(&world.claims("agent-2")),
        Key::new().sign(&world.claims("agent")),
        world.stranger.sign(&world.claims("stranger")),
        world.agent.sign(&wrong_audience),
        "garbage".into(),
    ] {
        let answer = world
            .post("/mercy/oauth/token", format!("grant_type=client_credentials&{}&launch=x", form_proof(&assertion)))
            .await;
        assert_eq!(answer.error(), (401, "invalid_client"));
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "PF-26");
    let differs =
        format!("grant_type=client_credentials&client_id=agent-2&{}&launch=x", world.proof(&world.agent, "agent"));
    assert_eq!(world.post("/mercy/oauth/token", differs).await.error(), (401, "invalid_client"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relationship_is_proved_at_the_upstream_and_recorded() {
    let world = World::new().await;
    let issued = world.token(&details("P1")).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    assert_eq!(
        issued.body["authorization_details"],
        json!([{"type": "fhir_task", "task": "booking", "patient": "Patient/P1"}])
    );
    let claims = claims_of(issued.body["access_token"].as_str().unwrap());
    assert_eq!((claims["patient"].clone(), claims["task"].clone()), (json!("P1"), json!("booking@1")));
    let check = &world.records(Kind::RelationshipCheck).await[0];
    assert_eq!(
        (check.outcome, check.phi.as_ref().unwrap().resources.as_slice()),
        ("success", ["Appointment/A1".to_owned()].as_slice())
    );
    let issue = &world.records(Kind::TokenIssue).await[0];
    assert_eq!(issue.phi.as_ref().unwrap().resources, ["Appointment/A1"], "the proof is named");
    let mut refused = Vec::new();
    for (patient, why) in [("PX", "absent"), ("PU", "no evidence"), ("PL", "too far away in time"), ("PC", "cancelled")]
    {
        let answer = world.token(&details(patient)).await;
        assert_eq!(answer.error(), (400, "invalid_grant"), "{why}");
        refused.push(answer.body);
    }
    // The upstream ignores the patient, or every filter: verify finds nothing of the patient asked for.
    for fault in [Fault::IgnoreAllParameters, Fault::Status(500), Fault::MalformedJson, Fault::CutOff] {
        world.ehr.faults.only(fault.clone());
        let answer = world.token(&details("PU")).await;
        assert_eq!(answer.error(), (400, "invalid_grant"), "{fault:?}");
        refused.push(answer.body);
    }
    assert!(refused.windows(2).all(|pair| pair[0] == pair[1]), "absent and unrelated are one answer");
    assert_eq!(world.records(Kind::RelationshipCheck).await.len(), 9, "each look-up is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_ignores_status_proves_nothing() {
    let world = World::new().await;
    world.ehr.faults.on(Fault::IgnoreParameter("status".into()));
    assert_eq!(
        world.token(&details("PC")).await.error(),
        (400, "invalid_grant"),
        "the cancelled one is judged here again"
    );
    assert_eq!(world.token(&details("P1")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_patients_per_hour_are_capped() {
    let world = World::with(terms(900, 2)).await;
    assert_eq!(world.token(&details("P1")).await.status, 200);
    assert_eq!(world.token(&details("P1")).await.status, 200, "the same patient counts once");
    assert_eq!(
        world.token(&details("PU")).await.error(),
        (400, "invalid_grant"),
        "a look-up that proves nothing counts too"
    );
    let over = world.token(&details("P2")).await;
    assert_eq!(over.status, 429, "{}", over.body);
    assert!(over.headers.contains_key("retry-after"));
    let asked = world.ehr.requests.all().into_iter().filter(|seen| seen.query.contains("P2")).count();
    assert_eq!(asked, 0, "the upstream was not asked");
    world.clock.advance(3_600_001);
    assert_eq!(world.token(&details("P2")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_patients_per_day_are_capped() {
    let mut terms = terms(900, 100);
    terms.budgets.patients_per_day = Some(1);
    let world = World::with(terms).await;
    assert_eq!(world.token(&details("P1")).await.status, 200);
    world.clock.advance(2 * 3_600_000);
    let over = world.token(&details("P2")).await;
    assert_eq!(over.status, 429, "{}", over.body);
    assert_eq!(over.headers["retry-after"], "86400");
    assert!(over.body["error_description"].as_str().unwrap().contains("`patients_per_day`"), "{}", over.body);
    assert_eq!(world.token(&details("P1")).await.status, 200, "the same patient counts once");
    let named = world.ehr.requests.all().into_iter().filter(|seen| seen.query.contains("P2")).count();
    assert_eq!(named, 0, "the upstream was not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_narrowed_or_refused_by_name() {
    let world = World::new().await;
    let ticket = world.ticket().await;
    for (scope, named) in [
        ("system/Patient.rs", "system/Patient.rs"),
        ("user/Patient.rs", "user/Patient.rs"),
        ("patient/*.rs", "patient/*.rs"),
        ("patient/Patient.rs offline_access", "offline_access"),
        ("patient/Observation.rs", "patient/Patient.rs patient/Appointment.rs"),
    ] {
        let answer = world.token(&format!("launch={ticket}&scope={}", scope.replace(' ', "+"))).await;
        assert_eq!(answer.error(), (400, "invalid_scope"), "S1-11 {scope}");
        assert!(answer.body["error_description"].as_str().unwrap().contains(named), "{}", answer.body);
    }
    let issued =
        world.token(&format!("launch={ticket}&scope=patient/Patient.read+patient/Observation.rs+nonsense")).await;
    assert_eq!(issued.body["scope"], "patient/Patient.read", "S1-34, D-09: {}", issued.body);
    assert_eq!(claims_of(issued.body["access_token"].as_str().unwrap())["scope"], "patient/Patient.read");
    assert_eq!(
        world.token("scope=system/Patient.rs").await.error(),
        (400, "invalid_scope"),
        "before any patient is asked for"
    );
    assert_eq!(world.token("").await.error(), (400, "invalid_scope"));
    assert_eq!(world.token("scope=patient/Patient.rs").await.error(), (400, "invalid_request"), "S1-08: no patient");
    let proof = world.proof(&world.launcher, "launcher");
    let launcher =
        world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{proof}&launch={ticket}")).await;
    assert_eq!(launcher.error(), (400, "unauthorized_client"));
    let resource = world.token(&format!("launch={ticket}&resource=https://elsewhere.example/fhir")).await;
    assert_eq!(resource.error(), (400, "invalid_target"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tk_13_only_forms_by_post_without_a_second_method() {
    let world = World::new().await;
    let send = |method: &str, kind: &str, auth: Option<&str>| {
        let mut request =
            http::Request::builder().method(method).uri("/mercy/oauth/token").header("content-type", kind);
        if let Some(auth) = auth {
            request = request.header("authorization", auth);
        }
        request.body(axum::body::Body::from("grant_type=client_credentials")).unwrap()
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(world.send(send("GET", form, None)).await.status, 405);
    assert_eq!(world.send(send("POST", "application/json", None)).await.error(), (400, "invalid_request"));
    assert_eq!(world.send(send("POST", form, Some("Basic YTpi"))).await.error(), (401, "invalid_client"));
    assert_eq!(
        world.post("/mercy/oauth/token", "grant_type=password".into()).await.error(),
        (400, "unsupported_grant_type")
    );
    assert_eq!(world.post("/mercy/oauth/token", "a=1&a=2".into()).await.error(), (400, "invalid_request"));
    assert_eq!(world.post("/mercy/oauth/token", "x".repeat(100_000)).await.error(), (400, "invalid_request"));
    assert_eq!(world.post("/nobody/oauth/token", String::new()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_05_another_task_than_the_approved_one_is_refused() {
    let world = World::new().await;
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for task in ["intake", "booking2"] {
        let asked = details("P1").replace(&encoded("booking"), &encoded(task));
        let answer = world.token(&asked).await;
        assert_eq!(answer.error(), (400, "unauthorized_client"), "{task}: {}", answer.body);
    }
    let denied = world.records(Kind::TokenDenied).await;
    assert!(denied.len() == 2 && denied.iter().all(|record| record.reason == "approval-missing"));
    assert!(world.ehr.requests.all().is_empty(), "the upstream was not asked");
}
