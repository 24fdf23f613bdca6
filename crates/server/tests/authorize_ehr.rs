//! The EHR launches an app through the gate: from its launch to the app's session, and what becomes of the EHR's token (LN, S1-32).
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
#[path = "authorize_common/people.rs"]
mod people;

use authorize_common::Key;
use domain::audit::Kind;
use fake_ehr::{FakeEhr, pairs};
use http::StatusCode;
use people::{ADDRESS, Answer, App, Browser, People, VERIFIER, claims_of};
use serde_json::{Value, json};

const SCOPE: &str = "launch openid fhirUser patient/Patient.rs patient/Observation.rs";
const MINUTE: i64 = 60_000;

struct World {
    people: People,
    ehr: FakeEhr,
    /// Signs the EHR's ID tokens.
    key: Key,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let (ehr, folder, key) = (FakeEhr::start().await, tempfile::tempdir().unwrap(), Key::new());
        ehr.say(|script| script.jwks = serde_json::from_str(&key.jwks()).unwrap());
        let path = Key::new().file(&folder, "ehr.pem");
        let (settings, base) = (ehr.settings(&path), ehr.base());
        let people = People::with(|tenant| {
            tenant.upstream.fhir = base;
            tenant.ehr = Some(settings);
        })
        .await;
        Self { people, ehr, key, _folder: folder }
    }

    /// The EHR opens the app; gives the query by which the EHR sends the browser back.
    async fn begun(&self, browser: &mut Browser) -> String {
        let iss: String = self.ehr.base().replace(':', "%3A").replace('/', "%2F");
        let away = self.people.open(browser, &format!("/mercy/oauth/launch/ward-app?iss={iss}&launch=h-1")).await;
        assert_eq!(away.status, StatusCode::SEE_OTHER, "{}", away.text);
        let sent = pairs(away.location.unwrap().split_once('?').unwrap().1.as_bytes());
        let now = self.people.clock.now() / 1_000;
        let id_token: Value = self
            .key
            .sign(&json!({"iss": self.ehr.origin, "aud": "hilum", "sub": "dr-1", "nonce": sent["nonce"], "iat": now,
                "exp": now + 300, "fhirUser": "Practitioner/PRA"}))
            .into();
        let answer = json!({"access_token": "own-1", "token_type": "bearer", "expires_in": 300, "refresh_token": "r-1",
            "scope": "launch openid fhirUser patient/*.rs", "patient": "P1", "encounter": "E1", "intent": "order",
            "need_patient_banner": false, "id_token": id_token});
        self.ehr.say(|script| script.tokens = [(200, answer)].into());
        format!("code=c-1&state={}", sent["state"])
    }

    async fn back(&self, browser: &mut Browser, query: &str) -> Answer {
        self.people.open(browser, &format!("/mercy/oauth/callback/ehr?{query}")).await
    }

    /// Up to the app's launch URL; gives the handle.
    async fn launched(&self, browser: &mut Browser) -> String {
        let query = self.begun(browser).await;
        let opened = self.back(browser, &query).await;
        assert!(opened.location.as_deref().unwrap().starts_with("https://app.example/start?"), "{:?}", opened.location);
        assert_eq!(opened.query("iss").as_deref(), Some("https://gate.example/mercy/fhir"), "LN-01");
        opened.query("launch").unwrap()
    }

    async fn ask(&self, browser: &mut Browser, app: App, handle: &str) -> Answer {
        self.people.ask(browser, app, SCOPE, &[("launch", handle)]).await
    }

    /// Works on what is due; the tokens that the EHR was asked to revoke so far.
    async fn revoked(&self) -> Vec<String> {
        self.people.broker.revoke_due(&self.people.registry, &self.people.audit).await.unwrap();
        let mut revoked = self.ehr.revoked();
        revoked.sort();
        revoked
    }
}

