//! Backend services, and launch handles minted by a launcher (A.4, A.10).

use serde_json::{Value, json};

use super::assertions::at_once;
use crate::flow::{Fields, asserted, key_of};
use crate::http::{Send, pairs};
use crate::jose::{nonce, peek, verified_by};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who, now};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "BE-04",
        clause: "SMART App Launch 2.2, Backend Services; R253-R258",
        sends: "client_credentials with an assertion",
        expects: "access_token, token_type, numeric expires_in, scope, not kept by caches",
        check: |suite, cases| Box::pin(response(suite, cases)),
    },
    Row {
        id: "NEG-170",
        clause: "SMART App Launch 2.2, Backend Services; R248 R261; BE-05, BE-06",
        sends: "client_credentials",
        expects: "no refresh token; at most 300 s with system/ scopes, 900 s otherwise",
        check: |suite, cases| Box::pin(short(suite, cases)),
    },
    Row {
        id: "BE-02",
        clause: "SMART App Launch 2.2, Backend Services; R241 R250; D-10",
        sends: "more than is registered; nothing that is registered",
        expects: "narrowed or invalid_scope, never more than the registered; invalid_scope",
        check: |suite, cases| Box::pin(ceiling(suite, cases)),
    },
    Row {
        id: "BE-03",
        clause: "SMART App Launch 2.2, Backend Services",
        sends: "offline_access, openid, launch/patient by client_credentials",
        expects: "never granted",
        check: |suite, cases| Box::pin(no_people(suite, cases)),
    },
    Row {
        id: "BE-07",
        clause: "SMART App Launch 2.2, Backend Services; R251 R252",
        sends: "a wrong scope; a wrong client",
        expects: "an OAuth error with error_description or error_uri",
        check: |suite, cases| Box::pin(described(suite, cases)),
    },
    Row {
        id: "JAT-01",
        clause: "RFC 9068 §2.1, §2.2; JAT-02",
        sends: "an access token, opened",
        expects: "typ at+jwt, a published key's signature, iss exp aud sub client_id iat jti",
        check: |suite, cases| Box::pin(access_token(suite, cases)),
    },
    Row {
        id: "LN-04",
        clause: "LN-03, LN-04 (ours); SMART App Launch 2.2, launch context",
        sends: "the launcher mints a handle, the agent redeems it",
        expects: "201 with launch and expires_in at most 300; a token for that patient",
        check: |suite, cases| Box::pin(mint(suite, cases)),
    },
    Row {
        id: "NEG-043",
        clause: "LN-03; RFC 6749 §5.2",
        sends: "a handle used twice, minted for another client, garbage, altered",
        expects: "400 invalid_grant or invalid_request, no token",
        check: |suite, cases| Box::pin(handles(suite, cases)),
    },
    Row {
        id: "NEG-043a",
        clause: "LN-03",
        sends: "a handle after its life",
        expects: "400 invalid_grant or invalid_request",
        check: |suite, cases| Box::pin(expired_handle(suite, cases)),
    },
    Row {
        id: "NEG-061t",
        clause: "LN-03; issue: concurrency",
        sends: "the same handle 50 times at once, each with an assertion of its own",
        expects: "at most one token",
        check: |suite, cases| Box::pin(handle_at_once(suite, cases)),
    },
    Row {
        id: "NEG-044",
        clause: "LN-04; RFC 6749 §5.2",
        sends: "minting by the agent itself, unauthenticated, with a replayed assertion, for an absent patient, broken JSON",
        expects: "refused, no handle",
        check: |suite, cases| Box::pin(minting(suite, cases)),
    },
];

