//! Requests by case of the catalogue: paths, methods, formats and reads, as far as the request alone decides them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use common::*;
use fhir::ResourceType;
use fhir::request::{Interaction, InvalidKind, Method, Raw, View, read};

#[test]
fn rd_01_a_read_names_type_and_id() {
    let id = "O1".parse().unwrap();
    let expected = Interaction::Read { kind: ResourceType::OBSERVATION, id, view: View::default() };
    for target in ["/Observation/O1", "/Observation/O1?", "/%4Fbservation/%4F1", "/Observation/O1?_format=json"] {
        assert_eq!(get(target).as_ref(), Ok(&expected), "{target}");
    }
    assert_eq!(ask(Method::Head, "/Observation/O1"), Ok(expected));
    assert_eq!(get("/metadata"), Ok(Interaction::Capabilities));
    assert_eq!(get("/metadata?_format=json&_pretty=true"), Ok(Interaction::Capabilities));
}

#[test]
fn rd_35_search_parameters_mean_nothing_on_a_read() {
    refused(
        NOT_SUPPORTED,
        &[
            "/Observation/O1?subject=Patient/P2",
            "/Observation/O1?patient=P1",
            "/Observation/O1?_count=1",
            "/Patient/P1?_id=P1",
        ],
    );
    // ME-04
    refused(NOT_SUPPORTED, &["/metadata?mode=terminology", "/metadata?_elements=rest"]);
}

#[test]
fn pa_03_only_plain_segments_are_a_path() {
    refused(
        MALFORMED,
        &[
            "Observation/O1",
            "//",
            "/Observation/./O1",
            "/Observation//O1",
            "/./Observation",
            "/Observation/..",
            "/Observation/../Patient/P1",
            "/Observation/%2e",
            "/Observation/%2E%2e/Patient/P1",
            "/Observation/",
            "/Observation/O1/",
            "/Observation%2fO1",
            "/Observation/a%2fb",
            "/Observation/a%5cb",
            "/Observation;v=1/O1",
            "/Observation/O1;x",
            "/Observation/O1%3bx",
            "/Observation/%254F1",
            "/Observation/O1%00",
            "/Observation/O1%0a",
            "/Observation/%ff",
            "/Observation/%4",
            "/Observation/%zz",
            "/Observation/O1%3Fpatient=P2",
            "/Observation/O 1",
            "/Observation/é",
            "/Observation/a_b",
            "/Observation/O1,O2",
            "https://other/Observation/O1",
        ],
    );
    let long = format!("/Observation/{}", "a".repeat(2000));
    refused(InvalidKind::TooLong, &[&long]);
}

#[test]
fn pa_05_pa_08_the_first_segment_is_an_r4_type() {
    refused(
        NOT_FOUND,
        &[
            "/observation/O1",
            "/OBSERVATION",
            "/DEFAULT/Observation/O2",
            "/tenant/Observation",
            "/Metadata",
            "/_operations/export/1",
            "/SubscriptionStatus",
            "/.well-known/smart-configuration",
            "/Observation/O1/extra",
        ],
    );
    // SR-51
    refused(MALFORMED, &["/Observation,Condition?patient=P1"]);
}

#[test]
fn operations_history_and_other_compartments_are_forbidden() {
    let operations = [
        "/$export",
        "/%24export",
        "/Patient/$export",
        "/Group/x/$export",
        "/Group/x/%24export",
        "/Patient/P1/$everything",
        "/Patient/P1/$Everything",
        "/Observation/$lastn",
        "/Observation/O2/$validate",
        "/ValueSet/$expand",
    ];
    for method in [Method::Get, Method::Head, Method::Post, Method::Delete, Method::Other] {
        for target in operations {
            assert_eq!(ask(method, target).unwrap_err().kind, FORBIDDEN, "S1-13 {target}");
        }
    }
    refused(
        FORBIDDEN,
        &[
            "/_history",
            "/Observation/_history",
            "/Observation/_history?patient=P1",
            "/Patient/_history?_id=P1",
            "/Patient/P2/_history",
            "/Observation/O1/_history/1",
            "/Patient/P1/Observation",
            "/Patient/P1/*",
            "/Encounter/E2/Observation?patient=P1",
            "/Practitioner/PRA/Observation?patient=P1",
            "/Device/DV/Observation",
            "/Binary/BX",
            "/Binary",
            "",
            "/",
            "/?_type=Observation,Condition",
        ],
    );
    // VR-18
    refused(MALFORMED, &["/Observation/O1/_history/1/x", "/Observation/O1/_history/,"]);
}

