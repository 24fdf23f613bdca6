//! Client assertions (A.11, C.4): honest ones work, and every spoilt one is `invalid_client`, at each endpoint that takes them.

mod spoilt;

use serde_json::Value;
use tokio::task::JoinSet;

use self::spoilt::Spoilt;
use crate::flow::{Fields, asserted, key_of};
use crate::http::{Answer, Send, pairs};
use crate::jose::nonce;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who, now};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "CA-01",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; RFC 7523 §2.2",
        sends: "an honest assertion at every endpoint",
        expects: "the client is known",
        check: |suite, cases| Box::pin(honest(suite, cases)),
    },
    Row {
        id: "CA-11",
        clause: "SMART App Launch 2.2, Client Authentication: Symmetric; RFC 6749 §2.3.1",
        sends: "client_secret_basic, raw and form-encoded",
        expects: "the client is known",
        check: |suite, cases| Box::pin(secret(suite, cases)),
    },
    Row {
        id: "CA-14",
        clause: "rfc7523bis; BIS-01, BIS-02; D-01",
        sends: "typ client-authentication+jwt with aud the issuer, and with aud the token endpoint",
        expects: "the client is known; invalid_client",
        check: |suite, cases| Box::pin(typed(suite, cases)),
    },
    Row {
        id: "NEG-100",
        clause: "RFC 7523 §3; R337",
        sends: "unknown iss; iss and sub differ; sub or iss missing; another client_id beside them",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::names)),
    },
    Row {
        id: "NEG-101",
        clause: "RFC 7523 §3; rfc7523bis; D-01",
        sends: "aud missing, other server, FHIR base, slash, array of two, number",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::audiences)),
    },
    Row {
        id: "NEG-103",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; D-02",
        sends: "exp missing, past, 400 s ahead, string, negative, huge, fraction",
        expects: "invalid_client; +300 s is accepted",
        check: |suite, cases| Box::pin(expiry(suite, cases)),
    },
    Row {
        id: "NEG-105",
        clause: "RFC 7523 §3; FAPI 2.0 (FA-05)",
        sends: "nbf or iat in the future",
        expects: "10 s accepted, 120 s invalid_client",
        check: |suite, cases| Box::pin(not_before(suite, cases)),
    },
    Row {
        id: "NEG-106",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric",
        sends: "jti missing, empty, number, 10 kB",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::ids)),
    },
    Row {
        id: "NEG-107",
        clause: "RFC 7523 §3; R336; PF-01",
        sends: "the same assertion twice, at the same and at another endpoint",
        expects: "the second is invalid_client",
        check: |suite, cases| Box::pin(replay(suite, cases)),
    },
    Row {
        id: "NEG-107a",
        clause: "RFC 7523 §3; R336; issue: concurrency",
        sends: "the same assertion 50 times at once",
        expects: "at most one is honoured",
        check: |suite, cases| Box::pin(replay_at_once(suite, cases)),
    },
    Row {
        id: "NEG-108",
        clause: "RFC 7523 §3; R336; PF-01",
        sends: "the same jti from two clients",
        expects: "both are known",
        check: |suite, cases| Box::pin(same_jti(suite, cases)),
    },
    Row {
        id: "NEG-110",
        clause: "PF-01",
        sends: "a forged assertion with a jti, then the real one with it",
        expects: "the real one is known",
        check: |suite, cases| Box::pin(forged_first(suite, cases)),
    },
    Row {
        id: "NEG-111",
        clause: "RFC 8725 §3.1; RFC 7515 §3.6",
        sends: "alg none, None, NONE, nOnE, empty, missing; with and without a signature",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::unsigned)),
    },
    Row {
        id: "NEG-112",
        clause: "RFC 8725 §2.1, §3.1",
        sends: "HS256 and HS384 keyed with the public key: JWK, modulus or point, kid, client_id",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::confused)),
    },
    Row {
        id: "NEG-113",
        clause: "RFC 8725 §3.1; CA-06",
        sends: "another alg than the key's in the header; one that is not advertised",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::algorithms)),
    },
    Row {
        id: "NEG-114",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R338",
        sends: "kid missing, unknown, of another client, number, with a path in it",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::key_ids)),
    },
    Row {
        id: "NEG-115",
        clause: "RFC 7518 §3.4",
        sends: "signature in DER, all zero, empty, too short, too long",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::signatures)),
    },
    Row {
        id: "NEG-117",
        clause: "RFC 8725 §3.10",
        sends: "an attacker's key in jwk, x5c, x5u, signed with it",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::embedded)),
    },
    Row {
        id: "NEG-118",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R338; RFC 8725 §3.10",
        sends: "jku that is not registered: other host, http, user info, fragment, loopback",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::key_urls)),
    },
    Row {
        id: "NEG-119",
        clause: "RFC 7515 §4.1.11, §5.2; RFC 7797; RFC 8725 §3.11",
        sends: "unknown typ, crit, b64, JWE, four parts, white space, padding, duplicate members, oversize",
        expects: "invalid_client; a missing typ is accepted",
        check: |suite, cases| Box::pin(forms(suite, cases)),
    },
    Row {
        id: "NEG-120",
        clause: "RFC 8725 §2.8, §3.11",
        sends: "an access token, a DPoP proof as assertion",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(confusion(suite, cases)),
    },
    Row {
        id: "NEG-121",
        clause: "RFC 7515 §5.2",
        sends: "one bit of the payload altered; signature stripped; signature of another assertion",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(spoil(suite, cases, spoilt::tampered)),
    },
    Row {
        id: "NEG-122",
        clause: "RFC 6749 §5.2; PF-26; SEC-08",
        sends: "an unknown client and a known one with a wrong key",
        expects: "the same status, error and text",
        check: |suite, cases| Box::pin(no_oracle(suite, cases)),
    },
    Row {
        id: "NEG-123",
        clause: "RFC 7521 §4.2",
        sends: "wrong client_assertion_type; assertion without type; type without assertion; two assertions",
        expects: "invalid_client or invalid_request",
        check: |suite, cases| Box::pin(types(suite, cases)),
    },
];

