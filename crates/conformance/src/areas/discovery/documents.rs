//! The documents beside the SMART configuration, and who may read them all.

use serde_json::Value;
use url::Url;

use super::{ADDRESSES, smart_url};
use crate::http::Send;
use crate::row::{Cases, Checked};
use crate::suite::Suite;
use crate::target::well_known;

pub(super) async fn other_documents(suite: &Suite, cases: &mut Cases) -> Checked {
    let issuer = &suite.target.asked;
    let issuer_of = |document: &Value| document.get("issuer").and_then(Value::as_str).map(str::to_owned);
    let oauth = &suite.target.oauth;
    cases.expect(
        "RFC 8414",
        oauth.is_object(),
        format!("none at {}", well_known(issuer, "oauth-authorization-server")),
    );
    if oauth.is_object() {
        cases.expect("its issuer", issuer_of(oauth).as_ref() == Some(issuer), format!("{:?}", issuer_of(oauth)));
        let plain = Url::parse(issuer).is_ok_and(|url| url.query().is_none() && url.fragment().is_none());
        cases.expect("an issuer without query and fragment (MD-01)", plain, issuer.clone());
    }
    if suite.target.can("sso-openid-connect") {
        let oidc = &suite.target.oidc;
        cases.expect("OpenID Connect Discovery", oidc.is_object(), format!("none at {issuer}"));
        cases.expect("its issuer", issuer_of(oidc).as_ref() == Some(issuer), format!("{:?}", issuer_of(oidc)));
    } else {
        cases.skip("OpenID Connect Discovery", "sso-openid-connect is not among the capabilities");
    }
    Ok(())
}

pub(super) async fn agree(suite: &Suite, cases: &mut Cases) -> Checked {
    let documents = [("RFC 8414", &suite.target.oauth), ("OpenID Connect", &suite.target.oidc)];
    for (name, document) in documents {
        let Some(members) = document.as_object() else {
            cases.skip(name, "there is no such document");
            continue;
        };
        let shared = suite
            .target
            .smart
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(member, _)| ADDRESSES.contains(&member.as_str()) || member.ends_with("_supported"));
        let differ: Vec<&String> = shared
            .filter(|(member, value)| members.get(*member).is_some_and(|other| other != *value))
            .map(|(member, _)| member)
            .collect();
        cases.expect(name, differ.is_empty(), format!("these differ from the SMART configuration: {differ:?}"));
    }
    Ok(())
}

pub(super) async fn cors(suite: &Suite, cases: &mut Cases) -> Checked {
    let mut urls = vec![smart_url(suite), format!("{}/metadata", suite.target.fhir)];
    urls.extend(suite.target.endpoint("jwks_uri"));
    for url in urls {
        let answer = suite.send(Send::get(&url).header("origin", "https://app.invalid")).await?;
        let origin = answer.header("access-control-allow-origin");
        let credentials = answer.header("access-control-allow-credentials");
        let open = origin == "*" || (origin == "https://app.invalid" && credentials != "true");
        cases.expect(url, answer.status == 200 && open, format!("{}, allow-origin `{origin}`", answer.status));
    }
    Ok(())
}

pub(super) async fn capability_statement(suite: &Suite, cases: &mut Cases) -> Checked {
    let url = format!("{}/metadata", suite.target.fhir);
    let answer = suite.send(Send::get(&url).header("accept", "application/fhir+json")).await?;
    let json = answer.json();
    cases.expect(
        "a CapabilityStatement",
        json.get("resourceType") == Some(&"CapabilityStatement".into()),
        answer.shown(),
    );
    let services = json.pointer("/rest/0/security/service").and_then(Value::as_array);
    let codings = services.into_iter().flatten().filter_map(|service| service.get("coding")?.as_array()).flatten();
    let smart = codings.filter_map(|coding| coding.get("code")?.as_str()).any(|code| code == "SMART-on-FHIR");
    cases.expect("SMART-on-FHIR", smart, "rest[0].security.service does not name it");
    Ok(())
}

pub(super) async fn anonymous(suite: &Suite, cases: &mut Cases) -> Checked {
    for path in ["Patient", "Patient/1", "Observation?category=laboratory"] {
        let answer = suite.send(Send::get(&format!("{}/{path}", suite.target.fhir))).await?;
        cases.status(path, &answer, &[401]);
    }
    for url in [smart_url(suite), format!("{}/metadata", suite.target.fhir)] {
        let answer = suite.send(Send::get(&url)).await?;
        cases.status(url, &answer, &[200]);
    }
    Ok(())
}

pub(super) async fn spoofed(suite: &Suite, cases: &mut Cases) -> Checked {
    let headers = [
        vec![("x-forwarded-host", "evil.invalid"), ("x-forwarded-proto", "https")],
        vec![("forwarded", "host=evil.invalid;proto=https")],
        vec![("host", "evil.invalid")],
        vec![("x-original-host", "evil.invalid"), ("x-host", "evil.invalid")],
    ];
    for set in headers {
        let send = set.iter().fold(Send::get(&smart_url(suite)), |send, (name, value)| send.header(name, value));
        let answer = suite.send(send).await?;
        let name = set.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        // A server that knows its names may refuse another one.
        let refused = (400..500).contains(&answer.status) && !answer.text().contains("evil.invalid");
        let same = answer.status == 200 && answer.json() == suite.target.smart;
        cases.expect(name, refused || same, format!("{} names evil.invalid or differs", answer.status));
    }
    Ok(())
}

pub(super) async fn protected_resource(suite: &Suite, cases: &mut Cases) -> Checked {
    let document = &suite.target.resource;
    let at = well_known(&suite.target.fhir, "oauth-protected-resource");
    cases.expect("the document", document.is_object(), format!("none at {at}"));
    let resource = document.get("resource").and_then(Value::as_str).unwrap_or_default();
    cases.expect("resource", resource == suite.target.fhir, format!("`{resource}`"));
    let servers = document.get("authorization_servers").and_then(Value::as_array);
    let named = servers.is_some_and(|list| list.iter().any(|server| server == suite.target.issuer.as_str()));
    cases.expect("authorization_servers", named, format!("{servers:?}"));
    let answer = suite.send(Send::get(&format!("{}/Patient", suite.target.fhir))).await?;
    let challenge = answer.header("www-authenticate");
    cases.expect(
        "the 401 names it",
        challenge.contains(&format!("resource_metadata=\"{at}\"")),
        format!("`{challenge}`"),
    );
    Ok(())
}
