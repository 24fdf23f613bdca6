//! Retrieval of a client's key set (A.11, C.5): served by this suite on loopback, as each row wants it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::flow::key_of;
use crate::host::{KeyHost, Serve};
use crate::http::{Answer, Send, pairs};
use crate::jose::Key;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "CA-07",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R339",
        sends: "an assertion by a client with a JWKS URL",
        expects: "the client is known; the set was fetched by GET with Accept: application/json and no credentials",
        check: |suite, cases| Box::pin(fetched(suite, cases)),
    },
    Row {
        id: "NEG-142",
        clause: "RFC 9700 §4.11; PF-02",
        sends: "a redirect where the key set was",
        expects: "not followed: invalid_client",
        check: |suite, cases| Box::pin(redirected(suite, cases)),
    },
    Row {
        id: "NEG-145",
        clause: "RFC 7517 §5; PF-02",
        sends: "HTML, broken JSON, an empty set, a private key, two keys of one kid, 5 MB",
        expects: "invalid_client",
        check: |suite, cases| Box::pin(malformed(suite, cases)),
    },
    Row {
        id: "NEG-146",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R341 R342; US-06",
        sends: "max-age=2, the key replaced, a pause of 4 s",
        expects: "the new key is accepted, the old one refused",
        check: |suite, cases| Box::pin(rotated(suite, cases)),
    },
    Row {
        id: "CA-09",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R341 R342",
        sends: "five assertions within max-age=60",
        expects: "the set is fetched at most once more",
        check: |suite, cases| Box::pin(cached(suite, cases)),
    },
    Row {
        id: "NEG-147",
        clause: "RFC 9111 §5.2.2.5; R341",
        sends: "no-store, the key replaced at once",
        expects: "the new key is accepted, the old one refused",
        check: |suite, cases| Box::pin(never_kept(suite, cases)),
    },
    Row {
        id: "NEG-150",
        clause: "PF-02",
        sends: "503 from the key host, with the set in the cache, and after it aged",
        expects: "known; invalid_client",
        check: |suite, cases| Box::pin(host_down(suite, cases)),
    },
    Row {
        id: "NEG-151",
        clause: "PF-02, PF-26",
        sends: "404, 500, HTML, a closed connection where the key set was",
        expects: "the same answer for each",
        check: |suite, cases| Box::pin(no_oracle(suite, cases)),
    },
];

/// Longer than the `max-age=1` of the usual set.
const AGED: Duration = Duration::from_millis(2_500);

fn fixture(suite: &Suite) -> Result<(&Fixture, &Key, &KeyHost), Stop> {
    let client = suite.client(Who::Asyu)?;
    let host = suite.host.as_ref().ok_or_else(|| Stop::Skip("[clients.asyu] names no `jwks_port`".into()))?;
    Ok((client, key_of(client)?, host))
}

/// An assertion signed by this key, at the token endpoint.
async fn knock(suite: &Suite, client: &Fixture, key: &Key) -> Result<Answer, Stop> {
    let mut fields = pairs(&[("grant_type", "refresh_token"), ("refresh_token", "not-a-token")]);
    fields.extend(crate::flow::asserted(&suite.draft(client).sign_honestly(key)?));
    Ok(client.http.send(Send::form(&suite.endpoint("token_endpoint")?, &fields)).await?)
}

fn known(answer: &Answer) -> bool {
    answer.status < 500 && answer.error() != "invalid_client"
}

fn set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

async fn fetched(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, key, host) = fixture(suite)?;
    tokio::time::sleep(AGED).await;
    let answer = knock(suite, client, key).await?;
    cases.expect("the client is known", known(&answer), answer.shown());
    let heads = host.heads();
    let head = heads.first().cloned().unwrap_or_default().to_ascii_lowercase();
    cases.expect("fetched by GET", head.starts_with("get "), format!("{} requests", heads.len()));
    cases.expect("Accept: application/json", head.contains("accept: application/json"), "another Accept, or none");
    cases.expect("no credentials", !head.contains("authorization:") && !head.contains("cookie:"), "it sent some");
    Ok(())
}

/// Serves something wrong after the cache aged, and expects a refusal.
async fn wrong(suite: &Suite, cases: &mut Cases, name: &str, serve: Serve) -> Result<Answer, Stop> {
    let (client, _, host) = fixture(suite)?;
    // A key nobody has seen: a set in the cache cannot hold it, so the server must look.
    let fresh = Key::generate("ES384")?;
    let body = serve.body.replace("\"KEY\"", &fresh.jwk().to_string());
    host.serve(Serve { body, ..serve });
    tokio::time::sleep(AGED).await;
    let answer = knock(suite, client, &fresh).await?;
    cases.refused(name, &answer, &[400, 401], &["invalid_client"]);
    Ok(answer)
}