/// The client whose assertions are spoilt.
pub(super) fn signer(suite: &Suite) -> Result<&Fixture, Stop> {
    suite.first(&[Who::Asy, Who::Be, Who::Asyu])
}

/// Where assertions are taken: the endpoint, and a form that is fine but for the client.
fn doors(suite: &Suite, client: &Fixture) -> Vec<(&'static str, String, Fields)> {
    let known = pairs(&[("token", "not-a-token")]);
    let wanted = [
        ("token", "token_endpoint", pairs(&[("grant_type", "client_credentials"), ("scope", "system/Patient.rs")])),
        ("introspection", "introspection_endpoint", known.clone()),
        ("revocation", "revocation_endpoint", known),
    ];
    let mut doors: Vec<_> = wanted
        .into_iter()
        .filter_map(|(name, member, form)| Some((name, suite.target.endpoint(member)?, form)))
        .collect();
    if let (Some(url), Ok(ask)) =
        (suite.target.endpoint("pushed_authorization_request_endpoint"), suite.ask(client, &suite.config.scopes.base))
    {
        doors.push(("PAR", url, ask.params));
    }
    doors
}

async fn knock(suite: &Suite, client: &Fixture, url: &str, form: &Fields, assertion: &str) -> Result<Answer, Stop> {
    let mut fields = form.clone();
    fields.extend(asserted(assertion));
    let _ = suite;
    Ok(client.http.send(Send::form(url, &fields)).await?)
}

/// Whether the client was let in: whatever the answer is about, it is not about who asks.
fn known(answer: &Answer) -> bool {
    (answer.status <= 400 || answer.status == 403) && answer.error() != "invalid_client"
}

