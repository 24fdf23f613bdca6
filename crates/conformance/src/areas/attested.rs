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
    Row {
        id: "REG-01",
        clause: "SMART App Launch 2.2, App Launch, register; R18 R24 R316",
        sends: "what a registration holds",
        expects: "launch URLs, redirect URIs, a client_id",
        check: |suite, cases| Box::pin(unseen(suite, cases, "registration is the operator's")),
    },
    Row {
        id: "LN-01",
        clause: "SMART App Launch 2.2, App Launch",
        sends: "the EHR's own launch of a registered launch URL",
        expects: "iss and launch",
        check: |suite, cases| {
            Box::pin(unseen(suite, cases, "an EHR does this, not this suite; LN-02 is what follows from it"))
        },
    },
    Row {
        id: "TK-07",
        clause: "SMART App Launch 2.2, App Launch, authorization_details (experimental); R82",
        sends: "authorization_details",
        expects: "echoed per location",
        check: |suite, cases| Box::pin(unseen(suite, cases, "optional and experimental")),
    },
    Row {
        id: "RF-06",
        clause: "SMART App Launch 2.2, App Launch; R102",
        sends: "which clients get refresh tokens",
        expects: "native apps too",
        check: |suite, cases| Box::pin(unseen(suite, cases, "a policy; RF-04 shows the client of the file")),
    },
    Row {
        id: "RF-09",
        clause: "RFC 9700 §4.14.2",
        sends: "inactivity of a refresh token",
        expects: "it expires",
        check: |suite, cases| Box::pin(unseen(suite, cases, "takes longer than a run")),
    },
    Row {
        id: "RF-10",
        clause: "FAPI 2.0",
        sends: "rotation for confidential clients",
        expects: "none without need",
        check: |suite, cases| Box::pin(unseen(suite, cases, "a policy: D-04")),
    },
    Row {
        id: "RF-11",
        clause: "SMART App Launch 2.2, best practices",
        sends: "a reused refresh token",
        expects: "the authorization ends",
        check: |suite, cases| Box::pin(unseen(suite, cases, "shown by NEG-160 for public clients")),
    },
    Row {
        id: "SC-07",
        clause: "SMART App Launch 2.2, Scopes; R119",
        sends: "scopes beyond what the person may see",
        expects: "never more than they may",
        check: |suite, cases| {
            Box::pin(unseen(suite, cases, "needs knowledge of the person's own permissions; NEG-042 shows patients"))
        },
    },
    Row {
        id: "SC-09",
        clause: "SMART App Launch 2.2, Scopes; R144",
        sends: "a wildcard",
        expects: "all types now and in future",
        check: |suite, cases| Box::pin(unseen(suite, cases, "a promise about the future")),
    },
    Row {
        id: "SC-11",
        clause: "SMART App Launch 2.2, Scopes; R139",
        sends: "Patient.link",
        expects: "documented",
        check: |suite, cases| Box::pin(unseen(suite, cases, "read by people")),
    },
    Row {
        id: "SC-12",
        clause: "SMART App Launch 2.2, Scopes; R134",
        sends: "long scope lists",
        expects: "work",
        check: |suite, cases| Box::pin(unseen(suite, cases, "NEG-030 sends too many; how many are enough is a policy")),
    },
    Row {
        id: "SC-15",
        clause: "SMART App Launch 2.2, Scopes; R217",
        sends: "scopes of the server's own",
        expects: "full URIs or __name",
        check: |suite, cases| Box::pin(unseen(suite, cases, "which are its own cannot be told from outside")),
    },
    Row {
        id: "CX-01",
        clause: "SMART App Launch 2.2, Scopes",
        sends: "launch/<type>?role",
        expects: "context of that type",
        check: |suite, cases| {
            Box::pin(unseen(suite, cases, "needs an EHR with such context; CX-03 shows launch/patient"))
        },
    },
    Row {
        id: "CX-06",
        clause: "SMART App Launch 2.2, Scopes; R159 R160",
        sends: "an unsupported role",
        expects: "context of the type",
        check: |suite, cases| Box::pin(unseen(suite, cases, "needs an EHR with such context")),
    },
    Row {
        id: "CX-08",
        clause: "SMART App Launch 2.2, Scopes; R163 R168",
        sends: "unsolicited context",
        expects: "may be ignored",
        check: |suite, cases| Box::pin(unseen(suite, cases, "optional")),
    },
    Row {
        id: "OI-03",
        clause: "SMART App Launch 2.2, Scopes; R197",
        sends: "fhirUser for a person without a resource",
        expects: "not granted",
        check: |suite, cases| Box::pin(unseen(suite, cases, "needs such a person")),
    },
    Row {
        id: "CA-13",
        clause: "RFC 8705 §2",
        sends: "tls_client_auth",
        expects: "the client is known",
        check: |suite, cases| {
            Box::pin(unseen(
                suite,
                cases,
                "MT-01 shows bound tokens; client authentication by certificate needs a client of that kind",
            ))
        },
    },
    Row {
        id: "MT-02",
        clause: "RFC 8705 §2.1",
        sends: "another subject, another certificate",
        expects: "refused",
        check: |suite, cases| Box::pin(unseen(suite, cases, "needs certificates of the client's own authority")),
    },
    Row {
        id: "JAT-04",
        clause: "RFC 9068",
        sends: "long scopes in readable tokens",
        expects: "as the server decides",
        check: |suite, cases| Box::pin(unseen(suite, cases, "a decision: JWTs, never opaque")),
    },
    Row {
        id: "NEG-148",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R341",
        sends: "max-age of a year, the key removed",
        expects: "dropped after an hour at most",
        check: |suite, cases| Box::pin(unseen(suite, cases, "takes an hour")),
    },
    Row {
        id: "NEG-167",
        clause: "RFC 9700 §4.14.2",
        sends: "a refresh after the person, client or consent is switched off",
        expects: "invalid_grant",
        check: |suite, cases| Box::pin(unseen(suite, cases, "needs an operator during the run")),
    },
    Row {
        id: "NEG-199",
        clause: "FHIR R4, RESTful API, conditional interactions",
        sends: "conditional writes with only c, u, d",
        expects: "refused without s",
        check: |suite, cases| {
            Box::pin(unseen(suite, cases, "needs a token that writes, on records that may be changed"))
        },
    },
    Row {
        id: "NEG-209",
        clause: "SMART App Launch 2.2, Scopes",
        sends: "an update that changes category out of scope",
        expects: "refused",
        check: |suite, cases| {
            Box::pin(unseen(suite, cases, "needs a token that writes, on records that may be changed"))
        },
    },
    Row {
        id: "NEG-211",
        clause: "SMART App Launch 2.2, Scopes",
        sends: "contained and referenced resources out of scope",
        expects: "filtered as their own type",
        check: |suite, cases| Box::pin(unseen(suite, cases, "needs records made for it")),
    },
    Row {
        id: "NEG-242",
        clause: "HL7 SSRAA STU2, B2B; UD-12",
        sends: "a token of one purpose for an action of another",
        expects: "403",
        check: |suite, cases| Box::pin(unseen(suite, cases, "which action needs which purpose is the server's policy")),
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
