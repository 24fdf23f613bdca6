//! DPoP proofs: the catalogue of C, row NEG-220 and its neighbours, and the examples of RFC 9449.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use common::*;
use oauth::dpop::{Expected, InvalidProof as Invalid, PROOF_BYTES_MAX, VerifiedProof, read, read_thumbprint};
use oauth::jose::InvalidJws;
use proptest::prelude::*;
use serde_json::{Value, json};

const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

fn expected() -> Expected<'static> {
    Expected { method: "POST", url: TOKEN_ENDPOINT, access_token: None }
}

fn members() -> Value {
    json!({"jti": "j-1", "htm": "POST", "htu": TOKEN_ENDPOINT, "iat": SECONDS})
}

fn check(proof: &str, expected: &Expected<'_>) -> Result<VerifiedProof, Invalid> {
    read(proof)?.verify(expected, NOW)
}

/// A proof changed by `change` before it is signed.
fn changed(change: impl FnOnce(&mut Value, &mut Value)) -> Result<VerifiedProof, Invalid> {
    let key = es256();
    let mut jwk = ec_jwk(&key, "k");
    jwk.as_object_mut().unwrap().remove("kid");
    let (mut head, mut claims) = (json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}), members());
    change(&mut head, &mut claims);
    check(&sign_ec(&key, &head, &claims), &expected())
}

fn claim(name: &str, value: Value) -> Result<VerifiedProof, Invalid> {
    changed(|_, claims| claims[name] = value)
}

fn without(name: &str) -> Result<VerifiedProof, Invalid> {
    changed(|_, claims| drop(claims.as_object_mut().unwrap().remove(name)))
}

#[test]
fn the_examples_of_rfc_9449_hold() {
    let token_request = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let resource_request = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let thumbprint = read_thumbprint("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I").unwrap();
    let at_server = Expected { method: "POST", url: "https://server.example.com/token", access_token: None };
    let verified = read(token_request).unwrap().verify(&at_server, 1_562_262_616_000).unwrap();
    assert_eq!((verified.thumbprint, verified.jti.as_str()), (thumbprint, "-BwC3ESc6acc2lTc"));
    let at_resource =
        Expected { method: "GET", url: "https://resource.example.org/protectedresource", access_token: Some(TOKEN) };
    let verified = read(resource_request).unwrap().verify(&at_resource, 1_562_262_618_000).unwrap();
    assert_eq!((verified.thumbprint, verified.nonce), (thumbprint, None));
    let other = Expected { access_token: Some("another"), ..at_resource };
    assert_eq!(read(resource_request).unwrap().verify(&other, 1_562_262_618_000), Err(Invalid::AccessToken));
}

#[test]
fn every_advertised_algorithm_is_accepted_with_a_key_that_fits() {
    let (p384, p256, rsa) = (es384(), es256(), rsa());
    let head = |algorithm: &str, jwk: Value| json!({"typ": "dpop+jwt", "alg": algorithm, "jwk": jwk});
    for proof in [
        sign_ec(&p384, &head("ES384", ec_jwk(&p384, "k")), &members()),
        sign_ec(&p256, &head("ES256", ec_jwk(&p256, "k")), &members()),
        sign_rsa(&rsa, &head("RS384", rsa_jwk(&rsa, "k")), &members()),
        sign_rsa(&rsa, &head("PS256", rsa_jwk(&rsa, "k")), &members()),
    ] {
        let verified = check(&proof, &expected()).unwrap();
        assert_eq!(verified.forget_at, (SECONDS + 61) * 1_000, "until its iat refuses it");
    }
    for proof in [
        sign_ec(&p384, &head("ES256", ec_jwk(&p384, "k")), &members()),
        sign_ec(&p256, &head("ES384", ec_jwk(&p256, "k")), &members()),
        sign_rsa(&rsa, &head("PS256", ec_jwk(&p256, "k")), &members()),
        sign_ec(&p256, &head("ES256", rsa_jwk(&rsa, "k")), &members()),
    ] {
        assert_eq!(check(&proof, &expected()), Err(Invalid::Key));
    }
    let rs256 = sign_rsa(&rsa, &head("RS256", rsa_jwk(&rsa, "k")), &members());
    assert_eq!(check(&rs256, &expected()), Err(Invalid::Jws(InvalidJws::Algorithm)), "not advertised");
}

