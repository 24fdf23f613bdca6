//! Pushed authorization requests (A.14, C.8).

use crate::browser::{End, PageKind};
use crate::flow::{Ask, Landing, exchange};
use crate::http::{Send, pairs};
use crate::jose::nonce;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "PA-01",
        clause: "RFC 9126 §2.1, §2.3",
        sends: "a push unauthenticated, with a wrong redirect URI, plain PKCE, response_type token, by GET",
        expects: "400, 401 or 405, no request_uri",
        check: |suite, cases| Box::pin(refused(suite, cases)),
    },
    Row {
        id: "PA-02",
        clause: "RFC 9126 §2.2; FA-03",
        sends: "an honest push",
        expects: "201, JSON, an unguessable request_uri, expires_in below 600, no-store",
        check: |suite, cases| Box::pin(honest(suite, cases)),
    },
    Row {
        id: "PA-03",
        clause: "RFC 9126 §4; RFC 9101 §6.3",
        sends: "a request_uri with other parameters beside it; with another client_id; with none",
        expects: "what was pushed holds; refused",
        check: |suite, cases| Box::pin(beside(suite, cases)),
    },
    Row {
        id: "NEG-230",
        clause: "RFC 9126 §2.1, §4, §7",
        sends: "request_uri in a push; a used one; one of another client; made-up ones",
        expects: "refused, no code",
        check: |suite, cases| Box::pin(uris(suite, cases)),
    },
    Row {
        id: "NEG-231",
        clause: "RFC 9126 §5; PA-04",
        sends: "a plain request by a client that must push",
        expects: "invalid_request, no code",
        check: |suite, cases| Box::pin(required(suite, cases)),
    },
];

/// A client that can push and is used by people.
fn pusher(suite: &Suite) -> Result<&Fixture, Stop> {
    suite.endpoint("pushed_authorization_request_endpoint")?;
    suite.first(&[Who::Asy, Who::Sym, Who::Asyu, Who::Pub])
}

fn request(suite: &Suite, client: &Fixture) -> Result<Ask, Stop> {
    suite.ask(client, &suite.config.scopes.base)
}

async fn honest(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = pusher(suite)?;
    let ask = request(suite, client)?;
    let answer = suite.push(client, &ask).await?;
    cases.status("pushed", &answer, &[201]);
    let uri = answer.member("request_uri");
    cases.expect(
        "request_uri",
        uri.starts_with("urn:ietf:params:oauth:request_uri:") && uri.len() >= 34 + 22,
        "not so",
    );
    let seconds = answer.json().get("expires_in").and_then(serde_json::Value::as_u64);
    cases.expect("expires_in", seconds.is_some_and(|seconds| seconds > 0 && seconds < 600), format!("{seconds:?}"));
    let cache = answer.header("cache-control");
    cases.expect("no-store", cache.contains("no-store"), cache);
    let second = suite.push(client, &request(suite, client)?).await?.member("request_uri");
    cases.expect("never the same", second != uri, "two pushes got one URI");
    if suite.alice().is_ok() {
        let walk = walk(suite, client, &ask, &client.spec.id, &uri).await?;
        let landing = crate::flow::landed(&walk)?;
        let answer = suite.token(client, exchange(&ask, landing.get("code"))).await?;
        cases.status("a token", &answer, &[200]);
    }
    Ok(())
}

async fn walk(suite: &Suite, client: &Fixture, ask: &Ask, id: &str, uri: &str) -> Result<crate::browser::Walk, Stop> {
    let url = suite.authorize_url(&pairs(&[("client_id", id), ("request_uri", uri)]))?;
    let _ = client;
    let conduct = suite.conduct(suite.alice().ok(), suite.p1().ok());
    Ok(suite.browser(ask).walk(Send::get(&url), &conduct).await)
}

fn no_code(cases: &mut Cases, name: &str, walk: &crate::browser::Walk) {
    let held = match &walk.end {
        End::App(location) => Landing::read(location).get("code").is_empty(),
        End::Page(page) => page.answer.status >= 400 || page.kind().is_none(),
        End::Lost(_) => false,
    };
    let asked_on = walk.pages.iter().any(|page| page.kind() == Some(PageKind::Consent));
    cases.expect(name, held && !asked_on, "the person was asked on, or a code came");
}

async fn refused(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = pusher(suite)?;
    let endpoint = suite.endpoint("pushed_authorization_request_endpoint")?;
    let right = request(suite, client)?;
    if client.key.is_some() || client.secret.is_some() {
        let answer = suite.send(Send::form(&endpoint, &right.params)).await?;
        cases.refused("unauthenticated", &answer, &[400, 401], &["invalid_client", "invalid_request"]);
    }
    let answer = suite.send(Send::get(&format!("{endpoint}?{}", crate::http::encode(&right.params)))).await?;
    cases.status("GET", &answer, &[405, 400, 404]);
    let wrong: Vec<(&str, Ask, &[&str])> = vec![
        (
            "a redirect URI of an attacker",
            right.clone().set("redirect_uri", "https://attacker.invalid/cb"),
            &["invalid_request", "invalid_redirect_uri"],
        ),
        ("plain PKCE", right.clone().set("code_challenge_method", "plain"), &["invalid_request"]),
        ("no challenge", right.clone().without("code_challenge"), &["invalid_request"]),
        (
            "response_type token",
            right.clone().set("response_type", "token"),
            &["unsupported_response_type", "invalid_request", "unauthorized_client"],
        ),
        ("aud of another", right.clone().set("aud", "https://other.invalid"), &["invalid_request", "invalid_target"]),
        ("another client_id", right.clone().set("client_id", "another"), &["invalid_request", "invalid_client"]),
        ("scope twice", right.clone().also("scope", "x"), &["invalid_request"]),
        ("no state", right.without("state"), &["invalid_request"]),
    ];
    for (name, ask, errors) in wrong {
        let answer = suite.push(client, &ask).await?;
        cases.refused(name, &answer, &[400, 401], errors);
        cases.expect(format!("{name}: no request_uri"), answer.member("request_uri").is_empty(), "one came");
    }
    Ok(())
}

