//! The FHIR API as the token contract decides it (A.13, parts of C.7).

use serde_json::{Value, json};

use crate::http::{Answer, Send};
use crate::jose::{Draft, Key, join, nonce, peek};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Suite, now};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "RS-00",
        clause: "SMART App Launch 2.2, App Launch, accessing the FHIR API",
        sends: "GET {fhir}/Patient/P1 with a token for P1",
        expects: "200 and that Patient",
        check: |suite, cases| Box::pin(honest(suite, cases)),
    },
    Row {
        id: "RS-01",
        clause: "RFC 9068 §4; SMART App Launch 2.2; R94-R96; JAT-03",
        sends: "altered, unsigned, foreign, expired tokens; an ID token, an assertion as token",
        expects: "401",
        check: |suite, cases| Box::pin(bad_tokens(suite, cases)),
    },
    Row {
        id: "RS-02",
        clause: "RFC 6750 §3, §3.1",
        sends: "no token, a bad token, other schemes, two Authorization headers",
        expects: "401 with WWW-Authenticate: Bearer; invalid_token where one was sent",
        check: |suite, cases| Box::pin(challenges(suite, cases)),
    },
    Row {
        id: "RS-02a",
        clause: "RFC 6750 §3.1; RS-06",
        sends: "a read, a search and a create beyond the scope",
        expects: "403 insufficient_scope, no content",
        check: |suite, cases| Box::pin(beyond_scope(suite, cases)),
    },
    Row {
        id: "RS-03",
        clause: "RFC 9700 §4.3.2",
        sends: "the token in the query, in a form",
        expects: "401",
        check: |suite, cases| Box::pin(in_query(suite, cases)),
    },
    Row {
        id: "NEG-206",
        clause: "SMART App Launch 2.2, Scopes; SC-10; R140",
        sends: "another patient by compartment path, by parameter, by chain",
        expects: "403 or 404, or a Bundle without any match of that patient",
        check: |suite, cases| Box::pin(other_patient(suite, cases)),
    },
    Row {
        id: "NEG-207",
        clause: "SMART App Launch 2.2, Scopes; SC-10; RS-06",
        sends: "read, vread, history of another patient; of one that does not exist; system history",
        expects: "403 or 404, the same for both",
        check: |suite, cases| Box::pin(by_id(suite, cases)),
    },
    Row {
        id: "NEG-202",
        clause: "SMART App Launch 2.2, Scopes; RS-06",
        sends: "chained, _has, _filter, _query, _text, _content, _include=*, sort by an ungranted type",
        expects: "400 or 403, or nothing of another patient",
        check: |suite, cases| Box::pin(side_channels(suite, cases)),
    },
    Row {
        id: "NEG-200",
        clause: "SMART App Launch 2.2, Scopes; R130; SC-05",
        sends: "a batch with one forbidden entry; a transaction with one",
        expects: "that entry is refused; nothing of the transaction",
        check: |suite, cases| Box::pin(batch(suite, cases)),
    },
    Row {
        id: "NEG-212",
        clause: "FHIR R4, RESTful API; synthesis",
        sends: "dot segments, double slashes, %2f, ;parameters, other case, method override, HEAD, TRACE",
        expects: "normalised before the decision, or refused: never another patient's record",
        check: |suite, cases| Box::pin(disguised(suite, cases)),
    },
    Row {
        id: "NEG-008",
        clause: "RFC 9440; RFC 9700 §4.13; SEC-03; RS-05",
        sends: "Client-Cert, X-SSL-Client-*, X-Forwarded-User, X-Remote-User from here",
        expects: "ignored",
        check: |suite, cases| Box::pin(spoofed(suite, cases)),
    },
];

/// Whether a Bundle or resource names that patient as somebody's record.
fn holds(answer: &Answer, patient: &str) -> bool {
    let body = answer.json();
    let of = |resource: &Value| {
        let own =
            resource.get("resourceType") == Some(&"Patient".into()) && resource.get("id") == Some(&patient.into());
        own || ["subject", "patient"].iter().any(|name| {
            let reference = resource.get(*name).and_then(|subject| subject.get("reference")).and_then(Value::as_str);
            reference.is_some_and(|reference| reference.ends_with(&format!("Patient/{patient}")))
        })
    };
    let entries = body.get("entry").and_then(Value::as_array).into_iter().flatten();
    of(&body) || entries.filter_map(|entry| entry.get("resource")).any(of)
}

