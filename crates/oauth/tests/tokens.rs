//! Access tokens: made, verified, and refused claim by claim.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};
use common::{NOW, SECONDS, b64, es256, es384, sign_ec};
use domain::{ApprovalId, Session, SessionId, Subject, TaskRef, TenantId};
use oauth::token::{AccessClaims, InvalidToken, Place, TokenKey, VerifiedToken, signing_input, verify};
use serde_json::{Value, json};

const BASE: &str = "https://gate.example/mercy/fhir";

fn tenant() -> TenantId {
    "mercy".parse().unwrap()
}

fn session() -> Session {
    Session {
        id: SessionId([7; 16]),
        tenant: tenant(),
        integration: "agent-1".parse().unwrap(),
        epoch: 3,
        approval: ApprovalId([9; 16]),
        task: TaskRef { name: "scheduling".parse().unwrap(), version: 2 },
        purpose_of_use: "HOPERAT".into(),
        subject: Subject::Patient("P1".parse().unwrap()),
        scopes: "patient/Patient.rs patient/Appointment.rs?status=booked".parse().unwrap(),
        expires_at: (SECONDS + 900) * 1_000,
        feed: 41,
        jti: "t-1".into(),
        launch: domain::LaunchKind::Ticket,
        act: domain::Actor::default(),
        confirmation: None,
    }
}

fn made(key: &EcdsaKeyPair) -> String {
    made_for(&session(), key)
}

fn made_for(session: &Session, key: &EcdsaKeyPair) -> String {
    let claims = AccessClaims {
        issuer: common::ISSUER,
        audience: BASE,
        issued_at: NOW,
        session,
        scope: "patient/Patient.rs patient/Appointment.rs?status=booked",
        encounter: None,
    };
    let input = signing_input("k1", &claims);
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    oauth::jose::finish(input, signature.as_ref())
}

fn opened(token: &str, key: &EcdsaKeyPair) -> Result<VerifiedToken, InvalidToken> {
    let tenant = tenant();
    let place = Place { issuer: common::ISSUER, audience: BASE, tenant: &tenant };
    verify(token, &[TokenKey::new("k1", key.public_key().as_ref()).unwrap()], &place, NOW)
}

fn members(token: &str) -> (Value, Value) {
    use base64::Engine as _;
    let part = |n: usize| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    (part(0), part(1))
}

#[test]
fn a_token_says_back_exactly_its_session() {
    let key = es256();
    let token = made(&key);
    let verified = opened(&token, &key).unwrap();
    assert_eq!(verified.session, session());
    assert_eq!(verified.issued_at, NOW);
    let (header, claims) = members(&token);
    assert_eq!(header, json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}), "RFC 9068 §2.1");
    assert_eq!(claims["sub"], claims["client_id"]);
    assert_eq!((claims["patient"].clone(), claims["task"].clone()), (json!("P1"), json!("scheduling@2")), "CX-03");
}

#[test]
fn s4_06_a_surrogate_is_never_taken_for_a_patient() {
    let key = es256();
    let surrogate: fhir::Id = "0d5f4b5e-6a3c-4a07-9a55-2c8d4f8f1f10".parse().unwrap();
    let session = Session { subject: Subject::Surrogate(surrogate.clone()), ..session() };
    let token = made_for(&session, &key);
    let (header, claims) = members(&token);
    assert_eq!((&claims["patient"], &claims["phi"]), (&json!(surrogate.as_str()), &json!("de-identified-only")));
    assert_eq!(opened(&token, &key).unwrap().session, session);
    for phi in [json!("identified"), json!(""), json!(true), Value::Null] {
        let mut other = claims.clone();
        other["phi"] = phi.clone();
        assert_eq!(opened(&sign_ec(&key, &header, &other), &key).unwrap_err(), InvalidToken::Claim, "{phi}");
    }
    let mut nobody = claims.clone();
    nobody.as_object_mut().unwrap().remove("patient");
    nobody["scope"] = json!("system/Patient.rs");
    assert_eq!(opened(&sign_ec(&key, &header, &nobody), &key).unwrap_err(), InvalidToken::Claim);
}

