//! A whole authorization server in process, with SQLite in memory and the demonstration upstream behind it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use demo_ehr::{DemoEhr, Running};
use domain::audit::Kind;
use domain::{Approval, Class, Demand, Integration, ServiceRole, Terms};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use server::audit::{Audit, Filter, PhiAccess, RecordView};
use server::authorize::{Authorize, VerifiedTokens};
use server::broker::Broker;
use server::clock::Clock;
use server::keys::KeyRing;
use server::registry::{Registry, approval_digest};
use server::settings::{OutboundSettings, UpstreamAuth};
use store::{Change, PutApproval, PutIntegration, PutRole, Store};
use tower::ServiceExt as _;
use vault::RootKey;

use crate::authorize_common::{Key, NOW, approval, b64, integration, loopback, profile, tenant, terms};

pub struct World {
    pub router: Router,
    pub tokens: Arc<VerifiedTokens>,
    pub registry: Registry,
    pub store: Store,
    pub audit: Audit,
    pub clock: Clock,
    pub ehr: Running,
    pub keys: KeyRing,
    pub launcher: Key,
    pub agent: Key,
    pub other: Key,
    pub stranger: Key,
    jti: AtomicU64,
    _dir: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["error"].as_str().unwrap_or(""))
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(terms(900, 100)).await
    }

    pub async fn with(terms: Terms) -> Self {
        Self::reaching(terms, &loopback()).await
    }

    /// One that may also fetch from where `outbound` says.
    pub async fn reaching(terms: Terms, outbound: &OutboundSettings) -> Self {
        Self::built(terms, outbound, None, None, &[]).await
    }

    /// One whose agent has a role, as JSON.
    pub async fn in_role(role: &str) -> Self {
        Self::built(terms(900, 100), &loopback(), serde_json::from_str(role).unwrap(), None, &[]).await
    }

    /// One that knows the authorities of its clients' certificates.
    pub async fn trusting(authorities: &Path) -> Self {
        Self::built(terms(900, 100), &loopback(), None, Some(authorities), &[]).await
    }

    /// One whose agent must do more than others.
    pub async fn demanding(demands: &[Demand]) -> Self {
        Self::built(terms(900, 100), &loopback(), None, None, demands).await
    }

    async fn built(
        terms: Terms,
        outbound: &OutboundSettings,
        role: Option<ServiceRole>,
        authorities: Option<&Path>,
        demands: &[Demand],
    ) -> Self {
        let mut resources = demo_ehr::fixture();
        resources.push(json!({"resourceType": "Patient", "id": "PR", "link": [{"other": {"reference": "Patient/P1"}, "type": "replaced-by"}]}));
        resources.push(json!({"resourceType": "Patient", "id": "PU"}));
        resources.push(json!({"resourceType": "Patient", "id": "PL"}));
        resources.push(
            json!({"resourceType": "Appointment", "id": "AL9", "status": "booked", "start": "2026-06-01T09:00:00Z",
            "participant": [{"actor": {"reference": "Patient/PL"}, "status": "accepted"}]}),
        );
        resources.push(json!({"resourceType": "Patient", "id": "PC"}));
        resources.push(
            json!({"resourceType": "Appointment", "id": "AC9", "status": "cancelled", "start": "2026-01-11T09:00:00Z",
            "participant": [{"actor": {"reference": "Patient/PC"}, "status": "accepted"}]}),
        );
        let ehr = DemoEhr::from_resources(resources).start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let clock = Clock::fixed(NOW);
        let dir = tempfile::tempdir().unwrap();
        let mut tenants =
            [tenant("mercy", &ehr.base_url, UpstreamAuth::None), tenant("other", &ehr.base_url, UpstreamAuth::None)];
        tenants[0].client_ca = authorities.map(Path::to_path_buf);
        let ids: Vec<_> = tenants.iter().map(|tenant| tenant.id.clone()).collect();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let keys = KeyRing::open(&RootKey::parse(&[7; 32]).unwrap(), &store, &ids, NOW).await.unwrap();
        let audit = Audit::open(&dir.path().join("ledger"), "node-1", "gate.example", keys.clone(), clock.clone())
            .await
            .unwrap();
        let registry =
            Registry::open(store.clone(), &tenants, audit.clone(), keys.clone(), clock.clone()).await.unwrap();
        let broker = Broker::new(&tenants, outbound, keys.clone(), clock.clone()).unwrap();
        let authorize = Authorize::new(
            &tenants,
            store.clone(),
            registry.clone(),
            keys.clone(),
            audit.clone(),
            broker,
            clock.clone(),
        )
        .unwrap();
        let (launcher, agent, other, stranger) = (Key::new(), Key::new(), Key::new(), Key::new());
        let world = Self {
            router: authorize.router(),
            tokens: authorize.tokens(),
            registry,
            store,
            audit,
            clock,
            ehr,
            keys,
            launcher,
            agent,
            other,
            stranger,
            jti: AtomicU64::new(0),
            _dir: dir,
        };
        let mut agent = integration("agent", "mercy", Class::ClinicalAi, &world.agent.jwks());
        agent.demands = demands.iter().copied().collect();
        agent.role = role.is_some().then(|| "reader".parse().unwrap());
        let digest = approval_digest(&agent, role.as_ref(), &profile(), &terms);
        let approval = approval("mercy", "agent", terms, digest);
        world
            .put(
                &[
                    agent,
                    integration("agent-2", "mercy", Class::ClinicalAi, &world.other.jwks()),
                    integration("launcher", "mercy", Class::Launcher, &world.launcher.jwks()),
                    integration("stranger", "other", Class::ClinicalAi, &world.stranger.jwks()),
                ],
                Some(approval),
                role,
            )
            .await;
        world
    }

    /// Registers one more integration.
    pub async fn register(&self, integration: &Integration) {
        let put = PutIntegration { integration: integration.clone(), thumbprints: vec![], expected: None };
        let change = Change { integrations: vec![put], ..Change::default() };
        let feed = self.store.apply(&change, NOW).await.unwrap().unwrap();
        assert!(self.registry.reached(feed).await);
    }

    async fn put(&self, integrations: &[Integration], approval: Option<Approval>, role: Option<ServiceRole>) {
        let put = |integration: &Integration| PutIntegration {
            integration: integration.clone(),
            thumbprints: vec![],
            expected: None,
        };
        let change = Change {
            profiles: vec![("mercy".parse().unwrap(), profile())],
            integrations: integrations.iter().map(put).collect(),
            approvals: approval.into_iter().map(|approval| PutApproval { approval, expected: None }).collect(),
            roles: role
                .into_iter()
                .map(|role| PutRole {
                    tenant: "mercy".parse().unwrap(),
                    name: "reader".parse().unwrap(),
                    role,
                    expected: None,
                })
                .collect(),
            ..Change::default()
        };
        let feed = self.store.apply(&change, NOW).await.unwrap().unwrap();
        assert!(self.registry.reached(feed).await);
    }

    pub fn claims(&self, client: &str) -> Value {
        let now = self.clock.now() / 1_000;
        let jti = format!("j-{}", self.jti.fetch_add(1, Ordering::SeqCst));
        json!({"iss": client, "sub": client, "aud": "https://gate.example/mercy/oauth/token", "exp": now + 240, "jti": jti})
    }

    pub fn proof(&self, key: &Key, client: &str) -> String {
        form_proof(&key.sign(&self.claims(client)))
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: String) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap();
        let answer = self.send(request).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "PF-12 {path}");
        assert_eq!(answer.headers["pragma"], "no-cache", "PF-12 {path}");
        answer
    }

    pub async fn token(&self, rest: &str) -> Answer {
        let proof = self.proof(&self.agent, "agent");
        self.post("/mercy/oauth/token", format!("grant_type=client_credentials&{proof}&{rest}")).await
    }

    pub async fn launch(&self, members: Value) -> Answer {
        self.launch_by(&self.launcher, "launcher", members).await
    }

    pub async fn launch_by(&self, key: &Key, client: &str, members: Value) -> Answer {
        let mut body = json!({
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": key.sign(&self.claims(client)),
            "client_id": "agent",
            "task": "booking",
            "patient": "Patient/P1",
        });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = Request::post("/mercy/oauth/launch")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        self.send(request).await
    }

    /// A ticket for P1.
    pub async fn ticket(&self) -> String {
        let minted = self.launch(json!({})).await;
        assert_eq!(minted.status, 201, "{}", minted.body);
        minted.body["launch"].as_str().unwrap().to_owned()
    }

    /// A token for P1.
    pub async fn access(&self) -> String {
        let ticket = self.ticket().await;
        let issued = self.token(&format!("launch={ticket}")).await;
        assert_eq!(issued.status, 200, "{}", issued.body);
        issued.body["access_token"].as_str().unwrap().to_owned()
    }

    /// Codes of the alerts raised so far, oldest first.
    pub async fn alerts(&self) -> Vec<String> {
        self.records(Kind::Alert).await.into_iter().rev().map(|alert| alert.reason).collect()
    }

    pub async fn records(&self, kind: Kind) -> Vec<RecordView> {
        let filter = Filter { tenant: Some("mercy".into()), kinds: vec![kind], limit: 100, ..Filter::default() };
        self.audit.search(filter, PhiAccess::Open).await.unwrap().records
    }
}

pub fn form_proof(assertion: &str) -> String {
    format!(
        "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}"
    )
}

pub fn details(patient: &str) -> String {
    let text = format!(r#"[{{"type":"fhir_task","task":"booking","patient":"Patient/{patient}"}}]"#);
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("authorization_details={encoded}")
}

pub fn claims_of(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub fn unused(letter: &str) -> String {
    b64([letter.as_bytes()[0]; 32])
}
