//! Discovery: the SMART configuration, RFC 8414, OpenID Connect and RFC 9728, and that they agree (A.1, C.1).

mod documents;

use serde_json::Value;
use url::Url;

use self::documents::{agree, anonymous, capability_statement, cors, other_documents, protected_resource, spoofed};
use crate::http::{Answer, Send};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::Suite;
use crate::target::SMART;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "DISC-01",
        clause: "SMART App Launch 2.2, Conformance, using .well-known; R372",
        sends: "GET {fhir}/.well-known/smart-configuration",
        expects: "200, also where the base has a path",
        check: |suite, cases| Box::pin(served(suite, cases)),
    },
    Row {
        id: "DISC-02",
        clause: "SMART App Launch 2.2, Conformance; R374 R377 R380",
        sends: "the same with each Accept a client may send",
        expects: "application/json each time",
        check: |suite, cases| Box::pin(accepts(suite, cases, false)),
    },
    Row {
        id: "NEG-001",
        clause: "SMART App Launch 2.2, Conformance; R374",
        sends: "Accept: text/html, application/fhir+json, */*, none",
        expects: "the same body each time",
        check: |suite, cases| Box::pin(accepts(suite, cases, true)),
    },
    Row {
        id: "DISC-03",
        clause: "SMART App Launch 2.2, Conformance; R378",
        sends: "every member that is an address",
        expects: "absolute URLs, https unless on loopback, without fragment",
        check: |suite, cases| Box::pin(absolute(suite, cases)),
    },
    Row {
        id: "DISC-04",
        clause: "SMART App Launch 2.2, Conformance; R385",
        sends: "token_endpoint",
        expects: "present",
        check: |suite, cases| Box::pin(present(suite, cases, &["token_endpoint"])),
    },
    Row {
        id: "DISC-05",
        clause: "SMART App Launch 2.2, Conformance; R383",
        sends: "authorization_endpoint",
        expects: "present if launch-ehr or launch-standalone is listed",
        check: |suite, cases| Box::pin(authorization_endpoint(suite, cases)),
    },
    Row {
        id: "DISC-06",
        clause: "SMART App Launch 2.2, Conformance; R384",
        sends: "grant_types_supported",
        expects: "authorization_code or client_credentials among them",
        check: |suite, cases| Box::pin(grant_types(suite, cases)),
    },
    Row {
        id: "DISC-07",
        clause: "SMART App Launch 2.2, Conformance; R393",
        sends: "capabilities",
        expects: "an array of strings",
        check: |suite, cases| Box::pin(capabilities(suite, cases)),
    },
    Row {
        id: "DISC-08",
        clause: "SMART App Launch 2.2, Conformance; R394",
        sends: "code_challenge_methods_supported",
        expects: "S256, not plain",
        check: |suite, cases| Box::pin(challenge_methods(suite, cases)),
    },
    Row {
        id: "DISC-09",
        clause: "SMART App Launch 2.2, Conformance; R381 R382",
        sends: "issuer and jwks_uri",
        expects: "both if sso-openid-connect is listed; no issuer otherwise",
        check: |suite, cases| Box::pin(issuer(suite, cases)),
    },
    Row {
        id: "DISC-10",
        clause: "SMART App Launch 2.2, Conformance; R389",
        sends: "scopes_supported",
        expects: "at least one FHIR scope, all of the grammar",
        check: |suite, cases| Box::pin(scopes(suite, cases)),
    },
    Row {
        id: "DISC-11",
        clause: "SMART App Launch 2.2, Conformance; R391",
        sends: "introspection_endpoint",
        expects: "present",
        check: |suite, cases| Box::pin(present(suite, cases, &["introspection_endpoint"])),
    },
    Row {
        id: "DISC-12",
        clause: "SMART App Launch 2.2, Conformance; R392",
        sends: "revocation_endpoint",
        expects: "present",
        check: |suite, cases| Box::pin(present(suite, cases, &["revocation_endpoint"])),
    },
    Row {
        id: "DISC-13",
        clause: "SMART App Launch 2.2, Conformance; R390",
        sends: "GET management_endpoint",
        expects: "a page, or its login, where people are served",
        check: |suite, cases| Box::pin(management(suite, cases)),
    },
    Row {
        id: "DISC-14",
        clause: "SMART App Launch 2.2, Conformance; RFC 9700 §2.1.2",
        sends: "response_types_supported",
        expects: "exactly [\"code\"] where people are served",
        check: |suite, cases| Box::pin(response_types(suite, cases)),
    },
    Row {
        id: "DISC-15",
        clause: "SMART App Launch 2.2, Client Authentication: Asymmetric; R285-R289",
        sends: "what client-confidential-asymmetric asks for",
        expects: "private_key_jwt, RS384 or ES384, scopes, token endpoint; no none and no HMAC",
        check: |suite, cases| Box::pin(asymmetric(suite, cases)),
    },
    Row {
        id: "DISC-20",
        clause: "SMART App Launch 2.2, Conformance",
        sends: "every capability",
        expects: "one HL7 defines, or a full URI",
        check: |suite, cases| Box::pin(capability_names(suite, cases)),
    },
    Row {
        id: "DISC-21",
        clause: "RFC 8414 §3; OpenID Connect Discovery §4",
        sends: "GET /.well-known/oauth-authorization-server{path}, {issuer}/.well-known/openid-configuration",
        expects: "the first always, the second with sso-openid-connect; issuer as fetched (MD-01)",
        check: |suite, cases| Box::pin(other_documents(suite, cases)),
    },
    Row {
        id: "NEG-003",
        clause: "RFC 8414 §3.3; SMART App Launch 2.2, Conformance",
        sends: "the three documents side by side",
        expects: "issuer, endpoints, keys, algorithms and PKCE methods are the same",
        check: |suite, cases| Box::pin(agree(suite, cases)),
    },
    Row {
        id: "DISC-22",
        clause: "SMART App Launch 2.2, App Launch, CORS; R16",
        sends: "GET with Origin: the SMART configuration, /metadata, the keys",
        expects: "Access-Control-Allow-Origin: * without credentials",
        check: |suite, cases| Box::pin(cors(suite, cases)),
    },
    Row {
        id: "DISC-23",
        clause: "SMART App Launch 2.2, Conformance",
        sends: "GET {fhir}/metadata",
        expects: "rest.security.service names SMART-on-FHIR",
        check: |suite, cases| Box::pin(capability_statement(suite, cases)),
    },
    Row {
        id: "DISC-24",
        clause: "RFC 6750 §3; (g)(10) kit",
        sends: "GET {fhir}/Patient without a token; /metadata and discovery without one",
        expects: "401; 200",
        check: |suite, cases| Box::pin(anonymous(suite, cases)),
    },
    Row {
        id: "NEG-007",
        clause: "RFC 9700 §4.13; PF-14",
        sends: "X-Forwarded-Host, X-Forwarded-Proto, Forwarded, Host: evil.invalid",
        expects: "issuer and endpoints unchanged, or the request refused",
        check: |suite, cases| Box::pin(spoofed(suite, cases)),
    },
    Row {
        id: "MD-02",
        clause: "RFC 9728 §3, §5.1",
        sends: "GET /.well-known/oauth-protected-resource{path}; GET {fhir}/Patient without a token",
        expects: "resource is the FHIR base, authorization_servers the issuer; the 401 names the document",
        check: |suite, cases| Box::pin(protected_resource(suite, cases)),
    },
];

