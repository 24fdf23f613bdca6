//! DPoP at the token endpoint (RFC 9449): nonces, binding, replay, and what NEG-220 spoils.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;
#[path = "authorize_common/holder.rs"]
mod holder;
#[path = "authorize_common/world.rs"]
mod world;

use authorize_common::*;
use axum::Router;
use axum::body::Body;
use domain::audit::Kind;
use domain::{ApprovalId, Class, Confirmation, Demand, SenderConstraint, TaskProfile};
use holder::Holder;
use http::Request;
use serde_json::{Value, json};
use server::audit::Audit;
use server::authorize::Authorize;
use server::broker::Broker;
use server::registry::approval_digest;
use server::settings::UpstreamAuth;
use store::{Change, PutApproval, PutIntegration};
use tower::ServiceExt as _;
use world::{Answer, World, claims_of, details};

const URL: &str = "https://gate.example/mercy/oauth/token";

/// `POST /mercy/oauth/token` by `client` with these DPoP headers, at this node.
async fn asked(node: &Router, form: String, proofs: &[&str]) -> Answer {
    let mut request = Request::post("/mercy/oauth/token").header("content-type", "application/x-www-form-urlencoded");
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    let response = node.clone().oneshot(request.body(Body::from(form)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    Answer { status: head.status, headers: head.headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

fn form(world: &World, key: &Key, client: &str, rest: &str) -> String {
    format!("grant_type=client_credentials&{}&{rest}", world.proof(key, client))
}

/// The agent asks with a fresh ticket.
async fn token(world: &World, proofs: &[&str]) -> Answer {
    let ticket = world.ticket().await;
    asked(&world.router, form(world, &world.agent, "agent", &format!("launch={ticket}")), proofs).await
}

fn nonce_of(answer: &Answer) -> Option<String> {
    answer.headers.get("dpop-nonce").map(|value| value.to_str().unwrap().to_owned())
}

impl Holder {
    fn proof(&self, world: &World, nonce: &str) -> String {
        self.sign(&self.head(), &self.claims("POST", URL, world.clock.now(), Some(nonce), None))
    }

    /// Asks for the nonce that is good now, as every client must once.
    async fn nonce(&self, world: &World) -> String {
        let proof = self.sign(&self.head(), &self.claims("POST", URL, world.clock.now(), None, None));
        let refused = token(world, &[&proof]).await;
        assert_eq!(refused.error(), (400, "use_dpop_nonce"), "DP-05: {}", refused.body);
        nonce_of(&refused).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_03_the_token_is_bound_to_the_key() {
    let world = World::new().await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    assert_eq!(world.records(Kind::TokenDenied).await[0].reason, "proof-nonce");
    let issued = token(&world, &[&holder.proof(&world, &nonce)]).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    assert_eq!(issued.body["token_type"], "DPoP", "D-06");
    assert_eq!(nonce_of(&issued), None, "the one it has is young");
    let access = issued.body["access_token"].as_str().unwrap();
    assert_eq!(claims_of(access)["cnf"], json!({"jkt": holder.jkt()}));
    let session = world.tokens.verify(&"mercy".parse().unwrap(), access, NOW).unwrap();
    assert_eq!(session.confirmation, Some(Confirmation::Dpop(holder.thumbprint())));
    let question = format!("{}&token={access}", world.proof(&world.agent, "agent"));
    let told = world.post("/mercy/oauth/introspect", question).await.body;
    assert_eq!((&told["cnf"], &told["token_type"]), (&json!({"jkt": holder.jkt()}), &json!("DPoP")), "IN-08, DP-08");
    // Without a proof all is as before.
    let bearer = token(&world, &[]).await;
    assert_eq!((bearer.body["token_type"].as_str(), nonce_of(&bearer)), (Some("Bearer"), None), "D-06");
    assert_eq!(claims_of(bearer.body["access_token"].as_str().unwrap()).get("cnf"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_220_what_does_not_hold_is_refused_and_on_record() {
    let world = World::new().await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    let claims = || holder.claims("POST", URL, world.clock.now(), Some(&nonce), None);
    let mut refused = 0;
    for (name, proof) in holder.spoiled(&claims) {
        let answer = token(&world, &[&proof]).await;
        assert_eq!(answer.error(), (400, "invalid_dpop_proof"), "{name}");
        assert_eq!(answer.body.get("access_token"), None);
        refused += 1;
    }
    let (one, two) = (holder.proof(&world, &nonce), holder.proof(&world, &nonce));
    assert_eq!(token(&world, &[&one, &two]).await.error(), (400, "invalid_dpop_proof"), "two headers");
    assert_eq!(token(&world, &[&one, &one]).await.error(), (400, "invalid_dpop_proof"), "two headers alike");
    assert_eq!(token(&world, &[&one]).await.status, 200, "neither was used up by that");
    assert_eq!(token(&world, &[&one]).await.error(), (400, "invalid_dpop_proof"), "DP-07: replayed");
    // The same `jti` in a new proof.
    let mut again = claims();
    assert_eq!(token(&world, &[&holder.sign(&holder.head(), &again)]).await.status, 200);
    again["iat"] = json!(NOW / 1_000 + 1);
    assert_eq!(
        token(&world, &[&holder.sign(&holder.head(), &again)]).await.error(),
        (400, "invalid_dpop_proof"),
        "DP-07"
    );
    for (name, other) in [("empty", ""), ("made up", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), ("cut", &nonce[1..])] {
        let mut claims = claims();
        claims["nonce"] = json!(other);
        let expected = if other.is_empty() { "invalid_dpop_proof" } else { "use_dpop_nonce" };
        let answer = token(&world, &[&holder.sign(&holder.head(), &claims)]).await;
        assert_eq!(answer.error(), (400, expected), "nonce {name}");
        assert_eq!(nonce_of(&answer).is_some(), expected == "use_dpop_nonce");
    }
    let records = world.records(Kind::TokenDenied).await;
    assert_eq!(records.iter().filter(|record| record.reason == "proof-invalid").count(), refused + 5);
    assert_eq!(records.iter().filter(|record| record.reason == "proof-nonce").count(), 3);
    assert!(world.alerts().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn neg_221_the_url_may_be_written_otherwise() {
    let world = World::new().await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    for url in [
        "https://gate.example/mercy/oauth/token?a=b",
        "https://gate.example:443/mercy/oauth/token",
        "HTTPS://Gate.Example/mercy/oauth/token#x",
    ] {
        let claims = holder.claims("POST", url, NOW, Some(&nonce), None);
        assert_eq!(token(&world, &[&holder.sign(&holder.head(), &claims)]).await.status, 200, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_proof_sent_fifty_times_at_once_one_is_taken() {
    let world = World::new().await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    let proof = holder.proof(&world, &nonce);
    let mut forms = Vec::new();
    for _ in 0..50 {
        let ticket = world.ticket().await;
        forms.push(form(&world, &world.agent, "agent", &format!("launch={ticket}")));
    }
    let answers: Vec<_> = forms
        .into_iter()
        .map(|form| {
            let (router, proof) = (world.router.clone(), proof.clone());
            tokio::spawn(async move { asked(&router, form, &[&proof]).await })
        })
        .collect();
    let mut taken = 0;
    for answer in answers {
        let answer = answer.await.unwrap();
        match answer.status.as_u16() {
            200 => taken += 1,
            _ => assert_eq!(answer.error(), (400, "invalid_dpop_proof")),
        }
    }
    assert_eq!(taken, 1, "DP-07");
}

/// A second node over the same store, keys and registry.
async fn second_node(world: &World, ledger: &std::path::Path) -> Router {
    let tenants = [tenant("mercy", &world.ehr.base_url, UpstreamAuth::None)];
    let audit = Audit::open(ledger, "node-2", "gate.example", world.keys.clone(), world.clock.clone()).await.unwrap();
    let broker = Broker::new(&tenants, &loopback(), world.keys.clone(), world.clock.clone()).unwrap();
    let (store, registry, keys) = (world.store.clone(), world.registry.clone(), world.keys.clone());
    Authorize::new(&tenants, store, registry, keys, audit, broker, world.clock.clone()).unwrap().router()
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_05_a_proof_is_good_on_one_node() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let other = second_node(&world, &dir.path().join("ledger")).await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    let proof = holder.proof(&world, &nonce);
    let at_other = async |proof: &str| {
        let ticket = world.ticket().await;
        asked(&other, form(&world, &world.agent, "agent", &format!("launch={ticket}")), &[proof]).await
    };
    let refused = at_other(&proof).await;
    assert_eq!(refused.error(), (400, "use_dpop_nonce"), "before it was used");
    assert_eq!(token(&world, &[&proof]).await.status, 200);
    let refused_again = at_other(&proof).await;
    assert_eq!(refused_again.error(), (400, "use_dpop_nonce"), "and after");
    let others = nonce_of(&refused).unwrap();
    assert_ne!(others, nonce, "each node has its own");
    let for_other = holder.proof(&world, &others);
    assert_eq!(token(&world, &[&for_other]).await.error(), (400, "use_dpop_nonce"));
    assert_eq!(at_other(&for_other).await.status, 200);
    assert_eq!(at_other(&for_other).await.error(), (400, "invalid_dpop_proof"), "each remembers what it has seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_are_renewed_before_they_end() {
    let world = World::new().await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    world.clock.advance(200_000);
    let late = token(&world, &[&holder.proof(&world, &nonce)]).await;
    let next = nonce_of(&late).unwrap();
    assert_eq!((late.status.as_u16(), next != nonce), (200, true), "given with a success, in time");
    world.clock.advance(100_000);
    let ended = token(&world, &[&holder.proof(&world, &nonce)]).await;
    assert_eq!(ended.error(), (400, "use_dpop_nonce"));
    assert_eq!(token(&world, &[&holder.proof(&world, &next)]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_uses_nothing_up() {
    let world = World::new().await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    let proof = holder.proof(&world, &nonce);
    let ticket = world.ticket().await;
    let forged = form(&world, &world.stranger, "agent", &format!("launch={ticket}"));
    assert_eq!(asked(&world.router, forged, &[&proof]).await.error(), (401, "invalid_client"));
    assert_eq!(token(&world, &[&proof]).await.status, 200, "whoever has not authenticated fills no memory");
}

/// An integration with `demands`, approved for `profile`, that names its patient by a relationship.
async fn approved(world: &World, id: &str, key: &Key, demands: &[Demand], profile: TaskProfile) {
    let mut client = integration(id, "mercy", Class::ClinicalAi, &key.jwks());
    client.demands = demands.iter().copied().collect();
    let terms = terms(900, 100);
    let digest = approval_digest(&client, None, &profile, &terms);
    let mut approval = approval("mercy", id, terms, digest);
    approval.id = ApprovalId(*format!("approval-{id:0>7}").as_bytes().first_chunk().unwrap());
    approval.task = profile.reference();
    let change = Change {
        profiles: if profile.version == 1 { vec![] } else { vec![("mercy".parse().unwrap(), profile)] },
        integrations: vec![PutIntegration { integration: client, thumbprints: vec![], expected: None }],
        approvals: vec![PutApproval { approval, expected: None }],
        ..Change::default()
    };
    let feed = world.store.apply(&change, NOW).await.unwrap().unwrap();
    assert!(world.registry.reached(feed).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_must_bind_its_tokens_gets_no_other() {
    let world = World::new().await;
    let (by_client, by_task) = (Key::new(), Key::new());
    approved(&world, "dpop", &by_client, &[Demand::Dpop], profile()).await;
    let required = TaskProfile { version: 2, sender_constraint: SenderConstraint::Required, ..profile() };
    approved(&world, "task", &by_task, &[], required).await;
    let holder = Holder::new();
    let nonce = holder.nonce(&world).await;
    for (client, key, refusal) in [("dpop", &by_client, "invalid_dpop_proof"), ("task", &by_task, "invalid_request")] {
        let rest = format!("{}&scope=patient/Patient.rs", details("P1"));
        let refused = asked(&world.router, form(&world, key, client, &rest), &[]).await;
        assert_eq!(refused.error(), (400, refusal), "{client}: {}", refused.body);
        let proof = holder.proof(&world, &nonce);
        let bound = asked(&world.router, form(&world, key, client, &rest), &[&proof]).await;
        assert_eq!(
            (bound.status.as_u16(), &bound.body["token_type"]),
            (200, &json!("DPoP")),
            "{client}: {}",
            bound.body
        );
    }
    let records = world.records(Kind::TokenDenied).await;
    assert_eq!(records.iter().filter(|record| record.reason == "proof-invalid").count(), 2);
}