#[test]
fn neg_220_typ_and_algorithm() {
    assert_eq!(changed(|head, _| head["typ"] = json!("JWT")), Err(Invalid::Type));
    assert_eq!(changed(|head, _| head["typ"] = json!("at+jwt")), Err(Invalid::Type));
    assert_eq!(changed(|head, _| head["typ"] = json!("DPOP+JWT")), Err(Invalid::Type));
    assert_eq!(changed(|head, _| drop(head.as_object_mut().unwrap().remove("typ"))), Err(Invalid::Type));
    for name in ["none", "None", "HS256", "HS512", "EdDSA", "ES512", ""] {
        assert!(changed(|head, _| head["alg"] = json!(name)).is_err(), "{name}");
    }
    // The key's own coordinate as an HMAC secret: the confusion of algorithms.
    let jwk = ec_jwk(&es256(), "k");
    let input = join(&json!({"typ": "dpop+jwt", "alg": "HS256", "jwk": jwk}), &members());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, jwk["x"].as_str().unwrap().as_bytes()), input.as_bytes());
    assert!(check(&format!("{input}.{}", b64(tag)), &expected()).is_err());
    let unsigned = join(&json!({"typ": "dpop+jwt", "alg": "none", "jwk": jwk}), &members());
    assert!(check(&format!("{unsigned}."), &expected()).is_err());
    assert_eq!(changed(|head, _| head["crit"] = json!(["b64"])), Err(Invalid::Jws(InvalidJws::Critical)));
}

#[test]
fn neg_220_the_key_is_one_public_key() {
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert_eq!(changed(|head, _| head["jwk"][member] = json!("AQAB")), Err(Invalid::Private), "{member}");
    }
    let symmetric = json!({"kty": "oct", "k": b64([7; 32])});
    assert_eq!(changed(|head, _| head["jwk"] = symmetric), Err(Invalid::Private));
    for (name, jwk) in [
        ("null", Value::Null),
        ("text", json!("x")),
        ("no kty", json!({})),
        ("another kind", json!({"kty": "OKP", "crv": "Ed25519", "x": b64([7; 32])})),
        ("no point", json!({"kty": "EC", "crv": "P-256", "x": b64([7; 32]), "y": b64([7; 32])})),
        ("short", json!({"kty": "EC", "crv": "P-256", "x": b64([7; 31]), "y": b64([7; 32])})),
        ("1024 bits", json!({"kty": "RSA", "n": b64([0xff; 128]), "e": "AQAB"})),
        ("e = 3", json!({"kty": "RSA", "n": b64([0xff; 256]), "e": "Aw"})),
    ] {
        assert_eq!(changed(|head, _| head["jwk"] = jwk), Err(Invalid::Key), "{name}");
    }
    assert_eq!(changed(|head, _| drop(head.as_object_mut().unwrap().remove("jwk"))), Err(Invalid::Key));
    assert_eq!(changed(|head, _| head["jwk"]["use"] = json!("enc")), Err(Invalid::Key));
    assert_eq!(changed(|head, _| head["jwk"]["key_ops"] = json!(["sign"])), Err(Invalid::Key));
    assert_eq!(changed(|head, _| head["jwk"]["alg"] = json!("ES384")), Err(Invalid::Key));
    assert_eq!(changed(|head, _| head["jwk"] = ec_jwk(&es256(), "k")), Err(Invalid::Signature), "another's key");
    // The thumbprint is over what makes the key, whatever else is said of it (RFC 7638 §3).
    let key = es256();
    let mut jwk = ec_jwk(&key, "k");
    let plain = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    jwk["use"] = json!("sig");
    let proof = sign_ec(&key, &json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}), &members());
    assert_eq!(check(&proof, &expected()).unwrap().thumbprint, digest(&SHA256, plain.as_bytes()).as_ref());
}

#[test]
fn neg_220_method_url_and_time() {
    for other in ["GET", "post", "POST ", ""] {
        assert_eq!(claim("htm", json!(other)), Err(Invalid::Method), "`{other}`");
    }
    assert_eq!(without("htm"), Err(Invalid::Method));
    for other in
        ["https://gate.example/mercy/oauth/revoke", "/mercy/oauth/token", "https://evil.example/mercy/oauth/token", ""]
    {
        assert_eq!(claim("htu", json!(other)), Err(Invalid::Url), "`{other}`");
    }
    assert_eq!(claim("htu", json!([TOKEN_ENDPOINT])), Err(Invalid::Url));
    assert_eq!(without("htu"), Err(Invalid::Url));
    for seconds in [-61, 61, i64::MIN / 4, i64::MAX / 4] {
        assert_eq!(claim("iat", json!(SECONDS.saturating_add(seconds))), Err(Invalid::Time), "{seconds}");
    }
    for seconds in [-60, -1, 0, 1, 60] {
        assert!(claim("iat", json!(SECONDS + seconds)).is_ok(), "{seconds}");
    }
    for value in [json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), json!("1800000000"), json!(1.8e9), Value::Null] {
        assert_eq!(claim("iat", value), Err(Invalid::Time));
    }
    assert_eq!(without("iat"), Err(Invalid::Time));
    assert_eq!(claim("exp", json!(SECONDS - 61)), Err(Invalid::Time));
    assert_eq!(claim("nbf", json!(SECONDS + 61)), Err(Invalid::Time));
    assert!(claim("exp", json!(SECONDS + 5)).is_ok());
}