/// Addresses that a document may name.
const ADDRESSES: [&str; 11] = [
    "issuer",
    "jwks_uri",
    "authorization_endpoint",
    "token_endpoint",
    "introspection_endpoint",
    "revocation_endpoint",
    "management_endpoint",
    "registration_endpoint",
    "userinfo_endpoint",
    "pushed_authorization_request_endpoint",
    "end_session_endpoint",
];

/// The capability names of SMART App Launch 2.2.
const CAPABILITIES: [&str; 20] = [
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-style",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "context-standalone-encounter",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
    "smart-app-state",
];

fn smart_url(suite: &Suite) -> String {
    format!("{}{SMART}", suite.target.fhir)
}

/// Skips unless the server serves people at all.
fn people_are_served(suite: &Suite) -> Checked {
    if suite.target.can("launch-ehr") || suite.target.can("launch-standalone") {
        return Ok(());
    }
    Err(Stop::Skip("neither launch-ehr nor launch-standalone is among the capabilities".into()))
}

async fn served(suite: &Suite, cases: &mut Cases) -> Checked {
    let answer = suite.send(Send::get(&smart_url(suite))).await?;
    cases.status(smart_url(suite), &answer, &[200]);
    cases.expect("a JSON object", answer.json().is_object(), answer.shown());
    Ok(())
}

