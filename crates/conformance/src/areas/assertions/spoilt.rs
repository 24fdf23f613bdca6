//! Assertions that are wrong in one way each.

use serde_json::{Value, json};

use crate::flow::key_of;
use crate::jose::{Draft, Key, base64url, der_signature, input_of, join, nonce, unbase64url};
use crate::row::Stop;
use crate::suite::{Fixture, Suite, now};

/// One spoilt assertion.
pub struct Spoilt {
    /// What is wrong with it.
    pub name: String,
    /// The assertion.
    pub assertion: String,
    /// A `client_id` to send beside it.
    pub client_id: Option<String>,
}

type Made = Result<Vec<Spoilt>, Stop>;

fn plain(name: &str, assertion: String) -> Spoilt {
    Spoilt { name: name.to_owned(), assertion, client_id: None }
}

/// Claims changed, signed honestly. `Null` removes.
fn claimed(suite: &Suite, client: &Fixture, changes: Vec<(&str, Vec<(&str, Value)>)>) -> Made {
    let key = key_of(client)?;
    let made = changes.into_iter().map(|(name, claims)| {
        let draft = claims.into_iter().fold(suite.draft(client), |draft, (claim, value)| draft.claim(claim, value));
        Ok(plain(name, draft.sign_honestly(key)?))
    });
    made.collect()
}

/// Header members changed, signed honestly otherwise.
fn headed(suite: &Suite, client: &Fixture, changes: Vec<(&str, Vec<(&str, Value)>)>) -> Made {
    let key = key_of(client)?;
    let made = changes.into_iter().map(|(name, members)| {
        let draft = honest(suite, client, key);
        let draft = members.into_iter().fold(draft, |draft, (member, value)| draft.header(member, value));
        let signature = key.sign_as(&key.alg, draft.input().as_bytes())?;
        Ok(plain(name, join(&draft.input(), &signature)))
    });
    made.collect()
}

/// An honest draft with its header complete.
fn honest(suite: &Suite, client: &Fixture, key: &Key) -> Draft {
    suite.draft(client).header("alg", key.alg.as_str().into()).header("kid", key.kid.as_str().into())
}

pub fn names(suite: &Suite, client: &Fixture) -> Made {
    let nobody = format!("nobody-{}", nonce());
    let id = &client.spec.id;
    let mut made = claimed(
        suite,
        client,
        vec![
            ("unknown iss", vec![("iss", nobody.as_str().into()), ("sub", nobody.as_str().into())]),
            ("sub of another", vec![("sub", nobody.as_str().into())]),
            ("iss of another", vec![("iss", nobody.as_str().into())]),
            ("sub missing", vec![("sub", Value::Null)]),
            ("iss missing", vec![("iss", Value::Null)]),
            ("iss empty", vec![("iss", "".into())]),
            ("iss in other case", vec![("iss", id.to_uppercase().into()), ("sub", id.to_uppercase().into())]),
            ("iss with a space", vec![("iss", format!("{id} ").into()), ("sub", format!("{id} ").into())]),
            ("iss an array", vec![("iss", json!([id])), ("sub", json!([id]))]),
        ],
    )?;
    // A name without letters is the same in both cases.
    made.retain(|spoilt| spoilt.name != "iss in other case" || id.to_uppercase() != *id);
    made.push(Spoilt { client_id: Some(nobody), ..plain("another client_id beside it", suite.assertion(client)?) });
    Ok(made)
}

