//! ID tokens and logout tokens of an identity provider: what is refused, and why (OpenID Connect Core §3.1.3.7, Back-Channel Logout §2.6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use aws_lc_rs::signature::RsaKeyPair;
use common::*;
use oauth::id_token::{self, Expected, IdToken, InvalidIdToken};
use oauth::jose::InvalidJws;
use oauth::logout_token::{self, EVENT, InvalidLogoutToken, Logout};
use oauth::{Algorithm, KeySet};
use serde_json::{Value, json};

const PROVIDER: &str = "https://idp.example/realms/mercy";

fn person() -> Value {
    json!({ "iss": PROVIDER, "sub": "u-1", "aud": "hilum", "exp": SECONDS + 300, "iat": SECONDS, "nonce": "n-1",
        "auth_time": SECONDS - 60, "acr": "mfa", "amr": ["pwd", "otp"], "sid": "s-1" })
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut claims = person();
    for (name, value) in changes {
        match value {
            Value::Null => _ = claims.as_object_mut().unwrap().remove(*name),
            value => claims[*name] = value.clone(),
        }
    }
    claims
}

struct Provider {
    key: RsaKeyPair,
    keys: KeySet,
}

impl Provider {
    fn new() -> Self {
        let key = rsa();
        let keys = set(&[rsa_jwk(&key, "k1")]);
        Self { key, keys }
    }

    fn sign(&self, claims: &Value) -> String {
        sign_rsa(&self.key, &header("RS256"), claims)
    }

    fn judge(&self, token: &str) -> Result<IdToken, InvalidIdToken> {
        self.judge_with(token, None, &[], &[])
    }

    fn judge_with(
        &self,
        token: &str,
        since: Option<i64>,
        acr: &[String],
        amr: &[String],
    ) -> Result<IdToken, InvalidIdToken> {
        let expected = Expected {
            issuer: PROVIDER,
            client_id: "hilum",
            nonce: "n-1",
            keys: &self.keys,
            authenticated_since: since,
            acr,
            amr,
        };
        id_token::read(token)?.verify(&expected, NOW)
    }

    fn logout(&self, claims: &Value) -> Result<Logout, InvalidLogoutToken> {
        let mut header = header("RS256");
        header["typ"] = json!("logout+jwt");
        logout_token::read(&sign_rsa(&self.key, &header, claims))?.verify(PROVIDER, "hilum", &self.keys, NOW)
    }
}

#[test]
fn a_good_token_says_who_signed_in() {
    let provider = Provider::new();
    let token = provider.judge(&provider.sign(&person())).unwrap();
    assert_eq!((token.subject.as_str(), token.sid.as_deref(), token.acr.as_deref()), ("u-1", Some("s-1"), Some("mfa")));
    assert_eq!(token.amr, ["pwd", "otp"]);
    assert_eq!(format!("{token:?}"), "IdToken([sealed])");
    assert!(provider.judge(&provider.sign(&with(&[("aud", json!(["hilum"]))]))).is_ok());
    assert!(
        provider.judge(&provider.sign(&with(&[("aud", json!(["hilum", "other"])), ("azp", json!("hilum"))]))).is_ok()
    );
}

#[test]
fn every_algorithm_of_the_list_and_no_other() {
    let (one, two, three) = (rsa(), es256(), es384());
    let keys = set(&[rsa_jwk(&one, "r"), ec_jwk(&two, "e2"), ec_jwk(&three, "e3")]);
    let expected = Expected {
        issuer: PROVIDER,
        client_id: "hilum",
        nonce: "n-1",
        keys: &keys,
        authenticated_since: None,
        acr: &[],
        amr: &[],
    };
    let judge = |token: &str| id_token::read(token)?.verify(&expected, NOW);
    let named = |algorithm: &str, kid: &str| json!({ "alg": algorithm, "kid": kid });
    for algorithm in ["RS256", "RS384", "PS256"] {
        assert!(judge(&sign_rsa(&one, &named(algorithm, "r"), &person())).is_ok(), "{algorithm}");
    }
    assert!(judge(&sign_ec(&two, &named("ES256", "e2"), &person())).is_ok());
    assert!(judge(&sign_ec(&three, &named("ES384", "e3"), &person())).is_ok());
    for algorithm in ["none", "None", "HS256", "HS384", "HS512", "RS512", "rs256", "EdDSA", ""] {
        let token = sign_rsa(&one, &named(algorithm, "r"), &person());
        assert!(matches!(judge(&token), Err(InvalidIdToken::Jws(_))), "NEG-111 {algorithm}");
    }
    // The key says what it is for, not the token.
    assert_eq!(judge(&sign_rsa(&one, &named("RS256", "e2"), &person())).unwrap_err(), InvalidIdToken::Key);
    assert_eq!(judge(&sign_ec(&two, &named("ES256", "r"), &person())).unwrap_err(), InvalidIdToken::Key);
}