/// Whether the answer refuses the client, the same for every cause.
fn unknown(cases: &mut Cases, name: String, answer: &Answer) {
    let leaks = ["panicked", "stack", "Exception", "at line"].iter().any(|word| answer.text().contains(word));
    // What is beyond a server's limits is refused before anybody asks who sent it.
    if ["megabytes", "100 kB", "10 kB"].iter().any(|size| name.contains(size)) {
        cases.refused(name.clone(), answer, &[400, 401, 413, 431], &["invalid_client", "invalid_request"]);
    } else {
        cases.refused(name.clone(), answer, &[400, 401], &["invalid_client"]);
    }
    if leaks {
        cases.expect(name, false, "the answer tells of the server's inside");
    }
}

async fn honest(suite: &Suite, cases: &mut Cases) -> Checked {
    let mut tried = 0;
    for who in [Who::Asy, Who::Be, Who::Asyu, Who::Launcher, Who::Introspector] {
        let Ok(client) = suite.client(who) else { continue };
        if client.key.is_none() {
            continue;
        }
        tried += 1;
        for (door, url, form) in doors(suite, client) {
            let answer = knock(suite, client, &url, &form, &suite.assertion(client)?).await?;
            cases.expect(format!("{} at {door}", who.name()), known(&answer), answer.shown());
        }
    }
    if tried == 0 {
        return Err(Stop::Skip("the configuration file has no client with a key".into()));
    }
    Ok(())
}

async fn secret(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.client(Who::Sym)?;
    let secret = client.secret.as_deref().unwrap_or_default();
    let escaped: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let endpoint = suite.endpoint("token_endpoint")?;
    let form = pairs(&[("grant_type", "refresh_token"), ("refresh_token", "not-a-token")]);
    for (name, secret) in [("raw", secret), ("form-encoded", &escaped)] {
        let send = Send::form(&endpoint, &form).header("authorization", &crate::flow::basic(&client.spec.id, secret));
        let answer = client.http.send(send).await?;
        cases.expect(name, known(&answer), answer.shown());
    }
    Ok(())
}

/// Sends every spoilt assertion to every door. That an honest one gets in there is checked first: else nothing is shown.
async fn spoil(suite: &Suite, cases: &mut Cases, of: fn(&Suite, &Fixture) -> Result<Vec<Spoilt>, Stop>) -> Checked {
    let client = signer(suite)?;
    for (door, url, form) in doors(suite, client) {
        let honest = knock(suite, client, &url, &form, &suite.assertion(client)?).await?;
        if !known(&honest) {
            cases.expect(format!("honest at {door}"), false, honest.shown());
            continue;
        }
        for Spoilt { name, assertion, client_id } in of(suite, client)? {
            let mut form = form.clone();
            if let Some(client_id) = client_id {
                form.retain(|(name, _)| name != "client_id");
                form.push(("client_id".into(), client_id));
            }
            let answer = knock(suite, client, &url, &form, &assertion).await?;
            unknown(cases, format!("{name} at {door}"), &answer);
        }
    }
    Ok(())
}

/// Sends assertions that must get in.
async fn accepted(suite: &Suite, cases: &mut Cases, name: &str, assertion: &str) -> Checked {
    let client = signer(suite)?;
    let (_, url, form) =
        doors(suite, client).into_iter().next().ok_or_else(|| Stop::Skip("no token endpoint".into()))?;
    let answer = knock(suite, client, &url, &form, assertion).await?;
    cases.expect(name, known(&answer), answer.shown());
    Ok(())
}

async fn expiry(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    let at_limit = suite.draft(client).claim("exp", (now() + 300).into()).sign_honestly(key_of(client)?)?;
    accepted(suite, cases, "exp 300 s ahead, as the certification kits send it", &at_limit).await?;
    spoil(suite, cases, spoilt::expiries).await
}

