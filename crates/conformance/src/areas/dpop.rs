//! DPoP (A.14, C.8): a client whose file entry says `dpop = true`.

use serde_json::{Value, json};

use crate::flow::{Fields, Grant, dpop, exchange};
use crate::http::{Answer, Send};
use crate::jose::{Draft, Key, base64url, join, nonce, peek, sha256};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who, now};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "DP-03",
        clause: "RFC 9449 §5, §6, §7",
        sends: "an honest proof at the token endpoint and the FHIR API",
        expects: "token_type DPoP, cnf.jkt the key's thumbprint, 200",
        check: |suite, cases| Box::pin(honest(suite, cases)),
    },
    Row {
        id: "DP-08",
        clause: "RFC 9449 §5.1, §6.2",
        sends: "metadata and introspection",
        expects: "dpop_signing_alg_values_supported without none and HMAC; cnf.jkt and token_type DPoP",
        check: |suite, cases| Box::pin(told(suite, cases)),
    },
    Row {
        id: "NEG-220",
        clause: "RFC 9449 §4.3; DP-01, DP-02",
        sends: "every way a proof can be wrong, at the token endpoint",
        expects: "400 invalid_dpop_proof (invalid_request, use_dpop_nonce), no token",
        check: |suite, cases| Box::pin(at_token(suite, cases)),
    },
    Row {
        id: "NEG-220r",
        clause: "RFC 9449 §4.3, §7.1, §7.2; RS-04",
        sends: "the same at the FHIR API; the bound token as plain Bearer; another key; no ath",
        expects: "401",
        check: |suite, cases| Box::pin(at_resource(suite, cases)),
    },
    Row {
        id: "NEG-221",
        clause: "RFC 9449 §4.3; RFC 3986 §6.2",
        sends: "htu that differs by default port or case of the host; a request with a query",
        expects: "accepted",
        check: |suite, cases| Box::pin(normalised(suite, cases)),
    },
    Row {
        id: "NEG-222",
        clause: "RFC 9449 §11.1; DP-07",
        sends: "the same proof twice, at the token endpoint and the FHIR API",
        expects: "the second is refused",
        check: |suite, cases| Box::pin(replayed(suite, cases)),
    },
    Row {
        id: "NEG-223",
        clause: "RFC 9449 §5; DP-04",
        sends: "a public client's refresh with another key, and without a proof",
        expects: "400 invalid_grant or invalid_dpop_proof",
        check: |suite, cases| Box::pin(refreshed(suite, cases)),
    },
    Row {
        id: "NEG-225",
        clause: "RFC 9449 §10; DP-06",
        sends: "a code bound by dpop_jkt, redeemed with another key, and without a proof",
        expects: "400 invalid_grant or invalid_dpop_proof",
        check: |suite, cases| Box::pin(bound_code(suite, cases)),
    },
];

/// The first client that must prove possession.
fn prover(suite: &Suite) -> Result<(&Fixture, &Key), Stop> {
    let all = [Who::Pub, Who::Asy, Who::Asyu, Who::Sym, Who::Be, Who::Other];
    let found = all
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find_map(|client| Some((client, client.proof.as_ref()?)));
    found.ok_or_else(|| Stop::Skip("no client of the configuration file says `dpop = true`".into()))
}

/// A token for it, and the form of such a request.
async fn bound(suite: &Suite) -> Result<Grant<'_>, Stop> {
    let (client, _) = prover(suite)?;
    if suite.client(Who::Be).is_ok_and(|be| be.spec.id == client.spec.id) {
        return suite.backend().await;
    }
    suite.grant(client, &suite.config.scopes.base).await
}

async fn honest(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, key) = prover(suite)?;
    let grant = bound(suite).await?;
    cases.expect("token_type", grant.text("token_type").eq_ignore_ascii_case("DPoP"), grant.text("token_type"));
    if let Some((_, claims)) = peek(grant.access()) {
        let jkt = claims.pointer("/cnf/jkt").and_then(Value::as_str).map(str::to_owned);
        cases.expect("cnf.jkt", jkt == key.thumbprint(), format!("{jkt:?}"));
    }
    let answer = suite.fhir(&grant, &format!("Patient/{}", suite.p1()?)).await?;
    cases.status("the FHIR API", &answer, &[200]);
    Ok(())
}