fn is_json(answer: &Answer) -> bool {
    let media = answer.header("content-type").to_ascii_lowercase();
    media.split(';').next().unwrap_or_default().trim() == "application/json"
}

async fn accepts(suite: &Suite, cases: &mut Cases, compare: bool) -> Checked {
    let first = suite.send(Send::get(&smart_url(suite))).await?;
    for accept in ["", "*/*", "application/json", "application/fhir+json", "text/html"] {
        let send = Send::get(&smart_url(suite));
        let send = if accept.is_empty() { send } else { send.header("accept", accept) };
        let answer = suite.send(send).await?;
        let name = format!("Accept: {}", if accept.is_empty() { "(none)" } else { accept });
        if compare {
            let same = answer.status == 200 && answer.body == first.body;
            cases.expect(name, same, format!("another body than without Accept: {}", answer.shown()));
        } else {
            let saw = format!("{} `{}`", answer.status, answer.header("content-type"));
            cases.expect(name, answer.status == 200 && is_json(&answer), saw);
        }
    }
    Ok(())
}

async fn absolute(suite: &Suite, cases: &mut Cases) -> Checked {
    for name in ADDRESSES {
        let Some(value) = suite.target.smart.get(name) else { continue };
        let text = value.as_str().unwrap_or_default();
        let url = Url::parse(text).ok();
        let fine = url.is_some_and(|url| {
            let loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
            (url.scheme() == "https" || (url.scheme() == "http" && loopback)) && url.fragment().is_none()
        });
        cases.expect(name, fine, format!("`{value}`"));
    }
    Ok(())
}

async fn present(suite: &Suite, cases: &mut Cases, names: &[&str]) -> Checked {
    for name in names {
        let value = suite.target.smart.get(*name);
        cases.expect(*name, value.is_some_and(Value::is_string), "it is not in the SMART configuration");
    }
    Ok(())
}

async fn authorization_endpoint(suite: &Suite, cases: &mut Cases) -> Checked {
    people_are_served(suite)?;
    present(suite, cases, &["authorization_endpoint"]).await
}

fn words(suite: &Suite, name: &str) -> Vec<String> {
    let list = suite.target.smart.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn grant_types(suite: &Suite, cases: &mut Cases) -> Checked {
    let types = words(suite, "grant_types_supported");
    let known = types.iter().any(|name| name == "authorization_code" || name == "client_credentials");
    cases.expect("a known grant", known, format!("{types:?}"));
    // AZ-17 too: what is not offered must not be advertised.
    let weak = types.iter().any(|name| name == "implicit" || name == "password");
    cases.expect("no implicit, no password", !weak, format!("{types:?}"));
    let people = people_are_served(suite).is_ok();
    let code = types.iter().any(|name| name == "authorization_code");
    cases.expect("authorization_code if people are served", code || !people, format!("{types:?}"));
    Ok(())
}

async fn capabilities(suite: &Suite, cases: &mut Cases) -> Checked {
    let list = suite.target.smart.get("capabilities").and_then(Value::as_array);
    let fine = list.is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string));
    cases.expect("capabilities", fine, format!("{:?}", suite.target.smart.get("capabilities")));
    Ok(())
}

async fn challenge_methods(suite: &Suite, cases: &mut Cases) -> Checked {
    let methods = words(suite, "code_challenge_methods_supported");
    cases.expect("S256", methods.iter().any(|name| name == "S256"), format!("{methods:?}"));
    cases.expect("not plain", !methods.iter().any(|name| name == "plain"), format!("{methods:?}"));
    Ok(())
}

async fn issuer(suite: &Suite, cases: &mut Cases) -> Checked {
    if suite.target.can("sso-openid-connect") {
        return present(suite, cases, &["issuer", "jwks_uri"]).await;
    }
    let issuer = suite.target.smart.get("issuer");
    cases.expect("no issuer without single sign-on", issuer.is_none(), format!("{issuer:?}"));
    Ok(())
}

