//! A session that the EHR launched uses the EHR's own token, for everything and alone; with the session ends the token (S1-32).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;
#[path = "support/fake_ehr.rs"]
mod fake_ehr;
mod support;

use std::collections::BTreeSet;

use base64::Engine as _;
use domain::{LaunchKind, Session};
use fake_ehr::FakeEhr;
use serde_json::{Value, json};
use server::audit::{Filter, PhiAccess, RecordView};
use server::broker::{Broker, UpstreamGrant};
use server::settings::{ConsentSource, UpstreamAuth};
use support::{Gate, NOW};

const SCOPES: &str = "patient/Patient.rs patient/Observation.cruds";
const MINUTE: i64 = 60_000;

struct World {
    gate: Gate,
    ehr: FakeEhr,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let (ehr, folder) = (FakeEhr::start().await, tempfile::tempdir().unwrap());
        let key = folder.path().join("ehr.pem");
        let text = base64::engine::general_purpose::STANDARD.encode(authorize_common::Key::new().pkcs8());
        std::fs::write(&key, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
        let token = folder.path().join("tenant-token");
        std::fs::write(&token, "tenants").unwrap();
        let settings = ehr.settings(&key);
        let base = ehr.base();
        let gate = Gate::start_with(
            |demo| demo,
            |tenant| {
                tenant.upstream.fhir = base;
                tenant.upstream.auth = UpstreamAuth::Bearer { token };
                tenant.upstream.consent = ConsentSource::Upstream;
                tenant.ehr = Some(settings);
            },
        )
        .await;
        Self { gate, ehr, _folder: folder }
    }

    fn broker(&self) -> &Broker {
        &self.gate.server.parts.gate.broker
    }

    /// A session as an EHR launch starts one, without what it was granted.
    async fn session(&self, patient: &str) -> (Session, String) {
        let mut session = self.gate.session(patient, SCOPES).await;
        session.launch = LaunchKind::Ehr;
        let token = self.gate.sign(&session, |_| {});
        (session, token)
    }

    async fn hold(&self, session: &Session, grant: UpstreamGrant) {
        self.broker().hold_grant(&session.tenant, &session.id, &grant, NOW + 60 * MINUTE).await.unwrap();
    }

    /// One with a grant that lives for five minutes.
    async fn launched(&self, n: u32, refresh: Option<&str>) -> (Session, String) {
        let (session, token) = self.session("P1").await;
        self.hold(&session, self.ehr.grant(n, NOW + 5 * MINUTE, refresh)).await;
        (session, token)
    }

    async fn status(&self, token: &str) -> u16 {
        self.gate.get(token, "Patient/P1").await.status
    }

    fn refreshes(&self) -> Vec<String> {
        self.ehr.came("/token").iter().map(|came| came.form["refresh_token"].clone()).collect()
    }

    async fn records(&self, kind: domain::audit::Kind) -> Vec<RecordView> {
        let tenant = Some(self.gate.tenant().id.to_string());
        let filter = Filter { tenant, kinds: vec![kind], limit: 100, ..Filter::default() };
        self.gate.server.parts.audit.search(filter, PhiAccess::Sealed).await.unwrap().records
    }

