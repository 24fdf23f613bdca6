//! Hilum as a confidential SMART client of the EHR: what it asks, what it takes for an answer, and what it refuses.
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

use std::collections::BTreeMap;

use authorize_common::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use demo_ehr::{Auth, ClientKeys, DemoEhr, LaunchContext, SmartClient, TokenState};
use domain::TenantId;
use fake_ehr::{FakeEhr, pairs};
use oauth::ehr::InvalidAnswer;
use serde_json::{Value, json};
use server::broker::{Broker, EhrLaunched, EhrPending, EhrRefused, OpenBrokerError, Revocation};
use server::clock::Clock;
use server::keys::KeyRing;
use server::settings::{EhrSettings, UpstreamAuth};
use store::Store;
use vault::RootKey;

const CALLBACK: &str = "https://gate.example/mercy/oauth/callback/ehr";

struct World {
    ehr: FakeEhr,
    broker: Broker,
    clock: Clock,
    /// Signs the EHR's ID tokens.
    key: Key,
    _folder: tempfile::TempDir,
}

fn mercy() -> TenantId {
    "mercy".parse().unwrap()
}

fn key_file(folder: &tempfile::TempDir) -> std::path::PathBuf {
    Key::new().file(folder, "ehr.pem")
}

async fn broker_for(settings: EhrSettings, clock: &Clock) -> Broker {
    let mut tenant = tenant("mercy", &settings.fhir, UpstreamAuth::None);
    tenant.ehr = Some(settings);
    let store = Store::open("sqlite::memory:").await.unwrap();
    let keys = KeyRing::open(&RootKey::parse(&[7; 32]).unwrap(), &store, &[mercy()], NOW).await.unwrap();
    Broker::new(&[tenant], &loopback(), keys, clock.clone()).unwrap()
}

impl World {
    async fn new() -> Self {
        let (ehr, clock, folder, key) =
            (FakeEhr::start().await, Clock::fixed(NOW), tempfile::tempdir().unwrap(), Key::new());
        ehr.say(|script| script.jwks = serde_json::from_str(&key.jwks()).unwrap());
        let broker = broker_for(ehr.settings(&key_file(&folder)), &clock).await;
        Self { ehr, broker, clock, key, _folder: folder }
    }

    /// Begins a launch; gives what the browser was sent with.
    async fn begun(&self) -> (BTreeMap<String, String>, EhrPending) {
        let begun = self.broker.ehr_begin(&mercy(), &self.ehr.base(), "handle-1", CALLBACK).await.unwrap();
        let (_, query) = begun.url.split_once('?').unwrap();
        (pairs(query.as_bytes()), begun.pending)
    }

    fn id_token(&self, nonce: &str, change: impl FnOnce(&mut Value)) -> String {
        let now = self.clock.now() / 1_000;
        let mut claims = json!({"iss": self.ehr.origin, "aud": "hilum", "sub": "dr-1", "nonce": nonce, "iat": now,
            "exp": now + 300, "fhirUser": "Practitioner/PRA"});
        change(&mut claims);
        self.key.sign(&claims)
    }

    fn answer(&self, nonce: &str) -> Value {
        json!({"access_token": "own-1", "token_type": "bearer", "expires_in": 300, "scope": "launch openid fhirUser patient/*.rs",
            "refresh_token": "r-1", "patient": "P1", "encounter": "E1", "need_patient_banner": true, "intent": "order",
            "smart_style_url": "https://ehr.example/style.json", "fhirContext": [{"reference": "ImagingStudy/I1"}],
            "id_token": self.id_token(nonce, |_| {})})
    }

    /// A launch whose token answer is changed; the nonce of the launch is given.
    async fn launched(&self, change: impl FnOnce(&str, &mut Value)) -> Result<EhrLaunched, EhrRefused> {
        let (sent, pending) = self.begun().await;
        let mut answer = self.answer(&sent["nonce"]);
        change(&sent["nonce"], &mut answer);
        self.ehr.say(|script| script.tokens = [(200, answer)].into());
        let query = format!("code=c-1&state={}", sent["state"]);
        self.broker.ehr_finish(&mercy(), pending, &query, CALLBACK).await
    }
}