/// Whether a scope is a clinical one by SMART 1 or 2, whole.
pub(super) fn is_clinical(scope: &str) -> bool {
    let Some((level, rest)) = scope.split_once('/') else { return false };
    let Some((kind, rest)) = rest.split_once('.') else { return false };
    let (actions, query) = rest.split_once('?').map_or((rest, None), |(actions, query)| (actions, Some(query)));
    let kind_fits = kind == "*"
        || (kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.chars().all(|c| c.is_ascii_alphabetic()));
    let mut order = "cruds".chars();
    let v2 = !actions.is_empty() && actions.chars().all(|letter| order.any(|next| next == letter));
    let actions_fit = v2 || (query.is_none() && matches!(actions, "read" | "write" | "*"));
    let query_fits = query.is_none_or(|query| {
        query
            .split('&')
            .all(|pair| pair.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty()))
    });
    matches!(level, "patient" | "user" | "system") && kind_fits && actions_fit && query_fits
}

async fn scopes(suite: &Suite, cases: &mut Cases) -> Checked {
    let scopes = words(suite, "scopes_supported");
    let clinical: Vec<&String> = scopes
        .iter()
        .filter(|scope| ["patient/", "user/", "system/"].iter().any(|level| scope.starts_with(level)))
        .collect();
    cases.expect("a FHIR scope", !clinical.is_empty(), format!("{} scopes", scopes.len()));
    let wrong: Vec<&&String> = clinical.iter().filter(|scope| !is_clinical(scope)).collect();
    cases.expect("all of the grammar (SC-01, SC-03)", wrong.is_empty(), format!("{wrong:?}"));
    Ok(())
}

async fn management(suite: &Suite, cases: &mut Cases) -> Checked {
    people_are_served(suite)?;
    let Some(url) = suite.target.smart.get("management_endpoint").and_then(Value::as_str) else {
        cases.expect("management_endpoint", false, "it is not in the SMART configuration");
        return Ok(());
    };
    let answer = suite.send(Send::get(url)).await?;
    cases.status("management_endpoint", &answer, &[200, 302, 303, 401]);
    Ok(())
}

async fn response_types(suite: &Suite, cases: &mut Cases) -> Checked {
    people_are_served(suite)?;
    let types = words(suite, "response_types_supported");
    cases.expect("response_types_supported", types == ["code"], format!("{types:?}"));
    Ok(())
}

async fn asymmetric(suite: &Suite, cases: &mut Cases) -> Checked {
    if !suite.target.can("client-confidential-asymmetric") {
        return Err(Stop::Skip("client-confidential-asymmetric is not among the capabilities".into()));
    }
    present(suite, cases, &["token_endpoint"]).await?;
    cases.expect("scopes_supported", !words(suite, "scopes_supported").is_empty(), "none");
    let methods = words(suite, "token_endpoint_auth_methods_supported");
    cases.expect("private_key_jwt", methods.iter().any(|name| name == "private_key_jwt"), format!("{methods:?}"));
    let algorithms = words(suite, "token_endpoint_auth_signing_alg_values_supported");
    let strong = algorithms.iter().any(|name| name == "RS384" || name == "ES384");
    cases.expect("RS384 or ES384", strong, format!("{algorithms:?}"));
    let weak = algorithms.iter().any(|name| name == "none" || name.starts_with("HS"));
    cases.expect("no none, no HMAC", !weak, format!("{algorithms:?}"));
    Ok(())
}

async fn capability_names(suite: &Suite, cases: &mut Cases) -> Checked {
    let wrong: Vec<String> = words(suite, "capabilities")
        .into_iter()
        .filter(|name| !CAPABILITIES.contains(&name.as_str()) && Url::parse(name).is_err())
        .collect();
    cases.expect("capabilities", wrong.is_empty(), format!("{wrong:?}"));
    Ok(())
}

#[test]
fn only_whole_scopes_are_scopes() {
    for (scope, fine) in [
        ("patient/Observation.rs", true),
        ("patient/Observation.rs?category=a|b&code=c", true),
        ("system/*.cruds", true),
        ("user/Patient.read", true),
        ("user/Patient.*", true),
        ("patient/Observation.", false),
        ("patient/Observation.sr", false),
        ("patient/Observation.rr", false),
        ("patient/Observation.rs?", false),
        ("patient/observation.rs", false),
        ("patients/Observation.rs", false),
        ("patient/Observation.read?category=a", false),
    ] {
        assert_eq!(is_clinical(scope), fine, "{scope}");
    }
}
