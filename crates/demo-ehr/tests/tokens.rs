//! Tokens of apps: client authentication, codes, refresh, revocation, what they open, and the faults around them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

#[path = "common/app.rs"]
mod app;
mod common;

use app::*;
use common::*;
use demo_ehr::{Auth, ClientKeys, DemoEhr, Fault, IdTokenFlaw, TokenState};
use serde_json::{Value, json};

fn grant(code: &str) -> [(&str, &str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)]
}

#[tokio::test]
async fn an_assertion_is_good_whole_and_once() {
    let world = World::new().await;
    let code = world.code().await;
    let other = Key::es384();
    type Change = fn(&mut Value, &mut Value, i64);
    let changes: [(&str, Change); 16] = [
        ("issuer", |_, claims, _| claims["iss"] = "unknown".into()),
        ("subject", |_, claims, _| claims["sub"] = "other".into()),
        ("no subject", |_, claims, _| claims["sub"] = Value::Null),
        ("audience", |_, claims, _| claims["aud"] = "http://127.0.0.1:9/token".into()),
        ("two audiences", |_, claims, _| claims["aud"] = json!([claims["aud"], "http://127.0.0.1:9"])),
        ("ended", |_, claims, now| claims["exp"] = now.into()),
        ("long", |_, claims, now| claims["exp"] = (now + 301).into()),
        ("no end", |_, claims, _| drop(claims.as_object_mut().unwrap().remove("exp"))),
        ("end as text", |_, claims, now| claims["exp"] = (now + 60).to_string().into()),
        ("not yet", |_, claims, now| claims["nbf"] = (now + 60).into()),
        ("from the future", |_, claims, now| claims["iat"] = (now + 60).into()),
        ("no jti", |_, claims, _| claims["jti"] = "".into()),
        ("kid", |header, _, _| header["kid"] = "k2".into()),
        ("algorithm", |header, _, _| header["alg"] = "RS384".into()),
        ("typ", |header, _, _| header["typ"] = "at+jwt".into()),
        ("jku", |header, _, _| header["jku"] = "http://127.0.0.1:9/jwks".into()),
    ];
    for (name, change) in changes {
        let (mut header, mut claims) = (world.header(), world.claims());
        change(&mut header, &mut claims, world.seconds());
        let answer = world.with_assertion("/token", &grant(&code), &world.key.sign(&header, &claims)).await;
        assert_eq!((answer.status, error(&answer)), (401, "invalid_client".into()), "{name}");
    }
    let good = || world.key.sign(&world.header(), &world.claims());
    for bad in ["", "a.b.c", &good().replace('.', ""), &other.sign(&world.header(), &world.claims())] {
        let answer = world.with_assertion("/token", &grant(&code), bad).await;
        assert_eq!((answer.status, error(&answer)), (401, "invalid_client".into()), "`{bad}`");
    }
    let two_ways = [&grant(&code)[..], &[("client_secret", "x")]].concat();
    assert_eq!(error(&world.signed("/token", &two_ways).await), "invalid_request");
    let other_id = [&grant(&code)[..], &[("client_id", "other")]].concat();
    assert_eq!(error(&world.signed("/token", &other_id).await), "invalid_client");
    assert_eq!(error(&world.form("/token", &grant(&code)).await), "invalid_client");
    let twice = good();
    assert_eq!(world.with_assertion("/token", &grant(&code), &twice).await.status, 200, "nothing above used the code");
    let replayed = world.with_assertion("/token", &grant(&world.code().await), &twice).await;
    assert_eq!((replayed.status, error(&replayed)), (401, "invalid_client".into()), "jti used before");
}

