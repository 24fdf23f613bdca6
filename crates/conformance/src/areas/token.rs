//! The token endpoint itself: what it takes, how it refuses, and that no answer is kept (A.5, C.3).

use crate::flow::{basic, exchange};
use crate::http::{Answer, Send, encode, pairs};
use crate::jose::nonce;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "TK-13",
        clause: "RFC 6749 §3.2",
        sends: "GET to the token endpoint",
        expects: "405, or 400 or 404 without a token",
        check: |suite, cases| Box::pin(get(suite, cases)),
    },
    Row {
        id: "NEG-071",
        clause: "RFC 6749 §3.2, §4.1.3",
        sends: "GET with parameters; a JSON body; multipart; parameters in the query of a POST; PUT; no body",
        expects: "400, 405 or 415, never a token",
        check: |suite, cases| Box::pin(shapes(suite, cases)),
    },
    Row {
        id: "NEG-072",
        clause: "RFC 6749 §3.2",
        sends: "grant_type, code, scope twice",
        expects: "400 invalid_request",
        check: |suite, cases| Box::pin(repeated(suite, cases)),
    },
    Row {
        id: "NEG-073",
        clause: "RFC 6749 §5.2; RFC 9700 §2.4",
        sends: "grant_type password, implicit, an unknown URN, another case, none",
        expects: "400 unsupported_grant_type; invalid_request where it is missing",
        check: |suite, cases| Box::pin(grant_types(suite, cases)),
    },
    Row {
        id: "NEG-074",
        clause: "RFC 6749 §5.2; REG-08",
        sends: "a grant that is known but not this client's",
        expects: "400 unauthorized_client or 401 invalid_client",
        check: |suite, cases| Box::pin(not_mine(suite, cases)),
    },
    Row {
        id: "TK-10",
        clause: "RFC 6749 §5.2",
        sends: "requests that fail in each way",
        expects: "400 with a code of RFC 6749; 401 for the client, with WWW-Authenticate: Basic if Basic was used",
        check: |suite, cases| Box::pin(codes(suite, cases)),
    },
    Row {
        id: "NEG-070",
        clause: "RFC 6749 §2.3.1, §5.2",
        sends: "a wrong secret by Basic; garbage in Authorization",
        expects: "401 with WWW-Authenticate: Basic, invalid_client",
        check: |suite, cases| Box::pin(wrong_secret(suite, cases)),
    },
    Row {
        id: "NEG-068",
        clause: "RFC 6749 §2.3; REG-08",
        sends: "a public client with a made-up secret, by Basic and in the body",
        expects: "400 or 401 invalid_client",
        check: |suite, cases| Box::pin(made_up_secret(suite, cases)),
    },
    Row {
        id: "CA-12",
        clause: "OAuth 2.1; SMART App Launch 2.2, Client Authentication: Symmetric",
        sends: "client_secret in the body",
        expects: "refused unless client_secret_post is advertised",
        check: |suite, cases| Box::pin(secret_in_body(suite, cases)),
    },
    Row {
        id: "TK-11",
        clause: "RFC 6749 §2.3",
        sends: "an assertion and Basic in one request",
        expects: "400 or 401, invalid_request or invalid_client",
        check: |suite, cases| Box::pin(two_methods(suite, cases)),
    },
    Row {
        id: "NEG-075",
        clause: "RFC 6749 §5.1, §5.2; PF-12",
        sends: "every kind of wrong request",
        expects: "JSON, no-store, no stack trace, no echo of what was secret",
        check: |suite, cases| Box::pin(errors(suite, cases)),
    },
    Row {
        id: "TK-14",
        clause: "synthesis: bad input",
        sends: "a form of 2 MB, 10,000 fields, broken encoding, NUL and non-UTF-8 bytes",
        expects: "an answer below 500 without a token",
        check: |suite, cases| Box::pin(bad_input(suite, cases)),
    },
];

/// Never a token, and a refusal.
fn no_token(cases: &mut Cases, name: &str, answer: &Answer, statuses: &[u16]) {
    let held = statuses.contains(&answer.status) && !answer.has_token();
    cases.expect(name, held, format!("{}; expected one of {statuses:?} and no token", answer.shown()));
}

async fn get(suite: &Suite, cases: &mut Cases) -> Checked {
    let answer = suite.send(Send::get(&suite.endpoint("token_endpoint")?)).await?;
    no_token(cases, "GET", &answer, &[405, 400, 404]);
    Ok(())
}