async fn told(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, key) = prover(suite)?;
    let algorithms = suite.target.member("dpop_signing_alg_values_supported").and_then(Value::as_array);
    let fine = algorithms.is_some_and(|list| {
        !list.is_empty() && list.iter().all(|alg| alg != "none" && !alg.as_str().unwrap_or("HS").starts_with("HS"))
    });
    cases.expect("dpop_signing_alg_values_supported", fine, format!("{algorithms:?}"));
    let grant = bound(suite).await?;
    let answer = suite.introspect(suite.asker(grant.client)?, grant.access()).await?;
    let body = answer.json();
    let jkt = body.pointer("/cnf/jkt").and_then(Value::as_str).map(str::to_owned);
    cases.expect("introspection: cnf.jkt", jkt == key.thumbprint(), answer.shown());
    let kind = body.get("token_type").and_then(Value::as_str).unwrap_or_default();
    cases.expect("introspection: token_type", kind.eq_ignore_ascii_case("DPoP"), kind);
    Ok(())
}

/// Proofs that are wrong in one way each, for a request.
fn spoilt(
    key: &Key,
    method: &str,
    url: &str,
    token: Option<&str>,
    wanted: &str,
) -> Result<Vec<(&'static str, Vec<String>)>, Stop> {
    let draft = || dpop(key, method, url, token, wanted);
    let stranger = Key::generate("ES256")?;
    let mut private = key.bare_jwk();
    if let Some(members) = private.as_object_mut() {
        members.insert("d".into(), base64url(&[1; 32]).into());
    }
    let one = |draft: Draft| draft.sign(key).map(|proof| vec![proof]);
    let mut all = vec![
        ("no proof", vec![]),
        ("an empty proof", vec![String::new()]),
        ("garbage", vec!["a.b.c".into()]),
        ("two proofs", vec![draft().sign(key)?, draft().sign(key)?]),
        ("two proofs in one header", vec![format!("{}, {}", draft().sign(key)?, draft().sign(key)?)]),
        ("typ JWT", one(draft().header("typ", "JWT".into()))?),
        ("no typ", one(draft().header("typ", Value::Null))?),
        ("no jwk", one(draft().header("jwk", Value::Null))?),
        ("jwk with d", one(draft().header("jwk", private))?),
        (
            "a symmetric jwk",
            vec![
                draft().header("jwk", json!({ "kty": "oct", "k": base64url(b"secret") })).sign_hmac("HS256", b"secret"),
            ],
        ),
        ("HS256 keyed with the jwk", vec![draft().sign_hmac("HS256", key.bare_jwk().to_string().as_bytes())]),
        ("alg none", vec![join(&draft().header("alg", "none".into()).input(), b"")]),
        ("another key's signature", vec![draft().sign(&stranger)?]),
        ("no htm", one(draft().claim("htm", Value::Null))?),
        ("wrong htm", one(draft().claim("htm", "PUT".into()))?),
        ("no htu", one(draft().claim("htu", Value::Null))?),
        ("another path", one(draft().claim("htu", format!("{url}x").into()))?),
        ("another host", one(draft().claim("htu", "https://other.invalid/token".into()))?),
        ("another scheme", one(draft().claim("htu", swapped_scheme(url).into()))?),
        ("no iat", one(draft().claim("iat", Value::Null))?),
        ("an hour old", one(draft().claim("iat", (now() - 3600).into()))?),
        ("an hour ahead", one(draft().claim("iat", (now() + 3600).into()))?),
        ("iat a string", one(draft().claim("iat", now().to_string().into()))?),
        ("no jti", one(draft().claim("jti", Value::Null))?),
        ("an empty jti", one(draft().claim("jti", "".into()))?),
        ("a made-up nonce", one(draft().claim("nonce", nonce().into()))?),
        ("an unknown crit", one(draft().header("crit", json!(["x"])).header("x", 1.into()))?),
    ];
    if let Some(token) = token {
        all.push(("no ath", one(draft().claim("ath", Value::Null))?));
        all.push(("a wrong ath", one(draft().claim("ath", base64url(&sha256(b"x")).into()))?));
        all.push(("ath in hex of the token", one(draft().claim("ath", token.into()))?));
        let other = dpop(&stranger, method, url, Some(token), wanted).sign(&stranger)?;
        all.push(("another key than cnf.jkt", vec![other]));
    }
    Ok(all)
}

