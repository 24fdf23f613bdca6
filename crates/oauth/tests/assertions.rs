//! Client assertions: the catalogue of C.4, row by row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use aws_lc_rs::signature::KeyPair as _;
use common::*;
use domain::{AssertionAudience, ClientAuth, Keys};
use oauth::KeySet;
use oauth::assertion::InvalidAssertion as Invalid;
use oauth::jose::{InvalidJws, UnverifiedJws};
use serde_json::{Value, json};

/// Signs `claims` changed by `change` and says what the verifier answers.
fn changed(change: impl FnOnce(&mut Value)) -> Result<(), Invalid> {
    let key = es384();
    let mut claims = claims();
    change(&mut claims);
    check(&sign_ec(&key, &header("ES384"), &claims), &inline(), &set(&[ec_jwk(&key, "k1")])).map(|_| ())
}

fn with_header(change: impl FnOnce(&mut Value)) -> Result<(), Invalid> {
    let key = es384();
    let mut head = header("ES384");
    change(&mut head);
    check(&sign_ec(&key, &head, &claims()), &inline(), &set(&[ec_jwk(&key, "k1")])).map(|_| ())
}

#[test]
fn every_advertised_algorithm_is_accepted() {
    let (p384, p256, rsa) = (es384(), es256(), rsa());
    let keys = set(&[ec_jwk(&p384, "k1"), ec_jwk(&p256, "k1"), rsa_jwk(&rsa, "k1")]);
    for assertion in [
        sign_ec(&p384, &header("ES384"), &claims()),
        sign_ec(&p256, &header("ES256"), &claims()),
        sign_rsa(&rsa, &header("RS384"), &claims()),
        sign_rsa(&rsa, &header("PS256"), &claims()),
    ] {
        let verified = check(&assertion, &inline(), &keys).unwrap();
        assert_eq!((verified.client.as_str(), verified.jti.as_str()), ("agent-1", "j-1"));
        assert_eq!(verified.forget_at, (SECONDS + 300 + 31) * 1_000, "PF-01: kept until exp and skew have passed");
    }
}

#[test]
fn neg_100_one_client_in_every_place() {
    assert_eq!(changed(|c| c["iss"] = json!("agent-2")), Err(Invalid::Client));
    assert_eq!(changed(|c| c["sub"] = json!("agent-2")), Err(Invalid::Client));
    assert_eq!(changed(|c| drop(c.as_object_mut().unwrap().remove("sub"))), Err(Invalid::Client));
    assert_eq!(changed(|c| drop(c.as_object_mut().unwrap().remove("iss"))), Err(Invalid::Client));
    assert_eq!(
        changed(|c| (c["iss"], c["sub"]) = (json!("agent-2"), json!("agent-2"))),
        Err(Invalid::Client),
        "another client's keys never verify"
    );
}

#[test]
fn neg_101_the_audience_is_one_accepted_string() {
    for (audience, accepted) in [
        (json!(TOKEN_ENDPOINT), true),
        (json!(ISSUER), true),
        (json!(format!("{TOKEN_ENDPOINT}/")), false),
        (json!("https://gate.example/mercy/fhir"), false),
        (json!("https://other.example/oauth/token"), false),
        (json!([TOKEN_ENDPOINT, "https://other.example"]), false),
        (json!([TOKEN_ENDPOINT]), false),
        (json!(7), false),
        (json!(""), false),
        (json!(null), false),
    ] {
        assert_eq!(changed(|c| c["aud"] = audience.clone()).is_ok(), accepted, "{audience}");
    }
    assert_eq!(changed(|c| drop(c.as_object_mut().unwrap().remove("aud"))), Err(Invalid::Audience));
}

#[test]
fn d_01_the_audience_follows_the_registration_and_typ() {
    let key = es384();
    let keys = set(&[ec_jwk(&key, "k1")]);
    for (registered, typ, audience, accepted) in [
        (AssertionAudience::TokenEndpoint, "JWT", TOKEN_ENDPOINT, true),
        (AssertionAudience::TokenEndpoint, "JWT", ISSUER, false),
        (AssertionAudience::Issuer, "JWT", ISSUER, true),
        (AssertionAudience::Issuer, "JWT", TOKEN_ENDPOINT, false),
        (AssertionAudience::Both, "client-authentication+jwt", ISSUER, true),
        (AssertionAudience::Both, "client-authentication+jwt", TOKEN_ENDPOINT, false),
        (AssertionAudience::TokenEndpoint, "client-authentication+jwt", TOKEN_ENDPOINT, false),
    ] {
        let auth = ClientAuth { audience: registered, ..inline() };
        let mut claims = claims();
        claims["aud"] = json!(audience);
        let assertion = sign_ec(&key, &json!({"alg": "ES384", "kid": "k1", "typ": typ}), &claims);
        assert_eq!(check(&assertion, &auth, &keys).is_ok(), accepted, "{registered:?} {typ} {audience}");
    }
}

