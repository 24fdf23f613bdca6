//! A whole server in process in front of the demonstration upstream, and tokens for any scopes.
//!
//! Tokens are signed with the server's own key ring, so these tests are about the gate alone; the authorization server has its own.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod fixture;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use demo_ehr::{DemoEhr, Running as Upstream};
use domain::{
    Approval, ApprovalId, ApprovalStatus, AssertionAudience, Budgets, Class, ClientAuth, Environment, FirstApproval,
    Integration, IntegrationStatus, Keys, LaunchKind, LaunchMode, Operation, Owners, PhiAccess, RoleName, ServiceRole,
    Session, SessionId, Subject, TaskProfile, TaskRef, Terms,
};
use fhir::ResourceType;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use server::app::{self, Running};
use server::authorize::SESSION_PATIENT;
use server::clock::{Clock, random};
use server::settings::{
    ListenSettings, OutboundSettings, Settings, TenantSettings, TlsFiles, UpstreamAuth, UpstreamSettings,
};
use server::surrogates::{Stood, SurrogateTable};
use store::{Change, PutApproval, PutIntegration, PutRole, Store};
use vault::RootKey;

pub const ABSENT_BUDGET: u32 = 12;
/// Of every session that does not say otherwise: enough for any test but those of budgets.
pub const BUDGETS: Budgets = Budgets {
    patients_per_hour: 10,
    patients_per_day: Some(100),
    absent_per_session: ABSENT_BUDGET,
    requests_per_minute: Some(1_000_000),
    pages_per_search: Some(10_000),
    bytes_per_session: Some(1 << 32),
    types_per_session: Some(200),
};
pub const NOW: i64 = 1_795_398_735_000;
const TENANT: &str = "mercy";

pub struct Gate {
    pub server: Running,
    pub upstream: Upstream,
    pub clock: Clock,
    pub settings: Settings,
    pub folder: tempfile::TempDir,
    pub client: Client<HttpConnector, Full<Bytes>>,
    /// Which of the tenants is asked.
    asked: AtomicUsize,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `Type/id` of the released entries, without the outcome entry.
    pub fn entries(&self) -> Vec<String> {
        let bundle = self.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let name = |entry: &Value, key: &str| entry["resource"][key].as_str().unwrap_or("?").to_owned();
        let mut out: Vec<String> = entries
            .iter()
            .filter(|entry| entry["search"]["mode"] != "outcome")
            .map(|entry| format!("{}/{}", name(entry, "resourceType"), name(entry, "id")))
            .collect();
        out.sort();
        out
    }

    /// The versions of the entries, in their order.
    pub fn versions(&self) -> Vec<String> {
        let bundle = self.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let version = |entry: &Value| entry["resource"]["meta"]["versionId"].as_str().unwrap_or("?").to_owned();
        entries.iter().map(version).collect()
    }

    pub fn link(&self, relation: &str) -> Option<String> {
        let bundle = self.json();
        let found =
            bundle["link"].as_array()?.iter().find(|link| link["relation"] == relation)?["url"].as_str()?.to_owned();
        Some(found)
    }
}

impl Gate {
    pub async fn start() -> Self {
        Self::start_with(|ehr| ehr, |_| {}).await
    }