async fn shapes(suite: &Suite, cases: &mut Cases) -> Checked {
    let endpoint = suite.endpoint("token_endpoint")?;
    // The best request there is, sent in ways it may not be sent.
    let (client, fields) = match (suite.client(Who::Be), suite.app()) {
        (Ok(client), _) => (client, suite.backend_fields(client).await?),
        (_, Ok(client)) => (client, pairs(&[("grant_type", "authorization_code"), ("code", "x")])),
        _ => {
            let nobody = pairs(&[("grant_type", "client_credentials"), ("client_id", "nobody")]);
            return wrongly_sent(suite, cases, &endpoint, &nobody).await;
        }
    };
    let mut fields = fields;
    if client.key.is_some() {
        fields.extend(crate::flow::asserted(&suite.assertion(client)?));
    } else {
        fields.push(("client_id".into(), client.spec.id.clone()));
    }
    wrongly_sent(suite, cases, &endpoint, &fields).await
}

async fn wrongly_sent(suite: &Suite, cases: &mut Cases, endpoint: &str, fields: &[(String, String)]) -> Checked {
    let query = format!("{endpoint}?{}", encode(fields));
    let json: serde_json::Map<_, _> =
        fields.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let boundary = "x-boundary";
    let parts = fields.iter().map(|(name, value)| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    });
    let multipart = format!("{}--{boundary}--\r\n", parts.collect::<String>());
    let typed = |media: &str, body: String| {
        let send = Send { body: body.into_bytes(), ..Send::get(endpoint).method("POST") };
        if media.is_empty() { send } else { send.header("content-type", media) }
    };
    let variants = [
        ("GET with parameters", Send::get(&query)),
        ("JSON", Send::json(endpoint, &json.into())),
        ("multipart", typed(&format!("multipart/form-data; boundary={boundary}"), multipart)),
        ("text/plain", typed("text/plain", encode(fields))),
        ("no media type", typed("", encode(fields))),
        ("parameters in the query of a POST", Send::form(&query, &[])),
        ("no body", Send::form(endpoint, &[])),
        ("PUT", Send::form(endpoint, fields).method("PUT")),
    ];
    for (name, send) in variants {
        let answer = suite.send(send).await?;
        no_token(cases, name, &answer, &[400, 401, 405, 415, 404]);
    }
    Ok(())
}

async fn repeated(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.first(&[Who::Be, Who::Asy, Who::Pub, Who::Sym])?;
    let base = pairs(&[
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("scope", "a"),
        ("redirect_uri", &client.spec.redirect_uri),
    ]);
    for name in ["grant_type", "code", "scope", "redirect_uri"] {
        let mut fields = base.clone();
        let again = base.iter().find(|(have, _)| have == name).cloned();
        fields.extend(again);
        let answer = suite.token(client, fields).await?;
        cases.refused(name, &answer, &[400], &["invalid_request"]);
    }
    Ok(())
}

async fn grant_types(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.first(&[Who::Be, Who::Asy, Who::Pub, Who::Sym])?;
    for kind in ["password", "implicit", "urn:x:unknown", "Client_Credentials", "authorization_code "] {
        let fields = pairs(&[("grant_type", kind), ("username", "a"), ("password", "b")]);
        let answer = suite.token(client, fields).await?;
        cases.refused(kind, &answer, &[400], &["unsupported_grant_type"]);
    }
    for (name, fields) in [("missing", vec![]), ("empty", pairs(&[("grant_type", "")]))] {
        let answer = suite.token(client, fields).await?;
        cases.refused(name, &answer, &[400], &["invalid_request", "unsupported_grant_type"]);
    }
    Ok(())
}

