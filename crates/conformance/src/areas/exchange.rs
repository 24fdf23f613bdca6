//! The exchange of a code (A.5, C.3): by its own client, with its own verifier, once.

use super::assertions::at_once;
use super::questions::{is_alive, is_dead};
use crate::flow::{Ask, exchange};
use crate::http::Send;
use crate::jose::{base64url, nonce, sha256};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "TK-04",
        clause: "SMART App Launch 2.2, App Launch, response-5; R73-R84 R86 R87 R91",
        sends: "an honest exchange by every kind of client",
        expects: "access_token, token_type, scope, numeric expires_in up to an hour, no-store and no-cache",
        check: |suite, cases| Box::pin(honest(suite, cases)),
    },
    Row {
        id: "TK-02",
        clause: "RFC 7636 §4.6; SMART App Launch 2.2, PKCE; (g)(10) 9.18",
        sends: "verifier missing, empty, wrong, equal to the challenge, in other case, with padding",
        expects: "400 invalid_grant (invalid_request where it is missing), and the code is of no more use to a thief",
        check: |suite, cases| Box::pin(verifiers(suite, cases)),
    },
    Row {
        id: "NEG-060",
        clause: "RFC 6749 §4.1.2; RFC 9700 §4.5; TK-08; PF-07",
        sends: "the same code twice",
        expects: "400 invalid_grant; the tokens of the first are dead: FHIR, introspection, refresh",
        check: |suite, cases| Box::pin(twice(suite, cases)),
    },
    Row {
        id: "NEG-061",
        clause: "RFC 6749 §4.1.2; issue: concurrency",
        sends: "the same code 50 times at once",
        expects: "at most one token, and it is dead afterwards",
        check: |suite, cases| Box::pin(parallel(suite, cases)),
    },
    Row {
        id: "NEG-062",
        clause: "RFC 6749 §4.1.2; AZ-06; R55 R58",
        sends: "a code after its life (61 to 605 s)",
        expects: "400 invalid_grant",
        check: |suite, cases| Box::pin(expired(suite, cases)),
    },
    Row {
        id: "NEG-063",
        clause: "RFC 6749 §4.1.3; TK-09",
        sends: "redirect_uri missing, another, with a slash, in other case",
        expects: "400 invalid_grant or invalid_request",
        check: |suite, cases| Box::pin(redirect(suite, cases)),
    },
    Row {
        id: "NEG-064",
        clause: "RFC 6749 §4.1.3, §5.2; TK-09",
        sends: "a code of another client",
        expects: "400 invalid_grant",
        check: |suite, cases| Box::pin(foreign(suite, cases)),
    },
    Row {
        id: "NEG-065",
        clause: "RFC 6749 §4.1.3",
        sends: "a code missing, empty, altered, of 10 kB; an access or refresh token as code",
        expects: "400 invalid_grant or invalid_request",
        check: |suite, cases| Box::pin(no_codes(suite, cases)),
    },
    Row {
        id: "NEG-066",
        clause: "RFC 9700 §2.1.1, §4.8.2; TK-03",
        sends: "a code without challenge, and a verifier for it",
        expects: "no such code can be had",
        check: |suite, cases| Box::pin(downgrade(suite, cases)),
    },
    Row {
        id: "NEG-067",
        clause: "RFC 6749 §3.2.1, §4.1.3",
        sends: "a confidential client's code without its proof; with another client's; with client_id of another",
        expects: "400 or 401, no token",
        check: |suite, cases| Box::pin(unproved(suite, cases)),
    },
    Row {
        id: "NEG-069",
        clause: "RFC 6749 §4.1.3; D-10",
        sends: "scope at the exchange, wider than granted",
        expects: "ignored or refused, never wider",
        check: |suite, cases| Box::pin(wider(suite, cases)),
    },
];

/// A code of Alice's, with the request it came of.
async fn code(suite: &Suite, app: &Fixture) -> Result<(String, Ask), Stop> {
    let ask = suite.ask(app, &suite.config.scopes.base)?;
    let landing = suite.code(app, &ask).await?;
    Ok((landing.get("code").to_owned(), ask))
}