async fn honest(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p1) = (suite.any_grant().await?, suite.p1()?);
    let answer = suite.fhir(&grant, &format!("Patient/{p1}")).await?;
    cases.status("read", &answer, &[200]);
    cases.expect("that Patient", holds(&answer, p1), answer.shown());
    Ok(())
}

async fn bad_tokens(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p1) = (suite.any_grant().await?, suite.p1()?);
    let token = grant.access();
    let key = Key::generate("ES256")?;
    let mut tokens = vec![
        ("garbage".to_owned(), nonce()),
        ("empty parts".into(), "..".into()),
        ("100 kB".into(), "x".repeat(60_000)),
    ];
    if let Some((header, claims)) = peek(token) {
        let (input, _) = token.rsplit_once('.').unwrap_or_default();
        let draft = Draft::new(&header, &claims);
        tokens.extend([
            ("signature stripped".to_owned(), join(input, b"")),
            ("alg none".into(), join(&draft.clone().header("alg", "none".into()).input(), b"")),
            ("a stranger's signature, same kid".into(), draft.clone().header("alg", "ES256".into()).sign(&key)?),
            (
                "a stranger's key in jwk".into(),
                draft.clone().header("alg", "ES256".into()).header("jwk", key.jwk()).sign(&key)?,
            ),
            ("HMAC".into(), draft.clone().sign_hmac("HS256", b"")),
            ("another patient, same signature".into(), swapped(token, &draft.clone().claim("patient", "other".into()))),
            ("more scope, same signature".into(), swapped(token, &draft.claim("scope", "system/*.cruds".into()))),
        ]);
    } else {
        tokens.push(("cut".into(), token.get(1..).unwrap_or_default().to_owned()));
    }
    if !grant.text("id_token").is_empty() {
        tokens.push(("an ID token".into(), grant.text("id_token").to_owned()));
    }
    if grant.client.key.is_some() {
        tokens.push(("a client assertion".into(), suite.assertion(grant.client)?));
    }
    let claims = json!({ "iss": suite.target.issuer, "aud": suite.target.fhir, "sub": "x", "client_id": "x", "iat": now(),
        "exp": now() + 60, "jti": nonce(), "scope": "system/*.rs" });
    tokens.push(("wholly made up".into(), Draft::new(&json!({ "typ": "at+jwt" }), &claims).sign_honestly(&key)?));
    for (name, token) in tokens {
        let answer = suite.fhir_as(&token, &format!("Patient/{p1}")).await?;
        // A header beyond a server's limit is refused before it is read.
        let statuses: &[u16] = if name == "100 kB" { &[401, 400, 431] } else { &[401] };
        cases.status(name, &answer, statuses);
    }
    Ok(())
}

/// Another draft's header and claims under this token's signature.
fn swapped(token: &str, draft: &Draft) -> String {
    let signature = token.rsplit_once('.').map_or("", |(_, signature)| signature);
    format!("{}.{signature}", draft.input())
}

async fn challenges(suite: &Suite, cases: &mut Cases) -> Checked {
    let url = format!("{}/Patient", suite.target.fhir);
    let variants = [
        ("no token", vec![], false),
        ("a bad token", vec!["Bearer nonsense"], true),
        ("an empty token", vec!["Bearer "], false),
        ("Basic", vec!["Basic eDp5"], false),
        ("a scheme of nobody", vec!["Nope x"], false),
        ("two headers", vec!["Bearer a", "Bearer b"], false),
    ];
    for (name, headers, named) in variants {
        let send = headers.iter().fold(Send::get(&url), |send, header| send.header("authorization", header));
        let answer = suite.send(send).await?;
        let statuses: &[u16] = if name == "two headers" { &[401, 400] } else { &[401] };
        cases.status(name, &answer, statuses);
        let challenge = answer.header("www-authenticate");
        if answer.status == 401 {
            cases.expect(format!("{name}: WWW-Authenticate"), challenge.contains("Bearer"), format!("`{challenge}`"));
        }
        if named {
            let told = challenge.contains("error=\"invalid_token\"");
            cases.expect(format!("{name}: invalid_token"), told, format!("`{challenge}`"));
        }
    }
    Ok(())
}

