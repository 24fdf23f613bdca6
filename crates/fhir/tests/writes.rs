//! Bodies by case of the catalogue: forms, resources, patches and Bundles, as far as the request alone decides them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use fhir::ResourceType;
use fhir::request::{
    BODY_BYTES_MAX, BUNDLE_ENTRIES_MAX, Body, Conditions, Interaction, InvalidKind, InvalidRequest, Method, Raw,
    Returns, SubmissionKind, Write, read,
};

const FHIR: &str = "application/fhir+json";
const FORM: &str = "application/x-www-form-urlencoded";
const PATCH: &str = "application/json-patch+json";

fn send(method: Method, target: &str, media: &str, body: &str) -> Result<Interaction, InvalidRequest> {
    with(method, target, media, body, Conditions::default())
}

fn with(
    method: Method,
    target: &str,
    media: &str,
    body: &str,
    conditions: Conditions<'_>,
) -> Result<Interaction, InvalidRequest> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let body = Some(Body { media: Some(media), bytes: body.as_bytes() });
    read(&Raw { body, conditions, ..Raw::plain(method, path, query) })
}

fn kind(result: Result<Interaction, InvalidRequest>) -> InvalidKind {
    match result {
        Err(refused) => refused.kind,
        Ok(read) => panic!("was read: {read:?}"),
    }
}

const O1: &str = r#"{"resourceType":"Observation","id":"O1","status":"final","subject":{"reference":"Patient/P1"}}"#;

#[test]
fn ps_01_to_ps_16_forms_are_parameters() {
    let search = |target: &str, form: &str| match send(Method::Post, target, FORM, form) {
        Ok(Interaction::Search(search)) => search.canonical_query(),
        other => panic!("{target} {form}: {other:?}"),
    };
    assert_eq!(search("/Observation/_search", "code=8867-4"), "code=8867-4");
    assert_eq!(search("/Observation/_search?code=1", "patient=P1&_count=3"), "code=1&patient=P1&_count=3");
    assert_eq!(search("/Patient/P1/Observation/_search", "code=1"), "code=1");
    let refused = |media: &str, form: &str| kind(send(Method::Post, "/Observation/_search", media, form));
    assert_eq!(refused("multipart/form-data; boundary=x", "--x"), InvalidKind::Media, "PS-05");
    assert_eq!(refused("application/x-www-form-urlencoded; charset=utf-16", "a=b"), InvalidKind::Media, "PS-06");
    assert_eq!(refused(FHIR, O1), InvalidKind::Media, "PS-09");
    assert_eq!(refused(FORM, "_method=DELETE"), InvalidKind::NotSupported, "HD-02");
    assert_eq!(refused(FORM, &format!("code={}", "a".repeat(20_000))), InvalidKind::TooLarge, "PS-16");
    assert_eq!(refused(FORM, "_count=1&_count=2"), InvalidKind::Malformed);
    assert_eq!(kind(send(Method::Post, "/Observation/_search?_count=1", FORM, "_count=2")), InvalidKind::Malformed);
    assert_eq!(kind(send(Method::Post, "/Observation/_search/", FORM, "code=1")), InvalidKind::Malformed, "PS-10");
    assert_eq!(kind(send(Method::Post, "/_search", FORM, "_type=Observation")), InvalidKind::Forbidden, "PS-11");
    assert!(read(&Raw::plain(Method::Post, "/Observation/_search", Some("code=1"))).is_ok(), "an empty form");
}