#[test]
fn rs256_is_of_id_tokens_alone() {
    let provider = Provider::new();
    let assertion = sign_rsa(&provider.key, &header("RS256"), &claims());
    let refused = check(&assertion, &inline(), &provider.keys).unwrap_err();
    assert_eq!(refused, InvalidJws::Algorithm.into(), "a client assertion may not be signed by RS256");
    assert!(!Algorithm::ALL.contains(&Algorithm::Rs256), "nor is it advertised");
}

#[test]
fn each_claim_is_judged() {
    use InvalidIdToken as No;
    let provider = Provider::new();
    for (changes, why) in [
        (vec![("iss", json!("https://idp.example/realms/mercy/"))], No::Issuer),
        (vec![("iss", Value::Null)], No::Issuer),
        (vec![("aud", json!("other"))], No::Audience),
        (vec![("aud", Value::Null)], No::Audience),
        (vec![("aud", json!([]))], No::Audience),
        (vec![("aud", json!(["other"]))], No::Audience),
        (vec![("aud", json!(["hilum", "other"]))], No::Audience),
        (vec![("aud", json!(["hilum", "other"])), ("azp", json!("other"))], No::Audience),
        (vec![("aud", json!(["hilum", 1]))], No::Audience),
        (vec![("azp", json!("other"))], No::Audience),
        (vec![("exp", json!(SECONDS - 30))], No::Expired),
        (vec![("exp", Value::Null)], No::Expired),
        (vec![("exp", json!("2000000000"))], No::Expired),
        (vec![("iat", json!(SECONDS + 61))], No::NotYet),
        (vec![("iat", Value::Null)], No::NotYet),
        (vec![("nbf", json!(SECONDS + 61))], No::NotYet),
        (vec![("auth_time", json!(SECONDS + 61))], No::NotYet),
        (vec![("auth_time", json!("now"))], No::Claim),
        (vec![("nonce", json!("n-2"))], No::Nonce),
        (vec![("nonce", Value::Null)], No::Nonce),
        (vec![("sub", Value::Null)], No::Subject),
        (vec![("sub", json!(""))], No::Subject),
        (vec![("sub", json!(1))], No::Subject),
        (vec![("sub", json!("x".repeat(256)))], No::Subject),
        (vec![("acr", json!(["mfa"]))], No::Claim),
        (vec![("amr", json!("otp"))], No::Claim),
        (vec![("amr", json!(["otp", 1]))], No::Claim),
        (vec![("sid", json!("x".repeat(257)))], No::Claim),
    ] {
        assert_eq!(provider.judge(&provider.sign(&with(&changes))).unwrap_err(), why, "{changes:?}");
    }
    // Just within the bounds.
    for change in [("exp", json!(SECONDS - 29)), ("iat", json!(SECONDS + 60)), ("sub", json!("x".repeat(255)))] {
        assert!(provider.judge(&provider.sign(&with(std::slice::from_ref(&change)))).is_ok(), "{change:?}");
    }
}

#[test]
fn the_wrong_key_kid_or_type_is_refused() {
    let (provider, other) = (Provider::new(), rsa());
    let signed = sign_rsa(&other, &header("RS256"), &person());
    assert_eq!(provider.judge(&signed).unwrap_err(), InvalidIdToken::Signature);
    for (name, value, why) in [
        ("kid", json!("k2"), InvalidIdToken::Key),
        ("kid", Value::Null, InvalidIdToken::Kid),
        ("typ", json!("at+jwt"), InvalidIdToken::Type),
        ("typ", json!("logout+jwt"), InvalidIdToken::Type),
        ("crit", json!(["exp"]), InvalidIdToken::Jws(InvalidJws::Critical)),
    ] {
        let mut header = header("RS256");
        match value {
            Value::Null => _ = header.as_object_mut().unwrap().remove(name),
            value => header[name] = value,
        }
        assert_eq!(provider.judge(&sign_rsa(&provider.key, &header, &person())).unwrap_err(), why, "{name}");
    }
    // An embedded key is never looked at (RFC 8725 §3.10).
    let mut embedded = header("RS256");
    embedded["jwk"] = rsa_jwk(&other, "k1");
    assert_eq!(provider.judge(&sign_rsa(&other, &embedded, &person())).unwrap_err(), InvalidIdToken::Signature);
    let twice = Provider { keys: set(&[rsa_jwk(&provider.key, "k1"), rsa_jwk(&other, "k1")]), ..provider };
    assert_eq!(twice.judge(&twice.sign(&person())).unwrap_err(), InvalidIdToken::Key, "two keys of one name");
}