async fn response(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.backend().await?;
    let kind = grant.text("token_type").to_ascii_lowercase();
    cases.expect("token_type", kind == "bearer" || kind == "dpop", kind.clone());
    let expires = grant.body.get("expires_in");
    cases.expect("expires_in", expires.is_some_and(Value::is_u64), format!("{expires:?}"));
    cases.expect("scope", !grant.scopes().is_empty(), grant.answer.shown());
    let (cache, pragma) = (grant.answer.header("cache-control"), grant.answer.header("pragma"));
    cases.expect("no-store (TK-05)", cache.contains("no-store"), format!("Cache-Control: `{cache}`"));
    cases.expect("no-cache (TK-05)", pragma.contains("no-cache"), format!("Pragma: `{pragma}`"));
    Ok(())
}

async fn short(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.backend().await?;
    cases.expect("no refresh token", grant.body.get("refresh_token").is_none(), "one came");
    let wide = grant.scopes().iter().any(|scope| scope.starts_with("system/"));
    let most = if wide { 300 } else { 900 };
    let seconds = grant.body.get("expires_in").and_then(Value::as_u64);
    cases.expect("expires_in", seconds.is_some_and(|seconds| seconds <= most), format!("{seconds:?}, at most {most}"));
    Ok(())
}

/// A backend request with another scope.
async fn asking(suite: &Suite, client: &Fixture, scope: &str) -> Result<crate::http::Answer, Stop> {
    let mut fields = suite.backend_fields(client).await?;
    fields.retain(|(name, _)| name != "scope");
    fields.push(("scope".into(), scope.to_owned()));
    suite.token(client, fields).await
}

async fn ceiling(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.client(Who::Be)?;
    let usual = suite.backend().await?;
    let granted: Vec<String> = usual.scopes().into_iter().map(str::to_owned).collect();
    for extra in ["system/Basic.cruds", "system/*.cruds", "patient/*.cruds", "user/*.rs"] {
        let answer = asking(suite, client, &format!("{} {extra}", granted.join(" "))).await?;
        let got = answer.member("scope");
        let narrowed =
            answer.status == 200 && got.split_whitespace().all(|scope| granted.iter().any(|known| known == scope));
        let refused = answer.status == 400 && answer.error() == "invalid_scope" && !answer.has_token();
        cases.expect(format!("beside its own: {extra}"), narrowed || refused, answer.shown());
        let answer = asking(suite, client, extra).await?;
        cases.refused(format!("alone: {extra}"), &answer, &[400], &["invalid_scope"]);
    }
    Ok(())
}

async fn no_people(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.client(Who::Be)?;
    let granted = suite.backend().await?.text("scope").to_owned();
    for extra in ["offline_access", "online_access", "openid fhirUser", "launch/patient"] {
        let answer = asking(suite, client, &format!("{granted} {extra}")).await?;
        let got = answer.member("scope");
        let held = !answer.has_token() || extra.split(' ').all(|word| !got.split(' ').any(|scope| scope == word));
        let held = held && answer.json().get("refresh_token").is_none() && answer.json().get("id_token").is_none();
        cases.expect(extra, held && answer.status < 500, answer.shown());
    }
    Ok(())
}

async fn described(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.client(Who::Be)?;
    let nobody = pairs(&[
        ("grant_type", "client_credentials"),
        ("client_assertion", "x"),
        ("client_assertion_type", crate::flow::JWT_BEARER),
    ]);
    let answers = [
        ("a wrong scope", asking(suite, client, "system/Nope.rs").await?),
        ("a wrong client", suite.send(Send::form(&suite.endpoint("token_endpoint")?, &nobody)).await?),
    ];
    for (name, answer) in answers {
        let told = !answer.member("error_description").is_empty() || !answer.member("error_uri").is_empty();
        cases.expect(name, told && !answer.error().is_empty(), answer.shown());
    }
    Ok(())
}