async fn not_mine(suite: &Suite, cases: &mut Cases) -> Checked {
    let mut tried = false;
    let credentials = pairs(&[("grant_type", "client_credentials"), ("scope", "system/Patient.rs")]);
    for who in [Who::Pub, Who::Sym, Who::Launcher] {
        let Ok(client) = suite.client(who) else { continue };
        tried = true;
        let answer = suite.token(client, credentials.clone()).await?;
        let name = format!("client_credentials by {}", who.name());
        cases.refused(
            name,
            &answer,
            &[400, 401],
            &["unauthorized_client", "invalid_client", "unsupported_grant_type", "invalid_scope"],
        );
    }
    if let Ok(client) = suite.client(Who::Be) {
        tried = true;
        let code = pairs(&[("grant_type", "authorization_code"), ("code", "x"), ("code_verifier", &nonce())]);
        let errors = ["unauthorized_client", "invalid_grant", "invalid_request", "unsupported_grant_type"];
        cases.refused("authorization_code by be", &suite.token(client, code).await?, &[400], &errors);
        let refresh = pairs(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
        cases.refused("refresh_token by be", &suite.token(client, refresh).await?, &[400], &errors);
    }
    if tried { Ok(()) } else { Err(Stop::Skip("the configuration file has no client to try".into())) }
}

async fn codes(suite: &Suite, cases: &mut Cases) -> Checked {
    let endpoint = suite.endpoint("token_endpoint")?;
    let nobody = pairs(&[("grant_type", "client_credentials"), ("client_id", "nobody")]);
    let answer = suite.send(Send::form(&endpoint, &nobody)).await?;
    cases.refused("an unknown client", &answer, &[400, 401], &["invalid_client", "invalid_request"]);
    let send = Send::form(&endpoint, &pairs(&[("grant_type", "client_credentials")]));
    let answer = suite.send(send.header("authorization", &basic("nobody", "x"))).await?;
    cases.refused("an unknown client by Basic", &answer, &[401, 400], &["invalid_client", "invalid_request"]);
    if suite.target.lists("token_endpoint_auth_methods_supported", "client_secret_basic") {
        let challenge = answer.header("www-authenticate").to_ascii_lowercase();
        cases.expect("it names Basic", answer.status == 401 && challenge.starts_with("basic"), answer.shown());
    } else {
        cases.skip("it names Basic", "client_secret_basic is not advertised");
    }
    match suite.app() {
        Ok(client) => {
            let ask = suite.ask(client, "x")?;
            let answer = suite.token(client, exchange(&ask, &nonce())).await?;
            cases.refused("an unknown code", &answer, &[400], &["invalid_grant"]);
        }
        Err(_) => cases.skip("an unknown code", "the configuration file has no app client"),
    }
    Ok(())
}

async fn wrong_secret(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.client(Who::Sym)?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let form = pairs(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    let wrong = [
        ("a wrong secret", basic(&client.spec.id, "wrong")),
        ("an empty secret", basic(&client.spec.id, "")),
        ("a longer secret", basic(&client.spec.id, &format!("{}x", client.secret.as_deref().unwrap_or_default()))),
        ("no Base64", "Basic !!!".to_owned()),
        ("no colon", format!("Basic {}", crate::jose::base64url(client.spec.id.as_bytes()))),
    ];
    for (name, authorization) in wrong {
        let answer = suite.send(Send::form(&endpoint, &form).header("authorization", &authorization)).await?;
        cases.refused(name, &answer, &[401], &["invalid_client"]);
        let challenge = answer.header("www-authenticate").to_ascii_lowercase();
        cases.expect(format!("{name}: WWW-Authenticate"), challenge.starts_with("basic"), format!("`{challenge}`"));
    }
    let bare = pairs(&[("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", &client.spec.id)]);
    let answer = suite.send(Send::form(&endpoint, &bare)).await?;
    cases.refused("no secret at all", &answer, &[400, 401], &["invalid_client"]);
    Ok(())
}

async fn made_up_secret(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = suite.client(Who::Pub)?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let form = pairs(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    let answer =
        suite.send(Send::form(&endpoint, &form).header("authorization", &basic(&client.spec.id, "made-up"))).await?;
    cases.refused("by Basic", &answer, &[400, 401], &["invalid_client", "invalid_request"]);
    let body = [form, pairs(&[("client_id", &client.spec.id), ("client_secret", "made-up")])].concat();
    let answer = suite.send(Send::form(&endpoint, &body)).await?;
    cases.refused("in the body", &answer, &[400, 401], &["invalid_client", "invalid_request"]);
    Ok(())
}

async fn secret_in_body(suite: &Suite, cases: &mut Cases) -> Checked {
    if suite.target.lists("token_endpoint_auth_methods_supported", "client_secret_post") {
        return Err(Stop::Skip("client_secret_post is advertised".into()));
    }
    let client = suite.client(Who::Sym)?;
    let secret = client.secret.as_deref().unwrap_or_default();
    let form = pairs(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("client_id", &client.spec.id),
        ("client_secret", secret),
    ]);
    let answer = suite.send(Send::form(&suite.endpoint("token_endpoint")?, &form)).await?;
    cases.refused("client_secret_post", &answer, &[400, 401], &["invalid_client", "invalid_request"]);
    Ok(())
}

async fn two_methods(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = super::assertions::signer(suite)?;
    let endpoint = suite.endpoint("token_endpoint")?;
    let form = pairs(&[("grant_type", "client_credentials"), ("scope", "system/Patient.rs")]);
    let send = suite.authenticated(client, &endpoint, form.clone())?;
    let answer = suite.send(send.header("authorization", &basic(&client.spec.id, "x"))).await?;
    cases.refused("assertion and Basic", &answer, &[400, 401], &["invalid_request", "invalid_client"]);
    let body = [form, pairs(&[("client_secret", "x"), ("client_id", &client.spec.id)])].concat();
    let answer = suite.send(suite.authenticated(client, &endpoint, body)?).await?;
    cases.refused("assertion and client_secret", &answer, &[400, 401], &["invalid_request", "invalid_client"]);
    Ok(())
}

/// What PF-12, NEG-075 ask of each refusal.
pub(super) fn careful(cases: &mut Cases, name: &str, answer: &Answer, secret: &str) {
    let text = answer.text();
    let cache = answer.header("cache-control").to_ascii_lowercase();
    cases.expect(format!("{name}: no-store"), cache.contains("no-store"), format!("Cache-Control: `{cache}`"));
    let media = answer.header("content-type");
    let json = media.starts_with("application/json") && !answer.error().is_empty();
    cases.expect(format!("{name}: a JSON error"), json || answer.status == 405, format!("{} `{media}`", answer.status));
    let inside = ["panicked at", "stack backtrace", "Exception", "Traceback", ".rs:", ".java:"];
    let tells = inside.iter().find(|word| text.contains(**word));
    cases.expect(format!("{name}: no inside"), tells.is_none(), format!("the answer holds {tells:?}"));
    cases.expect(format!("{name}: no echo"), !text.contains(secret), "the answer repeats what was secret");
}

async fn errors(suite: &Suite, cases: &mut Cases) -> Checked {
    let endpoint = suite.endpoint("token_endpoint")?;
    let secret = format!("secret-{}", nonce());
    let with = |extra: &[(&str, &str)]| {
        [pairs(&[("grant_type", "authorization_code"), ("code", &secret)]), pairs(extra)].concat()
    };
    let variants = [
        ("an unknown client", Send::form(&endpoint, &with(&[("client_id", "nobody"), ("client_secret", &secret)]))),
        ("nothing", Send::form(&endpoint, &[])),
        ("Basic", Send::form(&endpoint, &with(&[])).header("authorization", &basic("nobody", &secret))),
        (
            "a bad assertion",
            Send::form(
                &endpoint,
                &with(&[("client_assertion_type", crate::flow::JWT_BEARER), ("client_assertion", &secret)]),
            ),
        ),
        ("a JSON body", Send::json(&endpoint, &serde_json::json!({ "code": secret }))),
        ("GET", Send::get(&endpoint)),
    ];
    for (name, send) in variants {
        let answer = suite.send(send).await?;
        careful(cases, name, &answer, &secret);
    }
    Ok(())
}

async fn bad_input(suite: &Suite, cases: &mut Cases) -> Checked {
    let endpoint = suite.endpoint("token_endpoint")?;
    let raw = |body: Vec<u8>| {
        let send = Send { body, ..Send::get(&endpoint).method("POST") };
        send.header("content-type", "application/x-www-form-urlencoded")
    };
    let many: Vec<(String, String)> = (0..10_000).map(|number| (format!("f{number}"), "x".to_owned())).collect();
    let variants = [
        ("2 MB", raw([b"code=".to_vec(), vec![b'a'; 2_000_000]].concat())),
        ("10,000 fields", Send::form(&endpoint, &many)),
        ("broken encoding", raw(b"grant_type=%zz%&code=%".to_vec())),
        ("bytes that are no UTF-8", raw(b"grant_type=%ff%fe&code=\xff\xfe".to_vec())),
        ("NUL", raw(b"grant_type=client_credentials%00&client_id=a%00b".to_vec())),
        ("only separators", raw(b"&&&===&&=".to_vec())),
    ];
    for (name, send) in variants {
        // A server that hangs up on a body that is too long has refused it.
        match suite.http.send(send).await {
            Ok(answer) => {
                cases.expect(name, (400..500).contains(&answer.status) && !answer.has_token(), answer.shown())
            }
            Err(why) => cases.expect(name, name == "2 MB", why),
        }
    }
    let alive = suite.send(Send::form(&endpoint, &[])).await?;
    cases.expect("it still answers", alive.status < 500, alive.shown());
    Ok(())
}
