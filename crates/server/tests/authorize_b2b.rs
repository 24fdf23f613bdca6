//! UDAP `hl7-b2b` at the token endpoint: for whom and why a client acts, held against the task and kept (UD-09 … UD-13).
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
use domain::audit::Kind;
use serde_json::{Value, json};
use server::audit::RecordView;
use world::{Answer, World, claims_of, details, form_proof};

/// What the tests' task is for is `HOPERAT`.
fn said() -> Value {
    json!({
        "version": "1", "subject_name": "Lee, Dana", "subject_id": "urn:oid:2.16.840.1.113883.4.6#1234567890",
        "subject_role": "207R00000X", "organization_id": "https://mercy.example/org", "organization_name": "Mercy Health",
        "purpose_of_use": ["TREAT", "urn:oid:2.16.840.1.113883.5.8#HOPERAT"],
        "consent_policy": ["urn:oid:1.2.3"], "consent_reference": ["https://mercy.example/fhir/Consent/1"], "unknown": true,
    })
}

/// The agent asks for P1 with these extensions in its assertion, if any.
async fn asked(world: &World, extensions: Option<Value>, rest: &str) -> Answer {
    let mut claims = world.claims("agent");
    if let Some(extensions) = extensions {
        claims["extensions"] = extensions;
    }
    let proof = form_proof(&world.agent.sign(&claims));
    world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{proof}{rest}")).await
}

async fn with_ticket(world: &World, said: Option<Value>, udap: bool) -> Answer {
    let rest = format!("&launch={}{}", world.ticket().await, if udap { "&udap=1" } else { "" });
    asked(world, said.map(|said| json!({ "hl7-b2b": said })), &rest).await
}

fn act(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    claims_of(answer.body["access_token"].as_str().unwrap())["act"].clone()
}

