//! OpenID Connect (A.9): ID tokens, their keys, and who they speak of.

use serde_json::Value;

use crate::flow::Grant;
use crate::http::Send;
use crate::jose::{nonce, peek, verified_by};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Suite, now};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "OI-01",
        clause: "SMART App Launch 2.2, Scopes, identity; R200 R205 R209",
        sends: "openid fhirUser",
        expects: "an ID token with fhirUser; none without openid",
        check: |suite, cases| Box::pin(asked(suite, cases)),
    },
    Row {
        id: "OI-02",
        clause: "SMART App Launch 2.2, Scopes; R198 R199 R203 R204",
        sends: "fhirUser",
        expects: "an absolute URL, or one relative to the FHIR base, of one of five types",
        check: |suite, cases| Box::pin(user(suite, cases)),
    },
    Row {
        id: "OI-04",
        clause: "SMART App Launch 2.2, Scopes; R207 R210",
        sends: "the ID token and jwks_uri",
        expects: "RS256 by a published bare JWK; no private member in the set",
        check: |suite, cases| Box::pin(signature(suite, cases)),
    },
    Row {
        id: "OI-05",
        clause: "OpenID Connect Discovery §3",
        sends: "openid-configuration",
        expects: "every required member, RS256 among the algorithms",
        check: |suite, cases| Box::pin(document(suite, cases)),
    },
    Row {
        id: "OI-06",
        clause: "OpenID Connect Core §2, §3.1.3.7",
        sends: "the claims of the ID token",
        expects: "iss, sub below 256 characters, aud = client_id, exp, iat, nonce echoed",
        check: |suite, cases| Box::pin(claims(suite, cases)),
    },
    Row {
        id: "OI-07",
        clause: "Inferno SMART App Launch kit",
        sends: "GET fhirUser with the access token",
        expects: "200 where the scope permits, and that resource",
        check: |suite, cases| Box::pin(readable(suite, cases)),
    },
    Row {
        id: "REG-07",
        clause: "RFC 9700 §4.15",
        sends: "sub of a person, client_id of the client",
        expects: "they differ",
        check: |suite, cases| Box::pin(apart(suite, cases)),
    },
    Row {
        id: "REG-03",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R305-R306; RFC 7517 §4",
        sends: "GET jwks_uri",
        expects: "kty and kid on every key, kids unique, no private or symmetric member",
        check: |suite, cases| Box::pin(keys(suite, cases)),
    },
];

const SCOPE: &str = "openid fhirUser";

async fn signed_in<'a>(suite: &'a Suite) -> Result<(Grant<'a>, Value, Value, String), Stop> {
    if !suite.target.can("sso-openid-connect") {
        return Err(Stop::Skip("sso-openid-connect is not among the capabilities".into()));
    }
    let app = suite.app()?;
    let nonce = nonce();
    let ask = suite.ask(app, &format!("{SCOPE} {}", suite.config.scopes.base))?.set("nonce", &nonce);
    let grant = suite.grant_of(app, ask).await?;
    let opened = peek(grant.text("id_token"));
    let (header, claims) = opened.ok_or_else(|| Stop::Fail("no ID token came".into()))?;
    Ok((grant, header, claims, nonce))
}

async fn asked(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, _, claims, _) = signed_in(suite).await?;
    cases.expect("fhirUser", claims.get("fhirUser").is_some_and(Value::is_string), "it is not there");
    cases.expect("scope", grant.scopes().contains(&"openid"), grant.text("scope"));
    let without = suite.grant(grant.client, &suite.config.scopes.base).await?;
    cases.expect("none without openid", without.body.get("id_token").is_none(), "an ID token came");
    Ok(())
}

fn text<'a>(claims: &'a Value, name: &str) -> &'a str {
    claims.get(name).and_then(Value::as_str).unwrap_or_default()
}

async fn user(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, _, claims, _) = signed_in(suite).await?;
    let user = text(&claims, "fhirUser");
    let mut parts = user.rsplit('/');
    let (id, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let types = ["Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Person"];
    cases.expect("a type and an id", types.contains(&kind) && !id.is_empty(), format!("of type `{kind}`"));
    let absolute = user.starts_with("https://") || user.starts_with("http://");
    cases.expect("absolute or relative", absolute || user == format!("{kind}/{id}"), "neither");
    Ok(())
}

