//! A hospital with people and apps, and a browser that walks through its pages as one does without script.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use demo_ehr::DemoEhr;
use domain::audit::Kind;
use domain::{AuthMethod, Class, Demand, Integration, Keys, LaunchMode, TaskProfile, Terms};
use fhir::ResourceType;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use server::audit::{Audit, Filter, PhiAccess, RecordView};
use server::authorize::Authorize;
use server::broker::Broker;
use server::clock::Clock;
use server::keys::KeyRing;
use server::registry::{Registry, approval_digest};
use server::settings::{LocalAccount, PeopleSettings, SignIn, TenantSettings, UpstreamAuth};
use store::{Change, PutApproval, PutIntegration, Store};
use tower::ServiceExt as _;
use vault::RootKey;

use crate::authorize_common::{Key, NOW, approval, integration, loopback, tenant};

pub const ADDRESS: &str = "https://app.example/cb";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

pub fn challenge() -> String {
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned()
}

pub fn claims_of(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The registered apps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum App {
    /// `clinical-ai`, by private_key_jwt.
    Agent,
    /// Another one.
    Other,
    /// `patient-app`, public.
    Phone,
    /// One that must push.
    Pusher,
    /// One that the EHR launches.
    Ward,
}

impl App {
    pub fn id(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Other => "agent-2",
            Self::Phone => "phone",
            Self::Pusher => "pusher",
            Self::Ward => "ward-app",
        }
    }
}

/// Cookies of one person's browser.
#[derive(Default)]
pub struct Browser(BTreeMap<String, String>);

impl Browser {
    /// Its person is signed out, as after a logoff.
    pub fn forget_person(&mut self) {
        self.0.retain(|name, _| !name.ends_with("-sign-in"));
    }
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub location: Option<String>,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["error"].as_str().unwrap_or(""))
    }

    pub fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.body)).to_owned()
    }

    /// A parameter of the address the browser is sent to, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.location.as_deref()?.split_once('?')?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
    }

    /// A hidden field of the page's form.
    pub fn field(&self, name: &str) -> String {
        let at = format!("name=\"{name}\" value=\"");
        let rest = self.text.split_once(&at).unwrap_or_else(|| panic!("no {name} in {}", self.text)).1;
        rest.split('"').next().unwrap().to_owned()
    }

    /// Every checkbox: its value and its label.
    pub fn boxes(&self) -> Vec<(String, String)> {
        let parts = self.text.split("name=\"grant\" value=\"").skip(1);
        parts
            .map(|part| {
                let value = part.split('"').next().unwrap().to_owned();
                let label = part.split_once("<label").unwrap().1.split_once('>').unwrap().1;
                (value, label.split("</label>").next().unwrap().to_owned())
            })
            .collect()
    }
}

pub struct People {
    pub router: Router,
    pub registry: Registry,
    pub store: Store,
    pub audit: Audit,
    pub clock: Clock,
    agent: Key,
    other: Key,
    pusher: Key,
    ward: Key,
    pub broker: Broker,
    jti: AtomicU64,
    _ehr: demo_ehr::Running,
    _dir: tempfile::TempDir,
}

fn account(username: &str, fhir_user: &str) -> LocalAccount {
    let (username, password, name) = (username.to_owned(), username.to_owned(), format!("{username} B"));
    LocalAccount { username, password, name, fhir_user: fhir_user.into() }
}

fn patient(id: &str, doctor: &str) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "birthDate": "1970-01-02", "name": [{"family": id}],
        "generalPractitioner": [{"reference": format!("Practitioner/{doctor}")}],
    })
}

pub fn task(name: &str, scopes: &str) -> TaskProfile {
    TaskProfile {
        name: name.parse().unwrap(),
        version: 1,
        purpose: "see the patient's own record".into(),
        purpose_of_use: "TREAT".into(),
        scopes: scopes.parse().unwrap(),
        operations: Default::default(),
        labels: Default::default(),
        sender_constraint: Default::default(),
    }
}