#[test]
fn wr_a_resource_is_what_its_place_says() {
    assert!(matches!(
        send(Method::Post, "/Observation", FHIR, O1),
        Ok(Interaction::Write(Write::Create { kind: ResourceType::OBSERVATION, .. }))
    ));
    assert!(matches!(
        send(Method::Put, "/Observation/O1", "application/json; charset=UTF-8", O1),
        Ok(Interaction::Write(Write::Update { .. }))
    ));
    assert!(matches!(
        read(&Raw::plain(Method::Delete, "/Observation/O1", None)),
        Ok(Interaction::Write(Write::Delete { .. }))
    ));
    for (method, target, media, body, expected) in [
        (Method::Post, "/Condition", FHIR, O1, InvalidKind::Malformed), // WR-08
        (Method::Put, "/Observation/O2", FHIR, O1, InvalidKind::Malformed), // WR-17
        (Method::Put, "/Observation/O1", FHIR, r#"{"resourceType":"Observation"}"#, InvalidKind::Malformed),
        (Method::Post, "/Observation", FHIR, "", InvalidKind::Malformed),
        (Method::Post, "/Observation", FHIR, "[]", InvalidKind::Malformed),
        (Method::Post, "/Observation", FHIR, r#"{"resourceType":"Observation","a":1,"a":2}"#, InvalidKind::Malformed),
        (Method::Post, "/Observation", FHIR, r#"{"resourceType":"Observation","id":"a/b"}"#, InvalidKind::Malformed),
        (Method::Post, "/Observation", "application/fhir+xml", "<x/>", InvalidKind::Media),
        (Method::Post, "/Observation", "text/plain", O1, InvalidKind::Media),
        (Method::Post, "/Observation", "application/fhir+json; charset=utf-16", O1, InvalidKind::Media),
        (Method::Delete, "/Observation/O1", FHIR, O1, InvalidKind::Malformed),
        (Method::Post, "/Observation?patient=P1", FHIR, O1, InvalidKind::NotSupported),
        (Method::Post, "/Observation", FHIR, &" ".repeat(BODY_BYTES_MAX + 1), InvalidKind::TooLarge),
        (Method::Patch, "/Observation/O1", FHIR, O1, InvalidKind::Malformed),
        (Method::Patch, "/Observation/O1", "application/merge-patch+json", "{}", InvalidKind::Media),
        (Method::Patch, "/Observation/O1", PATCH, "{}", InvalidKind::Malformed),
    ] {
        let shown: String = body.chars().take(80).collect();
        assert_eq!(kind(send(method, target, media, body)), expected, "{method:?} {target} {media} {shown}");
    }
    let patch = r#"[{"op":"replace","path":"/status","value":"amended"}]"#;
    assert!(matches!(
        send(Method::Patch, "/Observation/O1", PATCH, patch),
        Ok(Interaction::Write(Write::Patch { .. }))
    ));
}

#[test]
fn wr_27_conditional_forms_are_refused_and_preferences_read() {
    let none = Conditions::default();
    for conditions in
        [Conditions { if_none_exist: Some("identifier=x"), ..none }, Conditions { if_none_match: Some("*"), ..none }]
    {
        assert_eq!(kind(with(Method::Post, "/Observation", FHIR, O1, conditions)), InvalidKind::Forbidden);
        assert_eq!(kind(with(Method::Put, "/Observation/O1", FHIR, O1, conditions)), InvalidKind::Forbidden);
    }
    let put = |if_match| with(Method::Put, "/Observation/O1", FHIR, O1, Conditions { if_match, ..none });
    for (tag, version) in [("W/\"3\"", "3"), ("\"a.b\"", "a.b")] {
        let Ok(Interaction::Write(Write::Update { if_match: Some(found), .. })) = put(Some(tag)) else {
            panic!("{tag}")
        };
        assert_eq!(found.as_str(), version);
    }
    for tag in ["*", "3", "W/\"1\", W/\"2\"", "\"\"", "W/\"a b\""] {
        assert_eq!(kind(put(Some(tag))), InvalidKind::Malformed, "{tag}");
    }
    for (prefer, expected) in [
        (None, Returns::Representation),
        (Some("return=minimal"), Returns::Minimal),
        (Some("respond-async, handling=lenient, return=OperationOutcome"), Returns::Outcome),
        (Some("return=nonsense"), Returns::Representation),
    ] {
        let read = with(Method::Post, "/Observation", FHIR, O1, Conditions { prefer, ..none });
        let Ok(Interaction::Write(Write::Create { returns, .. })) = read else { panic!() };
        assert_eq!(returns, expected, "{prefer:?}");
    }
}

fn bundle(kind: &str, entries: &[String]) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{}]}}"#, entries.join(","))
}

