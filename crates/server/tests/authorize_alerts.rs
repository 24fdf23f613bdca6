//! Keys and clients in the wrong place, and what people are told at once: alerts of the authorization server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;
#[path = "authorize_common/keyhost.rs"]
mod keyhost;
#[path = "authorize_common/world.rs"]
mod world;

use authorize_common::*;
use domain::audit::Kind;
use domain::{Class, Environment, Integration, Keys};
use keyhost::{Host, JSON, ONLY_13};
use serde_json::json;
use server::settings::OutboundSettings;
use world::{World, details};

async fn reached_by(host: &Host) -> World {
    let mut allow_private = host.outbound.allow_private.clone();
    allow_private.insert("127.0.0.1".to_owned());
    World::reaching(terms(900, 2), &OutboundSettings { allow_private, ca: host.outbound.ca.clone() }).await
}

fn by_url(id: &str, tenant: &str, host: &Host) -> Integration {
    let mut out = integration(id, tenant, Class::ClinicalAi, "");
    out.auth.keys = Keys::JwksUrl(host.url.clone());
    out
}

async fn introspect(world: &World, key: &Key, client: &str) -> (u16, String) {
    let answer = world.post("/mercy/oauth/introspect", format!("{}&token=x", world.proof(key, client))).await;
    (answer.status.as_u16(), answer.body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_33_s2_15_a_key_behind_a_url_belongs_to_the_first_that_holds_it() {
    let host = Host::start(ONLY_13).await;
    let world = reached_by(&host).await;
    let shared = Key::new();
    host.serve(200, JSON, "max-age=600", &shared.jwks());
    for (id, environment) in
        [("one", Environment::Production), ("two", Environment::Production), ("three", Environment::Test)]
    {
        world.register(&Integration { environment, ..by_url(id, "mercy", &host) }).await;
    }
    for _ in 0..3 {
        assert_eq!(introspect(&world, &shared, "one").await.0, 200);
    }
    assert_eq!(world.alerts().await, [""; 0]);
    let unknown = introspect(&world, &Key::new(), "nobody").await;
    assert_eq!(unknown.0, 401);
    for id in ["two", "three"] {
        assert_eq!(introspect(&world, &shared, id).await, unknown, "the same text as for everyone else");
    }
    assert_eq!(introspect(&world, &shared, "two").await, unknown);
    assert_eq!(introspect(&world, &shared, "one").await.0, 200, "its owner keeps it");
    assert_eq!(world.alerts().await, ["key-of-another-integration"; 2], "one for each client");
    let denied = world.records(Kind::TokenIntrospect).await;
    let denied = denied.iter().filter(|record| record.reason == "client-invalid").count();
    assert_eq!(denied, 3, "each refusal has its record");
    let ticket = world.ticket().await;
    let stolen = world.proof(&shared, "two");
    let refused =
        world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{stolen}&launch={ticket}")).await;
    assert_eq!(refused.error(), (401, "invalid_client"));
    assert_eq!(world.records(Kind::TokenDenied).await.len(), 1);
    // Once claimed the store is not asked again: it could not answer any more.
    world.clock.advance(1_000);
    let known = world.proof(&shared, "one");
    world.store.close().await;
    let answer =
        world.post("/mercy/oauth/token", format!("grant_type=client_credentials&{known}&scope=system/*.rs")).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable"));
    assert_eq!(world.records(Kind::TokenDenied).await.len(), 2, "a refusal with a record is one after authentication");
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_33_a_client_of_another_tenant_is_nobody_here_and_an_alert() {
    let world = World::new().await;
    let unknown = introspect(&world, &Key::new(), "nobody").await;
    for key in [&world.stranger, &Key::new()] {
        assert_eq!(introspect(&world, key, "stranger").await, unknown);
    }
    for _ in 0..100 {
        if !world.alerts().await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(world.alerts().await, ["client-of-another-tenant"], "once a minute");
    let alert = world.records(Kind::Alert).await.remove(0);
    let shown = serde_json::to_string(&alert).unwrap();
    assert!(shown.contains("stranger") && !shown.contains("other\""), "names the client, not whose it is: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_launchers_replays_and_spent_budgets_raise_alerts() {
    let world = World::with(terms(900, 1)).await;
    assert_eq!(world.launch(json!({"task": "intake"})).await.error(), (400, "unauthorized_client"));
    assert_eq!(world.launch(json!({"task": "intake"})).await.error(), (400, "unauthorized_client"));
    assert_eq!(world.alerts().await, ["launcher-denied"]);
    let proof = world.proof(&world.agent, "agent");
    for _ in 0..2 {
        world.post("/mercy/oauth/introspect", format!("{proof}&token=x")).await;
    }
    assert_eq!(world.alerts().await, ["launcher-denied", "assertion-replayed"]);
    assert_eq!(world.token(&details("P1")).await.status, 200);
    assert_eq!(world.token(&details("PL")).await.status, 429);
    assert_eq!(world.alerts().await, ["launcher-denied", "assertion-replayed", "patient-budget-spent"]);
    assert_eq!(world.token(&details("PL")).await.status, 429);
    assert_eq!(world.alerts().await.len(), 3, "once a minute");
    world.clock.advance(60_000);
    assert_eq!(world.token(&details("PL")).await.status, 429);
    assert_eq!(world.alerts().await.len(), 4);
}