#[test]
fn neg_103_exp_is_a_near_future_integer() {
    for (exp, accepted) in [
        (json!(SECONDS + 300), true),
        (json!(SECONDS + 330), true),
        (json!(SECONDS + 331), false),
        (json!(SECONDS - 29), true),
        (json!(SECONDS - 30), false),
        (json!(0), false),
        (json!(-5), false),
        (json!((SECONDS + 60).to_string()), false),
        (json!(SECONDS as f64 + 60.0), false),
        (json!(u64::MAX), false),
        (json!(1e300), false),
        (json!(null), false),
    ] {
        assert_eq!(changed(|c| c["exp"] = exp.clone()).is_ok(), accepted, "{exp}");
    }
    assert_eq!(changed(|c| drop(c.as_object_mut().unwrap().remove("exp"))), Err(Invalid::Expiry));
    assert!(oauth::assertion::REFUSAL.contains("330 seconds"), "the limit is named to the caller");
}

#[test]
fn neg_105_nbf_and_iat_lie_at_most_a_minute_ahead() {
    for name in ["nbf", "iat"] {
        for (at, accepted) in [(10, true), (60, true), (61, false), (-10_000, true)] {
            assert_eq!(changed(|c| c[name] = json!(SECONDS + at)).is_ok(), accepted, "{name} {at}");
        }
        assert_eq!(changed(|c| c[name] = json!("soon")), Err(Invalid::NotYet));
    }
    assert!(changed(|c| drop(c.as_object_mut().unwrap().remove("iat"))).is_ok(), "both are optional");
}

#[test]
fn neg_106_jti_is_a_short_string() {
    for (jti, accepted) in [
        (json!("x"), true),
        (json!("x".repeat(256)), true),
        (json!("x".repeat(257)), false),
        (json!("x".repeat(10_000)), false),
        (json!(""), false),
        (json!(7), false),
        (json!(["x"]), false),
    ] {
        assert_eq!(changed(|c| c["jti"] = jti.clone()).is_ok(), accepted, "{jti}");
    }
    assert_eq!(changed(|c| drop(c.as_object_mut().unwrap().remove("jti"))), Err(Invalid::Jti));
}

#[test]
fn neg_112_no_hmac_and_no_none() {
    let rsa = rsa();
    let keys = set(&[rsa_jwk(&rsa, "k1")]);
    let publics = [rsa_der(&rsa), modulus(&rsa), rsa_jwk(&rsa, "k1").to_string().into_bytes()];
    for (name, algorithm) in [("HS256", aws_lc_rs::hmac::HMAC_SHA256), ("HS384", aws_lc_rs::hmac::HMAC_SHA384)] {
        for secret in &publics {
            let input = join(&header(name), &claims());
            let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(algorithm, secret), input.as_bytes());
            let assertion = format!("{input}.{}", b64(tag));
            assert_eq!(check(&assertion, &inline(), &keys), Err(InvalidJws::Algorithm.into()), "{name}");
        }
    }
    for name in ["none", "None", "NONE", "", "es384", "RS256", "RS512", "ES512", "EdDSA"] {
        let assertion = format!("{}.{}", join(&header(name), &claims()), b64("x"));
        assert!(check(&assertion, &inline(), &keys).is_err(), "{name}");
    }
    let unsigned = format!("{}.", join(&header("none"), &claims()));
    assert_eq!(check(&unsigned, &inline(), &keys), Err(InvalidJws::Form.into()));
}

#[test]
fn neg_113_the_algorithm_is_on_the_clients_list_and_fits_the_key() {
    let (rsa, p384) = (rsa(), es384());
    let auth = ClientAuth { algorithms: ["RS384".to_owned()].into(), ..inline() };
    let keys = set(&[rsa_jwk(&rsa, "k1")]);
    assert!(check(&sign_rsa(&rsa, &header("RS384"), &claims()), &auth, &keys).is_ok());
    assert_eq!(check(&sign_rsa(&rsa, &header("PS256"), &claims()), &auth, &keys), Err(Invalid::Algorithm));
    assert_eq!(check(&sign_ec(&p384, &header("ES384"), &claims()), &inline(), &keys), Err(Invalid::Key), "kty");
    let mut named = rsa_jwk(&rsa, "k1");
    named["alg"] = json!("RS384");
    let assertion = sign_rsa(&rsa, &header("PS256"), &claims());
    assert_eq!(check(&assertion, &inline(), &set(&[named])), Err(Invalid::Key), "the key's own alg");
}