#[tokio::test]
async fn s1_32_an_app_is_launched_works_for_its_patient_and_leaves_nothing_behind() {
    let (world, mut browser) = (World::new().await, Browser::default());
    let handle = world.launched(&mut browser).await;
    let consent = world.ask(&mut browser, App::Ward, &handle).await;
    assert_eq!(consent.status, StatusCode::OK, "{:?}", consent.location);
    let back = world.people.allow(&mut browser, &consent, |_| true).await;
    let issued = world.people.redeem(App::Ward, &back.query("code").unwrap(), VERIFIER, ADDRESS).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    assert_eq!(
        (issued.text("patient"), issued.text("encounter"), issued.text("intent")),
        ("P1".into(), "E1".into(), "order".into())
    );
    assert_eq!(issued.body["need_patient_banner"], false, "CX-04");
    let token = issued.text("access_token");
    assert!(
        !token.contains("own-1")
            && claims_of(&issued.text("id_token"))["fhirUser"].as_str().unwrap().ends_with("/Practitioner/PRA")
    );
    assert!(world.revoked().await.is_empty(), "it lasts with its session");
    let [launch] = &world.people.records(Kind::EhrLaunch).await[..] else { panic!() };
    let [issue] = &world.people.records(Kind::TokenIssue).await[..] else { panic!() };
    assert_eq!(launch.session, issue.session, "one session from the launch on");
    let again = world.people.redeem(App::Ward, &back.query("code").unwrap(), VERIFIER, ADDRESS).await;
    assert_eq!(again.error(), (400, "invalid_grant"));
    assert_eq!(world.revoked().await, ["own-1", "r-1"], "a stolen code ends the session, and with it the EHR's tokens");
    assert_eq!(world.people.records(Kind::UpstreamRevoke).await.len(), 1);
}

#[tokio::test]
async fn s1_32_a_launch_that_comes_to_nothing_is_revoked() {
    // The person says no: at once.
    let (world, mut browser) = (World::new().await, Browser::default());
    let handle = world.launched(&mut browser).await;
    let consent = world.ask(&mut browser, App::Ward, &handle).await;
    let back = world.people.deny(&mut browser, &consent).await;
    assert_eq!(back.query("error").as_deref(), Some("access_denied"));
    assert_eq!(world.revoked().await, ["own-1", "r-1"]);
    // The app never asks, or never redeems its code: when the time for that is over.
    for redeems in [false, true] {
        let (world, mut browser) = (World::new().await, Browser::default());
        let handle = world.launched(&mut browser).await;
        if redeems {
            let consent = world.ask(&mut browser, App::Ward, &handle).await;
            assert!(world.people.allow(&mut browser, &consent, |_| true).await.query("code").is_some());
        }
        world.people.clock.advance(15 * MINUTE);
        assert!(world.revoked().await.is_empty());
        world.people.clock.advance(MINUTE);
        assert_eq!(world.revoked().await, ["own-1", "r-1"], "{redeems}");
        let [record] = &world.people.records(Kind::UpstreamRevoke).await[..] else { panic!() };
        assert_eq!((record.reason.as_str(), record.session.is_some()), ("revoked", true));
    }
}

#[tokio::test]
async fn ln_03_a_launch_is_for_its_app_and_its_browser_and_good_once() {
    let (world, mut browser) = (World::new().await, Browser::default());
    let query = world.begun(&mut browser).await;
    let stranger = world.back(&mut Browser::default(), &query).await;
    assert_eq!((stranger.status, stranger.location), (StatusCode::BAD_REQUEST, None), "another browser");
    assert!(world.ehr.came("/token").is_empty(), "nothing is asked for it");
    assert_eq!(world.back(&mut browser, &query).await.status, StatusCode::BAD_REQUEST, "and it is used up");
    let handle = world.launched(&mut browser).await;
    let refused = world.ask(&mut Browser::default(), App::Ward, &handle).await;
    assert_eq!(refused.query("error").as_deref(), Some("invalid_request"), "another person");
    let refused = world.ask(&mut browser, App::Agent, &handle).await;
    assert_eq!(refused.query("error").as_deref(), Some("invalid_request"), "another app");
    assert_eq!(world.ask(&mut browser, App::Ward, &handle).await.status, StatusCode::OK);
    let twice = world.ask(&mut browser, App::Ward, &handle).await;
    assert_eq!(twice.query("error").as_deref(), Some("invalid_request"), "a second time");
    // An app that starts by launches alone does not start on its own.
    let alone = world.people.ask(&mut browser, App::Ward, "openid patient/Patient.rs", &[]).await;
    assert_eq!(alone.query("error").as_deref(), Some("unauthorized_client"));
}