#[tokio::test]
async fn a_launch_is_asked_for_and_answered_as_smart_says() {
    let world = World::new().await;
    let (sent, pending) = world.begun().await;
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "hilum"),
        ("redirect_uri", CALLBACK),
        ("scope", "launch openid fhirUser online_access patient/*.rs"),
        ("aud", &world.ehr.base()),
        ("launch", "handle-1"),
        ("code_challenge_method", "S256"),
        ("state", pending.state()),
    ] {
        assert_eq!(sent[name], value, "{name}");
    }
    assert_eq!(format!("{pending:?}"), "EhrPending([sealed])");
    // What is kept between the two steps survives being written down.
    let pending: EhrPending = serde_json::from_str(&serde_json::to_string(&pending).unwrap()).unwrap();
    world.ehr.say(|script| script.tokens = [(200, world.answer(&sent["nonce"]))].into());
    let query = format!("code=c-1&state={}&iss={}", sent["state"], world.ehr.origin);
    let launched = world.broker.ehr_finish(&mercy(), pending, &query, CALLBACK).await.unwrap();
    assert_eq!((launched.patient.as_str(), launched.encounter.as_ref().unwrap().as_str()), ("P1", "E1"));
    assert_eq!(launched.fhir_user, Some(format!("{}/Practitioner/PRA", world.ehr.base())));
    assert_eq!((launched.issuer.as_str(), launched.subject.as_deref()), (world.ehr.origin.as_str(), Some("dr-1")));
    assert_eq!((launched.banner, launched.intent.as_deref()), (Some(true), Some("order")));
    assert_eq!(launched.style_url.as_deref(), Some("https://ehr.example/style.json"));
    assert_eq!(serde_json::to_value(&launched.fhir_context).unwrap(), json!([{"reference": "ImagingStudy/I1"}]));
    assert_eq!(format!("{launched:?} {:?}", launched.grant), "EhrLaunched([sealed]) UpstreamGrant([sealed])");
    assert_eq!(launched.grant.expires_at, NOW + 300_000);
    let [asked] = &world.ehr.came("/token")[..] else { panic!() };
    assert_eq!((asked.form["grant_type"].as_str(), asked.form["code"].as_str()), ("authorization_code", "c-1"));
    assert_eq!((asked.form["redirect_uri"].as_str(), asked.authorization.as_str()), (CALLBACK, ""));
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, asked.form["code_verifier"].as_bytes());
    assert_eq!(sent["code_challenge"], URL_SAFE_NO_PAD.encode(challenge));
    // The assertion is ours, for the token endpoint, by a key of the published set.
    let jws = oauth::jose::UnverifiedJws::parse(&asked.form["client_assertion"]).unwrap();
    let keys = oauth::KeySet::parse(world.broker.ehr_jwks(&mercy()).unwrap().as_bytes()).unwrap();
    let key = keys.choose(jws.header.kid.as_deref().unwrap(), jws.header.algorithm).unwrap();
    assert!(key.verify(jws.header.algorithm, jws.signed(), jws.signature()));
    assert_eq!(jws.claims["aud"], format!("{}/token", world.ehr.origin));
    assert_eq!((&jws.claims["iss"], &jws.claims["sub"]), (&json!("hilum"), &json!("hilum")));
    assert_eq!(world.broker.jwks(&mercy()).unwrap(), r#"{"keys":[]}"#, "no key is in two sets");
}

#[tokio::test]
async fn s1_01_nothing_is_fetched_for_another_iss() {
    let world = World::new().await;
    let base = world.ehr.base();
    for iss in [
        "https://evil.example/fhir".to_owned(),
        format!("{base}/x"),
        format!("{base}//"),
        format!("{base}?x"),
        base.replace("127.0.0.1", "localhost"),
        base.to_uppercase(),
        String::new(),
    ] {
        let refused = world.broker.ehr_begin(&mercy(), &iss, "h", CALLBACK).await.map(drop);
        assert_eq!(refused, Err(EhrRefused::Issuer), "{iss}");
    }
    for launch in [String::new(), "a\nb".into(), "x".repeat(5_000)] {
        assert_eq!(world.broker.ehr_begin(&mercy(), &base, &launch, CALLBACK).await.map(drop), Err(EhrRefused::Launch));
    }
    let other = "other".parse().unwrap();
    assert_eq!(world.broker.ehr_begin(&other, &base, "h", CALLBACK).await.map(drop), Err(EhrRefused::NoEhr));
    assert!(world.ehr.came("/fhir/.well-known/smart-configuration").is_empty());
    assert!(world.broker.ehr_begin(&mercy(), &format!("{base}/"), "h", CALLBACK).await.is_ok());
    assert!(world.broker.ehr_begin(&mercy(), &base, "h", CALLBACK).await.is_ok());
    assert_eq!(world.ehr.came("/fhir/.well-known/smart-configuration").len(), 1, "once a minute");
}

