//! Launching apps: discovery, both launches, tokens, and every refusal on the way (SMART App Launch 2.2).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/app.rs"]
mod app;
mod common;

use app::*;
use common::*;
use demo_ehr::{Auth, LaunchContext, LaunchError};
use serde_json::{Value, json};

#[tokio::test]
async fn discovery_says_what_there_is_and_both_documents_agree() {
    let world = World::new().await;
    let smart = get(&world.ehr, ".well-known/smart-configuration").await.json();
    let openid = send("GET", &world.url("/.well-known/openid-configuration"), &[], "").await.json();
    assert_eq!(smart["issuer"], world.origin());
    assert_eq!(smart["token_endpoint"], world.ehr.token_url.as_str());
    assert_eq!(smart["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(smart["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
    for name in ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "revocation_endpoint"] {
        assert!(smart[name].as_str().unwrap().starts_with(world.origin()), "{name}");
        assert_eq!(smart[name], openid[name], "{name}");
    }
    for name in ["launch-ehr", "launch-standalone", "client-confidential-asymmetric", "sso-openid-connect"] {
        assert!(smart["capabilities"].as_array().unwrap().contains(&json!(name)), "{name}");
    }
    assert!(openid["id_token_signing_alg_values_supported"].as_array().unwrap().contains(&json!("RS256")));
    let statement = get(&world.ehr, "metadata").await.text();
    assert!(statement.contains("/authorize\"") && statement.contains("oauth-uris"));
    let keys = send("GET", smart["jwks_uri"].as_str().unwrap(), &[], "").await.json();
    assert!(keys["keys"][0].get("d").is_none() && keys["keys"][0]["kty"] == "RSA");
}

#[tokio::test]
async fn without_an_app_there_is_no_launch_side() {
    let ehr = start(small()).await;
    assert_eq!(get(&ehr, ".well-known/smart-configuration").await.status, 404);
    assert_eq!(get(&ehr, "Observation").await.status, 200);
    for path in ["/authorize", "/launch", "/revoke", "/jwks", "/token"] {
        let url = format!("{}{path}", ehr.base_url.strip_suffix("/fhir").unwrap());
        assert_eq!(send("GET", &url, &[], "").await.status, 404, "{path}");
    }
    let context = LaunchContext::new("PRA", "P1");
    assert_eq!(ehr.mint_launch("app", context), Err(LaunchError::Client("app".into())));
}

#[tokio::test]
async fn a_launch_from_the_ehr_brings_tokens_and_context() {
    let world = World::new().await;
    let url = world.ehr.launch_url("app", LaunchContext::new("PRA", "P1").encounter("E1")).unwrap();
    let sent = parameters(&url);
    assert!(url.starts_with(&format!("{LAUNCH}?iss=")) && sent["iss"] == world.ehr.base_url);
    let answer = world.authorize(&world.request(&sent["launch"])).await;
    assert_eq!((answer.status, answer.header("cache-control")), (303, Some("no-store")));
    let back = answer.header("location").unwrap();
    assert!(back.starts_with(&format!("{REDIRECT}&code=")), "the query of the redirect URI stays: {back}");
    let back = parameters(back);
    assert_eq!((back["state"].as_str(), back["iss"].as_str()), ("s t&te/\u{e9}", world.origin()));
    let answer = world.redeem(&back["code"]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let tokens = answer.json();
    for (name, value) in [
        ("token_type", json!("Bearer")),
        ("expires_in", json!(300)),
        ("scope", json!(SCOPE)),
        ("patient", json!("P1")),
        ("encounter", json!("E1")),
        ("need_patient_banner", json!(true)),
    ] {
        assert_eq!(tokens[name], value, "{name}");
    }
    let style = send("GET", tokens["smart_style_url"].as_str().unwrap(), &[], "").await.json();
    assert!(style["color_background"].is_string());
    let keys = send("GET", &world.url("/jwks"), &[], "").await.json();
    let (claims, good) = read_id_token(&tokens["id_token"], &keys);
    assert!(good);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(world.origin()), &json!("app")));
    assert_eq!((&claims["nonce"], &claims["iat"]), (&json!("n-1"), &json!(world.seconds())));
    assert_eq!(claims["fhirUser"], format!("{}/Practitioner/PRA", world.ehr.base_url));
    assert!(claims["exp"].as_i64().unwrap() > world.seconds() && claims["sub"] == "PRA");
    assert_eq!(world.status("Patient/P1", &tokens["access_token"]).await, 200);
    let seen = world.ehr.requests.last().unwrap();
    let used = world.ehr.app_token(seen.bearer().unwrap()).unwrap();
    assert_eq!((used.patient.as_deref(), used.practitioner.as_str()), (Some("P1"), "PRA"));
}