#[test]
fn s1_03_every_claim_is_required() {
    let key = es256();
    let (header, claims) = members(&made(&key));
    for name in claims.as_object().unwrap().keys() {
        let mut fewer = claims.clone();
        fewer.as_object_mut().unwrap().remove(name);
        assert_eq!(opened(&sign_ec(&key, &header, &fewer), &key).unwrap_err(), InvalidToken::Claim, "without {name}");
        let mut odd = claims.clone();
        odd[name] = json!({"x": 1});
        assert_eq!(opened(&sign_ec(&key, &header, &odd), &key).unwrap_err(), InvalidToken::Claim, "odd {name}");
    }
    assert!(opened(&sign_ec(&key, &header, &claims), &key).is_ok());
}

#[test]
fn rs_01_tokens_for_another_place_or_time_are_refused() {
    let key = es256();
    let (header, claims) = members(&made(&key));
    let with = |name: &str, value: Value| {
        let mut other = claims.clone();
        other[name] = value;
        opened(&sign_ec(&key, &header, &other), &key).unwrap_err()
    };
    assert_eq!(with("aud", json!("https://gate.example/other/fhir")), InvalidToken::Place);
    assert_eq!(with("aud", json!([BASE])), InvalidToken::Claim);
    assert_eq!(with("iss", json!("https://gate.example/other")), InvalidToken::Place);
    assert_eq!(with("tenant", json!("other")), InvalidToken::Place);
    assert_eq!(with("sub", json!("agent-2")), InvalidToken::Claim);
    assert_eq!(with("exp", json!(SECONDS)), InvalidToken::Expired);
    assert_eq!(with("exp", json!(SECONDS + 901)), InvalidToken::Expired, "S1-16: no token of ours lives longer");
    assert_eq!(with("iat", json!(SECONDS + 61)), InvalidToken::Expired);
    assert_eq!(with("patient", json!("Patient/P1")), InvalidToken::Claim);
    assert_eq!(with("scope", json!("patient/Nope.rs")), InvalidToken::Claim);
}

#[test]
fn s1_09_altering_the_patient_breaks_the_signature() {
    let key = es256();
    let token = made(&key);
    let (header, mut claims) = members(&token);
    claims["patient"] = json!("P2");
    let signature = token.rsplit_once('.').unwrap().1;
    let forged = format!("{}.{}.{signature}", b64(header.to_string()), b64(claims.to_string()));
    assert_eq!(opened(&forged, &key).unwrap_err(), InvalidToken::Signature);
    assert_eq!(opened(&made(&es256()), &key).unwrap_err(), InvalidToken::Signature, "another key with the same kid");
}

#[test]
fn jat_03_other_kinds_of_jwt_are_no_access_tokens() {
    let key = es256();
    let (header, claims) = members(&made(&key));
    for typ in [json!("JWT"), json!("AT+JWT"), json!("application/at+jwt"), json!("dpop+jwt"), Value::Null] {
        let mut other = header.clone();
        other["typ"] = typ.clone();
        assert!(opened(&sign_ec(&key, &other, &claims), &key).is_err(), "{typ}");
    }
    let (mut unknown, big) = (header.clone(), es384());
    unknown["kid"] = json!("k2");
    assert_eq!(opened(&sign_ec(&key, &unknown, &claims), &key).unwrap_err(), InvalidToken::Key);
    let mut es384 = header.clone();
    es384["alg"] = json!("ES384");
    assert_eq!(opened(&sign_ec(&big, &es384, &claims), &key).unwrap_err(), InvalidToken::Form);
    assert_eq!(oauth::assertion::read(made(&key).as_bytes()).unwrap_err(), oauth::InvalidAssertion::Type, "NEG-120");
}
