//! Roles at the token endpoint: what they keep from starting, how long it lasts, and what a token says of its patient (S4-05 … S4-10).
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
use domain::Subject;
use domain::audit::Kind;
use serde_json::{Value, json};
use world::{World, claims_of, details};

const DE_IDENTIFIED: &str = r#"{"permissions":["data:read"]}"#;

async fn issued(world: &World) -> Value {
    let minted = world.launch(json!({"encounter": "Encounter/E1"})).await;
    let ticket = minted.body["launch"].as_str().unwrap();
    let issued = world.token(&format!("launch={ticket}")).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    issued.body
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_06_a_token_and_everything_about_it_carry_surrogates_only() {
    let world = World::in_role(DE_IDENTIFIED).await;
    let body = issued(&world).await;
    let (patient, encounter) = (body["patient"].as_str().unwrap(), body["encounter"].as_str().unwrap());
    assert!(patient.len() == 36 && encounter.len() == 36 && patient != encounter, "{body}");
    let token = body["access_token"].as_str().unwrap();
    let claims = claims_of(token);
    assert_eq!((&claims["patient"], &claims["encounter"]), (&json!(patient), &json!(encounter)));
    assert_eq!(claims["phi"], "de-identified-only");
    let session = world.tokens.verify(&"mercy".parse().unwrap(), token, NOW).unwrap();
    assert_eq!(session.subject, Subject::Surrogate(patient.parse().unwrap()));
    let asked = format!("{}&token={token}", world.proof(&world.agent, "agent"));
    let told = world.post("/mercy/oauth/introspect", asked).await.body;
    assert_eq!(
        (&told["active"], &told["patient"], &told["encounter"]),
        (&json!(true), &json!(patient), &json!(encounter))
    );
    for text in [body.to_string(), claims.to_string(), told.to_string()] {
        assert!(!text.contains("\"P1\"") && !text.contains("\"E1\"") && !text.contains("Patient/P1"), "{text}");
    }
    // The record knows, and so does the row.
    assert_eq!(world.records(Kind::TokenIssue).await[0].phi.as_ref().unwrap().patients, ["P1"]);
    let attributes = &world.records(Kind::TokenIssue).await[0].phi.as_ref().unwrap().attributes.clone();
    let digest = server::registry::role_digest(&serde_json::from_str(DE_IDENTIFIED).unwrap());
    assert!(attributes.contains(&("role.digest".to_owned(), digest)), "{attributes:?}");
    assert!(attributes.iter().any(|(name, _)| name == "role.name"), "{attributes:?}");
    let row = world.store.find_session(&session.id).await.unwrap().unwrap();
    assert_eq!(row.session.patient_tag, world.keys.row_tag("mercy", "P1").unwrap());
    // The same patient, the same integration: the same surrogate, in the next session too.
    let next = issued(&world).await;
    assert_eq!((&next["patient"], &next["encounter"]), (&body["patient"], &body["encounter"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_06_an_integration_that_must_not_know_the_patient_does_not_name_it() {
    let world = World::in_role(DE_IDENTIFIED).await;
    let asked = world.token(&details("P1")).await;
    assert_eq!(asked.error(), (400, "unauthorized_client"), "{}", asked.body);
    assert_eq!(world.records(Kind::TokenDenied).await[0].reason, "role-refused");
    assert!(world.records(Kind::RelationshipCheck).await.is_empty(), "nothing was looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_07_a_role_caps_the_life_of_its_sessions() {
    let role = |timeout: &str| {
        format!(r#"{{"permissions":["data:read"],"phi_access":"identified","session_timeout":"{timeout}"}}"#)
    };
    for (timeout, seconds) in [("5m", 300), ("30s", 30), ("8h", 900)] {
        let world = World::in_role(&role(timeout)).await;
        let body = issued(&world).await;
        assert_eq!((&body["expires_in"], &body["patient"]), (&json!(seconds), &json!("P1")), "{timeout}");
        let claims = claims_of(body["access_token"].as_str().unwrap());
        assert_eq!(claims["exp"].as_i64().unwrap(), NOW / 1_000 + seconds);
        assert_eq!(claims.get("phi"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_08_what_a_role_asks_for_and_is_not_so_starts_nothing() {
    for role in [
        r#"{"permissions":["data:read"],"mfa_required":true}"#,
        r#"{"permissions":["data:read"],"environment":"isolated-vpc"}"#,
        r#"{"permissions":["data:read"],"environment":"test"}"#,
        r#"{"permissions":["inference:invoke","model:read"]}"#,
        r#"{"permissions":[]}"#,
    ] {
        let world = World::in_role(role).await;
        let ticket = world.ticket().await;
        let refused = world.token(&format!("launch={ticket}")).await;
        assert_eq!(refused.error(), (400, "unauthorized_client"), "{role}: {}", refused.body);
        assert_eq!(world.records(Kind::TokenDenied).await[0].reason, "role-refused", "{role}");
    }
}