async fn honest(suite: &Suite, cases: &mut Cases) -> Checked {
    let mut tried = false;
    for who in [Who::Pub, Who::Sym, Who::Asy, Who::Asyu] {
        let Ok(app) = suite.client(who) else { continue };
        tried = true;
        let grant = suite.grant(app, &suite.config.scopes.base).await?;
        let name = |what: &str| format!("{}: {what}", who.name());
        let kind = grant.text("token_type");
        let wanted = if app.proof.is_some() { "dpop" } else { "bearer" };
        cases.expect(name("token_type"), kind.eq_ignore_ascii_case(wanted), kind);
        cases.expect(name("scope"), !grant.scopes().is_empty(), "none");
        let seconds = grant.body.get("expires_in").and_then(serde_json::Value::as_u64);
        cases.expect(name("expires_in"), seconds.is_some_and(|seconds| seconds <= 3600), format!("{seconds:?}"));
        let (cache, pragma) = (grant.answer.header("cache-control"), grant.answer.header("pragma"));
        cases.expect(name("no-store"), cache.contains("no-store"), cache.clone());
        cases.expect(name("no-cache"), pragma.contains("no-cache"), pragma);
    }
    if tried { Ok(()) } else { suite.app().map(drop) }
}

async fn verifiers(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for name in ["missing", "empty", "wrong", "the challenge", "in other case", "padded", "short", "cut"] {
        let (code, ask) = code(suite, app).await?;
        let verifier = match name {
            "missing" | "empty" => String::new(),
            "wrong" => nonce(),
            "the challenge" => base64url(&sha256(ask.verifier.as_bytes())),
            "in other case" => ask
                .verifier
                .chars()
                .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
                .collect(),
            "padded" => format!("{}=", ask.verifier),
            "short" => "abc".into(),
            _ => ask.verifier.get(1..).unwrap_or_default().to_owned(),
        };
        let mut fields = exchange(&ask, &code);
        fields.retain(|(field, _)| field != "code_verifier");
        if name != "missing" {
            fields.push(("code_verifier".into(), verifier));
        }
        let answer = suite.token(app, fields).await?;
        cases.refused(name, &answer, &[400], &["invalid_grant", "invalid_request"]);
    }
    Ok(())
}

async fn twice(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = suite.ask(app, &super::refresh::scope(suite, app))?;
    let grant = suite.grant_of(app, ask).await?;
    cases.expect("alive before", is_alive(suite, &grant).await?, "a new token is dead");
    let Some((code, ask)) = &grant.code else { return Err(Stop::Fail("no code".into())) };
    let again = suite.token(app, exchange(ask, code)).await?;
    cases.refused("the second", &again, &[400], &["invalid_grant"]);
    is_dead(suite, cases, &grant, "tokens of the first").await
}

async fn parallel(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    if app.proof.is_some() {
        return Err(Stop::Skip("this client must prove possession".into()));
    }
    let (code, ask) = code(suite, app).await?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let mut sends = Vec::new();
    for _ in 0..50 {
        sends.push(suite.authenticated(app, &endpoint, exchange(&ask, &code))?);
    }
    let answers =
        at_once(app, sends.len(), |index| sends.get(index).cloned().unwrap_or_else(|| Send::get(&endpoint))).await?;
    let tokens: Vec<_> = answers.iter().filter(|answer| answer.has_token()).collect();
    cases.expect("tokens", tokens.len() <= 1, format!("{} of 50 got a token", tokens.len()));
    let broken = answers.iter().filter(|answer| answer.status >= 500 && answer.status != 503).count();
    cases.expect("no faults", broken == 0, format!("{broken} of 50 were 5xx"));
    if let Some(answer) = tokens.first() {
        let grant = suite.granted(app, (*answer).clone())?;
        is_dead(suite, cases, &grant, "the one").await?;
    }
    Ok(())
}

async fn expired(suite: &Suite, cases: &mut Cases) -> Checked {
    suite.slow()?;
    let app = suite.app()?;
    let (code, ask) = code(suite, app).await?;
    // RFC 6749 §4.1.2 recommends ten minutes at most, SMART one; a minute and a half tells them apart.
    tokio::time::sleep(std::time::Duration::from_secs(95)).await;
    let answer = suite.token(app, exchange(&ask, &code)).await?;
    cases.refused("after 95 s", &answer, &[400], &["invalid_grant"]);
    Ok(())
}

