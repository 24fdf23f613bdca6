//! A gate behind a gate: the EHR launches an app of the first tenant through it, and the first tenant's EHR is the second tenant, which
//! is a SMART client of the EHR itself. Every hop is the product's own: launch, consent, tokens, reads, and the end of all of it (S1-32).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;
#[path = "authorize_common/people.rs"]
mod people;

use std::collections::BTreeMap;
use std::time::Duration;

use authorize_common::{Key, NOW, approval, integration, loopback, tenant};
use axum::body::Bytes;
use demo_ehr::{Auth, ClientKeys, DemoEhr, LaunchContext, SmartClient};
use domain::audit::Kind;
use domain::{ApprovalId, Class, Integration, LaunchMode, TaskProfile, Terms};
use fhir::ResourceType;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use people::{ADDRESS, Answer, VERIFIER, challenge, encoded, task};
use serde_json::{Value, json};
use server::app::{self, Running};
use server::audit::{Filter, PhiAccess, RecordView};
use server::broker::Signer;
use server::clock::Clock;
use server::settings::{EhrSettings, ListenSettings, Settings, UpstreamAuth};
use store::{Change, PutApproval, PutIntegration};
use vault::RootKey;

const SCOPES: &str = "patient/Patient.rs patient/Observation.rs";

/// A browser: cookies go where their `Path` says.
struct Walk {
    client: Client<HttpConnector, Full<Bytes>>,
    jar: BTreeMap<(String, String), String>,
}

