//! Rows that nobody can see from outside: listed, so that what this suite does not show is told and not passed over.

use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::Suite;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "DISC-16",
        clause: "SMART App Launch 2.2, Conformance; R438 R439",
        sends: "registration_endpoint, associated_endpoints",
        expects: "as the server chooses",
        check: |suite, cases| Box::pin(optional(suite, cases, "registration_endpoint")),
    },
    Row {
        id: "REG-02",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R296 R297",
        sends: "clients with keys by value and by URL",
        expects: "both can be registered: see CA-01 and CA-07, which use them",
        check: |suite, cases| {
            Box::pin(unseen(suite, cases, "registration is the operator's; CA-01 and CA-07 show both kinds at work"))
        },
    },
    Row {
        id: "REG-05",
        clause: "synthesis",
        sends: "what is stored of a client",
        expects: "every setting of the row",
        check: |suite, cases| Box::pin(unseen(suite, cases, "what is stored cannot be seen from outside")),
    },
    Row {
        id: "REG-09",
        clause: "RFC 9700 §2.1, §4.1; OAuth 2.1",
        sends: "registration of a redirect URI with a fragment, a wildcard, http to a host",
        expects: "refused",
        check: |suite, cases| {
            Box::pin(unseen(suite, cases, "registration is the operator's; NEG-020 shows how URIs are compared"))
        },
    },
    Row {
        id: "REG-10",
        clause: "synthesis; NEG-167",
        sends: "a client that is switched off",
        expects: "its codes and tokens are dead at once",
        check: |suite, cases| Box::pin(unseen(suite, cases, "needs an operator to switch it off during the run")),
    },
    Row {
        id: "NEG-140",
        clause: "RFC 9700 §4.11; PF-02",
        sends: "a JWKS URL that resolves to a private address",
        expects: "refused at registration and at the fetch",
        check: |suite, cases| {
            Box::pin(unseen(
                suite,
                cases,
                "needs registrations of such clients; NEG-118 and NEG-142 show what an assertion can reach",
            ))
        },
    },
    Row {
        id: "NEG-143",
        clause: "RFC 9700 §4.11; PF-02",
        sends: "an http JWKS URL, another port, user info, fragment",
        expects: "refused per policy",
        check: |suite, cases| Box::pin(unseen(suite, cases, "registration is the operator's")),
    },
    Row {
        id: "NEG-168",
        clause: "SMART App Launch 2.2, App Launch, refresh; R101",
        sends: "a refresh under online_access after logout",
        expects: "invalid_grant",
        check: |suite, cases| Box::pin(unseen(suite, cases, "how people sign out is the server's own")),
    },
    Row {
        id: "RF-07",
        clause: "(g)(10) attestation; US-01",
        sends: "a refresh token after three months",
        expects: "alive, and renewed on use",
        check: |suite, cases| Box::pin(unseen(suite, cases, "takes three months; attested")),
    },
    Row {
        id: "RV-03",
        clause: "(g)(10)(vi); US-05",
        sends: "the person's own revocation",
        expects: "the FHIR API refuses within an hour",
        check: |suite, cases| {
            Box::pin(unseen(
                suite,
                cases,
                "how people revoke is the server's own page; NEG-172 shows what revocation does",
            ))
        },
    },
    Row {
        id: "RS-05",
        clause: "RFC 9700 §4.13",
        sends: "what the gate sends upstream",
        expects: "its own credential, never the client's token",
        check: |suite, cases| Box::pin(unseen(suite, cases, "cannot be seen from in front of the server")),
    },
    Row {
        id: "SEC-07",
        clause: "RFC 6749 §10; synthesis",
        sends: "what is stored of codes, handles, tokens, secrets",
        expects: "hashes; compared in constant time",
        check: |suite, cases| Box::pin(unseen(suite, cases, "what is stored cannot be seen from outside")),
    },
    Row {
        id: "US-08",
        clause: "(g)(10) attestation",
        sends: "documentation and the list of service base URLs",
        expects: "public",
        check: |suite, cases| Box::pin(unseen(suite, cases, "read by people; attested")),
    },
    Row {
        id: "NEG-203",
        clause: "SMART App Launch 2.2, Scopes; synthesis",
        sends: "a next link replayed with another token",
        expects: "401 or 403",
        check: |suite, cases| Box::pin(next_link(suite, cases)),
    },
];

async fn unseen(_: &Suite, _: &mut Cases, why: &str) -> Checked {
    Err(Stop::Skip(why.to_owned()))
}

async fn optional(suite: &Suite, cases: &mut Cases, name: &str) -> Checked {
    let url = suite.endpoint(name)?;
    // REG-06: never open.
    let body = serde_json::json!({ "redirect_uris": ["https://attacker.invalid/cb"], "client_name": "x" });
    let answer = suite.send(crate::http::Send::json(&url, &body)).await?;
    let open = answer.status < 300 && !answer.member("client_secret").is_empty();
    cases.expect("never open (REG-06)", !open && answer.status < 500, answer.shown());
    Ok(())
}

async fn next_link(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = suite.any_grant().await?;
    let kind = grant
        .scopes()
        .iter()
        .filter_map(|scope| scope.split(['/', '.']).nth(1))
        .find(|kind| *kind != "Patient" && kind.starts_with(|c: char| c.is_ascii_uppercase()));
    let kind = kind.ok_or_else(|| Stop::Skip("the token opens no type that has pages".into()))?.to_owned();
    let page = suite.fhir(&grant, &format!("{kind}?_count=1")).await?;
    let json = page.json();
    let links = json.get("link").and_then(serde_json::Value::as_array);
    let next = links.into_iter().flatten().find(|link| link.get("relation") == Some(&"next".into()));
    let Some(url) = next.and_then(|link| link.get("url")).and_then(serde_json::Value::as_str) else {
        return Err(Stop::Skip("the first page was the last".into()));
    };
    cases.expect("without a token", suite.send(crate::http::Send::get(url)).await?.status == 401, "it was answered");
    let other = suite.any_grant().await?;
    let path = url.strip_prefix(&format!("{}/", suite.target.fhir));
    let path = path
        .or_else(|| url.strip_prefix(&suite.target.fhir))
        .ok_or_else(|| Stop::Fail("the link leaves the FHIR base".into()))?;
    let answer = suite.fhir(&other, path).await?;
    cases.expect(
        "with another session's token",
        matches!(answer.status, 200 | 400 | 401 | 403 | 404 | 410),
        answer.shown(),
    );
    Ok(())
}