async fn redirect(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let right = app.spec.redirect_uri.clone();
    for (name, uri) in [
        ("missing", None),
        ("empty", Some(String::new())),
        ("another", Some("https://attacker.invalid/cb".to_owned())),
        ("with a slash", Some(format!("{right}/"))),
        ("with a query", Some(format!("{right}?x=1"))),
    ] {
        let (code, ask) = code(suite, app).await?;
        let mut fields = exchange(&ask, &code);
        fields.retain(|(field, _)| field != "redirect_uri");
        fields.extend(uri.map(|uri| ("redirect_uri".to_owned(), uri)));
        let answer = suite.token(app, fields).await?;
        cases.refused(name, &answer, &[400], &["invalid_grant", "invalid_request"]);
    }
    Ok(())
}

async fn foreign(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let others: Vec<&Fixture> = [Who::Other, Who::Pub, Who::Sym, Who::Asy, Who::Asyu]
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .filter(|other| other.spec.id != app.spec.id)
        .collect();
    if others.is_empty() {
        return Err(Stop::Skip("the configuration file has no second app client".into()));
    }
    for other in others {
        let (code, ask) = code(suite, app).await?;
        let answer = suite.token(other, exchange(&ask, &code)).await?;
        cases.refused(other.spec.id.as_str(), &answer, &[400], &["invalid_grant", "unauthorized_client"]);
    }
    Ok(())
}

async fn no_codes(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let grant = suite.grant(app, &suite.config.scopes.base).await?;
    let access = grant.access().to_owned();
    let (fresh, ask) = code(suite, app).await?;
    let mut letters: Vec<char> = fresh.chars().collect();
    letters.reverse();
    for (name, code) in [
        ("empty", String::new()),
        ("made up", nonce()),
        ("altered", letters.into_iter().collect()),
        ("cut", fresh.get(1..).unwrap_or_default().to_owned()),
        ("in other case", fresh.to_uppercase()),
        ("10 kB", "c".repeat(10_000)),
        ("an access token", access),
        ("odd bytes", "\u{0}'\"; --".to_owned()),
    ] {
        let answer = suite.token(app, exchange(&ask, &code)).await?;
        cases.refused(name, &answer, &[400], &["invalid_grant", "invalid_request"]);
    }
    let mut fields = exchange(&ask, "x");
    fields.retain(|(field, _)| field != "code");
    cases.refused("missing", &suite.token(app, fields).await?, &[400], &["invalid_request"]);
    Ok(())
}

async fn downgrade(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = suite.ask(app, &suite.config.scopes.base)?.without("code_challenge").without("code_challenge_method");
    let conduct = suite.conduct(Some(suite.alice()?), Some(suite.p1()?));
    let walk = suite.browser(&ask).walk(Send::get(&suite.authorize_url(&ask.params)?), &conduct).await;
    let code = crate::flow::landed(&walk).map(|landing| landing.get("code").to_owned()).unwrap_or_default();
    if code.is_empty() {
        cases.expect("no code without a challenge", true, "");
        return Ok(());
    }
    let answer = suite.token(app, exchange(&ask, &code)).await?;
    cases.refused("a verifier for a code without challenge", &answer, &[400], &["invalid_grant", "invalid_request"]);
    Ok(())
}

async fn unproved(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.first(&[Who::Asy, Who::Sym, Who::Asyu])?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let (code, ask) = code(suite, app).await?;
    let bare = exchange(&ask, &code);
    let named = [bare.clone(), crate::http::pairs(&[("client_id", &app.spec.id)])].concat();
    for (name, fields) in [("nothing", bare.clone()), ("its name alone", named)] {
        let answer = suite.send(Send::form(&endpoint, &fields)).await?;
        cases.refused(name, &answer, &[400, 401], &["invalid_client", "invalid_request", "invalid_grant"]);
    }
    let contradiction = [bare, crate::http::pairs(&[("client_id", "another")])].concat();
    let answer = app.http.send(suite.authenticated(app, &endpoint, contradiction)?).await?;
    cases.refused("another client_id beside its proof", &answer, &[400, 401], &["invalid_client", "invalid_request"]);
    Ok(())
}

async fn wider(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let (code, ask) = code(suite, app).await?;
    let fields =
        [exchange(&ask, &code), crate::http::pairs(&[("scope", "patient/*.cruds user/*.cruds system/*.cruds")])]
            .concat();
    let answer = suite.token(app, fields).await?;
    let scope = answer.member("scope");
    let held = scope.split_whitespace().all(|scope| !scope.contains("cruds")) && answer.status < 500;
    cases.expect("wider scope at the exchange", held, format!("granted `{scope}`"));
    Ok(())
}