async fn access_token(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    let Some((header, claims)) = peek(grant.access()) else {
        return Err(Stop::Skip("the access token is opaque".into()));
    };
    let typ = header.get("typ").and_then(Value::as_str).unwrap_or_default();
    cases.expect("typ at+jwt", matches!(typ, "at+jwt" | "application/at+jwt"), format!("`{typ}`"));
    let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    cases.expect("an asymmetric alg", alg != "none" && !alg.starts_with("HS") && !alg.is_empty(), format!("`{alg}`"));
    let jwks = suite.send(Send::get(&suite.endpoint("jwks_uri")?)).await?.json();
    cases.expect(
        "signed by a published key",
        verified_by(grant.access(), &jwks),
        "no key in jwks_uri made the signature",
    );
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"] {
        cases.expect(name, claims.get(name).is_some_and(|value| !value.is_null()), "it is not there");
    }
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    cases.expect("iss is the issuer", claim("iss") == suite.target.issuer, claim("iss"));
    let aud = claims.get("aud").cloned().unwrap_or_default();
    let bound = aud == suite.target.fhir.as_str() || aud == json!([suite.target.fhir]);
    cases.expect("aud is this FHIR base alone (SEC-01)", bound, aud.to_string());
    let life = claims.get("exp").and_then(Value::as_i64).zip(claims.get("iat").and_then(Value::as_i64));
    cases.expect(
        "at most an hour (TK-06)",
        life.is_some_and(|(exp, iat)| exp - iat <= 3600 && exp > now()),
        format!("{life:?}"),
    );
    Ok(())
}

/// The backend client, where it starts by a handle.
fn agent(suite: &Suite) -> Result<&Fixture, Stop> {
    suite.client(Who::Launcher)?;
    let client = suite.client(Who::Be)?;
    if client.spec.task.is_none() {
        return Err(Stop::Skip("[clients.be] names no `task` to start".into()));
    }
    Ok(client)
}

/// The form that redeems this handle.
fn redeeming(client: &Fixture, handle: &str) -> Fields {
    let mut fields = pairs(&[("grant_type", "client_credentials"), ("launch", handle)]);
    if !client.spec.scope.is_empty() {
        fields.push(("scope".into(), client.spec.scope.clone()));
    }
    fields
}

async fn mint(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, p1) = (agent(suite)?, suite.p1()?);
    let answer = suite.mint(client, p1).await?;
    cases.status("minted", &answer, &[201, 200]);
    let seconds = answer.json().get("expires_in").and_then(Value::as_u64);
    cases.expect("at most 300 s", seconds.is_some_and(|seconds| seconds <= 300), format!("{seconds:?}"));
    let handle = answer.member("launch");
    cases.expect("at least 128 random bits", handle.len() >= 22, format!("{} characters", handle.len()));
    let grant = suite.granted(client, suite.token(client, redeeming(client, &handle)).await?)?;
    cases.expect("that patient, by its bare id (CX-03)", grant.text("patient") == p1, "another one, or none");
    Ok(())
}

const SPENT: [&str; 2] = ["invalid_grant", "invalid_request"];

async fn handles(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, p1) = (agent(suite)?, suite.p1()?);
    let handle = suite.launch_handle(client, p1).await?;
    suite.granted(client, suite.token(client, redeeming(client, &handle)).await?)?;
    let again = suite.token(client, redeeming(client, &handle)).await?;
    cases.refused("used twice", &again, &[400], &SPENT);
    let fresh = suite.launch_handle(client, p1).await?;
    let turned: String = fresh.chars().rev().collect();
    for (name, handle) in
        [("garbage", nonce()), ("altered", turned), ("too long", "x".repeat(10_000)), ("a path", "../x".into())]
    {
        let answer = suite.token(client, redeeming(client, &handle)).await?;
        cases.refused(name, &answer, &[400], &SPENT);
    }
    let twice = [redeeming(client, &fresh), pairs(&[("launch", &fresh)])].concat();
    cases.refused("repeated", &suite.token(client, twice).await?, &[400], &["invalid_request"]);
    match [Who::Other, Who::Asy, Who::Asyu]
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find(|other| other.key.is_some())
    {
        Some(other) => {
            let answer = suite.token(other, redeeming(other, &fresh)).await?;
            let errors = ["invalid_grant", "invalid_request", "unauthorized_client", "invalid_scope"];
            cases.refused("minted for another client", &answer, &[400], &errors);
        }
        None => cases.skip("minted for another client", "no other client with a key"),
    }
    let still = suite.token(client, redeeming(client, &fresh)).await?;
    cases.status("still good for its own", &still, &[200]);
    Ok(())
}