async fn not_before(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    for name in ["nbf", "iat"] {
        let soon = suite.draft(client).claim(name, (now() + 10).into()).sign_honestly(key_of(client)?)?;
        accepted(suite, cases, &format!("{name} 10 s ahead"), &soon).await?;
    }
    spoil(suite, cases, spoilt::not_yet).await
}

async fn forms(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    let untyped = suite.draft(client).header("typ", Value::Null).sign_honestly(key_of(client)?)?;
    accepted(suite, cases, "typ missing", &untyped).await?;
    spoil(suite, cases, spoilt::forms).await
}

async fn replay(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    let doors = doors(suite, client);
    for (first, url, form) in &doors {
        for (second, other_url, other_form) in &doors {
            let assertion = suite.assertion(client)?;
            let answer = knock(suite, client, url, form, &assertion).await?;
            if !known(&answer) {
                cases.expect(format!("honest at {first}"), false, answer.shown());
                continue;
            }
            let again = knock(suite, client, other_url, other_form, &assertion).await?;
            unknown(cases, format!("at {first}, then at {second}"), &again);
        }
    }
    Ok(())
}

async fn replay_at_once(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    for (door, url, form) in doors(suite, client) {
        let mut fields = form;
        fields.extend(asserted(&suite.assertion(client)?));
        let answers = at_once(client, 50, |_| Send::form(&url, &fields)).await?;
        let honoured = answers.iter().filter(|answer| known(answer)).count();
        cases.expect(door, honoured == 1, format!("{honoured} of 50 were honoured; expected one"));
    }
    Ok(())
}

/// Sends `many` requests at once, each on a connection of its own.
pub(super) async fn at_once(client: &Fixture, many: usize, send: impl Fn(usize) -> Send) -> Result<Vec<Answer>, Stop> {
    let mut tasks = JoinSet::new();
    for index in 0..many {
        let (http, send) = (client.http.clone(), send(index));
        tasks.spawn(async move { http.send(send).await });
    }
    let mut answers = Vec::new();
    while let Some(done) = tasks.join_next().await {
        answers.push(done.map_err(|why| Stop::Fail(why.to_string()))??);
    }
    Ok(answers)
}

async fn same_jti(suite: &Suite, cases: &mut Cases) -> Checked {
    let first = signer(suite)?;
    let second = [Who::Asyu, Who::Launcher, Who::Other, Who::Be, Who::Introspector].into_iter().find_map(|who| {
        suite.client(who).ok().filter(|client| client.key.is_some() && client.spec.id != first.spec.id)
    });
    let second = second.ok_or_else(|| Stop::Skip("the configuration file has only one client with a key".into()))?;
    let jti = nonce();
    for client in [first, second] {
        let assertion = suite.draft(client).claim("jti", jti.as_str().into()).sign_honestly(key_of(client)?)?;
        let Some((_, url, form)) = doors(suite, client).into_iter().next() else { continue };
        let answer = knock(suite, client, &url, &form, &assertion).await?;
        cases.expect(client.spec.id.as_str(), known(&answer), answer.shown());
    }
    Ok(())
}

async fn forged_first(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    let key = key_of(client)?;
    for (door, url, form) in doors(suite, client) {
        let draft = suite.draft(client);
        let forger = crate::jose::Key::generate(&key.alg)?;
        let forged = draft.clone().header("alg", key.alg.as_str().into()).header("kid", key.kid.as_str().into());
        let refused = knock(suite, client, &url, &form, &forged.sign(&forger)?).await?;
        unknown(cases, format!("forged at {door}"), &refused);
        let real = knock(suite, client, &url, &form, &draft.sign_honestly(key)?).await?;
        cases.expect(format!("real at {door}"), known(&real), real.shown());
    }
    Ok(())
}

