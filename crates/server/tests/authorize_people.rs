//! Sessions with people, as a browser and an app go through them: sign in, pick, read, allow, refresh, take back.
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

use domain::audit::Kind;
use http::StatusCode;
use people::{ADDRESS, App, Browser, People, VERIFIER, challenge, claims_of};
use serde_json::{Value, json};

const SCOPE: &str = "launch/patient openid fhirUser online_access patient/Patient.rs patient/Observation.rs";

#[tokio::test]
async fn a_clinician_starts_an_app_on_their_own() {
    let world = People::new().await;
    let mut browser = Browser::default();
    let page = world.authorize(&mut browser, App::Agent, SCOPE).await;
    assert_eq!(page.status, StatusCode::OK);
    for (name, value) in
        [("referrer-policy", "no-referrer"), ("cache-control", "no-store"), ("x-frame-options", "DENY")]
    {
        assert_eq!(page.headers[name], value, "NEG-034");
    }
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"), "AZ-15");
    assert!(!page.headers.contains_key("access-control-allow-origin"), "AZ-13");
    // Wrong once, then right.
    let wrong = world.sign_in(&mut browser, &page, "bob", "wrong").await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let picker = world.sign_in(&mut browser, &wrong, "bob", "bob").await;
    assert!(picker.text.contains("PA") && picker.text.contains("PB"), "CX-07 {}", picker.text);
    assert!(!picker.text.contains("PX"), "CX-09: another doctor's patient");
    // NEG-042.
    let foreign = world.pick(&mut browser, &picker, "PX").await;
    assert_eq!(foreign.status, StatusCode::UNPROCESSABLE_ENTITY);
    let consent = world.pick(&mut browser, &foreign, "PA").await;
    assert_eq!(consent.status, StatusCode::OK, "{}", consent.text);
    assert!(consent.text.contains("aboratory"), "SC-17: a category is offered though the whole type was asked");
    let back = world.allow(&mut browser, &consent, |_| true).await;
    let (code, state, iss) = (back.query("code"), back.query("state"), back.query("iss"));
    assert_eq!(
        (state.as_deref(), iss.as_deref()),
        (Some("st ate&=é"), Some("https://gate.example/mercy")),
        "AZ-05, AZ-12"
    );
    let issued = world.redeem(App::Agent, &code.unwrap(), VERIFIER, ADDRESS).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    let body = &issued.body;
    assert_eq!(body["patient"], "PA", "CX-03: a bare id");
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "patient/Patient.rs patient/Observation.rs launch/patient openid fhirUser online_access");
    assert!(
        body["expires_in"].as_i64().unwrap() <= 300,
        "S4-03: an online session is refreshed well within its idle time"
    );
    assert_eq!(body["need_patient_banner"], true, "CX-04");
    let claims = claims_of(body["id_token"].as_str().unwrap());
    assert_eq!(claims["fhirUser"], "https://gate.example/mercy/fhir/Practitioner/D1", "OI-02");
    assert_eq!((claims["aud"].as_str(), claims["nonce"].as_str()), (Some("agent"), Some("n-1")), "OI-06");
    let access = claims_of(body["access_token"].as_str().unwrap());
    assert_eq!(access["act"]["fhirUser"], "https://gate.example/mercy/fhir/Practitioner/D1", "who the agent acts for");
    assert_eq!(access["lau"], "standalone");
    let told = world.introspect(App::Agent, body["access_token"].as_str().unwrap()).await;
    assert_eq!((told.body["active"].as_bool(), told.body["patient"].as_str()), (Some(true), Some("PA")), "IN-03");
    assert_eq!(told.body["scope"], body["scope"], "NEG-175");
    assert_eq!(told.body["fhirUser"], claims["fhirUser"], "IN-04");
    assert_eq!(told.body["sub"], claims["sub"], "IN-04");
    for (kind, count) in [(Kind::SignIn, 2), (Kind::PatientsShown, 3), (Kind::Authorize, 2), (Kind::TokenIssue, 1)] {
        assert_eq!(world.records(kind).await.len(), count, "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_unticked_is_not_granted() {
    let world = People::new().await;
    let mut browser = Browser::default();
    let consent = world.to_consent(&mut browser, App::Agent, SCOPE, "PA").await;
    let back = world.allow(&mut browser, &consent, |label| !label.contains("aboratory")).await;
    let issued = world.redeem(App::Agent, &back.query("code").unwrap(), VERIFIER, ADDRESS).await;
    let scope = issued.body["scope"].as_str().unwrap();
    assert!(!scope.contains("patient/Observation.rs "), "US-04: {scope}");
    assert!(!scope.contains("laboratory") && scope.contains("vital-signs"), "{scope}");
    // Nothing at all is no grant (NEG-040), nor is a no (NEG-039).
    for deny in [false, true] {
        let mut browser = Browser::default();
        let consent = world.to_consent(&mut browser, App::Agent, SCOPE, "PA").await;
        let back = if deny {
            world.deny(&mut browser, &consent).await
        } else {
            world.allow(&mut browser, &consent, |_| false).await
        };
        assert_eq!(back.query("error").as_deref(), Some("access_denied"));
        assert!(back.query("iss").is_some() && back.query("code").is_none());
    }
}

#[tokio::test]
async fn the_next_person_at_a_workstation_gets_nothing_of_the_one_before() {
    let world = People::new().await;
    let mut browser = Browser::default();
    let consent = world.to_consent(&mut browser, App::Agent, SCOPE, "PA").await;
    let request = consent.field("request");
    browser.forget_person();
    let page = world.open(&mut browser, &format!("/mercy/oauth/continue?request={request}")).await;
    let picker = world.sign_in(&mut browser, &page, "carol", "carol").await;
    assert!(picker.text.contains("PX") && !picker.text.contains("value=\"PA\""), "{}", picker.text);
    let forged = world.allow(&mut browser, &consent, |_| true).await;
    assert!(forged.query("code").is_none() && forged.status.is_client_error(), "{}", forged.status);
    let consent = world.pick(&mut browser, &picker, "PX").await;
    let back = world.allow(&mut browser, &consent, |_| true).await;
    let issued = world.redeem(App::Agent, &back.query("code").unwrap(), VERIFIER, ADDRESS).await;
    assert_eq!(issued.text("patient"), "PX");
}

#[tokio::test]
async fn requests_that_do_not_fit_their_client_go_nowhere() {
    let world = People::new().await;
    // AZ-08: with a wrong client or address nothing is sent anywhere.
    for (name, value) in [
        ("client_id", "nobody"),
        ("client_id", "stranger"),
        ("redirect_uri", "https://app.example/cb/"),
        ("redirect_uri", "https://app.example/CB"),
        ("redirect_uri", "https://app.example/cb?x=1"),
        ("redirect_uri", "https://app.example/cb#f"),
        ("redirect_uri", "https://app.example/x/../cb"),
        ("redirect_uri", "https://app.example:443/cb"),
        ("redirect_uri", "https://user@app.example/cb"),
        ("redirect_uri", "http://app.example/cb"),
        ("redirect_uri", ""),
    ] {
        let answer = world.ask(&mut Browser::default(), App::Agent, SCOPE, &[(name, value)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}={value}");
        assert!(answer.location.is_none(), "{name}={value}");
    }
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "code id_token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", &"a".repeat(42), "invalid_request"),
        ("code_challenge", &"!".repeat(43), "invalid_request"),
        ("state", "", "invalid_request"),
        ("aud", "https://evil.example/fhir", "invalid_request"),
        ("aud", "", "invalid_request"),
        ("resource", "https://evil.example/fhir", "invalid_target"),
        ("scope", "", "invalid_request"),
        ("scope", "patient/*.rs", "invalid_scope"),
        ("scope", "user/Patient.rs", "invalid_scope"),
        ("scope", "system/Patient.rs", "invalid_scope"),
        ("scope", "patient/Patient.rs offline_access", "invalid_scope"),
        ("scope", "patient/Condition.rs", "invalid_scope"),
        ("scope", "patient/Patient.rs launch", "invalid_request"),
        ("launch", "x", "invalid_request"),
        ("prompt", "none", "login_required"),
        ("task", "other", "unauthorized_client"),
        ("request", "a.b.c", "request_not_supported"),
    ] {
        let answer = world.ask(&mut Browser::default(), App::Agent, SCOPE, &[(name, value)]).await;
        assert_eq!(answer.query("error").as_deref(), Some(error), "{name}={value} {}", answer.text);
        assert_eq!(answer.query("iss").as_deref(), Some("https://gate.example/mercy"), "NEG-037");
        assert!(answer.location.unwrap().starts_with("https://app.example/cb?"));
    }
    for (name, nowhere) in [("client_id", true), ("redirect_uri", true), ("state", false), ("scope", false)] {
        let answer = world.ask_twice(&mut Browser::default(), App::Agent, SCOPE, name).await;
        assert_eq!(answer.location.is_none(), nowhere, "NEG-031 {name}");
    }
    // NEG-032: unknown parameters and an empty `launch` are as if absent; one slash at `aud` is forgiven (AZ-03).
    for (name, value) in [("unknown", "1"), ("launch", ""), ("aud", "https://gate.example/mercy/fhir/")] {
        let answer = world.ask(&mut Browser::default(), App::Agent, SCOPE, &[(name, value)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}={value}");
    }
}

#[tokio::test]
async fn forms_of_other_pages_are_refused() {
    let world = People::new().await;
    let mut browser = Browser::default();
    let consent = world.to_consent(&mut browser, App::Agent, SCOPE, "PA").await;
    for csrf in ["", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let answer = world.decide_with(&mut browser, &consent, csrf).await;
        assert!(matches!(answer.status.as_u16(), 400 | 403), "NEG-035 {}", answer.status);
        assert!(answer.location.is_none());
    }
    // In another browser it is nobody's.
    let answer = world.decide_with(&mut Browser::default(), &consent, &consent.field("csrf")).await;
    assert_eq!((answer.status, answer.location), (StatusCode::BAD_REQUEST, None));
    let back = world.allow(&mut browser, &consent, |_| true).await;
    assert!(back.query("code").is_some());
    let again = world.allow(&mut browser, &consent, |_| true).await;
    assert!(again.location.is_none(), "answered once");
}

#[tokio::test]
async fn a_code_is_good_once_and_for_its_client() {
    let world = People::new().await;
    let code = world.code(App::Agent, SCOPE).await;
    for (app, verifier, address) in
        [(App::Other, VERIFIER, ADDRESS), (App::Agent, VERIFIER, "https://app.example/other")]
    {
        let refused = world.redeem(app, &code, verifier, address).await;
        assert_eq!(refused.error(), (400, "invalid_grant"), "TK-09");
    }
    assert_eq!(world.redeem(App::Agent, &code, VERIFIER, ADDRESS).await.error(), (400, "invalid_grant"), "one guess");
    for verifier in ["", "wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong", challenge().as_str()] {
        let code = world.code(App::Agent, SCOPE).await;
        let refused = world.redeem(App::Agent, &code, verifier, ADDRESS).await;
        assert_eq!(refused.error(), (400, "invalid_grant"), "TK-02 `{verifier}`");
    }
    let code = world.code(App::Agent, SCOPE).await;
    let issued = world.redeem(App::Agent, &code, VERIFIER, ADDRESS).await;
    let (access, refresh) = (issued.text("access_token"), issued.text("refresh_token"));
    assert_eq!(world.introspect(App::Agent, &access).await.body["active"], true);
    assert_eq!(world.redeem(App::Agent, &code, VERIFIER, ADDRESS).await.error(), (400, "invalid_grant"), "NEG-060");
    assert_eq!(
        world.introspect(App::Agent, &access).await.body,
        json!({"active": false}),
        "NEG-060: the first is dead"
    );
    assert_eq!(world.refresh(App::Agent, &refresh, None).await.error(), (400, "invalid_grant"));
    assert!(world.alerts().await.contains(&"code-replayed".to_owned()));
    let code = world.code(App::Agent, SCOPE).await;
    world.clock.advance(61_000);
    assert_eq!(world.redeem(App::Agent, &code, VERIFIER, ADDRESS).await.error(), (400, "invalid_grant"), "AZ-06");
}

#[tokio::test]
async fn one_code_sent_fifty_times_at_once_is_honoured_at_most_once() {
    let world = std::sync::Arc::new(People::new().await);
    let code = world.code(App::Phone, "launch/patient offline_access patient/Patient.rs").await;
    let sends = (0..50).map(|_| {
        let (world, code) = (std::sync::Arc::clone(&world), code.clone());
        tokio::spawn(async move { world.redeem(App::Phone, &code, VERIFIER, ADDRESS).await })
    });
    let mut good = Vec::new();
    for send in sends.collect::<Vec<_>>() {
        let answer = send.await.unwrap();
        match answer.status.as_u16() {
            200 => good.push(answer),
            status => assert_eq!((status, answer.body["error"].as_str()), (400, Some("invalid_grant")), "NEG-061"),
        }
    }
    assert!(good.len() <= 1, "NEG-061");
    for answer in good {
        let told = world.introspect(App::Phone, &answer.text("access_token")).await;
        assert_eq!(told.body, json!({"active": false}), "NEG-061: as after any replay");
    }
}

#[tokio::test]
async fn a_persons_refresh_token_is_passed_on_and_its_theft_ends_the_family() {
    let world = People::new().await;
    let issued = world.start(App::Agent, SCOPE).await;
    let first = issued.text("refresh_token");
    for (scope, error) in [
        ("patient/Observation.rs patient/Condition.rs", Some("invalid_scope")),
        ("patient/Observation.cruds", Some("invalid_scope")),
        ("user/Observation.rs", Some("invalid_scope")),
        ("patient/Observation.r", None),
    ] {
        let Some(error) = error else { continue };
        assert_eq!(world.refresh(App::Agent, &first, Some(scope)).await.error(), (400, error), "NEG-163 {scope}");
    }
    assert_eq!(world.refresh(App::Other, &first, None).await.error(), (400, "invalid_grant"), "RF-02");
    world.clock.advance(200_000);
    let narrower = world.refresh(App::Agent, &first, Some("patient/Observation.r")).await;
    assert_eq!(narrower.status, 200, "NEG-166 {}", narrower.body);
    assert_eq!(narrower.body["scope"], "patient/Observation.r");
    assert_eq!(narrower.body["patient"], "PA", "RF-05");
    let second = narrower.text("refresh_token");
    assert_eq!(
        world.refresh_unnamed(&second).await.error(),
        (401, "invalid_client"),
        "a confidential client proves itself"
    );
    assert_ne!(first, second);
    // Within the grace the first is merely refused; the family lives (D-04).
    assert_eq!(world.refresh(App::Agent, &first, None).await.error(), (400, "invalid_grant"), "NEG-161");
    let third = world.refresh(App::Agent, &second, None).await;
    assert_eq!(third.body["scope"], issued.body["scope"], "RF-03: omitted is what was granted");
    world.clock.advance(11_000);
    assert_eq!(world.refresh(App::Agent, &first, None).await.error(), (400, "invalid_grant"));
    assert_eq!(
        world.refresh(App::Agent, &third.text("refresh_token"), None).await.error(),
        (400, "invalid_grant"),
        "RF-08"
    );
    assert_eq!(world.introspect(App::Agent, &third.text("access_token")).await.body, json!({"active": false}));
    assert!(world.alerts().await.contains(&"refresh-replayed".to_owned()));
}

#[tokio::test]
async fn an_online_session_ends_with_its_person() {
    let world = People::new().await;
    let mut browser = Browser::default();
    let consent = world.to_consent(&mut browser, App::Agent, SCOPE, "PA").await;
    let back = world.allow(&mut browser, &consent, |_| true).await;
    let issued = world.redeem(App::Agent, &back.query("code").unwrap(), VERIFIER, ADDRESS).await;
    let out = world.sign_out(&mut browser).await;
    assert_eq!(out.status, StatusCode::OK);
    assert_eq!(
        world.refresh(App::Agent, &issued.text("refresh_token"), None).await.error(),
        (400, "invalid_grant"),
        "NEG-168"
    );
    assert_eq!(world.introspect(App::Agent, &issued.text("access_token")).await.body, json!({"active": false}));
    // Nobody refreshes for fifteen minutes: it ends by itself, and once.
    let issued = world.start(App::Agent, SCOPE).await;
    world.clock.advance(15 * 60_000);
    assert_eq!(server::authorize::end_idle_now(&world.store, &world.registry, world.clock.now()).await, 1, "S4-03");
    assert_eq!(server::authorize::end_idle_now(&world.store, &world.registry, world.clock.now()).await, 0);
    assert_eq!(world.refresh(App::Agent, &issued.text("refresh_token"), None).await.error(), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_patients_app_keeps_access_until_it_is_taken_back() {
    let world = People::new().await;
    let scope = "launch/patient openid fhirUser offline_access patient/*.read";
    let mut browser = Browser::default();
    let page = world.authorize(&mut browser, App::Phone, scope).await;
    let consent = world.sign_in(&mut browser, &page, "alice", "alice").await;
    assert!(consent.text.contains("months"), "US-02: {}", consent.text);
    let back = world.allow(&mut browser, &consent, |_| true).await;
    let issued = world.redeem(App::Phone, &back.query("code").unwrap(), VERIFIER, ADDRESS).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    assert_eq!(issued.body["patient"], "PA", "the Patient she is, by a verified claim");
    assert!(
        !issued.body["scope"].as_str().unwrap().contains('*'),
        "a wildcard is spelled out: {}",
        issued.body["scope"]
    );
    assert!(issued.body["scope"].as_str().unwrap().contains("patient/Observation.read"), "D-09: v1 in, v1 out");
    let mut refresh = issued.text("refresh_token");
    for _ in 0..3 {
        world.clock.advance(91 * 24 * 3_600_000);
        let next = world.refresh(App::Phone, &refresh, None).await;
        assert_eq!(next.status, 200, "RF-07: {}", next.body);
        refresh = next.text("refresh_token");
    }
    // As SMART has it for public apps, without a client_id.
    let next = world.refresh_unnamed(&refresh).await;
    assert_eq!(next.status, 200, "request-7: {}", next.body);
    refresh = next.text("refresh_token");
    let page = world.grants(&mut browser).await;
    let page = world.sign_in(&mut browser, &page, "alice", "alice").await;
    assert!(page.text.contains("phone"), "DISC-13 {}", page.text);
    let gone = world.take_back(&mut browser, &page).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(world.refresh(App::Phone, &refresh, None).await.error(), (400, "invalid_grant"), "RV-03");
    // Somebody who is no patient has nothing to give.
    let mut browser = Browser::default();
    let page = world.authorize(&mut browser, App::Phone, scope).await;
    let back = world.sign_in(&mut browser, &page, "bob", "bob").await;
    assert_eq!(back.query("error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn pushed_requests_are_good_once_for_their_client() {
    let world = People::new().await;
    let pushed = world.push(App::Agent, SCOPE, &[]).await;
    assert_eq!(pushed.status, 201, "PA-02 {}", pushed.body);
    let uri = pushed.text("request_uri");
    assert!(pushed.body["expires_in"].as_i64().unwrap() < 600);
    let other = world.ask_pushed(&mut Browser::default(), "agent-2", &uri).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "PA-03");
    let first = world.ask_pushed(&mut Browser::default(), "agent", &uri).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert_eq!(
        world.ask_pushed(&mut Browser::default(), "agent", &uri).await.status,
        StatusCode::BAD_REQUEST,
        "NEG-230"
    );
    for (name, value, error) in [
        ("request_uri", uri.as_str(), (400, "invalid_request")),
        ("redirect_uri", "https://evil.example/cb", (400, "invalid_request")),
        ("scope", "patient/*.rs", (400, "invalid_scope")),
        ("code_challenge_method", "plain", (400, "invalid_request")),
    ] {
        assert_eq!(world.push(App::Agent, SCOPE, &[(name, value)]).await.error(), error, "PA-01 {name}");
    }
    let plain = world.ask(&mut Browser::default(), App::Pusher, SCOPE, &[]).await;
    assert_eq!(plain.query("error").as_deref(), Some("invalid_request"), "NEG-231");
}

#[tokio::test]
async fn grants_that_are_not_a_clients_own_are_unauthorized() {
    let world = People::new().await;
    let answer = world.raw(App::Phone, "grant_type=client_credentials&scope=patient%2FPatient.rs").await;
    assert_eq!(answer.error(), (400, "unauthorized_client"), "NEG-074");
    let answer = world.raw(App::Phone, "grant_type=password&username=a&password=b").await;
    assert_eq!(answer.error(), (400, "unsupported_grant_type"), "NEG-073");
    let answer = world.raw(App::Phone, "grant_type=refresh_token").await;
    assert_eq!(answer.error(), (400, "invalid_request"));
    let found: Value = world.document("/mercy/fhir/.well-known/smart-configuration").await;
    let capable = |name: &str| found["capabilities"].as_array().unwrap().iter().any(|one| one == name);
    assert!(capable("launch-standalone") && capable("permission-user") && !capable("launch-ehr"), "DISC-19");
    assert_eq!(world.document("/mercy/.well-known/openid-configuration").await["issuer"], found["issuer"], "NEG-003");
    let keys = world.document("/mercy/oauth/jwks").await;
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["alg"] == "RS256"), "OI-04");
}
