//! What an EHR may say, and what it may not.

use serde_json::json;

use super::*;

fn plain() -> BTreeSet<String> {
    ["127.0.0.1".to_owned()].into()
}

fn document(change: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
    let mut document = json!({
        "issuer": "https://ehr.example", "jwks_uri": "https://ehr.example/jwks",
        "authorization_endpoint": "https://ehr.example/authorize?env=1", "token_endpoint": "https://ehr.example/token",
        "revocation_endpoint": "https://ehr.example/revoke", "code_challenge_methods_supported": ["S256"],
    });
    change(document.as_object_mut().unwrap());
    document.to_string().into_bytes()
}

#[test]
fn s1_01_endpoints_are_absolute_and_pkce_is_there() {
    let endpoints = EhrEndpoints::read(&document(|_| {}), &plain()).unwrap();
    assert_eq!(endpoints.revocation.as_deref(), Some("https://ehr.example/revoke"));
    assert!(!endpoints.names_issuer);
    for url in [
        "/token",
        "http://ehr.example/token",
        "http://10.0.0.1/token",
        "http://127.0.0.2/token",
        "https://u@ehr.example/token",
        "https://ehr.example/token#x",
        "https:///token",
        "https://ehr.example\\@evil/",
        "ftp://ehr.example/",
        "",
    ] {
        for name in ["authorization_endpoint", "token_endpoint", "revocation_endpoint", "issuer", "jwks_uri"] {
            let text = document(|members| _ = members.insert(name.into(), url.into()));
            assert_eq!(EhrEndpoints::read(&text, &plain()), Err(InvalidDiscovery::Endpoint(name)), "{name} {url}");
        }
    }
    let loopback = document(|members| _ = members.insert("token_endpoint".into(), "http://127.0.0.1:9/t".into()));
    assert!(EhrEndpoints::read(&loopback, &plain()).is_ok());
    assert!(EhrEndpoints::read(&loopback, &BTreeSet::new()).is_err());
    for name in ["authorization_endpoint", "token_endpoint"] {
        let text = document(|members| _ = members.remove(name));
        assert_eq!(EhrEndpoints::read(&text, &plain()), Err(InvalidDiscovery::Endpoint(name)));
    }
    for methods in [Value::Null, json!([]), json!(["plain"]), json!("S256")] {
        let text = document(|members| _ = members.insert("code_challenge_methods_supported".into(), methods.clone()));
        assert_eq!(EhrEndpoints::read(&text, &plain()), Err(InvalidDiscovery::Pkce), "{methods}");
    }
    assert_eq!(EhrEndpoints::read(b"[]", &plain()), Err(InvalidDiscovery::Form));
    assert_eq!(
        EhrEndpoints::read(br#"{"token_endpoint":"a","token_endpoint":"b"}"#, &plain()),
        Err(InvalidDiscovery::Form)
    );
}

#[test]
fn an_answer_is_this_launch_s_or_refused() {
    let base = "https://ehr.example/fhir";
    let mut endpoints = EhrEndpoints::read(&document(|_| {}), &plain()).unwrap();
    let read = |endpoints: &EhrEndpoints, query: &str| read_callback(query, "s1", base, endpoints);
    assert_eq!(read(&endpoints, "code=c1&state=s1"), Ok("c1".into()));
    assert_eq!(read(&endpoints, "code=c1&state=s1&iss=https%3A%2F%2Fehr.example"), Ok("c1".into()));
    for (query, why) in [
        ("code=c1", InvalidAnswer::State),
        ("code=c1&state=s2", InvalidAnswer::State),
        ("code=c1&state=s1&state=s1", InvalidAnswer::Form),
        ("code=c1&code=c2&state=s1", InvalidAnswer::Form),
        ("code=c1&error=access_denied&state=s1", InvalidAnswer::Form),
        ("state=s1", InvalidAnswer::Form),
        ("error=access_denied&state=s2", InvalidAnswer::State),
        ("error=access_denied&state=s1", InvalidAnswer::Denied("access_denied".into())),
        ("error=%3Cscript%3E&state=s1", InvalidAnswer::Denied("other".into())),
        ("code=c1&state=s1&iss=https%3A%2F%2Fevil.example", InvalidAnswer::Issuer),
    ] {
        assert_eq!(read(&endpoints, query), Err(why), "{query}");
    }
    endpoints.names_issuer = true;
    assert_eq!(read(&endpoints, "code=c1&state=s1"), Err(InvalidAnswer::Issuer), "RFC 9207");
    endpoints.issuer = None;
    assert_eq!(read(&endpoints, "code=c1&state=s1&iss=https%3A%2F%2Fehr.example%2Ffhir"), Ok("c1".into()));
}

struct Read {
    expires_at: i64,
    patient: Option<Id>,
    context: LaunchContext,
    shown: String,
}

/// A whole answer, or the first rule it breaks.
fn answer(more: Value) -> Result<Read, InvalidAnswer> {
    let read = tokens(more)?;
    let shown = format!("{read:?}");
    let EhrAnswer { expires_at, patient, context, fault, .. } = read;
    match fault {
        Some(why) => Err(why),
        None => context.map(|context| Read { expires_at, patient, context, shown }),
    }
}

fn tokens(more: Value) -> Result<EhrAnswer, InvalidAnswer> {
    let mut body = json!({"access_token": "abc", "token_type": "Bearer", "expires_in": 300, "patient": "P1"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    EhrAnswer::read(body.to_string().as_bytes(), 1_000_000, &plain())
}

#[test]
fn s0_16_upstream_lives_are_honoured_within_bounds() {
    for (given, life) in [
        (json!(60), Some(60)),
        (json!(3_600), Some(3_600)),
        (json!(86_400), Some(3_600)),
        (json!("300"), Some(300)),
        (Value::Null, Some(60)),
        (json!(0), None),
        (json!(-5), None),
        (json!([]), None),
        (json!("soon"), None),
    ] {
        let read = answer(json!({"expires_in": given}));
        assert_eq!(read.ok().map(|read| (read.expires_at - 1_000_000) / 1_000), life, "{given}");
    }
}

#[test]
fn a_token_answer_is_a_bearer_with_a_bare_patient() {
    let read = answer(json!({"refresh_token": "r", "scope": "launch patient/*.rs", "encounter": "E1"})).unwrap();
    assert_eq!(read.patient.as_ref().map(Id::as_str), Some("P1"));
    assert_eq!(read.context.encounter.as_ref().map(Id::as_str), Some("E1"));
    assert_eq!(format!("{} {:?}", read.shown, read.context), "EhrAnswer([sealed]) LaunchContext([sealed])");
    for (bad, why) in [
        (json!({"token_type": "mac"}), InvalidAnswer::Token),
        (json!({"token_type": null}), InvalidAnswer::Token),
        (json!({"access_token": "a b"}), InvalidAnswer::Token),
        (json!({"access_token": null}), InvalidAnswer::Token),
        (json!({"access_token": "x".repeat(TOKEN_BYTES_MAX + 1)}), InvalidAnswer::Token),
        (json!({"refresh_token": "a\r\nb"}), InvalidAnswer::Token),
        (json!({"refresh_token": 7}), InvalidAnswer::Token),
        (json!({"patient": "Patient/P1"}), InvalidAnswer::Patient),
        (json!({"patient": 7}), InvalidAnswer::Patient),
        (json!({"patient": ""}), InvalidAnswer::Patient),
        (json!({"encounter": "Encounter/E1"}), InvalidAnswer::Encounter),
        (json!({"scope": ["a"]}), InvalidAnswer::Scope),
        (json!({"scope": "a\"b"}), InvalidAnswer::Scope),
        (json!({"id_token": 7}), InvalidAnswer::IdToken),
        (json!({"fhirContext": {}}), InvalidAnswer::Context),
    ] {
        assert_eq!(answer(bad.clone()).err(), Some(why), "{bad}");
    }
    assert_eq!(answer(json!({"patient": null})).unwrap().patient, None, "for the caller to refuse");
    assert!(answer(json!({"scope": "openid launch"})).is_ok(), "a refresh brings no ID token");
    // What cannot be used can still be revoked.
    for bad in [json!({"token_type": "mac"}), json!({"expires_in": 0}), json!({"scope": 7}), json!({"fhirContext": {}})]
    {
        let read = tokens(bad.clone()).unwrap();
        assert_eq!(read.access_token.as_str(), "abc", "{bad}");
    }
}

#[test]
fn cx_05_fhir_context_is_by_the_rules_or_the_launch_is_refused() {
    let role = "https://ehr.example/role";
    for (item, kept) in [
        (json!({"reference": "ImagingStudy/I1"}), Some(true)),
        (json!({"reference": "ImagingStudy/I1", "role": "launch", "type": "ImagingStudy"}), Some(true)),
        (json!({"reference": "Patient/P1", "role": role}), Some(true)),
        (json!({"reference": "Encounter/E1", "role": role}), Some(true)),
        (json!({"canonical": "https://ehr.example/Questionnaire/q|1", "type": "Questionnaire"}), Some(true)),
        (
            json!({"identifier": {"system": "urn:oid:1.2", "value": "7", "assigner": {"reference": "Patient/P2"}}}),
            Some(true),
        ),
        (json!({"reference": "Patient/P2", "role": role}), Some(false)),
        (json!({"identifier": {"value": "7"}, "type": "Patient", "role": role}), Some(false)),
        (json!({}), None),
        (json!("ImagingStudy/I1"), None),
        (json!({"reference": "https://ehr.example/fhir/ImagingStudy/I1"}), None),
        (json!({"reference": "ImagingStudy/I1/_history/1"}), None),
        (json!({"reference": "#x"}), None),
        (json!({"reference": "Patient/P1"}), None),
        (json!({"reference": "Patient/P1", "role": "launch"}), None),
        (json!({"reference": "Encounter/E1"}), None),
        (json!({"reference": "ImagingStudy/I1", "role": ""}), None),
        (json!({"reference": "ImagingStudy/I1", "role": "viewer"}), None),
        (json!({"reference": "ImagingStudy/I1", "type": "Patient", "role": role}), None),
        (json!({"reference": "ImagingStudy/I1", "type": "Nonsense"}), None),
        (json!({"canonical": "not a uri"}), None),
        (json!({"identifier": {"system": "urn:oid:1.2"}}), None),
        (json!({"identifier": "7"}), None),
    ] {
        let read = answer(json!({"fhirContext": [item.clone()]}));
        assert_eq!(read.ok().map(|read| read.context.items.len() == 1), kept, "{item}");
    }
    let kept = answer(json!({"fhirContext": [{"identifier": {"value": "7", "assigner": {"display": "x"}}}]})).unwrap();
    assert_eq!(serde_json::to_value(&kept.context.items).unwrap(), json!([{"identifier": {"value": "7"}}]));
    let many = vec![json!({"reference": "ImagingStudy/I1"}); 65];
    assert_eq!(answer(json!({"fhirContext": many})).err(), Some(InvalidAnswer::Context));
}

#[test]
fn hints_that_are_not_right_are_left_out() {
    let hints =
        |more| answer(more).map(|read| (read.context.banner, read.context.style_url, read.context.intent)).unwrap();
    let right =
        json!({"need_patient_banner": false, "smart_style_url": "https://ehr.example/s.json", "intent": "order"});
    assert_eq!(hints(right), (Some(false), Some("https://ehr.example/s.json".into()), Some("order".into())));
    let wrong = json!({"need_patient_banner": "no", "smart_style_url": "javascript:alert(1)", "intent": "a\nb"});
    assert_eq!(hints(wrong), (None, None, None));
}

proptest::proptest! {
    #[test]
    fn no_answer_panics(body: Vec<u8>, query in "\\PC{0,200}") {
        let _ = EhrEndpoints::read(&body, &plain());
        let _ = EhrAnswer::read(&body, 0, &plain());
        let _ = read_error(&body);
        let endpoints = EhrEndpoints::read(&document(|_| {}), &plain()).unwrap();
        proptest::prop_assert!(read_callback(&query, "s1", "b", &endpoints).is_err());
    }
}
