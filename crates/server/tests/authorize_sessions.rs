//! Launch tickets, revocation, introspection and discovery.
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
use axum::body::Body;
use demo_ehr::Fault;
use domain::audit::Kind;
use http::Request;
use serde_json::json;
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn only_named_launchers_mint_for_existing_patients() {
    let world = World::new().await;
    let minted = world.launch(json!({})).await;
    assert_eq!((minted.status.as_u16(), minted.body["expires_in"].clone()), (201, json!(300)));
    assert_eq!(minted.headers["cache-control"], "no-store");
    assert_eq!(minted.body["launch"].as_str().unwrap().len(), 43);
    for (patient, why) in [("Patient/PX", "absent"), ("Patient/PR", "replaced")] {
        assert_eq!(world.launch(json!({"patient": patient})).await.error(), (400, "invalid_request"), "{why}");
    }
    let agent = world.launch_by(&world.agent, "agent", json!({})).await;
    assert_eq!(agent.error(), (400, "unauthorized_client"), "an agent launches nobody, not even itself");
    for members in [
        json!({"client_id": "agent-2"}),
        json!({"client_id": "launcher"}),
        json!({"task": "intake"}),
        json!({"client_id": "stranger"}),
    ] {
        let refused = world.launch(members.clone()).await;
        assert_eq!((refused.error(), &refused.body), ((400, "unauthorized_client"), &agent.body), "{members}");
    }
    world.ehr.faults.on(Fault::Status(500));
    assert_eq!(world.launch(json!({})).await.error(), (503, "temporarily_unavailable"));
    assert_eq!(world.records(Kind::LaunchMint).await.len(), 1);
    assert_eq!(world.records(Kind::LaunchDenied).await.len(), 8);
    let form =
        Request::post("/mercy/oauth/launch").header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(world.send(form).await.status, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_05_a_revoked_token_is_dead_at_the_next_request() {
    let world = World::new().await;
    let token = world.access().await;
    let session = world.tokens.verify(&"mercy".parse().unwrap(), &token, NOW).unwrap();
    let foreign = format!("{}&token={token}", world.proof(&world.other, "agent-2"));
    assert_eq!(world.post("/mercy/oauth/revoke", foreign).await.status, 200, "NEG-171: 200 …");
    assert!(!world.registry.session_ended(&session.id), "… and not revoked");
    let garbage = format!("{}&token=garbage", world.proof(&world.agent, "agent"));
    assert_eq!(world.post("/mercy/oauth/revoke", garbage).await.status, 200);
    let own = format!("{}&token={token}&token_type_hint=refresh_token", world.proof(&world.agent, "agent"));
    assert_eq!(world.post("/mercy/oauth/revoke", own).await.status, 200, "the hint is advisory");
    assert!(world.registry.session_ended(&session.id));
    let asked = format!("{}&token={token}", world.proof(&world.agent, "agent"));
    assert_eq!(world.post("/mercy/oauth/introspect", asked).await.body, json!({"active": false}), "NEG-172");
    assert_eq!(world.post("/mercy/oauth/revoke", format!("token={token}")).await.status, 401);
    assert_eq!(world.records(Kind::TokenRevoke).await.len(), 3);
    assert_eq!(world.records(Kind::SessionEnd).await.len(), 1);
}

/// A ticket is of one tenant: at another's door it is nothing, and is not used up by the attempt (S1-33).
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_nothing_at_another_tenant() {
    let world = World::new().await;
    let ticket = world.ticket().await;
    let mut claims = world.claims("stranger");
    claims["aud"] = json!("https://gate.example/other/oauth/token");
    let proof = world::form_proof(&world.stranger.sign(&claims));
    let body = format!("grant_type=client_credentials&{proof}&launch={ticket}");
    let refused = world.post("/other/oauth/token", body).await;
    assert_eq!(refused.error(), (400, "invalid_grant"), "{}", refused.body);
    // Nor does the client it was minted for get in there.
    let mut claims = world.claims("agent");
    claims["aud"] = json!("https://gate.example/other/oauth/token");
    let proof = world::form_proof(&world.agent.sign(&claims));
    let body = format!("grant_type=client_credentials&{proof}&launch={ticket}");
    assert_eq!(world.post("/other/oauth/token", body).await.error(), (401, "invalid_client"));
    assert_eq!(world.token(&format!("launch={ticket}")).await.status, 200, "it is still good at home");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_02_introspection_tells_the_owner_alone() {
    let world = World::new().await;
    let ticket = world.ticket().await;
    let issued = world.token(&format!("launch={ticket}")).await.body;
    let token = issued["access_token"].as_str().unwrap();
    let ask = |proof: String, token: &str| format!("{proof}&token={token}");
    let own = world.post("/mercy/oauth/introspect", ask(world.proof(&world.agent, "agent"), token)).await.body;
    assert_eq!(own["active"], true);
    assert_eq!(own["scope"], issued["scope"], "IN-02: one text in all places");
    assert_eq!(own["patient"], issued["patient"], "IN-03");
    assert_eq!(own["exp"].as_i64().unwrap() - own["iat"].as_i64().unwrap(), issued["expires_in"].as_i64().unwrap());
    let inactive = json!({"active": false});
    let foreign = world.post("/mercy/oauth/introspect", ask(world.proof(&world.other, "agent-2"), token)).await;
    assert_eq!((foreign.status.as_u16(), foreign.body), (200, inactive.clone()));
    for odd in ["garbage".to_owned(), "x".repeat(30_000), format!("{token}x")] {
        let answer = world.post("/mercy/oauth/introspect", ask(world.proof(&world.agent, "agent"), &odd)).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, inactive.clone()), "NEG-174");
    }
    let mut claims = world.claims("stranger");
    claims["aud"] = json!("https://gate.example/other/oauth/token");
    let proof = world::form_proof(&world.stranger.sign(&claims));
    let elsewhere = world.post("/other/oauth/introspect", ask(proof, token)).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.body), (200, inactive.clone()), "NEG-174: another tenant's");
    let basic = Request::post("/mercy/oauth/introspect")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(format!("token={token}")))
        .unwrap();
    assert_eq!(world.send(basic).await.status, 403, "NEG-173: the token of a client that may not ask so");
    world.clock.advance(900_000);
    let expired = world.post("/mercy/oauth/introspect", ask(world.proof(&world.agent, "agent"), token)).await;
    assert_eq!(expired.body, inactive);
    assert_eq!(world.post("/mercy/oauth/introspect", format!("token={token}")).await.status, 401, "IN-07");
    assert_eq!(world.get("/mercy/oauth/introspect").await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_anonymous_cross_origin_and_says_what_is() {
    let world = World::new().await;
    let mut first = None;
    for accept in ["text/html", "application/fhir+json", "*/*"] {
        let request = Request::get("/mercy/fhir/.well-known/smart-configuration")
            .header("accept", accept)
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("origin", "https://app.example");
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "application/json", "DISC-02");
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "DISC-22");
        assert_eq!(answer.body["token_endpoint"], "https://gate.example/mercy/oauth/token", "NEG-007");
        assert_eq!(*first.get_or_insert_with(|| answer.body.clone()), answer.body, "NEG-001");
    }
    let smart = first.unwrap();
    assert!(smart["scopes_supported"].as_array().unwrap().contains(&json!("patient/Appointment.rs")), "DISC-10");
    let server = world.get("/.well-known/oauth-authorization-server/mercy").await.body;
    assert_eq!(server["issuer"], "https://gate.example/mercy", "MD-01");
    let resource = world.get("/.well-known/oauth-protected-resource/mercy/fhir").await.body;
    assert_eq!(resource["resource"], "https://gate.example/mercy/fhir");
    assert_eq!(resource["authorization_servers"], json!(["https://gate.example/mercy"]));
    let keys = world.get("/mercy/oauth/jwks").await;
    assert_eq!(keys.headers["access-control-allow-origin"], "*");
    assert!(!keys.body["keys"].as_array().unwrap().is_empty());
    assert!(keys.body["keys"].as_array().unwrap().iter().all(|key| key.get("d").is_none()));
    assert_eq!(world.get("/mercy/broker/upstream/jwks").await.body, json!({"keys": []}), "no key is in both sets");
    let preflight = Request::options("/mercy/oauth/jwks").body(Body::empty()).unwrap();
    assert_eq!(world.send(preflight).await.status, 204);
    let token =
        Request::post("/mercy/oauth/token").header("origin", "https://app.example").body(Body::empty()).unwrap();
    assert_eq!(world.send(token).await.headers.get("access-control-allow-origin"), None, "D-11");
    for path in ["/nobody/oauth/jwks", "/.well-known/oauth-authorization-server/nobody"] {
        assert_eq!(world.get(path).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_integration_cannot_authenticate() {
    let world = World::new().await;
    let token = world.access().await;
    let session = world.tokens.verify(&"mercy".parse().unwrap(), &token, NOW).unwrap();
    let mut agent = integration("agent", "mercy", domain::Class::ClinicalAi, &world.agent.jwks());
    agent.status = domain::IntegrationStatus::Suspended;
    agent.epoch = 1;
    let change = store::Change {
        profiles: vec![],
        integrations: vec![store::PutIntegration { integration: agent, thumbprints: vec![], expected: Some(1) }],
        approvals: vec![],
        ..store::Change::default()
    };
    let feed = world.store.apply(&change, NOW).await.unwrap().unwrap();
    assert!(world.registry.reached(feed).await);
    assert_eq!(world.token("launch=x").await.error(), (401, "invalid_client"), "REG-10");
    assert_eq!(session.epoch, 0, "the old token names the old epoch, so the gate refuses it");
    assert!(world.registry.snapshot().standing(&session.approval, NOW).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_nothing_is_given() {
    let world = World::new().await;
    let (ticket, token) = (world.ticket().await, world.access().await);
    world.audit.close().await;
    assert_eq!(world.token(&format!("launch={ticket}")).await.error(), (503, "temporarily_unavailable"));
    assert_eq!(world.launch(json!({})).await.error(), (503, "temporarily_unavailable"));
    let asked = format!("{}&token={token}", world.proof(&world.agent, "agent"));
    assert_eq!(world.post("/mercy/oauth/introspect", asked).await.status, 503);
    let denied = world.token("launch=short").await;
    assert_eq!(denied.error(), (503, "temporarily_unavailable"), "a refusal too must be recorded: {}", denied.body);
    let live = store::SessionFilter { live_at: Some(NOW), ..store::SessionFilter::default() };
    assert_eq!(world.store.sessions(&"mercy".parse().unwrap(), &live).await.unwrap().len(), 1, "the one from before");
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_09_and_s0_05_environment_and_approval_must_fit() {
    let world = World::new().await;
    let proof = world.proof(&world.other, "agent-2");
    let asked = format!("grant_type=client_credentials&{proof}&{}", world::details("P1"));
    assert_eq!(world.post("/mercy/oauth/token", asked).await.error(), (400, "unauthorized_client"), "no approval");
    let key = Key::new();
    let mut launcher = integration("launcher-test", "mercy", domain::Class::Launcher, &key.jwks());
    launcher.environment = domain::Environment::Test;
    world.register(&launcher).await;
    assert_eq!(world.launch_by(&key, "launcher-test", json!({})).await.error(), (400, "unauthorized_client"));
    assert_eq!(world.ehr.requests.count(), 0, "no look-up without leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_38_a_rotation_by_another_process_is_followed_within_a_second() {
    let world = World::new().await;
    let mercy: domain::TenantId = "mercy".parse().unwrap();
    let old = world.access().await;
    let root = vault::RootKey::parse(&[7; 32]).unwrap();
    let elsewhere = server::keys::KeyRing::open(&root, &world.store, std::slice::from_ref(&mercy), NOW).await.unwrap();
    let kid = elsewhere.rotate_token_key(&mercy, NOW).await.unwrap();
    let seen = || world.keys.token_signer(&mercy).unwrap().kid() == kid;
    for _ in 0..100 {
        if seen() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(seen());
    assert!(world.tokens.verify(&mercy, &old, NOW).is_ok(), "the old key verifies on");
    let new = world.access().await;
    assert!(world.tokens.verify(&mercy, &new, NOW).is_ok());
    let published = world.get("/mercy/oauth/jwks").await.body.to_string();
    assert!(published.contains(&kid) && published.matches("kid").count() == 3, "{published}");
}