pub fn audiences(suite: &Suite, client: &Fixture) -> Made {
    let right = suite.audience(client);
    claimed(
        suite,
        client,
        vec![
            ("aud missing", vec![("aud", Value::Null)]),
            ("aud empty", vec![("aud", "".into())]),
            ("another server", vec![("aud", "https://other.invalid/token".into())]),
            ("the FHIR base", vec![("aud", suite.target.fhir.as_str().into())]),
            ("with a slash", vec![("aud", format!("{right}/").into())]),
            ("in other case", vec![("aud", right.to_uppercase().into())]),
            ("with a query", vec![("aud", format!("{right}?x=1").into())]),
            ("two, the right one first", vec![("aud", json!([right, "https://other.invalid"]))]),
            ("two, the right one last", vec![("aud", json!(["https://other.invalid", right]))]),
            ("an empty array", vec![("aud", json!([]))]),
            ("a number", vec![("aud", json!(1))]),
            ("an object", vec![("aud", json!({ "url": right }))]),
        ],
    )
}

pub fn expiries(suite: &Suite, client: &Fixture) -> Made {
    let soon = now() + 60;
    claimed(
        suite,
        client,
        vec![
            ("exp missing", vec![("exp", Value::Null)]),
            ("past", vec![("exp", (now() - 120).into())]),
            ("400 s ahead", vec![("exp", (now() + 400).into())]),
            ("a day ahead", vec![("exp", (now() + 86_400).into())]),
            ("a string", vec![("exp", soon.to_string().into())]),
            ("negative", vec![("exp", (-1).into())]),
            ("zero", vec![("exp", 0.into())]),
            ("huge", vec![("exp", u64::MAX.into())]),
            ("1e300", vec![("exp", json!(1e300))]),
            ("an array", vec![("exp", json!([soon]))]),
            ("a boolean", vec![("exp", true.into())]),
        ],
    )
}

pub fn not_yet(suite: &Suite, client: &Fixture) -> Made {
    let later = now() + 120;
    claimed(
        suite,
        client,
        vec![
            ("nbf 120 s ahead", vec![("nbf", later.into())]),
            ("iat 120 s ahead", vec![("iat", later.into())]),
            ("nbf a string", vec![("nbf", now().to_string().into())]),
            ("iat an object", vec![("iat", json!({}))]),
        ],
    )
}

pub fn ids(suite: &Suite, client: &Fixture) -> Made {
    claimed(
        suite,
        client,
        vec![
            ("jti missing", vec![("jti", Value::Null)]),
            ("jti empty", vec![("jti", "".into())]),
            ("jti a number", vec![("jti", 1.into())]),
            ("jti an array", vec![("jti", json!([nonce()]))]),
            ("jti of 10 kB", vec![("jti", "j".repeat(10_000).into())]),
        ],
    )
}

pub fn unsigned(suite: &Suite, client: &Fixture) -> Made {
    let key = key_of(client)?;
    let mut made = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let draft = honest(suite, client, key).header("alg", alg.into());
        made.push(plain(&format!("alg `{alg}`, no signature"), join(&draft.input(), b"")));
        let signature = key.sign_as(&key.alg, draft.input().as_bytes())?;
        made.push(plain(&format!("alg `{alg}`, signed"), join(&draft.input(), &signature)));
    }
    let draft = honest(suite, client, key).header("alg", Value::Null);
    made.push(plain("alg missing", join(&draft.input(), &key.sign_as(&key.alg, draft.input().as_bytes())?)));
    Ok(made)
}

pub fn confused(suite: &Suite, client: &Fixture) -> Made {
    let key = key_of(client)?;
    let jwk = key.bare_jwk();
    let member = |name: &str| jwk.get(name).and_then(Value::as_str).and_then(unbase64url).unwrap_or_default();
    let secrets = [
        ("the JWK", key.jwk().to_string().into_bytes()),
        ("the bare JWK", jwk.to_string().into_bytes()),
        ("the key set", json!({ "keys": [key.jwk()] }).to_string().into_bytes()),
        ("the modulus", member("n")),
        ("the point", [vec![4], member("x"), member("y")].concat()),
        ("the kid", key.kid.clone().into_bytes()),
        ("the client_id", client.spec.id.clone().into_bytes()),
        ("nothing", Vec::new()),
    ];
    let mut made = Vec::new();
    for (name, secret) in secrets.iter().filter(|(name, secret)| !secret.is_empty() || *name == "nothing") {
        for alg in ["HS256", "HS384"] {
            let draft = honest(suite, client, key).claim("jti", nonce().into());
            made.push(plain(&format!("{alg} with {name}"), draft.sign_hmac(alg, secret)));
        }
    }
    Ok(made)
}

