//! The broker against the demonstration upstream: credentials, bounds, and what it proves of an upstream.
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
use std::time::Duration;

use authorize_common::*;
use demo_ehr::{Auth, DemoEhr, Fault, Running};
use domain::{AssertionAudience, Class, ClientAuth, Keys, Session, SessionId, Subject};
use fhir::ResourceType;
use fhir::request::{Method, Raw};
use oauth::KeySet;
use policy::{Answered, Ask, Decision, Filters, Permit, TenantRules};
use server::broker::{Broker, FilterVerdict, Page};
use server::clock::Clock;
use server::settings::{OutboundSettings, UpstreamAuth};

async fn upstream(auth: Auth) -> Running {
    DemoEhr::from_resources(demo_ehr::fixture()).auth(auth).start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

fn broker(ehr: &Running, auth: UpstreamAuth, clock: &Clock) -> Broker {
    Broker::open(&[tenant("mercy", &ehr.base_url, auth)], &loopback(), clock.clone()).unwrap()
}

fn permit(path: &str) -> Permit {
    let integration = integration("agent", "mercy", Class::ClinicalAi, "");
    let (profile, approval) = (profile(), approval("mercy", "agent", terms(900, 10), String::new()));
    let session = Session {
        id: SessionId([1; 16]),
        tenant: integration.tenant.clone(),
        integration: integration.id.clone(),
        epoch: 0,
        approval: approval.id,
        task: profile.reference(),
        purpose_of_use: "HOPERAT".into(),
        subject: Subject::Patient("P1".parse().unwrap()),
        scopes: profile.scopes.clone(),
        expires_at: NOW + 900_000,
        feed: 0,
        jti: "t".into(),
        launch: domain::LaunchKind::Ticket,
        act: domain::Actor::default(),
        confirmation: None,
    };
    let rules = TenantRules {
        upstream_base: "http://127.0.0.1/fhir".into(),
        public_base: "https://gate.example/mercy/fhir".into(),
        shared: BTreeSet::new(),
        filters: Filters::default(),
        count_max: 200,
    };
    let raw = Raw::plain(Method::Get, path, None);
    let interaction = fhir::request::read(&raw).unwrap();
    let ask = Ask {
        now: NOW,
        rules: &rules,
        integration: &integration,
        approval: &approval,
        profile: &profile,
        session: &session,
        interaction,
        page: None,
        proofs: Default::default(),
        consents: policy::Consents::none(),
        guard: None,
    };
    match policy::decide(ask) {
        policy::Decision::Write(permit) => panic!("{permit:?}"),
        Decision::Permit(permit) => permit,
        Decision::Deny(denial) => panic!("{denial:?}"),
    }
}

async fn read(broker: &Broker) -> Answered {
    broker.send(&"mercy".parse().unwrap(), permit("/Patient/P1")).await
}

struct KeyFile {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

fn key_file(key: &Key) -> KeyFile {
    use base64::Engine as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let text = base64::engine::general_purpose::STANDARD.encode(key.pkcs8());
    std::fs::write(&path, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
    KeyFile { _dir: dir, path }
}

fn backend(ehr: &Running, key: &KeyFile) -> UpstreamAuth {
    UpstreamAuth::SmartBackend {
        client_id: "hilum".into(),
        key: key.path.clone(),
        token_url: ehr.token_url.clone(),
        scope: "system/Patient.rs system/Appointment.rs".into(),
    }
}

#[tokio::test]
async fn only_our_own_headers_leave() {
    let (ehr, clock) = (upstream(Auth::None).await, Clock::fixed(NOW));
    let answered = read(&broker(&ehr, UpstreamAuth::None, &clock)).await;
    assert_eq!(answered.upstream_status(), 200);
    let seen = ehr.requests.last().unwrap();
    let names: BTreeSet<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["accept", "accept-encoding", "host"].into());
    assert_eq!(seen.header("accept"), Some("application/fhir+json"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert_eq!(seen.target(), "/fhir/Patient/P1");
}

#[tokio::test]
async fn s0_10_the_assertion_is_smart_backend_services() {
    let (ehr, clock, key) = (upstream(Auth::SmartBackend { seconds: 300 }).await, Clock::fixed(NOW), Key::new());
    let file = key_file(&key);
    let broker = broker(&ehr, backend(&ehr, &file), &clock);
    assert_eq!(read(&broker).await.upstream_status(), 200);
    let asked = ehr.requests.all().into_iter().find(|seen| seen.method == "POST").unwrap();
    let form = oauth::form::Form::read(asked.body.as_bytes()).unwrap();
    assert_eq!(form.get("grant_type"), Some("client_credentials"));
    assert_eq!(form.get("scope"), Some("system/Patient.rs system/Appointment.rs"));
    let served = broker.jwks(&"mercy".parse().unwrap()).unwrap();
    assert!(!served.contains("\"d\""), "public members only");
    let keys = KeySet::parse(served.as_bytes()).unwrap();
    let auth = ClientAuth {
        method: Default::default(),
        keys: Keys::Jwks(String::new()),
        algorithms: [].into(),
        audience: AssertionAudience::TokenEndpoint,
    };
    let expected = oauth::assertion::Expected {
        client: "hilum",
        auth: &auth,
        keys: &keys,
        token_endpoint: &ehr.token_url,
        issuer: "https://ehr.example",
    };
    let assertion = oauth::assertion::read(form.get("client_assertion").unwrap().as_bytes()).unwrap();
    let verified = assertion.verify(&expected, NOW).unwrap();
    assert!(verified.forget_at <= NOW + 331_000, "exp at most five minutes ahead");
    assert!(!format!("{:?}", backend(&ehr, &file)).contains("PRIVATE"));
}

#[tokio::test]
async fn s0_06_one_token_request_per_window() {
    let (ehr, clock, key) = (upstream(Auth::SmartBackend { seconds: 300 }).await, Clock::fixed(NOW), Key::new());
    let file = key_file(&key);
    let broker = broker(&ehr, backend(&ehr, &file), &clock);
    let many = || async {
        let calls = (0..50).map(|_| read(&broker));
        for answered in futures_util::future::join_all(calls).await {
            assert_eq!(answered.upstream_status(), 200);
        }
    };
    many().await;
    assert_eq!(ehr.token_requests(), 1, "single flight at the start");
    clock.advance(200_000);
    many().await;
    assert_eq!(ehr.token_requests(), 1, "still fresh");
    clock.advance(70_000);
    many().await;
    for _ in 0..100 {
        if ehr.token_requests() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    many().await;
    assert_eq!(ehr.token_requests(), 2, "renewed once, ahead of expiry, without anyone waiting");
}

#[tokio::test]
async fn an_upstream_401_renews_once() {
    let (ehr, clock, key) = (upstream(Auth::SmartBackend { seconds: 300 }).await, Clock::fixed(NOW), Key::new());
    let file = key_file(&key);
    let broker = broker(&ehr, backend(&ehr, &file), &clock);
    assert_eq!(read(&broker).await.upstream_status(), 200);
    ehr.forget_tokens();
    assert_eq!(read(&broker).await.upstream_status(), 200);
    assert_eq!(ehr.token_requests(), 2);
    ehr.faults.on(Fault::TokenRefused);
    ehr.forget_tokens();
    assert_eq!(read(&broker).await.upstream_status(), 401, "the upstream's answer stands; verify maps it");
    clock.advance(400_000);
    assert_eq!(read(&broker).await.upstream_status(), 503, "no token, no call");
}

#[tokio::test]
async fn a_bearer_file_is_read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "old-token\n").unwrap();
    let (ehr, clock) = (upstream(Auth::Bearer("new-token".into())).await, Clock::fixed(NOW));
    let broker = broker(&ehr, UpstreamAuth::Bearer { token: path.clone() }, &clock);
    assert_eq!(read(&broker).await.upstream_status(), 401);
    std::fs::write(&path, "new-token\n").unwrap();
    assert_eq!(read(&broker).await.upstream_status(), 200, "S0-02: no restart");
    std::fs::write(&path, "").unwrap();
    assert_eq!(read(&broker).await.upstream_status(), 200, "a half-done rotation keeps the old one");
    assert!(
        Broker::open(&[tenant("mercy", &ehr.base_url, UpstreamAuth::Bearer { token: path })], &loopback(), clock)
            .is_err()
    );
}

#[tokio::test]
async fn every_failure_is_an_answer() {
    let (ehr, clock) = (upstream(Auth::None).await, Clock::fixed(NOW));
    let broker = broker(&ehr, UpstreamAuth::None, &clock);
    for (fault, status) in [
        (Fault::CutOff, 502),
        (Fault::Oversized { bytes: 2 * 1024 * 1024, announced: true }, 502),
        (Fault::Oversized { bytes: 2 * 1024 * 1024, announced: false }, 502),
        (Fault::SlowHeaders(Duration::from_secs(5)), 504),
        (Fault::SlowBody(Duration::from_secs(5)), 504),
        (Fault::Redirect("http://127.0.0.1:1/elsewhere".into()), 302),
        (Fault::StackTrace("P2".into()), 500),
    ] {
        ehr.faults.only(fault.clone());
        ehr.requests.clear();
        assert_eq!(read(&broker).await.upstream_status(), status, "{fault:?}");
        assert_eq!(ehr.requests.count(), 1, "{fault:?}: one call, no redirect followed");
    }
    ehr.faults.clear();
    assert_eq!(read(&broker).await.upstream_status(), 200);
    let unknown = broker.send(&"other".parse().unwrap(), permit("/Patient/P1")).await;
    assert_eq!(unknown.upstream_status(), 503);
}

#[tokio::test]
async fn neg_140_private_hosts_are_reached_only_by_name() {
    let (ehr, clock) = (upstream(Auth::None).await, Clock::fixed(NOW));
    let port = ehr.base_url.rsplit(':').next().unwrap().to_owned();
    let settings = |fhir: String| [tenant("mercy", &fhir, UpstreamAuth::None)];
    let nobody = OutboundSettings::default();
    for host in
        ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
    {
        for scheme in ["http", "https"] {
            let broker = Broker::open(&settings(format!("{scheme}://{host}:{port}")), &nobody, clock.clone()).unwrap();
            assert_eq!(read(&broker).await.upstream_status(), 503, "{scheme}://{host}");
        }
    }
    // Allowed by name, but plaintext reaches loopback addresses alone.
    let named = OutboundSettings { allow_private: ["10.255.255.1".to_owned()].into(), ca: None };
    let broker = Broker::open(&settings("http://10.255.255.1/fhir".into()), &named, clock.clone()).unwrap();
    assert_eq!(read(&broker).await.upstream_status(), 503);
    assert_eq!(ehr.requests.count(), 0);
}

#[tokio::test]
async fn check_proves_filters_with_two_patients() {
    let (ehr, clock) = (upstream(Auth::None).await, Clock::fixed(NOW));
    let broker = broker(&ehr, UpstreamAuth::None, &clock);
    let id = "mercy".parse().unwrap();
    let (a, b) = ("P1".parse().unwrap(), "P2".parse().unwrap());
    let verdict = |report: &server::broker::CheckReport, kind: ResourceType| {
        report.filters.iter().find(|proof| proof.kind == kind.name()).unwrap().verdict
    };
    let report = broker.check(&id, &a, &b).await.unwrap();
    assert!(report.patients_readable && report.etag && report.version_id);
    assert_eq!(verdict(&report, ResourceType::OBSERVATION), FilterVerdict::Filters);
    assert_eq!(verdict(&report, ResourceType::PATIENT), FilterVerdict::Filters);
    assert_ne!(report.next_links, Page::Elsewhere);
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("Canary") && !text.contains("P1"), "names types and parameters only: {text}");
    ehr.faults.on(Fault::IgnoreAllParameters);
    let report = broker.check(&id, &a, &b).await.unwrap();
    assert_eq!(verdict(&report, ResourceType::OBSERVATION), FilterVerdict::Ignores);
    ehr.faults.only(Fault::NextLink("https://evil.example/next".into()));
    assert_eq!(broker.check(&id, &a, &b).await.unwrap().next_links, Page::Elsewhere);
}

#[tokio::test]
async fn s1_01_a_differing_token_endpoint_is_refused() {
    let (ehr, clock, key) = (upstream(Auth::SmartBackend { seconds: 300 }).await, Clock::fixed(NOW), Key::new());
    let (file, id) = (key_file(&key), "mercy".parse().unwrap());
    assert_eq!(broker(&ehr, backend(&ehr, &file), &clock).check_discovery(&id).await, Ok(()));
    let UpstreamAuth::SmartBackend { client_id, key, scope, token_url } = backend(&ehr, &file) else { panic!() };
    let moved = UpstreamAuth::SmartBackend { client_id, key, scope, token_url: format!("{token_url}/elsewhere") };
    let refused = broker(&ehr, moved, &clock).check_discovery(&id).await.unwrap_err();
    assert!(refused.to_string().contains(&token_url), "{refused}");
    assert_eq!(broker(&ehr, UpstreamAuth::None, &clock).check_discovery(&id).await, Ok(()));
}