async fn beyond_scope(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    let open =
        |kind: &str| grant.scopes().iter().any(|scope| scope.contains("/*.") || scope.contains(&format!("/{kind}.")));
    let ungranted =
        ["Immunization", "Procedure", "DocumentReference", "CarePlan", "Coverage"].into_iter().find(|kind| !open(kind));
    let Some(kind) = ungranted else {
        return Err(Stop::Skip("the token opens every type that was thought of".into()));
    };
    for path in [format!("{kind}/1"), kind.to_owned(), format!("{kind}?_count=1")] {
        let answer = suite.fhir(&grant, &path).await?;
        let challenge = answer.header("www-authenticate");
        cases.status(path.clone(), &answer, &[403]);
        cases.expect(
            format!("{path}: insufficient_scope"),
            challenge.contains("insufficient_scope"),
            format!("`{challenge}`"),
        );
        cases.expect(format!("{path}: no content"), answer.json().get("entry").is_none(), answer.shown());
    }
    if grant.text("token_type").eq_ignore_ascii_case("bearer") {
        let body = json!({ "resourceType": kind });
        let send = Send::json(&format!("{}/{kind}", suite.target.fhir), &body);
        let send = send.header("authorization", &format!("Bearer {}", grant.access()));
        let answer = grant.client.http.send(send).await?;
        cases.status("create", &answer, &[403]);
    }
    Ok(())
}

async fn in_query(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p1) = (suite.any_grant().await?, suite.p1()?);
    let url = format!("{}/Patient/{p1}?access_token={}", suite.target.fhir, grant.access());
    cases.status("in the query", &suite.send(Send::get(&url)).await?, &[401]);
    let form = crate::http::pairs(&[("access_token", grant.access())]);
    let answer = suite.send(Send::form(&format!("{}/Patient/_search", suite.target.fhir), &form)).await?;
    cases.status("in a form", &answer, &[401]);
    Ok(())
}

async fn other_patient(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p2) = (suite.any_grant().await?, suite.p2()?);
    for path in [
        format!("Patient/{p2}/Observation"),
        format!("Patient/{p2}/*"),
        format!("Patient/{p2}/$everything"),
        format!("Patient?_id={p2}"),
        format!("Observation?patient={p2}"),
        format!("Observation?patient=Patient/{p2}"),
        format!("Observation?subject=Patient/{p2}"),
        format!("Observation?patient={},{p2}", suite.p1()?),
        format!("Patient?_id={},{p2}", suite.p1()?),
    ] {
        let answer = suite.fhir(&grant, &path).await?;
        let held = !holds(&answer, p2) && answer.status < 500;
        cases.expect(path, held, answer.shown());
    }
    Ok(())
}

async fn by_id(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p2) = (suite.any_grant().await?, suite.p2()?);
    for suffix in ["", "/_history", "/_history/1"] {
        let there = suite.fhir(&grant, &format!("Patient/{p2}{suffix}")).await?;
        let absent = suite.fhir(&grant, &format!("Patient/no-such-patient-0{suffix}")).await?;
        cases.status(format!("another patient{suffix}"), &there, &[403, 404]);
        let same = there.status == absent.status && there.body.len().abs_diff(absent.body.len()) < 64;
        cases.expect(format!("as an absent one{suffix}"), same, format!("{} and {}", there.shown(), absent.shown()));
    }
    for path in ["_history", "Patient/_history"] {
        let answer = suite.fhir(&grant, path).await?;
        cases.expect(path, !holds(&answer, p2) && answer.status < 500, answer.shown());
    }
    Ok(())
}

async fn side_channels(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p1, p2) = (suite.any_grant().await?, suite.p1()?, suite.p2()?);
    for query in [
        "Patient?general-practitioner.name=a".to_owned(),
        "Patient?_has:Observation:patient:code=x".into(),
        "Patient?_filter=name eq x".replace(' ', "%20"),
        "Patient?_query=x".into(),
        "Patient?_text=x".into(),
        "Patient?_content=x".into(),
        format!("Patient?_id={p1}&_include=*"),
        format!("Patient?_id={p1}&_revinclude=*"),
        format!("Patient?_id={p1}&_revinclude=Observation:subject&_revinclude:iterate=*:*"),
        format!("Patient?_id={p1}&_include=Patient:link"),
        "Patient?_type=Patient,Observation".into(),
    ] {
        let answer = suite.fhir(&grant, &query).await?;
        cases.expect(query, !holds(&answer, p2) && answer.status < 500, answer.shown());
    }
    Ok(())
}