#[tokio::test]
async fn further_context_is_told_and_absent_context_is_not() {
    let world = World::new().await;
    let context = LaunchContext {
        fhir_context: vec![json!({"reference": "DocumentReference/D1"})],
        intent: Some("reconcile-medications".into()),
        need_patient_banner: false,
        ..LaunchContext::new("PRA", "P1")
    };
    let handle = world.ehr.mint_launch("app", context).unwrap();
    let answer = world.authorize(&world.request(&handle)).await;
    let tokens = world.redeem(&parameters(answer.header("location").unwrap())["code"]).await.json();
    assert_eq!(tokens["fhirContext"][0]["reference"], "DocumentReference/D1");
    assert_eq!((&tokens["intent"], &tokens["need_patient_banner"]), (&json!("reconcile-medications"), &json!(false)));
    assert!(tokens.get("encounter").is_none());
    // With no chart open there is no patient, and no scope that would need one (CX-02).
    let handle = world.ehr.mint_launch("app", LaunchContext::of("PRA")).unwrap();
    let answer = world.authorize(&world.request(&handle)).await;
    let tokens = world.redeem(&parameters(answer.header("location").unwrap())["code"]).await.json();
    assert_eq!(tokens["scope"], "openid fhirUser launch offline_access");
    assert!(tokens.get("patient").is_none());
}

#[tokio::test]
async fn an_app_that_starts_alone_meets_a_page() {
    let world = World::new().await;
    let request = world.alone("openid launch/patient launch/encounter patient/*.rs system/*.rs online_access");
    let page = world.authorize(&request).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    let text = page.text();
    assert!(text.contains("demonstration EHR") && text.contains("value=\"P2\"") && text.contains("value=\"PRA\""));
    let (_, name) = text.split_once("name=\"request\" value=\"").unwrap();
    let name = name.split('"').next().unwrap();
    let choose = |practitioner, patient, decision| {
        [("request", name), ("practitioner", practitioner), ("patient", patient), ("decision", decision)]
    };
    for wrong in [choose("PRA", "nobody", "allow"), choose("nobody", "P2", "allow"), choose("PRA", "", "allow")] {
        assert_eq!(world.form("/authorize/choose", &wrong).await.status, 400);
    }
    let answer = world.form("/authorize/choose", &choose("PRA", "P2", "allow")).await;
    assert_eq!(answer.status, 303);
    let back = parameters(answer.header("location").unwrap());
    assert_eq!((back["state"].as_str(), back["iss"].as_str()), ("s t&te/\u{e9}", world.origin()));
    let tokens = world.redeem(&back["code"]).await.json();
    assert_eq!(tokens["patient"], "P2");
    assert_eq!(tokens["scope"], "openid launch/patient patient/*.rs online_access");
    let again = world.form("/authorize/choose", &choose("PRA", "P2", "allow")).await;
    assert_eq!(again.status, 400, "a request is answered once");
    assert_eq!(world.form("/authorize/choose", &[("request", "unknown")]).await.status, 400);
    // The session of the person ends, and with it what was granted for its time only (RF-01).
    world.ehr.sign_out("PRA");
    assert_eq!(world.status("Patient/P2", &tokens["access_token"]).await, 401);
    assert_eq!(error(&world.refresh(tokens["refresh_token"].as_str().unwrap()).await), "invalid_grant");
}