fn swapped_scheme(url: &str) -> String {
    match url.strip_prefix("https:") {
        Some(rest) => format!("http:{rest}"),
        None => url.replacen("http:", "https:", 1),
    }
}

/// The nonce this server wants now, empty if it wants none.
async fn wanted(suite: &Suite, client: &Fixture, key: &Key) -> Result<String, Stop> {
    let fields = crate::http::pairs(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    let endpoint = suite.endpoint("token_endpoint")?;
    let send = suite.authenticated(client, &endpoint, fields)?;
    let answer = client.http.send(send.header("dpop", &dpop(key, "POST", &endpoint, None, "").sign(key)?)).await?;
    Ok(answer.header("dpop-nonce"))
}

/// A form that gets a token, but for the proof.
async fn asking(suite: &Suite, client: &Fixture) -> Result<Fields, Stop> {
    if suite.client(Who::Be).is_ok_and(|be| be.spec.id == client.spec.id) {
        return suite.backend_fields(client).await;
    }
    let ask = suite.ask(client, &suite.config.scopes.base)?;
    let code = suite.code(client, &ask).await?.get("code").to_owned();
    Ok(exchange(&ask, &code))
}

async fn at_token(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, key) = prover(suite)?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let nonce = wanted(suite, client, key).await?;
    for (name, proofs) in spoilt(key, "POST", &endpoint, None, &nonce)? {
        let send = suite.authenticated(client, &endpoint, asking(suite, client).await?)?;
        let send = proofs.iter().fold(send, |send, proof| send.header("dpop", proof));
        let answer = client.http.send(send).await?;
        cases.refused(
            name,
            &answer,
            &[400, 401],
            &["invalid_dpop_proof", "invalid_request", "use_dpop_nonce", "invalid_grant"],
        );
    }
    Ok(())
}

async fn read_with(suite: &Suite, grant: &Grant<'_>, scheme: &str, proofs: &[String]) -> Result<Answer, Stop> {
    let url = format!("{}/Patient/{}", suite.target.fhir, suite.p1()?);
    let send = Send::get(&url).header("authorization", &format!("{scheme} {}", grant.access()));
    let send = proofs.iter().fold(send, |send, proof| send.header("dpop", proof));
    Ok(grant.client.http.send(send).await?)
}

/// The nonce the FHIR API wants, empty if it wants none.
async fn wanted_there(suite: &Suite, grant: &Grant<'_>, key: &Key) -> Result<String, Stop> {
    let url = format!("{}/Patient/{}", suite.target.fhir, suite.p1()?);
    let proof = dpop(key, "GET", &url, Some(grant.access()), "").sign(key)?;
    Ok(read_with(suite, grant, "DPoP", &[proof]).await?.header("dpop-nonce"))
}

async fn at_resource(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, key) = prover(suite)?;
    let grant = bound(suite).await?;
    let url = format!("{}/Patient/{}", suite.target.fhir, suite.p1()?);
    let nonce = wanted_there(suite, &grant, key).await?;
    for (name, proofs) in spoilt(key, "GET", &url, Some(grant.access()), &nonce)? {
        let answer = read_with(suite, &grant, "DPoP", &proofs).await?;
        cases.status(name, &answer, &[401, 400]);
    }
    let plain = read_with(suite, &grant, "Bearer", &[]).await?;
    cases.status("as plain Bearer", &plain, &[401]);
    let proof = dpop(key, "GET", &url, Some(grant.access()), &nonce).sign(key)?;
    cases.status("as Bearer with a proof", &read_with(suite, &grant, "Bearer", &[proof]).await?, &[401]);
    Ok(())
}