#[test]
fn neg_115_ecdsa_signatures_are_raw_and_not_zero() {
    let key = es384();
    let keys = set(&[ec_jwk(&key, "k1")]);
    let der = sign_ec(&es384_der(&key), &header("ES384"), &claims());
    assert_eq!(check(&der, &inline(), &keys), Err(Invalid::Signature), "DER");
    let raw = sign_ec(&key, &header("ES384"), &claims());
    let (input, signature) = raw.rsplit_once('.').unwrap();
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
    let zero_r: Vec<u8> = [&[0; 48], &signature[48..]].concat();
    let zero_s: Vec<u8> = [&signature[..48], &[0; 48]].concat();
    let short: Vec<u8> = signature[..95].to_vec();
    let long: Vec<u8> = [&signature[..], &[0]].concat();
    for bad in [vec![0; 96], zero_r, zero_s, short, long] {
        assert_eq!(check(&format!("{input}.{}", b64(bad)), &inline(), &keys), Err(Invalid::Signature));
    }
    assert!(check(&raw, &inline(), &keys).is_ok());
}

#[test]
fn neg_117_keys_named_by_the_message_are_never_used() {
    let (own, attacker) = (es384(), es384());
    let keys = set(&[ec_jwk(&own, "k1")]);
    for (name, value) in
        [("jwk", ec_jwk(&attacker, "k1")), ("x5c", json!(["MIIB"])), ("x5u", json!("https://evil.example/c.pem"))]
    {
        let mut head = header("ES384");
        head[name] = value;
        assert_eq!(check(&sign_ec(&attacker, &head, &claims()), &inline(), &keys), Err(Invalid::Signature), "{name}");
    }
}

#[test]
fn neg_118_jku_must_be_the_registered_url_byte_for_byte() {
    let key = es384();
    let keys = set(&[ec_jwk(&key, "k1")]);
    let url = "https://agent.example/jwks.json";
    let by_url = ClientAuth { keys: Keys::JwksUrl(url.into()), ..inline() };
    let with = |jku: &str| sign_ec(&key, &json!({"alg": "ES384", "kid": "k1", "jku": jku}), &claims());
    assert!(check(&with(url), &by_url, &keys).is_ok());
    for jku in [
        "https://agent.example/other.json",
        "http://agent.example/jwks.json",
        "https://evil@agent.example/jwks.json",
        "https://agent.example/jwks.json#x",
        "https://AGENT.example/jwks.json",
        "https://evil.example/jwks.json",
    ] {
        assert_eq!(check(&with(jku), &by_url, &keys), Err(Invalid::Jku), "{jku}");
    }
    assert_eq!(check(&with(url), &inline(), &keys), Err(Invalid::Jku), "an inline client sends none");
}