fn entry(method: &str, url: &str, resource: &str, more: &str) -> String {
    let resource = if resource.is_empty() { String::new() } else { format!(r#""resource":{resource},"#) };
    format!(r#"{{{resource}"request":{{"method":"{method}","url":"{url}"{more}}}}}"#)
}

#[test]
fn ba_each_entry_is_a_request_of_its_own() {
    let encoded = "W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL25vdGUifV0=";
    let patch = format!(r#"{{"resourceType":"Binary","contentType":"{PATCH}","data":"{encoded}"}}"#);
    let parameters = r#"{"resourceType":"Parameters","parameter":[]}"#;
    let entries = [
        entry("GET", "Observation/O1", "", ""),
        entry("GET", "/Observation?code=1", "", ""),
        entry("POST", "Observation", O1, ""),
        entry("PUT", "Observation/O1", O1, r#","ifMatch":"W/\"1\"""#),
        entry("PATCH", "Observation/O1", &patch, ""),
        entry("PATCH", "Observation/O1", parameters, ""),
        entry("DELETE", "Observation/O1", "", ""),
        entry("GET", "Observation?_hilum=a", "", ""),
        // Refused by themselves.
        entry("POST", "Condition", O1, ""),                                   // BA-09
        entry("POST", "Observation", O1, r#","ifNoneExist":"identifier=x""#), // BA-11
        entry("GET", "Observation?_include=*", "", ""),                       // BA-12
        entry("GET", "metadata", "", ""),
        entry("GET", "", "", ""),
        entry("GET", "https://other/Observation/O1", "", ""),
        entry("GET", "$export", "", ""),
        entry("GET", "Observation/O1", O1, ""),
    ];
    for (name, expected) in [("batch", SubmissionKind::Batch), ("transaction", SubmissionKind::Transaction)] {
        let Ok(Interaction::Bundle(read)) = send(Method::Post, "/", FHIR, &bundle(name, &entries)) else { panic!() };
        assert_eq!(read.kind, expected);
        let fits: Vec<bool> = read.entries.iter().map(|entry| entry.asks.is_ok()).collect();
        assert_eq!(
            fits,
            [[true; 8], [false; 8]].concat(),
            "{:?}",
            read.entries.iter().map(|e| e.asks.is_ok()).collect::<Vec<_>>()
        );
        assert!(read.whole().is_err());
    }
    // S1-13: from within a Bundle in no form, and told apart.
    for url in ["$export", "/Patient/$export", "Group/x/%24export", "Patient/$export?bad", "https://gate/fhir/$export"]
    {
        for method in ["GET", "POST", "DELETE"] {
            let entries = [entry(method, url, "", "")];
            let Ok(Interaction::Bundle(read)) = send(Method::Post, "/", FHIR, &bundle("batch", &entries)) else {
                panic!()
            };
            let asks = read.entries[0].asks.as_ref();
            assert_eq!(asks.unwrap_err().kind, InvalidKind::Export, "{method} {url}");
        }
    }
    // BA-21: one place.
    assert!(send(Method::Post, "", FHIR, &bundle("batch", &[])).is_ok());
    assert_eq!(kind(send(Method::Post, "//", FHIR, &bundle("batch", &[]))), InvalidKind::Malformed);
    assert!(send(Method::Post, "/?_format=json", FHIR, &bundle("batch", &[])).is_ok());
}

#[test]
fn ba_what_is_wrong_with_the_bundle_refuses_it_whole() {
    let named = |url: &str| {
        format!(r#"{{"fullUrl":"{url}","resource":{O1},"request":{{"method":"POST","url":"Observation"}}}}"#)
    };
    let many: Vec<String> = (0..=BUNDLE_ENTRIES_MAX).map(|_| entry("GET", "Observation/O1", "", "")).collect();
    for (body, expected) in [
        (bundle("batch", &[named("urn:uuid:a"), named("urn:uuid:a")]), InvalidKind::Malformed), // BA-07
        (bundle("batch", &[entry("POST", "Bundle", r#"{"resourceType":"Bundle"}"#, "")]), InvalidKind::Malformed), // BA-16
        (
            bundle("batch", &[entry("POST", "Parameters", r#"{"resourceType":"Parameters"}"#, "")]),
            InvalidKind::Malformed,
        ),
        (bundle("batch", &many), InvalidKind::TooLarge), // BA-19
        (bundle("searchset", &[]), InvalidKind::Malformed),
        (bundle("document", &[]), InvalidKind::Malformed),
        (bundle("batch", &["{}".to_owned()]), InvalidKind::Malformed),
        (bundle("batch", &[entry("FETCH", "Observation/O1", "", "")]), InvalidKind::Malformed),
        (r#"{"resourceType":"Bundle","type":"batch","type":"transaction"}"#.to_owned(), InvalidKind::Malformed),
        (O1.to_owned(), InvalidKind::Malformed),
    ] {
        let shown: String = body.chars().take(120).collect();
        assert_eq!(kind(send(Method::Post, "/", FHIR, &body)), expected, "{shown}");
    }
    assert_eq!(kind(send(Method::Post, "/", "application/json-patch+json", "[]")), InvalidKind::Media);
}

#[test]
fn nothing_of_a_body_is_in_debug_output() {
    let secret = O1.replace("final", "SECRET").replace("O1", "O77");
    let shown = format!(
        "{:?} {:?}",
        send(Method::Post, "/Observation", FHIR, &secret),
        send(Method::Post, "/", FHIR, &bundle("batch", &[entry("POST", "Observation", &secret, "")]))
    );
    assert!(!shown.contains("SECRET") && !shown.contains("O77"), "{shown}");
}
