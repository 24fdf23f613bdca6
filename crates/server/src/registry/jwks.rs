//! Public keys of integrations: a JWK Set by value is read, refused if it holds a secret, and kept in one canonical form.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Map, Value, json};
use store::Thumbprint;

use super::canonical;

/// Longest name of a key.
const KID_MAX: usize = 128;
/// Most keys in one set: two in use and a few to come.
const KEYS_MAX: usize = 8;
/// Longest set read.
const TEXT_MAX: usize = 64 * 1024;
/// Members that only private or symmetric keys have (RFC 7518 §6).
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Smallest and largest RSA modulus in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A set in canonical form, with the thumbprint of each key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PublicKeys {
    /// JSON text: public members only, ordered by thumbprint.
    pub text: String,
    /// RFC 7638 thumbprints, SHA-256.
    pub thumbprints: Vec<Thumbprint>,
}

/// Reads a set.
///
/// # Errors
/// Every mistake in words.
pub(crate) fn read(value: &Value) -> Result<PublicKeys, Vec<String>> {
    let parsed;
    let value = match value {
        Value::String(text) if text.len() > TEXT_MAX => return Err(vec!["the JWK Set is too long".into()]),
        Value::String(text) => {
            parsed = serde_json::from_str(text).map_err(|_| vec!["the JWK Set is not JSON".to_owned()])?;
            &parsed
        }
        value => value,
    };
    let Some(keys) = value.get("keys").and_then(Value::as_array) else {
        return Err(vec!["a JWK Set is an object with an array `keys` (RFC 7517 §5)".into()]);
    };
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(vec![format!("a JWK Set holds 1 to {KEYS_MAX} keys")]);
    }
    let mut mistakes = Vec::new();
    let mut out: Vec<(String, Value)> = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        match one(key) {
            Ok((thumbprint, _)) if out.iter().any(|(other, _)| *other == thumbprint) => {
                mistakes.push(format!("key {} is there twice", index + 1));
            }
            Ok(read) => out.push(read),
            Err(why) => mistakes.push(format!("key {}: {why}", index + 1)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    for (name, uses) in names(&out) {
        if uses > 1 {
            // An assertion must name one key and no other (CA-06).
            mistakes.push(format!("`kid` `{name}` is the name of {uses} keys for the same algorithm"));
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (thumbprints, keys): (Vec<_>, Vec<_>) = out.into_iter().map(|(print, key)| (Thumbprint(print), key)).unzip();
    Ok(PublicKeys { text: canonical::text(json!({ "keys": keys })), thumbprints })
}

/// How often each name is used for one algorithm.
fn names(keys: &[(String, Value)]) -> BTreeMap<&str, usize> {
    let mut out: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (_, key) in keys {
        let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
        *out.entry((text("kid"), format!("{} {}", text("kty"), text("crv")))).or_default() += 1;
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, _), uses) in out {
        let entry = most.entry(name).or_default();
        *entry = uses.max(*entry);
    }
    most
}

/// Algorithms a key of this kind signs client assertions with.
fn algorithms(kind: &str, curve: &str) -> &'static [&'static str] {
    match (kind, curve) {
        ("EC", "P-256") => &["ES256"],
        ("EC", "P-384") => &["ES384"],
        ("RSA", _) => &["RS384", "PS256"],
        _ => &[],
    }
}

/// Whether any key of a set can sign with one of these algorithms; an empty list is every algorithm.
pub(crate) fn can_sign(set: &str, listed: &BTreeSet<String>) -> bool {
    let Ok(set) = serde_json::from_str::<Value>(set) else { return false };
    let mut keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    listed.is_empty()
        || keys.any(|key| {
            let text = |name: &str| key.get(name).and_then(Value::as_str);
            let fitting = algorithms(text("kty").unwrap_or_default(), text("crv").unwrap_or_default());
            fitting.iter().any(|name| listed.contains(*name) && text("alg").is_none_or(|alg| alg == *name))
        })
}

fn one(key: &Value) -> Result<(String, Value), String> {
    let Some(key) = key.as_object() else { return Err("is not an object".into()) };
    if SECRET.iter().any(|name| key.contains_key(*name)) {
        return Err("holds private key material; register the public key only, and replace this key".into());
    }
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let coordinate = |name: &str, bytes: usize| {
        let value = text(name).ok_or_else(|| format!("`{name}` is missing"))?;
        match B64.decode(value) {
            Ok(raw) if raw.len() == bytes => Ok(value.to_owned()),
            _ => Err(format!("`{name}` is not {bytes} bytes in base64url")),
        }
    };
    // RFC 7638 §3.2: the required members alone, in lexicographic order, without white space.
    let (canonical, mut public) = match (text("kty"), text("crv")) {
        (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
            let bytes = if curve == "P-256" { 32 } else { 48 };
            let (x, y) = (coordinate("x", bytes)?, coordinate("y", bytes)?);
            let canonical = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#);
            (canonical, object([("kty", "EC"), ("crv", curve), ("x", &x), ("y", &y)]))
        }
        (Some("RSA"), _) => {
            let n = text("n").filter(|n| B64.decode(n).is_ok_and(|raw| RSA_BYTES.contains(&raw.len())));
            let n = n.ok_or("`n` is not a modulus of 2048 to 8192 bits in base64url")?;
            let e = text("e").filter(|e| *e == "AQAB").ok_or("`e` must be AQAB (65537)")?;
            (format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#), object([("kty", "RSA"), ("n", n), ("e", e), ("", "")]))
        }
        _ => return Err("is neither EC (P-256, P-384) nor RSA".into()),
    };
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return Err("`use` must be `sig`".into());
    }
    if key.get("key_ops").is_some_and(|uses| uses.as_array().is_none_or(|uses| !uses.iter().any(|one| one == "verify")))
    {
        return Err("`key_ops` must hold `verify`".into());
    }
    let Some(kid) = text("kid").filter(|kid| (1..=KID_MAX).contains(&kid.len())) else {
        return Err(format!("`kid` of 1 to {KID_MAX} characters is missing; an assertion names its key by it"));
    };
    public.insert("kid".into(), kid.into());
    if let Some(value) = key.get("alg") {
        let fitting = algorithms(text("kty").unwrap_or_default(), text("crv").unwrap_or_default());
        let Some(alg) = value.as_str().filter(|alg| fitting.contains(alg)) else {
            return Err(format!("`alg` must be {} or absent for this key", fitting.join(" or ")));
        };
        public.insert("alg".into(), alg.into());
    }
    // The reader that will judge assertions by this key must take it: a point off its curve is no key.
    let set = json!({ "keys": [public] }).to_string();
    oauth::KeySet::parse(set.as_bytes()).map_err(|why| why.to_string())?;
    let thumbprint = B64.encode(digest(&SHA256, canonical.as_bytes()));
    Ok((thumbprint, Value::Object(public)))
}

fn object(members: [(&str, &str); 4]) -> Map<String, Value> {
    members.into_iter().filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7638 §3.1.
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    #[test]
    fn rfc_7638_thumbprint_and_canonical_form() {
        let set = json!({ "keys": [{ "kty": "RSA", "n": N, "e": "AQAB", "alg": "RS384", "kid": "2011-04-29", "x": "gone" }] });
        let read = read(&set).unwrap();
        assert_eq!(read.thumbprints, [Thumbprint("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".into())]);
        assert!(!read.text.contains("gone"));
        assert!(read.text.starts_with(r#"{"keys":[{"alg":"RS384","e":"AQAB","kid":"2011-04-29","kty":"RSA","n":"#));
        assert_eq!(super::read(&Value::String(read.text.clone())).unwrap(), read, "canonical text reads as itself");
    }

    /// The public key of RFC 7515 §A.3.1.
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn ec(more: Value) -> Value {
        let mut key = json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "k" });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    #[test]
    fn s1_33_private_weak_and_malformed_keys_are_refused() {
        let set = |more| json!({ "keys": [ec(more)] });
        assert!(read(&set(json!({}))).is_ok());
        assert!(read(&set(json!({ "alg": "ES256", "use": "sig", "key_ops": ["verify"] }))).is_ok());
        let rsa = json!({ "kty": "RSA", "n": N, "e": "AQAB", "kid": "k" });
        assert!(read(&json!({ "keys": [ec(json!({})), rsa.clone()] })).is_ok(), "one name for two algorithms");
        for (bad, says) in [
            (set(json!({ "d": X })), "private"),
            (set(json!({ "k": X })), "private"),
            (set(json!({ "x": "AA" })), "32 bytes"),
            (set(json!({ "x": X, "y": X })), "malformed"),
            (set(json!({ "crv": "P-521" })), "neither"),
            (set(json!({ "use": "enc" })), "`sig`"),
            (set(json!({ "kid": "" })), "`kid`"),
            (set(json!({ "kid": null })), "`kid`"),
            (set(json!({ "kid": "x".repeat(129) })), "`kid`"),
            (set(json!({ "alg": "RS256" })), "ES256"),
            (set(json!({ "alg": "none" })), "ES256"),
            (set(json!({ "key_ops": ["sign"] })), "`verify`"),
            (json!({ "keys": [] }), "1 to 8"),
            (json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }), "private"),
            (json!({ "keys": [{ "kty": "RSA", "n": B64.encode([1; 128]), "e": "AQAB", "kid": "k" }] }), "2048"),
            (
                json!({ "keys": [rsa, { "kty": "RSA", "n": B64.encode([0xff; 256]), "e": "AQAB", "kid": "k" }] }),
                "2 keys",
            ),
            (json!({ "keys": [ec(json!({})), ec(json!({ "kid": "l" }))] }), "twice"),
            (json!([]), "RFC 7517"),
            (json!("{"), "JSON"),
        ] {
            let mistakes = read(&bad).unwrap_err();
            assert!(mistakes.iter().any(|what| what.contains(says)), "{bad}: {mistakes:?}");
        }
    }

    #[test]
    fn a_set_must_fit_the_listed_algorithms() {
        let set = json!({ "keys": [ec(json!({}))] }).to_string();
        for (listed, fits) in [(&[][..], true), (&["ES256", "RS384"], true), (&["ES384"], false), (&["none"], false)] {
            let listed = listed.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(can_sign(&set, &listed), fits, "{listed:?}");
        }
    }
}