fn json_headers() -> String {
    "Content-Type: application/json\r\nCache-Control: max-age=1\r\n".to_owned()
}

async fn redirected(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, _, host) = fixture(suite)?;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let headers = "Location: /other.json\r\nContent-Type: application/json\r\n".to_owned();
        wrong(suite, cases, status, Serve { status: status.into(), headers, body: r#"{"keys":["KEY"]}"#.into() })
            .await?;
    }
    let followed = host.heads().iter().any(|head| head.contains("/other.json"));
    cases.expect("not followed", !followed, "it asked for where the redirect led");
    Ok(())
}

async fn malformed(suite: &Suite, cases: &mut Cases) -> Checked {
    let ok = |body: &str| Serve { status: "200 OK".into(), headers: json_headers(), body: body.to_owned() };
    let html = Serve { headers: "Content-Type: text/html\r\n".into(), ..ok(r"<html>KEY</html>") };
    wrong(suite, cases, "HTML", html).await?;
    for (name, body) in [
        ("broken JSON", r#"{"keys":["KEY"]"#.to_owned()),
        ("no set", r#"["KEY"]"#.into()),
        ("an empty set", r#"{"keys":[]}"#.into()),
        ("the same key twice", r#"{"keys":["KEY","KEY"]}"#.into()),
        ("5 MB", format!(r#"{{"keys":["KEY"],"x":"{}"}}"#, "x".repeat(5_000_000))),
    ] {
        wrong(suite, cases, name, ok(&body)).await?;
    }
    Ok(())
}

async fn rotated(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, key, host) = fixture(suite)?;
    host.serve_set(&set(&[key.jwk()]), "max-age=2");
    tokio::time::sleep(AGED).await;
    cases.expect("the old key before", known(&knock(suite, client, key).await?), "it is refused");
    let next = Key::generate("ES384")?;
    host.serve_set(&set(&[next.jwk()]), "max-age=2");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let answer = knock(suite, client, &next).await?;
    cases.expect("the new key", known(&answer), answer.shown());
    let answer = knock(suite, client, key).await?;
    cases.refused("the old key after", &answer, &[400, 401], &["invalid_client"]);
    Ok(())
}

async fn cached(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, key, host) = fixture(suite)?;
    host.serve_set(&set(&[key.jwk()]), "max-age=60");
    tokio::time::sleep(AGED).await;
    for _ in 0..5 {
        knock(suite, client, key).await?;
    }
    let asked = host.heads().len();
    cases.expect("fetches", asked <= 1, format!("{asked} for five assertions"));
    // What follows wants a short life again; a set that is kept for a minute would outlive this row.
    host.reset();
    Ok(())
}

async fn never_kept(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, key, host) = fixture(suite)?;
    host.serve_set(&set(&[key.jwk()]), "no-store");
    tokio::time::sleep(AGED).await;
    cases.expect("the old key before", known(&knock(suite, client, key).await?), "it is refused");
    let next = Key::generate("ES384")?;
    host.serve_set(&set(&[next.jwk()]), "no-store");
    // A server may join fetches of the same moment.
    tokio::time::sleep(AGED).await;
    let answer = knock(suite, client, &next).await?;
    cases.expect("the new key", known(&answer), answer.shown());
    cases.refused("the old key after", &knock(suite, client, key).await?, &[400, 401], &["invalid_client"]);
    Ok(())
}

async fn host_down(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, key, host) = fixture(suite)?;
    host.serve_set(&set(&[key.jwk()]), "max-age=8");
    tokio::time::sleep(AGED).await;
    cases.expect("before", known(&knock(suite, client, key).await?), "it is refused");
    host.serve(Serve { status: "503 Service Unavailable".into(), headers: String::new(), body: String::new() });
    let answer = knock(suite, client, key).await?;
    cases.expect("from the cache", known(&answer), answer.shown());
    tokio::time::sleep(Duration::from_secs(10)).await;
    cases.refused("after it aged", &knock(suite, client, key).await?, &[400, 401], &["invalid_client"]);
    Ok(())
}

async fn no_oracle(suite: &Suite, cases: &mut Cases) -> Checked {
    let serve = |status: &str, headers: &str, body: &str| Serve {
        status: status.into(),
        headers: headers.into(),
        body: body.into(),
    };
    let mut first: Option<Answer> = None;
    for (name, serve) in [
        ("404", serve("404 Not Found", "", "")),
        ("500", serve("500 Internal Server Error", "", "")),
        ("HTML", serve("200 OK", "Content-Type: text/html\r\n", "<html></html>")),
        ("nonsense", serve("", "", "")),
    ] {
        let answer = wrong(suite, cases, name, serve).await?;
        let same = first.as_ref().is_none_or(|first| first.status == answer.status && first.body == answer.body);
        cases.expect(format!("{name}: as the others"), same, answer.shown());
        first = first.or(Some(answer));
    }
    Ok(())
}