pub fn algorithms(suite: &Suite, client: &Fixture) -> Made {
    let key = key_of(client)?;
    let mut made = Vec::new();
    for alg in
        ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA", "ES256K", "XX", "rs384", "es384"]
    {
        if alg == key.alg {
            continue;
        }
        // An RSA key can honestly sign by another of its algorithms; whether that is registered only the file can say.
        let advertised = suite.target.lists("token_endpoint_auth_signing_alg_values_supported", alg);
        if key.is_rsa() && alg.starts_with(['R', 'P']) && (client.spec.alg.is_none() && advertised) {
            continue;
        }
        let draft = honest(suite, client, key).header("alg", alg.into());
        made.push(plain(&format!("alg {alg}"), join(&draft.input(), &key.sign_as(alg, draft.input().as_bytes())?)));
    }
    Ok(made)
}

pub fn key_ids(suite: &Suite, client: &Fixture) -> Made {
    let mut changes = vec![
        ("kid missing", vec![("kid", Value::Null)]),
        ("kid unknown", vec![("kid", nonce().into())]),
        ("kid empty", vec![("kid", "".into())]),
        ("kid a number", vec![("kid", 1.into())]),
        ("kid a path", vec![("kid", "../../etc/passwd".into())]),
        ("kid with a quote", vec![("kid", "x' OR '1'='1".into())]),
        ("kid of 10 kB", vec![("kid", "k".repeat(10_000).into())]),
    ];
    let launcher = suite.client(crate::suite::Who::Launcher).ok().and_then(|other| other.key.as_ref());
    if let Some(other) = launcher {
        changes.push(("kid of another client", vec![("kid", other.kid.as_str().into())]));
    }
    headed(suite, client, changes)
}

pub fn signatures(suite: &Suite, client: &Fixture) -> Made {
    let key = key_of(client)?;
    let input = honest(suite, client, key).input();
    let right = key.sign_as(&key.alg, input.as_bytes())?;
    let mut made = vec![
        plain("all zero", join(&input, &vec![0; right.len()])),
        plain("empty", join(&input, b"")),
        plain("one byte short", join(&input, right.get(1..).unwrap_or_default())),
        plain("one byte long", join(&input, &[right.as_slice(), &[0]].concat())),
        plain("twice", join(&input, &[right.as_slice(), right.as_slice()].concat())),
        plain("all ones", join(&input, &vec![0xff; right.len()])),
    ];
    if !key.is_rsa() {
        let (r, s) = right.split_at_checked(right.len() / 2).unwrap_or((&[], &[]));
        made.push(plain("in DER", join(&input, &der_signature(&right))));
        made.push(plain("r zero", join(&input, &[vec![0; r.len()], s.to_vec()].concat())));
        made.push(plain("s zero", join(&input, &[r.to_vec(), vec![0; s.len()]].concat())));
    }
    Ok(made)
}

pub fn embedded(suite: &Suite, client: &Fixture) -> Made {
    let key = key_of(client)?;
    let attacker = Key::generate(&key.alg)?;
    let mut jwk = attacker.jwk();
    if let Some(members) = jwk.as_object_mut() {
        members.insert("kid".into(), key.kid.as_str().into());
    }
    let variants = [("jwk", jwk), ("x5c", json!(["MIIB"])), ("x5u", "https://attacker.invalid/cert".into())];
    let made = variants.into_iter().map(|(name, value)| {
        let draft = honest(suite, client, key).header(name, value);
        Ok(plain(name, draft.sign(&attacker)?))
    });
    made.collect()
}