    /// Waits for what became of a session's grant.
    async fn revocation(&self, session: &Session) -> (String, &'static str) {
        for _ in 0..400 {
            let records = self.records(domain::audit::Kind::UpstreamRevoke).await;
            let found = records.iter().find(|record| record.session == Some(session.id.to_string()));
            if let Some(record) = found {
                assert_eq!(record.integration, session.integration.to_string());
                return (record.reason.clone(), record.outcome);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("nothing became of the grant of {}", session.id);
    }

    async fn alerts(&self) -> BTreeSet<String> {
        self.records(domain::audit::Kind::Alert).await.into_iter().map(|record| record.reason).collect()
    }

    async fn is_forgotten(&self, session: &Session) -> bool {
        for _ in 0..200 {
            if self.gate.store().find_grant(&session.id).await.unwrap().is_none() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }
}

fn refreshed(n: u32, more: Value) -> Value {
    let mut answer = json!({"access_token": format!("own-{n}"), "token_type": "Bearer", "expires_in": 300});
    answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    answer
}

/// What a client is told when the EHR has ended what it granted.
fn is_gone(reply: &support::Reply) {
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Bearer error=\"invalid_token\""));
    assert_eq!(reply.json()["issue"][0]["code"], "expired", "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_session_uses_its_own_token() {
    let world = World::new().await;
    let (_, token) = world.launched(1, None).await;
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(world.gate.get(&token, "Observation?code=8867-4").await.status, 200);
    let body =
        r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}}"#;
    let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "application/fhir+json")];
    assert_eq!(world.gate.send("POST", "Observation", &headers, body).await.status, 201);
    let seen = world.ehr.fhir_tokens();
    assert!(seen.len() >= 4, "the patient's consents are asked too: {seen:?}");
    assert!(seen.iter().all(|token| token == "Bearer own-1"), "{seen:?}");
    // A session that was not launched there goes on with the tenant's.
    world.ehr.say(|script| script.takes.push("tenants".into()));
    let other = world.gate.token(SCOPES).await;
    assert_eq!(world.status(&other).await, 200);
    assert_eq!(world.ehr.fhir_tokens().last().unwrap(), "Bearer tenants");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_own_token_a_session_reaches_nothing() {
    let world = World::new().await;
    // Both would be taken: nobody may fall back on the tenant's.
    world.ehr.say(|script| script.takes = vec!["tenants".into(), "own-1".into()]);
    let (_, never) = world.session("P1").await;
    is_gone(&world.gate.get(&never, "Patient/P1").await);
    assert!(world.ehr.fhir_tokens().is_empty());
    let (_, token) = world.launched(1, None).await;
    assert_eq!(world.status(&token).await, 200);
    world.gate.clock.advance(5 * MINUTE);
    is_gone(&world.gate.get(&token, "Patient/P1").await);
    let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "application/fhir+json")];
    let body =
        r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/P1"}}"#;
    is_gone(&world.gate.send("POST", "Observation", &headers, body).await);
    assert!(!world.ehr.fhir_tokens().contains(&"Bearer tenants".to_owned()));
    assert!(world.gate.codes().await.contains(&"upstream-token-gone".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_do_not_mix() {
    let world = World::new().await;
    world.ehr.say(|script| script.takes = vec!["own-1".into(), "own-2".into()]);
    let (first, one) = world.launched(1, None).await;
    let (second, two) = world.launched(2, None).await;
    for _ in 0..3 {
        for (token, own) in [(&one, "Bearer own-1"), (&two, "Bearer own-2")] {
            assert_eq!(world.status(token).await, 200);
            assert_eq!(world.ehr.fhir_tokens().last().unwrap(), own);
        }
    }
    // A sealed grant put into another session's place does not open there.
    let row = world.gate.store().find_grant(&first.id).await.unwrap().unwrap();
    let (third, three) = world.session("P1").await;
    assert!(world.gate.store().insert_grant(&third.id, &third.tenant, &row.sealed, NOW + MINUTE).await.unwrap());
    is_gone(&world.gate.get(&three, "Patient/P1").await);
    let again = world.ehr.grant(3, NOW + MINUTE, None);
    let held = world.broker().hold_grant(&second.tenant, &second.id, &again, NOW + MINUTE).await;
    assert!(held.is_err(), "one grant a session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_once_ahead_of_its_end_however_many_ask() {
    let world = World::new().await;
    world.ehr.say(|script| {
        script.takes = vec!["own-1".into(), "own-2".into(), "own-3".into()];
        script.tokens = [(200, refreshed(2, json!({"refresh_token": "r-2"}))), (200, refreshed(3, json!({})))].into();
    });
    let (session, token) = world.launched(1, Some("r-1")).await;
    assert_eq!(world.status(&token).await, 200);
    assert!(world.refreshes().is_empty());
    world.gate.clock.advance(5 * MINUTE);
    let asked = (0..20).map(|_| world.status(&token));
    assert!(futures_util::future::join_all(asked).await.iter().all(|status| *status == 200));
    assert_eq!(world.refreshes(), ["r-1"], "single flight");
    assert_eq!(world.ehr.fhir_tokens().last().unwrap(), "Bearer own-2");
    // Another node finds the new one in the store, and the rotated refresh token with it.
    let keys = world.gate.server.parts.keys.clone();
    let other =
        Broker::new(&world.gate.settings.tenants, &world.gate.settings.outbound, keys, world.gate.clock.clone());
    drop(other.unwrap());
    assert_eq!(world.gate.store().find_grant(&session.id).await.unwrap().unwrap().revision, 2);
    world.gate.clock.advance(5 * MINUTE - 10_000);
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(world.refreshes(), ["r-1", "r-2"], "the rotated one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_of_the_upstream_is_answered_by_one_refresh() {
    let world = World::new().await;
    world.ehr.say(|script| {
        script.takes = vec!["own-2".into(), "tenants".into()];
        script.tokens = [(200, refreshed(2, json!({}))), (200, refreshed(3, json!({})))].into();
    });
    let (_, token) = world.launched(1, Some("r-1")).await;
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(world.refreshes().len(), 1);
    world.ehr.say(|script| script.takes = vec!["tenants".into()]);
    is_gone(&world.gate.get(&token, "Patient/P1").await);
    assert_eq!(world.refreshes().len(), 2, "once, and then refused");
    // Without a refresh token there is nothing to try.
    let (_, bare) = world.launched(1, None).await;
    is_gone(&world.gate.get(&bare, "Patient/P1").await);
    assert!(!world.ehr.fhir_tokens().contains(&"Bearer tenants".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_fails_refuses_the_request() {
    let world = World::new().await;
    world.ehr.say(|script| {
        script.takes = vec!["own-1".into(), "tenants".into()];
        script.tokens = [(503, json!({}))].into();
    });
    let (_, token) = world.launched(1, Some("r-1")).await;
    world.gate.clock.advance(4 * MINUTE + 50_000);
    assert_eq!(world.status(&token).await, 200, "the old one lives yet");
    world.gate.clock.advance(MINUTE);
    assert_eq!(world.status(&token).await, 503);
    world.ehr.say(|script| script.tokens = [(400, json!({"error": "invalid_grant"}))].into());
    world.gate.clock.advance(2_000);
    is_gone(&world.gate.get(&token, "Patient/P1").await);
    let asked = world.refreshes().len();
    is_gone(&world.gate.get(&token, "Patient/P1").await);
    assert_eq!(world.refreshes().len(), asked, "a refusal is final");
    assert!(!world.ehr.fhir_tokens().contains(&"Bearer tenants".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_for_another_patient_ends_the_session() {
    let world = World::new().await;
    world
        .ehr
        .say(|script| script.tokens = [(200, refreshed(2, json!({"patient": "P2", "refresh_token": "r-2"})))].into());
    let (session, token) = world.launched(1, Some("r-1")).await;
    world.gate.clock.advance(5 * MINUTE);
    is_gone(&world.gate.get(&token, "Patient/P1").await);
    assert_eq!(world.revocation(&session).await, ("revoked".into(), "success"));
    assert_eq!(world.ehr.revoked(), ["r-2", "own-2"], "what was granted last");
    assert!(world.gate.server.parts.registry.session_ended(&session.id));
    assert!(world.alerts().await.contains("upstream-patient-switched"));
    assert!(!world.ehr.fhir_tokens().iter().any(|token| token.contains("own-2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_32_an_end_revokes_both_tokens_and_forgets_them() {
    let world = World::new().await;
    let (session, token) = world.launched(1, Some("r-1")).await;
    assert_eq!(world.status(&token).await, 200);
    assert!(world.gate.end(&session).await);
    assert_eq!(world.status(&token).await, 401);
    assert_eq!(world.revocation(&session).await, ("revoked".into(), "success"));
    assert_eq!(world.ehr.revoked(), ["r-1", "own-1"]);
    assert!(world.ehr.came("/revoke").iter().all(|came| came.form.contains_key("client_assertion")));
    assert!(world.is_forgotten(&session).await);
    assert_eq!(world.records(domain::audit::Kind::UpstreamRevoke).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_32_an_end_does_not_wait_for_the_ehr() {
    let world = World::new().await;
    let (session, token) = world.launched(1, None).await;
    let held = world.ehr.revoking.clone().lock_owned().await;
    assert!(world.gate.end(&session).await);
    assert_eq!(world.status(&token).await, 401);
    assert!(world.records(domain::audit::Kind::UpstreamRevoke).await.is_empty());
    drop(held);
    assert_eq!(world.revocation(&session).await, ("revoked".into(), "success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_32_unsupported_and_failed_are_on_record() {
    let world = World::new().await;
    let (session, _) = world.session("P1").await;
    let mut grant = world.ehr.grant(1, NOW + MINUTE, Some("r-1"));
    grant.revocation_endpoint = None;
    world.hold(&session, grant).await;
    world.gate.end(&session).await;
    assert_eq!(world.revocation(&session).await, ("unsupported".into(), "failed"));
    world.ehr.say(|script| script.revoke = (400, json!({"error": "unsupported_token_type"})));
    let (session, _) = world.launched(1, None).await;
    world.gate.end(&session).await;
    assert_eq!(world.revocation(&session).await, ("unsupported".into(), "failed"));
    assert!(!world.alerts().await.contains("upstream-revocation-failed"));

    world.ehr.say(|script| script.revoke = (500, json!({})));
    let (session, _) = world.launched(1, None).await;
    world.gate.end(&session).await;
    // Tried a bounded number of times, further and further apart.
    let parts = &world.gate.server.parts;
    for _ in 0..400 {
        let row = world.gate.store().find_grant(&session.id).await.unwrap();
        let Some(row) = row else { break };
        assert!(row.attempts <= 5);
        world.gate.clock.advance(120_000);
        world.broker().revoke_due(&parts.registry, &parts.audit).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.revocation(&session).await, ("failed".into(), "failed"));
    assert!(world.alerts().await.contains("upstream-revocation-failed"));
    assert!(world.is_forgotten(&session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_32_a_session_that_nobody_ended_is_revoked_when_its_time_is_over() {
    let world = World::new().await;
    let (session, _) = world.launched(1, Some("r-1")).await;
    assert!(world.broker().keep_grant(&session.id, NOW + 90 * MINUTE).await.unwrap());
    world.gate.clock.advance(90 * MINUTE);
    assert_eq!(world.revocation(&session).await, ("revoked".into(), "success"));
    assert_eq!(world.ehr.revoked(), ["r-1", "own-1"]);
    assert!(world.is_forgotten(&session).await);
    assert!(!world.broker().keep_grant(&session.id, NOW + 99 * MINUTE).await.unwrap());
}