#[test]
fn neg_221_the_same_url_written_otherwise_is_the_same() {
    for same in [
        "https://gate.example/mercy/oauth/token?x=1",
        "https://gate.example:443/mercy/oauth/token",
        "HTTPS://GATE.EXAMPLE/mercy/oauth/token#x",
    ] {
        assert!(claim("htu", json!(same)).is_ok(), "`{same}`");
    }
}

#[test]
fn neg_220_jti_nonce_and_the_access_token() {
    for bad in [json!(""), json!(7), Value::Null, json!("x".repeat(257))] {
        assert_eq!(claim("jti", bad), Err(Invalid::Jti));
    }
    assert_eq!(without("jti"), Err(Invalid::Jti));
    assert!(claim("jti", json!("x".repeat(256))).is_ok());
    for bad in [json!(""), json!(7), Value::Null, json!("x".repeat(2_000))] {
        assert_eq!(claim("nonce", bad), Err(Invalid::Nonce));
    }
    assert_eq!(claim("nonce", json!("n")).unwrap().nonce.as_deref(), Some("n"));
    let key = es256();
    let head = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": ec_jwk(&key, "k")});
    let with = |ath: Option<Value>| {
        let mut claims = members();
        if let Some(ath) = ath {
            claims["ath"] = ath;
        }
        check(&sign_ec(&key, &head, &claims), &Expected { access_token: Some(TOKEN), ..expected() }).map(drop)
    };
    let hash = b64(digest(&SHA256, TOKEN.as_bytes()));
    assert_eq!(with(Some(json!(hash))), Ok(()));
    for bad in [None, Some(json!("")), Some(json!(format!("{hash}="))), Some(json!(TOKEN)), Some(json!([hash]))] {
        assert_eq!(with(bad), Err(Invalid::AccessToken));
    }
}

#[test]
fn neg_220_form() {
    let key = es256();
    let jwk = ec_jwk(&key, "k").to_string();
    let head = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": ec_jwk(&key, "k")});
    let good = sign_ec(&key, &head, &members());
    assert!(check(&good, &expected()).is_ok());
    // A member said twice: whoever reads the first one and whoever reads the last would disagree.
    let signed = |head: String, claims: String| {
        use aws_lc_rs::rand::SystemRandom;
        let input = format!("{}.{}", b64(head), b64(claims));
        let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", b64(signature))
    };
    let claims = members().to_string();
    for proof in [
        signed(format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk},"jwk":{jwk}}}"#), claims.clone()),
        signed(head.to_string(), claims.replacen('{', r#"{"htu":"https://evil.example/","#, 1)),
        signed(head.to_string(), format!("[{claims}]")),
        good.replace('.', ".."),
        format!("{good}."),
        format!("{good}="),
        format!(" {good}"),
        format!("{good},{good}"),
        String::new(),
    ] {
        assert!(check(&proof, &expected()).is_err(), "{proof}");
    }
    assert_eq!(read(&"x".repeat(PROOF_BYTES_MAX + 1)).err(), Some(Invalid::Size));
    let mut flipped = good.into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    assert_eq!(check(&String::from_utf8(flipped).unwrap(), &expected()), Err(Invalid::Signature));
}

#[test]
fn thumbprints_have_one_form() {
    let text = b64([7; 32]);
    assert_eq!(read_thumbprint(&text), Some([7; 32]));
    for bad in ["", "x", &format!("{text}="), &text[1..], &b64([7; 31]), &b64([7; 33])] {
        assert_eq!(read_thumbprint(bad), None, "`{bad}`");
    }
}

proptest! {
    /// Whatever is sent, it is read or refused.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", parts in proptest::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let _ = read(&text);
        let _ = read(&parts.iter().map(b64).collect::<Vec<_>>().join("."));
    }

    /// A proof for one URL holds at another only where they have one form; and at itself however it is written.
    #[test]
    fn a_proof_is_for_its_url(path in "(/[a-zA-Z0-9._~$|:-]{1,8}){0,4}", query in "[a-z=&]{0,8}", other in "[a-zA-Z0-9/]{1,12}") {
        let url = format!("https://gate.example{path}");
        let proof = changed_url(&format!("HTTPS://gate.EXAMPLE:443{path}?{query}"));
        let at = |url: &str| {
            let expected = Expected { method: "POST", url, access_token: None };
            read(&proof).unwrap().verify(&expected, NOW)
        };
        prop_assert!(at(&url).is_ok());
        prop_assert_eq!(at(&format!("{url}/{other}")), Err(Invalid::Url));
    }
}

fn changed_url(url: &str) -> String {
    let key = es256();
    let mut claims = members();
    claims["htu"] = json!(url);
    sign_ec(&key, &json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": ec_jwk(&key, "k")}), &claims)
}