#[tokio::test]
async fn a_person_can_say_no_and_a_silent_request_is_told_so() {
    let world = World::new().await;
    let page = world.authorize(&world.alone("launch/patient patient/*.rs")).await.text();
    let (_, name) = page.split_once("name=\"request\" value=\"").unwrap();
    let answer = world.form("/authorize/choose", &[("request", name.split('"').next().unwrap())]).await;
    let back = parameters(answer.header("location").unwrap());
    assert_eq!((back["error"].as_str(), back.contains_key("code")), ("access_denied", false));
    let mut silent = world.alone("launch/patient patient/*.rs");
    silent.push(("prompt", "none".into()));
    let back = parameters(world.authorize(&silent).await.header("location").unwrap());
    assert_eq!(back["error"], "login_required");
}

#[tokio::test]
async fn the_launch_page_starts_an_app() {
    let world = World::new().await;
    let first = send("GET", &world.url("/launch"), &[], "").await;
    assert!(first.text().contains("demonstration EHR") && first.text().contains("value=\"P1\""));
    assert!(!first.text().contains("value=\"other\""), "it has no launch URL");
    let second = send("GET", &world.url("/launch?client_id=app&practitioner=PRA&patient=P1"), &[], "").await.text();
    assert!(second.contains("value=\"E1\"") && !second.contains("value=\"E2\""));
    let chosen = [("client_id", "app"), ("practitioner", "PRA"), ("patient", "P1"), ("encounter", "E1")];
    let answer = world.form("/launch", &chosen).await;
    assert_eq!(answer.status, 303);
    let sent = parameters(answer.header("location").unwrap());
    let back = world.authorize(&world.request(&sent["launch"])).await;
    assert_eq!(world.redeem(&parameters(back.header("location").unwrap())["code"]).await.json()["encounter"], "E1");
    for (name, value) in [("client_id", "other"), ("client_id", "none"), ("practitioner", ""), ("patient", "P9")] {
        let mut wrong = chosen;
        wrong.iter_mut().filter(|(own, _)| *own == name).for_each(|pair| pair.1 = value);
        assert_eq!(world.form("/launch", &wrong).await.status, 400, "{name}={value}");
    }
    let foreign = LaunchContext::new("PRA", "P1").encounter("E2");
    assert_eq!(world.ehr.mint_launch("app", foreign), Err(LaunchError::Resource("Encounter/E2".into())));
    let script = send("GET", &world.url("/launch?patient=P1&practitioner=%22%3E%3Cscript%3E"), &[], "").await.text();
    assert!(!script.contains("<script"));
}

#[tokio::test]
async fn what_is_not_the_apps_own_address_gets_nothing() {
    let world = World::new().await;
    for (name, value) in [
        ("redirect_uri", "http://127.0.0.1:9/app/callback"),
        ("redirect_uri", "http://127.0.0.1:9/app/callback?from=ehr/"),
        ("redirect_uri", "http://127.0.0.1:9/other"),
        ("redirect_uri", ""),
        ("client_id", "unknown"),
        ("client_id", ""),
    ] {
        let handle = world.handle();
        let mut request = world.request(&handle);
        request.iter_mut().filter(|(own, _)| *own == name).for_each(|pair| pair.1 = value.to_owned());
        let answer = world.authorize(&request).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{name}={value}");
    }
    for name in ["redirect_uri", "client_id"] {
        let mut request = world.request(&world.handle());
        let twice = request.iter().find(|(own, _)| *own == name).cloned().unwrap();
        request.push(twice);
        let answer = world.authorize(&request).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{name} twice");
    }
}