async fn pushed(suite: &Suite, client: &Fixture, ask: &Ask) -> Result<String, Stop> {
    let answer = suite.push(client, ask).await?;
    match answer.member("request_uri") {
        uri if answer.status == 201 && !uri.is_empty() => Ok(uri),
        _ => Err(Stop::Fail(format!("an honest push was answered {}", answer.shown()))),
    }
}

async fn beside(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = pusher(suite)?;
    let conduct = suite.conduct(Some(suite.alice()?), Some(suite.p1()?));
    let ask = request(suite, client)?;
    let uri = pushed(suite, client, &ask).await?;
    let params = pairs(&[
        ("client_id", &client.spec.id),
        ("request_uri", &uri),
        ("redirect_uri", "https://attacker.invalid/cb"),
        ("state", "other"),
        ("scope", "patient/*.cruds"),
        ("code_challenge", &nonce()),
    ]);
    let mut browser = suite.browser(&ask);
    browser.also_at("https://attacker.invalid/cb");
    let walk = browser.walk(Send::get(&suite.authorize_url(&params)?), &conduct).await;
    match &walk.end {
        End::App(location) => {
            let landing = Landing::read(location);
            let own = location.starts_with(&ask.redirect_uri) && landing.get("state") == ask.state;
            cases.expect("what was pushed holds", own, "what stood beside it was used");
            let code = landing.get("code");
            if !code.is_empty() {
                let answer = suite.token(client, exchange(&ask, code)).await?;
                cases.status("the pushed challenge holds", &answer, &[200]);
                cases.expect(
                    "the pushed scope holds",
                    !answer.member("scope").contains("cruds"),
                    answer.member("scope"),
                );
            }
        }
        End::Page(page) => cases.expect("refused", page.answer.status >= 400, format!("{}", page.answer.status)),
        End::Lost(why) => cases.expect("what was pushed holds", false, why.clone()),
    }
    for (name, id) in [("another client_id", "another"), ("an empty client_id", "")] {
        let ask = request(suite, client)?;
        let uri = pushed(suite, client, &ask).await?;
        no_code(cases, name, &self::walk(suite, client, &ask, id, &uri).await?);
    }
    Ok(())
}

async fn uris(suite: &Suite, cases: &mut Cases) -> Checked {
    let client = pusher(suite)?;
    let ask = request(suite, client)?;
    let nested = ask.clone().set("request_uri", "urn:ietf:params:oauth:request_uri:x");
    cases.refused(
        "request_uri in a push",
        &suite.push(client, &nested).await?,
        &[400],
        &["invalid_request", "request_uri_not_supported"],
    );
    for uri in [
        "urn:ietf:params:oauth:request_uri:made-up",
        "urn:ietf:params:oauth:request_uri:",
        "https://attacker.invalid/r",
        "x",
    ] {
        no_code(cases, uri, &walk(suite, client, &ask, &client.spec.id, uri).await?);
    }
    if suite.alice().is_err() {
        cases.skip("a used one", "the configuration file has no [people.alice]");
        return Ok(());
    }
    let uri = pushed(suite, client, &ask).await?;
    crate::flow::landed(&walk(suite, client, &ask, &client.spec.id, &uri).await?)?;
    no_code(cases, "a used one", &walk(suite, client, &ask, &client.spec.id, &uri).await?);
    match [Who::Other, Who::Pub, Who::Sym]
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find(|other| other.spec.id != client.spec.id && !other.spec.redirect_uri.is_empty())
    {
        Some(other) => {
            let uri = pushed(suite, client, &ask).await?;
            no_code(cases, "by another client", &walk(suite, other, &ask, &other.spec.id, &uri).await?);
        }
        None => cases.skip("by another client", "the configuration file has no second app client"),
    }
    Ok(())
}

async fn required(suite: &Suite, cases: &mut Cases) -> Checked {
    let all = [Who::Pub, Who::Asy, Who::Sym, Who::Asyu, Who::Other];
    let client = all.into_iter().filter_map(|who| suite.client(who).ok()).find(|client| client.spec.par);
    let client = client.ok_or_else(|| Stop::Skip("no client of the configuration file says `par = true`".into()))?;
    let ask = request(suite, client)?;
    let conduct = suite.conduct(suite.alice().ok(), suite.p1().ok());
    let walk = suite.browser(&ask).walk(Send::get(&suite.authorize_url(&ask.params)?), &conduct).await;
    no_code(cases, "a plain request", &walk);
    Ok(())
}
