//! Introspection and revocation (A.12, C.6).

use serde_json::{Value, json};

use crate::flow::Grant;
use crate::http::{Send, pairs};
use crate::jose::{nonce, peek};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Suite, Who, now};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "IN-02",
        clause: "RFC 7662 §2.2; SMART App Launch 2.2, Token Introspection; R272-R276",
        sends: "a live token",
        expects: "active true, scope as granted, client_id, exp as expires_in says",
        check: |suite, cases| Box::pin(active(suite, cases)),
    },
    Row {
        id: "IN-03",
        clause: "SMART App Launch 2.2, Token Introspection; R277",
        sends: "a token with launch context",
        expects: "the same context members",
        check: |suite, cases| Box::pin(context(suite, cases)),
    },
    Row {
        id: "IN-04",
        clause: "SMART App Launch 2.2, Token Introspection; R278-R280",
        sends: "a token that came with an ID token",
        expects: "iss, sub and fhirUser as in it",
        check: |suite, cases| Box::pin(identity(suite, cases)),
    },
    Row {
        id: "NEG-174",
        clause: "RFC 7662 §2.2; IN-06; PF-20",
        sends: "unknown, garbage, 100 kB, an altered token, one of another issuer, none of them live",
        expects: "200 and exactly {\"active\":false}",
        check: |suite, cases| Box::pin(inactive(suite, cases)),
    },
    Row {
        id: "NEG-173",
        clause: "RFC 7662 §2.1, §4; IN-07",
        sends: "introspection unauthenticated; with a bearer that may not; by GET; without a token",
        expects: "401; 401 or 403; 405 or 400; 400",
        check: |suite, cases| Box::pin(unauthenticated(suite, cases)),
    },
    Row {
        id: "NEG-175",
        clause: "SMART App Launch 2.2, Token Introspection; R283; D-03",
        sends: "another client's token: by the introspector, by a client without that right",
        expects: "active with the granted scope; exactly {\"active\":false}",
        check: |suite, cases| Box::pin(of_others(suite, cases)),
    },
    Row {
        id: "IN-05",
        clause: "SMART App Launch 2.2, Token Introspection; R281-R283",
        sends: "introspection with the introspector's own access token as bearer",
        expects: "200 and active",
        check: |suite, cases| Box::pin(by_bearer(suite, cases)),
    },
    Row {
        id: "IN-08",
        clause: "RFC 7662 §2.2",
        sends: "a live token",
        expects: "token_type, iat, aud, jti",
        check: |suite, cases| Box::pin(more_members(suite, cases)),
    },
    Row {
        id: "RV-01",
        clause: "RFC 7009 §2.1, §2.2",
        sends: "revocation of an unknown token; unauthenticated; without a token; by GET",
        expects: "200; 400 or 401; 400; 405",
        check: |suite, cases| Box::pin(revocation(suite, cases)),
    },
    Row {
        id: "NEG-171",
        clause: "RFC 7009 §2.1",
        sends: "an access token; with a wrong hint; by another client",
        expects: "revoked; revoked; 200 or 400 and not revoked",
        check: |suite, cases| Box::pin(revoked(suite, cases)),
    },
    Row {
        id: "NEG-172",
        clause: "RFC 7009 §2.1; PF-23",
        sends: "a revoked token to the FHIR API and to introspection, at once",
        expects: "401 with WWW-Authenticate: Bearer, inactive",
        check: |suite, cases| Box::pin(after_revocation(suite, cases)),
    },
    Row {
        id: "RV-02",
        clause: "RFC 7009 §2.1",
        sends: "revocation of a refresh token",
        expects: "the access tokens of its grant are dead, and so is it",
        check: |suite, cases| Box::pin(whole_grant(suite, cases)),
    },
    Row {
        id: "NEG-075a",
        clause: "RFC 7662 §4; PF-12",
        sends: "introspection and revocation, refused and answered",
        expects: "no-store",
        check: |suite, cases| Box::pin(not_kept(suite, cases)),
    },
];

fn is_inactive(body: &Value) -> bool {
    *body == json!({ "active": false })
}

/// The same words, in whatever order.
fn same_words(one: &str, other: &str) -> bool {
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    sorted(one) == sorted(other)
}