fn attributes(record: &RecordView) -> Vec<(String, String)> {
    let value = serde_json::to_value(record).unwrap();
    serde_json::from_value(value["phi"]["attributes"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ud_12_for_whom_and_why_is_in_token_and_record() {
    let world = World::new().await;
    for udap in [true, false] {
        let issued = with_ticket(&world, Some(said()), udap).await;
        let expected = json!({
            "sub": "urn:oid:2.16.840.1.113883.4.6#1234567890", "iss": "agent", "subject_role": "207R00000X",
            "organization_id": "https://mercy.example/org", "organization_name": "Mercy Health",
        });
        assert_eq!(act(&issued), expected);
        let access = issued.body["access_token"].as_str().unwrap();
        let claims = claims_of(access);
        assert_eq!(claims["purpose_of_use"], "HOPERAT", "the task's, though others are asserted too");
        assert!(!claims.to_string().contains("Lee") && !claims.to_string().contains("Consent"), "{claims}");
        let session = world.tokens.verify(&"mercy".parse().unwrap(), access, NOW).unwrap();
        assert_eq!(session.act.organization_name, "Mercy Health");
        let record = &world.records(Kind::TokenIssue).await[0];
        let all = attributes(record);
        for (name, value) in [
            ("act.sub", "urn:oid:2.16.840.1.113883.4.6#1234567890"),
            ("act.organization_id", "https://mercy.example/org"),
            ("b2b.subject_name", "Lee, Dana"),
            ("b2b.purpose_of_use", "TREAT"),
            ("b2b.purpose_of_use", "HOPERAT"),
            ("b2b.consent_policy", "urn:oid:1.2.3"),
            ("b2b.consent_reference", "https://mercy.example/fhir/Consent/1"),
        ] {
            assert!(all.contains(&(name.to_owned(), value.to_owned())), "{name} in {all:?}");
        }
        let mut clear = serde_json::to_value(record).unwrap();
        clear.as_object_mut().unwrap().remove("phi");
        assert!(!clear.to_string().contains("Lee"), "names stand in the sealed part alone: {clear}");
        assert!(!all.iter().any(|(name, _)| name.contains("unknown")), "what is not known is not kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_the_organisation_alone_is_acted_for() {
    let world = World::new().await;
    for extensions in [None, Some(json!({})), Some(json!({"hl7-other": {"version": "7"}}))] {
        let rest = format!("&launch={}", world.ticket().await);
        assert_eq!(
            act(&asked(&world, extensions, &rest).await),
            json!({"organization_id": "https://gate.example/mercy"})
        );
    }
    let least = json!({"version": "1", "organization_id": "urn:oid:1.2", "purpose_of_use": ["HOPERAT"]});
    let expected = json!({"iss": "agent", "organization_id": "urn:oid:1.2"});
    assert_eq!(act(&with_ticket(&world, Some(least.clone()), true).await), expected);
    // The same for who names the patient itself.
    let by_rule = asked(&world, Some(json!({ "hl7-b2b": least })), &format!("&udap=1&{}", details("P1"))).await;
    assert_eq!(act(&by_rule), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_241_missing_or_malformed_is_invalid_grant() {
    let world = World::new().await;
    let ticket = world.ticket().await;
    let try_it = async |extensions: Option<Value>, udap: bool, name: &str| {
        let rest = format!("&launch={ticket}{}", if udap { "&udap=1" } else { "" });
        let refused = asked(&world, extensions, &rest).await;
        assert_eq!(refused.error(), (400, "invalid_grant"), "{name}: {}", refused.body);
        assert_eq!(refused.body.get("access_token"), None, "{name}");
        let record = &world.records(Kind::TokenDenied).await[0];
        assert_eq!((record.reason.as_str(), record.integration.as_str()), ("grant-invalid", "agent"), "{name}");
    };
    try_it(None, true, "no extensions").await;
    try_it(Some(json!({})), true, "no hl7-b2b").await;
    try_it(Some(json!({"hl7-b2b-user": said()})), true, "another object").await;
    for udap in [true, false] {
        try_it(Some(json!([])), udap, "extensions are no object").await;
        try_it(Some(json!({"hl7-b2b": null})), udap, "null").await;
        try_it(Some(json!({"hl7-b2b": [said()]})), udap, "a list").await;
        for name in ["version", "organization_id", "purpose_of_use", "consent_policy"] {
            let mut spoiled = said();
            spoiled.as_object_mut().unwrap().remove(name);
            try_it(Some(json!({ "hl7-b2b": spoiled })), udap, &format!("without {name}")).await;
        }
        for (name, value) in [
            ("version", json!("2")),
            ("version", json!(1)),
            ("purpose_of_use", json!([])),
            ("purpose_of_use", json!("HOPERAT")),
            ("purpose_of_use", json!(["HOPERAT", "BOGUS"])),
            ("purpose_of_use", json!(["hoperat"])),
            ("organization_id", json!("Mercy Health")),
            ("organization_id", json!(["https://mercy.example"])),
            ("consent_policy", json!([])),
            ("consent_reference", json!(["Consent/1"])),
            ("subject_id", json!(17)),
            ("subject_name", json!("x".repeat(300))),
        ] {
            let mut spoiled = said();
            spoiled[name] = value;
            try_it(Some(json!({ "hl7-b2b": spoiled })), udap, name).await;
        }
    }
    assert_eq!(world.records(Kind::TokenIssue).await.len(), 0);
    // None of that has used the ticket up.
    let issued = asked(&world, Some(json!({ "hl7-b2b": said() })), &format!("&launch={ticket}&udap=1")).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    let odd = asked(&world, None, &format!("&launch={}&udap=2", world.ticket().await)).await;
    assert_eq!(odd.error(), (400, "invalid_request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_242_the_asserted_purpose_must_be_that_of_the_task() {
    let world = World::new().await;
    for purposes in [json!(["TREAT"]), json!(["urn:oid:2.16.840.1.113883.5.8#TREAT", "HRESCH"])] {
        for udap in [true, false] {
            let mut other = said();
            other["purpose_of_use"] = purposes.clone();
            let refused = with_ticket(&world, Some(other), udap).await;
            assert_eq!(refused.error(), (400, "invalid_grant"), "{}", refused.body);
            let record = &world.records(Kind::TokenDenied).await[0];
            assert_eq!((record.reason.as_str(), record.task.as_str()), ("grant-invalid", "booking@1"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_assertion_is_used_up() {
    let world = World::new().await;
    let ticket = world.ticket().await;
    let mut claims = world.claims("agent");
    claims["extensions"] = json!({"hl7-b2b": {"version": "2"}});
    let form = format!("grant_type=client_credentials&{}&launch={ticket}", form_proof(&world.agent.sign(&claims)));
    assert_eq!(world.post("/mercy/oauth/token", form.clone()).await.error(), (400, "invalid_grant"));
    assert_eq!(world.post("/mercy/oauth/token", form).await.error(), (401, "invalid_client"));
}