pub fn key_urls(suite: &Suite, client: &Fixture) -> Made {
    let urls = [
        "https://attacker.invalid/jwks.json",
        "http://127.0.0.1:1/jwks.json",
        "http://169.254.169.254/latest/meta-data",
        "https://user@attacker.invalid/jwks.json",
        "file:///etc/passwd",
        "",
    ];
    let mut changes: Vec<(&str, Vec<(&str, Value)>)> =
        urls.iter().map(|url| (*url, vec![("jku", (*url).into())])).collect();
    changes.push(("jku a number", vec![("jku", 1.into())]));
    headed(suite, client, changes)
}

pub fn forms(suite: &Suite, client: &Fixture) -> Made {
    let key = key_of(client)?;
    let mut made = headed(
        suite,
        client,
        vec![
            ("typ at+jwt", vec![("typ", "at+jwt".into())]),
            ("typ dpop+jwt", vec![("typ", "dpop+jwt".into())]),
            ("typ a number", vec![("typ", 1.into())]),
            ("crit with an unknown member", vec![("crit", json!(["x-new"])), ("x-new", 1.into())]),
            ("crit empty", vec![("crit", json!([]))]),
            ("b64 false", vec![("b64", false.into()), ("crit", json!(["b64"]))]),
            ("zip", vec![("zip", "DEF".into())]),
            ("cty JWT", vec![("cty", "JWT".into())]),
            ("a header of 100 kB", vec![("x", "x".repeat(100_000).into())]),
        ],
    )?;
    let fresh = || suite.assertion(client);
    let honest_draft = honest(suite, client, key);
    let header = Value::Object(honest_draft.header.clone()).to_string();
    let claims = Value::Object(honest_draft.claims.clone()).to_string();
    let raw = |header: &str, claims: &str| -> Result<String, Stop> {
        let input = input_of(header, claims);
        Ok(join(&input, &key.sign_as(&key.alg, input.as_bytes())?))
    };
    let doubled = |json: &str, member: &str| json.replacen('{', &format!("{{{member},"), 1);
    made.extend([
        plain("a duplicate claim", raw(&header, &doubled(&claims, r#""iss":"other""#))?),
        plain("a duplicate header member", raw(&doubled(&header, r#""alg":"none""#), &claims)?),
        plain("a claim doubled by an escape", raw(&header, &doubled(&claims, r#""\u0069ss":"other""#))?),
        plain("claims that are an array", raw(&header, "[]")?),
        plain("claims with text behind", raw(&header, &format!("{claims} x"))?),
        plain("four parts", format!("{}.{}", fresh()?, base64url(b"x"))),
        plain("five parts, as a JWE", format!("{}..x.x", fresh()?)),
        plain("two parts", fresh()?.rsplit_once('.').map(|(input, _)| input.to_owned()).unwrap_or_default()),
        plain("white space within", fresh()?.replacen('.', " .", 1)),
        plain("a line break behind", format!("{}\n", fresh()?)),
        plain("padding", fresh()?.replacen('.', "=.", 1)),
        plain("JSON serialization", json!({ "payload": "x", "signatures": [] }).to_string()),
        plain("nonsense", "nonsense".into()),
        plain("megabytes", "a".repeat(2_000_000)),
    ]);
    Ok(made)
}

pub fn tampered(suite: &Suite, client: &Fixture) -> Made {
    let key = key_of(client)?;
    let draft = honest(suite, client, key);
    let signature = key.sign_as(&key.alg, draft.input().as_bytes())?;
    let altered = draft.clone().claim("exp", (now() + 61).into());
    let other = honest(suite, client, key).claim("jti", nonce().into());
    let stranger = Key::generate(&key.alg)?;
    Ok(vec![
        plain("exp altered", join(&altered.input(), &signature)),
        plain("signature of another assertion", join(&other.input(), &signature)),
        plain("signature stripped", join(&draft.input(), b"")),
        plain("signature left out", draft.input()),
        plain("signed by a stranger", honest(suite, client, key).claim("jti", nonce().into()).sign(&stranger)?),
    ])
}