#[tokio::test]
async fn keys_by_url_are_read_from_this_machine() {
    let key = Key::rs384();
    // Another EHR's Binary serves as the key host.
    let set = json!({ "keys": [key.jwk()] }).to_string();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &set);
    let binary = json!({"resourceType": "Binary", "id": "keys", "contentType": "application/json", "data": encoded});
    let host = start(DemoEhr::from_resources(vec![binary])).await;
    let url = format!("{}/Binary/keys", host.base_url);
    let world = World::start(key, ClientKeys::Url(url.clone()), Auth::SmartLaunch).await;
    assert_eq!(world.redeem(&world.code().await).await.status, 200);
    assert!(host.requests.last().unwrap().header("accept").unwrap().contains("application/json"));
    let code = world.code().await;
    let mut header = world.header();
    for (jku, status) in [("http://127.0.0.1:9/jwks", 401), (url.as_str(), 200)] {
        header["jku"] = jku.into();
        let assertion = world.key.sign(&header, &world.claims());
        assert_eq!(world.with_assertion("/token", &grant(&code), &assertion).await.status, status, "{jku}");
    }
    host.delete("Binary", "keys");
    assert_eq!(error(&world.redeem(&world.code().await).await), "invalid_client", "no keys, nobody");
}

#[tokio::test]
async fn a_code_is_good_once_for_a_minute_with_its_verifier_and_address() {
    let world = World::new().await;
    for (name, value) in [
        ("code_verifier", ""),
        ("code_verifier", "short"),
        ("code_verifier", CHALLENGE),
        ("redirect_uri", "http://127.0.0.1:9/second"),
        ("code", "unknown"),
    ] {
        let code = world.code().await;
        let mut pairs = grant(&code);
        pairs.iter_mut().filter(|(own, _)| *own == name).for_each(|pair| pair.1 = value);
        let answer = world.signed("/token", &pairs).await;
        assert_eq!((answer.status, error(&answer)), (400, "invalid_grant".into()), "{name}={value}");
        if name != "code" {
            assert_eq!(error(&world.redeem(&code).await), "invalid_grant", "a failed try uses the code up");
        }
    }
    let late = world.code().await;
    world.advance(60);
    assert_eq!(error(&world.redeem(&late).await), "invalid_grant");
    let foreign = world.code().await;
    let mut claims = world.claims();
    (claims["iss"], claims["sub"]) = ("other".into(), "other".into());
    let assertion = world.key.sign(&world.header(), &claims);
    assert_eq!(error(&world.with_assertion("/token", &grant(&foreign), &assertion).await), "invalid_grant");
    // A second use takes back what the first gave (TK-08).
    let code = world.code().await;
    let tokens = world.redeem(&code).await.json();
    assert_eq!(world.status("Patient/P1", &tokens["access_token"]).await, 200);
    assert_eq!(error(&world.redeem(&code).await), "invalid_grant");
    assert_eq!(world.status("Patient/P1", &tokens["access_token"]).await, 401);
    assert_eq!(error(&world.refresh(tokens["refresh_token"].as_str().unwrap()).await), "invalid_grant");
}