async fn normalised(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, key) = prover(suite)?;
    let grant = bound(suite).await?;
    let p1 = suite.p1()?;
    let nonce = wanted_there(suite, &grant, key).await?;
    let url = format!("{}/Patient/{p1}", suite.target.fhir);
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or_default();
    let mut variants = vec![("the host in capitals", format!("{scheme}://{}/{path}", host.to_uppercase()))];
    if !host.contains(':') {
        let port = if scheme == "https" { 443 } else { 80 };
        variants.push(("the default port", format!("{scheme}://{host}:{port}/{path}")));
    }
    for (name, htu) in variants {
        let proof = dpop(key, "GET", &url, Some(grant.access()), &nonce).claim("htu", htu.into()).sign(key)?;
        cases.status(name, &read_with(suite, &grant, "DPoP", &[proof]).await?, &[200]);
    }
    let answer = suite.fhir(&grant, &format!("Patient?_id={p1}")).await?;
    cases.status("a request with a query", &answer, &[200]);
    Ok(())
}

async fn replayed(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, key) = prover(suite)?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let nonce = wanted(suite, client, key).await?;
    let proof = dpop(key, "POST", &endpoint, None, &nonce).sign(key)?;
    for name in ["first", "second"] {
        let send = suite.authenticated(client, &endpoint, asking(suite, client).await?)?;
        let answer = client.http.send(send.header("dpop", &proof)).await?;
        if name == "first" {
            cases.status("token endpoint, first", &answer, &[200]);
        } else {
            cases.refused(
                "token endpoint, second",
                &answer,
                &[400, 401],
                &["invalid_dpop_proof", "use_dpop_nonce", "invalid_request"],
            );
        }
    }
    let grant = bound(suite).await?;
    let url = format!("{}/Patient/{}", suite.target.fhir, suite.p1()?);
    let nonce = wanted_there(suite, &grant, key).await?;
    let proof = dpop(key, "GET", &url, Some(grant.access()), &nonce).sign(key)?;
    cases.status("FHIR API, first", &read_with(suite, &grant, "DPoP", std::slice::from_ref(&proof)).await?, &[200]);
    cases.status("FHIR API, second", &read_with(suite, &grant, "DPoP", &[proof]).await?, &[401]);
    Ok(())
}

async fn refreshed(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.client(Who::Pub)?;
    if client.proof.is_none() {
        return Err(Stop::Skip("[clients.pub] does not say `dpop = true`".into()));
    }
    let grant = suite.grant(client, &super::refresh::scope(suite, client)).await?;
    let fields = crate::http::pairs(&[("grant_type", "refresh_token"), ("refresh_token", grant.refresh()?)]);
    let stranger = Key::generate("ES256")?;
    let errors = ["invalid_grant", "invalid_dpop_proof", "invalid_request"];
    let answer = suite.token_proved(client, &stranger, fields.clone()).await?;
    cases.refused("another key", &answer, &[400], &errors);
    let send = suite.authenticated(client, &suite.endpoint("token_endpoint")?, fields)?;
    cases.refused("no proof", &client.http.send(send).await?, &[400], &errors);
    Ok(())
}

async fn bound_code(suite: &Suite, cases: &mut Cases) -> Checked {
    if suite.target.member("dpop_signing_alg_values_supported").is_none() {
        return Err(Stop::Skip("dpop_signing_alg_values_supported is not advertised".into()));
    }
    let client = suite.app()?;
    let (key, stranger) = (Key::generate("ES256")?, Key::generate("ES256")?);
    let jkt = key.thumbprint().unwrap_or_default();
    let errors = ["invalid_grant", "invalid_dpop_proof", "invalid_request"];
    for name in ["another key", "no proof"] {
        let ask = suite.ask(client, &suite.config.scopes.base)?.set("dpop_jkt", &jkt);
        let code = suite.code(client, &ask).await?.get("code").to_owned();
        let fields = exchange(&ask, &code);
        let answer = if name == "another key" {
            suite.token_proved(client, &stranger, fields).await?
        } else {
            client.http.send(suite.authenticated(client, &suite.endpoint("token_endpoint")?, fields)?).await?
        };
        cases.refused(name, &answer, &[400], &errors);
    }
    let ask = suite.ask(client, &suite.config.scopes.base)?.set("dpop_jkt", &jkt);
    let code = suite.code(client, &ask).await?.get("code").to_owned();
    cases.status("the key itself", &suite.token_proved(client, &key, exchange(&ask, &code)).await?, &[200]);
    Ok(())
}