impl Walk {
    async fn send(&mut self, request: http::request::Builder, body: String) -> Answer {
        let mut request = request.body(Full::new(Bytes::from(body))).unwrap();
        let path = request.uri().path().to_owned();
        let cookies: Vec<_> = self
            .jar
            .iter()
            .filter(|((under, _), _)| path.starts_with(under.as_str()))
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(COOKIE, cookies.join("; ").parse().unwrap());
        }
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        for cookie in head.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let under = cookie.split("Path=").nth(1).unwrap().split(';').next().unwrap().to_owned();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.jar.insert((under, name.to_owned()), value.to_owned());
        }
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let location = head.headers.get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: head.status, headers: head.headers, location, text, body }
    }

    /// Goes on to the first page, or to where the app is.
    async fn follow(&mut self, mut answer: Answer) -> Answer {
        for _ in 0..12 {
            let Some(to) = answer.location.clone().filter(|to| !to.starts_with("https://app.example/")) else {
                return answer;
            };
            answer = self.send(Request::get(to), String::new()).await;
        }
        panic!("the redirects do not end")
    }

    async fn open(&mut self, url: &str) -> Answer {
        let first = self.send(Request::get(url), String::new()).await;
        self.follow(first).await
    }

    /// Allows everything that the page shows.
    async fn allow(&mut self, gate: &str, page: &Answer) -> Answer {
        let mut fields = vec![("request", page.field("request")), ("csrf", page.field("csrf"))];
        fields.push(("decision", "allow".to_owned()));
        fields.extend(page.boxes().into_iter().map(|(value, _)| ("grant", value)));
        let request = Request::post(format!("{gate}/oauth/consent")).header(CONTENT_TYPE, FORM);
        let answer = self.send(request, encoded(&fields)).await;
        self.follow(answer).await
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

struct World {
    /// The first gate's tenant and the second's, as their addresses begin.
    first: String,
    second: String,
    running: Running,
    ehr: demo_ehr::Running,
    clock: Clock,
    app: Key,
    walk: Walk,
    _folder: tempfile::TempDir,
}

fn client(id: &str, tenant: &str, jwks: &str, redirect: &str, launch: &str) -> Integration {
    let mut out = integration(id, tenant, Class::ClinicalAi, jwks);
    out.redirect_uris = vec![redirect.to_owned()];
    out.launch_urls = vec![launch.to_owned()];
    out.expected = [ResourceType::PATIENT, ResourceType::OBSERVATION].into();
    out
}

fn ward() -> TaskProfile {
    task("ward", SCOPES)
}

fn registered(clients: Vec<Integration>) -> Change {
    let mut change = Change::default();
    for (at, client) in clients.into_iter().enumerate() {
        let terms =
            Terms { launch: vec![LaunchMode::Ehr {}], token_seconds: 900, budgets: domain::Budgets::hourly(100) };
        let digest = server::registry::approval_digest(&client, None, &ward(), &terms);
        let mut approval = approval(client.tenant.as_str(), client.id.as_str(), terms, digest);
        approval.id = ApprovalId([u8::try_from(at).unwrap() + 1; 16]);
        approval.task = ward().reference();
        change.profiles.push((client.tenant.clone(), ward()));
        change.approvals.push(PutApproval { approval, expected: None });
        change.integrations.push(PutIntegration { integration: client, thumbprints: vec![], expected: None });
    }
    change
}

impl World {
    async fn new() -> Self {
        let (folder, clock, app) = (tempfile::tempdir().unwrap(), Clock::fixed(NOW), Key::new());
        // The addresses must be known before anything starts.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let gate = format!("http://{port}");
        let (first, second) = (format!("{gate}/first"), format!("{gate}/second"));
        let (upper, lower) = (Key::new().file(&folder, "first.pem"), Key::new().file(&folder, "second.pem"));
        let jwks = |key: &std::path::Path| json!({"keys": [Signer::read(key).unwrap().jwk()]});
        let time = clock.clone();
        let ehr = DemoEhr::from_resources(demo_ehr::fixture())
            .auth(Auth::SmartLaunch)
            .smart_client(SmartClient {
                client_id: "hilum".into(),
                keys: ClientKeys::Jwks(jwks(&lower)),
                redirect_uris: vec![format!("{second}/oauth/callback/ehr")],
                launch_url: Some(format!("{second}/oauth/launch/first-gate")),
                launch_urls: Vec::new(),
            })
            .clock(demo_ehr::Clock::from_fn(move || time.now()))
            .start(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let tenants = [
            ("first", format!("{second}/fhir"), "first-gate", upper.clone()),
            ("second", ehr.base_url.clone(), "hilum", lower),
        ]
        .map(|(id, fhir, client_id, key)| {
            let mut settings = tenant(id, &fhir, UpstreamAuth::None);
            settings.public_url.clone_from(&gate);
            settings.upstream.timeout = Duration::from_secs(20);
            let scope = format!("launch openid fhirUser {SCOPES}");
            settings.ehr = Some(EhrSettings { fhir, client_id: client_id.into(), key, scope });
            settings
        });
        let settings = Settings {
            public: ListenSettings { listen: port, tls: None },
            admin: ListenSettings { listen: ([127, 0, 0, 1], 0).into(), tls: None },
            admin_url: None,
            admin_identity: None,
            store_url: format!("sqlite:{}", folder.path().join("hilum.db").display()),
            ledger_dir: folder.path().join("ledger"),
            spool_dir: folder.path().join("spool"),
            node: "node-1".into(),
            host: "gate.test".into(),
            outbound: loopback(),
            tenants: tenants.into(),
        };
        let running = app::start(settings, &RootKey::parse(&[7; 32]).unwrap(), clock.clone()).await.unwrap();
        let callback = format!("{first}/oauth/callback/ehr");
        let change = registered(vec![
            client("app", "first", &app.jwks(), ADDRESS, "https://app.example/start"),
            client("first-gate", "second", &jwks(&upper).to_string(), &callback, &format!("{first}/oauth/launch/app")),
        ]);
        let feed = running.parts.store.apply(&change, NOW).await.unwrap().unwrap();
        assert!(running.parts.registry.reached(feed).await);
        let walk = Walk { client: Client::builder(TokioExecutor::new()).build_http(), jar: BTreeMap::new() };
        Self { first, second, running, ehr, clock, app, walk, _folder: folder }
    }

    /// From the EHR's launch to the app's token.
    async fn launched(&mut self) -> Answer {
        let url = self.ehr.launch_url("hilum", LaunchContext::new("PRA", "P1")).unwrap();
        let lower = self.walk.open(&url).await;
        assert_eq!(lower.status, StatusCode::OK, "{} {:?}", lower.text, lower.location);
        assert!(lower.text.contains("first-gate"), "the second gate asks about the first: {}", lower.text);
        let opened = self.walk.allow(&self.second, &lower).await;
        assert_eq!(opened.query("iss"), Some(format!("{}/fhir", self.first)), "{} {:?}", opened.text, opened.location);
        let (scope, handle) = (format!("launch openid fhirUser {SCOPES}"), opened.query("launch").unwrap());
        let asked = [
            ("response_type", "code".to_owned()),
            ("client_id", "app".to_owned()),
            ("redirect_uri", ADDRESS.to_owned()),
            ("scope", scope),
            ("state", "s-1".to_owned()),
            ("aud", format!("{}/fhir", self.first)),
            ("nonce", "n-1".to_owned()),
            ("launch", handle),
            ("code_challenge", challenge()),
            ("code_challenge_method", "S256".to_owned()),
        ];
        let upper = self.walk.open(&format!("{}/oauth/authorize?{}", self.first, encoded(&asked))).await;
        assert_eq!(upper.status, StatusCode::OK, "{} {:?}", upper.text, upper.location);
        let back = self.walk.allow(&self.first.clone(), &upper).await;
        let code = back.query("code").unwrap_or_else(|| panic!("{} {:?}", back.text, back.location));
        let fields = [
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", ADDRESS.to_owned()),
            ("code_verifier", VERIFIER.to_owned()),
        ];
        self.post("token", "j-1", &fields).await
    }

    async fn post(&mut self, endpoint: &str, jti: &str, fields: &[(&str, String)]) -> Answer {
        let claims = json!({
            "iss": "app", "sub": "app", "aud": format!("{}/oauth/token", self.first),
            "exp": self.clock.now() / 1_000 + 240, "jti": jti,
        });
        let mut all = fields.to_vec();
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        all.extend([("client_assertion_type", kind.to_owned()), ("client_assertion", self.app.sign(&claims))]);
        let request = Request::post(format!("{}/oauth/{endpoint}", self.first)).header(CONTENT_TYPE, FORM);
        self.walk.send(request, encoded(&all)).await
    }

    async fn read(&mut self, token: &str, path: &str) -> Answer {
        let url = format!("{}/fhir/{path}", self.first);
        let request = Request::get(url).header(AUTHORIZATION, format!("Bearer {token}"));
        self.walk.send(request, String::new()).await
    }

    /// The record of the end at the EHR, which is work in the background.
    async fn revoked(&self, tenant: &str) -> RecordView {
        for _ in 0..600 {
            if let Some(record) = self.records(tenant, Kind::UpstreamRevoke).await.pop() {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{tenant} has revoked nothing")
    }

    async fn records(&self, tenant: &str, kind: Kind) -> Vec<RecordView> {
        let filter = Filter { tenant: Some(tenant.into()), kinds: vec![kind], limit: 100, ..Filter::default() };
        self.running.parts.audit.search(filter, PhiAccess::Open).await.unwrap().records
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_32_a_gate_is_the_ehr_of_another() {
    let mut world = World::new().await;
    let issued = world.launched().await;
    assert_eq!(issued.status, StatusCode::OK, "{}", issued.text);
    assert_eq!(issued.text("patient"), "P1");
    let token = issued.text("access_token");

    let own = world.read(&token, "Patient/P1").await;
    assert_eq!((own.status, own.body["id"].as_str()), (StatusCode::OK, Some("P1")), "{}", own.text);
    let found = world.read(&token, "Observation?patient=Patient/P1").await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.text);
    let entries = found.body["entry"].as_array().unwrap();
    let matches: Vec<_> = entries.iter().filter(|entry| entry["search"]["mode"] == "match").collect();
    assert!(!matches.is_empty());
    for entry in matches {
        let url = entry["fullUrl"].as_str().unwrap();
        assert!(
            url.starts_with(&format!("{}/fhir/Observation/", world.first)),
            "the addresses are the first gate's: {url}"
        );
        let subject = entry["resource"]["subject"]["reference"].as_str().unwrap();
        let own = subject.strip_prefix(&format!("{}/fhir/", world.first)).unwrap_or(subject);
        assert_eq!(own.split("/_history/").next(), Some("Patient/P1"));
    }
    assert!(!found.text.contains("/second/"), "nothing names the gate behind: {}", found.text);
    let other = world.read(&token, "Patient/P2").await;
    assert!([StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&other.status), "{}", other.status);
    // Both gates keep their own account of it.
    for tenant in ["first", "second"] {
        let reads = world.records(tenant, Kind::FhirRead).await;
        assert!(reads.iter().any(|read| read.session.is_some()), "{tenant}: {reads:?}");
        assert_eq!(world.records(tenant, Kind::EhrLaunch).await.len(), 1, "{tenant}");
    }

    // The app ends its session: the first gate ends its own at the second, and that one its own at the EHR.
    let ended = world.post("revoke", "j-2", &[("token", token.clone())]).await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    assert_eq!(world.read(&token, "Patient/P1").await.status, StatusCode::UNAUTHORIZED);
    for tenant in ["first", "second"] {
        assert_eq!(world.revoked(tenant).await.reason, "revoked", "{tenant}");
    }
    world.running.stop().await;
}
