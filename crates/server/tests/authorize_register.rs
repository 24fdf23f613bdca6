//! `POST oauth/register`: a request that enters the registry as `requested`, and nothing works by it (RFC 7591, DC-01, REG-06, REG-08, REG-09).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod authorize_common;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use authorize_common::*;
use axum::Router;
use axum::body::Body;
use domain::Class;
use domain::audit::Kind;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use server::audit::{Audit, Filter, PhiAccess, RecordView};
use server::authorize::{Authorize, Peer};
use server::broker::Broker;
use server::clock::Clock;
use server::keys::KeyRing;
use server::registry::Registry;
use server::settings::{SignIn, UpstreamAuth};
use store::{Change, PutIntegration, RegistrationRow, RegistrationState, Store};
use tower::ServiceExt as _;
use vault::RootKey;

const DAY: i64 = 24 * 3_600_000;

struct Desk {
    router: Router,
    store: Store,
    audit: Audit,
    clock: Clock,
    _dir: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["error"].as_str().unwrap_or(""))
    }
}

impl Desk {
    /// Two tenants; people sign in at the first.
    async fn open() -> Self {
        let clock = Clock::fixed(NOW);
        let dir = tempfile::tempdir().unwrap();
        let upstream = "http://127.0.0.1:9/fhir";
        let mut tenants =
            [tenant("mercy", upstream, UpstreamAuth::None), tenant("other", upstream, UpstreamAuth::None)];
        tenants[0].people.sign_in = SignIn::Demo(Vec::new());
        let ids: Vec<_> = tenants.iter().map(|tenant| tenant.id.clone()).collect();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let keys = KeyRing::open(&RootKey::parse(&[7; 32]).unwrap(), &store, &ids, NOW).await.unwrap();
        let ledger = dir.path().join("ledger");
        let audit = Audit::open(&ledger, "node-1", "gate.example", keys.clone(), clock.clone()).await.unwrap();
        let registry =
            Registry::open(store.clone(), &tenants, audit.clone(), keys.clone(), clock.clone()).await.unwrap();
        let broker = Broker::new(&tenants, &loopback(), keys.clone(), clock.clone()).unwrap();
        let authorize =
            Authorize::new(&tenants, store.clone(), registry, keys, audit.clone(), broker, clock.clone()).unwrap();
        Self { router: authorize.router(), store, audit, clock, _dir: dir }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn ask_as(&self, peer: &str, tenant: &str, media: &str, body: String) -> Answer {
        let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
        let request = Request::post(format!("/{tenant}/oauth/register")).header("content-type", media);
        self.send(request.extension(Peer(peer)).body(Body::from(body)).unwrap()).await
    }

    async fn ask(&self, metadata: &Value) -> Answer {
        self.ask_as("192.0.2.1", "mercy", "application/json", metadata.to_string()).await
    }

    async fn rows(&self) -> Vec<RegistrationRow> {
        self.store.registrations(&"mercy".parse().unwrap(), self.clock.now()).await.unwrap()
    }

    async fn records(&self) -> Vec<RecordView> {
        let kinds = vec![Kind::RegistryChange];
        let filter = Filter { tenant: Some("mercy".into()), kinds, limit: 1_000, ..Filter::default() };
        let mut records = self.audit.search(filter, PhiAccess::Open).await.unwrap().records;
        // The start of registry and keys is on record too.
        records.retain(|record| record.object == "registration");
        records
    }
}

fn app() -> Value {
    json!({
        "client_name": "Growth chart", "redirect_uris": ["https://app.example/back"], "jwks_uri": "https://app.example/jwks",
        "grant_types": ["authorization_code", "refresh_token"], "scope": "launch/patient patient/Observation.rs",
        "contacts": ["dev@app.example"], "software_id": "growth", "x_unknown": 1,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn dc_01_a_request_is_kept_recorded_and_nothing_more() {
    let desk = Desk::open().await;
    let asked = desk.ask(&app()).await;
    assert_eq!(asked.status, 201, "{}", asked.body);
    assert_eq!(asked.headers["cache-control"], "no-store");
    let id = asked.body["client_id"].as_str().unwrap().to_owned();
    assert_eq!(asked.body["client_id_issued_at"], json!(NOW / 1_000));
    assert_eq!(asked.body["registration_status"], "requested");
    assert_eq!(asked.body["token_endpoint_auth_method"], "private_key_jwt");
    assert_eq!(asked.body["redirect_uris"], json!(["https://app.example/back"]));
    for name in ["client_secret", "registration_access_token", "registration_client_uri", "x_unknown"] {
        assert_eq!(asked.body.get(name), None, "{name}");
    }
    let rows = desk.rows().await;
    assert_eq!((rows.len(), rows[0].id.as_str(), rows[0].state), (1, id.as_str(), RegistrationState::Requested));
    assert!(!rows[0].body.contains("x_unknown"));
    let records = desk.records().await;
    let kinds: Vec<_> = records.iter().map(|record| (record.phase, record.outcome)).collect();
    assert!(kinds.contains(&("intent", "success")) && kinds.contains(&("outcome", "success")), "{kinds:?}");
    let opened = serde_json::to_value(&records[0]).unwrap();
    assert!(opened["phi"].to_string().contains("192.0.2.1") && opened["phi"].to_string().contains("Growth chart"));
    // Nothing works with it: no code, no token, no push.
    let query = format!(
        "response_type=code&client_id={id}&redirect_uri=https%3A%2F%2Fapp.example%2Fback&scope=patient%2FObservation.rs&state=123456789\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
    );
    let begun = desk.send(Request::get(format!("/mercy/oauth/authorize?{query}")).body(Body::empty()).unwrap()).await;
    assert!(begun.status.is_client_error() && !begun.headers.contains_key("location"), "{}", begun.status);
    let form = Request::post("/mercy/oauth/token").header("content-type", "application/x-www-form-urlencoded");
    let body = format!("grant_type=authorization_code&client_id={id}&code={}", "A".repeat(43));
    assert_eq!(desk.send(form.body(Body::from(body)).unwrap()).await.error(), (401, "invalid_client"));
    let again = desk.ask(&app()).await;
    assert_ne!(again.body["client_id"].as_str().unwrap(), id, "each has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn dc_01_every_method_but_a_secret() {
    let desk = Desk::open().await;
    let jwks: Value = serde_json::from_str(&Key::new().jwks()).unwrap();
    let with = |members: Value| {
        let mut metadata = json!({"client_name": "A", "redirect_uris": ["https://a.example/b"]});
        metadata.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        metadata
    };
    for members in [
        json!({"jwks": jwks}),
        json!({"jwks": jwks, "token_endpoint_auth_method": "self_signed_tls_client_auth"}),
        json!({"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=a,O=Acme"}),
        json!({"token_endpoint_auth_method": "none"}),
        json!({"token_endpoint_auth_method": "none", "redirect_uris": ["com.example.app:/cb", "http://127.0.0.1/cb"]}),
        json!({"jwks": jwks, "grant_types": ["client_credentials"], "redirect_uris": []}),
    ] {
        let asked = desk.ask(&with(members.clone())).await;
        assert_eq!(asked.status, 201, "{members}: {}", asked.body);
    }
    let ids: BTreeSet<_> = desk.rows().await.into_iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn dc_01_what_does_not_fit_is_refused_by_its_code() {
    let desk = Desk::open().await;
    let mut private: Value = serde_json::from_str(&Key::new().jwks()).unwrap();
    private["keys"][0]["d"] = json!("AAAA");
    for (name, value, code) in [
        ("software_statement", json!("eyJ"), "unapproved_software_statement"),
        ("client_secret", json!("s3cret"), "invalid_client_metadata"),
        ("token_endpoint_auth_method", json!("client_secret_basic"), "invalid_client_metadata"),
        ("token_endpoint_auth_method", json!("client_secret_post"), "invalid_client_metadata"),
        ("token_endpoint_auth_method", json!("none"), "invalid_client_metadata"),
        ("grant_types", json!(["implicit"]), "invalid_client_metadata"),
        ("jwks_uri", json!("http://app.example/jwks"), "invalid_client_metadata"),
        ("jwks_uri", json!("https://u:p@app.example/jwks"), "invalid_client_metadata"),
        ("jwks", private, "invalid_client_metadata"),
        ("scope", json!("patient/Nonsense.rs"), "invalid_client_metadata"),
        ("client_name", json!(7), "invalid_client_metadata"),
        ("redirect_uris", json!(["http://app.example/back"]), "invalid_redirect_uri"),
        ("redirect_uris", json!(["https://app.example/back#x"]), "invalid_redirect_uri"),
        ("redirect_uris", json!(["https://*.app.example/back"]), "invalid_redirect_uri"),
        ("redirect_uris", json!(["com.example.app:/cb"]), "invalid_redirect_uri"),
        ("redirect_uris", json!(["javascript:alert(1)"]), "invalid_redirect_uri"),
        ("redirect_uris", json!([]), "invalid_redirect_uri"),
    ] {
        let mut spoiled = app();
        if name == "jwks" {
            spoiled.as_object_mut().unwrap().remove("jwks_uri");
        }
        spoiled[name] = value.clone();
        let refused = desk.ask(&spoiled).await;
        assert_eq!(refused.error(), (400, code), "{name} {value}: {}", refused.body);
    }
    let public = json!({"client_name": "P", "redirect_uris": ["https://p.example"], "token_endpoint_auth_method": "none",
        "grant_types": ["client_credentials", "authorization_code"]});
    assert_eq!(desk.ask(&public).await.error(), (400, "invalid_client_metadata"), "REG-08");
    let long = format!("{{\"client_name\":\"a\",\"pad\":\"{}\"}}", "x".repeat(17 * 1024));
    for (media, body, status) in [
        ("application/json", "{".to_owned(), 400),
        ("application/json", "[]".to_owned(), 400),
        ("application/json", long, 400),
        ("application/x-www-form-urlencoded", "client_name=a".to_owned(), 415),
    ] {
        assert_eq!(desk.ask_as("192.0.2.1", "mercy", media, body).await.status.as_u16(), status, "{media}");
    }
    assert!(desk.rows().await.is_empty() && desk.records().await.is_empty(), "nothing of it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_limited_and_forgotten() {
    let desk = Desk::open().await;
    for n in 0..10 {
        assert_eq!(desk.ask(&app()).await.status, 201, "{n}");
    }
    let refused = desk.ask(&app()).await;
    assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (429, &"3600".parse().unwrap()));
    for n in 10..100 {
        let peer = format!("192.0.2.{}", n / 10 + 1);
        assert_eq!(desk.ask_as(&peer, "mercy", "application/json", app().to_string()).await.status, 201, "{n}");
    }
    let elsewhere = desk.ask_as("192.0.2.200", "mercy", "application/json", app().to_string()).await;
    assert_eq!(elsewhere.status, 429, "a hundred wait");
    assert_eq!((desk.rows().await.len(), desk.records().await.len()), (100, 200));
    desk.clock.advance(30 * DAY);
    assert!(desk.rows().await.is_empty());
    assert_eq!(desk.ask(&app()).await.status, 201, "what has expired waits no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_offered_where_people_sign_in_and_nowhere_else() {
    let desk = Desk::open().await;
    let get = async |path: &str| desk.send(Request::get(path).body(Body::empty()).unwrap()).await.body;
    let document = get("/mercy/fhir/.well-known/smart-configuration").await;
    assert_eq!(document["registration_endpoint"], "https://gate.example/mercy/oauth/register");
    let other = get("/.well-known/oauth-authorization-server/other").await;
    assert_eq!(other.get("registration_endpoint"), None);
    for tenant in ["other", "nowhere"] {
        let asked = desk.ask_as("192.0.2.1", tenant, "application/json", app().to_string()).await;
        assert_eq!(asked.status, 404, "{tenant}");
    }
    let shown = desk.send(Request::get("/mercy/oauth/register").body(Body::empty()).unwrap()).await;
    assert_eq!(shown.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_its_id_closes_it() {
    let desk = Desk::open().await;
    let id = desk.ask(&app()).await.body["client_id"].as_str().unwrap().to_owned();
    let integration = integration(&id, "mercy", Class::ClinicalAi, &Key::new().jwks());
    let put = PutIntegration { integration, thumbprints: vec![], expected: None };
    let change = Change { integrations: vec![put], ..Change::default() };
    let _ = desk.store.apply(&change, NOW + 1).await.unwrap().unwrap();
    let rows = desk.rows().await;
    assert_eq!((rows[0].state, rows[0].decided_at), (RegistrationState::Registered, Some(NOW + 1)));
}