#[test]
fn what_was_asked_of_the_sign_in_must_have_happened() {
    let provider = Provider::new();
    let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let judge = |changes: &[(&str, Value)], since, acr: &[&str], amr: &[&str]| {
        let token = provider.sign(&with(changes));
        provider.judge_with(&token, since, &list(acr), &list(amr)).map(|_| ())
    };
    assert_eq!(judge(&[], Some(SECONDS - 60), &["phr", "mfa"], &["otp", "hwk"]), Ok(()));
    assert_eq!(judge(&[], Some(SECONDS - 29), &[], &[]), Err(InvalidIdToken::Stale), "AZ-18: authenticated before");
    assert_eq!(judge(&[("auth_time", Value::Null)], Some(0), &[], &[]), Err(InvalidIdToken::Stale));
    assert_eq!(judge(&[], None, &["phr"], &[]), Err(InvalidIdToken::Acr));
    assert_eq!(judge(&[("acr", Value::Null)], None, &["mfa"], &[]), Err(InvalidIdToken::Acr));
    assert_eq!(judge(&[], None, &[], &["hwk"]), Err(InvalidIdToken::Amr));
    assert_eq!(judge(&[("amr", Value::Null)], None, &[], &["otp"]), Err(InvalidIdToken::Amr));
    assert_eq!(judge(&[("amr", json!([]))], None, &["mfa"], &["otp"]), Err(InvalidIdToken::Amr), "both are asked");
}

#[test]
fn logout_tokens_end_what_they_name_and_nothing_else() {
    use InvalidLogoutToken as No;
    let provider = Provider::new();
    let good = json!({ "iss": PROVIDER, "aud": "hilum", "iat": SECONDS, "exp": SECONDS + 120, "jti": "l-1", "sub": "u-1",
        "sid": "s-1", "events": { EVENT: {} } });
    let logout = provider.logout(&good).unwrap();
    assert_eq!(
        (logout.subject.as_deref(), logout.sid.as_deref(), logout.jti.as_str()),
        (Some("u-1"), Some("s-1"), "l-1")
    );
    assert!(logout.forget_at > NOW + 300_000, "for as long as it could be honoured");
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        match value {
            Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
            value => claims[name] = value,
        }
        claims
    };
    for (claims, why) in [
        (changed("events", Value::Null), No::Event),
        (changed("events", json!({})), No::Event),
        (changed("events", json!({ EVENT: true })), No::Event),
        (changed("nonce", json!("n")), No::Nonce),
        (changed("jti", Value::Null), No::Jti),
        (changed("iss", json!("https://evil.example")), No::Token(InvalidIdToken::Issuer)),
        (changed("aud", json!("other")), No::Token(InvalidIdToken::Audience)),
        (changed("exp", json!(SECONDS - 100)), No::Token(InvalidIdToken::Expired)),
        (changed("iat", json!(SECONDS - 331)), No::Old),
        (changed("iat", json!(SECONDS + 100)), No::Token(InvalidIdToken::NotYet)),
        (changed("sub", json!("")), No::Token(InvalidIdToken::Subject)),
        (person(), No::Event),
    ] {
        assert_eq!(provider.logout(&claims).unwrap_err(), why, "{claims}");
    }
    let mut nobody = changed("sub", Value::Null);
    nobody.as_object_mut().unwrap().remove("sid");
    assert_eq!(provider.logout(&nobody).unwrap_err(), No::Nobody);
    assert!(provider.logout(&changed("sub", Value::Null)).is_ok_and(|logout| logout.subject.is_none()));
}