/// What introspection says of a live token.
async fn told(suite: &Suite, grant: &Grant<'_>) -> Result<Value, Stop> {
    let answer = suite.introspect(suite.asker(grant.client)?, grant.access()).await?;
    let body = answer.json();
    if answer.status == 200 && body.get("active") == Some(&true.into()) {
        return Ok(body);
    }
    Err(Stop::Fail(format!("a live token was answered {}", answer.shown())))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

async fn active(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    let at = now();
    let body = told(suite, &grant).await?;
    let (granted, shown) = (grant.text("scope"), text(&body, "scope"));
    cases.expect("scope as granted", same_words(granted, shown), format!("granted `{granted}`, told `{shown}`"));
    cases.expect("client_id", text(&body, "client_id") == grant.client.spec.id, text(&body, "client_id"));
    let exp = body.get("exp").and_then(Value::as_i64);
    let expected = grant.body.get("expires_in").and_then(Value::as_i64).map(|seconds| at + seconds);
    let near = exp.zip(expected).is_some_and(|(exp, expected)| (exp - expected).abs() <= 15);
    cases.expect("exp is an integer, as expires_in says", near, format!("exp {exp:?}, expected about {expected:?}"));
    Ok(())
}

async fn context(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    let body = told(suite, &grant).await?;
    let members = ["patient", "encounter", "fhirContext", "need_patient_banner", "intent", "smart_style_url", "tenant"];
    let there: Vec<&&str> = members.iter().filter(|name| grant.body.get(**name).is_some()).collect();
    if there.is_empty() {
        return Err(Stop::Skip("the token response has no launch context".into()));
    }
    for name in there {
        cases.expect(*name, body.get(*name) == grant.body.get(*name), format!("told `{:?}`", body.get(*name)));
    }
    Ok(())
}

async fn identity(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let scope = format!("openid fhirUser {}", suite.config.scopes.base);
    let grant = suite.grant(app, &scope).await?;
    let Some((_, claims)) = peek(grant.text("id_token")) else {
        return Err(Stop::Skip("no ID token came".into()));
    };
    let body = told(suite, &grant).await?;
    for name in ["iss", "sub", "fhirUser"] {
        let held = body.get(name).is_some() && body.get(name) == claims.get(name);
        cases.expect(name, held, format!("`{:?}`, in the ID token `{:?}`", body.get(name), claims.get(name)));
    }
    Ok(())
}

async fn inactive(suite: &Suite, cases: &mut Cases) -> Checked {
    let asker = suite.first(&[Who::Introspector, Who::Asy, Who::Be, Who::Sym])?;
    let mut tokens = vec![
        ("unknown", nonce()),
        ("garbage", "a.b.c".to_owned()),
        ("100 kB", "x".repeat(100_000)),
        ("odd bytes", "\u{1f600}\u{0}\"\\".to_owned()),
        ("another issuer's", another_issuers()?),
    ];
    match suite.any_grant().await {
        Ok(grant) => {
            let (start, end) =
                grant.access().split_at_checked(grant.access().len().saturating_sub(4)).unwrap_or(("", ""));
            let turned: String = end.chars().map(|letter| if letter == 'A' { 'B' } else { 'A' }).collect();
            tokens.push(("an altered one", format!("{start}{turned}")));
            tokens.push(("a cut one", start.to_owned()));
        }
        Err(Stop::Skip(why) | Stop::Fail(why)) => cases.skip("an altered one", why),
    }
    for (name, token) in tokens {
        let answer = suite.introspect(asker, &token).await?;
        // A form beyond a server's limit may be refused as such.
        let refused = name == "100 kB" && matches!(answer.status, 400 | 413);
        let held = refused || (answer.status == 200 && is_inactive(&answer.json()));
        cases.expect(name, held, answer.shown());
    }
    Ok(())
}

/// A token that looks like an access token and is nobody's.
fn another_issuers() -> Result<String, Stop> {
    let key = crate::jose::Key::generate("ES256")?;
    let claims = json!({ "iss": "https://other.invalid", "sub": "x", "exp": now() + 60, "jti": nonce(), "scope": "system/*.rs" });
    Ok(crate::jose::Draft::new(&json!({ "typ": "at+jwt" }), &claims).sign_honestly(&key)?)
}

async fn unauthenticated(suite: &Suite, cases: &mut Cases) -> Checked {
    let endpoint = suite.endpoint("introspection_endpoint")?;
    let form = pairs(&[("token", "x")]);
    let answer = suite.send(Send::form(&endpoint, &form)).await?;
    let held = answer.status == 401 || (answer.status == 400 && answer.error() == "invalid_client");
    cases.expect("unauthenticated", held && answer.json().get("active").is_none(), answer.shown());
    let answer = suite.send(Send::form(&endpoint, &form).header("authorization", "Bearer x")).await?;
    cases.expect("with a bearer that is none", matches!(answer.status, 401 | 403), answer.shown());
    match suite.any_grant().await {
        Ok(grant) => {
            let send = Send::form(&endpoint, &form).header("authorization", &format!("Bearer {}", grant.access()));
            let answer = suite.send(send).await?;
            cases.expect("with a bearer that may not", matches!(answer.status, 401 | 403), answer.shown());
        }
        Err(Stop::Skip(why) | Stop::Fail(why)) => cases.skip("with a bearer that may not", why),
    }
    let answer = suite.send(Send::get(&format!("{endpoint}?token=x"))).await?;
    cases.status("GET", &answer, &[405, 400, 404]);
    if let Ok(asker) = suite.first(&[Who::Introspector, Who::Asy, Who::Be, Who::Sym]) {
        let answer = asker.http.send(suite.authenticated(asker, &endpoint, Vec::new())?).await?;
        cases.refused("without a token", &answer, &[400], &["invalid_request"]);
        let twice = pairs(&[("token", "x"), ("token", "y")]);
        let answer = asker.http.send(suite.authenticated(asker, &endpoint, twice)?).await?;
        cases.refused("with two tokens", &answer, &[400], &["invalid_request"]);
    }
    Ok(())
}

/// A client that is not the grant's, and can prove who it is.
fn stranger<'a>(suite: &'a Suite, grant: &Grant<'_>) -> Result<&'a crate::suite::Fixture, Stop> {
    let others = [Who::Other, Who::Asyu, Who::Asy, Who::Sym, Who::Launcher, Who::Be];
    let fits = |client: &&crate::suite::Fixture| {
        client.spec.id != grant.client.spec.id && (client.key.is_some() || client.secret.is_some())
    };
    let found = others.into_iter().filter_map(|who| suite.client(who).ok()).find(fits);
    found.ok_or_else(|| Stop::Skip("the configuration file has no second client that can prove who it is".into()))
}

async fn of_others(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    match suite.client(Who::Introspector) {
        Ok(introspector) => {
            let answer = suite.introspect(introspector, grant.access()).await?;
            let body = answer.json();
            let held =
                body.get("active") == Some(&true.into()) && same_words(text(&body, "scope"), grant.text("scope"));
            cases.expect("by the introspector", held, answer.shown());
        }
        Err(_) => cases.skip("by the introspector", "the configuration file has no [clients.introspector]"),
    }
    match stranger(suite, &grant) {
        Ok(other) => {
            let answer = suite.introspect(other, grant.access()).await?;
            let held = (answer.status == 200 && is_inactive(&answer.json())) || answer.status == 403;
            cases.expect("by a client without that right", held, answer.shown());
        }
        Err(Stop::Skip(why) | Stop::Fail(why)) => cases.skip("by a client without that right", why),
    }
    Ok(())
}

async fn by_bearer(suite: &Suite, cases: &mut Cases) -> Checked {
    let introspector = suite.client(Who::Introspector)?;
    if introspector.spec.scope.is_empty() && introspector.spec.task.is_none() {
        return Err(Stop::Skip("[clients.introspector] has no `scope` or `task` to get a token with".into()));
    }
    let fields = suite.backend_fields(introspector).await?;
    let own = suite.granted(introspector, suite.token(introspector, fields).await?)?;
    let grant = suite.any_grant().await?;
    let send = Send::form(&suite.endpoint("introspection_endpoint")?, &pairs(&[("token", grant.access())]));
    let answer = suite.send(send.header("authorization", &format!("Bearer {}", own.access()))).await?;
    cases.expect("by bearer", answer.json().get("active") == Some(&true.into()), answer.shown());
    Ok(())
}

async fn more_members(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    let body = told(suite, &grant).await?;
    for name in ["token_type", "iat", "aud", "jti", "iss", "sub"] {
        cases.expect(name, body.get(name).is_some(), "it is not there");
    }
    Ok(())
}

async fn revocation(suite: &Suite, cases: &mut Cases) -> Checked {
    let endpoint = suite.endpoint("revocation_endpoint")?;
    let answer = suite.send(Send::form(&endpoint, &pairs(&[("token", "x")]))).await?;
    cases.expect("unauthenticated", matches!(answer.status, 400 | 401), answer.shown());
    let answer = suite.send(Send::get(&format!("{endpoint}?token=x"))).await?;
    cases.status("GET", &answer, &[405, 400, 404]);
    let client = suite.first(&[Who::Be, Who::Asy, Who::Sym, Who::Pub])?;
    for (name, token) in [("unknown", nonce()), ("garbage", "a.b.c".into()), ("another issuer's", another_issuers()?)] {
        for hint in ["", "access_token", "refresh_token", "made_up"] {
            let answer = suite.revoke(client, &token, hint).await?;
            cases.status(format!("{name}, hint `{hint}`"), &answer, &[200]);
        }
    }
    let answer = client.http.send(suite.authenticated(client, &endpoint, Vec::new())?).await?;
    cases.refused("without a token", &answer, &[400], &["invalid_request"]);
    Ok(())
}

/// The token still opens something: introspection where it can be asked, else the FHIR API.
pub(super) async fn is_alive(suite: &Suite, grant: &Grant<'_>) -> Result<bool, Stop> {
    if let (Ok(asker), Ok(_)) = (suite.asker(grant.client), suite.endpoint("introspection_endpoint")) {
        let answer = suite.introspect(asker, grant.access()).await?;
        return Ok(answer.json().get("active") == Some(&true.into()));
    }
    let answer = suite.fhir(grant, &format!("Patient/{}", suite.p1()?)).await?;
    Ok(answer.status != 401)
}

async fn revoked(suite: &Suite, cases: &mut Cases) -> Checked {
    suite.endpoint("revocation_endpoint")?;
    for (name, hint) in
        [("no hint", ""), ("right hint", "access_token"), ("wrong hint", "refresh_token"), ("unknown hint", "x")]
    {
        let grant = suite.any_grant().await?;
        cases.expect(format!("{name}: alive before"), is_alive(suite, &grant).await?, "a new token is dead");
        let answer = suite.revoke(grant.client, grant.access(), hint).await?;
        cases.status(name, &answer, &[200]);
        cases.expect(format!("{name}: dead after"), !is_alive(suite, &grant).await?, "the token is still alive");
    }
    let grant = suite.any_grant().await?;
    match stranger(suite, &grant) {
        Ok(other) => {
            let answer = suite.revoke(other, grant.access(), "").await?;
            cases.status("by another client", &answer, &[200, 400, 401, 403]);
            cases.expect("not revoked then", is_alive(suite, &grant).await?, "another client's request revoked it");
        }
        Err(Stop::Skip(why) | Stop::Fail(why)) => cases.skip("by another client", why),
    }
    Ok(())
}

/// The three ways a dead token is met.
pub(super) async fn is_dead(suite: &Suite, cases: &mut Cases, grant: &Grant<'_>, name: &str) -> Checked {
    if let Ok(p1) = suite.p1() {
        let answer = suite.fhir(grant, &format!("Patient/{p1}")).await?;
        let challenge = answer.header("www-authenticate");
        let held = answer.status == 401 && (challenge.starts_with("Bearer") || challenge.starts_with("DPoP"));
        cases.expect(format!("{name}: the FHIR API"), held, format!("{}, `{challenge}`", answer.shown()));
    }
    match suite.asker(grant.client) {
        Ok(asker) if suite.endpoint("introspection_endpoint").is_ok() => {
            let answer = suite.introspect(asker, grant.access()).await?;
            cases.expect(format!("{name}: introspection"), is_inactive(&answer.json()), answer.shown());
        }
        _ => cases.skip(format!("{name}: introspection"), "nobody can ask"),
    }
    if let Ok(refresh) = grant.refresh() {
        let answer = suite.refresh(grant.client, refresh, None).await?;
        cases.refused(format!("{name}: refresh"), &answer, &[400], &["invalid_grant"]);
    }
    Ok(())
}

async fn after_revocation(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    if let Ok(p1) = suite.p1() {
        let before = suite.fhir(&grant, &format!("Patient/{p1}")).await?;
        cases.status("before", &before, &[200]);
    }
    suite.revoke(grant.client, grant.access(), "").await?;
    is_dead(
        suite,
        cases,
        &Grant { answer: grant.answer.clone(), body: without_refresh(&grant.body), client: grant.client, code: None },
        "after",
    )
    .await
}

/// Revoking an access token may leave the refresh token alive (RFC 7009 §2.1).
fn without_refresh(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("refresh_token");
    }
    body
}

async fn whole_grant(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let grant = suite.grant(app, &super::refresh::scope(suite, app)).await?;
    let answer = suite.revoke(app, grant.refresh()?, "refresh_token").await?;
    cases.status("revocation", &answer, &[200]);
    is_dead(suite, cases, &grant, "after").await
}

async fn not_kept(suite: &Suite, cases: &mut Cases) -> Checked {
    for name in ["introspection_endpoint", "revocation_endpoint"] {
        let Some(endpoint) = suite.target.endpoint(name) else {
            cases.skip(name, "it is not advertised");
            continue;
        };
        let secret = format!("secret-{}", nonce());
        let answer = suite.send(Send::form(&endpoint, &pairs(&[("token", &secret)]))).await?;
        super::token::careful(cases, name, &answer, &secret);
        if let Ok(client) = suite.first(&[Who::Introspector, Who::Be, Who::Asy, Who::Sym]) {
            let answer =
                client.http.send(suite.authenticated(client, &endpoint, pairs(&[("token", &secret)]))?).await?;
            let cache = answer.header("cache-control");
            cases.expect(format!("{name}: answered, no-store"), cache.contains("no-store"), format!("`{cache}`"));
        }
    }
    Ok(())
}