async fn key_set(suite: &Suite) -> Result<Value, Stop> {
    let answer = suite.send(Send::get(&suite.endpoint("jwks_uri")?)).await?;
    match answer.json() {
        Value::Object(set) if answer.status == 200 => Ok(Value::Object(set)),
        _ => Err(Stop::Fail(format!("jwks_uri was answered {}", answer.shown()))),
    }
}

async fn signature(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, header, _, _) = signed_in(suite).await?;
    cases.expect("RS256", text(&header, "alg") == "RS256", text(&header, "alg"));
    let set = key_set(suite).await?;
    cases.expect(
        "a published key made it",
        verified_by(grant.text("id_token"), &set),
        "no key in jwks_uri made the signature",
    );
    Ok(())
}

async fn document(suite: &Suite, cases: &mut Cases) -> Checked {
    if !suite.target.can("sso-openid-connect") {
        return Err(Stop::Skip("sso-openid-connect is not among the capabilities".into()));
    }
    let oidc = &suite.target.oidc;
    for name in [
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
    ] {
        cases.expect(name, oidc.get(name).is_some(), "it is not there");
    }
    let algorithms = oidc.get("id_token_signing_alg_values_supported").and_then(Value::as_array);
    let has = |name: &str| algorithms.is_some_and(|list| list.iter().any(|alg| alg == name));
    cases.expect("RS256", has("RS256"), format!("{algorithms:?}"));
    cases.expect("no none", !has("none"), format!("{algorithms:?}"));
    Ok(())
}

async fn claims(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, _, claims, nonce) = signed_in(suite).await?;
    cases.expect("iss", text(&claims, "iss") == suite.target.issuer, text(&claims, "iss"));
    let sub = text(&claims, "sub");
    cases.expect("sub", !sub.is_empty() && sub.len() < 256 && sub.is_ascii(), format!("{} characters", sub.len()));
    let aud = claims.get("aud").cloned().unwrap_or_default();
    let id = grant.client.spec.id.as_str();
    cases.expect("aud", aud == id || aud == serde_json::json!([id]), aud.to_string());
    let number = |name: &str| claims.get(name).and_then(Value::as_i64).unwrap_or(0);
    cases.expect("exp", number("exp") > now(), number("exp").to_string());
    cases.expect("iat", (number("iat") - now()).abs() < 60, number("iat").to_string());
    cases.expect("nonce", text(&claims, "nonce") == nonce, "another, or none");
    Ok(())
}

async fn readable(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, _, claims, _) = signed_in(suite).await?;
    let user = text(&claims, "fhirUser");
    let path = user.strip_prefix(&format!("{}/", suite.target.fhir)).unwrap_or(user);
    if path.contains("://") {
        return Err(Stop::Skip("fhirUser lives at another server".into()));
    }
    let answer = suite.fhir(&grant, path).await?;
    if answer.status == 403 && !path.starts_with("Patient/") {
        return Err(Stop::Skip("the granted scope does not open it".into()));
    }
    cases.status("fhirUser", &answer, &[200]);
    Ok(())
}

async fn apart(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, _, claims, _) = signed_in(suite).await?;
    cases.expect("sub", text(&claims, "sub") != grant.client.spec.id, "a person is called like the client");
    Ok(())
}

async fn keys(suite: &Suite, cases: &mut Cases) -> Checked {
    let set = key_set(suite).await?;
    let keys = set.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    cases.expect("keys", !keys.is_empty(), "none");
    let mut kids: Vec<&str> = keys.iter().map(|key| text(key, "kid")).collect();
    for key in &keys {
        let name = text(key, "kid");
        cases.expect(format!("{name}: kty and kid"), !name.is_empty() && !text(key, "kty").is_empty(), "missing");
        let private = ["d", "p", "q", "dp", "dq", "qi", "k"].iter().any(|member| key.get(*member).is_some());
        cases.expect(format!("{name}: public only"), !private && text(key, "kty") != "oct", "a private member");
    }
    let all = kids.len();
    kids.sort_unstable();
    kids.dedup();
    cases.expect("kids are unique", kids.len() == all, "two keys have one kid");
    Ok(())
}
