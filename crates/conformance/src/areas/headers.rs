//! CORS (A.5, A.12, A.13; D-11) and the transport (A.17).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http::{Answer, Send, pairs};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "TK-12",
        clause: "SMART App Launch 2.2, App Launch, CORS; R17",
        sends: "preflight and POST to the token and revocation endpoints from a registered origin",
        expects: "that origin allowed, on success and on error",
        check: |suite, cases| Box::pin(registered(suite, cases)),
    },
    Row {
        id: "NEG-076",
        clause: "RFC 9700 §2.6; D-11; PF-13",
        sends: "the same from an origin nobody registered; null; a look-alike",
        expects: "not allowed, and never * with credentials",
        check: |suite, cases| Box::pin(unregistered(suite, cases)),
    },
    Row {
        id: "AZ-13",
        clause: "RFC 9700 §2.6",
        sends: "preflight and GET to the authorization endpoint with Origin",
        expects: "no CORS header",
        check: |suite, cases| Box::pin(authorize(suite, cases)),
    },
    Row {
        id: "RS-07",
        clause: "SMART App Launch 2.2, App Launch, CORS; R17",
        sends: "preflight and GET to the FHIR API from a registered origin, and from another",
        expects: "allowed with Authorization; not allowed",
        check: |suite, cases| Box::pin(resource(suite, cases)),
    },
    Row {
        id: "US-07",
        clause: "(g)(10) TLS probe; BE-08; R231",
        sends: "a TLS 1.0 and a TLS 1.1 handshake",
        expects: "refused",
        check: |suite, cases| Box::pin(old_tls(suite, cases)),
    },
];

fn with_origin(suite: &Suite) -> Result<(&Fixture, &str), Stop> {
    let all = [Who::Pub, Who::Asy, Who::Sym, Who::Asyu];
    let found = all
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find_map(|client| Some((client, client.spec.origin.as_deref()?)));
    found.ok_or_else(|| Stop::Skip("no client of the configuration file has an `origin`".into()))
}

fn preflight(url: &str, origin: &str, method: &str) -> Send {
    Send::get(url)
        .method("OPTIONS")
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization, content-type")
}

fn allowed(answer: &Answer) -> String {
    answer.header("access-control-allow-origin")
}

async fn registered(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, origin) = with_origin(suite)?;
    for name in ["token_endpoint", "revocation_endpoint"] {
        let url = suite.endpoint(name)?;
        let answer = suite.send(preflight(&url, origin, "POST")).await?;
        cases.expect(format!("{name}: preflight"), answer.status < 300 && allowed(&answer) == origin, answer.shown());
        let methods = answer.header("access-control-allow-methods");
        cases.expect(format!("{name}: POST is allowed"), methods.contains("POST") || methods == "*", methods.clone());
        let form = pairs(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", "x"),
            ("token", "x"),
            ("client_id", &client.spec.id),
        ]);
        let answer = suite.send(Send::form(&url, &form).header("origin", origin)).await?;
        cases.expect(
            format!("{name}: the POST itself"),
            allowed(&answer) == origin,
            format!("{}, `{}`", answer.shown(), allowed(&answer)),
        );
        let vary = answer.header("vary").to_ascii_lowercase();
        cases.expect(format!("{name}: Vary: Origin"), vary.contains("origin"), vary);
    }
    Ok(())
}

async fn unregistered(suite: &Suite, cases: &mut Cases) -> Checked {
    let mut origins = vec!["https://attacker.invalid".to_owned(), "null".into()];
    if let Ok((_, origin)) = with_origin(suite) {
        origins.push(format!("{origin}.attacker.invalid"));
        origins.push(format!("{origin}1"));
    }
    for name in ["token_endpoint", "revocation_endpoint", "introspection_endpoint"] {
        let Some(url) = suite.target.endpoint(name) else { continue };
        for origin in &origins {
            let form = pairs(&[("grant_type", "refresh_token"), ("refresh_token", "x"), ("token", "x")]);
            for (kind, send) in [
                ("preflight", preflight(&url, origin, "POST")),
                ("POST", Send::form(&url, &form).header("origin", origin)),
            ] {
                let answer = suite.send(send).await?;
                let open = allowed(&answer) == *origin || allowed(&answer) == "*";
                cases.expect(
                    format!("{name}: {kind} from {origin}"),
                    !open,
                    format!("allowed for `{}`", allowed(&answer)),
                );
            }
        }
    }
    Ok(())
}

async fn authorize(suite: &Suite, cases: &mut Cases) -> Checked {
    let url = suite.endpoint("authorization_endpoint")?;
    let origin = with_origin(suite).map_or("https://app.invalid", |(_, origin)| origin);
    for (name, send) in
        [("preflight", preflight(&url, origin, "GET")), ("GET", Send::get(&url).header("origin", origin))]
    {
        let answer = suite.send(send).await?;
        cases.expect(name, allowed(&answer).is_empty(), format!("allowed for `{}`", allowed(&answer)));
    }
    Ok(())
}

async fn resource(suite: &Suite, cases: &mut Cases) -> Checked {
    let url = format!("{}/Patient", suite.target.fhir);
    let foreign = suite.send(preflight(&url, "https://attacker.invalid", "GET")).await?;
    let open = allowed(&foreign) == "https://attacker.invalid"
        || (allowed(&foreign) == "*" && foreign.header("access-control-allow-credentials") == "true");
    cases.expect("from another origin", !open, format!("allowed for `{}`", allowed(&foreign)));
    let (_, origin) = with_origin(suite)?;
    let answer = suite.send(preflight(&url, origin, "GET")).await?;
    cases.expect(
        "preflight",
        answer.status < 300 && (allowed(&answer) == origin || allowed(&answer) == "*"),
        answer.shown(),
    );
    let headers = answer.header("access-control-allow-headers").to_ascii_lowercase();
    cases.expect("Authorization is allowed", headers.contains("authorization"), headers);
    let answer = suite.send(Send::get(&url).header("origin", origin)).await?;
    cases.expect("the 401 can be read", allowed(&answer) == origin || allowed(&answer) == "*", answer.shown());
    Ok(())
}

/// A `ClientHello` of an old version with the usual cipher suites of its time; whatever follows, a `ServerHello` may not.
fn hello(minor: u8) -> Vec<u8> {
    let suites: [u8; 8] = [0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, 8]);
    body.extend(suites);
    body.extend([1, 0]);
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut record = vec![22, 3, 1, 0, length.saturating_add(4), 1, 0, 0, length];
    record.extend(body);
    record
}

async fn old_tls(suite: &Suite, cases: &mut Cases) -> Checked {
    let url = url::Url::parse(&suite.endpoint("token_endpoint")?).map_err(|why| Stop::Fail(why.to_string()))?;
    if url.scheme() != "https" {
        return Err(Stop::Skip("the server is reached without TLS, on loopback".into()));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    for (name, minor) in [("TLS 1.0", 1), ("TLS 1.1", 2)] {
        let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await;
        let mut stream = stream.map_err(|why| Stop::Fail(why.to_string()))?;
        let mut head = [0_u8; 6];
        let sent = stream.write_all(&hello(minor)).await;
        let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read(&mut head)).await;
        let greeted = sent.is_ok() && matches!(read, Ok(Ok(count)) if count > 0) && head.first() == Some(&22);
        cases.expect(name, !greeted, "the server answered with a handshake");
    }
    Ok(())
}
