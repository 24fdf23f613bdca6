//! Certificates (RFC 8705) and the agent's purpose (UDAP `hl7-b2b`) (A.14, A.15, C.8).

use serde_json::{Value, json};

use crate::flow::{Grant, asserted, key_of};
use crate::http::{Send, pairs};
use crate::jose::{base64url, peek, sha256};
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "MT-01",
        clause: "RFC 8705 §3, §3.1",
        sends: "a token request with the client's certificate, and the token at the FHIR API with it",
        expects: "cnf x5t#S256 of that certificate, 200",
        check: |suite, cases| Box::pin(certificate(suite, cases)),
    },
    Row {
        id: "NEG-226",
        clause: "RFC 8705 §3; RS-04",
        sends: "that token without a certificate, and with a header that claims one",
        expects: "401",
        check: |suite, cases| Box::pin(without_certificate(suite, cases)),
    },
    Row {
        id: "MT-03",
        clause: "RFC 8705 §3.3, §5",
        sends: "metadata, where a client has a certificate",
        expects: "tls_client_certificate_bound_access_tokens",
        check: |suite, cases| Box::pin(advertised(suite, cases)),
    },
    Row {
        id: "UD-12",
        clause: "HL7 SSRAA STU2, B2B; UD-11, UD-12",
        sends: "an honest hl7-b2b object in the assertion",
        expects: "a token, with the purpose and who the agent acts for in it",
        check: |suite, cases| Box::pin(purpose(suite, cases)),
    },
    Row {
        id: "NEG-241",
        clause: "HL7 SSRAA STU2, B2B; UD-11",
        sends: "no hl7-b2b; version 2; no, empty and unknown purpose; organisation that is no URI; consent_reference alone; not an object",
        expects: "400 invalid_grant",
        check: |suite, cases| Box::pin(spoilt(suite, cases)),
    },
];

fn holder(suite: &Suite) -> Result<&Fixture, Stop> {
    let all = [Who::Be, Who::Asy, Who::Pub, Who::Sym, Who::Asyu, Who::Other];
    let found =
        all.into_iter().filter_map(|who| suite.client(who).ok()).find(|client| client.spec.certificate.is_some());
    found.ok_or_else(|| Stop::Skip("no client of the configuration file has a `certificate`".into()))
}

async fn bound(suite: &Suite) -> Result<Grant<'_>, Stop> {
    let client = holder(suite)?;
    if suite.client(Who::Be).is_ok_and(|be| be.spec.id == client.spec.id) {
        return suite.backend().await;
    }
    suite.grant(client, &suite.config.scopes.base).await
}

async fn certificate(suite: &Suite, cases: &mut Cases) -> Checked {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let client = holder(suite)?;
    let pem = client.spec.certificate.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    let der = CertificateDer::from_pem_slice(&pem).map_err(|why| Stop::Fail(why.to_string()))?;
    let grant = bound(suite).await?;
    let (_, claims) = peek(grant.access()).ok_or_else(|| Stop::Skip("the access token is opaque".into()))?;
    let shown = claims.get("cnf").and_then(|cnf| cnf.get("x5t#S256")).and_then(Value::as_str).unwrap_or_default();
    cases.expect("cnf x5t#S256", shown == base64url(&sha256(&der)), "another, or none");
    let answer = suite.fhir(&grant, &format!("Patient/{}", suite.p1()?)).await?;
    cases.status("with the certificate", &answer, &[200]);
    Ok(())
}

async fn without_certificate(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = bound(suite).await?;
    let url = format!("{}/Patient/{}", suite.target.fhir, suite.p1()?);
    let bare = || Send::get(&url).header("authorization", &format!("Bearer {}", grant.access()));
    cases.status("without", &suite.send(bare()).await?, &[401]);
    for header in ["client-cert", "x-ssl-client-cert", "x-forwarded-client-cert"] {
        cases.status(header, &suite.send(bare().header(header, ":MIIB:")).await?, &[401]);
    }
    Ok(())
}

async fn advertised(suite: &Suite, cases: &mut Cases) -> Checked {
    holder(suite)?;
    let told = suite.target.member("tls_client_certificate_bound_access_tokens");
    cases.expect("tls_client_certificate_bound_access_tokens", told == Some(&true.into()), format!("{told:?}"));
    Ok(())
}

fn agent(suite: &Suite) -> Result<(&Fixture, Value), Stop> {
    let client = suite.client(Who::Be)?;
    let b2b = client.spec.b2b.as_ref().and_then(|table| serde_json::to_value(table).ok());
    let b2b = b2b.ok_or_else(|| Stop::Skip("[clients.be] has no `b2b` object to send".into()))?;
    Ok((client, b2b))
}

async fn purpose(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, b2b) = agent(suite)?;
    let grant = suite.backend().await?;
    let (_, claims) = peek(grant.access()).ok_or_else(|| Stop::Skip("the access token is opaque".into()))?;
    let text = claims.to_string();
    let wanted =
        b2b.get("purpose_of_use").and_then(Value::as_array).and_then(|list| list.first()).and_then(Value::as_str);
    let code = wanted.and_then(|purpose| purpose.rsplit('#').next()).unwrap_or_default();
    cases.expect("the purpose", !code.is_empty() && text.contains(code), format!("`{code}` is not in the token"));
    let organisation = b2b.get("organization_id").and_then(Value::as_str).unwrap_or_default();
    cases.expect("the organisation", text.contains(organisation), "it is not in the token");
    cases.expect("act", claims.get("act").is_some(), "the token does not say who the agent acts for");
    Ok(())
}

async fn spoilt(suite: &Suite, cases: &mut Cases) -> Checked {
    let (client, right) = agent(suite)?;
    let with = |name: &str, value: Value| {
        let mut b2b = right.clone();
        if let Some(members) = b2b.as_object_mut() {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.to_owned(), value);
            }
        }
        json!({ "hl7-b2b": b2b })
    };
    let mut alone = with("consent_policy", Value::Null);
    if let Some(members) = alone.get_mut("hl7-b2b").and_then(Value::as_object_mut) {
        members.insert("consent_reference".into(), json!(["https://h.invalid/Consent/1"]));
    }
    let variants = [
        ("no extensions", Value::Null),
        ("empty extensions", json!({})),
        ("not an object", json!({ "hl7-b2b": "x" })),
        ("no version", with("version", Value::Null)),
        ("version 2", with("version", "2".into())),
        ("no purpose", with("purpose_of_use", Value::Null)),
        ("an empty purpose", with("purpose_of_use", json!([]))),
        ("an unknown purpose", with("purpose_of_use", json!(["urn:oid:2.16.840.1.113883.5.8#NOPE"]))),
        ("a purpose that is no array", with("purpose_of_use", "TREAT".into())),
        ("no organisation", with("organization_id", Value::Null)),
        ("an organisation that is no URI", with("organization_id", "Mercy Hospital".into())),
        ("consent_reference alone", alone),
    ];
    for (name, extensions) in variants {
        let assertion = suite.draft(client).claim("extensions", extensions).sign_honestly(key_of(client)?)?;
        let mut fields = suite.backend_fields(client).await?;
        fields.extend([asserted(&assertion), pairs(&[("udap", "1")])].concat());
        let answer = client.http.send(Send::form(&suite.endpoint("token_endpoint")?, &fields)).await?;
        cases.refused(name, &answer, &[400], &["invalid_grant"]);
    }
    Ok(())
}