#[tokio::test]
async fn a_token_request_is_a_form_by_post_with_each_parameter_once() {
    let world = World::new().await;
    assert_eq!(send("GET", &world.ehr.token_url, &[], "").await.status, 405);
    let json = send("POST", &world.ehr.token_url, &[("content-type", "application/json")], "{}").await;
    assert_eq!((json.status, error(&json)), (400, "invalid_request".into()));
    let code = world.code().await;
    let twice = [&grant(&code)[..], &[("code", "other")]].concat();
    assert_eq!(error(&world.signed("/token", &twice).await), "invalid_request");
    assert_eq!(error(&world.signed("/token", &[]).await), "invalid_request");
    assert_eq!(error(&world.signed("/token", &[("grant_type", "authorization_code")]).await), "invalid_request");
    assert_eq!(error(&world.signed("/token", &[("grant_type", "refresh_token")]).await), "invalid_request");
    for other in ["client_credentials", "password"] {
        assert_eq!(error(&world.signed("/token", &[("grant_type", other)]).await), "unsupported_grant_type");
    }
    assert_eq!(world.redeem(&code).await.status, 200, "none of this used the code");
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_used_one_ends_the_grant() {
    let world = World::new().await;
    let first = world.tokens().await;
    world.advance(300);
    assert_eq!(world.status("Patient/P1", &first["access_token"]).await, 401, "ended");
    let state = world.ehr.app_token(first["access_token"].as_str().unwrap()).unwrap().state;
    assert_eq!(state, TokenState::Expired);
    let old = first["refresh_token"].as_str().unwrap();
    let more = [("grant_type", "refresh_token"), ("refresh_token", old), ("scope", "patient/Patient.rs user/*.rs")];
    assert_eq!(error(&world.signed("/token", &more).await), "invalid_scope");
    let second = world.refresh(old).await.json();
    assert_eq!((&second["scope"], &second["patient"]), (&json!(SCOPE), &json!("P1")));
    assert!(second.get("id_token").is_none() && second["refresh_token"] != first["refresh_token"]);
    assert_eq!(world.status("Patient/P1", &second["access_token"]).await, 200);
    // Fewer scopes for one token; the next may have all again (RF-03).
    let next = second["refresh_token"].as_str().unwrap();
    let less = [("grant_type", "refresh_token"), ("refresh_token", next), ("scope", "patient/Patient.rs")];
    let third = world.signed("/token", &less).await.json();
    assert_eq!(third["scope"], "patient/Patient.rs");
    assert_eq!(world.status("Patient/P1", &third["access_token"]).await, 200);
    assert_eq!(world.status("Observation/O1", &third["access_token"]).await, 403);
    let fourth = world.refresh(third["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!(world.status("Observation/O1", &fourth["access_token"]).await, 200);
    assert_eq!(error(&world.refresh(old).await), "invalid_grant", "used before");
    assert_eq!(world.status("Patient/P1", &fourth["access_token"]).await, 401, "the grant is gone");
    assert_eq!(error(&world.refresh(fourth["refresh_token"].as_str().unwrap()).await), "invalid_grant");
}

#[tokio::test]
async fn of_many_at_once_one_is_honoured() {
    let world = std::sync::Arc::new(World::new().await);
    let (code, assertion) = (world.code().await, world.key.sign(&world.header(), &world.claims()));
    let handle = world.handle();
    let (mut codes, mut handles, mut assertions) = (0, 0, 0);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..60 {
        let (world, code, assertion) = (std::sync::Arc::clone(&world), code.clone(), assertion.clone());
        let handle = handle.clone();
        tasks.spawn(async move {
            match index % 3 {
                0 => (0, world.redeem(&code).await.status == 200),
                1 => {
                    let answer = world.authorize(&world.request(&handle)).await;
                    (1, parameters(answer.header("location").unwrap()).contains_key("code"))
                }
                _ => (2, error(&world.with_assertion("/token", &[], &assertion).await) == "invalid_request"),
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (0, true) => codes += 1,
            (1, true) => handles += 1,
            (_, true) => assertions += 1,
            _ => {}
        }
    }
    assert_eq!((codes, handles, assertions), (1, 1, 1));
}

#[tokio::test]
async fn revocation_is_for_the_own_tokens_of_an_app() {
    let world = World::new().await;
    let tokens = world.tokens().await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let refused = world.form("/revoke", &[("token", refresh)]).await;
    assert_eq!((refused.status, error(&refused)), (401, "invalid_client".into()));
    let mut claims = world.claims();
    (claims["iss"], claims["sub"]) = ("other".into(), "other".into());
    let other = world.key.sign(&world.header(), &claims);
    assert_eq!(world.with_assertion("/revoke", &[("token", refresh)], &other).await.status, 400);
    assert_eq!(world.signed("/revoke", &[]).await.status, 400);
    assert_eq!(world.signed("/revoke", &[("token", "unknown")]).await.status, 200);
    assert_eq!(world.status("Patient/P1", &tokens["access_token"]).await, 200, "nothing is revoked so far");
    // An access token alone leaves its refresh token; a refresh token takes all with it (RV-02).
    assert_eq!(world.signed("/revoke", &[("token", access), ("token_type_hint", "refresh_token")]).await.status, 200);
    assert_eq!(world.status("Patient/P1", &tokens["access_token"]).await, 401);
    assert_eq!(world.ehr.app_token(access).unwrap().state, TokenState::Revoked);
    let renewed = world.refresh(refresh).await.json();
    let next = renewed["refresh_token"].as_str().unwrap();
    assert_eq!(world.signed("/revoke", &[("token", next)]).await.status, 200);
    assert_eq!(world.status("Patient/P1", &renewed["access_token"]).await, 401);
    assert_eq!(error(&world.refresh(next).await), "invalid_grant");
    let tokens = world.tokens().await;
    world.ehr.forget_tokens();
    assert_eq!(world.status("Patient/P1", &tokens["access_token"]).await, 401);
}

#[tokio::test]
async fn a_token_opens_one_patients_records_of_its_types() {
    let world = World::new().await;
    assert_eq!(get(&world.ehr, "Patient/P1").await.status, 401);
    assert_eq!(get(&world.ehr, "metadata").await.status, 200);
    let token = world.tokens().await["access_token"].clone();
    for (path, status) in [
        ("Patient/P1", 200),
        ("Patient/P2", 403),
        ("Observation/O1", 200),
        ("Observation/O2", 403),
        ("Observation/OMV/_history/1", 403),
        ("Observation/OMV", 200),
        ("Encounter/E1", 200),
        ("Encounter/E2", 403),
        ("Encounter?patient=P1", 403),
        ("Condition/C1", 403),
        ("Practitioner/PRA", 403),
        ("Observation?patient=P1", 200),
        ("Observation?subject=Patient/P1", 200),
        ("Observation?patient=P2", 403),
        ("Observation?patient=P1,P2", 403),
        ("Observation?subject:Patient=P2", 403),
        ("Patient?_id=P2", 403),
        ("Patient/$export", 403),
        ("Nonsense/1", 403),
    ] {
        assert_eq!(world.status(path, &token).await, status, "{path}");
    }
    let all = world.fhir("GET", "Observation?_count=100&_include=Observation:subject", &token, "").await.entries();
    assert!(all.contains(&"Observation/O1".into()) && all.contains(&"Patient/P1".into()));
    assert!(!all.iter().any(|name| ["Observation/O2", "Patient/P2", "Observation/OEX"].contains(&name.as_str())));
    assert_eq!(world.fhir("DELETE", "Observation/O1", &token, "").await.status, 403);
}

#[tokio::test]
async fn writes_stay_with_the_patient_and_user_scopes_open_all() {
    let world = World::new().await;
    let with = async |scope: &str| {
        let mut request = world.request(&world.handle());
        request.iter_mut().filter(|(own, _)| *own == "scope").for_each(|pair| pair.1 = scope.to_owned());
        let answer = world.authorize(&request).await;
        world.redeem(&parameters(answer.header("location").unwrap())["code"]).await.json()["access_token"].clone()
    };
    let of = |patient: &str| {
        json!({"resourceType": "Observation", "id": "O1", "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{patient}")}})
    };
    let bundle = |method: &str, url: &str, resource: Value| {
        json!({"resourceType": "Bundle", "type": "batch",
            "entry": [{"request": {"method": method, "url": url}, "resource": resource}]})
        .to_string()
    };
    let token = with("launch patient/Observation.cruds").await;
    for (method, path, body, status) in [
        ("POST", "Observation", of("P1").to_string(), 201),
        ("POST", "Observation", of("P2").to_string(), 403),
        ("POST", "Observation", "no JSON".to_owned(), 403),
        ("PUT", "Observation/O1", of("P1").to_string(), 200),
        ("PUT", "Observation/O1", of("P2").to_string(), 403),
        ("PUT", "Observation/O2", of("P1").to_string(), 403),
        ("DELETE", "Observation/O2", String::new(), 403),
        ("DELETE", "Observation?subject=Patient/P2", String::new(), 403),
        ("POST", "", bundle("POST", "Observation", of("P1")), 200),
        ("POST", "", bundle("POST", "Observation", of("P2")), 403),
        ("POST", "", bundle("GET", "Observation/O2", Value::Null), 403),
        ("POST", "", bundle("GET", "Observation?code=8867-4", Value::Null), 403),
        ("POST", "", bundle("GET", "Observation?patient=P1", Value::Null), 200),
        ("POST", "", bundle("GET", "Observation?patient=P1&_include=Observation:subject", Value::Null), 403),
        ("POST", "", bundle("DELETE", "Patient/P1", Value::Null), 403),
        ("DELETE", "Observation/O1", String::new(), 200),
    ] {
        let answer = world.fhir(method, path, &token, &body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
    }
    let token = with("launch user/*.read").await;
    for (path, status) in [("Patient/P2", 200), ("Observation?patient=P2", 200), ("Practitioner/PRA", 200)] {
        assert_eq!(world.status(path, &token).await, status, "{path}");
    }
    assert_eq!(world.fhir("POST", "Observation", &token, &of("P1").to_string()).await.status, 403);
}

#[tokio::test]
async fn faults_of_the_launch_side_meet_their_own_place_only() {
    let world = World::new().await;
    let faults = &world.ehr.faults;
    let keys = send("GET", &world.url("/jwks"), &[], "").await.json();
    faults.times(1, Fault::TokenWithoutPatient);
    assert!(world.tokens().await.get("patient").is_none());
    assert_eq!(world.tokens().await["patient"], "P1");
    faults.only(Fault::TokenScope("patient/*.cruds".into()));
    assert_eq!(world.tokens().await["scope"], "patient/*.cruds");
    for (flaw, wrong) in [
        (IdTokenFlaw::Nonce, "nonce"),
        (IdTokenFlaw::Audience, "aud"),
        (IdTokenFlaw::Issuer, "iss"),
        (IdTokenFlaw::Expired, "exp"),
        (IdTokenFlaw::User, "fhirUser"),
        (IdTokenFlaw::Signature, "signature"),
    ] {
        faults.clear();
        let (right, _) = read_id_token(&world.tokens().await["id_token"], &keys);
        faults.only(Fault::IdToken(flaw));
        let (claims, good) = read_id_token(&world.tokens().await["id_token"], &keys);
        assert_eq!(good, wrong != "signature");
        assert_eq!(claims[wrong] == right[wrong], wrong == "signature", "{wrong}");
    }
    faults.only(Fault::IdToken(IdTokenFlaw::Absent));
    let tokens = world.tokens().await;
    assert!(tokens.get("id_token").is_none());
    faults.only(Fault::RefreshPatient("P2".into()));
    let switched = world.refresh(tokens["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!(switched["patient"], "P2");
    assert_eq!(world.status("Patient/P2", &switched["access_token"]).await, 200);
    faults.only(Fault::AuthorizeIssuer("http://127.0.0.1:9".into()));
    faults.on(Fault::AuthorizeState("another".into()));
    let back = world.authorize(&world.request(&world.handle())).await;
    let back = parameters(back.header("location").unwrap());
    assert_eq!((back["iss"].as_str(), back["state"].as_str()), ("http://127.0.0.1:9", "another"));
    faults.only(Fault::TokenRefused);
    assert_eq!(error(&world.redeem(&back["code"]).await), "invalid_client");
    faults.only(Fault::RevocationFails);
    let token = switched["refresh_token"].as_str().unwrap();
    assert_eq!(world.signed("/revoke", &[("token", token)]).await.status, 503);
    faults.only(Fault::RevocationUnsupported);
    let smart = get(&world.ehr, ".well-known/smart-configuration").await.json();
    assert!(smart.get("revocation_endpoint").is_none());
    assert_eq!(world.signed("/revoke", &[("token", token)]).await.status, 404);
    faults.clear();
    assert_eq!(world.refresh(token).await.status, 200, "nothing was revoked");
    // What a gate must catch still leaks when the EHR is told to leak it.
    let access = world.tokens().await["access_token"].clone();
    faults.only(Fault::ForeignMatch("Observation/O2".into()));
    let found = world.fhir("GET", "Observation?patient=P1", &access, "").await.entries();
    assert!(found.contains(&"Observation/O2".into()));
}