#[test]
fn methods_other_than_reading_are_answered_by_place() {
    for (method, target, kind) in [
        (Method::Post, "/Observation", METHOD),
        (Method::Put, "/Observation/O1", METHOD),
        (Method::Patch, "/Observation/O1", METHOD),
        (Method::Delete, "/Observation/O1", METHOD),
        (Method::Other, "/Observation/O1", METHOD),
        (Method::Put, "/Observation/_search", METHOD),        // PS-14
        (Method::Post, "/Observation/O1/_history/1", METHOD), // VR-20
        (Method::Get, "/Observation/_search?patient=P2", NOT_FOUND), // PS-13
        (Method::Get, "/_search", NOT_FOUND),
        (Method::Post, "/_search", FORBIDDEN),                   // PS-11
        (Method::Delete, "/Observation/O1/_history", FORBIDDEN), // WR-33
        (Method::Put, "/observation/O1", NOT_FOUND),
        (Method::Post, "/Observation?_method=DELETE", METHOD),
    ] {
        assert_eq!(ask(method, target).unwrap_err().kind, kind, "{method:?} {target}");
    }
    // HD-02
    refused(NOT_SUPPORTED, &["/Observation?_method=DELETE", "/Observation/O1?_method=PUT"]);
}

#[test]
fn sr_54_a_get_has_no_body() {
    let raw = Raw { method: Method::Get, path: "/Observation", query: Some("patient=P1"), accept: None, body: true };
    assert_eq!(read(&raw).unwrap_err().kind, MALFORMED);
}

#[test]
fn fm_01_fm_02_fm_03_json_is_the_only_format() {
    refused(
        NOT_ACCEPTABLE,
        &[
            "/Observation/O1?_format=xml",
            "/Observation?_format=html",
            "/Observation?_format=ndjson",
            "/Observation?_format=ttl",
            "/Observation?_format=application/fhir%2Bxml",
            "/Observation?_format=application/fhir%2Bjson%3Bx",
            "/Observation?_format=JSON",
        ],
    );
    refused(
        MALFORMED,
        &["/Observation?_format=json&_format=application/json", "/Observation?_format=json&_format=json"],
    );
    refused(NOT_ACCEPTABLE, &["/Observation?_format=json&_format=xml"]);
    for (accept, format, fits) in [
        ("", "", true),
        ("*/*", "", true),
        ("application/fhir+json", "_format=application/fhir+json", true),
        ("application/json;charset=utf-8", "", true),
        ("application/fhir+json; fhirVersion=4.0", "", true),
        ("application/fhir+json; fhirVersion=3.0", "", false),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", true),
        ("application/fhir+xml, application/fhir+json;q=0.5", "", true),
        ("application/fhir+xml", "", false),
        ("application/fhir+xml", "_format=json", false),
        ("text/html", "", false),
        ("application/json;q=0", "", false),
        ("application/pdf", "", false),
    ] {
        let raw =
            Raw { method: Method::Get, path: "/Observation", query: Some(format), accept: Some(accept), body: false };
        assert_eq!(read(&raw).is_ok(), fits, "Accept: {accept}, {format}");
    }
}

#[test]
fn pg_01_a_page_link_is_followed_as_it_is() {
    let page = Interaction::Page { kind: ResourceType::OBSERVATION, token: "aB-_9".to_owned() };
    assert_eq!(get("/Observation?_hilum=aB-_9"), Ok(page));
    refused(
        MALFORMED,
        &[
            "/Observation?_hilum=a&patient=P1",
            "/Observation?_hilum=a&_hilum=b",
            "/Observation?_hilum=a.b",
            "/Observation?_count=5&_hilum=a",
        ],
    );
    refused(NOT_SUPPORTED, &["/Observation/O1?_hilum=a", "/metadata?_hilum=a"]);
}

#[test]
fn limits_hold() {
    let many: Vec<String> = (0..200).map(|n| format!("code={n}")).collect();
    refused(InvalidKind::TooLong, &[&format!("/Observation?{}", many.join("&"))]);
    refused(InvalidKind::TooLong, &[&format!("/Observation?code={}", "a".repeat(9000))]);
    let values: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    refused(MALFORMED, &[&format!("/Observation?code={}", values.join(","))]);
}

#[test]
fn nothing_of_a_value_is_in_debug_output() {
    let shown = format!("{:?} {:?}", search("/Patient?name=Secret&_id=P77"), get("/Patient/P77"));
    assert!(!shown.contains("Secret") && !shown.contains("P77"), "{shown}");
    let shown = format!("{:?}", get("/Patient?Secret=1").unwrap_err());
    assert!(!shown.contains("Secret"), "{shown}");
}