#[test]
fn neg_119_strict_form_and_header() {
    for typ in [json!("jwt"), json!("JWT")] {
        assert!(with_header(|h| h["typ"] = typ.clone()).is_ok(), "{typ}");
    }
    assert!(with_header(|h| drop(h.as_object_mut().unwrap().remove("typ"))).is_ok(), "decided: absent is accepted");
    for typ in ["at+jwt", "dpop+jwt", "application/jwt", "JWE", "x"] {
        assert_eq!(with_header(|h| h["typ"] = json!(typ)), Err(Invalid::Type), "{typ}");
    }
    assert!(with_header(|h| h["typ"] = json!(7)).is_err());
    assert_eq!(with_header(|h| h["crit"] = json!(["x"])), Err(InvalidJws::Critical.into()));
    assert_eq!(with_header(|h| h["crit"] = json!([])), Err(InvalidJws::Critical.into()));
    assert_eq!(with_header(|h| h["b64"] = json!(false)), Err(InvalidJws::Critical.into()));
    assert_eq!(with_header(|h| h["enc"] = json!("A256GCM")), Err(InvalidJws::Form.into()));
    assert_eq!(with_header(|h| h["cty"] = json!("JWT")), Err(InvalidJws::Form.into()));
    assert_eq!(with_header(|h| drop(h.as_object_mut().unwrap().remove("kid"))), Err(Invalid::Kid));
    let key = es384();
    let keys = set(&[ec_jwk(&key, "k1")]);
    let good = sign_ec(&key, &header("ES384"), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}.x.y"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}==", parts[0], parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        good.replace('-', "+").replace('_', "/") + "+",
        String::new(),
        "..".into(),
    ] {
        assert!(check(&bad, &inline(), &keys).is_err(), "{bad}");
    }
    for (head, body) in [
        (r#"{"alg":"ES384","alg":"ES384","kid":"k1"}"#.to_owned(), claims().to_string()),
        (header("ES384").to_string(), claims().to_string().replacen('{', r#"{"iss":"agent-1","#, 1)),
        (header("ES384").to_string(), "[]".into()),
        ("7".into(), claims().to_string()),
    ] {
        let doubled = format!("{}.{}.{}", b64(head), b64(body), parts[2]);
        assert_eq!(check(&doubled, &inline(), &keys), Err(InvalidJws::Json.into()));
    }
}

#[test]
fn neg_121_one_altered_bit_is_enough() {
    let key = es384();
    let keys = set(&[ec_jwk(&key, "k1")]);
    let one = sign_ec(&key, &header("ES384"), &claims());
    let mut other_claims = claims();
    other_claims["jti"] = json!("j-2");
    let other = sign_ec(&key, &header("ES384"), &other_claims);
    let input = one.rsplit_once('.').unwrap().0;
    let swapped = format!("{input}.{}", other.rsplit_once('.').unwrap().1);
    assert_eq!(check(&swapped, &inline(), &keys), Err(Invalid::Signature));
    let altered = format!("{}.{}", join(&header("ES384"), &other_claims), one.rsplit_once('.').unwrap().1);
    assert_eq!(check(&altered, &inline(), &keys), Err(Invalid::Signature));
}

#[test]
fn ca_06_exactly_one_key_must_fit() {
    let (one, two) = (es384(), es384());
    let assertion = sign_ec(&one, &header("ES384"), &claims());
    let twice = set(&[ec_jwk(&one, "k1"), ec_jwk(&two, "k1")]);
    assert_eq!(check(&assertion, &inline(), &twice), Err(Invalid::Key));
    let none = set(&[ec_jwk(&one, "k2")]);
    assert_eq!(check(&assertion, &inline(), &none), Err(Invalid::Key));
}

#[test]
fn key_sets_hold_public_strong_keys_only() {
    let (key, rsa) = (es384(), rsa());
    let with = |name: &str, value: Value| {
        let mut jwk = ec_jwk(&key, "k1");
        jwk[name] = value;
        KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).map(|_| ()).map_err(|why| why.to_string())
    };
    use oauth::InvalidKeySet as Bad;
    assert_eq!(with("d", json!("AA")), Err(Bad::Private.to_string()), "NEG-145");
    assert_eq!(with("kid", json!("")), Err(Bad::Empty.to_string()));
    assert_eq!(with("x", json!("AAAA")), Err(Bad::Key.to_string()));
    assert_eq!(with("y", json!(b64([7; 48]))), Err(Bad::Key.to_string()), "not on the curve");
    assert_eq!(with("use", json!("enc")), Err(Bad::Empty.to_string()));
    assert_eq!(with("key_ops", json!(["sign"])), Err(Bad::Empty.to_string()));
    assert!(with("key_ops", json!(["verify"])).is_ok());
    let parse = |text: String| KeySet::parse(text.as_bytes()).map(|_| ());
    assert_eq!(parse(r#"{"keys":[{"kty":"oct","k":"AA","kid":"x"}]}"#.into()), Err(Bad::Private));
    assert_eq!(parse(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"x"}]}"#.into()), Err(Bad::Empty));
    assert_eq!(parse(r#"{"keys":[]}"#.into()), Err(Bad::Empty));
    assert_eq!(parse("<html>".into()), Err(Bad::Form));
    assert_eq!(parse(format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 33].join(","))), Err(Bad::Size));
    for (n, e, why) in [
        (b64([0xff; 128]), "AQAB", Bad::Weak),
        (b64([0xff; 1025]), "AQAB", Bad::Weak),
        (b64(modulus(&rsa)), "Aw", Bad::Weak),
        (b64(modulus(&rsa)), "AQAA", Bad::Weak),
        (b64([vec![0], modulus(&rsa)].concat()), "AQAB", Bad::Key),
    ] {
        assert_eq!(parse(json!({"keys": [{"kty": "RSA", "n": n, "e": e, "kid": "x"}]}).to_string()), Err(why));
    }
}

#[test]
fn rfc_7515_a_3_verifies_as_es256() {
    let key = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"a3"}]}"#;
    let set = KeySet::parse(key.as_bytes()).unwrap();
    let text = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let jws = UnverifiedJws::parse(text).unwrap();
    let key = set.choose("a3", jws.header.algorithm).unwrap();
    assert!(key.verify(jws.header.algorithm, jws.signed(), jws.signature()));
    assert!(!key.verify(jws.header.algorithm, b"other", jws.signature()));
    assert_eq!(jws.claims["iss"], "joe");
}

#[test]
fn rfc_7638_thumbprint() {
    let key = r#"{"keys":[{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}]}"#;
    let set = KeySet::parse(key.as_bytes()).unwrap();
    assert_eq!(b64(set.keys()[0].thumbprint()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn what_is_unverified_never_prints_itself() {
    let key = es384();
    let assertion = sign_ec(&key, &header("ES384"), &claims());
    let read = oauth::assertion::read(assertion.as_bytes()).unwrap();
    let printed = format!("{read:?}");
    assert!(!printed.contains(assertion.rsplit_once('.').unwrap().1), "{printed}");
    assert!(key.public_key().as_ref().len() == 97);
}