#[tokio::test]
async fn s1_01_a_discovery_document_that_does_not_fit_starts_nothing() {
    for discovery in [
        json!({"token_endpoint": "http://10.0.0.1/token"}),
        json!({"token_endpoint": "/token"}),
        json!({"authorization_endpoint": null}),
        json!({"code_challenge_methods_supported": ["plain"]}),
        json!({"issuer": null}),
        json!({"jwks_uri": null}),
    ] {
        let world = World::new().await;
        world.ehr.say(|script| script.discovery = discovery.clone());
        let refused = world.broker.ehr_begin(&mercy(), &world.ehr.base(), "h", CALLBACK).await;
        let fits = matches!(refused, Err(EhrRefused::Discovery(_) | EhrRefused::OpenId));
        assert!(fits, "{discovery} {refused:?}");
    }
    // The same EHR's token endpoint is registered for the tenant's own credential.
    let (ehr, folder) = (FakeEhr::start().await, tempfile::tempdir().unwrap());
    let settings = ehr.settings(&key_file(&folder));
    let backend = folder.path().join("backend.pem");
    let text = base64::engine::general_purpose::STANDARD.encode(Key::new().pkcs8());
    std::fs::write(&backend, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
    let with = |token_url: String, key: &std::path::Path| {
        let auth = UpstreamAuth::SmartBackend { client_id: "h".into(), key: key.into(), token_url, scope: "s".into() };
        let mut tenant = tenant("mercy", &settings.fhir, auth);
        tenant.ehr = Some(settings.clone());
        Broker::open(&[tenant], &loopback(), Clock::fixed(NOW))
    };
    let pinned = with(format!("{}/other", ehr.origin), &backend).unwrap();
    let refused = pinned.ehr_begin(&mercy(), &ehr.base(), "h", CALLBACK).await.map(drop);
    assert_eq!(refused, Err(EhrRefused::TokenEndpoint));
    let agreed = with(format!("{}/token", ehr.origin), &backend).unwrap();
    assert!(agreed.ehr_begin(&mercy(), &ehr.base(), "h", CALLBACK).await.is_ok());
    let shared = with(format!("{}/token", ehr.origin), &settings.key).map(drop);
    assert!(matches!(shared, Err(OpenBrokerError::SharedKey { .. })), "one key, one connection");
}

#[tokio::test]
async fn an_answer_of_another_launch_is_refused_before_anything_is_asked() {
    let world = World::new().await;
    let wrong = |why: InvalidAnswer| Err(EhrRefused::Answer(why));
    for (query, why) in [
        ("code=c-1&state=other", wrong(InvalidAnswer::State)),
        ("code=c-1", wrong(InvalidAnswer::State)),
        ("code=c-1&state=STATE&iss=https://evil.example", wrong(InvalidAnswer::Issuer)),
        ("error=access_denied&state=STATE", wrong(InvalidAnswer::Denied("access_denied".into()))),
        ("state=STATE", wrong(InvalidAnswer::Form)),
    ] {
        let (sent, pending) = world.begun().await;
        let query = query.replace("STATE", &sent["state"]);
        assert_eq!(world.broker.ehr_finish(&mercy(), pending, &query, CALLBACK).await.map(drop), why, "{query}");
    }
    let (sent, pending) = world.begun().await;
    let query = format!("code=c-1&state={}", sent["state"]);
    let elsewhere = world.broker.ehr_finish(&mercy(), pending, &query, "https://gate.example/x").await.map(drop);
    assert_eq!(elsewhere, Err(EhrRefused::Redirect));
    let (_, pending) = world.begun().await;
    world.clock.advance(600_000);
    let late = world.broker.ehr_finish(&mercy(), pending, &query, CALLBACK).await.map(drop);
    assert_eq!(late, Err(EhrRefused::Late));
    assert!(world.ehr.came("/token").is_empty());
}

#[tokio::test]
async fn a_token_answer_without_its_patient_or_its_person_is_refused_and_revoked() {
    let world = World::new().await;
    for (member, value) in [
        ("patient", Value::Null),
        ("id_token", json!("x.y.z")),
        ("fhirContext", json!([{"reference": "Patient/P2"}])),
        ("patient", json!("Patient/P1")),
        ("encounter", json!("Encounter/E1")),
        ("token_type", json!("mac")),
        ("expires_in", json!(0)),
    ] {
        let refused = world.launched(|_, answer| answer[member] = value.clone()).await;
        assert!(refused.is_err(), "{member} {value}");
    }
    for (claim, value) in [
        ("nonce", json!("another")),
        ("aud", json!("other")),
        ("iss", json!("https://evil.example")),
        ("exp", json!(NOW / 1_000 - 60)),
        ("fhirUser", json!("Observation/O1")),
        ("fhirUser", json!(7)),
    ] {
        let token = |nonce: &str| world.id_token(nonce, |claims| claims[claim] = value.clone());
        let refused = world.launched(|nonce, answer| answer["id_token"] = token(nonce).into()).await;
        assert!(matches!(refused, Err(EhrRefused::IdToken(_) | EhrRefused::FhirUser)), "{claim} {refused:?}");
    }
    let (stranger, now) = (Key::new(), NOW / 1_000);
    let forged = world
        .launched(|nonce, answer| {
            answer["id_token"] = stranger
                .sign(&json!({"iss": world.ehr.origin, "aud": "hilum", "sub": "dr-1", "nonce": nonce, "iat": now, "exp": now + 300}))
                .into();
        })
        .await;
    assert!(matches!(forged, Err(EhrRefused::IdToken(_))), "{forged:?}");
    // What was granted for nothing is revoked: both tokens of each answer that was one.
    for _ in 0..200 {
        if world.ehr.revoked().len() >= 18 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let revoked = world.ehr.revoked();
    assert!(revoked.len() >= 18 && revoked.iter().all(|token| token == "own-1" || token == "r-1"), "{revoked:?}");
    let refused = {
        let (sent, pending) = world.begun().await;
        world.ehr.say(|script| script.tokens = [(400, json!({"error": "invalid_grant"}))].into());
        let query = format!("code=c-1&state={}", sent["state"]);
        world.broker.ehr_finish(&mercy(), pending, &query, CALLBACK).await.map(drop)
    };
    assert_eq!(refused, Err(EhrRefused::Exchange("invalid_grant".into())));
}

#[tokio::test]
async fn a_grant_that_no_session_came_of_is_revoked() {
    let world = World::new().await;
    let launched = world.launched(|_, _| {}).await.unwrap();
    let said = world.broker.discard_grant(&mercy(), launched.grant).await;
    assert_eq!(
        (said.access, said.refresh, said.outcome()),
        (Revocation::Revoked, Some(Revocation::Revoked), Revocation::Revoked)
    );
    assert_eq!(world.ehr.revoked(), ["r-1", "own-1"], "with the refresh token goes what could be had by it");
}

#[tokio::test]
async fn the_demonstration_ehr_launches_us() {
    let (clock, folder) = (Clock::fixed(NOW), tempfile::tempdir().unwrap());
    let key = key_file(&folder);
    let jwk = server::broker::Signer::read(&key).unwrap().jwk().clone();
    let app = SmartClient {
        client_id: "hilum".into(),
        keys: ClientKeys::Jwks(json!({"keys": [jwk]})),
        redirect_uris: vec![CALLBACK.into()],
        launch_url: Some("https://gate.example/mercy/oauth/launch/agent".into()),
        launch_urls: Vec::new(),
    };
    let time = clock.clone();
    let ehr = DemoEhr::from_resources(demo_ehr::fixture())
        .auth(Auth::SmartLaunch)
        .smart_client(app)
        .clock(demo_ehr::Clock::from_fn(move || time.now()))
        .start(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let settings = EhrSettings {
        fhir: ehr.base_url.clone(),
        client_id: "hilum".into(),
        key,
        scope: "launch openid fhirUser online_access patient/*.rs".into(),
    };
    let broker = broker_for(settings, &clock).await;
    let url = ehr.launch_url("hilum", LaunchContext::new("PRA", "P1")).unwrap();
    let sent = pairs(url.split_once('?').unwrap().1.as_bytes());
    let begun = broker.ehr_begin(&mercy(), &sent["iss"], &sent["launch"], CALLBACK).await.unwrap();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = http::Request::get(&begun.url).body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let answer = client.request(request).await.unwrap();
    let back = answer.headers()["location"].to_str().unwrap().to_owned();
    let query = back.strip_prefix(CALLBACK).unwrap().trim_start_matches('?');
    let launched = broker.ehr_finish(&mercy(), begun.pending, query, CALLBACK).await.unwrap();
    assert_eq!(launched.patient.as_str(), "P1");
    assert!(launched.fhir_user.as_deref().unwrap().ends_with("/Practitioner/PRA"));
    let token = launched.grant.access_token.clone();
    assert_eq!(ehr.app_token(&token).unwrap().patient.as_deref(), Some("P1"));
    assert_eq!(broker.discard_grant(&mercy(), launched.grant).await.outcome(), Revocation::Revoked);
    assert_eq!(ehr.app_token(&token).unwrap().state, TokenState::Revoked);
}