    pub async fn start_with(ehr: impl FnOnce(DemoEhr) -> DemoEhr, change: impl FnOnce(&mut TenantSettings)) -> Self {
        let upstream = ehr(DemoEhr::from_resources(fixture::resources()).deleted("Observation", "ODEL"))
            .start(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let mut tenant = tenant(TENANT, &upstream);
        change(&mut tenant);
        Self::serve(vec![tenant], upstream, None).await
    }

    /// One whose public listener speaks TLS; [`Gate::send`] does not reach it.
    pub async fn start_by_tls(tls: TlsFiles) -> Self {
        let upstream = DemoEhr::from_resources(fixture::resources()).start(([127, 0, 0, 1], 0).into()).await.unwrap();
        Self::serve(vec![tenant(TENANT, &upstream)], upstream, Some(tls)).await
    }

    /// One that also serves the tenant `grace`, before an upstream of its own.
    pub async fn start_with_grace(grace: &Upstream) -> Self {
        let upstream = DemoEhr::from_resources(fixture::resources()).start(([127, 0, 0, 1], 0).into()).await.unwrap();
        Self::serve(vec![tenant(TENANT, &upstream), tenant("grace", grace)], upstream, None).await
    }

    async fn serve(tenants: Vec<TenantSettings>, upstream: Upstream, tls: Option<TlsFiles>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(NOW);
        let settings = Settings {
            public: ListenSettings { listen: ([127, 0, 0, 1], 0).into(), tls },
            admin: ListenSettings { listen: ([127, 0, 0, 1], 0).into(), tls: None },
            admin_url: None,
            admin_identity: None,
            store_url: format!("sqlite:{}", folder.path().join("hilum.db").display()),
            ledger_dir: folder.path().join("ledger"),
            spool_dir: folder.path().join("spool"),
            node: "node-1".into(),
            host: "gate.test".into(),
            outbound: OutboundSettings { allow_private: ["127.0.0.1".to_owned()].into(), ca: None },
            tenants,
        };
        let root = RootKey::parse(&[7; 32]).unwrap();
        let server = app::start(settings.clone(), &root, clock.clone()).await.unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { server, upstream, clock, settings, folder, client, asked: AtomicUsize::new(0) }
    }

    /// From here on it is the tenant at this place that is asked.
    pub fn ask(&self, place: usize) {
        self.asked.store(place, Ordering::SeqCst);
    }

    pub fn tenant(&self) -> &TenantSettings {
        &self.settings.tenants[self.asked.load(Ordering::SeqCst)]
    }

    pub fn store(&self) -> &Store {
        &self.server.parts.store
    }

    /// A token for patient P1 with exactly these scopes.
    pub async fn token(&self, scopes: &str) -> String {
        self.token_for("P1", scopes).await
    }

    pub async fn token_for(&self, patient: &str, scopes: &str) -> String {
        let session = self.session(patient, scopes).await;
        self.sign(&session, |_| {})
    }

    /// A token for patient P1 whose task may use every operation there is (S1-36).
    pub async fn token_with_operations(&self, scopes: &str) -> String {
        let operations = |profile: &mut TaskProfile| {
            profile.operations = [Operation::Everything, Operation::LastN].into();
        };
        let session = self.session_of("P1", scopes, operations).await;
        self.reach(session.feed).await;
        self.sign(&session, |_| {})
    }

    /// Waits until the registry has heard of a session, however busy the machine is.
    pub async fn reach(&self, feed: u64) {
        for _ in 0..50 {
            if self.server.parts.registry.reached(feed).await {
                return;
            }
        }
        panic!("the registry does not reach {feed}");
    }

    /// Registers an integration whose approved profile has exactly `scopes`, and gives a session of it.
    pub async fn session(&self, patient: &str, scopes: &str) -> Session {
        let session = self.session_elsewhere(patient, scopes).await;
        self.reach(session.feed).await;
        session
    }

    /// As [`Gate::session`], written by another process: this one may not have heard of it yet.
    pub async fn session_elsewhere(&self, patient: &str, scopes: &str) -> Session {
        self.session_of(patient, scopes, |_| {}).await
    }

    /// The same for a profile of one's own.
    pub async fn session_of(&self, patient: &str, scopes: &str, change: impl FnOnce(&mut TaskProfile)) -> Session {
        self.session_within(BUDGETS, patient, scopes, change).await
    }

    /// A token for patient P1 whose approval has these budgets.
    pub async fn token_within(&self, budgets: Budgets, scopes: &str) -> String {
        let session = self.session_within(budgets, "P1", scopes, |_| {}).await;
        self.reach(session.feed).await;
        self.sign(&session, |_| {})
    }

    /// The same within budgets of one's own.
    async fn session_within(
        &self,
        budgets: Budgets,
        patient: &str,
        scopes: &str,
        change: impl FnOnce(&mut TaskProfile),
    ) -> Session {
        let terms = Terms { launch: vec![LaunchMode::Ticket {}], token_seconds: 900, budgets };
        let subject = Subject::Patient(patient.parse().unwrap());
        self.session_with(class_for(scopes), subject, terms, None, scopes, change).await
    }

    /// A session of an integration of any class, about anyone, on any terms.
    pub async fn session_as(
        &self,
        class: Class,
        subject: Subject,
        terms: Terms,
        scopes: &str,
        change: impl FnOnce(&mut TaskProfile),
    ) -> Session {
        self.session_with(class, subject, terms, None, scopes, change).await
    }

    /// A session whose integration has this role; where the role is de-identified only, as the token endpoint makes it. Its
    /// task may use every operation.
    pub async fn session_in(&self, role: &str, patient: &str, scopes: &str) -> Session {
        let role: ServiceRole = serde_json::from_str(role).unwrap();
        let operations = |profile: &mut TaskProfile| {
            profile.operations = [Operation::Everything, Operation::LastN].into();
        };
        let de_identified = role.phi_access == PhiAccess::DeIdentifiedOnly;
        let terms = Terms { launch: vec![LaunchMode::Ticket {}], token_seconds: 900, budgets: BUDGETS };
        let subject = Subject::Patient(patient.parse().unwrap());
        let mut session = self.session_with(class_for(scopes), subject, terms, Some(role), scopes, operations).await;
        if de_identified {
            let table = SurrogateTable::new(self.store().clone(), self.server.parts.keys.clone());
            let owner = table.owner(&session.tenant, &session.integration, &patient.parse().unwrap()).unwrap();
            let who = Stood::instance(ResourceType::PATIENT, patient);
            let told = table.find_or_make(&owner, &[who.clone()].into(), NOW, NOW).await.unwrap();
            session.subject = Subject::Surrogate(told[&who].clone());
        }
        self.reach(session.feed).await;
        session
    }

    async fn session_with(
        &self,
        class: Class,
        subject: Subject,
        terms: Terms,
        role: Option<ServiceRole>,
        scopes: &str,
        change: impl FnOnce(&mut TaskProfile),
    ) -> Session {
        let tag: [u8; 16] = random().unwrap();
        let role_name: Option<RoleName> = role.is_some().then(|| format!("r-{}", SessionId(tag)).parse().unwrap());
        let id = format!("i-{}", SessionId(tag));
        let scopes: domain::ScopeSet = scopes.parse().unwrap();
        let mut profile = TaskProfile {
            name: format!("t-{}", SessionId(tag)).parse().unwrap(),
            version: 1,
            purpose: "test".into(),
            purpose_of_use: "TREAT".into(),
            scopes: scopes.clone(),
            operations: Default::default(),
            labels: Default::default(),
            sender_constraint: Default::default(),
        };
        change(&mut profile);
        let integration = Integration {
            id: id.parse().unwrap(),
            tenant: self.tenant().id.clone(),
            name: "Test".into(),
            class,
            environment: Environment::Test,
            owners: Owners { business: "b@x".parse().unwrap(), technical: "t@x".parse().unwrap() },
            vendor: "v".into(),
            purpose: "p".into(),
            data_classes: ["clinical".to_owned()].into(),
            expected: ResourceType::all().collect(),
            expires_at: NOW + 86_400_000,
            revocation_contact: "c".into(),
            auth: ClientAuth {
                method: Default::default(),
                keys: Keys::JwksUrl("https://x/jwks".into()),
                algorithms: [].into(),
                audience: AssertionAudience::Both,
            },
            redirect_uris: vec![],
            launch_urls: Vec::new(),
            origins: Vec::new(),
            frame_ancestors: Vec::new(),
            demands: Default::default(),
            introspects: Default::default(),
            launches: [].into(),
            role: role_name.clone(),
            status: IntegrationStatus::Active,
            epoch: 0,
        };
        let digest = server::registry::approval_digest(&integration, role.as_ref(), &profile, &terms);
        let approval = Approval {
            id: ApprovalId(tag),
            tenant: self.tenant().id.clone(),
            integration: integration.id.clone(),
            task: profile.reference(),
            terms,
            justification: "test".into(),
            requested_by: "b@x".parse().unwrap(),
            requested_at: NOW,
            digest,
            status: ApprovalStatus::Approved { by: "p@x".parse().unwrap(), at: NOW, until: NOW + 86_400_000 },
            first: (class.approvers() > 1).then(|| FirstApproval {
                by: "q@x".parse().unwrap(),
                at: NOW,
                until: NOW + 86_400_000,
            }),
            approved_at: Some(NOW),
        };
        let task: TaskRef = profile.reference();
        let change = Change {
            profiles: vec![(integration.tenant.clone(), profile)],
            integrations: vec![PutIntegration {
                integration: integration.clone(),
                thumbprints: vec![],
                expected: None,
            }],
            approvals: vec![PutApproval { approval: approval.clone(), expected: None }],
            roles: role_name
                .zip(role)
                .map(|(name, role)| PutRole { tenant: integration.tenant.clone(), name, role, expected: None })
                .into_iter()
                .collect(),
            ..Change::default()
        };
        let keys = &self.server.parts.keys;
        let who = match &subject {
            Subject::Patient(patient) => patient.as_str(),
            _ => "*",
        };
        let patient_sealed = keys.seal_row(integration.tenant.as_str(), SESSION_PATIENT, who.as_bytes()).unwrap();
        let _ = self.store().apply(&change, NOW).await.unwrap().unwrap();
        let expires_at = self.clock.now() + 900_000;
        let issue = store::Issue {
            person: None,
            assertion: store::UsedAssertion { issuer: id.clone(), jti: id.clone(), expires_at },
            ticket: None,
            session: store::NewSession {
                id: SessionId(tag),
                tenant: integration.tenant.clone(),
                integration: integration.id.clone(),
                approval: approval.id,
                task: task.clone(),
                epoch: 0,
                launch: LaunchKind::Ticket,
                patient_sealed,
                patient_tag: [1; 16],
                scope: scopes.to_string(),
                jti: id.clone(),
                created_at: self.clock.now(),
                expires_at,
            },
            patients_per_hour: 10,
            patients_per_day: 100,
        };
        let feed = self.store().issue(issue).await.unwrap().unwrap().feed;
        Session {
            id: SessionId(tag),
            tenant: integration.tenant,
            integration: integration.id,
            epoch: 0,
            approval: approval.id,
            task,
            purpose_of_use: "TREAT".into(),
            subject,
            scopes,
            expires_at,
            feed,
            jti: id,
            launch: domain::LaunchKind::Ticket,
            act: domain::Actor::default(),
            confirmation: None,
        }
    }

    /// Ends a session as the API does.
    pub async fn end(&self, session: &Session) -> bool {
        self.server.parts.registry.end_session(&session.tenant, &session.id, "test").await.unwrap()
    }

    /// Signs a token for `session`; `change` may spoil its payload first.
    pub fn sign(&self, session: &Session, change: impl FnOnce(&mut Value)) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let tenant = self.tenant();
        let signer = self.server.parts.keys.token_signer(&tenant.id).unwrap();
        let claims = oauth::AccessClaims {
            issuer: &tenant.issuer(),
            audience: &tenant.fhir_base(),
            issued_at: self.clock.now(),
            session,
            scope: &session.scopes.to_string(),
            encounter: None,
        };
        let input = oauth::token::signing_input(signer.kid(), &claims);
        let (header, payload) = input.split_once('.').unwrap();
        let mut payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        change(&mut payload);
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload.to_string()));
        let signature = signer.sign(input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// `GET {fhir base}/{path}`.
    pub async fn get(&self, token: &str, path: &str) -> Reply {
        self.send("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let uri = format!("http://{}/{}/fhir/{path}", self.server.public, self.tenant().id);
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response =
            tokio::time::timeout(Duration::from_secs(20), self.client.request(request)).await.unwrap().unwrap();
        let (head, body) = response.into_parts();
        Reply { status: head.status.as_u16(), headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// Follows a link of ours, whatever host it names.
    pub async fn follow(&self, token: &str, link: &str) -> Reply {
        let base = format!("http://gate.test/{}/fhir/", self.tenant().id);
        let path = link.strip_prefix(&base).unwrap_or_else(|| panic!("not a public link: {link}"));
        self.get(token, path).await
    }

    /// Reason codes of the audit records written so far, oldest first.
    pub async fn codes(&self) -> Vec<String> {
        let filter =
            server::audit::Filter { tenant: Some(self.tenant().id.to_string()), limit: 1_000, ..Default::default() };
        let found = self.server.parts.audit.search(filter, server::audit::PhiAccess::Sealed).await.unwrap();
        let mut out: Vec<String> = found.records.iter().map(|record| record.reason.clone()).collect();
        out.reverse();
        out
    }
}

fn tenant(id: &str, upstream: &Upstream) -> TenantSettings {
    TenantSettings {
        id: id.parse().unwrap(),
        name: id.into(),
        public_url: "http://gate.test".into(),
        people: Default::default(),
        ehr: None,
        client_ca: None,
        upstream: UpstreamSettings {
            fhir: upstream.base_url.trim_end_matches('/').to_owned(),
            auth: UpstreamAuth::None,
            shared: fhir::owner::SHARED_DEFAULT.iter().copied().collect(),
            timeout: Duration::from_secs(2),
            body_bytes_max: 4 * 1024 * 1024,
            consent: server::settings::ConsentSource::None,
        },
    }
}

/// A wildcard is for `patient-app` alone; every other rule is the same for both classes.
fn class_for(scopes: &str) -> Class {
    if scopes.contains("/*.") { Class::PatientApp } else { Class::ClinicalAi }
}