async fn batch(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p1, p2) = (suite.any_grant().await?, suite.p1()?, suite.p2()?);
    if !grant.text("token_type").eq_ignore_ascii_case("bearer") {
        return Err(Stop::Skip("the token is bound to a key".into()));
    }
    for kind in ["batch", "transaction"] {
        let entry = |id: &str| json!({ "request": { "method": "GET", "url": format!("Patient/{id}") } });
        let bundle = json!({ "resourceType": "Bundle", "type": kind, "entry": [entry(p1), entry(p2)] });
        let send = Send { body: bundle.to_string().into_bytes(), ..Send::get(&suite.target.fhir).method("POST") };
        let send = send
            .header("content-type", "application/fhir+json")
            .header("authorization", &format!("Bearer {}", grant.access()));
        let answer = grant.client.http.send(send).await?;
        cases.expect(
            format!("{kind}: nothing of the other patient"),
            !holds(&answer, p2) && answer.status < 500,
            answer.shown(),
        );
        if kind == "batch" && answer.status == 200 {
            let status = |index: usize| {
                answer
                    .json()
                    .pointer(&format!("/entry/{index}/response/status"))
                    .and_then(Value::as_str)
                    .unwrap_or("")
                    .to_owned()
            };
            cases.expect("batch: the allowed entry", status(0).starts_with("200"), status(0));
            cases.expect("batch: the forbidden entry", status(1).starts_with('4'), status(1));
        } else if kind == "transaction" {
            cases.expect("transaction: whole refused", answer.status >= 400, answer.shown());
        }
    }
    Ok(())
}

async fn disguised(suite: &Suite, cases: &mut Cases) -> Checked {
    let (grant, p1, p2) = (suite.any_grant().await?, suite.p1()?, suite.p2()?);
    for path in [
        format!("Patient/{p1}/../{p2}"),
        format!("Patient/{p1}/%2e%2e/{p2}"),
        format!("Patient//{p2}"),
        format!("/Patient/{p2}"),
        format!("Patient%2f{p2}"),
        format!("Patient/{p2};x=1"),
        format!("Patient;x=1/{p2}"),
        format!("patient/{p2}"),
        format!("Patient/{p2}/"),
        format!("Patient/{p1}/../../fhir/Patient/{p2}"),
        format!("Patient/{p1}%00/{p2}"),
        format!("./Patient/{p2}"),
        format!("Patient/{p1}?_format=json&_id={p2}"),
    ] {
        let url = format!("{}/{path}", suite.target.fhir);
        let send = Send::get(&url).header("authorization", &format!("Bearer {}", grant.access()));
        match grant.client.http.send(send).await {
            Ok(answer) => cases.expect(path, !holds(&answer, p2) && answer.status < 500, answer.shown()),
            Err(why) => cases.expect(path, why.contains("cannot be sent"), why),
        }
    }
    let url = format!("{}/Patient/{p2}", suite.target.fhir);
    for (name, method, header) in [
        ("HEAD", "HEAD", None),
        ("OPTIONS", "OPTIONS", None),
        ("TRACE", "TRACE", None),
        ("override by header", "POST", Some("x-http-method-override")),
    ] {
        let send = Send::get(&url).method(method).header("authorization", &format!("Bearer {}", grant.access()));
        let send = header.map_or(send.clone(), |header| send.header(header, "GET"));
        let answer = grant.client.http.send(send).await?;
        let leaks =
            holds(&answer, p2) || (name == "HEAD" && answer.status == 200) || answer.text().contains(grant.access());
        cases.expect(name, !leaks && answer.status != 500, answer.shown());
    }
    Ok(())
}

async fn spoofed(suite: &Suite, cases: &mut Cases) -> Checked {
    let url = format!("{}/Patient", suite.target.fhir);
    for (name, value) in [
        ("client-cert", ":MIIB:"),
        ("x-ssl-client-verify", "SUCCESS"),
        ("x-ssl-client-cert", "MIIB"),
        ("x-forwarded-client-cert", "Subject=\"CN=admin\""),
        ("x-forwarded-user", "admin"),
        ("x-remote-user", "admin"),
        ("x-hilum-session", "admin"),
    ] {
        let answer = suite.send(Send::get(&url).header(name, value)).await?;
        cases.status(name, &answer, &[401]);
    }
    Ok(())
}