async fn confusion(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    let key = key_of(client)?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let proof = crate::flow::dpop(key, "POST", &endpoint, None, "").claim("iss", client.spec.id.as_str().into());
    let proof = proof.claim("sub", client.spec.id.as_str().into()).claim("aud", suite.audience(client).into());
    let mut tokens =
        vec![("a DPoP proof with the claims of an assertion", proof.claim("exp", (now() + 60).into()).sign(key)?)];
    match suite.any_grant().await {
        Ok(grant) => {
            tokens.push(("an access token", grant.access().to_owned()));
            if !grant.text("id_token").is_empty() {
                tokens.push(("an ID token", grant.text("id_token").to_owned()));
            }
        }
        Err(Stop::Skip(why) | Stop::Fail(why)) => cases.skip("an access token", why),
    }
    for (door, url, form) in doors(suite, client) {
        for (name, token) in &tokens {
            let answer = knock(suite, client, &url, &form, token).await?;
            unknown(cases, format!("{name} at {door}"), &answer);
        }
    }
    Ok(())
}

async fn typed(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    if suite.target.issuer.is_empty() {
        return Err(Stop::Skip("no document names the issuer".into()));
    }
    let key = key_of(client)?;
    let of = |aud: &str| suite.draft(client).header("typ", "client-authentication+jwt".into()).claim("aud", aud.into());
    accepted(suite, cases, "the issuer", &of(&suite.target.issuer).sign_honestly(key)?).await?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let Some((_, url, form)) = doors(suite, client).into_iter().next() else { return Ok(()) };
    let answer = knock(suite, client, &url, &form, &of(&endpoint).sign_honestly(key)?).await?;
    unknown(cases, "the token endpoint".into(), &answer);
    Ok(())
}

async fn no_oracle(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    let key = key_of(client)?;
    let stranger = crate::jose::Key::generate(&key.alg)?;
    let wrong = suite.draft(client).header("alg", key.alg.as_str().into()).header("kid", key.kid.as_str().into());
    let nobody = format!("nobody-{}", nonce());
    let unknown = suite.draft(client).claim("iss", nobody.as_str().into()).claim("sub", nobody.as_str().into());
    for (door, url, form) in doors(suite, client) {
        let wrong =
            knock(suite, client, &url, &form, &wrong.clone().claim("jti", nonce().into()).sign(&stranger)?).await?;
        let nobody = unknown.clone().claim("jti", nonce().into()).sign_honestly(&stranger)?;
        let nobody = knock(suite, client, &url, &form, &nobody).await?;
        let same = wrong.status == nobody.status && wrong.error() == nobody.error();
        let same = same && wrong.member("error_description") == nobody.member("error_description");
        cases.expect(door, same, format!("wrong key: {}; unknown client: {}", wrong.shown(), nobody.shown()));
    }
    Ok(())
}

async fn types(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = signer(suite)?;
    let of =
        |assertion: String, kind: &str| pairs(&[("client_assertion", &assertion), ("client_assertion_type", kind)]);
    let (good, bare) = (crate::flow::JWT_BEARER, "jwt-bearer");
    let variants: Vec<(&str, Fields)> = vec![
        ("another type", of(suite.assertion(client)?, "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")),
        ("a short type", of(suite.assertion(client)?, bare)),
        ("no type", pairs(&[("client_assertion", &suite.assertion(client)?)])),
        ("no assertion", pairs(&[("client_assertion_type", good)])),
        ("an empty assertion", of(String::new(), good)),
        (
            "two assertions",
            [of(suite.assertion(client)?, good), pairs(&[("client_assertion", &suite.assertion(client)?)])].concat(),
        ),
    ];
    for (door, url, form) in doors(suite, client) {
        for (name, fields) in &variants {
            let answer = client.http.send(Send::form(&url, &[form.clone(), fields.clone()].concat())).await?;
            cases.refused(format!("{name} at {door}"), &answer, &[400, 401], &["invalid_client", "invalid_request"]);
        }
    }
    Ok(())
}
