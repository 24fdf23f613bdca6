//! The registry through its own API: real SQLite in memory, a fixed clock, and a recorder that can be told to fail.

mod access;
mod approving;
mod feed;
mod manifest;
mod narrowing;
mod people;
mod roles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::audit::AuditRecord;
use domain::{Approval, ApprovalId, IntegrationId, Role, TenantId};
use parking_lot::Mutex;
use serde_json::{Value, json};
use store::{NewPerson, RoleGrant, Store};
use tower::ServiceExt as _;

use super::trail::Trail;
use super::{RecordFailed, Recorder, Recording, Registry, credential_hash};
use crate::clock::Clock;
use crate::settings::{TenantSettings, UpstreamAuth, UpstreamSettings};

pub(super) const NOW: i64 = 1_795_000_000_000;

#[derive(Default)]
pub(super) struct Fake {
    pub records: Mutex<Vec<AuditRecord>>,
    pub broken: AtomicBool,
    /// `tenant reason`.
    pub counted: Mutex<BTreeMap<String, u32>>,
}

impl Recorder for Arc<Fake> {
    fn append(&self, record: AuditRecord) -> Recording<'_> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(RecordFailed);
            }
            self.records.lock().push(record);
            Ok(())
        })
    }

    fn count(&self, tenant: &str, reason: domain::Reason, _: std::net::IpAddr) {
        *self.counted.lock().entry(format!("{tenant} {}", reason.code())).or_default() += 1;
    }
}

pub(super) struct Bench {
    pub registry: Registry,
    pub store: Store,
    pub fake: Arc<Fake>,
    pub clock: Clock,
}

pub(super) fn tenant(id: &str) -> TenantSettings {
    TenantSettings {
        id: id.parse().unwrap(),
        name: id.to_owned(),
        public_url: "https://gate.example".into(),
        people: Default::default(),
        ehr: None,
        client_ca: None,
        upstream: UpstreamSettings {
            fhir: "https://ehr.example/fhir".into(),
            auth: UpstreamAuth::None,
            shared: fhir::owner::SHARED_DEFAULT.iter().copied().collect(),
            timeout: Duration::from_secs(1),
            body_bytes_max: 1024,
            consent: crate::settings::ConsentSource::None,
        },
    }
}

impl Bench {
    pub async fn new() -> Self {
        Self::on(Store::open("sqlite::memory:").await.unwrap()).await
    }

    pub async fn on(store: Store) -> Self {
        let (fake, clock) = (Arc::new(Fake::default()), Clock::fixed(NOW));
        let tenants = [tenant("mercy"), tenant("other")];
        let trail = Trail(Arc::new(Arc::clone(&fake)));
        let registry = Registry::start(store.clone(), &tenants, None, trail, None, clock.clone()).await.unwrap();
        Self { registry, store, fake, clock }
    }

    /// A person with a token, without a passphrase that anyone knows; the token is `a-token-of-{id}`.
    pub async fn person(&self, id: &str, roles: &[(Option<&str>, Role)]) {
        let person = NewPerson {
            id: id.parse().unwrap(),
            name: id.to_owned(),
            credential: "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA".into(),
            roles: roles
                .iter()
                .map(|(tenant, role)| RoleGrant { tenant: tenant.map(|id| id.parse().unwrap()), role: *role })
                .collect(),
        };
        self.store.add_person(&person, "test", NOW).await.unwrap().unwrap();
        self.token(id).await;
    }

    pub async fn token(&self, id: &str) {
        let now = self.clock.now();
        let hash = credential_hash(&format!("a-token-of-{id}"));
        self.store.end_api_token(&hash).await.unwrap();
        self.store.add_api_token(&hash, &id.parse().unwrap(), now, now + 8 * 3_600_000).await.unwrap();
    }

    /// The usual three: `olga` operator, `pia` privacy officer, `aude` auditor, all in mercy.
    pub async fn staff(&self) {
        self.person("olga@mercy.example", &[(Some("mercy"), Role::Operator)]).await;
        self.person("pia@mercy.example", &[(Some("mercy"), Role::PrivacyOfficer)]).await;
        self.person("aude@mercy.example", &[(Some("mercy"), Role::Auditor)]).await;
    }

    pub async fn call(&self, who: &str, method: &str, path: &str, body: impl Into<String>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if !who.is_empty() {
            request = request.header("authorization", format!("Bearer a-token-of-{who}"));
        }
        let request = request.body(Body::from(body.into())).unwrap();
        let response = self.registry.admin_router().oneshot(request).await.unwrap();
        assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn olga(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call("olga@mercy.example", method, path, body.to_string()).await
    }

    pub async fn pia(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call("pia@mercy.example", method, path, body.to_string()).await
    }

    /// Registers `sched` in mercy.
    pub async fn register(&self, body: Value) -> (StatusCode, Value) {
        self.olga("PUT", "/tenants/mercy/integrations/sched", body).await
    }

    /// With the store gone the API says so, and lets nobody in.
    pub async fn staff_token_fails(&self) {
        let (status, _) = self.olga("GET", "/tenants/mercy/integrations", Value::Null).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }

    /// Registers, asks and approves; the approval's id.
    pub async fn approved(&self) -> ApprovalId {
        assert_eq!(self.register(registration()).await.0, StatusCode::OK);
        let (status, asked) = self.olga("POST", "/tenants/mercy/approvals", asking()).await;
        assert_eq!(status, StatusCode::CREATED, "{asked}");
        let id = asked["id"].as_str().unwrap().to_owned();
        let (status, done) =
            self.pia("POST", &format!("/tenants/mercy/approvals/{id}/approve"), json!({ "until": "2027-01-31" })).await;
        assert_eq!(status, StatusCode::OK, "{done}");
        assert_eq!(done["status"], "approved");
        id.parse().unwrap()
    }

    pub fn approval(&self, id: &ApprovalId) -> Approval {
        Approval::clone(&self.registry.snapshot().held_approval(&mercy(), id).unwrap().value)
    }

    pub fn epoch(&self) -> u64 {
        let id: IntegrationId = "sched".parse().unwrap();
        self.registry.snapshot().integration(&id).unwrap().epoch
    }
}

pub(super) fn mercy() -> TenantId {
    "mercy".parse().unwrap()
}

/// A public P-256 key that differs by `byte`, the same one each time.
pub(super) fn jwks(byte: u8) -> Value {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    static MADE: Mutex<BTreeMap<u8, (String, String)>> = Mutex::new(BTreeMap::new());
    let (x, y) = MADE
        .lock()
        .entry(byte)
        .or_insert_with(|| {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
            (B64.encode(x), B64.encode(y))
        })
        .clone();
    json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "k" }] })
}

pub(super) fn registration() -> Value {
    json!({
        "name": "Scheduler", "environment": "production", "vendor": "Acme", "purpose": "books appointments",
        "owners": { "business": "bea@mercy.example", "technical": "tom@mercy.example" },
        "data_classes": ["scheduling"], "expected": ["Patient", "Appointment"], "expires_at": "2027-06-30",
        "revocation_contact": "soc@mercy.example", "auth": { "keys": { "jwks": jwks(1) } },
    })
}

pub(super) fn terms() -> Value {
    json!({ "launch": [{ "mode": "ticket" }], "token_seconds": 300, "budgets": { "patients_per_hour": 100 } })
}

pub(super) fn asking() -> Value {
    json!({ "integration": "sched", "task": "scheduling@1", "justification": "it books", "terms": terms() })
}