impl People {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut TenantSettings)) -> Self {
        let resources = vec![
            json!({"resourceType": "Practitioner", "id": "D1", "name": [{"family": "Bob"}]}),
            patient("PA", "D1"),
            patient("PB", "D1"),
            patient("PX", "D2"),
        ];
        let ehr = DemoEhr::from_resources(resources).start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let clock = Clock::fixed(NOW);
        let dir = tempfile::tempdir().unwrap();
        let mut mercy = tenant("mercy", &ehr.base_url, UpstreamAuth::None);
        mercy.people = PeopleSettings {
            sign_in: SignIn::Demo(vec![
                account("bob", "Practitioner/D1"),
                account("carol", "Practitioner/D2"),
                account("alice", "Patient/PA"),
            ]),
            patients: Some("Patient?general-practitioner={fhirUser}".into()),
            ..PeopleSettings::default()
        };
        change(&mut mercy);
        let tenants = [mercy];
        let ids: Vec<_> = tenants.iter().map(|tenant| tenant.id.clone()).collect();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let keys = KeyRing::open(&RootKey::parse(&[7; 32]).unwrap(), &store, &ids, NOW).await.unwrap();
        let ledger = dir.path().join("ledger");
        let audit = Audit::open(&ledger, "node-1", "gate.example", keys.clone(), clock.clone()).await.unwrap();
        let registry =
            Registry::open(store.clone(), &tenants, audit.clone(), keys.clone(), clock.clone()).await.unwrap();
        let broker = Broker::new(&tenants, &loopback(), keys.clone(), clock.clone()).unwrap();
        let parts = (store.clone(), registry.clone(), audit.clone());
        let authorize =
            Authorize::new(&tenants, parts.0, parts.1, keys, parts.2, broker.clone(), clock.clone()).unwrap();
        let world = Self {
            router: authorize.router(),
            registry,
            store,
            audit,
            clock,
            agent: Key::new(),
            other: Key::new(),
            pusher: Key::new(),
            ward: Key::new(),
            broker,
            jti: AtomicU64::new(0),
            _ehr: ehr,
            _dir: dir,
        };
        world.register().await;
        world
    }

    fn app(&self, app: App) -> Integration {
        let (class, keys) = match app {
            App::Agent => (Class::ClinicalAi, self.agent.jwks()),
            App::Other => (Class::ClinicalAi, self.other.jwks()),
            App::Pusher => (Class::ClinicalAi, self.pusher.jwks()),
            App::Ward => (Class::ClinicalAi, self.ward.jwks()),
            App::Phone => (Class::PatientApp, String::new()),
        };
        let mut out = integration(app.id(), "mercy", class, &keys);
        out.redirect_uris = vec![ADDRESS.into()];
        out.expected = [ResourceType::PATIENT, ResourceType::OBSERVATION].into();
        if app == App::Phone {
            (out.auth.method, out.auth.keys) = (AuthMethod::None, Keys::Absent);
        }
        if app == App::Pusher {
            out.demands = [Demand::Par].into();
        }
        if app == App::Ward {
            out.launch_urls = vec!["https://app.example/start".into()];
        }
        out.expires_at = NOW + 1_000 * 24 * 3_600_000;
        out
    }

    async fn register(&self) {
        let (ward, own) = (task("ward", "patient/Patient.rs patient/Observation.rs"), "own");
        let own = task(own, "patient/Patient.rs patient/Observation.rs");
        let mut change = Change::default();
        for (at, app) in [App::Agent, App::Other, App::Phone, App::Pusher, App::Ward].into_iter().enumerate() {
            let client = self.app(app);
            let profile = if app == App::Phone { &own } else { &ward };
            let budgets = domain::Budgets::hourly(100);
            let launch = if app == App::Ward { LaunchMode::Ehr {} } else { LaunchMode::Standalone {} };
            let terms = Terms { launch: vec![launch], token_seconds: 900, budgets };
            let digest = approval_digest(&client, None, profile, &terms);
            let mut approval = approval("mercy", app.id(), terms, digest);
            approval.id = domain::ApprovalId([u8::try_from(at).unwrap() + 1; 16]);
            approval.task = profile.reference();
            if let domain::ApprovalStatus::Approved { until, .. } = &mut approval.status {
                *until = NOW + 900 * 24 * 3_600_000;
            }
            change.integrations.push(PutIntegration { integration: client, thumbprints: vec![], expected: None });
            change.approvals.push(PutApproval { approval, expected: None });
        }
        change.profiles = [ward, own].map(|profile| ("mercy".parse().unwrap(), profile)).into();
        let feed = self.store.apply(&change, NOW).await.unwrap().unwrap();
        assert!(self.registry.reached(feed).await);
    }

    async fn send(&self, browser: Option<&mut Browser>, mut request: Request<Body>) -> Answer {
        if let Some(Browser(jar)) = browser.as_deref().filter(|Browser(jar)| !jar.is_empty()) {
            let line: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request.headers_mut().insert(COOKIE, line.join("; ").parse().unwrap());
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        if let Some(Browser(jar)) = browser {
            for cookie in head.headers.get_all(SET_COOKIE) {
                let cookie = cookie.to_str().unwrap();
                assert!(
                    cookie.contains("HttpOnly") && cookie.contains("Secure") && cookie.contains("Path=/mercy/oauth")
                );
                let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
                if value.is_empty() {
                    jar.remove(name)
                } else {
                    jar.insert(name.into(), value.into())
                };
            }
        }
        let text = String::from_utf8_lossy(&axum::body::to_bytes(body, 1 << 20).await.unwrap()).into_owned();
        let location = head.headers.get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: head.status, headers: head.headers, location, text, body }
    }

    /// Follows redirects as long as they stay here.
    async fn follow(&self, browser: &mut Browser, mut answer: Answer) -> Answer {
        while let Some(to) = answer.location.as_deref().and_then(|to| to.strip_prefix("https://gate.example")) {
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "AZ-14");
            let request = Request::get(to).body(Body::empty()).unwrap();
            answer = self.send(Some(browser), request).await;
        }
        answer
    }

    /// One page, without what it redirects to.
    pub async fn open(&self, browser: &mut Browser, path: &str) -> Answer {
        self.send(Some(browser), Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn form(&self, browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(encoded(fields)))
            .unwrap();
        let answer = self.send(Some(browser), request).await;
        self.follow(browser, answer).await
    }

    fn request<'a>(
        app: App,
        scope: &'a str,
        challenge: &'a str,
        with: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let mut out = vec![
            ("response_type", "code"),
            ("client_id", app.id()),
            ("redirect_uri", ADDRESS),
            ("scope", scope),
            ("state", "st ate&=é"),
            ("aud", "https://gate.example/mercy/fhir"),
            ("nonce", "n-1"),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in with {
            out.retain(|(known, _)| known != name);
            out.push((name, value));
        }
        out
    }

    pub async fn ask(&self, browser: &mut Browser, app: App, scope: &str, with: &[(&str, &str)]) -> Answer {
        let challenge = challenge();
        let query = encoded(&Self::request(app, scope, &challenge, with));
        let request = Request::get(format!("/mercy/oauth/authorize?{query}")).body(Body::empty()).unwrap();
        self.send(Some(browser), request).await
    }

    pub async fn ask_twice(&self, browser: &mut Browser, app: App, scope: &str, name: &str) -> Answer {
        let challenge = challenge();
        let mut fields = Self::request(app, scope, &challenge, &[]);
        let again = *fields.iter().find(|(known, _)| *known == name).unwrap();
        fields.push(again);
        let request = Request::get(format!("/mercy/oauth/authorize?{}", encoded(&fields))).body(Body::empty()).unwrap();
        self.send(Some(browser), request).await
    }

    /// By POST, as SMART wants it too (NEG-033).
    pub async fn authorize(&self, browser: &mut Browser, app: App, scope: &str) -> Answer {
        let challenge = challenge();
        let fields = Self::request(app, scope, &challenge, &[]);
        self.form(browser, "/mercy/oauth/authorize", &fields).await
    }

    pub async fn sign_in(&self, browser: &mut Browser, page: &Answer, name: &str, password: &str) -> Answer {
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let fields = [("request", &*request), ("csrf", &*csrf), ("username", name), ("password", password)];
        self.form(browser, "/mercy/oauth/sign-in", &fields).await
    }

    pub async fn pick(&self, browser: &mut Browser, page: &Answer, patient: &str) -> Answer {
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let fields = [("request", &*request), ("csrf", &*csrf), ("patient", patient)];
        self.form(browser, "/mercy/oauth/patient", &fields).await
    }

    pub async fn allow(&self, browser: &mut Browser, page: &Answer, tick: impl Fn(&str) -> bool) -> Answer {
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let boxes: Vec<_> = page.boxes().into_iter().filter(|(_, label)| tick(label)).collect();
        let mut fields = vec![("request", &*request), ("csrf", &*csrf), ("decision", "allow")];
        fields.extend(boxes.iter().map(|(value, _)| ("grant", value.as_str())));
        self.form(browser, "/mercy/oauth/consent", &fields).await
    }

    pub async fn deny(&self, browser: &mut Browser, page: &Answer) -> Answer {
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let fields = [("request", &*request), ("csrf", &*csrf), ("decision", "deny")];
        self.form(browser, "/mercy/oauth/consent", &fields).await
    }

    pub async fn decide_with(&self, browser: &mut Browser, page: &Answer, csrf: &str) -> Answer {
        let request = page.field("request");
        let fields = [("request", &*request), ("csrf", csrf), ("decision", "allow")];
        self.form(browser, "/mercy/oauth/consent", &fields).await
    }

    /// A clinician signs in and picks a patient.
    pub async fn to_consent(&self, browser: &mut Browser, app: App, scope: &str, patient: &str) -> Answer {
        let page = self.authorize(browser, app, scope).await;
        let picker = self.sign_in(browser, &page, "bob", "bob").await;
        self.pick(browser, &picker, patient).await
    }

    pub async fn code(&self, app: App, scope: &str) -> String {
        let mut browser = Browser::default();
        let consent = if app == App::Phone {
            let page = self.authorize(&mut browser, app, scope).await;
            self.sign_in(&mut browser, &page, "alice", "alice").await
        } else {
            self.to_consent(&mut browser, app, scope, "PA").await
        };
        self.allow(&mut browser, &consent, |_| true).await.query("code").unwrap()
    }

    pub async fn start(&self, app: App, scope: &str) -> Answer {
        let code = self.code(app, scope).await;
        let issued = self.redeem(app, &code, VERIFIER, ADDRESS).await;
        assert_eq!(issued.status, 200, "{}", issued.body);
        issued
    }

    fn proof(&self, app: App) -> String {
        let key = match app {
            App::Phone => return "client_id=phone".to_owned(),
            App::Agent => &self.agent,
            App::Other => &self.other,
            App::Pusher => &self.pusher,
            App::Ward => &self.ward,
        };
        let jti = format!("j-{}", self.jti.fetch_add(1, Ordering::SeqCst));
        let (client, exp) = (app.id(), self.clock.now() / 1_000 + 240);
        let claims = json!({
            "iss": client, "sub": client, "aud": "https://gate.example/mercy/oauth/token", "exp": exp, "jti": jti
        });
        let kind = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        format!("{kind}&client_assertion={}", key.sign(&claims))
    }

    async fn post(&self, path: &str, app: App, rest: &str) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!("{}&{rest}", self.proof(app))))
            .unwrap();
        let answer = self.send(None, request).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "PF-12");
        answer
    }

    pub async fn raw(&self, app: App, rest: &str) -> Answer {
        self.post("/mercy/oauth/token", app, rest).await
    }

    pub async fn redeem(&self, app: App, code: &str, verifier: &str, address: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", address),
            ("code_verifier", verifier),
        ];
        self.raw(app, &encoded(&fields)).await
    }

    pub async fn refresh(&self, app: App, token: &str, scope: Option<&str>) -> Answer {
        let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        fields.extend(scope.map(|scope| ("scope", scope)));
        self.raw(app, &encoded(&fields)).await
    }

    /// A refresh that names no client.
    pub async fn refresh_unnamed(&self, token: &str) -> Answer {
        let fields = encoded(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
        let request = Request::post("/mercy/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(fields))
            .unwrap();
        self.send(None, request).await
    }

    pub async fn introspect(&self, app: App, token: &str) -> Answer {
        self.post("/mercy/oauth/introspect", app, &encoded(&[("token", token)])).await
    }

    pub async fn push(&self, app: App, scope: &str, with: &[(&str, &str)]) -> Answer {
        let challenge = challenge();
        let fields = Self::request(app, scope, &challenge, with);
        self.post("/mercy/oauth/par", app, &encoded(&fields)).await
    }

    pub async fn ask_pushed(&self, browser: &mut Browser, client: &str, uri: &str) -> Answer {
        let query = encoded(&[("client_id", client), ("request_uri", uri)]);
        let request = Request::get(format!("/mercy/oauth/authorize?{query}")).body(Body::empty()).unwrap();
        self.send(Some(browser), request).await
    }

    pub async fn grants(&self, browser: &mut Browser) -> Answer {
        let request = Request::get("/mercy/oauth/grants").body(Body::empty()).unwrap();
        let answer = self.send(Some(browser), request).await;
        self.follow(browser, answer).await
    }

    pub async fn take_back(&self, browser: &mut Browser, page: &Answer) -> Answer {
        let csrf = page.field("csrf");
        let revoke = page.text.split_once("name=\"revoke\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
        self.form(browser, "/mercy/oauth/grants", &[("csrf", &csrf), ("revoke", &revoke)]).await
    }

    pub async fn sign_out(&self, browser: &mut Browser) -> Answer {
        let csrf = self.grants(browser).await.field("csrf");
        self.form(browser, "/mercy/oauth/sign-out", &[("csrf", &csrf)]).await
    }

    pub async fn document(&self, path: &str) -> Value {
        self.send(None, Request::get(path).body(Body::empty()).unwrap()).await.body
    }

    pub async fn records(&self, kind: Kind) -> Vec<RecordView> {
        let filter = Filter { tenant: Some("mercy".into()), kinds: vec![kind], limit: 100, ..Filter::default() };
        self.audit.search(filter, PhiAccess::Open).await.unwrap().records
    }

    pub async fn alerts(&self) -> Vec<String> {
        self.records(Kind::Alert).await.into_iter().map(|alert| alert.reason).collect()
    }
}

pub fn encoded<V: AsRef<str>>(fields: &[(&str, V)]) -> String {
    let value =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    fields.iter().map(|(name, text)| format!("{name}={}", value(text.as_ref()))).collect::<Vec<_>>().join("&")
}
