//! `/api/v1` with the real ledger and key ring behind it: what people do is found in the log, and reading the log too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::audit::{AuditRecord, Kind, Outcome};
use domain::{Role, TenantId};
use serde_json::{Value, json};
use server::audit::{Audit, Lane};
use server::clock::{Clock, random};
use server::keys::KeyRing;
use server::registry::{Registry, credential_hash};
use server::settings::{TenantSettings, UpstreamAuth, UpstreamSettings};
use store::{NewPerson, RoleGrant, Store};
use tower::ServiceExt as _;
use vault::RootKey;

const NOW: i64 = 1_795_000_000_000;

struct Api {
    registry: Registry,
    store: Store,
    audit: Audit,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Api {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let (tenant, clock): (TenantId, _) = ("mercy".parse().unwrap(), Clock::fixed(NOW));
        let root = RootKey::parse(&[1; 32]).unwrap();
        let keys = KeyRing::open(&root, &store, std::slice::from_ref(&tenant), NOW).await.unwrap();
        let audit = Audit::open(folder.path(), "node-1", "gate.example", keys.clone(), clock.clone()).await.unwrap();
        let upstream = UpstreamSettings {
            fhir: "https://ehr.example/fhir".into(),
            auth: UpstreamAuth::None,
            shared: [].into(),
            timeout: Duration::from_secs(1),
            body_bytes_max: 1024,
            consent: server::settings::ConsentSource::None,
        };
        let settings = TenantSettings {
            id: tenant,
            name: "Mercy".into(),
            public_url: "https://gate.example".into(),
            upstream,
            people: Default::default(),
            ehr: None,
            client_ca: None,
        };
        let registry = Registry::open(store.clone(), &[settings], audit.clone(), keys, clock.clone()).await.unwrap();
        let out = Self { registry, store, audit, clock, _folder: folder };
        for (id, role) in [("olga", Role::Operator), ("pia", Role::PrivacyOfficer), ("aude", Role::Auditor)] {
            let person = NewPerson {
                id: format!("{id}@x").parse().unwrap(),
                name: id.into(),
                credential: "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA".into(),
                roles: vec![RoleGrant { tenant: Some("mercy".parse().unwrap()), role }],
            };
            out.store.add_person(&person, "test", NOW).await.unwrap().unwrap();
            let hash = credential_hash(&format!("a-token-of-{id}"));
            out.store.add_api_token(&hash, &person.id, NOW, NOW + 3_600_000).await.unwrap();
        }
        out
    }

    async fn call(&self, who: &str, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer a-token-of-{who}"))
            .body(Body::from(if body.is_null() { String::new() } else { body.to_string() }))
            .unwrap();
        let response = self.registry.admin_router().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, who: &str, path: &str) -> Value {
        let (status, value) = self.call(who, "GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_what_people_did_and_who_read_it() {
    let api = Api::start().await;
    let mut read = AuditRecord::new("mercy", Kind::FhirRead, Outcome::Success, random().unwrap());
    read.phi.patients = vec!["P1".into()];
    api.audit.append(api.audit.reserve(Lane::Release).unwrap(), read).await.unwrap();
    api.audit.alert(&"mercy".parse().unwrap(), "type-unexpected", "PATIENT-TEXT", Default::default()).await;
    let task = json!({ "purpose": "p", "purpose_of_use": "TREAT", "scopes": "patient/Patient.r" });
    assert_eq!(api.call("olga", "PUT", "/tenants/mercy/tasks/look/1", task).await.0, StatusCode::OK);
    assert_eq!(api.call("aude", "POST", "/tenants/mercy/keys/rotate", json!({})).await.0, StatusCode::FORBIDDEN);

    let changes = api.get("aude", "/tenants/mercy/audit?kind=registry-change&person=olga@x").await;
    let all = changes["records"].as_array().unwrap();
    let phases: Vec<_> = all.iter().map(|one| one["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["outcome", "intent"], "{changes}");
    assert_eq!(all[0]["request"], all[1]["request"]);
    assert!(all[0].get("phi").is_none_or(Value::is_null), "sealed unless asked for");
    let denied = api.get("pia", "/tenants/mercy/audit?outcome=denied&person=aude@x").await;
    assert_eq!(denied["records"][0]["reason"], "role-insufficient");

    let who = api.get("pia", "/tenants/mercy/who?patient=Patient/P1").await;
    assert!(who.to_string().contains("fhir.read"), "{who}");
    let again = api.get("pia", "/tenants/mercy/who?patient=P1").await;
    assert!(again.to_string().contains("audit.read"), "the first look is itself in the answer: {again}");
    let alerts = api.get("olga", "/tenants/mercy/alerts").await;
    assert_eq!(alerts["records"][0]["reason"], "type-unexpected");
    assert!(!alerts.to_string().contains("PATIENT-TEXT"), "no patient data for operators");

    let id = who["records"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let shown = api.get("aude", &format!("/tenants/{}", id.replacen('/', "/audit/", 1))).await;
    assert_eq!(shown["phi"]["patients"], json!(["P1"]), "{shown}");
    let explained = api.get("aude", &format!("/tenants/{}/explain", id.replacen('/', "/audit/", 1))).await;
    assert!(!explained["says"].as_array().unwrap().is_empty());
    assert_eq!(api.get("aude", "/audit/verify").await["logs"].as_array().unwrap().len(), 2, "mercy and _system");

    for (who, path, status) in [
        ("olga", "/tenants/mercy/audit", StatusCode::FORBIDDEN),
        ("olga", "/tenants/mercy/who?patient=P1", StatusCode::FORBIDDEN),
        ("aude", "/tenants/mercy/audit?kind=nope", StatusCode::BAD_REQUEST),
        ("aude", "/tenants/mercy/audit?what=1", StatusCode::BAD_REQUEST),
        ("aude", "/tenants/mercy/audit?limit=100000", StatusCode::BAD_REQUEST),
        ("aude", "/tenants/mercy/who", StatusCode::BAD_REQUEST),
        ("aude", "/tenants/mercy/who?patient=P1,P2", StatusCode::BAD_REQUEST),
        ("aude", "/tenants/mercy/audit/node-9/1", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(api.call(who, "GET", path, Value::Null).await.0, status, "{who} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_a_token_key_keeps_the_old_one_for_its_tokens() {
    let api = Api::start().await;
    let before = api.get("olga", "/tenants/mercy/keys").await;
    api.clock.advance(1_000);
    let (status, made) = api.call("olga", "POST", "/tenants/mercy/keys/rotate", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let after = api.get("olga", "/tenants/mercy/keys").await;
    assert_eq!(
        (before["items"].as_array().unwrap().len(), after["items"].as_array().unwrap().len()),
        (1, 2),
        "{after}"
    );
    let retired: Vec<_> = after["items"].as_array().unwrap().iter().map(|key| !key["retired_at"].is_null()).collect();
    assert_eq!(retired.iter().filter(|retired| **retired).count(), 1, "{after}");
    assert!(!after.to_string().contains("wrapped"));
}