#[tokio::test]
async fn a_wrong_request_goes_back_with_an_error_and_without_a_code() {
    let world = World::new().await;
    let base = world.ehr.base_url.clone();
    let with_slash = format!("{base}/");
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("state", "", "invalid_request"),
        ("scope", "", "invalid_request"),
        ("aud", "", "invalid_request"),
        ("aud", "http://127.0.0.1:9/fhir", "invalid_request"),
        ("aud", with_slash.as_str(), "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", VERIFIER.get(..42).unwrap(), "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("launch", "", "invalid_request"),
        ("launch", "unknown", "invalid_request"),
        ("scope", "patient/*.rs", "invalid_request"),
        ("scope", "system/*.rs email", "invalid_request"),
    ] {
        let handle = world.handle();
        let mut request = world.request(&handle);
        request.iter_mut().filter(|(own, _)| *own == name).for_each(|pair| pair.1 = value.to_owned());
        let answer = world.authorize(&request).await;
        let back = parameters(answer.header("location").unwrap_or_else(|| panic!("{name}={value}")));
        assert_eq!((back["error"].as_str(), back.contains_key("code")), (error, false), "{name}={value}");
        assert_eq!(back["iss"], world.origin());
        assert_eq!(back.contains_key("state"), name != "state");
    }
    for (name, value, error) in [
        ("response_mode", "fragment", "invalid_request"),
        ("request", "a.b.c", "request_not_supported"),
        ("request_uri", "urn:x", "request_uri_not_supported"),
        ("nonce", "again", "invalid_request"),
    ] {
        let mut request = world.request(&world.handle());
        request.push((name, value.to_owned()));
        let back = parameters(world.authorize(&request).await.header("location").unwrap());
        assert_eq!(back["error"], error, "{name}={value}");
    }
    let back = parameters(world.authorize(&world.alone("system/*.rs email")).await.header("location").unwrap());
    assert_eq!(back["error"], "invalid_scope");
}

#[tokio::test]
async fn a_launch_handle_is_good_once_for_one_app_and_for_five_minutes() {
    let world = World::new().await;
    let error = async |request: &[(&'static str, String)]| {
        parameters(world.authorize(request).await.header("location").unwrap()).get("error").cloned()
    };
    let request = world.request(&world.handle());
    assert_eq!(error(&request).await, None);
    assert_eq!(error(&request).await.as_deref(), Some("invalid_request"), "used");
    let late = world.request(&world.handle());
    world.advance(300);
    assert_eq!(error(&late).await.as_deref(), Some("invalid_request"), "late");
    let mut foreign = world.request(&world.handle());
    for (name, value) in [("client_id", "other"), ("redirect_uri", "http://127.0.0.1:9/other")] {
        foreign.iter_mut().filter(|(own, _)| *own == name).for_each(|pair| pair.1 = value.to_owned());
    }
    assert_eq!(error(&foreign).await.as_deref(), Some("invalid_request"), "another app's");
    // By POST as well (AZ-01).
    let posted = world.request(&world.handle());
    let pairs: Vec<(&str, &str)> = posted.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = world.form("/authorize", &pairs).await;
    assert!(parameters(answer.header("location").unwrap()).contains_key("code"));
}

#[tokio::test]
async fn backend_services_and_apps_share_a_token_endpoint() {
    let world = World::with(Key::rs384(), Auth::SmartBackend { seconds: 60 }).await;
    let smart = get(&world.ehr, ".well-known/smart-configuration").await.json();
    assert_eq!(smart["grant_types_supported"], json!(["authorization_code", "client_credentials"]));
    let backend = world.signed("/token", &[("grant_type", "client_credentials"), ("scope", "system/*.rs")]).await;
    assert_eq!(backend.status, 200);
    let (backend, app): (Value, Value) = (backend.json(), world.tokens().await);
    assert_eq!(world.status("Patient/P2", &backend["access_token"]).await, 200);
    assert_eq!(world.status("Patient/P2", &app["access_token"]).await, 403);
    assert_eq!(world.status("Patient/P1", &app["access_token"]).await, 200);
    assert_eq!(world.status("Patient/P1", &json!("neither")).await, 401);
}