async fn expired_handle(suite: &Suite, cases: &mut Cases) -> Checked {
    suite.slow()?;
    let client = agent(suite)?;
    let answer = suite.mint(client, suite.p1()?).await?;
    let seconds = answer.json().get("expires_in").and_then(Value::as_u64).unwrap_or(300);
    tokio::time::sleep(std::time::Duration::from_secs(seconds.min(500) + 2)).await;
    let late = suite.token(client, redeeming(client, &answer.member("launch"))).await?;
    cases.refused("expired", &late, &[400], &SPENT);
    Ok(())
}

async fn handle_at_once(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = agent(suite)?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let handle = suite.launch_handle(client, suite.p1()?).await?;
    let mut sends = Vec::new();
    for _ in 0..50 {
        sends.push(suite.authenticated(client, &endpoint, redeeming(client, &handle))?);
    }
    let answers =
        at_once(client, sends.len(), |index| sends.get(index).cloned().unwrap_or_else(|| Send::get(&endpoint))).await?;
    let tokens = answers.iter().filter(|answer| answer.has_token()).count();
    cases.expect("tokens", tokens == 1, format!("{tokens} of 50 got a token; expected one"));
    Ok(())
}

async fn minting(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, p1) = (agent(suite)?, suite.p1()?);
    let (launcher, endpoint) = (suite.client(Who::Launcher)?, suite.launch_endpoint()?);
    let task = client.spec.task.clone().unwrap_or_default();
    let body = |patient: &str| json!({ "client_id": client.spec.id, "task": task, "patient": patient });
    let none = |cases: &mut Cases, name: &str, answer: crate::http::Answer| {
        let held = (400..500).contains(&answer.status) && answer.member("launch").is_empty();
        cases.expect(name, held, answer.shown());
    };
    none(cases, "by the agent itself", suite.mint_with(client, body(p1)).await?);
    none(cases, "unauthenticated", suite.send(Send::json(&endpoint, &body(p1))).await?);
    none(cases, "an absent patient", suite.mint_with(launcher, body("no-such-patient-0")).await?);
    none(cases, "a patient that is no id", suite.mint_with(launcher, body("../Patient/1?x=")).await?);
    none(cases, "no patient", suite.mint_with(launcher, json!({ "client_id": client.spec.id, "task": task })).await?);
    none(
        cases,
        "an unknown client",
        suite.mint_with(launcher, json!({ "client_id": "nobody", "task": task, "patient": p1 })).await?,
    );
    none(
        cases,
        "for itself",
        suite.mint_with(launcher, json!({ "client_id": launcher.spec.id, "task": task, "patient": p1 })).await?,
    );
    none(
        cases,
        "an unknown task",
        suite.mint_with(launcher, json!({ "client_id": client.spec.id, "task": "nope", "patient": p1 })).await?,
    );
    let assertion = suite.draft(launcher).sign_honestly(key_of(launcher)?)?;
    let mut proved = body(p1);
    if let Some(members) = proved.as_object_mut() {
        members.extend(asserted(&assertion).into_iter().map(|(name, value)| (name, value.into())));
    }
    let first = launcher.http.send(Send::json(&endpoint, &proved)).await?;
    cases.status("honest", &first, &[201, 200]);
    none(cases, "with a replayed assertion", launcher.http.send(Send::json(&endpoint, &proved)).await?);
    let broken = Send { body: b"{\"client_id\":".to_vec(), ..Send::json(&endpoint, &json!({})) };
    none(cases, "broken JSON", suite.send(broken).await?);
    Ok(())
}
